"""Layers in Keras's form."""

from gputensor.keras.layers import (
    activation,
    attention,
    composed,
    convolution,
    convolutional_recurrent,
    core,
    merging,
    normalization,
    pooling,
    preprocessing,
    recurrent,
    regularization,
    text,
)
from gputensor.keras.layers.activation import *  # noqa: F403
from gputensor.keras.layers.attention import *  # noqa: F403
from gputensor.keras.layers.base import Layer, Shape
from gputensor.keras.layers.composed import *  # noqa: F403
from gputensor.keras.layers.convolution import *  # noqa: F403
from gputensor.keras.layers.convolutional_recurrent import *  # noqa: F403
from gputensor.keras.layers.core import *  # noqa: F403
from gputensor.keras.layers.merging import *  # noqa: F403
from gputensor.keras.layers.normalization import *  # noqa: F403
from gputensor.keras.layers.pooling import *  # noqa: F403
from gputensor.keras.layers.preprocessing import *  # noqa: F403
from gputensor.keras.layers.recurrent import *  # noqa: F403
from gputensor.keras.layers.regularization import *  # noqa: F403
from gputensor.keras.layers.text import *  # noqa: F403
from gputensor.keras.naming import lacking

__all__ = [
    "Layer",
    "Shape",
    *activation.__all__,
    *attention.__all__,
    *composed.__all__,
    *convolution.__all__,
    *convolutional_recurrent.__all__,
    *core.__all__,
    *merging.__all__,
    *normalization.__all__,
    *pooling.__all__,
    *preprocessing.__all__,
    *recurrent.__all__,
    *regularization.__all__,
    *text.__all__,
]

_OF_IMAGES = "RandomFlip, RandomRotation, RandomContrast and their like, or a Lambda of your own"
_OTHERS = "the layers here: those of other frameworks cannot be run"
__getattr__ = lacking(
    __name__,
    {
        **dict.fromkeys(
            (
                *("AugMix", "AutoContrast", "CutMix", "Equalization", "MixUp", "RandAugment"),
                *("ContrastLimitedAdaptiveHistogramEqualization", "RandomColorDegeneration"),
                *("RandomColorJitter", "RandomElasticTransform", "RandomErasing", "RandomHue"),
                *("RandomGaussianBlur", "RandomPerspective", "RandomPosterization"),
                *("RandomSaturation", "RandomSharpness", "Solarization", "MaxNumBoundingBoxes"),
            ),
            _OF_IMAGES,
        ),
        **dict.fromkeys(("FlaxLayer", "JaxLayer", "TFSMLayer", "TorchModuleWrapper"), _OTHERS),
        "ConvLSTM3D": "ConvLSTM2D",
        "CuDNNGRU": "GRU",
        "CuDNNLSTM": "LSTM",
        "HashedCrossing": "StringLookup of the joined texts",
        "Hashing": "StringLookup, with a vocabulary",
        "InputSpec": "a check of x.shape in call",
        "MelSpectrogram": "gputensor.fft",
        "Pipeline": "Sequential",
        "ReversibleEmbedding": "Embedding, and x @ embedding.embeddings.T",
        "STFTSpectrogram": "gputensor.fft",
        "deserialize": "keras.models.model_from_json, or the class's from_config",
        "serialize": "model.to_json(), or the layer's get_config()",
    },
)
