"""Weights of other frameworks, read without them."""

from keras_pspnet.convert.assign import fill as fill
from keras_pspnet.convert.source import convert_source as convert_source
