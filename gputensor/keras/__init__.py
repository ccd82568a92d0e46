"""The Keras door: ``Sequential``, ``Dense``, ``compile``, ``fit``, ``evaluate``, ``predict``."""

from gputensor.keras import (
    activations,
    backend,
    callbacks,
    constraints,
    datasets,
    initializers,
    layers,
    losses,
    metrics,
    models,
    ops,
    optimizers,
    preprocessing,
    random,
    regularizers,
    saving,
    utils,
)
from gputensor.keras.layers import Input, Layer
from gputensor.keras.models import History, Model, Sequential
from gputensor.keras.symbolic import KerasTensor

__version__ = "3.15.1"  # of the Keras whose interface this is

__all__ = [
    "History",
    "Input",
    "KerasTensor",
    "Layer",
    "Model",
    "Sequential",
    "__version__",
    "activations",
    "backend",
    "callbacks",
    "constraints",
    "datasets",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "models",
    "ops",
    "optimizers",
    "preprocessing",
    "random",
    "regularizers",
    "saving",
    "utils",
]
