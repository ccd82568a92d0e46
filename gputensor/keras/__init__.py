"""The Keras door: ``Sequential``, ``Dense``, ``compile``, ``fit``, ``evaluate``, ``predict``."""

from gputensor.keras import datasets, layers, losses, metrics, models, optimizers, utils
from gputensor.keras.models import History, Sequential

__all__ = [
    "History",
    "Sequential",
    "datasets",
    "layers",
    "losses",
    "metrics",
    "models",
    "optimizers",
    "utils",
]
