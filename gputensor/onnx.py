"""Models as ONNX files, for other runtimes: ``Sequential`` and functional models of Keras's door.

>>> from gputensor import onnx
>>> onnx.export(model, "model.onnx")

What is exported is inference: dropout and noise are left out, batch normalization takes its moving
statistics. Images stay channels last, with transpositions where an operator wants them first. Files
are made by the package ``onnx`` (``pip install onnx``).
"""

import operator
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gputensor import backend, files
from gputensor.autograd import Tensor
from gputensor.keras import activations, layers
from gputensor.keras.layers.channels import Channeled
from gputensor.keras.layers.convolution import _depthwise
from gputensor.keras.layers.core import Flatten, InputLayer, Operation
from gputensor.keras.models import Model, Sequential
from gputensor.keras.symbolic import KerasTensor
from gputensor.tree import leaves

__all__ = ["export"]

_OPSET = 21
Names = list[str]
Convert = Callable[["_Graph", Any, Names, list[Any]], Any]


def _onnx() -> Any:
    try:
        import onnx
    except ImportError:
        raise ImportError("ONNX files need the package onnx: pip install onnx") from None
    return onnx


def export(model: Any, path: "str | os.PathLike[str]") -> None:
    """Write a model as an ONNX file.

    Parameters
    ----------
    model : Sequential or functional Model
        Built. Its outputs are those of ``model.predict``, up to rounding.
    path : path-like

    Raises
    ------
    TypeError
        If there is a layer that has no counterpart in ONNX, or a function of the user's.

    Examples
    --------
    >>> model = keras.Sequential([keras.layers.Dense(2, input_shape=(3,))])
    >>> gt.onnx.export(model, "model.onnx")  # doctest: +SKIP
    """
    if not isinstance(model, Model):
        raise TypeError(
            f"export: model is a {type(model).__name__}; it must be a Sequential or functional "
            "model of gputensor.keras"
        )
    if wrong := [w.dtype for w in model.parameters() if w.dtype != np.float32]:
        raise TypeError(f"export: the model has weights of {wrong[0]}; only float32 is exported")
    try:
        whole = model._known_graph()
    except AttributeError as error:
        raise TypeError(f"export: {error}") from None
    onnx = _onnx()
    graph = _Graph(onnx)
    inputs = []
    for i, t in enumerate(leaves(whole.inputs)):
        name = f"input_{i}" if len(leaves(whole.inputs)) > 1 else "input"
        graph.values[id(t)] = name
        dtype = t.dtype
        if isinstance(model, Sequential) and isinstance(model._stack[0], InputLayer):
            dtype = model._stack[0].output.dtype
        graph.kinds[id(t)] = np.dtype(dtype).kind
        inputs.append(graph.declared(name, t, dtype))
    found = graph.run(whole)
    outputs = []
    for i, (t, name) in enumerate(zip(leaves(whole.outputs), found, strict=True)):
        last = f"output_{i}" if len(found) > 1 else "output"
        graph.add("Identity", [name], out=last)
        outputs.append(graph.declared(last, t, np.float32))
    made = onnx.helper.make_model(
        onnx.helper.make_graph(graph.nodes, model.name, inputs, outputs, graph.constants),
        opset_imports=[onnx.helper.make_opsetid("", _OPSET)],
        producer_name="gputensor",
        ir_version=10,
    )
    onnx.checker.check_model(made, full_check=True)
    files.write(Path(os.path.expanduser(path)), made.SerializeToString())


