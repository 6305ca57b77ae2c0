"""The `aerial` model that ships with the package.

    python -m training.train aerial --data-dir dubai --output runs/aerial

Data: 72 aerial photographs of Dubai by Humans in the Loop with the Mohammed Bin
Rashid Space Center (CC0), cut into 539 training and 154 validation crops.
Network and recipe: Zhao et al., 2016, https://arxiv.org/abs/1612.01105, with a
ResNet-18 of half width, trained from scratch.
"""

from keras_pspnet.labels import AERIAL
from keras_pspnet.training.recipe import Recipe

RECIPE = Recipe(
    name="aerial",
    labels=AERIAL,
    # 3.2 million weights: 6 MB in float16, about a second per photograph.
    backbone="resnet18",
    width=0.5,
    crop=(240, 240),
    batch_size=8,
    # 178 passes over the crops: 1 hour 45 minutes on two cores with AMX.
    steps=12000,
    steps_per_epoch=200,
    # Without ImageNet weights, the paper's 0.01 trains too slowly.
    learning_rate=0.03,
    scales=(0.5, 2.0),
    flip=True,
    # Images from above have no upright orientation.
    rotate90=True,
    rotate=10.0,
    # Half of all pixels are land.
    cat_max_ratio=0.75,
    blur_probability=0.5,
    photometric=True,
    evaluations=6,
    dtype_policy="mixed_bfloat16",
)
