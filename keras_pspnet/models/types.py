"""What signatures of `compile`, `fit` and `evaluate` name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import keras
import numpy as np

from keras_pspnet.utils.types import Dataset, Tensor

# What `compile` and `fit` take for each output, as Keras does.
Loss: TypeAlias = str | keras.losses.Loss | Callable[[Tensor, Tensor], Tensor]
Metric: TypeAlias = (
    str | keras.metrics.Metric | Callable[[Tensor, Tensor], Tensor]
)
Metrics: TypeAlias = (
    Metric | Sequence[Metric] | Mapping[str, Metric | Sequence[Metric]]
)
# One of both outputs, or one for each by its name.
ByOutput: TypeAlias = Tensor | Mapping[str, Tensor]
Images: TypeAlias = Tensor | Sequence[Tensor]
Data: TypeAlias = Images | Dataset
Masks: TypeAlias = ByOutput | Sequence[Tensor]
ClassWeight: TypeAlias = (
    str | Mapping[int, float] | Sequence[float] | np.ndarray
)
# What `keras.Model` returns of a batch or a set.
Results: TypeAlias = float | list[float] | dict[str, float]
Callbacks: TypeAlias = (
    keras.callbacks.Callback | Sequence[keras.callbacks.Callback]
)
