"""Layers for hand-written training loops."""

from gputensor.nn import functional
from gputensor.nn.modules import Dense, Dropout, Embedding, Flatten, Module, Sequential
from gputensor.nn.norm import LayerNorm, RMSNorm

__all__ = [
    "Dense",
    "Dropout",
    "Embedding",
    "Flatten",
    "LayerNorm",
    "Module",
    "RMSNorm",
    "Sequential",
    "functional",
]
