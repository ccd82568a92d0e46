"""State dicts of PyTorch, in and out, with the transpositions that lie between.

>>> from gputensor import exchange
>>> exchange.load(model, "theirs.safetensors", {"dense": "fc1", "dense_1": "fc2"})
>>> exchange.save(model, "ours.safetensors")

PyTorch writes such files by ``safetensors.torch.save_file(module.state_dict(), path)`` and reads
them by ``module.load_state_dict(safetensors.torch.load_file(path))``. Modules of ``gputensor.nn``
and ``gputensor.torch`` have PyTorch's names and shapes, but for ``nn.Dense``; layers of Keras's
door have Keras's.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gputensor import nn, tensor_files
from gputensor.autograd import Tensor, changed
from gputensor.backend import on_device_of, to_device, to_host
from gputensor.errors import DTypeError, ShapeError
from gputensor.image_order import Orders, image_orders
from gputensor.keras import layers
from gputensor.ops.creation import from_dlpack

__all__ = ["from_torch", "load", "save", "to_torch"]

Array = Any
Order = Callable[[Array], Array]


class _Entry(NamedTuple):
    """A parameter under PyTorch's name: ours, and the way to PyTorch's form and back."""

    name: str
    tensor: Tensor
    to_torch: Order
    to_ours: Order


def _same(array: Array) -> Array:
    return array


def _turned(array: Array) -> Array:
    return array.T


def _axes(*order: int) -> tuple[Order, Order]:
    back = tuple(order.index(i) for i in range(len(order)))
    return (lambda a: a.transpose(order)), (lambda a: a.transpose(back))


def _plain(**names: str) -> Callable[[Any], Iterator[_Entry]]:
    """Entries that are equal on both sides, by PyTorch's names."""

    def entries(layer: Any) -> Iterator[_Entry]:
        for name, attribute in names.items():
            tensor = getattr(layer, attribute)
            if tensor is not None:
                yield _Entry(name, tensor, _same, _same)

    return entries


def _dense(layer: Any) -> Iterator[_Entry]:
    yield _Entry("weight", layer.weight, _turned, _turned)
    yield from _plain(bias="bias")(layer)


def _convolution(layer: Any) -> Iterator[_Entry]:
    n = layer._axes
    yield _Entry("weight", layer.kernel, *_axes(n + 1, n, *range(n)))
    yield from _plain(bias="bias")(layer)


def _depthwise_kernel(kernel: Any) -> _Entry:
    *window, channels, each = kernel.shape
    n = len(window)

    def to(a: Array) -> Array:
        return a.transpose(n, n + 1, *range(n)).reshape(channels * each, 1, *window)

    def back(a: Array) -> Array:
        return a.reshape(channels, each, *window).transpose(*range(2, n + 2), 0, 1)

    return _Entry("weight", kernel, to, back)


def _depthwise(layer: Any) -> Iterator[_Entry]:
    yield _depthwise_kernel(layer.kernel)
    yield from _plain(bias="bias")(layer)


def _separable(layer: Any) -> Iterator[_Entry]:
    """Two modules of PyTorch's: below the layer's name are ``depthwise`` and ``pointwise``."""
    n = layer._axes
    yield _depthwise_kernel(layer.depthwise_kernel)._replace(name="depthwise.weight")
    order = _axes(n + 1, n, *range(n))
    yield _Entry("pointwise.weight", layer.pointwise_kernel, *order)
    yield from _plain(**{"pointwise.bias": "bias"})(layer)


_norm = _plain(weight="gamma", bias="beta")


def _batch_norm(layer: Any) -> Iterator[_Entry]:
    yield from _norm(layer)
    names = {"running_mean": "moving_mean", "running_var": "moving_variance"}
    yield from _plain(**names)(layer)


