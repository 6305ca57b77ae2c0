"""PASCAL VOC 2012, ResNet-50: the paper's run on a smaller backbone.

    python -m training.train voc2012_resnet50 --data-dir DIR

DIR holds VOCdevkit/VOC2012 and SBD's benchmark_RELEASE, or a folder
SegmentationClassAug instead of the latter: 10,582 training images.

The paper trains only ResNet-101 on this set. From Zhao et al., 2016,
https://arxiv.org/abs/1612.01105: the ImageNet start (section 3.3), schedule,
batch and augmentation (section 5.1), images (section 5.3). From the authors'
later code, https://github.com/hszhao/semseg (config/voc2012, tool/train.py):
the depth, and the values that the paper leaves open, that is the crop, the
share of rotated and of blurred images, the learning rate of new layers, and the
padding on all sides.

Published scores on val, at one scale and at several: semseg reports a mean IoU
of 77.05 and 78.02 %, mmsegmentation 77.29 and 78.48 % with its own recipe.

Stem, dilation and resizing are PSPNet's defaults: those of mmsegmentation,
which fit the published ImageNet weights. The paper and semseg use others.
"""

from keras_pspnet.labels import VOC
from keras_pspnet.training.recipe import Recipe

RECIPE = Recipe(
    name="voc2012_resnet50",
    labels=VOC,
    data="voc",
    train_split="trainaug",
    backbone="resnet50",
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
