"""The Keras door: ``Sequential``, ``Dense``, ``compile``, ``fit``, ``evaluate``, ``predict``."""

from gputensor.keras import (
    activations,
    backend,
    callbacks,
    config,
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
    tree,
    utils,
)
from gputensor.keras.gathering import Metric
from gputensor.keras.initializers import Initializer
from gputensor.keras.layers import Input, Layer
from gputensor.keras.losses import Loss
from gputensor.keras.models import History, Model, Sequential
from gputensor.keras.naming import lacking
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
    "config",
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
    "tree",
    "utils",
    "version",
]

__getattr__ = lacking(
    __name__,
    {
        "DTypePolicy": "dtype= of layers, or gputensor.autocast",
        "FloatDTypePolicy": "dtype= of layers, or gputensor.autocast",
        "Function": "keras.Model(inputs, outputs)",
        "InputSpec": "a check of x.shape in call",
        "Operation": "keras.Layer",
        "Quantizer": "dtype='float16' of layers",
        "RematScope": "gputensor.checkpoint",
        "StatelessScope": "gputensor.grad and its like, of functions",
        "SymbolicScope": "keras.Input",
        "applications": "a model of your own: trained weights are not downloaded",
        "device": "gputensor.device",
        "distillation": "a loss of your own",
        "distribution": "one device",
        "dtype_policies": "dtype= of layers, or gputensor.autocast",
        "export": "model.save",
        "legacy": "the names of Keras 3",
        "mixed_precision": 'gputensor.autocast("bfloat16") around a step',
        "name_scope": "name= of layers",
        "quantizers": "dtype='float16' of layers",
        "remat": "gputensor.checkpoint",
        "src": "the public names",
        "visualization": "matplotlib",
        "wrappers": "model.fit and model.predict",
    },
)