class _Graph:
    """Nodes and constants so far."""

    def __init__(self, onnx: Any) -> None:
        self.onnx = onnx
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.values: dict[int, str] = {}
        self.kinds: dict[int, str] = {}  # of the model's inputs: "f" of floating point and so on
        self._weights: dict[int, str] = {}
        self._kept: list[Any] = []  # whose numbers are keys
        self._count = 0

    def declared(self, name: str, t: Any, dtype: Any) -> Any:
        """An input or output with its shape."""
        kind = self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        sizes = ["samples" if i == 0 and n is None else n for i, n in enumerate(t.shape)]
        return self.onnx.helper.make_tensor_value_info(name, kind, sizes)

    def _name(self) -> str:
        self._count += 1
        return f"value_{self._count}"

    def add(
        self, kind: str, inputs: Sequence[str], outputs: int = 1, out: str = "", **attributes: Any
    ) -> Any:
        """An operator; gives the name of its result, or the names."""
        names = [out] if out else [self._name() for _ in range(outputs)]
        self.nodes.append(self.onnx.helper.make_node(kind, list(inputs), names, **attributes))
        return names[0] if outputs == 1 else names

    def constant(self, value: Any) -> str:
        """An array that is part of the file; a weight once."""
        key = id(value)
        if isinstance(value, Tensor):
            if key in self._weights:
                return self._weights[key]
            array = backend.to_host(value.detach().array)
        else:
            array = np.asarray(value)
        name = self._name()
        dense = np.ascontiguousarray(array).reshape(array.shape)
        self.constants.append(self.onnx.numpy_helper.from_array(dense, name))
        if isinstance(value, Tensor):
            self._weights[key] = name
            self._kept.append(value)
        return name

    def ints(self, *values: int) -> str:
        """A vector of int64."""
        return self.constant(np.array(values, np.int64))

    def turn(self, x: str, order: Sequence[int]) -> str:
        """Axes in another order."""
        found: str = self.add("Transpose", [x], perm=list(order))
        return found

    def run(self, graph: Any) -> Names:
        """Names of a graph's outputs; those of its inputs are known."""
        for node in graph.nodes:
            xs = [self.operand(x) for x in leaves(node.args)]
            given = list(leaves(node.args))
            if any(isinstance(x, KerasTensor) for x in leaves(node.kwargs)):
                raise _refused(node.layer, "it is called with tensors by keyword")
            if set_ones := [k for k, v in node.kwargs.items() if k != "training" and v]:
                raise _refused(node.layer, f"{set_ones[0]} has no counterpart in ONNX here")
            found = self.layer(node.layer, xs, given)
            found = found if isinstance(found, list) else [found]
            for t, name in zip(leaves(node.outputs), found, strict=True):
                self.values[id(t)] = name
        return [self.values[id(t)] for t in leaves(graph.outputs)]

    def operand(self, x: Any) -> str:
        """Name of a tensor, or of a number or array that a layer is called with."""
        if isinstance(x, KerasTensor):
            return self.values[id(x)]
        if isinstance(x, (Tensor, np.ndarray)):
            return self.constant(x)
        if isinstance(x, (int, float)) and not isinstance(x, bool):
            return self.constant(np.float32(x))
        return ""

    def layer(self, layer: Any, xs: Names, given: list[Any]) -> Any:
        """Names of a layer's results."""
        if isinstance(layer, Model):
            if type(layer) not in (Model, Sequential):
                raise _refused(layer, "what its class computes is Python")
            inner = layer._known_graph()
            for t, name, x in zip(leaves(inner.inputs), xs, given, strict=True):
                self.values[id(t)], self.kinds[id(t)] = name, self.kind(x)
            return self.run(inner)
        convert = _LAYERS.get(type(layer))
        if convert is None:
            raise _refused(layer, "it has no counterpart in ONNX here")
        if not isinstance(layer, layers.Embedding):
            xs = [self.floats(name, x) for name, x in zip(xs, given, strict=True)]
        first = isinstance(layer, Channeled) and layer.data_format == "channels_first"
        if not first or given[0].ndim < 3:
            return convert(self, layer, xs, given)
        rank, shape = given[0].ndim, given[0].shape
        turned = KerasTensor((shape[0], *shape[2:], shape[1]), given[0].dtype)
        moved = [self.turn(xs[0], _channels_last(rank)), *xs[1:]]
        found = convert(self, layer, moved, [turned, *given[1:]])
        fewer = isinstance(layer, Flatten) or not getattr(layer, "keepdims", True)
        return found if fewer else self.turn(found, _channels_first(rank))

    def kind(self, x: Any) -> str:
        """The kind of the numbers of an operand."""
        return self.kinds.get(id(x)) or np.dtype(getattr(x, "dtype", np.float32)).kind

    def floats(self, name: str, x: Any) -> str:
        """A tensor as one of float32; layers take integers as such."""
        if not isinstance(x, KerasTensor) or self.kind(x) == "f":
            return name
        return str(self.add("Cast", [name], to=self.onnx.TensorProto.FLOAT))

    def activated(self, layer: Any, activation: Any, x: str) -> str:
        """The result of a layer's activation."""
        name = activation or "linear"
        name = name if isinstance(name, str) else activations.serialize(name)
        convert = _ACTIVATIONS.get(name) if isinstance(name, str) else None
        if convert is None:
            raise _refused(layer, f"its activation {name!r} has no counterpart in ONNX here")
        return convert(self, x)


def _refused(layer: Any, why: str) -> TypeError:
    return TypeError(
        f"export: the layer {layer.name}, a {type(layer).__name__}, cannot be exported: {why}"
    )


# Activations


def _simple(kind: str, **attributes: Any) -> Callable[[_Graph, str], str]:
    return lambda g, x: g.add(kind, [x], **attributes)


def _clip(low: float, high: float) -> Callable[[_Graph, str], str]:
    return lambda g, x: g.add(
        "Clip", [x, g.constant(np.float32(low)), g.constant(np.float32(high))]
    )


