"""Data sets, as NumPy arrays on the host."""

from gputensor.datasets import mnist, sets

__all__ = ["mnist", "sets"]
