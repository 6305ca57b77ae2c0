"""CamVid at 480x360, ResNet-18 of half width, from scratch on a CPU.

    python -m training.train camvid_scratch --data-dir DIR

DIR holds train, trainannot, val and valannot, as SegNet's authors distribute
them.

For machines without a GPU and without ImageNet weights: an hour on two idle
cores with bfloat16. Augmentation, decay and loss weights are those of Zhao
et al., 2016, https://arxiv.org/abs/1612.01105, section 5.1. Comments explain
the values that differ. `training/RESULTS.md` has the scores.
"""

from keras_pspnet.labels import CAMVID
from keras_pspnet.training.recipe import Recipe

RECIPE = Recipe(
    name="camvid_scratch",
    labels=CAMVID,
    data="camvid",
    backbone="resnet18",
    width=0.5,
    # A third of an image, since time on a CPU is proportional to the pixels.
    crop=(240, 240),
    batch_size=8,
    # 131 passes over the images.
    steps=6000,
    steps_per_epoch=200,
    # Without ImageNet weights, the paper's 0.01 trains too slowly.
    learning_rate=0.03,
    scales=(0.5, 2.0),
    flip=True,
    rotate=10.0,
    blur_probability=0.5,
    evaluations=5,
    dtype_policy="mixed_bfloat16",
)
