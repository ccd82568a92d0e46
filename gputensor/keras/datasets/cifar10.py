"""``keras.datasets.cifar10``."""

from gputensor.datasets.sets import cifar10 as load_data

__all__ = ["load_data"]
