"""Keras layers and operations: the pyramid, resizing, batch statistics."""

from keras_pspnet.layers.batch_norm import BatchNorm as BatchNorm
from keras_pspnet.layers.dilated_pooling import (
    DilatedPooling2D as DilatedPooling2D,
)
from keras_pspnet.layers.distribute import (
    claim_collectives as claim_collectives,
)
from keras_pspnet.layers.distribute import num_replicas as num_replicas
from keras_pspnet.layers.distribute import replica_sum as replica_sum
from keras_pspnet.layers.dropout import (
    GlobalSpatialDropout2D as GlobalSpatialDropout2D,
)
from keras_pspnet.layers.input_normalization import (
    InputNormalization as InputNormalization,
)
from keras_pspnet.layers.pyramid import PyramidConv as PyramidConv
from keras_pspnet.layers.pyramid import (
    PyramidPoolingModule as PyramidPoolingModule,
)
from keras_pspnet.layers.resize import Resize as Resize
from keras_pspnet.layers.resize import (
    interpolation_matrix as interpolation_matrix,
)
from keras_pspnet.layers.resize import resize as resize
from keras_pspnet.layers.resize import spatial_size as spatial_size
