"""Scores over a set of images."""

from keras_pspnet.evaluation.confusion import Confusion as Confusion
from keras_pspnet.evaluation.evaluate import Scores as Scores
from keras_pspnet.evaluation.protocols import Protocol as Protocol
from keras_pspnet.evaluation.protocols import make_protocol as make_protocol
from keras_pspnet.evaluation.protocols import predict_mask as predict_mask
