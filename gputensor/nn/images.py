"""Convolution and pooling with channels first: views of :mod:`gputensor.ops.windows`.

Images have shape (n, channels, height, width), sequences (n, channels, length); without the first
axis they are one sample.
"""

from collections.abc import Sequence
from typing import Any

from gputensor.autograd import Tensor
from gputensor.errors import ShapeError
from gputensor.ops import windows
from gputensor.ops.manipulation import permute_dims, reshape
from gputensor.ops.resizing import adaptive
from gputensor.ops.statistical import max as largest
from gputensor.ops.statistical import mean

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
    "avg_pool1d",
    "avg_pool2d",
    "conv1d",
    "conv2d",
    "conv_transpose1d",
    "conv_transpose2d",
    "max_pool1d",
    "max_pool2d",
]

Size = int | Sequence[int]
Pair = tuple[int, int]


def pair(name: str, key: str, value: Any, axes: int = 2) -> Pair:
    """Numbers for height and width; a sequence has the height 1 (0 where that is a padding)."""
    if isinstance(value, (list, tuple)):
        if len(value) not in (1, axes):
            raise ValueError(f"{name}: {key} is {value!r}; it must hold {axes} ints")
        numbers = [*value] * (axes if len(value) == 1 else 1)
    else:
        numbers = [value] * axes
    if any(isinstance(n, bool) or not hasattr(n, "__index__") or n < 0 for n in numbers):
        raise ValueError(f"{name}: {key} is {value!r}; it must be an int or {axes} of them")
    along = [int(n) for n in numbers]
    return (along[0], along[1]) if axes == 2 else (0 if key == "padding" else 1, along[0])


def last(name: str, x: Tensor, axes: int) -> Tensor:
    """Channels-last view of images, or of sequences as images of height 1."""
    if x.ndim == axes + 1:
        x = reshape(x, (1, *x.shape))
    if x.ndim != axes + 2:
        shape = "(n, channels, length)" if axes == 1 else "(n, channels, height, width)"
        raise ShapeError(f"{name}: x has shape {x.shape}; it must be {shape}")
    if axes == 1:
        x = reshape(x, (*x.shape[:2], 1, x.shape[2]))
    return permute_dims(x, (0, 2, 3, 1))


def first(y: Tensor, like: Tensor, axes: int) -> Tensor:
    """The view back, with the axes of `like`."""
    y = permute_dims(y, (0, 3, 1, 2))
    if axes == 1:
        y = reshape(y, (y.shape[0], y.shape[1], y.shape[3]))
    return reshape(y, y.shape[1:]) if like.ndim == axes + 1 else y


def _weight(weight: Tensor, axes: int) -> Tensor:
    if axes == 1:
        weight = reshape(weight, (*weight.shape[:2], 1, weight.shape[2]))
    return permute_dims(weight, (2, 3, 1, 0))


def _padding(name: str, padding: Any, axes: int) -> Any:
    return padding if isinstance(padding, str) else pair(name, "padding", padding, axes)


def _conv(
    name: str,
    axes: int,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Size,
    padding: Size | str,
    dilation: Size,
    groups: int,
) -> Tensor:
    y = windows.convolve(
        last(name, x, axes),
        _weight(weight, axes),
        bias,
        stride=pair(name, "stride", stride, axes),
        padding=_padding(name, padding, axes),
        dilation=pair(name, "dilation", dilation, axes),
        groups=groups,
    )
    return first(y, x, axes)


def conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size | str = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Tensor:
    """:func:`conv2d` of sequences: `x` (n, channels, length), `weight` (filters, ..., window).

    Examples
    --------
    >>> gt.nn.functional.conv1d(gt.ones((1, 1, 5)), gt.ones((1, 1, 3)))
    tensor([[[3., 3., 3.]]], dtype=float32)
    """
    return _conv("conv1d", 1, x, weight, bias, stride, padding, dilation, groups)


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size | str = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Tensor:
    """Convolution of images (a correlation, as everywhere).

    Parameters
    ----------
    x : Tensor of shape (n, channels, height, width)
    weight : Tensor of shape (filters, channels / groups, window height, window width)
    bias : Tensor of shape (filters,), optional
    stride, dilation : int or (int, int)
    padding : int, (int, int), "valid" or "same"
        Zeros around the images.
    groups : int

    Returns
    -------
    Tensor of shape (n, filters, out height, out width)

    Raises
    ------
    ShapeError
        If the shapes do not fit.

    Examples
    --------
    >>> gt.nn.functional.conv2d(gt.ones((2, 3, 8, 8)), gt.ones((4, 3, 3, 3)), padding=1).shape
    (2, 4, 8, 8)
    """
    return _conv("conv2d", 2, x, weight, bias, stride, padding, dilation, groups)


