"""What a training run is made of."""

from __future__ import annotations

import dataclasses

from keras_pspnet.labels import LabelSet
from keras_pspnet.model import PSPNet


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The values of one run; a recipe file holds one as `RECIPE`.

    Args:
        name: Name of the run, and of its folder.
        labels: Names of the classes.
        backbone: See `PSPNet`.
        width: See `PSPNet`.
        crop: (height, width) of the training crops.
        batch_size: Crops in a global batch.
        steps: Steps of the run.
        steps_per_epoch: Steps between checkpoints.
        learning_rate: Rate of the first step; it decays to 0.
        bin_sizes: See `PSPNet`.
        fixed_size: Whether the network takes pictures of the crops' size
            only, rather than any.
        scales: Least and greatest factor of random scaling, or None.
        flip: Whether to mirror at random.
        turns: Whether to turn by quarters at random.
        scenes: Procedural scenes to train on and to validate on, or None
            for a folder of the user's.
        dtype_policy: Keras dtype policy.
        seed: Seed of weights, order and changes.

    Raises:
        ValueError: If the run is no whole number of epochs.
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
    bin_sizes: tuple[int, ...] = (1, 2, 3, 6)
    fixed_size: bool = False
    scales: tuple[float, float] | None = (0.5, 2.0)
    flip: bool = True
    turns: bool = False
    scenes: tuple[int, int] | None = None
    dtype_policy: str = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        # Keras would warn of missing data in the last, shorter epoch.
        if self.steps % self.steps_per_epoch:
            raise ValueError(
                "`steps` must be a multiple of `steps_per_epoch`. Received: "
                f"steps={self.steps}, steps_per_epoch={self.steps_per_epoch}"
            )

    def model(self) -> PSPNet:
        """Builds the untrained network."""
        return PSPNet(
            self.labels.num_classes,
            self.backbone,
            (*self.crop, 3) if self.fixed_size else (None, None, 3),
            width=self.width,
            bin_sizes=self.bin_sizes,
            labels=self.labels,
        )

    def shrunk(self) -> Recipe:
        """Returns a run of a few seconds, to see that everything works."""
        return dataclasses.replace(
            self,
            width=self.width / 8,
            crop=(64, 64),
            batch_size=4,
            steps=4,
            steps_per_epoch=2,
            scenes=None if self.scenes is None else (8, 4),
        )
