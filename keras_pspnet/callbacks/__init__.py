"""Callbacks for `fit` and for training runs."""

from keras_pspnet.callbacks.all_callbacks import BestModel as BestModel
from keras_pspnet.callbacks.all_callbacks import Checkpoint as Checkpoint
from keras_pspnet.callbacks.all_callbacks import EventLog as EventLog
from keras_pspnet.callbacks.all_callbacks import HistoryFile as HistoryFile
from keras_pspnet.callbacks.all_callbacks import (
    NonFiniteError as NonFiniteError,
)
from keras_pspnet.callbacks.all_callbacks import StopOnNaN as StopOnNaN
from keras_pspnet.callbacks.all_callbacks import (
    ValidationScores as ValidationScores,
)
from keras_pspnet.callbacks.all_callbacks import (
    prediction_sheet as prediction_sheet,
)
from keras_pspnet.callbacks.history import read_history as read_history
