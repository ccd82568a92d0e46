"""``keras.datasets.imdb``."""

from gputensor.datasets.sets import imdb as load_data
from gputensor.datasets.sets import imdb_words as get_word_index

__all__ = ["get_word_index", "load_data"]
