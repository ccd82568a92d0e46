"""The Keras door: ``Sequential``, ``Dense``, ``compile``, ``fit``, ``evaluate``, ``predict``."""

from gputensor.keras import (
    activations,
    datasets,
    initializers,
    layers,
    losses,
    metrics,
    models,
    optimizers,
    regularizers,
    utils,
)
from gputensor.keras.layers import Input
from gputensor.keras.models import History, Model, Sequential

__version__ = "3.15.1"  # of the Keras whose interface this is

__all__ = [
    "History",
    "Input",
    "Model",
    "Sequential",
    "__version__",
    "activations",
    "datasets",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "models",
    "optimizers",
    "regularizers",
    "utils",
]
