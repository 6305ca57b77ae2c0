"""ADE20K, ResNet-50: the paper's run.

    python -m training.train ade20k_resnet50 --data-dir DIR

DIR holds ADEChallengeData2016.
Zhao et al., 2016, https://arxiv.org/abs/1612.01105, section 5.1 (schedule and
changes), section 5.2 and table 3 (ADE20K by depth); crop, factor on the rate
of new layers and center_padding are those of the authors' code,
hszhao/semseg.
Stem, dilation and resizing are PSPNet's defaults, which fit the ImageNet
weights that are published; the paper's differ, so scores may as well.
"""

from keras_pspnet.labels import ADE20K

from ..recipe import Recipe

RECIPE = Recipe(
    name="ade20k_resnet50",
    labels=ADE20K,
    data="ade20k",
    backbone="resnet50",
    width=1.0,
    backbone_weights="imagenet",
    crop=(473, 473),
    batch_size=16,
    steps=150_000,
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