def _recurrent(layer: Any) -> Iterator[_Entry]:
    cell = layer.cell
    order = [1, 0, 2] if isinstance(layer, layers.GRU) else list(range(cell._gates))

    def gates(a: Array) -> Array:  # which is its own inverse
        parts = np.split(a, cell._gates, axis=-1)
        return np.concatenate([parts[i] for i in order], axis=-1)

    for name, kernel in (("ih", cell.kernel), ("hh", cell.recurrent_kernel)):
        yield _Entry(f"weight_{name}_l0", kernel, lambda a: gates(a).T, lambda a: gates(a.T))
    if cell.bias is None:
        return
    if isinstance(layer, layers.GRU):
        if not cell.reset_after:
            raise TypeError(f"exchange: {layer.name}: PyTorch's GRU is that of reset_after=True")
        both = ("bias_ih_l0", "bias_hh_l0")
        yield _Entry(
            "+".join(both),
            cell.bias,
            lambda a: [gates(part) for part in a],
            lambda pair: np.stack([gates(part) for part in pair]),
        )
        return
    yield _Entry(
        "bias_ih_l0+bias_hh_l0",
        cell.bias,
        lambda a: [gates(a), np.zeros_like(a)],
        lambda pair: gates(pair[0] + pair[1]),
    )


def _bidirectional(layer: Any) -> Iterator[_Entry]:
    if layer.merge_mode != "concat":
        raise TypeError(
            f"exchange: {layer.name}: merge_mode is {layer.merge_mode!r}; PyTorch's bidirectional "
            "layers have 'concat'"
        )
    for inner, ending in ((layer.forward_layer, ""), (layer.backward_layer, "_reverse")):
        if type(inner) not in (layers.SimpleRNN, layers.LSTM, layers.GRU):
            raise _alone(inner)
        for entry in _recurrent(inner):
            names = [name + ending for name in entry.name.split("+")]
            yield entry._replace(name="+".join(names))


_ENTRIES: dict[type, Callable[[Any], Iterator[_Entry]]] = {
    nn.Dense: _dense,
    layers.Dense: _dense,
    layers.Conv1D: _convolution,
    layers.Conv2D: _convolution,
    layers.Conv3D: _convolution,
    layers.DepthwiseConv1D: _depthwise,
    layers.DepthwiseConv2D: _depthwise,
    layers.SeparableConv1D: _separable,
    layers.SeparableConv2D: _separable,
    layers.Conv1DTranspose: _convolution,
    layers.Conv2DTranspose: _convolution,
    layers.Conv3DTranspose: _convolution,
    layers.Embedding: _plain(weight="embeddings"),
    layers.BatchNormalization: _batch_norm,
    layers.LayerNormalization: _norm,
    layers.GroupNormalization: _norm,
    layers.RMSNormalization: _plain(weight="scale"),
    layers.PReLU: lambda layer: iter(
        [
            _Entry(
                "weight",
                layer.alpha,
                lambda a: a.reshape(-1),
                lambda a: a.reshape(layer.alpha.shape),
            )
        ]
    ),
    layers.SimpleRNN: _recurrent,
    layers.LSTM: _recurrent,
    layers.GRU: _recurrent,
    layers.Bidirectional: _bidirectional,
}


def _entries_of(module: Any) -> list[_Entry] | None:
    """The parameters of a layer; None if it is one that holds others, or nothing."""
    if isinstance(module, layers.Layer) and not module.built:
        raise ValueError(
            f"exchange: {module.name} has no weights yet; call the model with a batch, or build() "
            "it, before"
        )
    convert = _ENTRIES.get(type(module))
    if convert is not None:
        return list(convert(module))
    if isinstance(
        module, (layers.MultiHeadAttention, layers.RNN)
    ):  # all of whose weights lie below
        raise _alone(module)
    own = [
        (name, value)
        for name, value in module._members()
        if isinstance(value, Tensor) and not (name.startswith("_") and value._node is None)
    ]
    if not own:
        return None
    if isinstance(module, layers.Layer):
        raise _alone(module)
    return [_Entry(name, value, _same, _same) for name, value in own]


def _alone(layer: Any) -> TypeError:
    return TypeError(
        f"exchange: {layer.name}, a {type(layer).__name__}, has no counterpart in PyTorch here; "
        "modules of gputensor.nn have PyTorch's weights"
    )


def _places(model: Any) -> dict[str, list[_Entry]]:
    """The parameters of all layers, by the path of the layer."""
    found: dict[str, list[_Entry]] = {}
    seen: set[int] = set()
    orders = image_orders(model)
    within: list[str] = []
    for path, module in model.named_modules():
        if id(module) in seen or any(path.startswith(f"{p}.") for p in within):
            continue
        entries = _entries_of(module)
        if entries is None:
            continue
        seen.add(id(module))
        within.append(path)
        for entry in entries:
            below, _, name = entry.name.rpartition(".")
            place = f"{path}.{below}".strip(".")
            ordered = _ordered(entry._replace(name=name), module, orders)
            found.setdefault(place, []).append(ordered)
    return found


