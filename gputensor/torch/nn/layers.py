"""Layers: the engine's classes as modules of the door, and those whose arguments are others."""

import inspect
import math
from typing import Any, Self

import numpy as np

from gputensor import nn as engine
from gputensor import ops
from gputensor.errors import ShapeError
from gputensor.nn import functional as engine_functional
from gputensor.nn.norm import BatchNorm
from gputensor.torch import shaping
from gputensor.torch.inplace import take_place
from gputensor.torch.nn.module import DOOR_CLASSES, Module
from gputensor.torch.nn.utils import rnn
from gputensor.torch.tensor import Parameter, as_device, ours

__all__ = ["MODULES"]

# Shown before the names of the others in the text of a layer, and without a name.
_FIRST = {"in_channels", "out_channels", "num_features", "num_embeddings", "embedding_dim"}
_BOTH_WAYS = ("bias", "batch_first", "dropout", "bidirectional")
# Settings of PyTorch that are not there, and what they may be.
_ABSENT: dict[str, Any] = {
    "add_bias_kv": False,
    "add_zero_attn": False,
    "bias": True,
    "divisor_override": None,
    "elementwise_affine": True,
    "kdim": None,
    "nonlinearity": "tanh",
    "proj_size": 0,
    "return_indices": False,
    "vdim": None,
}
_NOT_SHOWN = {"dtype", "device", "generator"}


class _Layer(Module):
    """What layers of the engine have in addition."""

    def extra_repr(self) -> str:
        parts = []
        for name, parameter in inspect.signature(type(self).__init__).parameters.items():
            if name in _NOT_SHOWN or name not in vars(self):
                continue
            value = getattr(self, name)
            if name == "bias":
                value = value if isinstance(value, bool) else value is not None
            if name in _FIRST:
                parts.append(str(value))
            elif (
                parameter.default is parameter.empty
                or value != parameter.default
                or (name == "bias")
            ):
                parts.append(f"{name}={value}")
        return ", ".join(parts)


def _door(name: str) -> type[Module]:
    """The engine's layer as a module of the door."""
    base = getattr(engine, name)
    kind = _Recurrent if name in ("RNN", "LSTM", "GRU") else _Layer
    known = inspect.signature(base.__init__).parameters
    taken = sum(p.kind is p.POSITIONAL_OR_KEYWORD for p in known.values()) - 1
    order = (*(_BOTH_WAYS if kind is _Recurrent else ()), "device", "dtype")

    def start(self: Any, *args: Any, **options: Any) -> None:
        """Take by position what the engine takes by name."""
        options |= dict(zip(order, args[taken:], strict=False))
        if "normalized_shape" in options and not args:
            args = (options.pop("normalized_shape"),)
        for key in [k for k in options if k in _ABSENT and k not in known]:
            if options.pop(key) != _ABSENT[key]:
                raise ValueError(
                    f"{name}: {key} is not supported here; leave it away, or give {_ABSENT[key]!r}"
                )
        if "device" in known:
            options["device"] = as_device(options.get("device"))
        base.__init__(self, *args[:taken], **options)

    start.__signature__ = inspect.signature(base.__init__)  # type: ignore[attr-defined]
    members = {"__init__": start, "__doc__": base.__doc__, "__module__": "gputensor.torch.nn"}
    made = type(base)(name, (base, kind), members)
    DOOR_CLASSES[base] = made
    return made  # type: ignore[no-any-return]


class _Recurrent(_Layer):
    """What recurrent layers take in addition: packed series."""

    def flatten_parameters(self) -> None:
        """Nothing: there is no copy of the weights to renew."""

    def __call__(self, input: Any, hx: Any = None) -> Any:
        if isinstance(input, rnn.PackedSequence):
            return rnn.run_packed(self, super().__call__, input, hx)
        return super().__call__(input, hx)


class Identity(Module):
    """Its input; arguments are taken and say nothing.

    Examples
    --------
    >>> torch.nn.Identity()(torch.ones(2))
    tensor([1., 1.])
    """

    def forward(self, input: Any) -> Any:
        """The input itself."""
        return input


