"""Dilated backbones."""

from keras_pspnet.backbones.dilate import dilate as dilate
from keras_pspnet.backbones.efficientnet_lite import LITE as LITE
from keras_pspnet.backbones.efficientnet_lite import LITE_STAGES as LITE_STAGES
from keras_pspnet.backbones.efficientnet_lite import (
    efficientnet_lite0 as efficientnet_lite0,
)
from keras_pspnet.backbones.resnet import BASIC_DEPTHS as BASIC_DEPTHS
from keras_pspnet.backbones.resnet import BLOCKS as BLOCKS
from keras_pspnet.backbones.resnet import STAGE_CHANNELS as STAGE_CHANNELS
from keras_pspnet.backbones.resnet import STEM_CHANNELS as STEM_CHANNELS
from keras_pspnet.backbones.resnet import DilatedResNet as DilatedResNet
from keras_pspnet.backbones.resnet import scaled as scaled
