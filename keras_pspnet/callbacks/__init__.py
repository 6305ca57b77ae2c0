"""Callbacks for `fit` and for training runs.

Their order in the list is the order in which they act: `StopOnNaN` first,
`WeightAverage` before those that shall see averages,
`ValidationScores` before those that use its scores, `Checkpoint` last, so that
what a checkpoint has seen has also been logged.

Examples:
    >>> validation = kp.callbacks.ValidationScores(pairs)
    >>> callbacks = [  # for fit, in this order
    ...     kp.callbacks.StopOnNaN(),
    ...     validation,
    ...     kp.callbacks.BestModel("best", validation),
    ...     kp.callbacks.HistoryFile("history.csv"),
    ...     kp.callbacks.EventLog("logs", validation),
    ...     kp.callbacks.Checkpoint("last.keras"),
    ... ]
"""

from keras_pspnet.callbacks.best_model import BestModel as BestModel
from keras_pspnet.callbacks.checkpoint import Checkpoint as Checkpoint
from keras_pspnet.callbacks.history import HistoryFile as HistoryFile
from keras_pspnet.callbacks.history import read_history as read_history
from keras_pspnet.callbacks.stop_on_nan import NonFiniteError as NonFiniteError
from keras_pspnet.callbacks.stop_on_nan import StopOnNaN as StopOnNaN
from keras_pspnet.callbacks.tensorboard import EventLog as EventLog
from keras_pspnet.callbacks.tensorboard import (
    prediction_sheet as prediction_sheet,
)
from keras_pspnet.callbacks.validation_scores import (
    ValidationScores as ValidationScores,
)
from keras_pspnet.callbacks.weight_average import WeightAverage as WeightAverage
