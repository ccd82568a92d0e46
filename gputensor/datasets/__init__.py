"""Data sets, as NumPy arrays on the host."""

from gputensor.datasets import mnist

__all__ = ["mnist"]
