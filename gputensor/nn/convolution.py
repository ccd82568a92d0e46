"""Convolution and pooling layers with PyTorch's names and shapes."""

import math
from typing import Any

from gputensor.autograd import Tensor
from gputensor.backend import Device
from gputensor.errors import ShapeError
from gputensor.nn import images
from gputensor.nn.modules import Module, _check_sizes, evenly
from gputensor.shown import retold

__all__ = [
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
]

Size = images.Size


def _sizes(value: Any, axes: int) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,) * axes


class _Conv(Module):
    """What convolutions share.

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size : int or sequence of int
        The window.
    stride, padding, dilation : int or sequence of int
        `padding` may be "same" or "valid", too.
    groups : int
        Parts of the channels that have to do with each other alone.
    bias : bool
    dtype : floating point dtype, optional
    device : str or Device, optional

    Attributes
    ----------
    weight : Tensor of shape (out_channels, in_channels / groups, *kernel_size)
    bias : Tensor of shape (out_channels,), or None
        Both drawn evenly from ``+-1/sqrt(in_channels / groups * window)``.
    """

    _axes = 2

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size | str = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        *,
        dtype: Any = None,
        device: str | Device | None = None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        window = _sizes(kernel_size, self._axes)
        _check_sizes(name, in_channels=in_channels, out_channels=out_channels, groups=groups)
        for n in window:
            _check_sizes(name, kernel_size=n)
        if in_channels % groups or out_channels % groups:
            raise ShapeError(
                f"{name}: {in_channels} and {out_channels} channels cannot be cut into {groups} "
                "groups"
            )
        if padding_mode != "zeros":
            raise ValueError(f"{name}: padding_mode is {padding_mode!r}; only 'zeros' is there")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = window
        self.stride = stride
        self.padding = padding
        self.dilation = dilation
        self.groups = groups
        shape = self._shape()
        fan_in = shape[1] * math.prod(window)
        self.weight = evenly(fan_in, (*shape, *window), dtype, device)
        self.bias = evenly(fan_in, (out_channels,), dtype, device) if bias else None

    def _shape(self) -> tuple[int, int]:
        return self.out_channels, self.in_channels // self.groups

    def forward(self, x: Tensor) -> Tensor:
        """Of shape (n, out_channels, ...)."""
        function: Any = (images.conv1d, images.conv2d, images.conv3d)[self._axes - 1]
        options = (self.stride, self.padding, self.dilation, self.groups)
        found: Tensor = function(x, self.weight, self.bias, *options)
        return found


class Conv2d(_Conv):
    __doc__ = retold(
        _Conv,
        "Convolution of images (n, channels, height, width).",
        ">>> gt.nn.Conv2d(3, 4, 3, padding=1)(gt.ones((2, 3, 8, 8))).shape\n(2, 4, 8, 8)",
    )


class Conv1d(_Conv):
    __doc__ = retold(
        _Conv,
        "Convolution of sequences (n, channels, length).",
        ">>> gt.nn.Conv1d(3, 4, 3)(gt.ones((2, 3, 8))).shape\n(2, 4, 6)",
    )
    _axes = 1


class Conv3d(_Conv):
    __doc__ = retold(
        _Conv,
        "Convolution of volumes (n, channels, depth, height, width).",
        ">>> gt.nn.Conv3d(3, 4, 3)(gt.ones((2, 3, 4, 4, 4))).shape\n(2, 4, 2, 2, 2)",
    )
    _axes = 3


