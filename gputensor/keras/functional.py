"""Models as graphs of layers, from the symbolic tensors that go in to those that come out."""

import re
from collections.abc import Iterator
from typing import Any

from gputensor.autograd import Tensor
from gputensor.errors import GraphError, ShapeError
from gputensor.keras.naming import snake_case
from gputensor.keras.symbolic import KerasTensor, Node
from gputensor.tree import leaves, map_tree, rebuilt

__all__ = ["Graph"]


class Graph:
    """What lies between inputs and outputs.

    Parameters
    ----------
    inputs, outputs : KerasTensor, or list or dict of such

    Attributes
    ----------
    nodes : list of Node
        Calls in an order in which they can be made.
    layers : list of Layer
        Each once, in Keras's order: by distance from the outputs, the farthest first.

    Raises
    ------
    GraphError
        If an output does not come from the inputs.
    """

    def __init__(self, inputs: Any, outputs: Any) -> None:
        for name, tree in (("inputs", inputs), ("outputs", outputs)):
            for t in leaves(tree):
                if not isinstance(t, KerasTensor):
                    raise TypeError(
                        f"Model: {name} must be of keras.Input and of layers called with such, got "
                        f"{type(t).__name__}"
                    )
        self.inputs = inputs
        self.outputs = outputs
        self.nodes = self._ordered()
        depths = self._depths()
        order = sorted(range(len(self.nodes)), key=lambda i: (-depths[id(self.nodes[i])], i))
        layers = [t.node.layer for t in leaves(inputs) if t.node is not None and not t.node.inputs]
        layers += [self.nodes[i].layer for i in order]
        self.layers = list({id(layer): layer for layer in layers}.values())

    def _ordered(self) -> list[Node]:
        given = set(map(id, leaves(self.inputs)))
        done: dict[int, Node] = {}
        ends = [(t, False) for t in reversed(leaves(self.outputs))]
        while ends:
            t, ready = ends.pop()
            if id(t) in given or (t.node is not None and id(t.node) in done):
                continue
            if t.node is None or not t.node.inputs:
                raise GraphError(
                    f"Model: {t!r} is needed for the outputs, but is none of the inputs"
                )
            if ready:
                done[id(t.node)] = t.node
            else:
                ends.append((t, True))
                ends += [(x, False) for x in reversed(t.node.inputs)]
        return list(done.values())

    def _depths(self) -> dict[int, int]:
        """Largest number of calls between each call and the outputs."""
        depths = {id(node): 0 for node in self.nodes}
        for node in reversed(self.nodes):
            for t in node.inputs:
                if t.node is not None and id(t.node) in depths:
                    depths[id(t.node)] = max(depths[id(t.node)], depths[id(node)] + 1)
        return depths

    def run(self, inputs: Any, *, logits_of: Any = None) -> Any:
        """Outputs for inputs, a tree like those of the graph or a list of its leaves.

        Parameters
        ----------
        inputs : tree of Tensor
        logits_of : Layer, optional
            Whose ``logits`` are taken for its result.
        """
        # A copy of the graph has other ids, so none are kept.
        ids = map(id, leaves(self.inputs))
        given = map(_of_rank, self._leaves_of(inputs), leaves(self.inputs))
        values = dict(zip(ids, given, strict=True))

        def value(x: Any) -> Any:
            return values[id(x)] if isinstance(x, KerasTensor) else x

        for node in self.nodes:
            args, kwargs = map_tree(value, node.args), map_tree(value, node.kwargs)
            if node.layer is logits_of:
                out = node.layer.logits(*args)
            else:
                out = node.layer(*args, **kwargs)
            for t, found in zip(leaves(node.outputs), leaves(out), strict=True):
                values[id(t)] = found
        return rebuilt(self.outputs, iter([values[id(t)] for t in leaves(self.outputs)]))

    def _leaves_of(self, inputs: Any) -> list[Any]:
        wanted = leaves(self.inputs)
        if isinstance(inputs, dict) and not isinstance(self.inputs, dict):
            names = [t.node.layer.name for t in wanted]
            if missing := [n for n in names if n not in inputs]:
                raise KeyError(f"Model: the inputs lack {', '.join(missing)}")
            return [inputs[n] for n in names]
        if isinstance(inputs, dict):
            return [inputs[k] for k in self.inputs]
        given = leaves(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
        if len(given) != len(wanted):
            raise ShapeError(f"Model: it takes {len(wanted)} inputs, got {len(given)}")
        return given

    def named(self) -> Iterator[tuple[str, Any]]:
        """The layers by name; those that chose none are numbered in the model, by their class."""
        counts: dict[str, int] = {}
        for layer in self.layers:
            name, stem = layer.name, snake_case(type(layer).__name__)
            if re.fullmatch(rf"{stem}(_\d+)?", name):
                count = counts.get(stem, 0)
                counts[stem] = count + 1
                name = f"{stem}_{count}" if count else stem
            yield name, layer


def _of_rank(x: Any, wanted: KerasTensor) -> Any:
    """An input with a last axis of length 1 more or less, where it lacks that, or has it too much.

    As in Keras: pictures of one channel may come without the axis of channels.
    """
    if not isinstance(x, (Tensor, KerasTensor)):
        return x
    shape = x.shape
    if len(shape) == wanted.ndim - 1 and wanted.shape[-1] == 1:
        return x[..., None]
    if len(shape) == wanted.ndim + 1 and shape[-1] == 1:
        return x[..., 0]
    return x
