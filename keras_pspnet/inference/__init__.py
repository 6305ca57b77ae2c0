"""From an image to its mask."""

from keras_pspnet.inference.exported import SIDE_ENTRY as SIDE_ENTRY
from keras_pspnet.inference.exported import SIDE_FILE as SIDE_FILE
from keras_pspnet.inference.exported import SUMS_FILE as SUMS_FILE
from keras_pspnet.inference.exported import check_installed as check_installed
from keras_pspnet.inference.exported import is_exported as is_exported
from keras_pspnet.inference.exported import load_exported as load_exported
from keras_pspnet.inference.load import exported_sha256 as exported_sha256
from keras_pspnet.inference.load import load_predictor as load_predictor
from keras_pspnet.inference.predictor import PRECISIONS as PRECISIONS
from keras_pspnet.inference.predictor import Network as Network
from keras_pspnet.inference.predictor import Predictor as Predictor
from keras_pspnet.inference.predictor import as_network as as_network
from keras_pspnet.inference.predictor import description as description
from keras_pspnet.inference.predictor import fill_color as fill_color
from keras_pspnet.inference.predictor import fit_inside as fit_inside
from keras_pspnet.inference.predictor import (
    float32_inference_model as float32_inference_model,
)
from keras_pspnet.inference.predictor import model_labels as model_labels
from keras_pspnet.inference.predictor import network_size as network_size
from keras_pspnet.inference.predictor import predict_logits as predict_logits
from keras_pspnet.inference.predictor import weights_sha256 as weights_sha256
from keras_pspnet.inference.segment import View as View
from keras_pspnet.inference.segment import argmax as argmax
from keras_pspnet.inference.segment import axes_of as axes_of
from keras_pspnet.inference.segment import bands_of as bands_of
from keras_pspnet.inference.segment import check_scales as check_scales
from keras_pspnet.inference.segment import check_window as check_window
from keras_pspnet.inference.segment import image_errors as image_errors
from keras_pspnet.inference.segment import mask_of_views as mask_of_views
from keras_pspnet.inference.segment import network_scorer as network_scorer
from keras_pspnet.inference.segment import predict_masks as predict_masks
from keras_pspnet.inference.segment import rows_of as rows_of
from keras_pspnet.inference.segment import shrink as shrink
from keras_pspnet.inference.segment import softmax as softmax
from keras_pspnet.inference.segment import sum_of_views as sum_of_views
from keras_pspnet.inference.segment import views_of as views_of
from keras_pspnet.inference.sliding_window import upsample as upsample
