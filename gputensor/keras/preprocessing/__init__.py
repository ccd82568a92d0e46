"""``keras.preprocessing`` as older scripts import it."""

from gputensor.keras.preprocessing import sequence

__all__ = ["sequence"]
