"""Models as JSON, in the form of Keras 3, and back. Nothing in a configuration is executed."""

import json
import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from gputensor.errors import GraphError
from gputensor.keras import activations, constraints, initializers, layers, regularizers
from gputensor.keras.functional import Graph
from gputensor.keras.layers.base import Layer
from gputensor.keras.layers.core import InputLayer, Lambda, Operation
from gputensor.keras.models import Model, Sequential
from gputensor.keras.symbolic import KerasTensor, item
from gputensor.tree import leaves

__all__ = [
    "clone_model",
    "deserialize",
    "functional_config",
    "get_known",
    "made_functional",
    "made_sequential",
    "model_from_json",
    "registered",
    "sequential_config",
    "serialize",
    "to_json",
]

# Operators between symbolic tensors, as Keras calls them.
_OPERATIONS: dict[str, Callable[..., Any]] = {
    "Add": operator.add,
    "Subtract": operator.sub,
    "Multiply": operator.mul,
    "TrueDivide": operator.truediv,
    "Divide": operator.truediv,
    "Power": operator.pow,
    "Matmul": operator.matmul,
    "Mod": operator.mod,
    "FloorDivide": operator.floordiv,
    "Negative": operator.neg,
    "Absolute": operator.abs,
    "Less": operator.lt,
    "LessEqual": operator.le,
    "Greater": operator.gt,
    "GreaterEqual": operator.ge,
    "GetItem": item,
}
_custom: dict[str, Any] = {}


def registered(package: str = "Custom", name: str | None = None) -> Callable[[Any], Any]:
    """Decorate a class that saved models may hold.

    Examples
    --------
    >>> @keras.saving.register_keras_serializable(package="examples")
    ... class Tripled(keras.layers.Layer):
    ...     def call(self, inputs):
    ...         return inputs * 3
    >>> keras.saving.get_custom_objects()["examples>Tripled"].__name__
    'Tripled'
    """

    def enter(kind: Any) -> Any:
        _custom[f"{package}>{name or kind.__name__}"] = kind
        _custom.setdefault(name or kind.__name__, kind)
        return kind

    return enter


class CustomObjectScope:
    """Within it, saved models may hold these classes, by name: ``{"Mine": Mine}``.

    Examples
    --------
    >>> class Doubled(keras.layers.Layer):
    ...     def call(self, inputs):
    ...         return inputs * 2
    >>> keras.Sequential([Doubled(input_shape=(3,))]).save("doubled.keras")
    >>> with keras.utils.CustomObjectScope({"Doubled": Doubled}):
    ...     model = keras.models.load_model("doubled.keras")
    >>> model.predict(np.ones((1, 3)), verbose=0)
    array([[2., 2., 2.]], dtype=float32)
    """

    def __init__(self, custom_objects: Mapping[str, Any]) -> None:
        self._objects = dict(custom_objects)
        self._before: dict[str, Any] = {}

    def __enter__(self) -> "CustomObjectScope":
        self._before = dict(_custom)
        _custom.update(self._objects)
        return self

    def __exit__(self, *_: object) -> None:
        _custom.clear()
        _custom.update(self._before)


custom_object_scope = CustomObjectScope


def get_custom_objects() -> dict[str, Any]:
    """Classes that saved models may hold, by name; entries may be set.

    Examples
    --------
    >>> class Mine(keras.layers.Layer):
    ...     pass
    >>> keras.utils.get_custom_objects()["Mine"] = Mine
    >>> keras.utils.get_custom_objects().pop("Mine").__name__
    'Mine'
    """
    return _custom


def _plain(value: Any) -> Any:
    """A part of a layer's configuration as JSON."""
    if isinstance(value, Layer):
        return serialize(value)
    if isinstance(value, initializers.Initializer):
        return initializers.serialize(value)
    if isinstance(value, regularizers.Regularizer):
        return regularizers.serialize(value)
    if isinstance(value, constraints.Constraint):
        return constraints.serialize(value)
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.dtype):
        return value.name
    if callable(value):
        name = activations.serialize(value)
        if isinstance(name, str):
            return name
        if isinstance(value, type):
            return _plain(value())
    raise TypeError(
        f"a model with {value!r} cannot be saved: nothing but numbers, names and layers can be; "
        "save_weights saves the weights alone"
    )


