"""One flat file for each published run."""

from keras_pspnet.recipes.find import RECIPES as RECIPES
from keras_pspnet.recipes.find import load_recipe as load_recipe
