"""Training as the paper trains: Keras's `fit` with plain masks, two heads."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from keras_pspnet.layers import PyramidPoolingModule
from keras_pspnet.losses import SegmentationLoss
from keras_pspnet.models import fit_checks, fit_steps, types
from keras_pspnet.models.arguments import (
    LOSS_WEIGHTS,
    for_outputs,
    papers_optimizer,
)
from keras_pspnet.models.array_checks import as_array
from keras_pspnet.models.checked_inputs import CheckedInputs
from keras_pspnet.models.class_weights import class_weight_table, weigh_classes
from keras_pspnet.models.compile_checks import (
    check_loss_weights,
    check_losses,
    check_metrics,
    label_rule,
)
from keras_pspnet.models.monitors import (
    PlainNames,
    choose_modes,
    default_metrics,
    metric_modes,
)
from keras_pspnet.models.saved_training import SavedTraining
from keras_pspnet.utils import check_integer, keras_private
from keras_pspnet.utils.types import Dataset, Tensor


class SegmentationTrainer(CheckedInputs, SavedTraining):
    """The training half of `PSPNet`.

    A subclass sets `num_classes`, `aux` (whether the outputs are the
    dictionary of `main` and `aux`) and `pyramid`.

    `global_step` counts the batches that the optimizer was given, over all
    calls of `fit` and `train_on_batch`; a saved model keeps it. Under
    `mixed_float16` it exceeds the optimizer's `iterations` by the steps that
    were skipped because gradients overflowed.
    """

    pyramid: PyramidPoolingModule
    _class_table: Any = None

    def compile(
        self,
        optimizer: str | keras.optimizers.Optimizer | None = None,
        loss: types.Loss | Mapping[str, types.Loss] | None = None,
        loss_weights: float | Mapping[str, float] | None = None,
        metrics: types.Metrics | None = None,
        weighted_metrics: types.Metrics | None = None,
        *,
        total_steps: int | None = None,
        learning_rate: float | None = None,
        head_lr_multiplier: float | None = None,
        weight_decay: float | None = None,
        **kwargs: Any,
    ) -> None:
        """Configures training, by default as the paper trains.

        A loss, a list of metrics, masks, sample weights and class weights
        given plainly are meant for both outputs; metrics are reported for
        `main`. Dictionaries by output name work too.

        Args:
            optimizer: None is SGD with momentum 0.9, L2 1e-4 and polynomial
                decay to 0; anything that Keras takes overrides it.
            loss: None is `SegmentationLoss()`.
            loss_weights: None is 1.0 for `main` and 0.4 for `aux`.
            metrics: None is mean IoU and pixel accuracy.
            weighted_metrics: As Keras's.
            total_steps: Length of the decay in steps. None leaves it to the
                first `fit` that takes a step, which counts its batches.
            learning_rate: At the start, for `optimizer=None`; None is 0.01.
            head_lr_multiplier: Factor on the learning rate of the layers
                that do not come with ImageNet weights, for
                `optimizer=None`; None is 1, semseg trains with 10.
            weight_decay: L2 for `optimizer=None`; None is 1e-4.
            **kwargs: Passed to `keras.Model.compile`; `jit_compile` is
                False on TensorFlow unless it is given.

        Raises:
            ValueError: If `total_steps` is not a positive integer, a number
                is negative or not finite, a loss or metric does not fit, the
                recipe's arguments are given with an `optimizer`, or a
                dictionary names another output than there is.

        Examples:
            >>> net.compile(learning_rate=0.02, total_steps=1000)
            >>> net.optimizer
            <keras_pspnet.optimizers.SGD object at ...>
        """
        optimizer = papers_optimizer(
            optimizer,
            total_steps=total_steps,
            learning_rate=learning_rate,
            head_lr_multiplier=head_lr_multiplier,
            weight_decay=weight_decay,
        )
        if loss is None:
            loss = SegmentationLoss()
        check_losses(loss)
        check_loss_weights(loss_weights)
        self._label_rule = label_rule(loss)
        check_metrics([metrics, weighted_metrics], self._label_rule)
        if metrics is None:
            metrics = default_metrics(self.num_classes, self._label_rule)
        self._metric_modes = metric_modes([metrics, weighted_metrics])
        losses = for_outputs("loss", loss, self.aux)
        if loss_weights is None and self.aux:
            loss_weights = {name: LOSS_WEIGHTS[name] for name in losses}
        on_main = ("main",)
        if keras.backend.backend() == "tensorflow":
            # XLA, which "auto" takes on one GPU, drops checks of the batch.
            kwargs.setdefault("jit_compile", False)
        super().compile(
            optimizer=optimizer,
            loss=losses,
            loss_weights=for_outputs("loss_weights", loss_weights, self.aux),
            metrics=for_outputs("metrics", metrics, self.aux, on_main),
            weighted_metrics=for_outputs(
                "weighted_metrics", weighted_metrics, self.aux, on_main
            ),
            **kwargs,
        )
        self.global_step = fit_steps.steps_taken(self.optimizer)

    @property
    def total_steps(self) -> int | None:
        """Steps until the learning rate is 0; None where unknown."""
        found = fit_steps.decays(self.optimizer)
        return found[0][1].total_steps if found else None

    def fit(
        self,
        x: types.Data = None,
        y: types.Masks | None = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: int | str = "auto",
        callbacks: types.Callbacks | None = None,
        validation_split: float = 0.0,
        validation_data: Dataset | tuple | None = None,
        *,
        class_weight: types.ClassWeight | None = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Trains as `keras.Model.fit` does, with plain masks.

        Args:
            x: Images (N, H, W, bands) or a list of them, or a data set of
                (images, masks) batches.
            y: Masks (N, H, W) or (N, H, W, 1) of whole numbers; 255, or what
                the loss ignores, is ignored.
            batch_size: As Keras's; arrays only.
            epochs: As Keras's.
            verbose: As Keras's.
            callbacks: As Keras's.
            validation_split: As Keras's.
            validation_data: As Keras's.
            class_weight: Class id -> factor on the loss of its pixels, where
                classes that are not named have 1; or a list or array with a
                factor for each class; or `"balanced"`, which gives every
                class of an array of masks the same share.
            initial_epoch: As Keras's.
            steps_per_epoch: As Keras's.
            **kwargs: Passed to `keras.Model.fit`.

        Returns:
            Keras's `History`. With two outputs, metrics of `main` have two
            names, for callbacks too: `val_main_mean_iou`, `val_mean_iou`.

        Raises:
            ValueError: If sizes of images and masks differ, a label is no
                whole number or outside 0..C-1 and 255, two classes are given
                as 0 and 255, a batch would hold one image while batch
                normalization is live, the decay is of unknown length or ends
                before this fit does, or `check_replicas` refuses.

        Warns:
            DataWarning: If images seem scaled or normalized, objects marked
                255, or all ground truth is of one class; for a data set after
                its first epoch.

        Examples:
            >>> net.compile()
            >>> history = net.fit(images, masks, epochs=2, verbose=0)
            >>> sorted(history.history)
            ['loss', 'mean_iou', 'pixel_accuracy']
        """
        keras_private.check_compiled(self)
        if batch_size is not None:
            batch_size = check_integer("batch_size", batch_size)
        fit_checks.check_replicas(self, in_fit=True)
        x, y = as_array("`x`", x), as_array("`y`", y)
        self._check_arrays(x, y, kwargs.get("sample_weight"))
        validation_data = self._checked_validation(validation_data)
        count = fit_checks.array_length(x, validation_split)
        if count is not None and fit_checks.needs_two_images(self.pyramid):
            fit_checks.check_last_batch(count, batch_size or 32)
        steps = fit_checks.steps_per_epoch_of(
            x, count, batch_size or 32, steps_per_epoch
        )
        if steps is not None:
            steps *= max(0, epochs - initial_epoch)
        self.set_class_weight(class_weight, y)
        self._prepare_step()
        # Data sets bring their own order; Keras warns about the argument.
        kwargs.setdefault("shuffle", count is not None)
        choose_modes(callbacks, self._metric_modes)
        fit_steps.check_rate_callbacks(self.optimizer, callbacks)
        # First, since the user's callbacks may ask for the count.
        counter, names = fit_steps.StepCounter(), PlainNames()
        callbacks = [counter, names, *keras.tree.flatten(callbacks or [])]
        callbacks += self._reports(x, validation_data)
        with (
            fit_checks.plain_errors(),
            fit_steps.decaying_over(self, steps, callbacks),
        ):
            return super().fit(
                x,
                y,
                batch_size=batch_size,
                epochs=epochs,
                verbose=verbose,
                callbacks=callbacks,
                validation_split=validation_split,
                validation_data=validation_data,
                initial_epoch=initial_epoch,
                steps_per_epoch=steps_per_epoch,
                **kwargs,
            )

    def evaluate(
        self, x: types.Data = None, y: types.Masks | None = None, **kwargs: Any
    ) -> types.Results:
        """Evaluates as `keras.Model.evaluate` does, with plain masks.

        Args:
            x: As in `fit`.
            y: As in `fit`.
            **kwargs: Passed to `keras.Model.evaluate`.

        Returns:
            What `keras.Model.evaluate` returns.
        """
        if not kwargs.get("_use_cached_eval_dataset"):
            # In a fit, it has checked them before.
            x, y = as_array("`x`", x), as_array("`y`", y)
            self._check_arrays(x, y, kwargs.get("sample_weight"))
            callbacks = keras.tree.flatten(kwargs.pop("callbacks", None) or [])
            kwargs["callbacks"] = [*callbacks, *self._reports(None, x)]
        with fit_checks.plain_errors():
            return super().evaluate(x, y, **kwargs)

    def train_on_batch(
        self,
        x: types.Images,
        y: types.Masks | None = None,
        sample_weight: types.ByOutput | None = None,
        class_weight: types.ClassWeight | None = None,
        return_dict: bool = False,
    ) -> types.Results:
        """Takes one step as `keras.Model.train_on_batch` does.

        Args:
            x: Images (B, H, W, bands).
            y: Integer masks (B, H, W) or (B, H, W, 1).
            sample_weight: As in `fit`.
            class_weight: As in `fit`.
            return_dict: As Keras's.

        Returns:
            What `keras.Model.train_on_batch` returns.

        Raises:
            ValueError: As `fit`.
        """
        self.check_replicas()
        x, y = as_array("`x`", x), as_array("`y`", y)
        self._check_arrays(x, y, sample_weight, binary="skip", whole=False)
        fit_steps.check_decay(self.optimizer, 1)
        self.set_class_weight(class_weight, y)
        self._prepare_step()
        with fit_checks.plain_errors():
            logs = super().train_on_batch(
                x, y, sample_weight=sample_weight, return_dict=return_dict
            )
        self.global_step += 1
        return logs

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

    def train_step(self, *arguments: Any) -> Any:
        # JAX passes the state of the run before the batch.
        *state, data = arguments
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        x = fit_checks.with_checked_batch(
            as_array("`x`", x), fit_checks.needs_two_images(self.pyramid)
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
