"""Cityscapes, ResNet-101: the paper's run.

    python -m training.train cityscapes_resnet101 --data-dir DIR

DIR holds leftImg8bit and gtFine: 2,975 training images.

From Zhao et al., 2016, https://arxiv.org/abs/1612.01105: the ImageNet start
(section 3.3), schedule, batch and augmentation (section 5.1), images (section
5.4, only fine annotations). The paper leaves open the crop, the learning rate
of new layers, and the padding on all sides. These are from the authors' later
code, https://github.com/hszhao/semseg (config/cityscapes, tool/train.py), which
also rotates and blurs, and trains for 200 epochs (37,000 steps).

Published scores: the paper reports a mean IoU of 78.4 % on the test set, at
several scales (table 7). On val, at one scale and at several, semseg reports
78.63 and 79.29 %, and mmsegmentation, with its own recipe and crops of 769,
79.77 and 81.06 %.

Stem, dilation and resizing are PSPNet's defaults: those of mmsegmentation,
which fit the published ImageNet weights. The paper and semseg use others.
"""

from keras_pspnet.labels import CITYSCAPES
from keras_pspnet.training.recipe import Recipe

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
    # semseg's rate for all layers without ImageNet weights.
    head_lr_multiplier=10.0,
    scales=(0.5, 2.0),
    # The paper rotates and blurs only on ADE20K and PASCAL VOC.
    center_padding=True,
)
