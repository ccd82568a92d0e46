"""``keras.datasets.fashion_mnist``."""

from gputensor.datasets.sets import fashion_mnist as load_data

__all__ = ["load_data"]