def serialize(layer: Layer) -> dict[str, Any]:
    """Class and configuration of a layer or model."""
    if isinstance(layer, Operation):
        names = [name for name, function in _OPERATIONS.items() if function is layer.function]
        if not names:
            raise TypeError(
                f"a model with {layer.function!r} between layers cannot be saved; put it into a "
                "class of layer"
            )
        return {
            "module": "keras.src.ops.numpy",
            "class_name": names[0],
            "config": {"name": layer.name},
            "registered_name": names[0],
        }
    if isinstance(layer, Lambda):
        raise TypeError(
            "a Lambda layer cannot be saved: its function is code; write a class of layer"
        )
    kind = type(layer).__name__
    module, known = "keras.layers", getattr(layers, kind, None) is type(layer)
    if isinstance(layer, Sequential):
        config, module, known = _plain(layer.get_config()), "keras", type(layer) is Sequential
    elif isinstance(layer, Model) and layer._graph is not None and type(layer) is Model:
        config, module, known = functional_config(layer), "keras.src.models.functional", True
        kind = "Functional"
    else:
        config = _plain(layer.get_config())
    found: dict[str, Any] = {
        "module": module if known else None,
        "class_name": kind,
        "config": config,
        "registered_name": None if known else f"Custom>{kind}",
    }
    if layer.built and layer.input_shape is not None and not isinstance(layer, InputLayer):
        shape = layer.input_shape
        if not isinstance(shape, list):
            found["build_config"] = {"input_shape": [None, *shape]}
    return found


def sequential_config(model: Sequential) -> dict[str, Any]:
    """The layers of a stack, as Keras writes them."""
    parts = [serialize(layer) for layer in model.layers]
    config: dict[str, Any] = {"name": model.name, "trainable": model.trainable}
    if model.input_shape is not None:
        first = next((x for x in model._stack if isinstance(x, InputLayer)), None)
        first = InputLayer(model.input_shape) if first is None else first
        parts = [serialize(first), *parts]
        config["build_input_shape"] = [None, *model.input_shape]
    return config | {"layers": parts}


def functional_config(model: Model) -> dict[str, Any]:
    """The layers of a graph and their calls, as Keras writes them."""
    graph: Graph = model._graph.value  # type: ignore[union-attr]
    places: dict[int, tuple[str, int]] = {}
    calls: dict[int, list[Any]] = {id(layer): [] for layer in graph.layers}
    for t in (*leaves(graph.inputs),):
        places[id(t.node)] = (t.node.layer.name, 0)
    for node in graph.nodes:
        mine = calls[id(node.layer)]
        places[id(node)] = (node.layer.name, len(mine))
        mine.append(node)

    def history(t: KerasTensor) -> list[Any]:
        return [*places[id(t.node)], t.index]

    def encoded(x: Any) -> Any:
        if isinstance(x, KerasTensor):
            config = {"shape": list(x.shape), "dtype": x.dtype.name, "keras_history": history(x)}
            return {"class_name": "__keras_tensor__", "config": config}
        if isinstance(x, (list, tuple)):
            return [encoded(v) for v in x]
        if isinstance(x, dict):
            return {k: encoded(v) for k, v in x.items()}
        if isinstance(x, slice):
            bounds = {"start": x.start, "stop": x.stop, "step": x.step}
            return {"class_name": "__slice__", "config": bounds}
        if x is Ellipsis:
            return {"class_name": "__ellipsis__", "config": {}}
        return _plain(x)

    parts = []
    for layer in graph.layers:
        nodes = [
            {"args": [encoded(a) for a in node.args], "kwargs": encoded(node.kwargs)}
            for node in calls[id(layer)]
        ]
        parts.append(serialize(layer) | {"name": layer.name, "inbound_nodes": nodes})
    ends = {
        key: [history(t) for t in tree]
        if isinstance(tree, (list, tuple))
        else history(tree)
        if isinstance(tree, KerasTensor)
        else {k: history(t) for k, t in tree.items()}
        for key, tree in (("input_layers", graph.inputs), ("output_layers", graph.outputs))
    }
    if isinstance(graph.inputs, KerasTensor):
        ends["input_layers"] = [ends["input_layers"]]
    if isinstance(graph.outputs, KerasTensor):
        ends["output_layers"] = [ends["output_layers"]]
    return {"name": model.name, "trainable": model.trainable, "layers": parts, **ends}


def get_known(custom_objects: Mapping[str, Any] | None) -> dict[str, Any]:
    """Classes of the user's by name: those given, and those that are registered."""
    return {**_custom, **(custom_objects or {})}


