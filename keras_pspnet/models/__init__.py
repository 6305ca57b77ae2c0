"""The network and its training."""

from keras_pspnet.models.fit_steps import RestoredCallback as RestoredCallback
from keras_pspnet.models.pspnet import PSPNet as PSPNet
