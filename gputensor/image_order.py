"""Where features of a model lie in another order in PyTorch, whose images have channels first.

An image that was flattened has its numbers in another order there, and so have the weights of what
computes with them: rows of a ``Dense`` layer behind ``Flatten``, its columns before ``Reshape`` to
an image, and the weights of normalizations on the way. Layers that take images (convolution,
pooling, padding and so on) tell what is one.
"""

import contextlib
from typing import Any

import numpy as np

from gputensor.keras import layers
from gputensor.keras.layers.channels import Channeled
from gputensor.keras.models import Model
from gputensor.tree import leaves

__all__ = ["Orders", "image_orders"]

Place = Any  # of a tensor: None, "channels_last" or "channels_first" of an image, or an order

# Layers that compute with each feature by itself, or with all alike.
_ALIKE = (
    layers.Activation,
    layers.ActivityRegularization,
    layers.Add,
    layers.AlphaDropout,
    layers.Average,
    layers.BatchNormalization,
    layers.Dropout,
    layers.ELU,
    layers.GaussianDropout,
    layers.GaussianNoise,
    layers.Identity,
    layers.LayerNormalization,
    layers.LeakyReLU,
    layers.Maximum,
    layers.Minimum,
    layers.Multiply,
    layers.Operation,
    layers.PReLU,
    layers.RMSNormalization,
    layers.ReLU,
    layers.Rescaling,
    layers.Softmax,
    layers.Subtract,
    layers.UnitNormalization,
)
# Layers behind which PyTorch has the same order of axes, whatever came in.
_SEQUENCES = (
    layers.Attention,
    layers.Dense,
    layers.Embedding,
    layers.MultiHeadAttention,
    layers.Permute,
    layers.RNN,
    layers.Bidirectional,
    layers.TimeDistributed,
)


class Orders:
    """Orders of features, by the layer's identity.

    Attributes
    ----------
    rows, columns : dict of int to numpy.ndarray or str
        Of what comes in, and of what a Dense layer gives: PyTorch's feature ``i`` is ours at
        ``order[i]``. In `rows`, "channels_last" where whole images come in.
    """

    def __init__(self) -> None:
        self.rows: dict[int, Any] = {}
        self.columns: dict[int, Any] = {}

    def note(self, found: dict[int, Any], layer: Any, order: Place) -> None:
        """Note an order; a layer that is called with several has no counterpart."""
        before = found.setdefault(id(layer), order)
        if not _equal(before, order):
            raise TypeError(
                f"exchange: {layer.name} is called with features in several orders, where images "
                "are flattened and where not; PyTorch's weights cannot be those of both"
            )


def _equal(a: Place, b: Place) -> bool:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return np.array_equal(a, b)
    return a is b or (isinstance(a, str) and a == b)


def image_orders(model: Any) -> Orders:
    """Orders of all layers of a model.

    Raises
    ------
    TypeError
        If there is a layer behind flattened images of whose weights the order is not known.
    """
    orders = Orders()
    modules = model.modules()
    images = any(map(_is_image_layer, modules))
    done: set[int] = set()
    for module in modules:
        if id(module) in done:
            continue
        if (graph := _graph_of(module)) is not None:
            done |= {id(m) for m in module.modules()}
            nothing = [None] * len(leaves(graph.outputs))
            _walk(graph, [None] * len(leaves(graph.inputs)), nothing, orders)
        elif images:
            _check_alone(module)
    return orders


def _graph_of(layer: Any) -> Any:
    """The graph of a model; None of another layer, and of a model that has none."""
    with contextlib.suppress(AttributeError):
        return layer._known_graph() if isinstance(layer, Model) else None
    return None


def _check_alone(module: Any) -> None:
    """Refuse Flatten in a model of which it is not known what calls it."""
    if isinstance(module, layers.Flatten):
        raise TypeError(
            f"exchange: {module.name}, a Flatten, is called by a method of the model's own, so "
            "that it is not known whether images come in, of which PyTorch has the numbers in "
            "another order; make the model of keras.Input, or a Sequential"
        )


def _order(shape: Any, place: str, flatten: str = "channels_last") -> Any:
    """PyTorch's order of the numbers of an image that is flattened, or made of a row."""
    shape = tuple(shape)
    if flatten == "channels_first":  # which moves the first axis behind the others before
        numbers = np.moveaxis(_numbers((*shape[1:], shape[0])), -1, 0)
    else:
        numbers = _numbers(shape)
    if place == "channels_last":
        numbers = np.moveaxis(numbers, -1, 0)
    order = numbers.reshape(-1)
    return None if np.array_equal(order, np.arange(order.size)) else order


def _numbers(shape: tuple[int, ...]) -> Any:
    return np.arange(int(np.prod(shape))).reshape(shape)


def _is_image_layer(layer: Any) -> bool:
    return isinstance(layer, Channeled) and not isinstance(layer, layers.Flatten)