def deserialize(config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Any:
    """The layer or model of a configuration, with new weights.

    Raises
    ------
    ValueError
        If its class is not known.
    """
    known = get_known(custom_objects)
    kind, options = config["class_name"], dict(config.get("config") or {})
    if kind == "Sequential":
        return made_sequential(options, known, known.get(kind, Sequential))
    if kind in ("Functional", "Model") and "layers" in options:
        return made_functional(options, known)
    if str(config.get("module", "")).startswith("keras.src.ops"):
        if kind not in _OPERATIONS:
            raise ValueError(f"the operation {kind} between layers is not known here")
        return Operation(_OPERATIONS[kind], name=options.get("name"))
    if kind == "Lambda":
        raise ValueError("the model holds a Lambda layer, whose function is code; it is not run")
    own: Any = getattr(layers, kind, None)
    cls: Any = known.get(config.get("registered_name") or kind) or known.get(kind, own)
    builtin, known_class = cls is own, isinstance(cls, type)
    if not known_class:
        raise ValueError(
            f"the layer {kind} is not known; give its class by custom_objects={{{kind!r}: {kind}}}"
        )
    for key in ("layer", "backward_layer", "cell", "cells", "forward_layer"):
        if isinstance(options.get(key), dict):
            options[key] = deserialize(options[key], known)
        elif isinstance(options.get(key), list):
            options[key] = [deserialize(c, known) for c in options[key]]
    if builtin:
        taken = set(own._arguments()) | {"batch_shape"}
        options = {
            k: v for k, v in options.items() if k in taken or v not in (None, False, [], {}, "auto")
        }
    layer = cls.from_config(options)
    return layer


def made_sequential(options: Mapping[str, Any], known: Any, cls: Any) -> Any:
    """The model of :func:`sequential_config`."""
    model = cls(name=options.get("name"))
    for part in options["layers"]:
        model.add(deserialize(part, known))
    shape = options.get("build_input_shape")
    if shape and model.input_shape is None:
        model.build(tuple(shape)[1:])
    if not options.get("trainable", True):
        model.trainable = False
    return model


def made_functional(options: Mapping[str, Any], known: Any) -> Model:
    """The model of :func:`functional_config`."""
    made = {part["name"]: deserialize(part, known) for part in options["layers"]}
    outputs: dict[tuple[str, int], Any] = {}
    waiting: list[tuple[str, int, Any]] = []
    for part in options["layers"]:
        name = part["name"]
        if isinstance(made[name], InputLayer):
            outputs[name, 0] = [made[name].output]
        else:
            nodes = part.get("inbound_nodes", [])
            waiting += [(name, i, node) for i, node in enumerate(nodes)]

    def found(history: Any) -> KerasTensor:
        name, node, index = history
        tensor: KerasTensor = outputs[name, node][index]
        return tensor

    def decoded(x: Any) -> Any:
        if isinstance(x, dict) and x.get("class_name") == "__keras_tensor__":
            return found(x["config"]["keras_history"])
        if isinstance(x, dict) and x.get("class_name") == "__slice__":
            return slice(*(x["config"][key] for key in ("start", "stop", "step")))
        if isinstance(x, dict) and x.get("class_name") == "__ellipsis__":
            return Ellipsis
        if isinstance(x, dict):
            return {k: decoded(v) for k, v in x.items()}
        return [decoded(v) for v in x] if isinstance(x, list) else x

    while waiting:
        later = []
        for name, i, node in waiting:
            try:
                args, kwargs = decoded(node["args"]), decoded(node["kwargs"])
            except KeyError:
                later.append((name, i, node))
                continue
            kwargs = {k: v for k, v in kwargs.items() if v is not None}
            if getattr(made[name], "function", None) is item and isinstance(args[1], list):
                args[1] = tuple(args[1])  # JSON has no tuples
            outputs[name, i] = leaves(made[name](*args, **kwargs))
        if len(later) == len(waiting):
            raise GraphError(f"the model is no graph: {later[0][0]} waits for itself")
        waiting = later

    def ends(key: str) -> Any:
        given = options[key]
        if isinstance(given, dict):
            return {k: found(h) for k, h in given.items()}
        if given and not isinstance(given[0], list):
            return found(given)
        tensors = [found(h) for h in given]
        return tensors[0] if len(tensors) == 1 else tensors

    model = Model(ends("input_layers"), ends("output_layers"), name=options.get("name"))
    if not options.get("trainable", True):
        model.trainable = False
    return model


def to_json(model: Any, **options: Any) -> str:
    """The model's configuration, see :func:`model_from_json`; options are those of json.dumps."""
    return json.dumps(serialize(model), **options)


def model_from_json(text: str, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """The model of a configuration, with new weights."""
    return deserialize(json.loads(text), custom_objects)


def clone_model(model: Any) -> Any:
    """A model of the same architecture, with new weights."""
    return deserialize(serialize(model))
