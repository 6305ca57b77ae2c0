"""Trained models: by name, from a folder, or from another framework."""

from keras_pspnet.pretrained.conversion import GEOMETRY as GEOMETRY
from keras_pspnet.pretrained.conversion import convert_file as convert_file
from keras_pspnet.pretrained.hub import HUB_PREFIX as HUB_PREFIX
from keras_pspnet.pretrained.load import load_pretrained as load_pretrained
from keras_pspnet.pretrained.push import Push as Push
from keras_pspnet.pretrained.push import push_pretrained as push_pretrained
from keras_pspnet.pretrained.save import save_pretrained as save_pretrained
from keras_pspnet.pretrained.start import NETWORK as NETWORK
from keras_pspnet.pretrained.start import config_of as config_of
from keras_pspnet.pretrained.start import start_from as start_from
