"""Normalization layers."""

from typing import Any

from gputensor.autograd import Tensor
from gputensor.backend import Device
from gputensor.nn import functional
from gputensor.nn.module import Module
from gputensor.ops.creation import ones, parameter, zeros

__all__ = ["LayerNorm", "RMSNorm"]


class LayerNorm(Module):
    """Layer normalization of the last axis, see :func:`gputensor.nn.functional.layer_norm`.

    Parameters
    ----------
    features : int
        Length of the last axis.
    eps : float
    dtype : floating point dtype, optional
    device : str or Device, optional

    Attributes
    ----------
    weight, bias : Tensor of shape (features,)
        Ones and zeros at first.
    """

    def __init__(
        self,
        features: int,
        eps: float = 1e-5,
        *,
        dtype: Any = None,
        device: str | Device | None = None,
    ) -> None:
        self.eps = eps
        self.weight = parameter(ones(features, dtype=dtype, device=device).array)
        self.bias = parameter(zeros(features, dtype=dtype, device=device).array)

    def forward(self, x: Tensor) -> Tensor:
        """`x` normalized, of its shape."""
        return functional.layer_norm(x, self.weight, self.bias, self.eps)


class RMSNorm(Module):
    """RMS normalization of the last axis, see :func:`gputensor.nn.functional.rms_norm`.

    Parameters and attributes are those of :class:`LayerNorm`, without the bias.
    """

    def __init__(
        self,
        features: int,
        eps: float = 1e-5,
        *,
        dtype: Any = None,
        device: str | Device | None = None,
    ) -> None:
        self.eps = eps
        self.weight = parameter(ones(features, dtype=dtype, device=device).array)

    def forward(self, x: Tensor) -> Tensor:
        """`x` normalized, of its shape."""
        return functional.rms_norm(x, self.weight, self.eps)
