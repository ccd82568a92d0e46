"""Layers for hand-written training loops, with PyTorch's names and shapes."""

from typing import TYPE_CHECKING

from gputensor import words
from gputensor.nn import attention, convolution, elementwise, functional, modules, norm, recurrent
from gputensor.nn.attention import *  # noqa: F403
from gputensor.nn.convolution import *  # noqa: F403
from gputensor.nn.elementwise import *  # noqa: F403
from gputensor.nn.modules import *  # noqa: F403
from gputensor.nn.norm import *  # noqa: F403
from gputensor.nn.recurrent import *  # noqa: F403

__all__ = [
    *attention.__all__,
    *convolution.__all__,
    *elementwise.__all__,
    *modules.__all__,
    *norm.__all__,
    *recurrent.__all__,
    "functional",
]

words.teach(functional)

if not TYPE_CHECKING:
    __getattr__ = words.unknown("gputensor.nn")
