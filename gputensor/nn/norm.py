"""Normalization layers."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gputensor.autograd import Tensor, no_grad
from gputensor.backend import Device
from gputensor.errors import ShapeError
from gputensor.nn import functional
from gputensor.nn.module import Module
from gputensor.nn.modules import _check_sizes
from gputensor.ops.creation import ones, parameter, zeros
from gputensor.shown import retold

__all__ = [
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "GroupNorm",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "LayerNorm",
    "RMSNorm",
]


def _constant(make: Any, size: int, dtype: Any, device: Any) -> Tensor:
    return parameter(make(size, dtype=dtype, device=device).array)


class LayerNorm(Module):
    """Layer normalization of the last axes, see :func:`gputensor.nn.functional.layer_norm`.

    Parameters
    ----------
    features : int or sequence of int
        Length of the last axis, or of the last axes.
    eps : float
    bias : bool
    elementwise_affine : bool
        Whether there are `weight` and `bias`.
    dtype : floating point dtype, optional
    device : str or Device, optional

    Attributes
    ----------
    weight, bias : Tensor of shape `features`
        Ones and zeros at first.

    Examples
    --------
    >>> gt.nn.LayerNorm(2)(gt.tensor([[1.0, 3.0]])).detach()
    tensor([[-0.999995,  0.999995]], dtype=float32)
    """

    def __init__(
        self,
        features: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        dtype: Any = None,
        device: str | Device | None = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = (features,) if isinstance(features, int) else tuple(features)
        self.eps = eps
        shape: Any = self.normalized_shape
        affine = elementwise_affine
        self.weight = _constant(ones, shape, dtype, device) if affine else None
        self.bias = _constant(zeros, shape, dtype, device) if affine and bias else None

    def forward(self, x: Tensor) -> Tensor:
        """`x` normalized, of its shape."""
        shape = self.normalized_shape
        if x.shape[x.ndim - len(shape) :] != shape:
            raise ShapeError(f"LayerNorm: x has shape {x.shape}; it must end in {shape}")
        size = math.prod(shape)
        kind: dict[str, Any] = {"dtype": x.dtype, "device": x.device}
        weight = ones(size, **kind) if self.weight is None else self.weight.reshape(size)
        bias = zeros(size, **kind) if self.bias is None else self.bias.reshape(size)
        rows = x if len(shape) == 1 else x.reshape(*x.shape[: -len(shape)], size)
        return functional.layer_norm(rows, weight, bias, self.eps).reshape(x.shape)


class RMSNorm(Module):
    """RMS normalization of the last axis, see :func:`gputensor.nn.functional.rms_norm`.

    Parameters
    ----------
    features : int
    eps : float
    dtype : floating point dtype, optional
    device : str or Device, optional

    Attributes
    ----------
    weight : Tensor of shape (features,)
        Ones at first.

    Examples
    --------
    >>> gt.nn.RMSNorm(2)(gt.tensor([[3.0, 4.0]])).detach()
    tensor([[0.8485278, 1.1313704]], dtype=float32)
    """

    def __init__(
        self,
        features: int,
        eps: float = 1e-5,
        *,
        dtype: Any = None,
        device: str | Device | None = None,
    ) -> None:
        super().__init__()
        self.eps = eps
        self.weight = _constant(ones, features, dtype, device)

    def forward(self, x: Tensor) -> Tensor:
        """`x` normalized, of its shape."""
        return functional.rms_norm(x, self.weight, self.eps)


class BatchNorm(Module):
    """Batch normalization (Ioffe & Szegedy 2015).

    While training, means and variances are those of the batch, and move the running ones; otherwise
    the running ones are taken.

    Parameters
    ----------
    num_features : int
        Channels, the second axis.
    eps : float
    momentum : float or None
        Weight of a new batch in the running means; None for the plain mean of all batches.
    affine : bool
        Whether there are `weight` and `bias`.
    track_running_stats : bool
        Whether there are running ones; without, the batch's are always taken.
    synchronized : bool
        Whether the means of a batch are those of the parts that all processes have of it, see
        :mod:`gputensor.distributed`. In a loop of one's own, where the parts differ in length, the
        loss is multiplied by the part's share of the rows before the backward pass.
    dtype : floating point dtype, optional
    device : str or Device, optional

    Attributes
    ----------
    weight, bias : Tensor of shape (num_features,)
        Ones and zeros at first.
    running_mean, running_var : Tensor of shape (num_features,)
        The latter of variances divided by the count less 1, as in PyTorch.
    num_batches_tracked : Tensor of int64 of shape ()
    """

    _axes: Sequence[int] = (2, 3)

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        synchronized: bool = False,
        dtype: Any = None,
        device: str | Device | None = None,
    ) -> None:
        super().__init__()
        _check_sizes(type(self).__name__, num_features=num_features)
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.synchronized = synchronized
        self.weight = _constant(ones, num_features, dtype, device) if affine else None
        self.bias = _constant(zeros, num_features, dtype, device) if affine else None
        self.track_running_stats = track_running_stats
        track = track_running_stats
        self.running_mean = zeros(num_features, dtype=dtype, device=device) if track else None
        self.running_var = ones(num_features, dtype=dtype, device=device) if track else None
        self.num_batches_tracked = zeros((), dtype=np.int64, device=device) if track else None

    def forward(self, x: Tensor) -> Tensor:
        """`x` normalized, of its shape."""
        if x.ndim not in self._axes:
            raise ShapeError(
                f"{type(self).__name__}: x has shape {x.shape}; it must have "
                f"{' or '.join(map(str, self._axes))} axes, the second of {self.num_features}"
            )
        own = self.running_mean is None or self.running_var is None
        if own or self.training:
            y, mean, variance, count = functional.counted_batch_norm(
                x, self.weight, self.bias, 1, None, self.eps, self.synchronized and self.training
            )
            if self.training and not own:
                self._follow(mean.detach(), variance.detach(), count)
            return y
        statistics: Any = (self.running_mean, self.running_var)
        options: dict[str, Any] = {"statistics": statistics, "eps": self.eps}
        return functional.batch_norm(x, self.weight, self.bias, **options)[0]

    def _follow(self, mean: Tensor, variance: Tensor, rows: Any) -> None:
        if isinstance(rows, int) and rows < 2:
            raise ShapeError(
                f"{type(self).__name__}: a variance needs more than one value of each channel"
            )
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        with no_grad():
            self.num_batches_tracked += 1
            share: Any = self.momentum
            if share is None:
                share = 1 / self.num_batches_tracked.astype(self.running_mean.dtype)
            self.running_mean += share * (mean - self.running_mean)
            self.running_var += share * (variance * (rows / (rows - 1)) - self.running_var)


class BatchNorm1d(BatchNorm):
    __doc__ = retold(
        BatchNorm,
        "Batch normalization of (n, channels) or (n, channels, length).",
        ">>> gt.nn.BatchNorm1d(3)(gt.ones((8, 3))).shape\n(8, 3)",
    )


class BatchNorm2d(BatchNorm):
    __doc__ = retold(
        BatchNorm,
        "Batch normalization of images (n, channels, height, width).",
        ">>> gt.nn.BatchNorm2d(3)(gt.ones((2, 3, 8, 8))).shape\n(2, 3, 8, 8)",
    )
    _axes = (4,)


class BatchNorm3d(BatchNorm):
    __doc__ = retold(
        BatchNorm,
        "Batch normalization of volumes.",
        ">>> gt.nn.BatchNorm3d(3)(gt.ones((2, 3, 4, 4, 4))).shape\n(2, 3, 4, 4, 4)",
    )
    _axes = (5,)


class GroupNorm(Module):
    """Normalization by groups of channels: see :func:`gputensor.nn.functional.group_norm`.

    Parameters
    ----------
    num_groups, num_channels : int
    eps : float
    affine : bool
    dtype : floating point dtype, optional
    device : str or Device, optional

    Examples
    --------
    >>> gt.nn.GroupNorm(2, 4)(gt.ones((2, 4, 3))).shape
    (2, 4, 3)
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        *,
        dtype: Any = None,
        device: str | Device | None = None,
    ) -> None:
        super().__init__()
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.weight = _constant(ones, num_channels, dtype, device) if affine else None
        self.bias = _constant(zeros, num_channels, dtype, device) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        """`x` normalized, of its shape."""
        return functional.group_norm(x, self.num_groups, self.weight, self.bias, eps=self.eps)


