"""Models: graphs of layers, layers one after the other, or what a subclass says."""

import importlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from gputensor import nn
from gputensor.autograd import Tensor, no_grad
from gputensor.errors import GraphError
from gputensor.keras import losses, metrics, optimizers
from gputensor.keras.functional import Graph
from gputensor.keras.layers import Dense, InputLayer, Layer, Rescaling
from gputensor.keras.layers.base import Hidden, checked_shape
from gputensor.keras.masks import mask_of, set_mask
from gputensor.keras.symbolic import KerasTensor
from gputensor.shown import table
from gputensor.training import History, Trainer
from gputensor.training.measures import Door
from gputensor.tree import leaves
from gputensor.watched import lookup

__all__ = ["History", "Model", "Sequential"]

_HEAD = ("Layer (type)", "Output shape", "Parameters")


class Model(Trainer, Layer):
    """A model: ``Model(inputs, outputs)`` of what ``Input`` began, or a subclass with ``call``.

    Parameters
    ----------
    inputs, outputs : KerasTensor, or list or dict of such, optional
    name : str, optional

    Examples
    --------
    >>> from gputensor.keras.layers import Dense
    >>> x = keras.Input((784,))
    >>> y = Dense(10, activation="softmax")(Dense(512, activation="relu")(x))
    >>> model = keras.Model(x, y)
    >>> model.count_params()
    407050
    """

    _door = Door(
        optimizers.get,
        losses.get,
        metrics.get,
        metrics.function_of,
        metrics.gathering,
        metrics.accuracy,
        mask_of,
        set_mask,
    )
    _graph: Hidden | None = None

    def __init__(self, inputs: Any = None, outputs: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._warned: set[str] = set()
        if inputs is not None or outputs is not None:
            if inputs is None or outputs is None:
                raise TypeError("Model: give both inputs and outputs")
            self._set_graph(Graph(inputs, outputs))

    def _set_graph(self, graph: Graph) -> None:
        self._graph = Hidden(graph)
        self.built = True
        self.input_shape = _sample_shapes(graph.inputs)
        self.output_shape = _sample_shapes(graph.outputs)

    @property
    def layers(self) -> list[Any]:
        """The layers directly inside."""
        if self._graph is not None:
            return list(self._graph.value.layers)
        return [child for _, child in self.children() if isinstance(child, Layer)]

    def children(self) -> Iterator[tuple[str, nn.Module]]:
        """Modules directly inside, by name."""
        if self._graph is None:
            return super().children()
        own = {id(layer) for layer in self._graph.value.layers}
        others = ((n, m) for n, m in super().children() if id(m) not in own)
        named: Iterator[tuple[str, nn.Module]] = self._graph.value.named()
        return itertools.chain(named, others)

    def __call__(self, *args: Any, training: bool | None = None, **kwargs: Any) -> Any:
        """Outputs for tensors, arrays, or tensors without values.

        Of NumPy arrays, while the model is not training, they are values without a gradient, so
        that ``model(x).numpy()`` works.
        """
        given = leaves(args)
        arrays = bool(given) and all(isinstance(x, np.ndarray) for x in given)
        if arrays and not training and not self.training:
            with no_grad():
                return super().__call__(*args, training=training, **kwargs)
        return super().__call__(*args, training=training, **kwargs)

    def call(self, x: Any) -> Any:
        """Outputs for inputs."""
        if self._graph is None:
            raise NotImplementedError(f"{type(self).__name__} defines no call(self, x)")
        return self._graph.value.run(x)

    @property
    def inputs(self) -> list[Any]:
        """The symbolic tensors that the model begins with."""
        return leaves(self._known_graph().inputs)

    @property
    def outputs(self) -> list[Any]:
        """The symbolic tensors that the model ends with."""
        return leaves(self._known_graph().outputs)

    @property
    def input(self) -> Any:
        """What the model begins with, without values."""
        return self._known_graph().inputs

    @property
    def output(self) -> Any:
        """What the model ends with, without values."""
        return self._known_graph().outputs

    def _output_names(self) -> list[str]:
        shape = self.output_shape
        if shape is not None and (not isinstance(shape, list) or len(shape) == 1):
            return [""]
        if self._graph is None:
            return self._names_given()
        nodes = [t.node for t in leaves(self._graph.value.outputs)]
        names = [node.layer.name for node in nodes]
        outputs = self._graph.value.outputs
        return list(outputs) if isinstance(outputs, dict) else names

    def _names_given(self) -> list[str]:
        """Names of outputs by what compile was given, where the model does not know them."""
        loss = self._choice[0]
        if isinstance(loss, dict):
            return list(loss) if len(loss) > 1 else [""]
        several = isinstance(loss, (list, tuple)) and len(loss) > 1
        return [f"output_{i + 1}" for i in range(len(loss))] if several else [""]

    def _known_graph(self) -> Graph:
        if self._graph is None:
            raise AttributeError(
                f"{self.name} is no graph of keras.Input and layers: it has no inputs and outputs"
            )
        graph: Graph = self._graph.value
        return graph

    def get_config(self) -> dict[str, Any]:
        """Layers and how they are called; what the constructor was given, of a class of one's own.

        It is for :meth:`from_config`, which makes new layers.
        """
        if self._graph is None or type(self) is not Model:
            return super().get_config()
        found: dict[str, Any] = _door("configuration").functional_config(self)
        return found

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        """The model of :meth:`get_config`, with new weights."""
        if "input_layers" not in config:
            return super().from_config(config)
        made = _door("configuration")
        return made.made_functional(config, made.get_known(custom_objects))

    def get_layer(self, name: str | None = None, index: int | None = None) -> Any:
        """The layer of a name or a number.

        Raises
        ------
        ValueError
            If there is none.
        """
        if index is not None:
            if not -len(self.layers) <= index < len(self.layers):
                raise ValueError(
                    f"get_layer: index is {index}; there are {len(self.layers)} layers"
                )
            return self.layers[index]
        for layer in self.layers:
            if layer.name == name:
                return layer
        names = ", ".join(layer.name for layer in self.layers)
        raise ValueError(f"get_layer: no layer is named {name!r}; there are {names}")

    def to_json(self, **options: Any) -> str:
        """The architecture as JSON, see ``gputensor.keras.models.model_from_json``."""
        text: str = _door("configuration").to_json(self, **options)
        return text

    def save(self, filepath: Any, overwrite: bool = True, **options: Any) -> None:
        """Write the model to a file, see :func:`gputensor.keras.saving.save_model`."""
        _door("saving").save_model(self, filepath, overwrite, **options)

    def save_weights(self, filepath: Any, overwrite: bool = True) -> None:
        """Write the weights, see :func:`gputensor.keras.saving.save_weights`."""
        _door("saving").save_weights(self, filepath, overwrite)

    def load_weights(self, filepath: Any, **options: Any) -> None:
        """Read weights, see :func:`gputensor.keras.saving.load_weights`."""
        _door("saving").load_weights(self, filepath, **options)

    def summary(self, line_length: Any = None, print_fn: Callable[[str], object] = print) -> None:
        """Print each layer with its output's shape and its number of parameters."""
        if callable(line_length):
            print_fn = line_length
        for line in repr(self).splitlines():
            print_fn(line)

    def _summary_rows(self) -> list[tuple[str, str, str]]:
        """Name, shape of the output and number of parameters of each layer."""
        rows = []
        for layer in self.layers:
            shape = layer.output_shape
            text = "?" if shape is None else str((None, *shape))
            name = f"{layer.name} ({type(layer).__name__})"
            rows.append((name, text, f"{layer.count_params() if layer.built else 0:,}"))
        return rows

    def _totals(self) -> list[str]:
        trained = sum(w.size for w in self.trainable_weights)
        return [
            f"Total parameters: {self.count_params():,}",
            f"Trainable parameters: {trained:,}",
            f"Non-trainable parameters: {self.count_params() - trained:,}",
        ]

    def __repr__(self) -> str:
        """What :meth:`summary` prints."""
        rows = [_HEAD, *self._summary_rows()]
        widths = [max(len(row[i]) for row in rows) for i in range(3)]
        lines = [
            f"{name:<{widths[0]}}  {text:<{widths[1]}}  {size:>{widths[2]}}"
            for name, text, size in rows
        ]
        lines.insert(1, "-" * (sum(widths) + 4))
        return "\n".join([f'Model: "{self.name}"', *lines, *self._totals()])

    def _repr_html_(self) -> str:
        """The summary as a table, in a notebook."""
        layers = table(_HEAD, self._summary_rows(), f'Model: "{self.name}"')
        return layers + "<br>".join(self._totals())

    def _outputs(self, x: Tensor, *, logits: bool) -> Tensor:
        """Result for a batch of :meth:`_batches`; without the last softmax with `logits`."""
        if not logits or self._graph is None:
            found: Tensor = self(x)
            return found
        last = self.layers[-1]
        found = self._graph.value.run(x, logits_of=last)
        return found

    def _last_layers(self) -> list[Any]:
        """The layer that gives each output, where that is known."""
        if self._graph is None:
            return []
        nodes = [getattr(out, "node", None) for out in leaves(self._graph.value.outputs)]
        return [getattr(node, "layer", None) for node in nodes]

    def _ends_in_softmax(self) -> bool:
        """Whether the result is that of one last layer, Dense with softmax."""
        if self._graph is None:
            return False
        graph: Graph = self._graph.value
        last = getattr(getattr(graph.outputs, "node", None), "layer", None)
        once = sum(node.layer is last for node in graph.nodes) == 1
        return once and last is self.layers[-1] and _plain_softmax(last)


def _sample_shapes(tree: Any) -> Any:
    """Shapes of symbolic tensors without the samples: one, or a list of them."""
    found = [t.shape[1:] for t in leaves(tree)]
    return found[0] if isinstance(tree, KerasTensor) else found


def _plain_softmax(layer: Any) -> bool:
    """Whether a layer is a Dense layer with softmax, and no subclass that does more."""
    plain = isinstance(layer, Dense) and layer.activation == "softmax"
    return plain and layer.activity_regularizer is None and _as_made(layer, Dense)


def _as_made(layer: Any, kind: type) -> bool:
    """Whether a layer computes as its class of the library's, no function of which is replaced."""
    for name, function in _OWN[kind].items():
        getattr(layer, name, None)  # which a recording notes
        if lookup(layer, name) is not function:
            return False
    return True


class Sequential(Model):
    """Layers one after the other, in Keras's form.

    Parameters
    ----------
    layers : sequence of Layer, optional
        The first says its ``input_shape``, or it is read off the data when training begins.

    Examples
    --------
    >>> from gputensor.keras.layers import Dense
    >>> model = keras.Sequential([Dense(8, activation="relu", input_shape=(4,)),
    ...                           Dense(3, activation="softmax")])
    >>> model.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])
    >>> x, y = np.random.rand(32, 4), np.eye(3)[np.arange(32) % 3]
    >>> history = model.fit(x, y, epochs=2, batch_size=16, verbose=0)
    >>> model.predict(x).shape
    (32, 3)
    """

    def __init__(
        self,
        layers: Sequence[Layer] | None = None,
        trainable: bool = True,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, trainable=trainable, **kwargs)
        self._stack: list[Any] = []
        if isinstance(layers, Layer):
            raise TypeError("Sequential: layers is one layer; write Sequential([...]) with a list")
        for layer in layers or ():
            self.add(layer)

    @property
    def layers(self) -> list[Any]:
        """The layers, from first to last."""
        return [layer for layer in self._stack if not isinstance(layer, InputLayer)]

    def children(self) -> Iterator[tuple[str, nn.Module]]:
        """The layers, by number."""
        return ((str(i), layer) for i, layer in enumerate(self.layers))

    def get_config(self) -> dict[str, Any]:
        """The layers; what the constructor was given, of a class with one of its own."""
        if type(self).__init__ is not Sequential.__init__:
            return super().get_config()
        found: dict[str, Any] = _door("configuration").sequential_config(self)
        return found

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        """The model of :meth:`get_config`, with new weights."""
        if cls.__init__ is not Sequential.__init__:
            return super().from_config(config)
        made = _door("configuration")
        return made.made_sequential(config, made.get_known(custom_objects), cls)

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, index: int) -> Any:
        return self.layers[index]

    def add(self, layer: Any) -> None:
        """Put a layer at the end.

        Raises
        ------
        TypeError
            If it is none.
        """
        if isinstance(layer, KerasTensor) and layer.node is not None:
            layer = layer.node.layer
        if not isinstance(layer, Layer):
            made = isinstance(layer, type)
            got = f"the class {layer.__name__}; write {layer.__name__}(...)" if made else ""
            raise TypeError(
                "Sequential: a layer must be of gputensor.keras.layers, got "
                + (got or type(layer).__name__)
            )
        self._stack.append(layer)
        self._graph = None
        if len(self._stack) == 1 and layer.input_shape is not None:
            self._stack_up(layer.input_shape)
        elif self.input_shape is not None:
            before = self._stack[-2].output_shape
            self.output_shape = layer.build_for(before)

    def pop(self) -> Any:
        """Take the last layer away."""
        layer = self._stack.pop()
        self._graph = None
        self.output_shape = self._stack[-1].output_shape if self._stack else None
        return layer

    def build(self, input_shape: Any = None) -> None:
        """Make all parameters that there are not yet, for samples of this shape.

        Parameters
        ----------
        input_shape : sequence of int
            With None for the samples before it, or without.
        """
        shape = checked_shape("Sequential", input_shape)
        assert shape is not None
        self._stack_up(shape[1:] if len(shape) > 1 and shape[0] is None else shape)

    def _stack_up(self, shape: Any) -> None:
        """Build the layers for samples of this shape."""
        self.input_shape = self.output_shape = shape
        for layer in self._stack:
            self.output_shape = shape = layer.build_for(shape)
        self.built = True

    def _build(self, input_shape: Any) -> None:
        self.build(input_shape)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Shape of the last layer's result."""
        for layer in self._stack:
            input_shape = layer.compute_output_shape(input_shape)
        return input_shape

    def call(self, x: Any) -> Any:
        """Result of the last layer."""
        for layer in self._stack:
            x = layer(x)
        return x

    def _inputs(self, x: Any) -> Any:
        if not self._stack:
            raise GraphError("the model has no layers; add one with model.add(layer)")
        return super()._inputs(x)

    @property
    def _scaling(self) -> tuple[float, float]:
        first = self.layers[0]
        plain = type(first) is Rescaling and _as_made(first, Rescaling)
        plain = plain and _as_made(self, Sequential)
        return (first.scale, first.offset) if plain else (1.0, 0.0)

    def _outputs(self, x: Tensor, *, logits: bool) -> Tensor:
        layers = self.layers
        if self._scaling != (1.0, 0.0):
            layers = layers[1:]
        if not _as_made(self, Sequential):
            found: Tensor = self(x)
            return found
        if not layers:
            return x
        for layer in layers[:-1]:
            x = layer(x)
        last = layers[-1]
        return last.logits(x) if logits else last(x)  # type: ignore[no-any-return]

    def _last_layers(self) -> list[Any]:
        return self.layers[-1:]

    def _ends_in_softmax(self) -> bool:
        return _as_made(self, Sequential) and _plain_softmax(self.layers[-1])

    def _known_graph(self) -> Graph:
        if self._graph is None:
            if self.input_shape is None:
                raise AttributeError(
                    f"{self.name} is not built yet: its input's shape is not known"
                )
            first = InputLayer(self.input_shape).output
            x = first
            for layer in self.layers:
                x = layer(x)
            self._graph = Hidden(Graph(first, x))
        graph: Graph = self._graph.value
        return graph


_DOORS = {
    "clone_model": "configuration",
    "load_model": "saving",
    "model_from_json": "configuration",
    "save_model": "saving",
}


def _door(name: str) -> Any:
    """A module that is built on this one."""
    return importlib.import_module(f"gputensor.keras.{name}")


def __getattr__(name: str) -> Any:
    """What Keras has in this place and modules above this one define."""
    if name not in _DOORS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)
    return getattr(_door(_DOORS[name]), name)


# Functions of the classes as they are, which a user may put others in the place of.
_OWN: dict[type, dict[str, Any]] = {
    kind: {name: getattr(kind, name, None) for name in ("__call__", "forward", "call", "logits")}
    for kind in (Dense, Rescaling, Sequential)
}
