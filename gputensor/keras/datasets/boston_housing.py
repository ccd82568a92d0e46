"""``keras.datasets.boston_housing``."""

from gputensor.datasets.sets import boston_housing as load_data

__all__ = ["load_data"]
