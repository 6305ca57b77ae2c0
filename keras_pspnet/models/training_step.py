"""The step of training, which `fit` and loops of one's own take."""

from __future__ import annotations

import contextlib
from typing import Any

import keras
import numpy as np

from keras_pspnet.layers import PyramidPoolingModule
from keras_pspnet.models import fit_checks, types
from keras_pspnet.models.arguments import for_outputs
from keras_pspnet.models.array_checks import as_array
from keras_pspnet.models.class_weights import class_weight_table, weigh_classes
from keras_pspnet.models.compile_checks import LabelRule
from keras_pspnet.utils import keras_private
from keras_pspnet.utils.types import Tensor


class TrainingStep(keras.Model):
    """The part of `SegmentationTrainer` that takes a step.

    A loop of one's own calls `check_replicas`, `build_training` and
    `set_class_weight` before it runs `train_step`; `fit` does so itself.
    """

    num_classes: int
    aux: bool
    pyramid: PyramidPoolingModule
    _label_rule: LabelRule | None
    _class_table: Any = None

    def check_replicas(self) -> None:
        """Refuses what breaks, or trains wrongly, on several replicas.

        `fit` and `train_on_batch` ask it; a loop that runs `train_step` in
        `tf.distribute`'s replicas should, too, before its first step. With
        one replica nothing is refused.

        Raises:
            ValueError: If the model is not compiled; or, on several replicas,
                if it is compiled with `steps_per_execution` above 1 or with
                `jit_compile`, if an optimizer has
                `gradient_accumulation_steps` or `use_ema`, or if the process
                has trained with another strategy before.
        """
        keras_private.check_compiled(self)
        fit_checks.check_replicas(self)

    def build_training(self, height: int | None, width: int | None) -> None:
        """Creates all variables that a step of training needs.

        Keras's `fit` does so by itself. A loop that runs `train_step` in
        `tf.distribute`'s replicas calls this once before, since none of
        them can create variables. Nothing is computed, and variables that
        there are keep their values.

        Args:
            height: Height of the images in pixels, None where it varies.
            width: Width of the images in pixels, None where it varies.

        Raises:
            ValueError: If the model is not compiled.

        Examples:
            >>> net.compile(total_steps=1000)
            >>> net.build_training(None, None)
        """
        keras_private.check_compiled(self)
        shape = (None, height, width, self.input_shape[-1])
        images = keras.KerasTensor(shape, "float32")
        masks = keras.KerasTensor((None, height, width), "int32")
        strategy = keras_private.strategy_of(self)
        with strategy.scope() if strategy else contextlib.nullcontext():
            keras_private.build_losses(self)
            keras_private.build_training(self, (images, masks, None))

    def set_class_weight(
        self,
        class_weight: types.ClassWeight | None,
        masks: types.Masks | None = None,
    ) -> None:
        """Weighs the pixels of classes in the steps that follow.

        `fit` does so itself; a loop of `train_step` calls this first.

        Args:
            class_weight: As in `fit`.
            masks: What `"balanced"` counts.

        Raises:
            ValueError: As `fit`.
        """
        table: Any = class_weight_table(class_weight, self.num_classes, masks)
        if not np.array_equal(table, self._class_table):
            # The table is a constant of the compiled step.
            self.train_function = None
        self._class_table = table

    def train_step(self, *arguments: Any) -> Any:
        # JAX passes the state of the run before the batch.
        *state, data = arguments
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        x = fit_checks.with_checked_batch(
            as_array("`x`", x), fit_checks.needs_two_images(self.pyramid)
        )
        x = fit_checks.with_checked_labels(
            x, y, self.num_classes, self._label_rule
        )
        data = keras.utils.pack_x_y_sample_weight(x, y, sample_weight)
        return super().train_step(*state, data)

    def compute_loss(
        self,
        x: Tensor | None = None,
        y: types.ByOutput | None = None,
        y_pred: types.ByOutput | None = None,
        sample_weight: types.ByOutput | None = None,
        training: bool = True,
    ) -> Tensor:
        y = for_outputs("y", y, self.aux)
        sample_weight = for_outputs("sample_weight", sample_weight, self.aux)
        if training and self._class_table is not None:
            sample_weight = weigh_classes(self._class_table, y, sample_weight)
        return super().compute_loss(x, y, y_pred, sample_weight, training)

    def _maybe_symbolic_build(self, **batch: Any) -> None:
        # Keras's own fails where replicas' parts of a batch differ in size.
        if keras_private.strategy_of(self) is not None:
            self.build_training(*self.input_shape[1:3])
        else:
            keras_private.build_losses(self)
