"""Convolution and pooling of volumes (n, depth, height, width, channels), by those of images.

The planes that a window covers become the channels of one image, and a window's maximum, or mean,
is that of its planes' own.
"""

from typing import Any

from gputensor.autograd import Tensor
from gputensor.errors import ShapeError
from gputensor.ops import windows
from gputensor.ops.convolution import fold, unfold
from gputensor.ops.manipulation import permute_dims, reshape

__all__ = ["average_pool", "convolve", "convolve_transposed", "largest_pool"]

Triple = tuple[int, int, int]
Pair = tuple[int, int]


def _check(name: str, x: Tensor, weight: Tensor | None = None) -> None:
    for key, t in (("x", x), ("weight", weight)):
        if t is not None and t.ndim != 5:
            raise ShapeError(f"{name}: {key} has shape {t.shape}; it must have five axes")


def _parted(padding: Any) -> tuple[Any, Any]:
    """Padding along the depth, as that of images of width 1, and of the planes."""
    if isinstance(padding, str):
        return padding, padding
    deep, *plane = padding
    return (deep, (0, 0)), tuple(plane)


def _planes(x: Tensor) -> Tensor:
    """Volumes as images."""
    return reshape(x, (x.shape[0] * x.shape[1], *x.shape[2:]))


def _columns(x: Tensor) -> Tensor:
    """Volumes as images of width 1, planes being their channels."""
    n, deep = x.shape[:2]
    return reshape(x, (n, deep, 1, x.shape[2] * x.shape[3] * x.shape[4]))


def convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: Triple = (1, 1, 1),
    padding: Any = "valid",
    dilation: Triple = (1, 1, 1),
    groups: int = 1,
    activation: str | None = None,
) -> Tensor:
    """Convolution of volumes; parameters as of :func:`gputensor.ops.windows.convolve`.

    Parameters
    ----------
    x : Tensor of shape (n, depth, height, width, channels)
    weight : Tensor of shape (window depth, height, width, channels / groups, filters)

    Returns
    -------
    Tensor of shape (n, out depth, out height, out width, filters)
    """
    _check("conv3d", x, weight)
    n, size, high, wide, channels = x.shape
    kd, kh, kw, depth, filters = weight.shape
    if depth * groups != channels:
        raise ShapeError(
            f"conv3d: x has {channels} channels and the weight takes {depth} in each of {groups} "
            "groups"
        )
    along, plane = _parted(padding)
    if kd == stride[0] == 1 and along in ("valid", "same", ((0, 0), (0, 0)), (0, (0, 0))):
        planes, out = _planes(x), size
    else:
        window, step, spread = (kd, 1), (stride[0], 1), (dilation[0], 1)
        pads = windows.pads_of("conv3d", along, (size, 1), window, step, spread)
        (out, _) = windows.windows_of("conv3d", (size, 1), window, step, spread, pads)
        found = unfold(
            _columns(x),
            window=window,
            stride=step,
            dilation=spread,
            before=(pads[0][0], 0),
            out=(out, 1),
        )
        # Of each group the planes of a window side by side.
        parts = reshape(found, (n, out, kd, high, wide, groups, depth))
        planes = reshape(
            permute_dims(parts, (0, 1, 3, 4, 5, 2, 6)), (n * out, high, wide, kd * channels)
        )
    y = windows.convolve(
        planes,
        reshape(permute_dims(weight, (1, 2, 0, 3, 4)), (kh, kw, kd * depth, filters)),
        bias,
        stride=(stride[1], stride[2]),
        padding=plane,
        dilation=(dilation[1], dilation[2]),
        groups=groups,
        activation=activation,
    )
    return reshape(y, (n, out, *y.shape[1:]))


def convolve_transposed(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: Triple = (1, 1, 1),
    padding: tuple[Pair, Pair, Pair] = ((0, 0), (0, 0), (0, 0)),
    extra: Triple = (0, 0, 0),
    dilation: Triple = (1, 1, 1),
    groups: int = 1,
) -> Tensor:
    """The gradient of :func:`convolve` towards its volumes, as a layer that makes them larger.

    Parameters
    ----------
    x : Tensor of shape (n, depth, height, width, channels)
    weight : Tensor of shape (window depth, height, width, filters / groups, channels)
    stride, padding, extra, dilation, groups
        As of :func:`gputensor.ops.windows.convolve_transposed`.
    """
    _check("conv_transpose3d", x, weight)
    n, size = x.shape[:2]
    kd, kh, kw, each, channels = weight.shape
    whole = (size - 1) * stride[0] + (kd - 1) * dilation[0] + 1 - sum(padding[0]) + extra[0]
    if whole < 1:
        raise ShapeError(f"conv_transpose3d: padding {padding} leaves nothing of the result")
    y = windows.convolve_transposed(
        _planes(x),
        reshape(permute_dims(weight, (1, 2, 0, 3, 4)), (kh, kw, kd * each, channels)),
        stride=(stride[1], stride[2]),
        padding=(padding[1], padding[2]),
        extra=(extra[1], extra[2]),
        dilation=(dilation[1], dilation[2]),
        groups=groups,
    )
    high, wide = y.shape[1:3]
    parts = reshape(y, (n, size, high, wide, groups, kd, each))
    parts = permute_dims(parts, (0, 1, 5, 2, 3, 4, 6))
    found = fold(
        reshape(parts, (n, size, 1, kd, high * wide * groups * each)),
        window=(kd, 1),
        stride=(stride[0], 1),
        dilation=(dilation[0], 1),
        before=(padding[0][0], 0),
        size=(whole, 1),
    )
    found = reshape(found, (n, whole, high, wide, groups * each))
    return found if bias is None else found + bias


def largest_pool(
    x: Tensor, window: Triple, stride: Triple, padding: Any = "valid", dilation: Triple = (1, 1, 1)
) -> Tensor:
    """The largest element of each window, of each channel; the gradient goes to the first."""
    _check("max_pool3d", x)
    along, plane = _parted(padding)
    options = (window[1:], stride[1:], plane, dilation[1:])
    y = windows.largest_pool(_planes(x), *options)
    y = reshape(y, (*x.shape[:2], *y.shape[1:]))
    deep = windows.largest_pool(
        _columns(y), (window[0], 1), (stride[0], 1), along, (dilation[0], 1)
    )
    return reshape(deep, (*deep.shape[:2], *y.shape[2:]))


def average_pool(
    x: Tensor,
    window: Triple,
    stride: Triple,
    padding: Any = "valid",
    *,
    counted: tuple[Pair, Pair, Pair] | None = None,
) -> Tensor:
    """The mean of each window, of each channel; `counted` are the zeros around that count."""
    _check("average_pool3d", x)
    along, plane = _parted(padding)
    deep_counted, plane_counted = (None, None) if counted is None else _parted(counted)
    y = windows.average_pool(_planes(x), window[1:], stride[1:], plane, counted=plane_counted)
    y = reshape(y, (*x.shape[:2], *y.shape[1:]))
    columns, step = (window[0], 1), (stride[0], 1)
    deep = windows.average_pool(_columns(y), columns, step, along, counted=deep_counted)
    return reshape(deep, (*deep.shape[:2], *y.shape[2:]))