class _ConvTranspose(_Conv):
    """Transposed convolution: parameters of :class:`Conv2d`, in another order.

    `output_padding` rows and columns are added at the end.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        output_padding: Size = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Size = 1,
        padding_mode: str = "zeros",
        *,
        dtype: Any = None,
        device: str | Device | None = None,
    ) -> None:
        rest = (stride, padding, dilation, groups, bias, padding_mode)
        super().__init__(in_channels, out_channels, kernel_size, *rest, dtype=dtype, device=device)
        self.output_padding = output_padding

    def _shape(self) -> tuple[int, int]:
        return self.in_channels, self.out_channels // self.groups

    def forward(self, x: Tensor) -> Tensor:
        """Of shape (n, out_channels, ...)."""
        kinds: Any = (images.conv_transpose1d, images.conv_transpose2d, images.conv_transpose3d)
        options = (self.stride, self.padding, self.output_padding, self.groups, self.dilation)
        found: Tensor = kinds[self._axes - 1](x, self.weight, self.bias, *options)
        return found


class ConvTranspose2d(_ConvTranspose):
    """Transposed convolution of images; parameters of :class:`Conv2d`, and `output_padding`.

    `weight` has shape (in_channels, out_channels / groups, kernel height, kernel width).

    Examples
    --------
    >>> gt.nn.ConvTranspose2d(3, 4, 2, stride=2)(gt.ones((2, 3, 8, 8))).shape
    (2, 4, 16, 16)
    """


class ConvTranspose1d(_ConvTranspose):
    """Transposed convolution of sequences; see :class:`ConvTranspose2d`.

    Examples
    --------
    >>> gt.nn.ConvTranspose1d(3, 4, 2, stride=2)(gt.ones((2, 3, 8))).shape
    (2, 4, 16)
    """

    _axes = 1


class ConvTranspose3d(_ConvTranspose):
    """Transposed convolution of volumes; see :class:`ConvTranspose2d`.

    Examples
    --------
    >>> gt.nn.ConvTranspose3d(3, 4, 2, stride=2)(gt.ones((2, 3, 3, 3, 3))).shape
    (2, 4, 6, 6, 6)
    """

    _axes = 3


class _Pool(Module):
    def __init__(self, kernel_size: Size, stride: Size | None = None, padding: Size = 0) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding


class MaxPool2d(_Pool):
    """The largest element of each window: see :func:`gputensor.nn.functional.max_pool2d`.

    Examples
    --------
    >>> gt.nn.MaxPool2d(2)(gt.ones((2, 3, 8, 8))).shape
    (2, 3, 4, 4)
    """

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        dilation: Size = 1,
        *,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding)
        self.dilation = dilation
        self.ceil_mode = ceil_mode

    def _options(self) -> tuple[Any, ...]:
        return self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode

    def forward(self, x: Tensor) -> Tensor:
        """Of shape (n, channels, ...)."""
        return images.max_pool2d(x, *self._options())


class MaxPool1d(MaxPool2d):
    """:class:`MaxPool2d` of sequences.

    Examples
    --------
    >>> gt.nn.MaxPool1d(2)(gt.ones((2, 3, 8))).shape
    (2, 3, 4)
    """

    def forward(self, x: Tensor) -> Tensor:
        """Of shape (n, channels, ...)."""
        return images.max_pool1d(x, *self._options())


class MaxPool3d(MaxPool2d):
    """:class:`MaxPool2d` of images.

    Examples
    --------
    >>> gt.nn.MaxPool3d(2)(gt.ones((2, 3, 4, 4, 4))).shape
    (2, 3, 2, 2, 2)
    """

    def forward(self, x: Tensor) -> Tensor:
        """Of shape (n, channels, ...)."""
        return images.max_pool3d(x, *self._options())


class AvgPool2d(_Pool):
    """The mean of each window: see :func:`gputensor.nn.functional.avg_pool2d`.

    Examples
    --------
    >>> gt.nn.AvgPool2d(2)(gt.ones((2, 3, 8, 8))).shape
    (2, 3, 4, 4)
    """

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding)
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad

    def _options(self) -> tuple[Any, ...]:
        rest = (self.ceil_mode, self.count_include_pad)
        return self.kernel_size, self.stride, self.padding, *rest

    def forward(self, x: Tensor) -> Tensor:
        """Of shape (n, channels, ...)."""
        return images.avg_pool2d(x, *self._options())


class AvgPool1d(AvgPool2d):
    """:class:`AvgPool2d` of sequences.

    Examples
    --------
    >>> gt.nn.AvgPool1d(2)(gt.ones((2, 3, 8))).shape
    (2, 3, 4)
    """

    def forward(self, x: Tensor) -> Tensor:
        """Of shape (n, channels, ...)."""
        return images.avg_pool1d(x, *self._options())


class AvgPool3d(AvgPool2d):
    """:class:`AvgPool2d` of images.

    Examples
    --------
    >>> gt.nn.AvgPool3d(2)(gt.ones((2, 3, 4, 4, 4))).shape
    (2, 3, 2, 2, 2)
    """

    def forward(self, x: Tensor) -> Tensor:
        """Of shape (n, channels, ...)."""
        return images.avg_pool3d(x, *self._options())


class AdaptiveAvgPool2d(Module):
    """Means of `output_size` windows, see :func:`gputensor.nn.functional.adaptive_avg_pool2d`.

    Examples
    --------
    >>> gt.nn.AdaptiveAvgPool2d(1)(gt.ones((2, 3, 8, 8))).shape
    (2, 3, 1, 1)
    """

    def __init__(self, output_size: Any) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, x: Tensor) -> Tensor:
        """Of shape (n, channels, *output_size)."""
        return images.adaptive_avg_pool2d(x, self.output_size)


class AdaptiveAvgPool1d(AdaptiveAvgPool2d):
    """Means of `output_size` windows of sequences.

    Examples
    --------
    >>> gt.nn.AdaptiveAvgPool1d(4)(gt.ones((2, 3, 8))).shape
    (2, 3, 4)
    """

    def forward(self, x: Tensor) -> Tensor:
        """Of shape (n, channels, output_size)."""
        return images.adaptive_avg_pool1d(x, self.output_size)


class AdaptiveMaxPool2d(AdaptiveAvgPool2d):
    """Largest elements of `output_size` windows.

    Examples
    --------
    >>> gt.nn.AdaptiveMaxPool2d(2)(gt.ones((2, 3, 8, 8))).shape
    (2, 3, 2, 2)
    """

    def forward(self, x: Tensor) -> Tensor:
        """Of shape (n, channels, *output_size)."""
        return images.adaptive_max_pool2d(x, self.output_size)


class AdaptiveMaxPool1d(AdaptiveAvgPool2d):
    """Largest elements of `output_size` windows of sequences.

    Examples
    --------
    >>> gt.nn.AdaptiveMaxPool1d(4)(gt.ones((2, 3, 8))).shape
    (2, 3, 4)
    """

    def forward(self, x: Tensor) -> Tensor:
        """Of shape (n, channels, output_size)."""
        return images.adaptive_max_pool1d(x, self.output_size)


class AdaptiveAvgPool3d(AdaptiveAvgPool2d):
    """Means of `output_size` windows of images.

    Examples
    --------
    >>> gt.nn.AdaptiveAvgPool3d(1)(gt.ones((2, 3, 4, 4, 4))).shape
    (2, 3, 1, 1, 1)
    """

    def forward(self, x: Tensor) -> Tensor:
        """Of shape (n, channels, *output_size)."""
        return images.adaptive_avg_pool3d(x, self.output_size)


class AdaptiveMaxPool3d(AdaptiveAvgPool2d):
    """Largest elements of `output_size` windows of images.

    Examples
    --------
    >>> gt.nn.AdaptiveMaxPool3d(2)(gt.ones((2, 3, 4, 4, 4))).shape
    (2, 3, 2, 2, 2)
    """

    def forward(self, x: Tensor) -> Tensor:
        """Of shape (n, channels, *output_size)."""
        return images.adaptive_max_pool3d(x, self.output_size)
