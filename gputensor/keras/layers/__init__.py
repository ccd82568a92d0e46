"""Layers in Keras's form."""

from gputensor.keras.layers import (
    activation,
    attention,
    augmentation,
    convolution,
    core,
    merging,
    normalization,
    pooling,
    recurrent,
    regularization,
)
from gputensor.keras.layers.activation import *  # noqa: F403
from gputensor.keras.layers.attention import *  # noqa: F403
from gputensor.keras.layers.augmentation import *  # noqa: F403
from gputensor.keras.layers.base import Layer, Shape
from gputensor.keras.layers.convolution import *  # noqa: F403
from gputensor.keras.layers.core import *  # noqa: F403
from gputensor.keras.layers.merging import *  # noqa: F403
from gputensor.keras.layers.normalization import *  # noqa: F403
from gputensor.keras.layers.pooling import *  # noqa: F403
from gputensor.keras.layers.recurrent import *  # noqa: F403
from gputensor.keras.layers.regularization import *  # noqa: F403

__all__ = [
    "Layer",
    "Shape",
    *activation.__all__,
    *attention.__all__,
    *augmentation.__all__,
    *convolution.__all__,
    *core.__all__,
    *merging.__all__,
    *normalization.__all__,
    *pooling.__all__,
    *recurrent.__all__,
    *regularization.__all__,
]
