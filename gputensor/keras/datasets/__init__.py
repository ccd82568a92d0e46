"""Data sets under the names that Keras gives them."""

from gputensor.datasets import mnist

__all__ = ["mnist"]
