"""PSPNet, the Pyramid Scene Parsing Network, for Keras 3 and TensorFlow.

Examples:
    >>> import keras_pspnet as kp
    >>> model = kp.load_pretrained("aerial")
    >>> kp.segment(model, "photo.jpg").save("out.png")
"""

from keras_pspnet import callbacks as callbacks
from keras_pspnet import data as data
from keras_pspnet import losses as losses
from keras_pspnet import metrics as metrics
from keras_pspnet.backbones import DilatedResNet as DilatedResNet
from keras_pspnet.backbones import dilate as dilate
from keras_pspnet.evaluation import Scores as Scores
from keras_pspnet.evaluation.evaluate import evaluate as evaluate
from keras_pspnet.export import export_litert as export_litert
from keras_pspnet.export import export_onnx as export_onnx
from keras_pspnet.export import export_saved_model as export_saved_model
from keras_pspnet.inference import Predictor as Predictor
from keras_pspnet.inference.segment import segment as segment
from keras_pspnet.labels import LabelSet as LabelSet
from keras_pspnet.layers import PyramidConv as PyramidConv
from keras_pspnet.layers import PyramidPoolingModule as PyramidPoolingModule
from keras_pspnet.losses import SegmentationLoss as SegmentationLoss
from keras_pspnet.metrics import MeanIoU as MeanIoU
from keras_pspnet.metrics import PixelAccuracy as PixelAccuracy
from keras_pspnet.models import PSPNet as PSPNet
from keras_pspnet.optimizers import SGD as SGD
from keras_pspnet.pretrained import convert_file as convert_file
from keras_pspnet.pretrained import load_pretrained as load_pretrained
from keras_pspnet.pretrained import save_pretrained as save_pretrained
from keras_pspnet.utils.plausibility import DataWarning as DataWarning
from keras_pspnet.version import __version__ as __version__
from keras_pspnet.visualization import Segmentation as Segmentation
