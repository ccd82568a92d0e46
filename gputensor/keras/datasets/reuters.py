"""``keras.datasets.reuters``."""

from gputensor.datasets.sets import reuters as load_data
from gputensor.datasets.sets import reuters_words as get_word_index

__all__ = ["get_word_index", "load_data"]
