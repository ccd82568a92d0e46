"""``keras.preprocessing.sequence``."""

from gputensor.keras.utils import pad_sequences

__all__ = ["pad_sequences"]
