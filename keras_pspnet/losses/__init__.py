"""Losses of integer masks and logits; all of them ignore the label 255."""

from keras_pspnet.labels import IGNORE_LABEL as IGNORE_LABEL
from keras_pspnet.losses.cross_entropy import Ohem as Ohem
from keras_pspnet.losses.cross_entropy import (
    SegmentationLoss as SegmentationLoss,
)
from keras_pspnet.losses.focal import Focal as Focal
from keras_pspnet.losses.lovasz import Lovasz as Lovasz
from keras_pspnet.losses.masks import broadcast_weights as broadcast_weights
from keras_pspnet.losses.masks import check_mask_shape as check_mask_shape
from keras_pspnet.losses.masks import refuse_bad_labels as refuse_bad_labels
from keras_pspnet.losses.masks import shape_hint as shape_hint
from keras_pspnet.losses.masks import squeeze_masks as squeeze_masks
from keras_pspnet.losses.masks import to_labels as to_labels
from keras_pspnet.losses.names import named_losses as named_losses
from keras_pspnet.losses.overlap import Dice as Dice
from keras_pspnet.losses.overlap import Tversky as Tversky
from keras_pspnet.losses.pixel_loss import PixelLoss as PixelLoss
from keras_pspnet.losses.weighted_sum import WeightedSum as WeightedSum