def _gelu(g: _Graph, x: str) -> str:
    found: str = g.add("Gelu", [x])
    return found


def _with_root(g: _Graph, x: str) -> str:
    square = g.add("Add", [g.add("Mul", [x, x]), g.constant(np.float32(4))])
    found: str = g.add("Add", [x, g.add("Sqrt", [square])])
    return found


_ACTIVATIONS: dict[str, Callable[[_Graph, str], str]] = {
    "linear": lambda g, x: x,
    "relu": _simple("Relu"),
    "tanh": _simple("Tanh"),
    "sigmoid": _simple("Sigmoid"),
    "softmax": _simple("Softmax", axis=-1),
    "log_softmax": _simple("LogSoftmax", axis=-1),
    "elu": _simple("Elu"),
    "selu": _simple("Selu"),
    "celu": _simple("Celu"),
    "softplus": _simple("Softplus"),
    "softsign": _simple("Softsign"),
    "exponential": _simple("Exp"),
    "gelu": _gelu,
    "silu": lambda g, x: g.add("Mul", [x, g.add("Sigmoid", [x])]),
    "mish": _simple("Mish"),
    "leaky_relu": _simple("LeakyRelu", alpha=0.2),
    "relu6": _clip(0, 6),
    "hard_tanh": _clip(-1, 1),
    "hard_sigmoid": _simple("HardSigmoid", alpha=1 / 6, beta=0.5),
    "hard_silu": _simple("HardSwish"),
    "log_sigmoid": lambda g, x: g.add("Neg", [g.add("Softplus", [g.add("Neg", [x])])]),
    "tanh_shrink": lambda g, x: g.add("Sub", [x, g.add("Tanh", [x])]),
}
_ACTIVATIONS |= {
    "hard_shrink": _simple("Shrink", lambd=0.5),
    "soft_shrink": _simple("Shrink", lambd=0.5, bias=0.5),
    "squareplus": lambda g, x: g.add("Mul", [_with_root(g, x), g.constant(np.float32(0.5))]),
    "sparse_sigmoid": _simple("HardSigmoid", alpha=0.5, beta=0.5),
}
_ACTIVATIONS["swish"] = _ACTIVATIONS["silu"]
_ACTIVATIONS["hard_swish"] = _ACTIVATIONS["hard_silu"]


# Layers


def _same(g: _Graph, layer: Any, xs: Names, given: list[Any]) -> Any:
    return xs[0]


def _dense(g: _Graph, layer: Any, xs: Names, given: list[Any]) -> str:
    y = g.add("MatMul", [xs[0], g.constant(layer.weight)])
    if layer.bias is not None:
        y = g.add("Add", [y, g.constant(layer.bias)])
    return g.activated(layer, layer.activation, y)


def _einsum_dense(g: _Graph, layer: Any, xs: Names, given: list[Any]) -> str:
    y = g.add("Einsum", [xs[0], g.constant(layer.kernel)], equation=layer.equation)
    if layer.bias is not None:
        y = g.add("Add", [y, g.constant(layer.bias)])
    return g.activated(layer, layer.activation, y)


def _rescaling(g: _Graph, layer: Any, xs: Names, given: list[Any]) -> str:
    y = g.add("Mul", [xs[0], g.constant(np.float32(layer.scale))])
    found: str = g.add("Add", [y, g.constant(np.float32(layer.offset))])
    return found


def _reshape(g: _Graph, layer: Any, xs: Names, given: list[Any]) -> str:
    found: str = g.add("Reshape", [xs[0], g.ints(0, *layer.target_shape)])
    return found


def _repeat_vector(g: _Graph, layer: Any, xs: Names, given: list[Any]) -> str:
    found: str = g.add("Tile", [g.add("Unsqueeze", [xs[0], g.ints(1)]), g.ints(1, layer.n, 1)])
    return found


def _embedding(g: _Graph, layer: Any, xs: Names, given: list[Any]) -> str:
    if layer.mask_zero:
        raise _refused(layer, "mask_zero has no counterpart in ONNX here")
    index = g.add("Cast", [xs[0]], to=g.onnx.TensorProto.INT64)
    found: str = g.add("Gather", [g.constant(layer.embeddings), index], axis=0)
    return found


def _relu(g: _Graph, layer: Any, xs: Names, given: list[Any]) -> str:
    x = xs[0]
    if not layer.threshold:
        slope = float(layer.negative_slope)
        y = g.add("LeakyRelu", [x], alpha=slope) if slope else g.add("Relu", [x])
    else:
        bound = g.constant(np.float32(layer.threshold))
        low = g.add("Mul", [g.add("Sub", [x, bound]), g.constant(np.float32(layer.negative_slope))])
        # At the threshold itself it is `x` only where there is a slope.
        test = "GreaterOrEqual" if layer.negative_slope else "Greater"
        y = g.add("Where", [g.add(test, [x, bound]), x, low])
    if layer.max_value is not None:
        y = str(g.add("Min", [y, g.constant(np.float32(layer.max_value))]))
    return str(y)


