"""Training as the paper trains: Keras's `fit` with plain masks, two heads."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np

from keras_pspnet import optimizers
from keras_pspnet.fitting import (
    BATCH_OF_ONE,
    FEWER_THAN_REPLICAS,
    array_length,
    cardinality,
    check_arrays,
    class_weight_table,
    plain_errors,
    weigh_classes,
)
from keras_pspnet.layers import PyramidPoolingModule
from keras_pspnet.losses import SegmentationLoss
from keras_pspnet.metrics import MeanIoU, PixelAccuracy
from keras_pspnet.replicas import (
    claim_collectives,
    num_replicas,
    replica_sum,
)

# The paper's loss weights, section 5.1.
LOSS_WEIGHTS = {"main": 1.0, "aux": 0.4}
# Variables that do not come with ImageNet weights.
NEW_LAYERS = r"^(head|aux)_"


class PaperTrainer(keras.Model):
    """The training half of `PSPNet`.

    A subclass sets `num_classes`, `aux` (whether the outputs are the
    dictionary of `main` and `aux`) and `pyramid`.

    `steps_taken` counts the batches since `compile`, over all calls of `fit`
    and `train_on_batch`; a saved model keeps it. Under `mixed_float16` it
    exceeds the optimizer's `iterations` by the steps that were skipped
    because gradients overflowed.
    """

    num_classes: int
    aux: bool
    pyramid: PyramidPoolingModule
    steps_taken: int = 0

    # Of the current run; set by compile() and fit().
    _schedule: Any = None
    _awaits_total_steps = False
    _class_table: np.ndarray | None = None

    def compile(
        self,
        optimizer: Any = None,
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        *,
        total_steps: int | None = None,
        learning_rate: float = 0.01,
        head_rate_factor: float = 1.0,
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
                first `fit`, which counts its epochs times its batches.
            learning_rate: Rate of the first step, for `optimizer=None`.
            head_rate_factor: Factor on the rate of the layers that do not
                come with ImageNet weights, for `optimizer=None`; semseg
                trains with 10.
            **kwargs: Passed to `keras.Model.compile`; `jit_compile` is
                False on TensorFlow unless it is given.

        Raises:
            ValueError: If `total_steps` is not a positive integer, the
                recipe's arguments are given together with an `optimizer`, or
                a dictionary names another output than there is.

        Examples:
            >>> net.compile(learning_rate=0.02, total_steps=1000)
            >>> net.optimizer
            <keras_pspnet.optimizers.SGD object at ...>
        """
        if total_steps is not None and not (
            isinstance(total_steps, int | np.integer) and total_steps > 0
        ):
            raise ValueError(
                "`total_steps` must be a positive integer. "
                f"Received: total_steps={total_steps!r}"
            )
        if optimizer is not None and (
            total_steps is not None
            or learning_rate != 0.01
            or head_rate_factor != 1.0
        ):
            raise ValueError(
                "`total_steps`, `learning_rate` and `head_rate_factor` must "
                "be left out where an optimizer is given. "
                f"Received: optimizer={optimizer!r}"
            )
        self._awaits_total_steps = optimizer is None and total_steps is None
        self._schedule = None
        self.steps_taken = 0
        if optimizer is None:
            self._schedule = optimizers.poly_decay(
                learning_rate, int(total_steps or 1)
            )
            factors = {}
            if head_rate_factor != 1.0:
                factors = {NEW_LAYERS: head_rate_factor}
            optimizer = optimizers.SGD(self._schedule, rate_factors=factors)
        if loss is None:
            loss = SegmentationLoss()
        if metrics is None:
            metrics = [
                MeanIoU(self.num_classes),
                PixelAccuracy(self.num_classes),
            ]
        for argument, value in {
            "loss": loss,
            "loss_weights": loss_weights,
            "metrics": metrics,
            "weighted_metrics": weighted_metrics,
        }.items():
            self._check_output_names(argument, value)
        if self.aux:
            loss = _for_outputs(loss, ("main", "aux"))
            metrics = _for_outputs(metrics, ("main",))
            weighted_metrics = _for_outputs(weighted_metrics, ("main",))
            if loss_weights is None:
                loss_weights = {name: LOSS_WEIGHTS[name] for name in loss}
        else:
            loss, loss_weights, metrics, weighted_metrics = (
                _of_main(value)
                for value in (loss, loss_weights, metrics, weighted_metrics)
            )
        if keras.backend.backend() == "tensorflow":
            # XLA drops the checks of labels and of the batch's size, which
            # "auto" would let it do on one GPU.
            kwargs.setdefault("jit_compile", False)
        super().compile(
            optimizer=optimizer,
            loss=loss,
            loss_weights=loss_weights,
            metrics=metrics,
            weighted_metrics=weighted_metrics,
            **kwargs,
        )
        # A model saved before its first step has to load without a warning.
        self.optimizer.build(self.trainable_variables)

    @property
    def total_steps(self) -> int | None:
        """Steps over which the recipe's rate decays; None where unknown."""
        if self._schedule is None or self._awaits_total_steps:
            return None
        return int(self._schedule.decay_steps)

    def get_compile_config(self) -> dict[str, Any]:
        config = super().get_compile_config()
        if config:
            config["awaits_total_steps"] = self._awaits_total_steps
            config["paper_schedule"] = self._schedule is not None
            config["steps_taken"] = self.steps_taken
            config["loss_scaled"] = _is_loss_scaled(self.optimizer)
        return config

    def compile_from_config(self, config: dict[str, Any]) -> None:
        config = dict(config)
        awaits = config.pop("awaits_total_steps", False)
        paper = config.pop("paper_schedule", False)
        steps_taken = config.pop("steps_taken", 0)
        loss_scaled = config.pop("loss_scaled", None)
        config = keras.saving.deserialize_keras_object(config)
        optimizer = config["optimizer"]
        # Keras wraps by the policy of the process, and would then drop all
        # state of an optimizer that was saved under another.
        if loss_scaled and not _is_loss_scaled(optimizer):
            config["optimizer"] = keras.optimizers.LossScaleOptimizer(optimizer)
        super().compile(**config, auto_scale_loss=loss_scaled is None)
        self.steps_taken = steps_taken
        self._awaits_total_steps = awaits
        if paper:
            # Under mixed_float16 Keras wraps the optimizer.
            inner = getattr(self.optimizer, "inner_optimizer", self.optimizer)
            self._schedule = getattr(inner, "_learning_rate")  # noqa: B009
        self.optimizer.build(self.trainable_variables)

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        *,
        class_weight: Mapping[int, float] | None = None,
        steps_per_epoch: int | None = None,
        **kwargs: Any,
    ) -> Any:
        """Trains as `keras.Model.fit` does, with plain masks.

        Args:
            x: Images (N, H, W, 3), or a data set of (images, masks) batches.
            y: Integer masks (N, H, W) or (N, H, W, 1); 255 is ignored.
            batch_size: As Keras's; arrays only.
            epochs: As Keras's.
            verbose: As Keras's.
            callbacks: As Keras's.
            validation_split: As Keras's.
            validation_data: As Keras's.
            class_weight: Class id -> factor on the loss of its pixels;
                classes that are not named have 1.
            steps_per_epoch: As Keras's.
            **kwargs: Passed to `keras.Model.fit`.

        Returns:
            Keras's `History`.

        Raises:
            ValueError: If sizes of images and masks differ, a label is
                outside 0..C-1 and 255, a batch would hold one image while
                batch normalisation is live, the length of the decay cannot
                be told, the decay has come to its end, `check_replicas`
                refuses, or the model is one of several workers.

        Examples:
            >>> net.compile()
            >>> history = net.fit(images, masks, epochs=2, verbose=0)
            >>> sorted(history.history)
            ['loss', 'mean_iou', 'pixel_accuracy']
        """
        self._assert_compile_called("fit")
        self._check_one_worker()
        self.check_replicas()
        check_arrays(x, y, self.num_classes)
        if isinstance(validation_data, tuple) and len(validation_data) > 1:
            check_arrays(
                validation_data[0], validation_data[1], self.num_classes
            )
        count = array_length(x)
        if count is not None:
            count = int(np.floor(count * (1.0 - validation_split)))
            self._check_array_batches(count, batch_size or 32)
        self._set_class_weight(class_weight)
        awaited = self._awaits_total_steps
        self._set_total_steps(
            x, count, batch_size or 32, epochs, steps_per_epoch
        )
        # Data sets bring their own order; Keras warns about the argument.
        kwargs.setdefault("shuffle", count is not None)
        callbacks = _counting_first(callbacks)
        with self._length_kept_if_trained(awaited), plain_errors():
            return super().fit(
                x,
                y,
                batch_size=batch_size,
                epochs=epochs,
                verbose=verbose,
                callbacks=callbacks,
                validation_split=validation_split,
                validation_data=validation_data,
                steps_per_epoch=steps_per_epoch,
                **kwargs,
            )

    def evaluate(self, x: Any = None, y: Any = None, **kwargs: Any) -> Any:
        """Evaluates as `keras.Model.evaluate` does, with plain masks.

        Args:
            x: As in `fit`.
            y: As in `fit`.
            **kwargs: Passed to `keras.Model.evaluate`.

        Returns:
            What `keras.Model.evaluate` returns.
        """
        check_arrays(x, y, self.num_classes)
        with plain_errors():
            return super().evaluate(x, y, **kwargs)

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: Mapping[int, float] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """Takes one step as `keras.Model.train_on_batch` does.

        Args:
            x: Images (B, H, W, 3).
            y: Integer masks (B, H, W) or (B, H, W, 1).
            sample_weight: As in `fit`.
            class_weight: As in `fit`.
            return_dict: As Keras's.

        Returns:
            What `keras.Model.train_on_batch` returns.

        Raises:
            ValueError: As `fit`.
        """
        self._assert_compile_called("train_on_batch")
        self.check_replicas()
        check_arrays(x, y, self.num_classes)
        if self._awaits_total_steps:
            raise ValueError(
                "`total_steps` must be given to compile() before single "
                "steps are taken. Received: total_steps=None"
            )
        self._check_decay_left()
        self._set_class_weight(class_weight)
        with plain_errors():
            logs = super().train_on_batch(
                x, y, sample_weight=sample_weight, return_dict=return_dict
            )
        self.steps_taken += 1
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
        self._assert_compile_called("check_replicas")
        strategy = self._strategy()
        if strategy is None or strategy.num_replicas_in_sync < 2:
            return
        for name, owner, wanted in (
            ("steps_per_execution", self, 1),
            ("jit_compile", self, False),
            *(
                (name, optimizer, wanted)
                for optimizer in _with_inner(self.optimizer)
                for name, wanted in (
                    ("gradient_accumulation_steps", None),
                    ("use_ema", False),
                )
            ),
        ):
            value = getattr(owner, name)
            if value != wanted:
                raise ValueError(
                    f"`{name}` must be {wanted} on several replicas. "
                    f"Received: {name}={value} on "
                    f"{strategy.num_replicas_in_sync} replicas"
                )
        claim_collectives(strategy)

    def build_training(self, height: int | None, width: int | None) -> None:
        """Creates all variables that a step of training needs.

        Keras's `fit` does so by itself. A loop that runs `train_step` in
        `tf.distribute`'s replicas calls this once before, since none of
        them can create variables. Nothing is computed, and variables that
        there are keep their values.

        Args:
            height: Height of the pictures in pixels, None where it varies.
            width: Width of the pictures in pixels, None where it varies.

        Raises:
            ValueError: If the model is not compiled.

        Examples:
            >>> net.compile(total_steps=1000)
            >>> net.build_training(None, None)
        """
        self._assert_compile_called("build_training")
        images = keras.KerasTensor((None, height, width, 3), "float32")
        masks = keras.KerasTensor((None, height, width), "int32")
        strategy = self._strategy()
        with strategy.scope() if strategy else contextlib.nullcontext():
            self._symbolic_build(data_batch=(images, masks, None))

    def train_step(self, *arguments: Any) -> Any:
        # JAX passes the state of the run before the batch.
        *state, data = arguments
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        x = self._with_checked_batch(x)
        data = keras.utils.pack_x_y_sample_weight(x, y, sample_weight)
        return super().train_step(*state, data)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        if training:
            sample_weight = self._with_class_weight(y, sample_weight)
        return super().compute_loss(
            x=x,
            y=self._by_output(y),
            y_pred=y_pred,
            sample_weight=self._by_output(sample_weight),
            training=training,
        )

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> Any:
        return super().compute_metrics(
            x,
            self._by_output(y),
            y_pred,
            sample_weight=self._by_output(sample_weight),
        )

    def _strategy(self) -> Any:
        """Returns TensorFlow's strategy, None on other backends."""
        if keras.backend.backend() != "tensorflow":
            return None
        return self.distribute_strategy

    def _check_one_worker(self) -> None:
        """Refuses `fit` on several workers, where Keras's own breaks."""
        strategy = self._strategy()
        if strategy is None or strategy.num_replicas_in_sync < 2:
            return
        import tensorflow as tf

        if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
            raise ValueError(
                "`fit` must run on one worker: on several, train with "
                "`keras-pspnet train`, or in a loop that runs `train_step`. "
                f"Received: {type(strategy).__name__} of "
                f"{strategy.num_replicas_in_sync} replicas"
            )

    def _maybe_symbolic_build(
        self, iterator: Any = None, data_batch: Any = None
    ) -> None:
        # Keras averages the replicas' parts of the first batch to learn its
        # shape, and fails where they differ in size.
        if self._distribute_strategy is not None:
            self.build_training(*self.input_shape[1:3])

    def _check_output_names(self, argument: str, value: Any) -> None:
        if not isinstance(value, Mapping):
            return
        names = ("main", "aux") if self.aux else ("main",)
        unknown = sorted(set(value) - {"main", "aux"})
        if unknown or not set(value) & set(names):
            raise ValueError(
                f"`{argument}` must name the outputs {' and '.join(names)}. "
                f"Received: {argument} for {', '.join(map(repr, value))}"
            )

    def _by_output(self, value: Any) -> Any:
        """Gives a plain mask or weight to every output that is trained."""
        if value is None:
            return None
        if self.aux:
            return _for_outputs(value, ("main", "aux"))
        return _of_main(value)

    def _with_class_weight(self, y: Any, sample_weight: Any) -> Any:
        table = self._class_table
        if table is None:
            return sample_weight
        if not isinstance(y, Mapping):
            return weigh_classes(table, y, sample_weight)
        given = sample_weight or {}
        return {
            name: weigh_classes(table, y[name], given.get(name)) for name in y
        }

    def _set_class_weight(
        self, class_weight: Mapping[int, float] | None
    ) -> None:
        table = class_weight_table(class_weight, self.num_classes)
        if table is None or self._class_table is None:
            changed = table is not self._class_table
        else:
            changed = not np.array_equal(table, self._class_table)
        if changed:
            # The table is a constant of the compiled step.
            self.train_function = None
        self._class_table = table

    def _set_total_steps(
        self,
        x: Any,
        count: int | None,
        batch_size: int,
        epochs: int,
        steps_per_epoch: int | None,
    ) -> None:
        if self._awaits_total_steps:
            steps = steps_per_epoch
            if steps is None and count is not None:
                steps = -(-count // batch_size)
            if steps is None:
                steps = cardinality(x)
            if steps is None:
                raise ValueError(
                    "`total_steps` must be given to compile(), or "
                    "`steps_per_epoch` to fit(), where the number of batches "
                    "cannot be told from the data. Received: "
                    f"x={type(x).__name__} of unknown length"
                )
            self._schedule.decay_steps = max(1, epochs * steps)
            self._awaits_total_steps = False
        self._check_decay_left()

    @contextlib.contextmanager
    def _length_kept_if_trained(self, awaited: bool) -> Iterator[None]:
        """Lets the next fit set the decay's length if this one never began."""
        try:
            yield
        except BaseException:
            if awaited and int(self.optimizer.iterations.numpy()) == 0:
                self._awaits_total_steps = True
            raise

    def _check_decay_left(self) -> None:
        if self._schedule is None:
            return
        done = int(self.optimizer.iterations.numpy())
        if done >= self._schedule.decay_steps:
            raise ValueError(
                "`total_steps` must exceed the steps taken: the learning "
                "rate has decayed to 0 and nothing would be learned. Call "
                "compile() again to start a new run. Received: "
                f"total_steps={self._schedule.decay_steps}, "
                f"steps taken={done}"
            )

    def _one_pixel_bin_is_live(self) -> bool:
        """Tells whether the 1x1 bin normalises over the batch alone."""
        return any(
            bins == 1 and norm.trainable
            for bins, norm in zip(
                self.pyramid.bin_sizes, self.pyramid.norms, strict=False
            )
        )

    def _check_array_batches(self, count: int, batch_size: int) -> None:
        last = count % batch_size or min(count, batch_size)
        if last == 1 and self._one_pixel_bin_is_live():
            raise ValueError(
                BATCH_OF_ONE + f"Received: {count} images with "
                f"batch_size={batch_size}, whose last batch has 1"
            )

    def _with_checked_batch(self, x: Any) -> Any:
        """Refuses batches that are too small, at run time where not before.

        The checks come before the network: a replica without an image fails
        in one of its layers, and that error could be the first.
        """
        batch, replicas = x.shape[0], num_replicas()
        live = self._one_pixel_bin_is_live()
        if batch is not None:
            if live and batch * replicas == 1:
                raise ValueError(BATCH_OF_ONE + "Received: a batch of 1")
            return x
        if keras.backend.backend() != "tensorflow":
            return x
        import tensorflow as tf

        count = tf.shape(x)[0]
        checks = []
        if live:
            checks.append(
                tf.debugging.Assert(
                    replica_sum(count) > 1,
                    [BATCH_OF_ONE + "Received: a batch of 1"],
                )
            )
        if replicas > 1:
            # One after the other, so that the same one fails everywhere.
            with tf.control_dependencies(checks):
                fed = replica_sum(tf.cast(count > 0, "int32"))
                checks.append(
                    tf.debugging.Assert(
                        tf.equal(fed, replicas),
                        [
                            FEWER_THAN_REPLICAS
                            + f"Received: {replicas} replicas"
                        ],
                    )
                )
        with tf.control_dependencies(checks):
            return tf.identity(x)


class _StepCounter(keras.callbacks.Callback):
    """Counts the batches of `fit`; the optimizer's count may skip some."""

    # Others would make Keras wait for the device after every step. It has
    # called all when an epoch ends.
    async_safe = True

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._before = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._before = self.model.steps_taken

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        # Keras counts an execution of several steps whole, even if the epoch
        # ends within.
        done = min(batch + 1, self.params.get("steps") or batch + 1)
        with self._lock:
            self.model.steps_taken = max(
                self.model.steps_taken, self._before + done
            )


def _counting_first(callbacks: Any) -> Any:
    """Puts a step counter before a user's callbacks, which may ask it."""
    if isinstance(callbacks, keras.callbacks.CallbackList):
        first = callbacks.callbacks[:1]
        if not any(isinstance(each, _StepCounter) for each in first):
            counter = _StepCounter()
            counter.set_model(callbacks.model)
            counter.set_params(callbacks.params)
            callbacks.callbacks.insert(0, counter)
        return callbacks
    return [_StepCounter(), *keras.tree.flatten(callbacks or [])]


def _with_inner(optimizer: Any) -> Iterator[Any]:
    """Gives an optimizer and those that it wraps, at any depth."""
    yield optimizer
    wrapped = [getattr(optimizer, "inner_optimizer", None)]
    for inner in [*wrapped, *getattr(optimizer, "optimizers", [])]:
        if inner is not None:
            yield from _with_inner(inner)


def _is_loss_scaled(optimizer: Any) -> bool:
    return isinstance(optimizer, keras.optimizers.LossScaleOptimizer)


def _for_outputs(value: Any, names: tuple[str, ...]) -> Any:
    if value is None or isinstance(value, Mapping):
        return value
    return dict.fromkeys(names, value)


def _of_main(value: Any) -> Any:
    return value["main"] if isinstance(value, Mapping) else value
