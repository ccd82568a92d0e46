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
from gputensor.keras.gathering import Metric
from gputensor.keras.initializers import Initializer
from gputensor.keras.layers import Input, Layer
from gputensor.keras.losses import Loss
from gputensor.keras.models import History, Model, Sequential
from gputensor.keras.optimizers import Optimizer
from gputensor.keras.regularizers import Regularizer
from gputensor.keras.symbolic import KerasTensor
from gputensor.keras.variables import Variable

__version__ = "3.15.1"  # of the Keras whose interface this is


def version() -> str:
    """Version of the Keras whose interface this is."""
    return __version__


__all__ = [
    "History",
    "Initializer",
    "Input",
    "KerasTensor",
    "Layer",
    "Loss",
    "Metric",
    "Model",
    "Optimizer",
    "Regularizer",
    "Sequential",
    "Variable",
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
    "version",
]
