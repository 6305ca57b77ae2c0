"""PASCAL VOC 2012, ResNet-50: the paper's run.

    python -m training.train voc2012_resnet50 --data-dir DIR

DIR holds VOCdevkit/VOC2012 and SBD's benchmark_RELEASE, or a folder
SegmentationClassAug instead of the latter: 10,582 training pictures.
Zhao et al., 2016, https://arxiv.org/abs/1612.01105, section 5.1 (schedule and
changes) and section 5.3 (PASCAL VOC 2012); crop, factor on the rate of new
layers and center_padding are those of the authors' code, hszhao/semseg.
Stem, dilation and resizing are PSPNet's defaults, which fit the ImageNet
weights that are published; the paper's differ, so scores may as well.
"""

from keras_pspnet.labels import VOC

from ..recipe import Recipe

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
    # What ImageNet has not trained learns faster in the authors' code.
    head_rate_factor=10.0,
    scales=(0.5, 2.0),
    # Rotation and blur: on ADE20K and PASCAL VOC, not on Cityscapes.
    rotate=10.0,
    blur_probability=0.5,
    center_padding=True,
)
