"""From an image to its mask."""

from keras_pspnet.inference.exported import SIDE_ENTRY as SIDE_ENTRY
from keras_pspnet.inference.exported import SIDE_FILE as SIDE_FILE
from keras_pspnet.inference.exported import SUMS_FILE as SUMS_FILE
from keras_pspnet.inference.exported import check_installed as check_installed
from keras_pspnet.inference.exported import load_exported as load_exported
from keras_pspnet.inference.load import exported_sha256 as exported_sha256
from keras_pspnet.inference.load import load_predictor as load_predictor
from keras_pspnet.inference.model_info import description as description
from keras_pspnet.inference.model_info import fill_color as fill_color
from keras_pspnet.inference.model_info import (
    float32_inference_model as float32_inference_model,
)
from keras_pspnet.inference.model_info import model_labels as model_labels
from keras_pspnet.inference.model_info import network_size as network_size
from keras_pspnet.inference.model_info import normalization as normalization
from keras_pspnet.inference.model_info import num_bands as num_bands
from keras_pspnet.inference.model_info import weights_sha256 as weights_sha256
from keras_pspnet.inference.predictor import PRECISIONS as PRECISIONS
from keras_pspnet.inference.predictor import Predictor as Predictor
from keras_pspnet.inference.predictor import as_predictor as as_predictor
from keras_pspnet.inference.predictor import fit_inside as fit_inside
from keras_pspnet.inference.predictor import predict_logits as predict_logits
from keras_pspnet.inference.segment import as_uint8 as as_uint8
from keras_pspnet.inference.segment import image_errors as image_errors
from keras_pspnet.inference.segment import predict_masks as predict_masks
from keras_pspnet.inference.segment import predict_plan as predict_plan
from keras_pspnet.inference.segment import shrink as shrink
from keras_pspnet.inference.segment import softmax as softmax
from keras_pspnet.inference.sliding_window import (
    mean_of_windows as mean_of_windows,
)
from keras_pspnet.inference.views import check_scales as check_scales
from keras_pspnet.inference.views import (
    check_single_view as check_single_view,
)
from keras_pspnet.inference.views import check_window as check_window
from keras_pspnet.inference.views import make_plan as make_plan
