"""The recipes of published runs, one flat file each."""

from keras_pspnet.recipes.find import RECIPES as RECIPES
from keras_pspnet.recipes.find import load_recipe as load_recipe
