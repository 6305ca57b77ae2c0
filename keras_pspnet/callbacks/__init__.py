"""Callbacks for `fit` and for training runs.

They act in the order of the list: `StopOnNaN` first, `WeightAverage` before
callbacks that read averaged weights, `ValidationScores` before callbacks that
read its scores, and `Checkpoint` last, so that the logs hold every epoch that
a checkpoint holds.

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
