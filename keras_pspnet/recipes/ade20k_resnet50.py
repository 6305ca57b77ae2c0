"""ADE20K, ResNet-50: the paper's run.

    python -m training.train ade20k_resnet50 --data-dir DIR

DIR holds ADEChallengeData2016: 20,210 training images.

From Zhao et al., 2016, https://arxiv.org/abs/1612.01105: the ImageNet start
(section 3.3), schedule, batch and augmentation (section 5.1), images (section
5.2). The paper leaves open the crop, the share of rotated and of blurred
images, the learning rate of new layers, and the padding on all sides. These are
from the authors' later code, https://github.com/hszhao/semseg (config/ade20k,
tool/train.py).

Published scores on val, at one scale and at several: the paper reports a mean
IoU of 41.68 and 42.78 % and a pixel accuracy of 80.04 and 80.76 % (table 3),
semseg a mean IoU of 41.89 and 42.84 %, and mmsegmentation, with its own recipe,
42.48 and 43.44 %.

Stem, dilation and resizing are PSPNet's defaults: those of mmsegmentation,
which fit the published ImageNet weights. The paper and semseg use others.
"""

from keras_pspnet.labels import ADE20K
from keras_pspnet.training.recipe import Recipe

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
    # semseg's rate for all layers without ImageNet weights.
    head_lr_multiplier=10.0,
    scales=(0.5, 2.0),
    # Half of the images, as in semseg.
    rotate=10.0,
    blur_probability=0.5,
    center_padding=True,
)
