"""``keras.datasets.california_housing``."""

from gputensor.datasets.sets import california_housing as load_data

__all__ = ["load_data"]
