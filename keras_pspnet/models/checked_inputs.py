"""A model that checks its images and masks."""

from __future__ import annotations

import contextlib
from typing import Any

import keras

from keras_pspnet.labels import IGNORE_LABEL
from keras_pspnet.models.arguments import for_outputs
from keras_pspnet.models.array_checks import (
    as_array,
    check_arrays,
    check_weights,
)
from keras_pspnet.models.compile_checks import LabelRule
from keras_pspnet.models.fit_checks import plain_errors
from keras_pspnet.models.stream_checks import InputReport
from keras_pspnet.models.types import ByOutput, Images, Masks, Results
from keras_pspnet.utils import keras_private
from keras_pspnet.utils.plausibility import is_array
from keras_pspnet.utils.types import Tensor


class CheckedInputs(keras.Model):
    """The part of `SegmentationTrainer` that checks data.

    Arrays are checked before the first step. For a data set, the graph counts
    suspicious images and masks, and a report follows the first epoch.
    """

    num_classes: int
    aux: bool
    _label_rule: LabelRule | None = None
    # Keras neither tracks callbacks nor saves them with the model.
    _input_report: InputReport | None = None

    @property
    def _band_means(self) -> tuple[float, ...]:
        """The mean that the model subtracts from each band."""
        return getattr(self, "mean", (0.0,) * self.input_shape[-1])

    def _check_arrays(
        self, x: Any, y: Any, weights: Any = None, **kwargs: Any
    ) -> None:
        rule, mean = self._label_rule, self._band_means
        check_weights(x, weights)
        check_arrays(x, y, self.num_classes, rule, mean=mean, **kwargs)

    def _checked_validation(self, data: Any) -> Any:
        """Checks `validation_data`, and stacks its lists of arrays."""
        if not isinstance(data, tuple | list) or len(data) < 2:
            return data
        names = ("`validation_data` images", "`validation_data` masks")
        x, y, *rest = data
        x, y = as_array(names[0], x), as_array(names[1], y)
        weights = rest[0] if rest else None
        self._check_arrays(x, y, weights, names=names, binary="warn")
        return x, y, *rest

    def _reports(self, train: Any, test: Any) -> list[InputReport]:
        """Returns the callbacks that report on data sets.

        Args:
            train: Training data, or None.
            test: Validation data, or a tuple that begins with its images.

        Returns:
            Callbacks to add to the user's; none if all data are arrays.
        """
        if isinstance(test, tuple | list):
            test = test[0]
        in_training = train is not None and not is_array(train)
        in_testing = test is not None and not is_array(test)
        if not (in_training or in_testing):
            return []
        if self._input_report is None:
            strategy = keras_private.strategy_of(self)
            with strategy.scope() if strategy else contextlib.nullcontext():
                self._input_report = InputReport()
            # Steps compiled before do not count.
            self.train_function = self.test_function = None
        rule = self._label_rule
        of_two = self.num_classes == 2 and rule == LabelRule(IGNORE_LABEL)
        self._input_report.watch(
            in_training, in_testing, of_two, self._band_means
        )
        return [self._input_report]

    def test_on_batch(
        self, x: Images, y: Masks | None = None, **kwargs: Any
    ) -> Results:
        """Evaluates a batch, as `keras.Model.test_on_batch` does.

        Args:
            x: Images (B, H, W, bands).
            y: Integer masks (B, H, W) or (B, H, W, 1).
            **kwargs: Passed to `keras.Model.test_on_batch`.

        Raises:
            ValueError: As in `evaluate`.
        """
        x, y = as_array("`x`", x), as_array("`y`", y)
        self._check_arrays(x, y, whole=False)
        with plain_errors():
            return super().test_on_batch(x, y, **kwargs)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        found = super().metrics
        if self._input_report is not None:
            found.append(self._input_report.counts)
        return found

    def compute_metrics(
        self,
        x: Tensor,
        y: ByOutput,
        y_pred: ByOutput,
        sample_weight: ByOutput | None = None,
    ) -> dict[str, Tensor]:
        y = for_outputs("y", y, self.aux)
        sample_weight = for_outputs("sample_weight", sample_weight, self.aux)
        if self._input_report is not None:
            masks = y.get("main") if isinstance(y, dict) else y
            rule = self._label_rule
            ignored = None if rule is None else rule.ignore_label
            # Without a rule, the masks may not be labels.
            masks = None if rule is None else masks
            self._input_report.counts.update_state(
                as_array("`x`", x), masks, ignored
            )
        return super().compute_metrics(x, y, y_pred, sample_weight)
