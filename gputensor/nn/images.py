"""Convolution and pooling with channels first: views of :mod:`gputensor.ops.windows` and `volumes`.

Images have shape (n, channels, height, width), sequences (n, channels, length), volumes
(n, channels, depth, height, width); without the first axis they are one sample.
"""

from collections.abc import Sequence
from typing import Any

from gputensor.autograd import Tensor
from gputensor.errors import ShapeError
from gputensor.ops import volumes, windows
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
    "avg_pool3d",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
]

Size = int | Sequence[int]
Whole = tuple[int, ...]
# By the number of axes behind the channels; a sequence is an image of height 1.
_SHAPES = {
    1: "(n, channels, length)",
    2: "(n, channels, height, width)",
    3: "(n, channels, depth, height, width)",
}
_ENGINES: dict[int, Any] = {1: windows, 2: windows, 3: volumes}


def _sizes(name: str, key: str, value: Any, axes: int, height: int = 1) -> Whole:
    """Numbers for all axes; a sequence has one for its `height` in front."""
    given = [*value] if isinstance(value, (list, tuple)) else [value]
    whole = all(hasattr(n, "__index__") and not isinstance(n, bool) and n >= 0 for n in given)
    if len(given) not in (1, axes) or not whole:
        raise ValueError(f"{name}: {key} is {value!r}; it must be an int or {axes} of them")
    along = [int(n) for n in given] * (axes if len(given) == 1 else 1)
    return (height, *along) if axes == 1 else tuple(along)


def _last(name: str, x: Tensor, axes: int) -> Tensor:
    """Channels-last view."""
    if x.ndim == axes + 1:
        x = reshape(x, (1, *x.shape))
    if x.ndim != axes + 2:
        raise ShapeError(f"{name}: x has shape {x.shape}; it must be {_SHAPES[axes]}")
    if axes == 1:
        x = reshape(x, (*x.shape[:2], 1, x.shape[2]))
    return permute_dims(x, (0, *range(2, x.ndim), 1))


def _first(y: Tensor, like: Tensor, axes: int) -> Tensor:
    """The view back, with the axes of `like`."""
    y = permute_dims(y, (0, y.ndim - 1, *range(1, y.ndim - 1)))
    if axes == 1:
        y = reshape(y, (y.shape[0], y.shape[1], y.shape[3]))
    return reshape(y, y.shape[1:]) if like.ndim == axes + 1 else y


def _weight(weight: Tensor, axes: int) -> Tensor:
    if axes == 1:
        weight = reshape(weight, (*weight.shape[:2], 1, weight.shape[2]))
    return permute_dims(weight, (*range(2, weight.ndim), 1, 0))


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
    zeros = padding if isinstance(padding, str) else _sizes(name, "padding", padding, axes, 0)
    y = _ENGINES[axes].convolve(
        _last(name, x, axes),
        _weight(weight, axes),
        bias,
        stride=_sizes(name, "stride", stride, axes),
        padding=zeros,
        dilation=_sizes(name, "dilation", dilation, axes),
        groups=groups,
    )
    return _first(y, x, axes)


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


def conv3d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size | str = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Tensor:
    """:func:`conv2d` of volumes.

    Examples
    --------
    >>> gt.nn.functional.conv3d(gt.ones((1, 2, 4, 4, 4)), gt.ones((3, 2, 2, 2, 2))).shape
    (1, 3, 3, 3, 3)
    """
    return _conv("conv3d", 3, x, weight, bias, stride, padding, dilation, groups)


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
    cut = _sizes(name, "padding", padding, axes, 0)
    y = _ENGINES[axes].convolve_transposed(
        _last(name, x, axes),
        _weight(weight, axes),
        bias,
        stride=_sizes(name, "stride", stride, axes),
        padding=tuple((n, n) for n in cut),
        extra=_sizes(name, "output_padding", output_padding, axes, 0),
        dilation=_sizes(name, "dilation", dilation, axes),
        groups=groups,
    )
    return _first(y, x, axes)


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


def conv_transpose3d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
) -> Tensor:
    """:func:`conv_transpose2d` of volumes.

    Examples
    --------
    >>> gt.nn.functional.conv_transpose3d(gt.ones((1, 2, 3, 3, 3)), gt.ones((2, 3, 2, 2, 2))).shape
    (1, 3, 4, 4, 4)
    """
    options = (stride, padding, output_padding, groups, dilation)
    return _conv_transpose("conv_transpose3d", 3, x, weight, bias, *options)


def _around(
    x: Tensor, window: Whole, stride: Whole, zeros: Whole, dilation: Whole, ceil: bool
) -> tuple[Any, ...]:
    """Zeros before and after each axis of a channels-last view.

    With `ceil` so many more after it that no element is left out; but a window begins within `x`,
    or in the zeros before it.
    """
    around = []
    for n, w, step, z, d in zip(x.shape[1:-1], window, stride, zeros, dilation, strict=True):
        span = (w - 1) * d + 1
        more = -(n + 2 * z - span) % step if ceil else 0
        begin = n + z + more + z - span  # of the last window, counted from the first zero
        around.append((z, z + more if begin < n + z else z))
    return tuple(around)


