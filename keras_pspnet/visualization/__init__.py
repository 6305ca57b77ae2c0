"""Images for people: overlays, legends, comparisons, plots."""

from keras_pspnet.visualization.bands import as_rgb as as_rgb
from keras_pspnet.visualization.colors import class_colors as class_colors
from keras_pspnet.visualization.colors import colorize as colorize
from keras_pspnet.visualization.colors import index_image as index_image
from keras_pspnet.visualization.comparison import (
    comparison_sheet as comparison_sheet,
)
from keras_pspnet.visualization.comparison import overlay_sheet as overlay_sheet
from keras_pspnet.visualization.plots import confusion_plot as confusion_plot
from keras_pspnet.visualization.plots import training_curves as training_curves
from keras_pspnet.visualization.segmentation import Segmentation as Segmentation
from keras_pspnet.visualization.segmentation import check_suffix as check_suffix
