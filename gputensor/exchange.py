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
from gputensor.errors import ShapeError
from gputensor.keras import layers
from gputensor.keras.models import Model

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
    to, back = _axes(n + 1, n, *range(n))
    if isinstance(layer, layers.DepthwiseConv2D):
        *window, channels, each = layer.kernel.shape

        def to(a: Array) -> Array:
            return a.transpose(n, n + 1, *range(n)).reshape(channels * each, 1, *window)

        def back(a: Array) -> Array:
            return a.reshape(channels, each, *window).transpose(*range(2, n + 2), 0, 1)

    yield _Entry("weight", layer.kernel, to, back)
    yield from _plain(bias="bias")(layer)


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


_ENTRIES: dict[type, Callable[[Any], Iterator[_Entry]]] = {
    nn.Dense: _dense,
    layers.Dense: _dense,
    layers.Conv1D: _convolution,
    layers.Conv2D: _convolution,
    layers.Conv3D: _convolution,
    layers.DepthwiseConv1D: _convolution,
    layers.DepthwiseConv2D: _convolution,
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
}


def _entries_of(module: Any) -> list[_Entry] | None:
    """The parameters of a layer; None if it is one that holds others, or nothing."""
    convert = _ENTRIES.get(type(module))
    if convert is not None:
        return list(convert(module))
    own = [
        (name, value)
        for name, value in module._members()
        if isinstance(value, Tensor) and not (name.startswith("_") and value._node is None)
    ]
    if not own:
        return None
    if isinstance(module, layers.Layer):
        raise TypeError(
            f"exchange: {module.name}, a {type(module).__name__}, has no counterpart in PyTorch "
            "here"
        )
    return [_Entry(name, value, _same, _same) for name, value in own]


def _places(model: Any) -> dict[str, list[_Entry]]:
    """The parameters of all layers, by the path of the layer."""
    found: dict[str, list[_Entry]] = {}
    seen: set[int] = set()
    flat = _flattened(model) if isinstance(model, Model) else {}
    within: list[str] = []
    for path, module in model.named_modules():
        if id(module) in seen or any(path.startswith(f"{p}.") for p in within):
            continue
        entries = _entries_of(module)
        if entries is None:
            continue
        seen.add(id(module))
        within.append(path)
        if id(module) in flat:
            entries[0] = _unflattened(entries[0], flat[id(module)])
        found[path] = entries
    return found


# Images are (height, width, channels) here and (channels, height, width) there: rows of a Dense
# layer behind Flatten are in another order.

_PASS = (layers.Dropout, layers.Activation, layers.ReLU, layers.LeakyReLU, layers.Identity)
_IMAGES = (
    layers.Conv1D,
    layers.Conv2D,
    layers.Conv3D,
    layers.DepthwiseConv1D,
    layers.DepthwiseConv2D,
    layers.SeparableConv1D,
    layers.SeparableConv2D,
    layers.Conv1DTranspose,
    layers.Conv2DTranspose,
    layers.MaxPooling1D,
    layers.MaxPooling2D,
    layers.AveragePooling1D,
    layers.AveragePooling2D,
    layers.MaxPooling3D,
    layers.AveragePooling3D,
)


def _flattened(model: Any) -> dict[int, tuple[int, ...]]:
    """Shapes of images that were flattened before Dense layers, by the layer."""
    try:
        graph = model._known_graph()
    except AttributeError:
        return {}

    def above(t: Any, through: Any) -> Any:
        while t.node is not None and t.node.inputs and isinstance(t.node.layer, through):
            t = t.node.inputs[0]
        return t

    found: dict[int, tuple[int, ...]] = {}
    for node in graph.nodes:
        if isinstance(node.layer, Model):
            found |= _flattened(node.layer)
        if not isinstance(node.layer, layers.Dense):
            continue
        t = above(node.inputs[0], _PASS)
        if t.node is None or not isinstance(t.node.layer, layers.Flatten):
            continue
        image = t.node.inputs[0]
        source = above(image, (*_PASS, layers.BatchNormalization))
        if source.node is not None and isinstance(source.node.layer, _IMAGES):
            found[id(node.layer)] = tuple(image.shape[1:])
    return found


def _unflattened(entry: _Entry, shape: tuple[int, ...]) -> _Entry:
    rank = len(shape)
    first = shape[-1], *shape[:-1]

    def to(a: Array) -> Array:  # (h * w * c, units) to (units, c * h * w)
        image = a.reshape(*shape, a.shape[-1])
        return image.transpose(rank, rank - 1, *range(rank - 1)).reshape(a.shape[-1], -1)

    def back(a: Array) -> Array:
        image = a.reshape(a.shape[0], *first)
        return image.transpose(*range(2, rank + 1), 1, 0).reshape(-1, a.shape[0])

    return entry._replace(to_torch=to, to_ours=back)


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
    KeyError, ShapeError
        If something is missing, left over, or of another shape. Nothing is changed then.

    Examples
    --------
    >>> model = gt.nn.Sequential(gt.nn.Dense(3, 2))
    >>> state = {"weight": np.ones((2, 3), "f"), "bias": np.zeros(2, "f")}
    >>> gt.exchange.from_torch(model, state)
    >>> model(gt.ones((1, 3)))
    tensor([[3., 3.]], dtype=float32, grad_fn=dense)
    """
    places = _places(model)
    given = {k: v for k, v in state.items() if k.rpartition(".")[2] != "num_batches_tracked"}
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
    return np.asarray(value.detach() if hasattr(value, "detach") else value)


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
