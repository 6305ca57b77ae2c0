"""Reads weights of other frameworks without installing them."""

from keras_pspnet.convert.assign import fill as fill
from keras_pspnet.convert.first_kernel import (
    adapt_first_kernel as adapt_first_kernel,
)
from keras_pspnet.convert.first_kernel import with_bands as with_bands
from keras_pspnet.convert.source import convert_source as convert_source