def _conv_transpose(
    name: str,
    axes: int,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Size,
    padding: Size,
    output_padding: Size,
    groups: int,
    dilation: Size,
) -> Tensor:
    extra = pair(name, "padding", output_padding, axes)
    cut = pair(name, "padding", padding, axes)
    y = windows.convolve_transposed(
        last(name, x, axes),
        _weight(weight, axes),
        bias,
        stride=pair(name, "stride", stride, axes),
        padding=((cut[0], cut[0]), (cut[1], cut[1])),
        extra=extra,
        dilation=pair(name, "dilation", dilation, axes),
        groups=groups,
    )
    return first(y, x, axes)


def conv_transpose1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
) -> Tensor:
    """:func:`conv_transpose2d` of sequences.

    Examples
    --------
    >>> gt.nn.functional.conv_transpose1d(gt.ones((1, 1, 4)), gt.ones((1, 2, 3)), stride=2).shape
    (1, 2, 9)
    """
    options = (stride, padding, output_padding, groups, dilation)
    return _conv_transpose("conv_transpose1d", 1, x, weight, bias, *options)


def conv_transpose2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
) -> Tensor:
    """Transposed convolution: the gradient of :func:`conv2d` towards its images.

    Parameters
    ----------
    x : Tensor of shape (n, channels, height, width)
    weight : Tensor of shape (channels, filters / groups, window height, window width)
    bias : Tensor of shape (filters,), optional
    stride, padding, dilation, groups : as of :func:`conv2d`
    output_padding : int or (int, int)
        Rows and columns that are added at the end.

    Returns
    -------
    Tensor of shape (n, filters, ...)

    Examples
    --------
    >>> x, weight = gt.ones((1, 1, 4, 4)), gt.ones((1, 2, 2, 2))
    >>> gt.nn.functional.conv_transpose2d(x, weight, stride=2).shape
    (1, 2, 8, 8)
    """
    options = (stride, padding, output_padding, groups, dilation)
    return _conv_transpose("conv_transpose2d", 2, x, weight, bias, *options)


def _max_pool(
    name: str,
    axes: int,
    x: Tensor,
    window: Size,
    stride: Size | None,
    padding: Size,
    dilation: Size,
) -> Tensor:
    step = window if stride is None else stride
    y = windows.largest_pool(
        last(name, x, axes),
        pair(name, "kernel_size", window, axes),
        pair(name, "stride", step, axes),
        pair(name, "padding", padding, axes),
        pair(name, "dilation", dilation, axes),
    )
    return first(y, x, axes)


def max_pool1d(
    x: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
) -> Tensor:
    """:func:`max_pool2d` of sequences.

    Examples
    --------
    >>> gt.nn.functional.max_pool1d(gt.tensor([[[1.0, 3.0, 5.0, 7.0]]]), 2)
    tensor([[[3., 7.]]], dtype=float32)
    """
    return _max_pool("max_pool1d", 1, x, kernel_size, stride, padding, dilation)


def max_pool2d(
    x: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
) -> Tensor:
    """The largest element of each window, of each channel.

    Parameters
    ----------
    x : Tensor of shape (n, channels, height, width)
    kernel_size : int or (int, int)
        The window.
    stride : int or (int, int), optional
        By default `kernel_size`.
    padding, dilation : int or (int, int)

    Returns
    -------
    Tensor of shape (n, channels, out height, out width)

    Examples
    --------
    >>> gt.nn.functional.max_pool2d(gt.ones((1, 3, 8, 8)), 2).shape
    (1, 3, 4, 4)
    """
    return _max_pool("max_pool2d", 2, x, kernel_size, stride, padding, dilation)


