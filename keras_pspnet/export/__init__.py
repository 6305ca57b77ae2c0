"""Exports for servers, phones and other runtimes."""

from keras_pspnet.export.export import INPUT_DTYPES as INPUT_DTYPES
from keras_pspnet.export.export import LITERT_PRECISIONS as LITERT_PRECISIONS
from keras_pspnet.export.export import ONNX_PRECISIONS as ONNX_PRECISIONS
from keras_pspnet.export.export import OUTPUTS as OUTPUTS
from keras_pspnet.export.export import export_litert as export_litert
from keras_pspnet.export.export import export_onnx as export_onnx
from keras_pspnet.export.export import export_saved_model as export_saved_model
from keras_pspnet.export.verify import ExportError as ExportError
