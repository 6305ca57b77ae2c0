"""PASCAL VOC 2012, ResNet-50: the paper's run on a smaller backbone.

    python -m training.train voc2012_resnet50 --data-dir DIR

DIR holds VOCdevkit/VOC2012 and SBD's benchmark_RELEASE, or a folder
SegmentationClassAug instead of the latter: 10,582 training images.

The paper trains only ResNet-101 on this set. From it, Zhao et al., 2016,
https://arxiv.org/abs/1612.01105: the ImageNet start (section 3.3), schedule,
batch and changes (section 5.1), images (section 5.3). From the authors'
later code, https://github.com/hszhao/semseg (config/voc2012, tool/train.py):
depth, and what the paper leaves open: crop, share of rotated and of blurred
images, rate of new layers, padding on all sides.

To expect: on val, at one scale and at several, semseg has a mean IoU of 77.05
and 78.02 %, mmsegmentation 77.29 and 78.48 % by its own recipe.

Stem, dilation and resizing are PSPNet's defaults, which fit the ImageNet
weights that are published: mmsegmentation's network. Those of the paper and of
semseg differ.
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
    # semseg's, for all that ImageNet has not trained.
    head_lr_multiplier=10.0,
    scales=(0.5, 2.0),
    # Of every second image, as in semseg.
    rotate=10.0,
    blur_probability=0.5,
    center_padding=True,
)
