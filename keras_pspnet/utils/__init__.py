"""Files, downloads, argument checks, types of signatures. No Keras."""

from keras_pspnet.utils.arguments import as_integer as as_integer
from keras_pspnet.utils.arguments import as_integers as as_integers
from keras_pspnet.utils.arguments import check_choice as check_choice
from keras_pspnet.utils.arguments import check_integer as check_integer
from keras_pspnet.utils.arguments import check_number as check_number
from keras_pspnet.utils.arguments import check_rule as check_rule
from keras_pspnet.utils.arguments import did_you_mean as did_you_mean
from keras_pspnet.utils.arguments import init_config as init_config
from keras_pspnet.utils.arguments import is_number as is_number
from keras_pspnet.utils.download import HOME_VARIABLE as HOME_VARIABLE
from keras_pspnet.utils.download import cache_folder as cache_folder
from keras_pspnet.utils.files import check_absent as check_absent
from keras_pspnet.utils.files import check_data_folder as check_data_folder
from keras_pspnet.utils.files import check_writable as check_writable
from keras_pspnet.utils.files import file_sha256 as file_sha256
from keras_pspnet.utils.files import locked as locked
from keras_pspnet.utils.files import naming_errors as naming_errors
from keras_pspnet.utils.files import write_atomically as write_atomically
from keras_pspnet.utils.files import write_json as write_json
from keras_pspnet.utils.files import writing_atomically as writing_atomically