class DataParallel(Module):
    """A module as it is, under the name ``module``: there is one device at a time.

    Examples
    --------
    >>> torch.nn.DataParallel(torch.nn.Linear(3, 2))(torch.ones(4, 3)).shape
    torch.Size([4, 2])
    """

    def __init__(self, module: Any, device_ids: Any = None, output_device: Any = None) -> None:
        super().__init__()
        self.module = module

    def forward(self, *args: Any, **options: Any) -> Any:
        """The module's result."""
        return self.module(*args, **options)


class Flatten(Module):
    """Axes from `start_dim` to `end_dim` as one.

    Examples
    --------
    >>> torch.nn.Flatten()(torch.ones(5, 2, 3)).shape
    torch.Size([5, 6])
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, input: Any) -> Any:
        """Tensor of fewer axes."""
        return shaping.flatten(input, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """One axis as several.

    Examples
    --------
    >>> torch.nn.Unflatten(1, (2, 3))(torch.ones(5, 6)).shape
    torch.Size([5, 2, 3])
    """

    def __init__(self, dim: int, unflattened_size: Any) -> None:
        super().__init__()
        self.dim, self.unflattened_size = dim, tuple(unflattened_size)

    def forward(self, input: Any) -> Any:
        """Tensor of more axes."""
        return shaping.unflatten(input, self.dim, self.unflattened_size)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"


def dropout(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """Zeros at random, of probability `p`; what is left is scaled up.

    Examples
    --------
    >>> sorted(set(torch.nn.functional.dropout(torch.ones(100), 0.5).tolist()))
    [0.0, 2.0]
    """
    made = ours(engine_functional.dropout(input, p, training))
    return take_place("dropout", input, made) if inplace else made


def dropout2d(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """Whole channels set to zero at random.

    Examples
    --------
    >>> torch.nn.functional.dropout2d(torch.ones(2, 3, 4, 4), 0.5, training=False).shape
    torch.Size([2, 3, 4, 4])
    """
    made = input
    if training and p:
        shape = (*input.array.shape[:2], *(1,) * (input.array.ndim - 2))
        ones = ops.ones(shape, dtype=input.array.dtype, device=input.device)
        made = ours(ops.multiply(input, engine_functional.dropout(ones, p)))
    return take_place("dropout", input, made) if inplace else made


class Dropout(Module):
    """Zeros at random while training, of probability `p`; what is left is scaled up.

    Examples
    --------
    >>> drop = torch.nn.Dropout(0.5)
    >>> sorted(set(drop(torch.ones(100)).tolist()))
    [0.0, 2.0]
    >>> drop.eval()(torch.ones(3))
    tensor([1., 1., 1.])
    """

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"{type(self).__name__}: p is {p}; it must be from 0 to 1")
        self.p, self.inplace = p, inplace

    def forward(self, input: Any) -> Any:
        """`input` with elements dropped while ``training``."""
        return dropout(input, self.p, self.training, self.inplace)

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


class Dropout1d(Dropout):
    """Whole channels set to zero at random while training.

    Examples
    --------
    >>> torch.nn.Dropout1d(0.5)(torch.ones(8, 4, 5)).shape
    torch.Size([8, 4, 5])
    """

    def forward(self, input: Any) -> Any:
        """`input` with channels dropped while ``training``."""
        return dropout2d(input, self.p, self.training, self.inplace)


class Dropout2d(Dropout1d):
    """Whole channels set to zero at random while training.

    Examples
    --------
    >>> x = torch.nn.Dropout2d(0.5)(torch.ones(8, 4, 3, 3))
    >>> sorted(set(x.mean((2, 3)).flatten().tolist()))
    [0.0, 2.0]
    """


class Dropout3d(Dropout1d):
    """Whole channels set to zero at random while training.

    Examples
    --------
    >>> torch.nn.Dropout3d(0.5)(torch.ones(8, 4, 3, 3, 3)).shape
    torch.Size([8, 4, 3, 3, 3])
    """


def embedding(
    input: Any,
    weight: Any,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Any:
    """Rows of `weight` by number; the row `padding_idx` has no gradient, the others a dense one.

    Examples
    --------
    >>> table = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> torch.nn.functional.embedding(torch.tensor([1, 0]), table)
    tensor([[3., 4.],
            [1., 2.]])
    """
    _default("embedding", max_norm=max_norm, scale_grad_by_freq=scale_grad_by_freq)
    found = engine_functional.embedding(input, weight)
    if padding_idx is not None:
        index = padding_idx % weight.array.shape[0]
        padded = ops.expand_dims(ops.equal(input, index), axis=-1)
        found = ops.where(padded, found.detach(), found)
    return ours(found)


def embedding_bag(
    input: Any,
    weight: Any,
    offsets: Any = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Any = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Any:
    """Sums, means or largest elements of rows of `weight`, by bags of numbers.

    Parameters
    ----------
    input : Tensor of int, shape (bags, n), or (n,) with `offsets`
    weight : Tensor of shape (rows, features)
    offsets : Tensor of int, shape (bags,), optional
        Where each bag begins. Its numbers are read on the host.
    mode : {"sum", "mean", "max"}
        A bag without elements gives zeros.
    per_sample_weights : Tensor of the shape of `input`, optional
        Factors, of "sum" alone.
    include_last_offset : bool
        Whether the last offset is the end of the last bag.
    padding_idx : int, optional
        Number that does not count.

    Returns
    -------
    Tensor of shape (bags, features)

    Examples
    --------
    >>> table = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    >>> bags = torch.tensor([0, 2, 1])
    >>> torch.nn.functional.embedding_bag(bags, table, torch.tensor([0, 2]), mode="sum")
    tensor([[6., 8.],
            [3., 4.]])
    """
    _default("embedding_bag", max_norm=max_norm, scale_grad_by_freq=scale_grad_by_freq)
    if mode not in ("sum", "mean", "max"):
        raise ValueError(f"embedding_bag: mode is {mode!r}; allowed are 'sum', 'mean' and 'max'")
    if per_sample_weights is not None and mode != "sum":
        raise ValueError(f"embedding_bag: per_sample_weights need mode='sum', got {mode!r}")
    axes = input.array.ndim
    if axes not in (1, 2) or (axes == 1) == (offsets is None):
        raise ShapeError(
            f"embedding_bag: input has {axes} axes and offsets is "
            f"{'None' if offsets is None else 'given'}; it takes (bags, n) without offsets, or "
            "(n,) with them"
        )
    counts: Any = None
    factors = per_sample_weights
    if offsets is not None:
        starts = np.asarray(offsets.tolist(), np.int64)
        ends = np.append(starts[1:], input.array.shape[0])
        if include_last_offset:
            starts, ends = starts[:-1], ends[:-1]
        place: Any = starts[:, None] + np.arange(max(int((ends - starts).max(initial=0)), 1))
        counts = ops.asarray(place < ends[:, None], device=input.device)
        place = ops.asarray(
            np.minimum(place, max(int(input.array.size) - 1, 0)), device=input.device
        )
        input = ops.take(input, place)
        factors = factors if factors is None else ops.take(factors, place)
    if padding_idx is not None:
        other = ops.not_equal(input, padding_idx % weight.array.shape[0])
        counts = other if counts is None else ops.logical_and(counts, other)
    found: Any = engine_functional.embedding(input, weight)
    if factors is not None:
        found = found * ops.expand_dims(factors, axis=-1)
    if counts is None:
        reduction: Any = {"sum": ops.sum, "mean": ops.mean, "max": ops.max}[mode]
        return ours(reduction(found, axis=1))
    there = ops.expand_dims(counts, axis=-1)
    if mode == "max":
        largest = ops.max(ops.where(there, found, -math.inf), axis=1)
        return ours(ops.where(ops.any(there, axis=1), largest, 0.0))
    total = ops.sum(ops.where(there, found, 0.0), axis=1)
    if mode == "sum":
        return ours(total)
    size = ops.maximum(ops.sum(counts, axis=1, dtype=found.dtype, keepdims=True), 1.0)
    return ours(ops.divide(total, size))


def _default(name: str, **settings: Any) -> None:
    """Refuse settings of PyTorch that are not there."""
    for key, value in settings.items():
        if value not in (None, False):
            raise ValueError(f"{name}: {key} is not supported here; leave it away")


class Embedding(Module):
    """A table of vectors, looked up by number.

    Parameters
    ----------
    num_embeddings, embedding_dim : int
    padding_idx : int, optional
        Number whose vector is zero at first, and not trained.
    sparse : bool
        Without effect: the gradient is dense.

    Examples
    --------
    >>> torch.nn.Embedding(10, 3)(torch.tensor([[1, 2], [2, 9]])).shape
    torch.Size([2, 2, 3])
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        *,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        _default("Embedding", max_norm=max_norm, scale_grad_by_freq=scale_grad_by_freq)
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.padding_idx = padding_idx
        made = engine.Embedding(
            num_embeddings, embedding_dim, device=as_device(device), dtype=dtype
        )
        self.weight = Parameter(made.weight)
        if padding_idx is not None:
            self.weight.data[padding_idx] = 0

    @classmethod
    def from_pretrained(
        cls, embeddings: Any, freeze: bool = True, padding_idx: int | None = None, **options: Any
    ) -> Self:
        """A table with given vectors."""
        rows, features = embeddings.array.shape
        made = cls(rows, features, padding_idx=padding_idx, **options)
        made.weight = Parameter(embeddings, requires_grad=not freeze)
        return made

    def forward(self, input: Any) -> Any:
        """Vectors, of shape (*input.shape, embedding_dim)."""
        return embedding(input, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        return f"{self.num_embeddings}, {self.embedding_dim}"


class EmbeddingBag(Embedding):
    """Sums, means or largest elements of vectors by bags: see :func:`embedding_bag`.

    Examples
    --------
    >>> torch.nn.EmbeddingBag(10, 3)(torch.tensor([1, 2, 9]), torch.tensor([0, 2])).shape
    torch.Size([2, 3])
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
        *,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        _default("EmbeddingBag", max_norm=max_norm, scale_grad_by_freq=scale_grad_by_freq)
        super().__init__(num_embeddings, embedding_dim, padding_idx, device=device, dtype=dtype)
        vars(self)["mode"] = mode  # not the engine's context of this name
        self.include_last_offset = include_last_offset

    def forward(self, input: Any, offsets: Any = None, per_sample_weights: Any = None) -> Any:
        """Tensor of shape (bags, embedding_dim)."""
        return embedding_bag(
            input,
            self.weight,
            offsets,
            mode=vars(self)["mode"],
            per_sample_weights=per_sample_weights,
            include_last_offset=self.include_last_offset,
            padding_idx=self.padding_idx,
        )

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, mode={vars(self)['mode']!r}"


class Bilinear(Module):
    """``x1 @ weight[k] @ x2 + bias[k]`` for each k.

    Examples
    --------
    >>> torch.nn.Bilinear(3, 4, 2)(torch.ones(5, 3), torch.ones(5, 4)).shape
    torch.Size([5, 2])
    """

    def __init__(
        self, in1_features: int, in2_features: int, out_features: int, bias: bool = True
    ) -> None:
        super().__init__()
        bound = in1_features**-0.5
        shape = (out_features, in1_features, in2_features)
        self.weight = Parameter(
            ours(ops.zeros(shape, device=as_device(None))).uniform_(-bound, bound)
        )
        self.bias = (
            Parameter(ours(ops.zeros(out_features, device=as_device(None))).uniform_(-bound, bound))
            if bias
            else None
        )

    def forward(self, input1: Any, input2: Any) -> Any:
        """Tensor of shape (..., out_features)."""
        found = ops.einsum("...i,kij,...j->...k", input1, self.weight, input2)
        return found if self.bias is None else ops.add(found, self.bias)


def pad(input: Any, pad: Any, mode: str = "constant", value: float | None = None) -> Any:
    """Elements put around the last axes: widths before and after the last, the last but one, ...

    Examples
    --------
    >>> torch.nn.functional.pad(torch.ones(2), (1, 2))
    tensor([0., 1., 1., 0., 0.])
    """
    pairs = [(pad[i], pad[i + 1]) for i in range(0, len(pad), 2)][::-1]
    widths = [(0, 0)] * (input.array.ndim - len(pairs)) + pairs
    names = {"replicate": "edge", "circular": "wrap"}
    if any(n < 0 for pair in widths for n in pair):
        key = tuple(
            slice(max(-a, 0), n - max(-b, 0))
            for n, (a, b) in zip(input.array.shape, widths, strict=True)
        )
        input = ops.getitem(input, key)
        widths = [(max(a, 0), max(b, 0)) for a, b in widths]
    if mode == "constant":
        return ours(ops.pad(input, widths, constant_values=0.0 if value is None else value))
    return ours(ops.pad(input, widths, names.get(mode, mode)))


class CosineSimilarity(Module):
    """Cosine of the angle along an axis.

    Examples
    --------
    >>> x, y = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 1.0]])
    >>> torch.nn.CosineSimilarity(dim=1)(x, y)
    tensor([0.7071])
    """

    def __init__(self, dim: int = 1, eps: float = 1e-8) -> None:
        super().__init__()
        self.dim, self.eps = dim, eps

    def forward(self, x1: Any, x2: Any) -> Any:
        """Tensor without the axis."""
        return engine_functional.cosine_similarity(x1, x2, axis=self.dim, eps=self.eps)


class SyncBatchNorm(BatchNorm, _Layer):
    """Batch normalization over the parts of a batch that all processes have.

    Parameters
    ----------
    num_features : int
        Channels, the second axis of two or more.
    eps, momentum, affine, track_running_stats
        As those of :class:`BatchNorm2d`.
    process_group : None
        All processes of the job, see :mod:`gputensor.distributed`; there are no others.

    Examples
    --------
    >>> torch.nn.SyncBatchNorm(3)(torch.ones(2, 3, 8, 8)).shape
    torch.Size([2, 3, 8, 8])
    """

    _axes = range(2, 65)

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        process_group: None = None,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        _all_processes("SyncBatchNorm", process_group)
        options = {"synchronized": True, "device": as_device(device), "dtype": dtype}
        super().__init__(num_features, eps, momentum, affine, track_running_stats, **options)

    def forward(self, input: Any) -> Any:
        """Of the shape of `input`."""
        if input.ndim < 2:
            raise ShapeError(
                f"SyncBatchNorm: x has shape {tuple(input.shape)}; it must have two axes or more"
            )
        return super().forward(input)

    @classmethod
    def convert_sync_batchnorm(cls, module: Any, process_group: None = None) -> Any:
        """Have the BatchNorm layers of a module, at any depth, be SyncBatchNorm.

        Returns
        -------
        Module
            `module`; a new one in its place, of the same parameters and buffers, if it is such a
            layer itself.

        Examples
        --------
        >>> net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
        >>> torch.nn.SyncBatchNorm.convert_sync_batchnorm(net)[1]
        SyncBatchNorm(3)
        """
        _all_processes("convert_sync_batchnorm", process_group)
        if isinstance(module, BatchNorm) and not isinstance(module, cls):
            made = cls(module.num_features, module.eps, module.momentum, False, False)
            for name, value in vars(module).items():
                if name != "synchronized":
                    setattr(made, name, value)
            return made
        for name, child in list(module.named_children()):
            setattr(module, name, cls.convert_sync_batchnorm(child))
        return module


def _all_processes(what: str, process_group: Any) -> None:
    if process_group is not None:
        raise ValueError(
            f"{what}: process_group is {process_group!r}; means are over all processes, leave it "
            "away"
        )


_ENGINE = [
    "Linear",
    "Conv1d",
    "Conv2d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "Conv3d",
    "ConvTranspose3d",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d",
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "LayerNorm",
    "RMSNorm",
    "GroupNorm",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "RNN",
    "LSTM",
    "GRU",
    "RNNCell",
    "LSTMCell",
    "GRUCell",
    "MultiheadAttention",
]
MODULES: dict[str, type[Module]] = {
    **{name: _door(name) for name in _ENGINE},
    **{
        c.__name__: c
        for c in (
            *(
                Identity,
                DataParallel,
                Flatten,
                Unflatten,
                Dropout,
                Dropout1d,
                Dropout2d,
                Dropout3d,
                Embedding,
                EmbeddingBag,
            ),
            *(Bilinear, CosineSimilarity, SyncBatchNorm),
        )
    },
}
for _name in ("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm"):
    MODULES[_name]._buffer_names = {
        "running_mean": True,
        "running_var": True,
        "num_batches_tracked": True,
    }
