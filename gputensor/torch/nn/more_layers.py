"""Further layers: padding, shuffles of pixels, sizes of images, windows, distances."""

import math
from collections.abc import Callable
from typing import Any

from gputensor import ops
from gputensor.autograd import Tensor as Engine
from gputensor.nn import functional as engine
from gputensor.ops import convolution, resizing, sampling, windows
from gputensor.random import default_generator
from gputensor.torch.inplace import take_place
from gputensor.torch.nn.layers import pad
from gputensor.torch.nn.module import Module
from gputensor.torch.tensor import ours

__all__ = ["FUNCTIONS", "MODULES"]

_LINEAR = {"linear": 1, "bilinear": 2, "trilinear": 3, "bicubic": 2}


def interpolate(
    input: Any,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Any:
    """Tensors (n, channels, ...) in another size.

    Parameters
    ----------
    input : Tensor of shape (n, channels, *lengths)
    size : int or sequence of int, optional
        New lengths, or
    scale_factor : float or sequence of float, optional
        how many times as long axes become.
    mode : {"nearest", "nearest-exact", "linear", "bilinear", "bicubic", "trilinear", "area"}
    align_corners : bool, optional
        Whether first and last elements stay where they are, not the edges.
    recompute_scale_factor : bool, optional
        Whether the factor is that of the lengths, not the one given.
    antialias : bool
        Whether kernels are as wide as the steps between elements.

    Examples
    --------
    >>> torch.nn.functional.interpolate(torch.ones(1, 3, 4, 4), scale_factor=2).shape
    torch.Size([1, 3, 8, 8])
    """
    lengths = input.array.shape[2:]
    axes = len(lengths)
    if mode not in ("nearest", "nearest-exact", "area", *_LINEAR):
        raise ValueError(
            f"interpolate: mode is {mode!r}; allowed are 'nearest', 'nearest-exact', 'linear', "
            "'bilinear', 'bicubic', 'trilinear' and 'area'"
        )
    if _LINEAR.get(mode, axes) != axes:
        raise ValueError(
            f"interpolate: mode {mode!r} is for {_LINEAR[mode]} axes, there are {axes}"
        )
    if (size is None) == (scale_factor is None):
        raise ValueError("interpolate: give either size or scale_factor")
    if align_corners is not None and mode not in _LINEAR:
        raise ValueError(f"interpolate: align_corners is for linear and cubic modes, not {mode!r}")
    factors: list[Any] = [None] * axes
    if size is None:
        several = isinstance(scale_factor, (tuple, list))
        factors = [float(f) for f in (scale_factor if several else [scale_factor] * axes)]
        size = [math.floor(n * f) for n, f in zip(lengths, factors, strict=True)]
        if recompute_scale_factor:
            factors = [None] * axes
    sizes = [int(n) for n in (size if isinstance(size, (tuple, list)) else [size] * axes)]
    kind = "bilinear" if mode in ("linear", "trilinear") else mode
    for axis, (new, factor) in enumerate(zip(sizes, factors, strict=True), 2):
        if mode == "area":
            input = resizing.adaptive(input, axis, new, ops.mean)
        else:
            input = resizing.resized_axis(
                input,
                axis,
                new,
                kind,
                corners=bool(align_corners),
                scale=factor,
                smooth=antialias,
            )
    return ours(input)


def affine_grid(theta: Any, size: Any, align_corners: bool = False) -> Any:
    """Places of images seen through maps, for :func:`grid_sample`.

    Parameters
    ----------
    theta : Tensor of shape (n, 2, 3)
    size : (n, channels, height, width)
    align_corners : bool
        Whether -1 and 1 are the middles of the outer pixels, not their edges.

    Examples
    --------
    >>> theta = torch.eye(2, 3)[None]
    >>> torch.nn.functional.affine_grid(theta, (1, 1, 2, 2), align_corners=True)[0, 0]
    tensor([[-1., -1.],
            [ 1., -1.]])
    """
    n, _, high, wide = (int(k) for k in size)
    axes = []
    for length in (wide, high):
        steps = ops.arange(length, dtype=theta.dtype, device=theta.device)
        if align_corners:
            axes.append(steps * (2 / max(length - 1, 1)) - 1)
        else:
            axes.append((steps * 2 + 1) / length - 1)
    x = ops.broadcast_to(axes[0][None, :], (high, wide))
    y = ops.broadcast_to(axes[1][:, None], (high, wide))
    places = ops.reshape(ops.stack([x, y, ops.ones_like(x)], axis=-1), (1, high * wide, 3))
    found = ops.matmul(places, ops.permute_dims(theta, (0, 2, 1)))
    return ours(ops.reshape(found, (n, high, wide, 2)))


def grid_sample(
    input: Any,
    grid: Any,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Any:
    """Values of images (n, channels, height, width) at places from -1 to 1.

    Parameters
    ----------
    input : Tensor of shape (n, channels, height, width)
    grid : Tensor of shape (n, high, wide, 2)
        Columns, then rows.
    mode : {"bilinear", "nearest"}
    padding_mode : {"zeros", "border"}
    align_corners : bool
        Whether -1 and 1 are the middles of the outer pixels, not their edges.

    Examples
    --------
    >>> theta = torch.eye(2, 3)[None]
    >>> grid = torch.nn.functional.affine_grid(theta, (1, 1, 2, 2), align_corners=False)
    >>> x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    >>> torch.nn.functional.grid_sample(x, grid, align_corners=False)
    tensor([[[[1., 2.],
              [3., 4.]]]])
    """
    if mode not in ("bilinear", "nearest") or padding_mode not in ("zeros", "border"):
        raise ValueError(
            f"grid_sample: mode is {mode!r} and padding_mode {padding_mode!r}; allowed are "
            "'bilinear' and 'nearest', 'zeros' and 'border'"
        )
    places = []
    for k, length in ((1, input.array.shape[2]), (0, input.array.shape[3])):
        p = grid[..., k]
        places.append((p + 1) / 2 * (length - 1) if align_corners else ((p + 1) * length - 1) / 2)
    edge = "constant" if padding_mode == "zeros" else "nearest"
    last = ops.permute_dims(input, (0, 2, 3, 1))
    found = sampling.sampled(last, places[0], places[1], mode, edge)
    return ours(ops.permute_dims(found, (0, 3, 1, 2)))


def pixel_shuffle(input: Any, upscale_factor: int) -> Any:
    """Channels as pixels: (n, c * r * r, h, w) becomes (n, c, h * r, w * r).

    Examples
    --------
    >>> torch.nn.functional.pixel_shuffle(torch.arange(4.0).reshape(1, 4, 1, 1), 2)
    tensor([[[[0., 1.],
              [2., 3.]]]])
    """
    *n, channels, high, wide = input.array.shape
    r = upscale_factor
    parts = ops.reshape(input, (-1, channels // (r * r), r, r, high, wide))
    moved = ops.permute_dims(parts, (0, 1, 4, 2, 5, 3))
    return ours(ops.reshape(moved, (*n, channels // (r * r), high * r, wide * r)))


def pixel_unshuffle(input: Any, downscale_factor: int) -> Any:
    """The inverse of :func:`pixel_shuffle`.

    Examples
    --------
    >>> torch.nn.functional.pixel_unshuffle(torch.ones(1, 3, 4, 4), 2).shape
    torch.Size([1, 12, 2, 2])
    """
    *n, channels, high, wide = input.array.shape
    r = downscale_factor
    parts = ops.reshape(input, (-1, channels, high // r, r, wide // r, r))
    moved = ops.permute_dims(parts, (0, 1, 3, 5, 2, 4))
    return ours(ops.reshape(moved, (*n, channels * r * r, high // r, wide // r)))


def channel_shuffle(input: Any, groups: int) -> Any:
    """Channels of groups taken in turns.

    Examples
    --------
    >>> x = torch.arange(4.0).reshape(1, 4, 1, 1)
    >>> torch.nn.functional.channel_shuffle(x, 2).flatten()
    tensor([0., 2., 1., 3.])
    """
    n, channels, *rest = input.array.shape
    parts = ops.reshape(input, (n, groups, channels // groups, -1))
    return ours(ops.reshape(ops.permute_dims(parts, (0, 2, 1, 3)), (n, channels, *rest)))


def _pair(value: Any) -> tuple[int, int]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)


def unfold(
    input: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Any:
    """Windows of images as columns, of shape (n, channels * window, windows).

    Examples
    --------
    >>> torch.nn.functional.unfold(torch.ones(2, 3, 5, 5), kernel_size=3).shape
    torch.Size([2, 27, 9])
    """
    window, spread, edge, step = map(_pair, (kernel_size, dilation, padding, stride))
    n, channels, high, wide = input.array.shape
    pads = ((edge[0], edge[0]), (edge[1], edge[1]))
    out = windows.windows_of("unfold", (high, wide), window, step, spread, pads)
    last = ops.permute_dims(input, (0, 2, 3, 1))
    found = convolution.unfold(
        last, window=window, stride=step, dilation=spread, before=edge, out=out
    )
    size = window[0] * window[1]
    parts = ops.reshape(found, (n, out[0] * out[1], size, channels))
    return ours(ops.reshape(ops.permute_dims(parts, (0, 3, 2, 1)), (n, channels * size, -1)))


def fold(
    input: Any,
    output_size: Any,
    kernel_size: Any,
    dilation: Any = 1,
    padding: Any = 0,
    stride: Any = 1,
) -> Any:
    """Columns of :func:`unfold` added up as images.

    Examples
    --------
    >>> windows = torch.ones(1, 4, 4)
    >>> torch.nn.functional.fold(windows, (3, 3), kernel_size=2)[0, 0]
    tensor([[1., 2., 1.],
            [2., 4., 2.],
            [1., 2., 1.]])
    """
    window, spread, edge, step = map(_pair, (kernel_size, dilation, padding, stride))
    size = _pair(output_size)
    pads = ((edge[0], edge[0]), (edge[1], edge[1]))
    out = windows.windows_of("fold", size, window, step, spread, pads)
    n, columns = input.array.shape[:2]
    places = window[0] * window[1]
    parts = ops.reshape(input, (n, columns // places, places, *out))
    parts = ops.permute_dims(parts, (0, 3, 4, 2, 1))
    found = convolution.fold(
        parts, window=window, stride=step, dilation=spread, before=edge, size=size
    )
    return ours(ops.permute_dims(found, (0, 3, 1, 2)))


def alpha_dropout(input: Any, p: float = 0.5, training: bool = False, inplace: bool = False) -> Any:
    """Dropout that keeps mean and variance of SELU's outputs (Klambauer et al. 2017).

    Examples
    --------
    >>> torch.nn.functional.alpha_dropout(torch.ones(4, 5), training=False).shape
    torch.Size([4, 5])
    """
    if not training or not p:
        return input
    low = -1.6732632423543772 * 1.0507009873554805
    a = ((1 - p) * (1 + p * low**2)) ** -0.5
    kept = engine.dropout(ops.ones_like(input), p, True)
    chosen = ops.where(ops.greater(kept, 0), input, low)
    made = ours(ops.multiply(chosen, a) - a * low * p)
    return take_place("alpha_dropout", input, made) if inplace else made


def local_response_norm(
    input: Any, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Any:
    """Each channel over a power of the mean of squares of its neighbours.

    Examples
    --------
    >>> torch.nn.functional.local_response_norm(torch.ones(1, 3, 1, 1), size=2).flatten()
    tensor([1.0000, 0.9999, 0.9999])
    """
    rest = [(0, 0)] * (input.array.ndim - 2)
    squares = ops.pad(ops.square(input), [(0, 0), (size // 2, (size - 1) // 2), *rest])
    channels = input.array.shape[1]
    sums: Any = squares[:, :channels]
    for i in range(1, size):
        sums = sums + squares[:, i : i + channels]
    return ours(ops.divide(input, (sums * (alpha / size) + k) ** beta))


def rrelu(
    input: Any,
    lower: float = 1 / 8,
    upper: float = 1 / 3,
    training: bool = False,
    inplace: bool = False,
) -> Any:
    """`x` above 0, below it times a slope that is drawn for each element while training.

    Examples
    --------
    >>> torch.nn.functional.rrelu(torch.tensor([-8.0, 2.0]), 0.25, 0.25)
    tensor([-2.,  2.])
    """
    slope: Any = (lower + upper) / 2
    if training:
        shape = tuple(input.array.shape)
        kind: dict[str, Any] = {"dtype": input.array.dtype, "device": input.device}
        slope = default_generator.uniform(lower, upper, shape, **kind)
    made = ours(ops.where(ops.greater_equal(input, 0), input, ops.multiply(input, slope)))
    return take_place("rrelu", input, made) if inplace else made


def instance_norm(
    input: Any,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Any = None,
    bias: Any = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    """Each channel of each sample normalized by its own mean and variance.

    Examples
    --------
    >>> x = torch.tensor([[[1.0, 3.0]]])
    >>> torch.nn.functional.instance_norm(x)
    tensor([[[-1.0000,  1.0000]]])
    """
    if running_mean is not None or running_var is not None or not use_input_stats:
        raise ValueError("instance_norm: running means are not there; use batch_norm")
    return ours(engine.group_norm(input, input.array.shape[1], weight, bias, eps=eps))


def batch_norm(
    input: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    """Each channel normalized, by the batch while `training`, which moves the running means.

    Examples
    --------
    >>> x = torch.tensor([[1.0], [3.0]])
    >>> torch.nn.functional.batch_norm(x, torch.zeros(1), torch.ones(1), training=True)
    tensor([[-1.0000],
            [ 1.0000]])
    """
    if not training:
        kept: Any = (running_mean, running_var)
        return ours(engine.batch_norm(input, weight, bias, statistics=kept, eps=eps)[0])
    y, mean, variance = engine.batch_norm(input, weight, bias, eps=eps)
    if running_mean is not None:
        rows = input.array.size // input.array.shape[1]
        running_mean.data.mul_(1 - momentum).add_(ours(mean.detach()) * momentum)
        whole = ours(variance.detach()) * (momentum * rows / (rows - 1))
        running_var.data.mul_(1 - momentum).add_(whole)
    return ours(y)


class Upsample(Module):
    """:func:`interpolate` with its arguments.

    Examples
    --------
    >>> torch.nn.Upsample(scale_factor=2, mode="bilinear")(torch.ones(1, 3, 4, 4)).shape
    torch.Size([1, 3, 8, 8])
    """

    _kind = "nearest"
    _corners: bool | None = None

    def __init__(
        self,
        size: Any = None,
        scale_factor: Any = None,
        mode: str | None = None,
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
    ) -> None:
        super().__init__()
        self.size, self.scale_factor = size, scale_factor
        self._kind = self._kind if mode is None else mode
        self.align_corners = self._corners if align_corners is None else align_corners
        self.recompute_scale_factor = recompute_scale_factor

    def forward(self, input: Any) -> Any:
        """Tensor of the same axes."""
        corners, again = self.align_corners, self.recompute_scale_factor
        return interpolate(input, self.size, self.scale_factor, self._kind, corners, again)

    def extra_repr(self) -> str:
        said = f"size={self.size}" if self.size is not None else f"scale_factor={self.scale_factor}"
        return f"{said}, mode={self._kind!r}"


class UpsamplingNearest2d(Upsample):
    """:class:`Upsample` by the nearest pixel.

    Examples
    --------
    >>> torch.nn.UpsamplingNearest2d(scale_factor=2)(torch.tensor([[[[1.0, 2.0]]]]))
    tensor([[[[1., 1., 2., 2.],
              [1., 1., 2., 2.]]]])
    """


class UpsamplingBilinear2d(Upsample):
    """:class:`Upsample` between pixels, the corners staying where they are.

    Examples
    --------
    >>> torch.nn.UpsamplingBilinear2d(size=(1, 3))(torch.tensor([[[[1.0, 2.0]]]]))
    tensor([[[[1.0000, 1.5000, 2.0000]]]])
    """

    _kind = "bilinear"
    _corners = True


def _made(name: str, function: Callable[..., Any], *required: str, **defaults: Any) -> type[Module]:
    """Module class of a function of one tensor and of settings; ``training`` is passed on."""
    training = "training" in function.__code__.co_varnames[: function.__code__.co_argcount]

    def start(self: Any, *args: Any, **options: Any) -> None:
        Module.__init__(self)
        names = [*required, *defaults]
        given = dict(zip(names, args, strict=False)) | options
        if unknown := given.keys() - set(names):
            raise TypeError(f"{name}: {min(unknown)}= is unknown; allowed are {names}")
        if missing := [key for key in required if key not in given]:
            raise TypeError(f"{name}: {missing[0]} is missing")
        for key, value in (defaults | given).items():
            setattr(self, key, value)

    def forward(self: Any, input: Any) -> Any:
        options = {key: getattr(self, key) for key in (*required, *defaults)}
        options |= {"training": self.training} if training else {}
        return function(input, **options)

    def extra_repr(self: Any) -> str:
        return ", ".join(f"{key}={getattr(self, key)}" for key in (*required, *defaults))

    members = {
        "__init__": start,
        "forward": forward,
        "extra_repr": extra_repr,
        "__doc__": function.__doc__,
        "__module__": "gputensor.torch.nn",
    }
    return type(name, (Module,), members)


class _Pad(Module):
    """Elements around the last axes: one width, or before and after each, the last axis first."""

    _axes = 2
    _mode = "constant"

    def __init__(self, padding: Any, value: float = 0.0) -> None:
        super().__init__()
        given = [padding] * (2 * self._axes) if isinstance(padding, int) else [*padding]
        if len(given) != 2 * self._axes:
            raise ValueError(
                f"{type(self).__name__}: padding is {padding!r}; it must be an int or "
                f"{2 * self._axes} of them"
            )
        self.padding, self.value = tuple(given), value

    def forward(self, input: Any) -> Any:
        """Larger tensor."""
        value = self.value if self._mode == "constant" else None
        return pad(input, self.padding, self._mode, value)

    def extra_repr(self) -> str:
        return str(self.padding)


_PADS = {
    f"{kind}Pad{axes}d": type(
        f"{kind}Pad{axes}d",
        (_Pad,),
        {
            "_axes": axes,
            "_mode": mode,
            "__doc__": f"{_Pad.__doc__}\n\n    Examples\n    --------\n    >>> torch.nn.{kind}Pad"
            f"{axes}d(1)(torch.ones{(1, 2) + (4,) * axes}).shape\n    torch.Size"
            f"({[1, 2] + [6] * axes})",
            "__module__": "gputensor.torch.nn",
        },
    )
    for kind, mode in (
        ("Constant", "constant"),
        ("Zero", "constant"),
        ("Reflection", "reflect"),
        ("Replication", "replicate"),
        ("Circular", "circular"),
    )
    for axes in (1, 2, 3)
}


class PairwiseDistance(Module):
    """Norm of ``x1 - x2 + eps`` along the last axis.

    Examples
    --------
    >>> torch.nn.PairwiseDistance()(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0]]))
    tensor([5.0000])
    """

    def __init__(self, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> None:
        super().__init__()
        self.norm, self.eps, self.keepdim = p, eps, keepdim

    def forward(self, x1: Any, x2: Any) -> Any:
        """Tensor without the last axis."""
        from gputensor.torch.nn.functional import pairwise_distance

        return pairwise_distance(x1, x2, self.norm, self.eps, self.keepdim)


class Softmax2d(Module):
    """Softmax along the channels of images.

    Examples
    --------
    >>> torch.nn.Softmax2d()(torch.zeros(2, 4, 3, 3))[0, :, 0, 0]
    tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """

    def forward(self, input: Any) -> Engine:
        """Tensor of the shape of `input`."""
        found: Engine = ours(engine.softmax(input, axis=-3))
        return found


FUNCTIONS: dict[str, Callable[..., Any]] = {
    f.__name__: f
    for f in (
        *(interpolate, affine_grid, grid_sample, pixel_shuffle, pixel_unshuffle, channel_shuffle),
        *(unfold, fold, alpha_dropout, local_response_norm, rrelu, instance_norm, batch_norm),
    )
}
_WINDOW: dict[str, Any] = {"dilation": 1, "padding": 0, "stride": 1}
MODULES: dict[str, type[Module]] = {
    **_PADS,
    **{
        c.__name__: c
        for c in (Upsample, UpsamplingNearest2d, UpsamplingBilinear2d, PairwiseDistance, Softmax2d)
    },
    "PixelShuffle": _made("PixelShuffle", pixel_shuffle, "upscale_factor"),
    "PixelUnshuffle": _made("PixelUnshuffle", pixel_unshuffle, "downscale_factor"),
    "ChannelShuffle": _made("ChannelShuffle", channel_shuffle, "groups"),
    "Unfold": _made("Unfold", unfold, "kernel_size", **_WINDOW),
    "Fold": _made("Fold", fold, "output_size", "kernel_size", **_WINDOW),
    "AlphaDropout": _made("AlphaDropout", alpha_dropout, p=0.5, inplace=False),
    "LocalResponseNorm": _made(
        "LocalResponseNorm",
        local_response_norm,
        "size",
        alpha=1e-4,
        beta=0.75,
        k=1.0,
    ),
    "RReLU": _made("RReLU", rrelu, lower=1 / 8, upper=1 / 3, inplace=False),
}
