"""``keras.datasets.cifar100``."""

from gputensor.datasets.sets import cifar100 as load_data

__all__ = ["load_data"]
