"""Cityscapes, ResNet-101: the paper's run.

    python -m training.train cityscapes_resnet101 --data-dir DIR

DIR holds leftImg8bit and gtFine: 2,975 training images.

From Zhao et al., 2016, https://arxiv.org/abs/1612.01105: the ImageNet start
(section 3.3), schedule, batch and changes (section 5.1), images (section
5.4, fine annotations alone). From the authors' later code,
https://github.com/hszhao/semseg (config/cityscapes, tool/train.py), what the
paper leaves open: crop, rate of new layers, padding on all sides. (That code
rotates and blurs here as well, for 200 epochs: 37,000 steps.)

To expect: the paper has a mean IoU of 78.4 % on the test set, at several
scales (table 7). On val, at one scale and at several, semseg has 78.63 and
79.29 %, mmsegmentation 79.77 and 81.06 % by its own recipe, at crops of 769.

Stem, dilation and resizing are PSPNet's defaults, which fit the ImageNet
weights that are published: mmsegmentation's network. Those of the paper and of
semseg differ.
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
    # semseg's, for all that ImageNet has not trained.
    head_lr_multiplier=10.0,
    scales=(0.5, 2.0),
    # The paper rotates and blurs ADE20K and PASCAL VOC alone.
    center_padding=True,
)
