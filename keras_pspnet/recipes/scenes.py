"""Procedural scenes: the run of `make demo`, without any download.

    python -m training.train scenes --output runs/scenes

Network and recipe: Zhao et al., 2016, https://arxiv.org/abs/1612.01105, with a
ResNet-18 of quarter width, trained from scratch.
"""

from keras_pspnet.labels import SCENES
from keras_pspnet.training.recipe import Recipe

RECIPE = Recipe(
    name="scenes",
    labels=SCENES,
    backbone="resnet18",
    width=0.25,
    # So wide that the cues to a class are outside the receptive field of the
    # convolutions: see keras_pspnet/data/synthetic/scenes.py.
    crop=(96, 256),
    fixed_size=True,
    batch_size=16,
    steps=300,
    steps_per_epoch=50,
    learning_rate=0.05,
    scenes=(1600, 200),
    evaluations=3,
)