def _avg_pool(
    name: str, axes: int, x: Tensor, window: Size, stride: Size | None, padding: Size, count: bool
) -> Tensor:
    step = window if stride is None else stride
    y = windows.average_pool(
        last(name, x, axes),
        pair(name, "kernel_size", window, axes),
        pair(name, "stride", step, axes),
        pair(name, "padding", padding, axes),
        count_padding=count,
    )
    return first(y, x, axes)


def avg_pool1d(
    x: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    count_include_pad: bool = True,
) -> Tensor:
    """:func:`avg_pool2d` of sequences.

    Examples
    --------
    >>> gt.nn.functional.avg_pool1d(gt.tensor([[[1.0, 3.0, 5.0, 7.0]]]), 2)
    tensor([[[2., 6.]]], dtype=float32)
    """
    return _avg_pool("avg_pool1d", 1, x, kernel_size, stride, padding, count_include_pad)


def avg_pool2d(
    x: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    count_include_pad: bool = True,
) -> Tensor:
    """The mean of each window, of each channel; parameters as of :func:`max_pool2d`.

    `count_include_pad` says whether zeros around the images count.

    Examples
    --------
    >>> gt.nn.functional.avg_pool2d(gt.ones((1, 3, 8, 8)), 2).shape
    (1, 3, 4, 4)
    """
    return _avg_pool("avg_pool2d", 2, x, kernel_size, stride, padding, count_include_pad)


def _adaptive(name: str, axes: int, x: Tensor, size: Any, reduction: Any) -> Tensor:
    sizes = [*size] if isinstance(size, (list, tuple)) else [size] * axes
    if len(sizes) != axes or x.ndim < axes + 1:
        raise ShapeError(
            f"{name}: output_size is {size!r} and x has shape {x.shape}; it takes an int or {axes} "
            f"of them, and {axes} axes behind the channels"
        )
    first = x.ndim - axes
    for axis, length in enumerate(sizes, start=first):
        if length is not None:
            x = adaptive(x, axis, int(length), reduction)
    return x


def adaptive_avg_pool1d(x: Tensor, output_size: Any) -> Tensor:
    """Means of as many windows as asked for, along the last axis.

    Window i is from ``floor(i * n / output_size)`` to ``ceil((i + 1) * n / output_size)``.

    Examples
    --------
    >>> gt.nn.functional.adaptive_avg_pool1d(gt.ones((2, 3, 8)), 4).shape
    (2, 3, 4)
    """
    return _adaptive("adaptive_avg_pool1d", 1, x, output_size, mean)


def adaptive_avg_pool2d(x: Tensor, output_size: Any) -> Tensor:
    """:func:`adaptive_avg_pool1d` along the last two axes; None keeps a length.

    Examples
    --------
    >>> gt.nn.functional.adaptive_avg_pool2d(gt.ones((2, 3, 8, 8)), 1).shape
    (2, 3, 1, 1)
    """
    return _adaptive("adaptive_avg_pool2d", 2, x, output_size, mean)


def adaptive_avg_pool3d(x: Tensor, output_size: Any) -> Tensor:
    """:func:`adaptive_avg_pool1d` along the last three axes; None keeps a length."""
    return _adaptive("adaptive_avg_pool3d", 3, x, output_size, mean)


def adaptive_max_pool1d(x: Tensor, output_size: Any) -> Tensor:
    """Largest elements of as many windows; as :func:`adaptive_avg_pool1d`."""
    return _adaptive("adaptive_max_pool1d", 1, x, output_size, largest)


def adaptive_max_pool2d(x: Tensor, output_size: Any) -> Tensor:
    """Largest elements of as many windows; as :func:`adaptive_avg_pool2d`.

    Examples
    --------
    >>> gt.nn.functional.adaptive_max_pool2d(gt.ones((2, 3, 8, 8)), 2).shape
    (2, 3, 2, 2)
    """
    return _adaptive("adaptive_max_pool2d", 2, x, output_size, largest)


def adaptive_max_pool3d(x: Tensor, output_size: Any) -> Tensor:
    """Largest elements of as many windows; as :func:`adaptive_avg_pool3d`."""
    return _adaptive("adaptive_max_pool3d", 3, x, output_size, largest)
