"""PASCAL VOC 2012, ResNet-101: the paper's run.

    python -m training.train voc2012_resnet101 --data-dir DIR

DIR holds VOCdevkit/VOC2012 and SBD's benchmark_RELEASE, or a folder
SegmentationClassAug instead of the latter: 10,582 training images.

From Zhao et al., 2016, https://arxiv.org/abs/1612.01105: the ImageNet start
(section 3.3), schedule, batch and augmentation (section 5.1), images (section
5.3). The paper leaves open the crop, the share of rotated and of blurred
images, the learning rate of new layers, and the padding on all sides. These are
from the authors' later code, https://github.com/hszhao/semseg (config/voc2012,
tool/train.py).

Published scores: the paper reports a mean IoU of 82.6 % on the test set, at
several scales (table 6). On val, at one scale and at several, semseg reports
79.07 and 79.63 %, and mmsegmentation, with its own recipe, 78.52 and 79.57 %.

Stem, dilation and resizing are PSPNet's defaults: those of mmsegmentation,
which fit the published ImageNet weights. The paper and semseg use others.
"""

from keras_pspnet.labels import VOC
from keras_pspnet.training.recipe import Recipe

RECIPE = Recipe(
    name="voc2012_resnet101",
    labels=VOC,
    data="voc",
    train_split="trainaug",
    backbone="resnet101",
    width=1.0,
    backbone_weights="imagenet",
    crop=(473, 473),
    batch_size=16,
    steps=30_000,
    steps_per_epoch=500,
    learning_rate=0.01,
    # semseg's rate for all layers without ImageNet weights.
    head_lr_multiplier=10.0,
    scales=(0.5, 2.0),
    # Half of the images, as in semseg.
    rotate=10.0,
    blur_probability=0.5,
    center_padding=True,
)
