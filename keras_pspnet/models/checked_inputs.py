"""A model that checks the images and masks that it is given."""

from __future__ import annotations

import contextlib
from typing import Any

import keras

from keras_pspnet.labels import IGNORE_LABEL
from keras_pspnet.models.array_checks import as_array, check_arrays
from keras_pspnet.models.compile_checks import LabelRule
from keras_pspnet.models.stream_checks import InputReport
from keras_pspnet.utils import keras_private
from keras_pspnet.utils.plausibility import is_array


class CheckedInputs(keras.Model):
    """The part of `SegmentationTrainer` that looks at data.

    Arrays are checked before anything is computed. What a data set holds is
    counted in the graph and reported after its first epoch.
    """

    num_classes: int
    _label_rule: LabelRule | None = None
    # A callback, which Keras neither tracks nor saves with the model.
    _input_report: InputReport | None = None

    def _check_arrays(self, x: Any, y: Any, **kwargs: Any) -> None:
        check_arrays(x, y, self.num_classes, self._label_rule, **kwargs)

    def _checked_validation(self, data: Any) -> Any:
        """Checks arrays to validate on; lists of them become arrays."""
        if not isinstance(data, tuple | list) or len(data) < 2:
            return data
        names = ("`validation_data` images", "`validation_data` masks")
        x, y, *rest = data
        x, y = as_array(names[0], x), as_array(names[1], y)
        self._check_arrays(x, y, names=names, binary="warn")
        return x, y, *rest

    def _reports(self, train: Any, test: Any) -> list[InputReport]:
        """Returns what reports on data sets among what is given.

        Args:
            train: What is trained on, None for nothing.
            test: What is evaluated, or a tuple that begins with it.

        Returns:
            Callbacks to add to the user's.
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
            # Steps that are compiled already count nothing.
            self.train_function = self.test_function = None
        rule = self._label_rule
        of_two = self.num_classes == 2 and rule == LabelRule(IGNORE_LABEL)
        self._input_report.watch(in_training, in_testing, of_two)
        return [self._input_report]

    @property
    def metrics(self) -> list[Any]:
        found = super().metrics
        if self._input_report is not None:
            found.append(self._input_report.counts)
        return found

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> Any:
        if self._input_report is not None:
            masks = y.get("main") if isinstance(y, dict) else y
            if self.num_classes != 2:
                # Masks of more classes are not reported on.
                masks = None
            self._input_report.counts.update_state(x, masks)
        return super().compute_metrics(x, y, y_pred, sample_weight)
