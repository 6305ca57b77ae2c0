"""`Recipe`: the values of a training run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from keras.optimizers import Adam, AdamW

from keras_pspnet.data import RGB
from keras_pspnet.data.augment.augmentation import (
    Augmentation,
    train_augmentation,
)
from keras_pspnet.labels import LabelSet
from keras_pspnet.losses import PixelLoss, named_losses
from keras_pspnet.models import PSPNet
from keras_pspnet.models.class_weights import class_weight_table
from keras_pspnet.models.named_backbone import default_normalization
from keras_pspnet.optimizers import PolynomialDecay
from keras_pspnet.pretrained import start_from
from keras_pspnet.training.recipe_rules import check_names, check_values

# Fields that do not affect the weights.
_WITHOUT_EFFECT = {
    "name",
    "val_split",
    "val_images",
    "evaluations",
    "checkpoint_steps",
}
# Fields added later, and their value in checkpoints of older runs.
_ADDED: dict[str, Any] = {
    "network": {},
    "class_weight": None,
    "bands": RGB,
    "loss": None,
    "optimizer": "sgd",
    "weight_decay": 1e-4,
    "ema": None,
    "start_from": None,
    "val_share": None,
}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The values of one run; a recipe file defines one as `RECIPE`.

    Args:
        name: Name of the run, and of its folder.
        labels: Names of the classes.
        data: Name of a published set, see `keras_pspnet.data.load`; None
            for the user's own folder, or for `scenes`.
        train_split: Split to train on; None for data without splits.
        val_split: Split to score on.
        val_share: Share in 0..1 of the images of `train_split` to score on
            instead of `val_split`. `seed` chooses them so that every class
            keeps a training image.
        val_images: Number of images of that split to score, or None for all.
        backbone: See `PSPNet`.
        width: See `PSPNet`.
        crop: (height, width) of the training crops.
        batch_size: Crops in a global batch.
        steps: Steps of the run.
        steps_per_epoch: Steps between checkpoints.
        learning_rate: Learning rate of the first step; it decays to 0.
        head_lr_multiplier: See `PSPNet.compile`.
        backbone_weights: See `PSPNet`.
        bin_sizes: See `PSPNet`.
        pooling: See `PSPNet`.
        reduce: See `PSPNet`.
        aux_weight: Weight of the auxiliary loss, against 1 for the main one;
            0 leaves out the auxiliary branch.
        fixed_size: Whether to build the network for the size of the crops
            instead of any size.
        scales: See `train_augmentation`, like all fields down to
            `photometric`.
        flip: Whether to flip at random.
        rotate90: Whether to rotate by multiples of 90 degrees at random.
        base_size: Box that an image fills at factor 1, or None.
        rotate: Largest angle in degrees.
        cat_max_ratio: Share of a crop that no single class may reach.
        center_padding: Whether to center small images in the crop.
        blur_probability: Share of the images to blur.
        photometric: Whether to change the colors.
        scenes: Number of procedural scenes to train on and to validate on, or
            None for images on disk.
        evaluations: Number of evaluations on the validation split, at the end
            of evenly spaced epochs; the last one is at the end of the run.
        checkpoint_steps: Steps between checkpoints within an epoch; every
            epoch ends with one.
        deterministic: Whether to use only TensorFlow's deterministic kernels,
            which make two runs equal bit for bit, at some cost.
        dtype_policy: Keras dtype policy.
        seed: Seed of weights, order and augmentation.
        network: Further arguments of `PSPNet`, such as
            `{"freeze": "batch_norm"}`. Unless images have 1 or 3 bands, it
            needs `"mean"` and `"std"`, which `--check-data` measures.
        class_weight: See `PSPNet.fit`; a dictionary or a list of factors.
        loss: Name of a loss -> factor, see `keras_pspnet.losses.named_losses`,
            or a loss of `keras_pspnet.losses`; None is the cross-entropy.
        optimizer: `"sgd"`, the paper's, or `"adam"` or `"adamw"`.
        weight_decay: L2 for `"sgd"`; Keras's `weight_decay` for the others.
        ema: Decay of the average of the weights to score and save, see
            `keras_pspnet.callbacks.WeightAverage`; None uses the weights
            themselves.
        start_from: A trained model of the same network, whose weights the run
            starts from, except those of a classifier for other classes; see
            `load_pretrained`.
        bands: Bands of the images, see `keras_pspnet.data.load`.

    Raises:
        ValueError: If the run is not a whole number of epochs, a name is not
            a field, or a value has the wrong type or is out of range.
    """

    name: str
    labels: LabelSet
    backbone: str
    width: float
    crop: tuple[int, int]
    batch_size: int
    steps: int
    steps_per_epoch: int
    learning_rate: float
    head_lr_multiplier: float = 1.0
    backbone_weights: str | None = None
    data: str | None = None
    train_split: str | None = "train"
    val_split: str | None = "val"
    val_share: float | None = None
    val_images: int | None = None
    bin_sizes: tuple[int, ...] = (1, 2, 3, 6)
    pooling: str = "average"
    reduce: bool = True
    aux_weight: float = 0.4
    fixed_size: bool = False
    scales: tuple[float, float] | None = (0.5, 2.0)
    flip: bool = True
    rotate90: bool = False
    base_size: tuple[int, int] | None = None
    rotate: float = 0.0
    cat_max_ratio: float = 1.0
    center_padding: bool = False
    blur_probability: float = 0.0
    photometric: bool = False
    scenes: tuple[int, int] | None = None
    evaluations: int = 10
    checkpoint_steps: int = 500
    deterministic: bool = False
    dtype_policy: str = "float32"
    seed: int = 0
    network: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    class_weight: Any = None
    bands: int = RGB
    loss: Mapping[str, float] | PixelLoss | None = None
    optimizer: str = "sgd"
    weight_decay: float = 1e-4
    ema: float | None = None
    start_from: str | None = None

    def __new__(cls, *args: Any, **kwargs: Any) -> Recipe:
        check_names(kwargs, [each.name for each in dataclasses.fields(cls)])
        return super().__new__(cls)

    def __post_init__(self) -> None:
        if isinstance(self.class_weight, np.ndarray):
            object.__setattr__(self, "class_weight", self.class_weight.tolist())
        check_values(self)
        # Keras would warn about missing data in a shorter last epoch.
        if self.steps % self.steps_per_epoch:
            raise ValueError(
                "`steps` must be a multiple of `steps_per_epoch`. Received: "
                f"steps={self.steps}, steps_per_epoch={self.steps_per_epoch}"
            )
        class_weight_table(self.class_weight, self.labels.num_classes)
        self.augmentation()

    def model(self) -> PSPNet:
        """Builds the network, with its initial weights."""
        model = PSPNet(
            self.labels.num_classes,
            self.backbone,
            (*(self.crop if self.fixed_size else (None, None)), self.bands),
            width=self.width,
            bin_sizes=self.bin_sizes,
            pooling=self.pooling,
            reduce=self.reduce,
            aux=self.aux_weight > 0,
            labels=self.labels,
            backbone_weights=self.backbone_weights,
            **self.network,
        )
        if self.start_from is not None:
            start_from(model, self.start_from)
        return model

    def compile(self, model: PSPNet) -> None:
        """Compiles a network from `model` for the run."""
        if self.optimizer == "sgd":
            how: dict[str, Any] = {
                "total_steps": self.steps,
                "learning_rate": self.learning_rate,
                "head_lr_multiplier": self.head_lr_multiplier,
                "weight_decay": self.weight_decay,
            }
        else:
            kind = {"adam": Adam, "adamw": AdamW}[self.optimizer]
            rate = PolynomialDecay(self.learning_rate, self.steps)
            how = {"optimizer": kind(rate, weight_decay=self.weight_decay)}
        loss: Any = self.loss
        if isinstance(loss, Mapping):
            loss = named_losses(loss)
        model.compile(loss=loss, loss_weights=self.loss_weights, **how)
        model.set_class_weight(self.class_weight)

    @property
    def loss_weights(self) -> dict[str, float] | None:
        """Weights by output for `PSPNet.compile`; None with one output."""
        if self.aux_weight == 0:
            return None
        return {"main": 1.0, "aux": self.aux_weight}

    def augmentation(self) -> Augmentation:
        """Returns the augmentation of the run, see `train_augmentation`."""
        return train_augmentation(
            self.crop,
            self.scales,
            self.flip,
            self.rotate90,
            base_size=self.base_size,
            rotate=self.rotate,
            cat_max_ratio=self.cat_max_ratio,
            center_padding=self.center_padding,
            blur_probability=self.blur_probability,
            photometric=self.photometric,
            mean=self._mean(),
        )

    def _mean(self) -> tuple[float, ...]:
        """Returns the mean of each band, or zeros until it is measured."""
        mean = self.network.get("mean")
        if mean is not None:
            return tuple(mean)
        if self.bands == RGB:
            return default_normalization(self.backbone)[0]
        return (0.0,) * self.bands

    def identity(self) -> dict[str, str]:
        """Returns name -> value of all fields that affect the weights."""
        return {
            field.name: repr(getattr(self, field.name))
            for field in dataclasses.fields(self)
            if field.name not in _WITHOUT_EFFECT
            and not (
                field.name in _ADDED
                and getattr(self, field.name) == _ADDED[field.name]
            )
        }

    def evaluated_epochs(self) -> list[int]:
        """Returns the epochs, from 0, after which to score the run."""
        epochs = self.steps // self.steps_per_epoch
        count = min(self.evaluations, epochs)
        return [-(-epochs * k // count) - 1 for k in range(1, count + 1)]

    def smoke_test(self) -> Recipe:
        """Returns a run of about a minute, to see that the loss falls."""
        return dataclasses.replace(
            self,
            width=min(self.width, 1 / 8),
            crop=(64, 64),
            batch_size=4,
            # Batch statistics keep 1.5 % of their initial values.
            steps=40,
            # Enough rows in the history to see whether the loss falls.
            steps_per_epoch=10,
            evaluations=2,
            # Published weights have full width.
            backbone_weights=None,
            start_from=None,
            val_images=8,
            scenes=None if self.scenes is None else (8, 4),
        )
