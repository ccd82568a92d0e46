"""``keras.preprocessing`` as older scripts import it."""

from gputensor.keras.preprocessing import image, sequence
from gputensor.keras.utils import timeseries_dataset_from_array

__all__ = ["image", "sequence", "timeseries_dataset_from_array"]
