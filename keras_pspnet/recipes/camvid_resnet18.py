"""CamVid at 480x360, ResNet-18: a set of 367 images, for one small GPU.

    python -m training.train camvid_resnet18 --data-dir DIR

DIR holds train, trainannot, val and valannot, as SegNet's authors distribute
them.

The paper has no run on CamVid, so there is no published score. From Zhao et
al., 2016, https://arxiv.org/abs/1612.01105, section 5.1: learning rate, decay,
batch, scaling and flips. From the authors' later code,
https://github.com/hszhao/semseg: the learning rate of new layers, and the
length of 200 passes, as on Cityscapes.
"""

from keras_pspnet.labels import CAMVID
from keras_pspnet.training.recipe import Recipe

RECIPE = Recipe(
    name="camvid_resnet18",
    labels=CAMVID,
    data="camvid",
    backbone="resnet18",
    width=1.0,
    backbone_weights="imagenet",
    # At factor 1, a whole image.
    crop=(360, 480),
    batch_size=16,
    # 200 passes over the images.
    steps=4600,
    steps_per_epoch=115,
    learning_rate=0.01,
    # semseg's rate for all layers without ImageNet weights.
    head_lr_multiplier=10.0,
    scales=(0.5, 2.0),
)