def _walk(graph: Any, given: list[Place], wanted_of: list[Place], orders: Orders) -> list[Place]:
    """Places of a graph's outputs, from those of its inputs and what is wanted of the outputs."""
    wanted = _wanted(graph, wanted_of)
    places: dict[int, Place] = dict(zip(map(id, leaves(graph.inputs)), given, strict=True))
    for node in graph.nodes:
        layer, came = node.layer, [places.get(id(t)) for t in node.inputs]
        out = leaves(node.outputs)
        wishes = [wanted.get(id(t)) for t in out]
        if (inner := _graph_of(layer)) is not None:
            found = _walk(inner, came, wishes, orders)
        else:
            found = [_placed(node, came, t, w, orders) for t, w in zip(out, wishes, strict=True)]
        places.update(zip(map(id, out), found, strict=True))
    return [places.get(id(t)) for t in leaves(graph.outputs)]


def _placed(node: Any, came: list[Place], out: Any, wish: Place, orders: Orders) -> Place:
    """Place of an output of a layer, whose weights' orders are noted."""
    layer = node.layer
    shape = node.inputs[0].shape[1:]
    place = next((p for p in came if p is not None), None)
    flat = isinstance(place, np.ndarray)
    if isinstance(layer, layers.Dense):
        orders.note(orders.rows, layer, place if flat else None)
        order = wish if isinstance(wish, np.ndarray) else None
        orders.note(orders.columns, layer, order)
        return order
    if isinstance(layer, (layers.Flatten, layers.Reshape)) and not flat:
        if out.ndim == 2 and place is not None and None not in shape:
            return _order(shape, place, getattr(layer, "data_format", "channels_last"))
        return wish if isinstance(wish, str) else None
    if flat:
        if isinstance(layer, layers.Flatten):
            return place
        if isinstance(layer, layers.Reshape) and isinstance(wish, str):
            again = _order(out.shape[1:], wish)
            if _equal(place, again):
                return wish
        if isinstance(layer, layers.Concatenate):
            return _joined(node.inputs, came)
        same = out.shape == node.inputs[0].shape
        one = all(_equal(p, place) for p, t in zip(came, node.inputs, strict=True) if t.ndim > 1)
        if not (isinstance(layer, _ALIKE) and same and one):
            raise TypeError(
                f"exchange: {layer.name}, a {type(layer).__name__}, gets images that were "
                "flattened, whose numbers PyTorch has in another order, and there is no rule for "
                "what it makes of them"
            )
        orders.note(orders.rows, layer, place)
        return place
    if _is_image_layer(layer):
        return layer.data_format if out.ndim == node.inputs[0].ndim else None
    if isinstance(layer, layers.TimeDistributed):
        _each_step(layer, shape, orders)
    if isinstance(layer, _SEQUENCES) or out.ndim != node.inputs[0].ndim:
        return None
    orders.note(orders.rows, layer, place)
    return place


def _each_step(outer: Any, shape: Any, orders: Orders) -> None:
    if (inner := _graph_of(outer.layer)) is not None:
        _walk(inner, [None], [None] * len(leaves(inner.outputs)), orders)
    elif len(shape) > 2 and shape[-1] != 1:
        _check_alone(outer.layer)


def _joined(inputs: Any, came: list[Place]) -> Any:
    begin, parts = 0, []
    for t, place in zip(inputs, came, strict=True):
        order = place if isinstance(place, np.ndarray) else np.arange(t.shape[-1])
        parts.append(begin + order)
        begin += t.shape[-1]
    return np.concatenate(parts)


def _wanted(graph: Any, of_outputs: list[Place]) -> dict[int, Place]:
    """Where layers that take images, or rows that become images, want which place."""
    wanted: dict[int, Place] = {}
    for t, place in zip(leaves(graph.outputs), of_outputs, strict=True):
        if place is not None:
            wanted[id(t)] = place
    for node in reversed(graph.nodes):
        layer, (out, *more) = node.layer, leaves(node.outputs)
        wish = wanted.get(id(out))
        if (inner := _graph_of(layer)) is not None:
            deeper = _wanted(inner, [wanted.get(id(t)) for t in (out, *more)])
            wishes = [deeper.get(id(t)) for t in leaves(inner.inputs)]
        elif _is_image_layer(layer):
            wishes = [layer.data_format] * len(node.inputs)
        elif isinstance(layer, layers.Reshape) and isinstance(wish, str):
            flat = node.inputs[0].ndim == 2
            wishes = [_order(out.shape[1:], wish) if flat else None]
        elif isinstance(layer, (*_SEQUENCES, layers.Flatten, layers.Reshape)):
            continue
        elif isinstance(layer, _ALIKE) or not isinstance(wish, np.ndarray):
            wishes = [wish if t.shape == out.shape else None for t in node.inputs]
        else:
            continue
        for t, place in zip(node.inputs, wishes, strict=False):
            if place is not None:
                wanted.setdefault(id(t), place)
    return wanted
