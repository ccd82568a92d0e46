"""Layers for hand-written training loops."""

from gputensor.nn import functional
from gputensor.nn.modules import Dense, Dropout, Flatten, Module, Sequential

__all__ = ["Dense", "Dropout", "Flatten", "Module", "Sequential", "functional"]
