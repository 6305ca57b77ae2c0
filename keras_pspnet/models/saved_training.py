"""Saves and restores training: the optimizer, its steps, the losses."""

from __future__ import annotations

import contextlib
import os
from typing import Any

import keras
import numpy as np

from keras_pspnet.models.arguments import is_loss_scaled, with_current_names
from keras_pspnet.models.compile_checks import LabelRule, label_rule
from keras_pspnet.models.fit_steps import steps_taken
from keras_pspnet.models.freezing import (
    check_optimized,
    refusing_other_optimizers,
)
from keras_pspnet.models.monitors import metric_modes
from keras_pspnet.utils import keras_private


class SavedTraining(keras.Model):
    """The part of `SegmentationTrainer` that saves and loads."""

    global_step: int = 0
    _label_rule: LabelRule | None
    _metric_modes: dict[str, str]
    # The flags of all layers that the compiled step was built with.
    _trained_flags: tuple[bool, ...] = ()

    def get_compile_config(self) -> dict[str, Any]:
        config = super().get_compile_config()
        if config:
            config["global_step"] = self.global_step
            config["loss_scaled"] = is_loss_scaled(self.optimizer)
        return config

    def compile_from_config(self, config: dict[str, Any]) -> None:
        config = with_current_names(config)
        global_step = config.pop("global_step", 0)
        loss_scaled = config.pop("loss_scaled", None)
        config = keras.saving.deserialize_keras_object(config)
        optimizer = config["optimizer"]
        # Keras wraps the optimizer if the process's policy asks for it, and
        # drops the state of one that was saved under another policy.
        if loss_scaled and not is_loss_scaled(optimizer):
            config["optimizer"] = keras.optimizers.LossScaleOptimizer(optimizer)
        self._label_rule = label_rule(config.get("loss"))
        self._metric_modes = metric_modes(
            [config.get("metrics"), config.get("weighted_metrics")]
        )
        super().compile(**config, auto_scale_loss=loss_scaled is None)
        self.global_step = global_step
        self.optimizer.build(self.trainable_variables)

    def save_own_variables(self, store: Any) -> None:
        self._build_optimizer()
        super().save_own_variables(store)
        # Without loss scaling, the optimizer's own count is the same.
        if self.compiled and is_loss_scaled(self.optimizer):
            store["global_step"] = np.asarray(self.global_step)

    def load_own_variables(self, store: Any) -> None:
        # Keras's stores are not mappings.
        own = {name: store[name] for name in tuple(store.keys())}
        if "global_step" in own:
            self.global_step = int(np.asarray(own.pop("global_step")))
        super().load_own_variables(own)

    def save(
        self, filepath: str | os.PathLike[str], *args: Any, **kwargs: Any
    ) -> None:
        """Saves to a `.keras` file, as `keras.Model.save` does.

        Args:
            filepath: The file.
            *args: Passed to `keras.Model.save`.
            **kwargs: Passed to `keras.Model.save`.

        Raises:
            ValueError: If the file is HDF5, which cannot hold this model.
        """
        if str(filepath).endswith((".h5", ".hdf5")):
            raise ValueError(
                "`filepath` must end in .keras: HDF5 files cannot be loaded "
                "as a PSPNet. For the weights alone, use "
                "save_weights('name.weights.h5'). "
                f"Received: filepath={str(filepath)!r}"
            )
        super().save(filepath, *args, **kwargs)

    def load_weights(
        self, filepath: str | os.PathLike[str], *args: Any, **kwargs: Any
    ) -> None:
        self._build_optimizer()
        with refusing_other_optimizers():
            super().load_weights(filepath, *args, **kwargs)
        # With loss scaling, `load_own_variables` has set it.
        if self.compiled and not is_loss_scaled(self.optimizer):
            self.global_step = steps_taken(self.optimizer)

    def _build_optimizer(self) -> None:
        # As late as possible: until the first step, layers may be frozen and
        # unfrozen.
        if not self.compiled or self.optimizer.built:
            return
        strategy = keras_private.strategy_of(self)
        with strategy.scope() if strategy else contextlib.nullcontext():
            self.optimizer.build(self.trainable_variables)

    def _prepare_step(self) -> None:
        """Makes the next step train the layers that are trainable now.

        Raises:
            ValueError: If that requires another optimizer.
        """
        self._build_optimizer()
        check_optimized(self)
        layers = keras_private.nested_layers(self)
        flags = tuple(layer.trainable for layer in layers)
        if flags != self._trained_flags:
            # The compiled step holds the flags as constants.
            self.train_function = None
        self._trained_flags = flags