# Images are (height, width, channels) here and (channels, height, width) there.


def _ordered(entry: _Entry, layer: Any, orders: Orders) -> _Entry:
    """An entry whose features lie in PyTorch's order behind `to_torch`."""
    rows, columns = orders.rows.get(id(layer)), orders.columns.get(id(layer))
    if isinstance(layer, (nn.Dense, layers.Dense)):
        last = entry.tensor.ndim - 1
        return _moved(_moved(entry, rows if last else None, 0), columns, last)
    if isinstance(rows, np.ndarray):
        return _moved(entry, rows, entry.tensor.ndim - 1)
    if rows == "channels_last" and entry.tensor.ndim > 1:  # of a LayerNormalization of images
        first = entry.to_torch
        return entry._replace(
            to_torch=lambda a: np.moveaxis(first(a), -1, 0),
            to_ours=lambda a: entry.to_ours(np.moveaxis(a, 0, -1)),
        )
    return entry


def _moved(entry: _Entry, order: Any, axis: int) -> _Entry:
    if order is None:
        return entry
    back = np.argsort(order)
    return entry._replace(
        to_torch=lambda a: entry.to_torch(np.take(a, order, axis)),
        to_ours=lambda a: np.take(entry.to_ours(a), back, axis),
    )


# Doors


def _paired(
    places: dict[str, Any], names: Mapping[str, str] | Sequence[str] | None, theirs: list[str]
) -> dict[str, str]:
    """PyTorch's name of each layer."""
    if isinstance(names, Mapping):
        unknown = [path for path in names if path not in places]
        if unknown:
            raise KeyError(
                f"exchange: names has {unknown[0]!r}; the layers with weights are "
                f"{', '.join(map(repr, places))}"
            )
        return {path: names.get(path, path) for path in places}
    order = list(theirs if names is None else names)
    if len(order) != len(places):
        raise ValueError(
            f"exchange: there are {len(places)} layers with weights ({', '.join(places)}) and "
            f"{len(order)} of PyTorch's ({', '.join(order)}); give names, a dict of both"
        )
    return dict(zip(places, order, strict=True))


def to_torch(
    model: Any, names: Mapping[str, str] | Sequence[str] | None = None
) -> dict[str, "np.ndarray[Any, Any]"]:
    """A state dict as a module of PyTorch would have it.

    Parameters
    ----------
    model : Module or Model
        Of ``gputensor.nn`` or of Keras's door; built.
    names : dict of str to str, or sequence of str, optional
        PyTorch's name of each layer: by the layer's path, or in the order of the layers that have
        weights. By default they are the paths.

    Returns
    -------
    dict of str to numpy.ndarray
        Copies.

    Raises
    ------
    TypeError
        If there is a layer that has no counterpart in PyTorch.

    Examples
    --------
    >>> model = gt.nn.Sequential(gt.nn.Dense(3, 2))
    >>> state = gt.exchange.to_torch(model)
    >>> {name: array.shape for name, array in state.items()}
    {'0.weight': (2, 3), '0.bias': (2,)}
    """
    places = _places(model)
    titles = _paired(places, names, list(places))
    found: dict[str, Any] = {}
    for path, entries in places.items():
        prefix = f"{titles[path]}." if titles[path] else ""
        for entry in entries:
            made = entry.to_torch(np.array(to_host(entry.tensor.detach().array)))
            parts = made if isinstance(made, list) else [made]
            for name, part in zip(entry.name.split("+"), parts, strict=True):
                found[prefix + name] = np.array(part, order="C")
    return found