def _max_pool(
    name: str,
    axes: int,
    x: Tensor,
    kernel_size: Size,
    stride: Size | None,
    padding: Size,
    dilation: Size,
    ceil_mode: bool,
) -> Tensor:
    images = _last(name, x, axes)
    window = _sizes(name, "kernel_size", kernel_size, axes)
    step = window if stride is None else _sizes(name, "stride", stride, axes)
    zeros = _sizes(name, "padding", padding, axes, 0)
    spread = _sizes(name, "dilation", dilation, axes)
    around = _around(images, window, step, zeros, spread, ceil_mode)
    return _first(_ENGINES[axes].largest_pool(images, window, step, around, spread), x, axes)


def max_pool1d(
    x: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
) -> Tensor:
    """:func:`max_pool2d` of sequences.

    Examples
    --------
    >>> gt.nn.functional.max_pool1d(gt.tensor([[[1.0, 3.0, 5.0, 7.0]]]), 2)
    tensor([[[3., 7.]]], dtype=float32)
    """
    return _max_pool("max_pool1d", 1, x, kernel_size, stride, padding, dilation, ceil_mode)


def max_pool2d(
    x: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
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
    ceil_mode : bool
        Whether a window may reach over the end, rather than leave elements out.

    Returns
    -------
    Tensor of shape (n, channels, out height, out width)

    Examples
    --------
    >>> gt.nn.functional.max_pool2d(gt.ones((1, 3, 8, 8)), 2).shape
    (1, 3, 4, 4)
    >>> gt.nn.functional.max_pool2d(gt.ones((1, 3, 7, 7)), 2, ceil_mode=True).shape
    (1, 3, 4, 4)
    """
    return _max_pool("max_pool2d", 2, x, kernel_size, stride, padding, dilation, ceil_mode)


def max_pool3d(
    x: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
) -> Tensor:
    """:func:`max_pool2d` of volumes.

    Examples
    --------
    >>> gt.nn.functional.max_pool3d(gt.ones((2, 3, 4, 4, 4)), 2).shape
    (2, 3, 2, 2, 2)
    """
    return _max_pool("max_pool3d", 3, x, kernel_size, stride, padding, dilation, ceil_mode)


def _avg_pool(
    name: str,
    axes: int,
    x: Tensor,
    kernel_size: Size,
    stride: Size | None,
    padding: Size,
    ceil_mode: bool,
    count_include_pad: bool,
) -> Tensor:
    images = _last(name, x, axes)
    window = _sizes(name, "kernel_size", kernel_size, axes)
    step = window if stride is None else _sizes(name, "stride", stride, axes)
    zeros = _sizes(name, "padding", padding, axes, 0)
    around = _around(images, window, step, zeros, (1,) * len(window), ceil_mode)
    counted = tuple((n, n) for n in zeros) if count_include_pad else None
    y = _ENGINES[axes].average_pool(images, window, step, around, counted=counted)
    return _first(y, x, axes)


def avg_pool1d(
    x: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """:func:`avg_pool2d` of sequences.

    Examples
    --------
    >>> gt.nn.functional.avg_pool1d(gt.tensor([[[1.0, 3.0, 5.0, 7.0]]]), 2)
    tensor([[[2., 6.]]], dtype=float32)
    """
    options = (kernel_size, stride, padding, ceil_mode, count_include_pad)
    return _avg_pool("avg_pool1d", 1, x, *options)


def avg_pool2d(
    x: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """The mean of each window, of each channel; parameters as of :func:`max_pool2d`.

    `count_include_pad` says whether the zeros of `padding` count; what a window reaches over the
    end by `ceil_mode` never does.

    Examples
    --------
    >>> gt.nn.functional.avg_pool2d(gt.ones((1, 3, 8, 8)), 2).shape
    (1, 3, 4, 4)
    """
    options = (kernel_size, stride, padding, ceil_mode, count_include_pad)
    return _avg_pool("avg_pool2d", 2, x, *options)


def avg_pool3d(
    x: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """:func:`avg_pool2d` of volumes.

    Examples
    --------
    >>> gt.nn.functional.avg_pool3d(gt.ones((2, 3, 4, 4, 4)), 2).shape
    (2, 3, 2, 2, 2)
    """
    options = (kernel_size, stride, padding, ceil_mode, count_include_pad)
    return _avg_pool("avg_pool3d", 3, x, *options)


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
    """:func:`adaptive_avg_pool1d` along the last three axes; None keeps a length.

    Examples
    --------
    >>> gt.nn.functional.adaptive_avg_pool3d(gt.ones((2, 3, 4, 4, 4)), 1).shape
    (2, 3, 1, 1, 1)
    """
    return _adaptive("adaptive_avg_pool3d", 3, x, output_size, mean)


def adaptive_max_pool1d(x: Tensor, output_size: Any) -> Tensor:
    """Largest elements of as many windows; as :func:`adaptive_avg_pool1d`.

    Examples
    --------
    >>> gt.nn.functional.adaptive_max_pool1d(gt.ones((2, 3, 8)), 4).shape
    (2, 3, 4)
    """
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
    """Largest elements of as many windows; as :func:`adaptive_avg_pool3d`.

    Examples
    --------
    >>> gt.nn.functional.adaptive_max_pool3d(gt.ones((2, 3, 4, 4, 4)), 2).shape
    (2, 3, 2, 2, 2)
    """
    return _adaptive("adaptive_max_pool3d", 3, x, output_size, largest)
