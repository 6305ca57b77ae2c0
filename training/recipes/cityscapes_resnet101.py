"""Cityscapes, ResNet-101: the paper's run.

    python -m training.train cityscapes_resnet101 --data-dir DIR

DIR holds leftImg8bit and gtFine.
Zhao et al., 2016, https://arxiv.org/abs/1612.01105, section 5.1 (schedule and
changes) and section 5.4 (Cityscapes, fine annotations); crop, factor on the
rate of new layers and center_padding are those of the authors' code,
hszhao/semseg.
Stem, dilation and resizing are PSPNet's defaults, which fit the ImageNet
weights that are published; the paper's differ, so scores may as well.
"""

from keras_pspnet.labels import CITYSCAPES

from ..recipe import Recipe

RECIPE = Recipe(
    name="cityscapes_resnet101",
    labels=CITYSCAPES,
    data="cityscapes",
    backbone="resnet101",
    width=1.0,
    backbone_weights="imagenet",
    crop=(713, 713),
    batch_size=16,
    steps=90_000,
    steps_per_epoch=500,
    learning_rate=0.01,
    # What ImageNet has not trained learns faster in the authors' code.
    head_rate_factor=10.0,
    scales=(0.5, 2.0),
    # The paper rotates and blurs ADE20K and PASCAL VOC alone.
    center_padding=True,
)