def from_torch(
    model: Any,
    state: Mapping[str, Any],
    names: Mapping[str, str] | Sequence[str] | None = None,
) -> None:
    """Give a model the weights of a state dict of PyTorch.

    Parameters
    ----------
    model : Module or Model
        Built.
    state : mapping of str to array
        Tensors of PyTorch's, on the host, or NumPy's arrays.
    names : dict of str to str, or sequence of str, optional
        As for :func:`to_torch`. By default layers with weights are paired in order, PyTorch's by
        their names with numbers counted as numbers.

    Raises
    ------
    KeyError, ShapeError, DTypeError
        If something is missing, left over, of another shape, or of numbers of another kind.
        Nothing is changed then.

    Examples
    --------
    >>> model = gt.nn.Sequential(gt.nn.Dense(3, 2))
    >>> state = {"weight": np.ones((2, 3), "f"), "bias": np.zeros(2, "f")}
    >>> gt.exchange.from_torch(model, state)
    >>> model(gt.ones((1, 3)))
    tensor([[3., 3.]], dtype=float32, grad_fn=dense)
    """
    places = _places(model)
    # Keras's batch normalization does not count batches.
    counted = any(e.name == "num_batches_tracked" for entries in places.values() for e in entries)
    given = {
        k: v for k, v in state.items() if counted or k.rpartition(".")[2] != "num_batches_tracked"
    }
    theirs = sorted({k.rpartition(".")[0] for k in given}, key=_natural)
    titles = _paired(places, names, theirs)
    values: list[tuple[Tensor, Any]] = []
    left = set(given)
    for path, entries in places.items():
        prefix = f"{titles[path]}." if titles[path] else ""
        for entry in entries:
            keys = [prefix + name for name in entry.name.split("+")]
            if missing := [key for key in keys if key not in given]:
                raise KeyError(f"from_torch: the state lacks {missing[0]}, for the layer {path!r}")
            left -= set(keys)
            parts = [_host(given[key]) for key in keys]
            like = entry.to_torch(np.empty(entry.tensor.shape, np.float32))
            for key, part, other in zip(
                keys, parts, like if isinstance(like, list) else [like], strict=True
            ):
                if part.shape != other.shape:
                    raise ShapeError(
                        f"from_torch: {key} has shape {part.shape}; the layer {path!r} needs "
                        f"{other.shape}"
                    )
                if not _fits(part.dtype, entry.tensor.dtype):
                    raise DTypeError(
                        f"from_torch: {key} has elements of {part.dtype}, which "
                        f"{entry.tensor.dtype} of the layer {path!r} cannot hold"
                    )
            values.append((entry.tensor, entry.to_ours(parts if len(parts) > 1 else parts[0])))
    if left:
        raise KeyError(f"from_torch: the model has nothing for {', '.join(sorted(left)[:3])}")
    for tensor, value in values:
        with on_device_of(tensor.array):
            tensor.array[...] = to_device(np.ascontiguousarray(value), tensor.device)
        changed(tensor.array, "from_torch")


def _host(value: Any) -> Any:
    if isinstance(value, Tensor):
        return to_host(value.detach().array)
    if hasattr(value, "detach"):
        value = value.detach()
        if str(value.dtype) == "torch.bfloat16":  # which PyTorch gives to nobody but by DLPack
            return from_dlpack(value.cpu()).array
    return np.asarray(value)


def _fits(given: Any, held: Any) -> bool:
    """Whether numbers are of a kind that fits: rounding is allowed, and nothing else is lost."""
    order = {"b": 0, "u": 1, "i": 1, "f": 2, "V": 2, "c": 3}  # V is bfloat16's
    return order.get(given.kind, 4) <= order[held.kind]


def _natural(name: str) -> list[Any]:
    """Numbers in a name as numbers: layer.2 comes before layer.10."""
    return [(0, int(p), "") if p.isdigit() else (1, 0, p) for p in re.split(r"(\d+)", name) if p]


def save(
    model: Any,
    path: "str | os.PathLike[str]",
    names: Mapping[str, str] | Sequence[str] | None = None,
) -> None:
    """Write what :func:`to_torch` gives as a safetensors file.

    Examples
    --------
    >>> model = gt.nn.Sequential(gt.nn.Dense(3, 2))
    >>> gt.exchange.save(model, "weights.safetensors")
    """
    tensor_files.write(Path(os.path.expanduser(path)), to_torch(model, names), {"format": "pt"})


def load(
    model: Any,
    path: "str | os.PathLike[str]",
    names: Mapping[str, str] | Sequence[str] | None = None,
) -> None:
    """Give a model the weights of a safetensors file of PyTorch's, see :func:`from_torch`.

    Examples
    --------
    >>> model, other = (gt.nn.Sequential(gt.nn.Dense(3, 2)) for _ in range(2))
    >>> gt.exchange.save(model, "weights.safetensors")
    >>> gt.exchange.load(other, "weights.safetensors")
    >>> bool((model(gt.ones(3)) == other(gt.ones(3))).all())
    True
    """
    from_torch(model, tensor_files.read(Path(os.path.expanduser(path)))[0], names)
