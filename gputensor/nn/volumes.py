"""Convolution and pooling of volumes with channels first: views of :mod:`gputensor.ops.volumes`.

Volumes have shape (n, channels, depth, height, width); without the first axis they are one sample.
"""

from collections.abc import Sequence
from typing import Any

from gputensor.autograd import Tensor
from gputensor.errors import ShapeError
from gputensor.ops import volumes
from gputensor.ops.manipulation import permute_dims, reshape

__all__ = ["avg_pool3d", "conv3d", "conv_transpose3d", "max_pool3d"]

Size = int | Sequence[int]


def triple(name: str, key: str, value: Any) -> tuple[int, int, int]:
    """Numbers for depth, height and width."""
    given = list(value) if isinstance(value, (list, tuple)) else [value] * 3
    given = given * 3 if len(given) == 1 else given
    whole = all(hasattr(n, "__index__") and not isinstance(n, bool) and n >= 0 for n in given)
    if len(given) != 3 or not whole:
        raise ValueError(f"{name}: {key} is {value!r}; it must be an int or 3 of them")
    return int(given[0]), int(given[1]), int(given[2])


def _last(name: str, x: Tensor) -> Tensor:
    """Channels-last view."""
    whole = reshape(x, (1, *x.shape)) if x.ndim == 4 else x
    if whole.ndim != 5:
        raise ShapeError(
            f"{name}: x has shape {x.shape}; it must be (n, channels, depth, height, width)"
        )
    return permute_dims(whole, (0, 2, 3, 4, 1))


def _first(y: Tensor, like: Tensor) -> Tensor:
    y = permute_dims(y, (0, 4, 1, 2, 3))
    return reshape(y, y.shape[1:]) if like.ndim == 4 else y


def conv3d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size | str = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Tensor:
    """Convolution of volumes; parameters as of :func:`gputensor.nn.functional.conv2d`.

    Parameters
    ----------
    x : Tensor of shape (n, channels, depth, height, width)
    weight : Tensor of shape (filters, channels / groups, window depth, height, width)

    Returns
    -------
    Tensor of shape (n, filters, out depth, out height, out width)

    Examples
    --------
    >>> gt.nn.functional.conv3d(gt.ones((1, 2, 4, 4, 4)), gt.ones((3, 2, 2, 2, 2))).shape
    (1, 3, 3, 3, 3)
    """
    name = "conv3d"
    y = volumes.convolve(
        _last(name, x),
        permute_dims(weight, (2, 3, 4, 1, 0)),
        bias,
        stride=triple(name, "stride", stride),
        padding=padding if isinstance(padding, str) else triple(name, "padding", padding),
        dilation=triple(name, "dilation", dilation),
        groups=groups,
    )
    return _first(y, x)


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
    """Transposed convolution of volumes; parameters as of ``conv_transpose2d``.

    Parameters
    ----------
    x : Tensor of shape (n, channels, depth, height, width)
    weight : Tensor of shape (channels, filters / groups, window depth, height, width)

    Examples
    --------
    >>> gt.nn.functional.conv_transpose3d(gt.ones((1, 2, 3, 3, 3)), gt.ones((2, 3, 2, 2, 2))).shape
    (1, 3, 4, 4, 4)
    """
    name = "conv_transpose3d"
    a, b, c = triple(name, "padding", padding)
    y = volumes.convolve_transposed(
        _last(name, x),
        permute_dims(weight, (2, 3, 4, 1, 0)),
        bias,
        stride=triple(name, "stride", stride),
        padding=((a, a), (b, b), (c, c)),
        extra=triple(name, "output_padding", output_padding),
        dilation=triple(name, "dilation", dilation),
        groups=groups,
    )
    return _first(y, x)


def max_pool3d(
    x: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
) -> Tensor:
    """The largest element of each window of volumes; parameters as of ``max_pool2d``.

    Examples
    --------
    >>> gt.nn.functional.max_pool3d(gt.ones((2, 3, 4, 4, 4)), 2).shape
    (2, 3, 2, 2, 2)
    """
    name = "max_pool3d"
    y = volumes.largest_pool(
        _last(name, x),
        triple(name, "kernel_size", kernel_size),
        triple(name, "stride", kernel_size if stride is None else stride),
        triple(name, "padding", padding),
        triple(name, "dilation", dilation),
    )
    return _first(y, x)


def avg_pool3d(
    x: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    count_include_pad: bool = True,
) -> Tensor:
    """The mean of each window of volumes; parameters as of ``avg_pool2d``.

    Examples
    --------
    >>> gt.nn.functional.avg_pool3d(gt.ones((2, 3, 4, 4, 4)), 2).shape
    (2, 3, 2, 2, 2)
    """
    name = "avg_pool3d"
    y = volumes.average_pool(
        _last(name, x),
        triple(name, "kernel_size", kernel_size),
        triple(name, "stride", kernel_size if stride is None else stride),
        triple(name, "padding", padding),
        count_padding=count_include_pad,
    )
    return _first(y, x)