class InstanceNorm2d(GroupNorm):
    """:class:`GroupNorm` with a group for each channel; without parameters by default.

    Parameters
    ----------
    num_features : int
    eps : float
    momentum : float
        Is not used: there are no running means.
    affine : bool
    track_running_stats : bool
        Must be False.
    dtype : floating point dtype, optional
    device : str or Device, optional

    Examples
    --------
    >>> gt.nn.InstanceNorm2d(3)(gt.ones((2, 3, 8, 8))).shape
    (2, 3, 8, 8)
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        *,
        dtype: Any = None,
        device: str | Device | None = None,
    ) -> None:
        if track_running_stats:
            raise ValueError(
                f"{type(self).__name__}: track_running_stats is True; running means are not there, "
                "use False, or BatchNorm"
            )
        super().__init__(num_features, num_features, eps, affine, dtype=dtype, device=device)


class InstanceNorm1d(InstanceNorm2d):
    """:class:`InstanceNorm2d` of sequences.

    Examples
    --------
    >>> gt.nn.InstanceNorm1d(3)(gt.ones((2, 3, 8))).shape
    (2, 3, 8)
    """


class InstanceNorm3d(InstanceNorm2d):
    """:class:`InstanceNorm2d` of volumes.

    Examples
    --------
    >>> gt.nn.InstanceNorm3d(3)(gt.ones((2, 3, 4, 4, 4))).shape
    (2, 3, 4, 4, 4)
    """