def _channels_first(rank: int) -> list[int]:
    return [0, rank - 1, *range(1, rank - 1)]


def _channels_last(rank: int) -> list[int]:
    return [0, *range(2, rank), 1]


def _around(g: _Graph, x: str, rank: int, run: Callable[[str], str]) -> str:
    """A function of channels first on what has channels last."""
    return g.turn(run(g.turn(x, _channels_first(rank))), _channels_last(rank))


def _weight(kernel: Any, order: Sequence[int]) -> Any:
    array = backend.to_host(kernel.detach().array)
    return np.ascontiguousarray(array.transpose(order))


def _windows(layer: Any) -> dict[str, Any]:
    """Strides, dilation and padding of a convolution."""
    found: dict[str, Any] = {"strides": list(layer.strides), "dilations": list(layer.dilation_rate)}
    if layer.padding == "same" and set(layer.strides) == {1}:  # dilated, perhaps
        whole = [(k - 1) * d for k, d in zip(layer.kernel_size, layer.dilation_rate, strict=True)]
        found["pads"] = [n // 2 for n in whole] + [n - n // 2 for n in whole]
    elif layer.padding == "same":
        found["auto_pad"] = "SAME_UPPER"
    elif layer.padding == "causal":
        before = (layer.kernel_size[0] - 1) * layer.dilation_rate[0]
        found["pads"] = [before, 0]
    return found


def _convolution(g: _Graph, layer: Any, xs: Names, given: list[Any]) -> str:
    axes = layer._axes
    groups, kernel = layer.groups, layer.kernel
    if isinstance(layer, layers.DepthwiseConv2D):
        groups, kernel = given[0].shape[-1], _depthwise(layer.kernel)
    operands = [g.constant(_weight(kernel, (axes + 1, axes, *range(axes))))]
    if layer.bias is not None:
        operands.append(g.constant(layer.bias))
    y = _around(
        g,
        xs[0],
        axes + 2,
        lambda x: g.add("Conv", [x, *operands], group=groups, **_windows(layer)),
    )
    return g.activated(layer, layer.activation, y)


def _separable(g: _Graph, layer: Any, xs: Names, given: list[Any]) -> str:
    n = layer._axes
    order = (n + 1, n, *range(n))
    deep = g.constant(_weight(_depthwise(layer.depthwise_kernel), order))
    wide = [g.constant(_weight(layer.pointwise_kernel, order))]
    wide += [] if layer.bias is None else [g.constant(layer.bias)]
    groups = given[0].shape[-1]

    def run(x: str) -> str:
        y = g.add("Conv", [x, deep], group=groups, **_windows(layer))
        found: str = g.add("Conv", [y, *wide])
        return found

    return g.activated(layer, layer.activation, _around(g, xs[0], n + 2, run))


def _transposed(g: _Graph, layer: Any, xs: Names, given: list[Any]) -> str:
    axes = layer._axes
    cuts, extra = layer._cuts()
    operands = [g.constant(_weight(layer.kernel, (axes + 1, axes, *range(axes))))]
    operands += [] if layer.bias is None else [g.constant(layer.bias)]
    options = {
        "strides": list(layer.strides),
        "dilations": list(layer.dilation_rate),
        "pads": [c[0] for c in cuts] + [c[1] for c in cuts],
        "output_padding": extra,
    }
    for more, s, d in zip(extra, layer.strides, layer.dilation_rate, strict=True):
        if more >= max(s, d):
            raise _refused(layer, "ONNX has no output that is padded by a stride or more")
    y = _around(g, xs[0], axes + 2, lambda x: g.add("ConvTranspose", [x, *operands], **options))
    return g.activated(layer, layer.activation, y)


def _pooling(g: _Graph, layer: Any, xs: Names, given: list[Any]) -> str:
    options: dict[str, Any] = {
        "kernel_shape": list(layer.pool_size),
        "strides": list(layer.strides),
    }
    if layer.padding == "same":
        options["auto_pad"] = "SAME_UPPER"
    kind = "AveragePool" if layer._average else "MaxPool"
    return _around(g, xs[0], layer._axes + 2, lambda x: g.add(kind, [x], **options))


def _global_pooling(g: _Graph, layer: Any, xs: Names, given: list[Any]) -> str:
    kind = "ReduceMean" if layer._average else "ReduceMax"
    found: str = g.add(kind, [xs[0], g.ints(*layer._axes)], keepdims=int(layer.keepdims))
    return found


def _padding(g: _Graph, layer: Any, xs: Names, given: list[Any]) -> str:
    before, after = zip(*layer.padding, strict=True)
    found: str = g.add("Pad", [xs[0], g.ints(0, *before, 0, 0, *after, 0)])
    return found


def _cropping(g: _Graph, layer: Any, xs: Names, given: list[Any]) -> str:
    before, after = zip(*layer.cropping, strict=True)
    ends = [-n if n else np.iinfo(np.int64).max for n in after]
    axes = g.ints(*range(1, 1 + len(before)))
    found: str = g.add("Slice", [xs[0], g.ints(*before), g.ints(*ends), axes])
    return found


def _upsampling(g: _Graph, layer: Any, xs: Names, given: list[Any]) -> str:
    if layer.interpolation == "bilinear":
        scales = g.constant(np.array([1, 1, *layer.size], np.float32))

        def run(t: str) -> str:
            return str(g.add("Resize", [t, "", scales], mode="linear"))

        return _around(g, xs[0], given[0].ndim, run)
    if layer.interpolation != "nearest":
        raise _refused(layer, f"interpolation {layer.interpolation!r} has no counterpart here")
    scales = g.constant(np.array([1, *layer.size, 1], np.float32))
    options: dict[str, Any] = {"coordinate_transformation_mode": "asymmetric"}
    options["nearest_mode"] = "floor"
    found: str = g.add("Resize", [xs[0], "", scales], mode="nearest", **options)
    return found


def _along(values: Any, axis: int, rank: int) -> Any:
    """A vector as an array that broadcasts along an axis."""
    return np.asarray(values, np.float32).reshape(
        [-1 if i == axis % rank else 1 for i in range(rank)]
    )


def _host(t: Any, otherwise: float, size: int) -> Any:
    if t is None:
        return np.full(size, otherwise, np.float32)
    return backend.to_host(t.detach().array)


def _batch_norm(g: _Graph, layer: Any, xs: Names, given: list[Any]) -> str:
    variance = _host(layer.moving_variance, 1, 0).astype(np.float64)
    factor = _host(layer.gamma, 1, variance.size) / np.sqrt(variance + layer.epsilon)
    shift = _host(layer.beta, 0, variance.size) - _host(layer.moving_mean, 0, 0) * factor
    rank = len(given[0].shape)
    y = g.add("Mul", [xs[0], g.constant(_along(factor, layer.axis, rank))])
    found: str = g.add("Add", [y, g.constant(_along(shift, layer.axis, rank))])
    return found


def _layer_norm(g: _Graph, layer: Any, xs: Names, given: list[Any]) -> str:
    rank = len(given[0].shape)
    axes = layer._axes(rank)
    if axes != tuple(range(axes[0], rank)):
        raise _refused(layer, "ONNX normalizes along the last axes only")
    shape = given[0].shape[axes[0] :]
    size = int(np.prod(shape))
    gamma = g.constant(_host(layer.gamma, 1, size).reshape(shape))
    beta = g.constant(_host(layer.beta, 0, size).reshape(shape))
    options = {"axis": axes[0] - rank, "epsilon": float(layer.epsilon)}
    found: str = g.add("LayerNormalization", [xs[0], gamma, beta], **options)
    return found


def _rms_norm(g: _Graph, layer: Any, xs: Names, given: list[Any]) -> str:
    square = g.add("ReduceMean", [g.add("Mul", [xs[0], xs[0]]), g.ints(-1)])
    root = g.add("Sqrt", [g.add("Add", [square, g.constant(np.float32(layer.epsilon))])])
    found: str = g.add("Mul", [g.add("Div", [xs[0], root]), g.constant(layer.scale)])
    return found


def _group_norm(g: _Graph, layer: Any, xs: Names, given: list[Any]) -> str:
    rank = len(given[0].shape)
    if rank < 3 or layer.axis % rank != rank - 1:
        raise _refused(layer, "it must be along the last axis of images or sequences")
    channels = given[0].shape[-1]
    gamma = g.constant(_host(layer.gamma, 1, channels))
    beta = g.constant(_host(layer.beta, 0, channels))
    options = {"num_groups": layer.groups, "epsilon": float(layer.epsilon)}
    return _around(
        g, xs[0], rank, lambda x: g.add("GroupNormalization", [x, gamma, beta], **options)
    )


def _unit_norm(g: _Graph, layer: Any, xs: Names, given: list[Any]) -> str:
    return _normalized(g, xs[0], layer.axis, 1e-12)


def _normalized(g: _Graph, x: str, axis: int, least: float) -> str:
    norm = g.add("ReduceL2", [x, g.ints(axis)])
    found: str = g.add("Div", [x, g.add("Max", [norm, g.constant(np.float32(least))])])
    return found


def _normalization(g: _Graph, layer: Any, xs: Names, given: list[Any]) -> str:
    mean, variance = (backend.to_host(t.array) for t in (layer.mean, layer.variance))
    deviation = np.maximum(np.sqrt(variance), 1e-7).astype(np.float32)
    middle, spread = g.constant(mean.astype(np.float32)), g.constant(deviation)
    if layer.invert:
        return str(g.add("Add", [g.add("Mul", [xs[0], spread]), middle]))
    return str(g.add("Div", [g.add("Sub", [xs[0], middle]), spread]))


def _merged(kind: str) -> Convert:
    def convert(g: _Graph, layer: Any, xs: Names, given: list[Any]) -> str:
        found = xs[0]
        for x in xs[1:]:
            found = g.add(kind, [found, x])
        return found

    return convert


def _average(g: _Graph, layer: Any, xs: Names, given: list[Any]) -> str:
    found: str = g.add("Mean", xs)
    return found


def _concatenate(g: _Graph, layer: Any, xs: Names, given: list[Any]) -> str:
    found: str = g.add("Concat", xs, axis=layer.axis)
    return found


def _dot(g: _Graph, layer: Any, xs: Names, given: list[Any]) -> str:
    x, y = xs
    ranks = [len(t.shape) for t in given]
    axes = (layer.axes, layer.axes) if isinstance(layer.axes, int) else layer.axes
    a, b = axes[0] % ranks[0], axes[1] % ranks[1]
    if layer.normalize:
        x, y = _normalized(g, x, a, 1e-6), _normalized(g, y, b, 1e-6)
    if ranks == [2, 2]:
        found: str = g.add("ReduceSum", [g.add("Mul", [x, y]), g.ints(1)], keepdims=1)
        return found
    if ranks != [3, 3]:
        raise _refused(layer, "its inputs must be both of two axes or both of three")
    x = x if a == 2 else g.turn(x, (0, 2, 1))
    y = y if b == 1 else g.turn(y, (0, 2, 1))
    found = g.add("MatMul", [x, y])
    return found


_OPERATORS = {
    operator.add: "Add",
    operator.sub: "Sub",
    operator.mul: "Mul",
    operator.truediv: "Div",
    operator.pow: "Pow",
    operator.matmul: "MatMul",
    operator.neg: "Neg",
    operator.abs: "Abs",
}


def _operation(g: _Graph, layer: Any, xs: Names, given: list[Any]) -> str:
    function = layer.function
    swapped = getattr(function, "swapped", None)
    kind = _OPERATORS.get(swapped or function)
    if kind is None or "" in xs:
        name = getattr(function, "__name__", repr(function))
        raise _refused(layer, f"the function {name} has no counterpart in ONNX here")
    found: str = g.add(kind, xs[::-1] if swapped else xs)
    return found


# Recurrent layers: ONNX has (steps, n, features), and gates in another order

_RECURRENT = {"tanh": "Tanh", "sigmoid": "Sigmoid", "relu": "Relu", "linear": "Affine"}


def _gate(layer: Any, activation: Any) -> str:
    name = activation or "linear"
    name = name if isinstance(name, str) else activations.serialize(name)
    if not isinstance(name, str) or name not in _RECURRENT or name == "linear":
        raise _refused(layer, f"its activation {name!r} has no counterpart in a recurrent operator")
    return _RECURRENT[name]


def _recurrent(g: _Graph, layer: Any, xs: Names, given: list[Any]) -> Any:
    if len(xs) > 1 or layer.stateful:
        raise _refused(layer, "states from elsewhere have no counterpart here")
    cell, units = layer.cell, layer.units
    order, kind = {
        layers.SimpleRNN: ([0], "RNN"),
        layers.LSTM: ([0, 3, 1, 2], "LSTM"),
        layers.GRU: ([0, 1, 2], "GRU"),
    }[type(layer)]
    gates = len(order)

    def rows(matrix: Any) -> Any:
        parts = np.split(matrix, gates, axis=-1)
        return np.concatenate([parts[i] for i in order], axis=-1)

    kernel = rows(backend.to_host(cell.kernel.detach().array)).T[None]
    inner = rows(backend.to_host(cell.recurrent_kernel.detach().array)).T[None]
    bias = np.zeros((2, gates * units), kernel.dtype)
    if cell.bias is not None:
        given_bias = np.atleast_2d(backend.to_host(cell.bias.detach().array))
        bias[: len(given_bias)] = rows(given_bias)
    functions = [_gate(layer, cell.activation)]
    options: dict[str, Any] = {"hidden_size": units}
    if kind != "RNN":
        functions = [_gate(layer, cell.recurrent_activation), *functions]
        functions += functions[1:] if kind == "LSTM" else []
    if kind == "GRU":
        options["linear_before_reset"] = int(cell.reset_after)
    if layer.go_backwards:
        options["direction"] = "reverse"
    operands = [
        g.turn(xs[0], (1, 0, 2)),
        g.constant(kernel),
        g.constant(inner),
        g.constant(bias.reshape(1, -1)),
    ]
    found = g.add(kind, operands, 3 if kind == "LSTM" else 2, activations=functions, **options)
    every, states = found[0], [g.add("Squeeze", [s, g.ints(0)]) for s in found[1:]]
    result = states[0]
    if layer.return_sequences:
        result = g.turn(g.add("Squeeze", [every, g.ints(1)]), (1, 0, 2))
        if layer.go_backwards:  # in the order in which they are computed
            result = _flipped(g, result)
    return [result, *states] if layer.return_state else result


def _flipped(g: _Graph, x: str) -> str:
    """Steps in the other order."""
    least = np.iinfo(np.int64).min
    found: str = g.add("Slice", [x, g.ints(-1), g.ints(least), g.ints(1), g.ints(-1)])
    return found


def _bidirectional(g: _Graph, layer: Any, xs: Names, given: list[Any]) -> Any:
    both = [g.layer(one, xs, given) for one in (layer.forward_layer, layer.backward_layer)]
    if any(isinstance(found, list) for found in both):
        raise _refused(layer, "return_state has no counterpart here")
    ahead, back = both
    if layer.forward_layer.return_sequences:
        back = _flipped(g, back)
    if layer.merge_mode is None:
        return [ahead, back]
    if layer.merge_mode == "concat":
        return g.add("Concat", [ahead, back], axis=-1)
    return g.add({"sum": "Sum", "ave": "Mean", "mul": "Mul"}[layer.merge_mode], [ahead, back])


def _time_distributed(g: _Graph, layer: Any, xs: Names, given: list[Any]) -> str:
    shape = given[0].shape
    steps = shape[1]
    if steps is None or None in shape[2:]:
        raise _refused(layer, "the number of steps must be known")
    inner = KerasTensor((None, *shape[2:]), given[0].dtype)
    flat = g.add("Reshape", [xs[0], g.ints(-1, *shape[2:])])
    y = g.layer(layer.layer, [flat], [inner])
    after = tuple(layer.layer.compute_output_shape((None, *shape[2:])))[1:]
    found: str = g.add("Reshape", [y, g.ints(-1, steps, *after)])
    return found


def _attention(g: _Graph, layer: Any, xs: Names, given: list[Any]) -> str:
    query, value = xs[:2]
    key = xs[2] if len(xs) > 2 else value
    if layer.scale is not None:
        query = g.add("Mul", [query, g.constant(layer.scale)])
    weights = g.add("Softmax", [g.add("MatMul", [query, g.turn(key, (0, 2, 1))])], axis=-1)
    found: str = g.add("MatMul", [weights, value])
    return found


def _additive_attention(g: _Graph, layer: Any, xs: Names, given: list[Any]) -> str:
    query, value = xs[:2]
    key = xs[2] if len(xs) > 2 else value
    pairs = [g.add("Unsqueeze", [query, g.ints(2)]), g.add("Unsqueeze", [key, g.ints(1)])]
    scores = g.add("Tanh", [g.add("Add", pairs)])
    if layer.scale is not None:
        scores = g.add("Mul", [scores, g.constant(layer.scale)])
    scores = g.add("ReduceSum", [scores, g.ints(-1)], keepdims=0)
    found: str = g.add("MatMul", [g.add("Softmax", [scores], axis=-1), value])
    return found


def _multi_head_attention(g: _Graph, layer: Any, xs: Names, given: list[Any]) -> str:
    heads = layer.num_heads

    def projected(x: str, part: Any, rows: int) -> str:
        kernel = backend.to_host(part.kernel.detach().array)
        y: str = g.add("MatMul", [x, g.constant(kernel.reshape(rows, -1))])
        if part.bias is not None:
            y = g.add("Add", [y, g.constant(_host(part.bias, 0, 0).reshape(-1))])
        return y

    def split(x: str, part: Any, size: int, order: Sequence[int]) -> str:
        y = projected(x, part, part.kernel.shape[0])
        return g.turn(g.add("Reshape", [y, g.ints(0, 0, heads, size)]), order)

    query, value = xs[:2]
    key = xs[2] if len(xs) > 2 and xs[2] else value
    q = split(query, layer.query_dense, layer.key_dim, (0, 2, 1, 3))
    k = split(key, layer.key_dense, layer.key_dim, (0, 2, 3, 1))
    v = split(value, layer.value_dense, layer.value_dim, (0, 2, 1, 3))
    q = g.add("Mul", [q, g.constant(np.float32(layer.key_dim**-0.5))])
    weights = g.add("Softmax", [g.add("MatMul", [q, k])], axis=-1)
    each = g.turn(g.add("MatMul", [weights, v]), (0, 2, 1, 3))
    joined = g.add("Reshape", [each, g.ints(0, 0, heads * layer.value_dim)])
    return projected(joined, layer.output_dense, heads * layer.value_dim)


def _prelu(g: _Graph, layer: Any, xs: Names, given: list[Any]) -> str:
    found: str = g.add("PRelu", [xs[0], g.constant(layer.alpha)])
    return found


_LAYERS: dict[type, Convert] = {
    InputLayer: _same,
    Operation: _operation,
    layers.Dense: _dense,
    layers.EinsumDense: _einsum_dense,
    layers.Flatten: lambda g, layer, xs, given: g.add("Flatten", xs, axis=1),
    layers.Rescaling: _rescaling,
    layers.Activation: lambda g, layer, xs, given: g.activated(layer, layer.activation, xs[0]),
    layers.Reshape: _reshape,
    layers.Permute: lambda g, layer, xs, given: g.turn(xs[0], (0, *layer.dims)),
    layers.RepeatVector: _repeat_vector,
    layers.Embedding: _embedding,
    layers.ReLU: _relu,
    layers.LeakyReLU: lambda g, layer, xs, given: g.add(
        "LeakyRelu", xs, alpha=float(layer.negative_slope)
    ),
    layers.ELU: lambda g, layer, xs, given: g.add("Elu", xs, alpha=float(layer.alpha)),
    layers.Softmax: lambda g, layer, xs, given: g.add("Softmax", xs[:1], axis=layer.axis),
    layers.PReLU: _prelu,
    layers.SeparableConv1D: _separable,
    layers.SeparableConv2D: _separable,
    layers.BatchNormalization: _batch_norm,
    layers.LayerNormalization: _layer_norm,
    layers.RMSNormalization: _rms_norm,
    layers.GroupNormalization: _group_norm,
    layers.UnitNormalization: _unit_norm,
    layers.Normalization: _normalization,
    layers.Average: _average,
    layers.Concatenate: _concatenate,
    layers.Dot: _dot,
    layers.Attention: _attention,
    layers.AdditiveAttention: _additive_attention,
    layers.MultiHeadAttention: _multi_head_attention,
    layers.Bidirectional: _bidirectional,
    layers.TimeDistributed: _time_distributed,
    **{
        getattr(layers, name): _same
        for name in (
            "Identity",
            "Dropout",
            "SpatialDropout1D",
            "SpatialDropout2D",
            "GaussianNoise",
            "GaussianDropout",
            "AlphaDropout",
            "ActivityRegularization",
            "SpatialDropout3D",
            "RandomBrightness",
            "RandomContrast",
            "RandomFlip",
            "RandomGrayscale",
            "RandomInvert",
            "RandomRotation",
            "RandomShear",
            "RandomTranslation",
            "RandomZoom",
        )
    },
    **{
        getattr(layers, name): _merged(kind)
        for name, kind in (
            ("Add", "Add"),
            ("Subtract", "Sub"),
            ("Multiply", "Mul"),
            ("Maximum", "Max"),
            ("Minimum", "Min"),
        )
    },
}
for _kinds, _convert in (
    ((layers.Conv1D, layers.Conv2D, layers.Conv3D), _convolution),
    ((layers.DepthwiseConv1D, layers.DepthwiseConv2D), _convolution),
    ((layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose), _transposed),
    (
        (
            layers.MaxPooling1D,
            layers.MaxPooling2D,
            layers.MaxPooling3D,
            layers.AveragePooling1D,
            layers.AveragePooling2D,
            layers.AveragePooling3D,
        ),
        _pooling,
    ),
    (
        (
            layers.GlobalMaxPooling1D,
            layers.GlobalMaxPooling2D,
            layers.GlobalMaxPooling3D,
            layers.GlobalAveragePooling1D,
            layers.GlobalAveragePooling2D,
            layers.GlobalAveragePooling3D,
        ),
        _global_pooling,
    ),
    ((layers.ZeroPadding1D, layers.ZeroPadding2D, layers.ZeroPadding3D), _padding),
    ((layers.Cropping1D, layers.Cropping2D, layers.Cropping3D), _cropping),
    ((layers.UpSampling1D, layers.UpSampling2D, layers.UpSampling3D), _upsampling),
    ((layers.SimpleRNN, layers.LSTM, layers.GRU), _recurrent),
):
    for _kind in _kinds:
        _LAYERS[_kind] = _convert
