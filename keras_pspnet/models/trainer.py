"""The paper's training through Keras's `fit`: integer masks, two heads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from keras_pspnet.losses import SegmentationLoss
from keras_pspnet.models import fit_checks, fit_steps, types
from keras_pspnet.models.arguments import (
    LOSS_WEIGHTS,
    for_outputs,
    papers_optimizer,
)
from keras_pspnet.models.array_checks import as_array
from keras_pspnet.models.checked_inputs import CheckedInputs
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
from keras_pspnet.models.training_step import TrainingStep
from keras_pspnet.utils import check_integer, keras_private
from keras_pspnet.utils.types import Dataset


class SegmentationTrainer(TrainingStep, CheckedInputs, SavedTraining):
    """The training half of `PSPNet`.

    A subclass sets `num_classes`, `aux` (whether its output is a dictionary
    of `main` and `aux`) and `pyramid`.

    `global_step` counts training batches over all calls of `fit` and
    `train_on_batch`; a saved model keeps it. Under `mixed_float16` it exceeds
    the optimizer's `iterations` by the number of steps that were skipped
    because gradients overflowed.
    """

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
        """Configures training, by default as in the paper.

        A single loss applies to both outputs, and so do masks, sample weights
        and class weights in `fit`; metrics apply to `main`. Dictionaries by
        output name work too.

        Args:
            optimizer: None is SGD with momentum 0.9, L2 1e-4 and polynomial
                decay to 0; any Keras optimizer replaces it.
            loss: None is `SegmentationLoss()`.
            loss_weights: None is 1.0 for `main` and 0.4 for `aux`.
            metrics: None is mean IoU and pixel accuracy.
            weighted_metrics: As in Keras.
            total_steps: Length of the decay in steps. None leaves the length
                open until the first `fit`, whose last step ends the decay.
            learning_rate: Learning rate of the first step, for
                `optimizer=None`; None is 0.01.
            head_lr_multiplier: Factor on the learning rate of the layers
                without ImageNet weights, for `optimizer=None`; None is 1,
                semseg uses 10.
            weight_decay: L2 for `optimizer=None`; None is 1e-4.
            **kwargs: Passed to `keras.Model.compile`; on TensorFlow,
                `jit_compile` defaults to False.

        Raises:
            ValueError: If `total_steps` is not a positive integer, a number
                is negative or not finite, a loss or metric does not take
                labels and logits, an argument for `optimizer=None` is given
                with an optimizer, or a dictionary names an output that does
                not exist.

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
            # XLA, which "auto" chooses on one GPU, drops checks of the batch.
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
        """Steps until the learning rate is 0; None if unknown."""
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
        """Trains on integer masks, as `keras.Model.fit` does.

        Args:
            x: Images (N, H, W, bands) or a list of them, or a data set of
                (images, masks) batches.
            y: Masks (N, H, W) or (N, H, W, 1) of whole numbers. The label
                that the loss ignores, 255 by default, is not trained on.
            batch_size: As in Keras; arrays only.
            epochs: As in Keras.
            verbose: As in Keras.
            callbacks: As in Keras.
            validation_split: As in Keras.
            validation_data: As in Keras.
            class_weight: Class id -> factor on the loss of its pixels, 1 for
                the classes it does not name; or a list or array with a factor
                for each class; or `"balanced"`, which gives every class in an
                array of masks the same share of the loss.
            initial_epoch: As in Keras.
            steps_per_epoch: As in Keras.
            **kwargs: Passed to `keras.Model.fit`.

        Returns:
            Keras's `History`. With two outputs, each metric of `main` has two
            names, for callbacks too: `val_main_mean_iou` and `val_mean_iou`.

        Raises:
            ValueError: If images and masks differ in size, a label is not a
                whole number or outside 0..C-1 and 255, masks of two classes
                hold 0 and 255, a batch would hold one image while batch
                normalization is live, the length of the decay is unknown or
                too short for this fit, or `check_replicas` raises.

        Warns:
            DataWarning: If images seem scaled or normalized, objects seem to
                be marked 255, or all ground truth is of one class. For a data
                set the warning follows the first epoch.

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
        # A data set has its own order; Keras would warn about the argument.
        kwargs.setdefault("shuffle", count is not None)
        choose_modes(callbacks, self._metric_modes)
        fit_steps.check_rate_callbacks(self.optimizer, callbacks)
        # First, since the user's callbacks may read the count.
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
        """Evaluates on integer masks, as `keras.Model.evaluate` does.

        Args:
            x: As in `fit`.
            y: As in `fit`.
            **kwargs: Passed to `keras.Model.evaluate`.

        Returns:
            The result of `keras.Model.evaluate`.
        """
        if not kwargs.get("_use_cached_eval_dataset"):
            # Within a fit, `fit` has checked them.
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
            return_dict: As in Keras.

        Returns:
            The result of `keras.Model.train_on_batch`.

        Raises:
            ValueError: As in `fit`.
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
