"""The base class of Keras's layers: built when the shape of the input is known."""

import functools
import inspect
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Self

import numpy as np

from gputensor import backend, config, nn
from gputensor.autograd import Tensor, changed, leaf_of, no_grad
from gputensor.errors import DTypeError, GraphError, ShapeError
from gputensor.keras import activations, constraints, initializers, regularizers
from gputensor.keras.masks import mask_of, set_mask
from gputensor.keras.naming import auto_name
from gputensor.keras.symbolic import KerasTensor, Node, output_of, symbolic
from gputensor.ops.creation import asarray, parameter
from gputensor.ops.data_type import astype, checked_dtype
from gputensor.shown import call_text
from gputensor.tree import leaves, map_tree

__all__ = ["Layer", "Shape"]

Shape = tuple[int, ...]
_COMMON = ("name", "trainable", "dtype", "kwargs", "input_shape", "input_dim", "batch_input_shape")
_SHAPES = ("batch_shape", "input_length")  # of older scripts, and of InputLayer


def checked_shape(name: str, given: Any) -> Shape | None:
    """A shape without the axis of samples, given as an int or a sequence of ints."""
    if given is None:
        return None
    shape = (given,) if hasattr(given, "__index__") else tuple(given)
    sizes = tuple(None if n is None else int(n) if hasattr(n, "__index__") else n for n in shape)
    if not all(n is None or (isinstance(n, int) and n > 0) for n in sizes):
        raise ShapeError(
            f"{name}: input_shape is {shape}; it must hold positive ints, no batch axis"
        )
    return sizes  # type: ignore[return-value]


def positive(layer: str, **sizes: Any) -> Any:
    """An int above 0 of whatever library."""
    ((name, n),) = sizes.items()
    if isinstance(n, (bool, np.bool_)) or not hasattr(n, "__index__") or int(n) < 1:
        raise ValueError(f"{layer}: {name} is {n!r}; it must be a positive int")
    return int(n)


class Layer(nn.Module):
    """Base class of layers.

    A subclass defines ``call(self, x)``, and ``build(self, input_shape)`` if it has weights; the
    shape has None for the samples. ``call`` may take ``training``.

    Parameters
    ----------
    name : str, optional
    trainable : bool
    dtype : dtype, optional
        Of the weights, and of what comes in; the default dtype otherwise.
    activity_regularizer : str or Regularizer, optional
        Penalty on the result; its mean over the samples is added to the loss.
    autocast : bool
        Whether arrays of float64, and with `dtype` all floats, come in as the layer's dtype.
    input_shape : int or tuple of int, optional
        Of a sample, where this is the first layer; `input_dim` is its length if it is a vector.

    Attributes
    ----------
    input_shape, output_shape : tuple of int or None
        Without the batch axis; None until the layer is built.
    built : bool
    training : bool
        Whether it acts as in training; by default not.

    Examples
    --------
    >>> layer = keras.layers.Dense(3, name="first")
    >>> layer.name, layer.built
    ('first', False)
    """

    training = False
    built = False
    input_shape: Any = None
    output_shape: Any = None
    dtype: Any = None
    autocast = True
    activity_regularizer: Any = None
    _name: str | None = None
    _trainable = True
    _given: "Hidden"
    _nodes: "Hidden | None" = None
    _penalties: "Hidden | None" = None
    _added: "Hidden | None" = None
    _limits: "Hidden | None" = None
    _set_penalties: "Hidden | None" = None
    _constrained: ClassVar[dict[str, str]] = {}  # weights that may be, by the setting's beginning

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Keep what the constructor is given: it is the layer's configuration."""
        layer = super().__new__(cls)
        names = cls._positional()
        given = dict(zip(names, args, strict=False)) | kwargs
        object.__setattr__(layer, "_given", Hidden(given))
        return layer

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Let the settings of weights be attributes."""
        super().__init_subclass__(**kwargs)
        for begin in vars(cls).get("_constrained", ()):
            setattr(cls, f"{begin}_regularizer", _Penalty(f"{begin}_regularizer", begin))
            setattr(cls, f"{begin}_initializer", _Given(f"{begin}_initializer", initializers))

    def __init__(
        self,
        input_shape: Any = None,
        *,
        name: str | None = None,
        trainable: bool = True,
        dtype: Any = None,
        input_dim: Any = None,
        batch_input_shape: Any = None,
        activity_regularizer: Any = None,
        autocast: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        kind = type(self).__name__
        if not autocast:
            self.autocast = False
        limits = {
            at: kwargs.pop(f"{key}_constraint", None) for key, at in self._constrained.items()
        }
        limits = {at: constraints.get(limit) for at, limit in limits.items() if limit is not None}
        if limits:
            self._limits = Hidden((limits, []))
        refuse(kind, kwargs)
        if unknown := kwargs.keys() - set(_SHAPES):
            raise TypeError(
                f"{kind}: got an unexpected keyword argument {sorted(unknown)[0]!r}; its arguments "
                f"are {', '.join(self._arguments())}"
            )
        self.activity_regularizer = regularizers.get(activity_regularizer)
        if input_dim is not None:
            length = kwargs.get("input_length")
            input_shape = (input_dim,) if length is None else (length, input_dim)
        whole = batch_input_shape or kwargs.get("batch_shape")
        if whole is not None:
            input_shape = tuple(whole)[1:]
        self.input_shape = checked_shape(kind, input_shape)
        self.output_shape = None
        self._name = None if name is None else str(name)
        self.dtype = _dtype_of(dtype)
        if not trainable:
            self._trainable = False

    def __repr__(self) -> str:
        given = {
            k: v for k, v in self._given.value.items() if isinstance(v, (int, float, str, tuple))
        }
        return call_text(type(self).__name__, given | {"name": self.name})

    @classmethod
    def _positional(cls) -> list[str]:
        """Names of what the constructor takes by position."""
        found = inspect.signature(cls.__init__).parameters
        return [k for k, p in found.items() if k != "self" and p.kind is p.POSITIONAL_OR_KEYWORD]

    @classmethod
    def _defaults(cls) -> dict[str, Any]:
        """What the constructor takes, with defaults."""
        found: dict[str, Any] = {}
        for base in cls.__mro__:
            if "__init__" in vars(base) and issubclass(base, Layer):
                for key, p in inspect.signature(base.__init__).parameters.items():
                    if key != "self" and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL):
                        found.setdefault(key, p.default)
                if not any(
                    p.kind is p.VAR_KEYWORD
                    for p in inspect.signature(base.__init__).parameters.values()
                ):
                    break
        return found

    @classmethod
    def _arguments(cls) -> list[str]:
        return list(cls._defaults())

    @property
    def name(self) -> str:
        """Name, unique among layers unless it was chosen."""
        if self._name is None:
            object.__setattr__(self, "_name", auto_name(type(self).__name__))
        return self._name  # type: ignore[return-value]

    @name.setter
    def name(self, value: str) -> None:
        self._name = value

    # Building

    def build(self, input_shape: Any) -> Any:
        """Make the weights for an input of this shape, whose first axis is None."""
        self.built = True

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Shape of the result for an input of this shape, both with None for the samples."""
        shapes = _shapes(input_shape)
        tensors = map_tree(KerasTensor, shapes) if shapes is not input_shape else None
        given = KerasTensor(input_shape) if tensors is None else tensors
        return map_tree(lambda t: _Shape(t.shape), output_of(self, (given,), {}))

    def build_for(self, shape: Any) -> Any:
        """Build for samples of this shape, once; gives the shape of the result's samples."""
        if not self.built:
            self._build((None, *shape))
        self.input_shape = tuple(shape)
        self.output_shape = tuple(self.compute_output_shape((None, *shape)))[1:]
        return self.output_shape

    def _build(self, input_shape: Any) -> None:
        self.build(input_shape)
        self.built = True
        if self._limits is not None:
            named, pairs = self._limits.value
            pairs += [(limit, getattr(self, at)) for at, limit in named.items()]
            named.clear()
        if not self._trainable:
            self.trainable = False

    def add_weight(
        self,
        shape: Any = (),
        initializer: Any = None,
        dtype: Any = None,
        trainable: bool = True,
        regularizer: Any = None,
        constraint: Any = None,
        name: str | None = None,
    ) -> Tensor:
        """Make a weight; it is the layer's once it is set as an attribute.

        Parameters
        ----------
        shape : tuple of int
        initializer : str or callable
            ``glorot_uniform`` by default.
        dtype : dtype, optional
        trainable : bool
            Without it the weight is a state that gets no gradient.
        regularizer, constraint, name : optional

        Returns
        -------
        Tensor
        """
        if isinstance(shape, str):  # the name came first
            shape, initializer = initializer or (), None
        sizes = tuple(int(n) for n in (shape if isinstance(shape, (tuple, list)) else (shape,)))
        kind = initializers.get("glorot_uniform" if initializer is None else initializer)
        drawn = kind(sizes, dtype=_dtype_of(dtype) or self.dtype or config.default_dtype())
        values = drawn.array if isinstance(drawn, Tensor) else asarray(drawn).array
        weight = parameter(values) if trainable else asarray(values)
        if regularizer is not None:
            if self._penalties is None:
                self._penalties = Hidden([])
            self._penalties.value.append((regularizers.get(regularizer), weight))
        if constraint is not None:
            if self._limits is None:
                self._limits = Hidden(({}, []))
            self._limits.value[1].append((constraints.get(constraint), weight))
        return weight

    def constrain(self) -> None:
        """Bring weights here and inside to their constraints, as ``fit`` does after each step."""
        for limit, weight in () if self._limits is None else self._limits.value[1]:
            if weight is not None and weight.requires_grad:
                with no_grad():
                    weight[...] = limit(weight.detach())
        for layer in self._inner():
            layer.constrain()

    @property
    def losses(self) -> list[Tensor]:
        """Penalties on weights, here and inside."""
        pairs = () if self._penalties is None else self._penalties.value
        if self._set_penalties is not None:
            later = {
                id(weight): (penalty, weight)
                for begin, penalty in self._set_penalties.value.items()
                if (weight := getattr(self, self._constrained[begin], None)) is not None
            }
            pairs = [pair for pair in pairs if id(pair[1]) not in later]
            pairs += [pair for pair in later.values() if pair[0] is not None]
        found: list[Tensor] = [function(w) for function, w in pairs]
        found += [] if self._added is None else self._added.value
        return found + [loss for layer in self._inner() for loss in layer.losses]

    def add_loss(self, loss: Any) -> None:
        """Add to the loss of the model, from within ``call``; it holds until the next call.

        Parameters
        ----------
        loss : Tensor
            Of shape (), or summed up.
        """
        if self._added is None:
            self._added = Hidden([])
        self._added.value.append(loss if loss.ndim == 0 else loss.sum())

    def may_penalize(self) -> bool:
        """Whether there are :attr:`losses`, or may be after a call."""
        known = self._penalties is not None or self._set_penalties is not None
        known = known or self._added is not None
        known = known or self.activity_regularizer is not None
        code = getattr(type(self).call, "__code__", None)
        return known or (code is not None and "add_loss" in code.co_names)

    # Calling

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the layer's result."""
        raise NotImplementedError(f"{type(self).__name__} defines no call(self, x)")

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the layer's result: :meth:`call`."""
        return self.call(*args, **kwargs)

    def __call__(self, *args: Any, training: bool | None = None, **kwargs: Any) -> Any:
        """Result for tensors, arrays, or tensors without values of ``keras.Input``."""
        if not args and kwargs:
            first = _first_of(type(self))
            args = (kwargs.pop(first),) if first in kwargs else ()
        if symbolic(args, kwargs):
            if not self.built:
                self._build(_shapes_of(args))
            if training is not None:
                kwargs["training"] = training
            out = output_of(self, args, kwargs)
            if self._nodes is None:
                self._nodes = Hidden([])
            self._nodes.value.append(leaves(out)[0].node)
            return out
        taken = _as_tensor if self.autocast else _of_own_dtype
        if self.dtype is not None and self.autocast:
            taken = functools.partial(_cast, self.dtype)
        args = map_tree(taken, args)
        if kwargs:
            kwargs = map_tree(taken, kwargs)
        if not self.built:
            self._build(_shapes_of(args))
        if training is not None and bool(training) != self.training:
            with self.mode(bool(training)):
                return self._called(args, kwargs)
        return self._called(args, kwargs)

    def _called(self, args: Any, kwargs: Any) -> Any:
        if self._added is not None:
            self._added.value = []
        taken = _taken_by(type(self))
        if "training" in taken:
            kwargs["training"] = self.training
        mask = next((mask_of(x) for x in leaves(args) if isinstance(x, Tensor)), None)
        if "mask" in taken and kwargs.get("mask") is None:
            kwargs["mask"] = mask
        out = self.forward(*args, **kwargs)
        if self.activity_regularizer is not None:
            for part in leaves(out):
                self.add_loss(self.activity_regularizer(part) / (part.shape[0] if part.ndim else 1))
        if mask is not None or type(self).compute_mask is not Layer.compute_mask:
            set_mask(out, self.compute_mask(args[0], mask))
        return out

    def compute_mask(self, x: Any, mask: Any = None) -> Any:
        """Mask of the result for the mask of the input."""
        return mask

    @property
    def makes_mask(self) -> bool:
        """Whether results may have a mask where the input has none; those of users may."""
        return type(self).compute_mask.__module__.partition(".")[0] != "gputensor"

    def _inner(self) -> "Iterator[Layer]":
        return (child for _, child in self.children() if isinstance(child, Layer))

    # What the layer was called with

    @property
    def _calls(self) -> list[Node]:
        found: list[Node] = [] if self._nodes is None else self._nodes.value
        if not found:
            raise AttributeError(
                f"layer {self.name} was not called with keras.Input yet, so that it has neither "
                "input nor output"
            )
        return found

    @property
    def input(self) -> Any:
        """What the layer was first called with."""
        args = self._calls[0].args
        return args[0] if len(args) == 1 else args

    @property
    def output(self) -> Any:
        """What its first call gave."""
        return self._calls[0].outputs

    # Weights

    def _own(self) -> list[Tensor]:
        tensors = ((n, v) for n, v in self._members() if isinstance(v, Tensor))
        return [v for n, v in tensors if not n.startswith("_") or leaf_of(v) is not None]

    @property
    def weights(self) -> list[Tensor]:
        """All weights, those of layers inside behind the layer's own."""
        own = self._own()
        own = [w for w in own if leaf_of(w)] + [w for w in own if not leaf_of(w)]
        found = {id(w): w for w in own}
        for _, child in self.children():
            inner = child.weights if isinstance(child, Layer) else child.parameters()
            found |= {id(w): w for w in inner}
        return list(found.values())

    variables = weights

    @property
    def trainable_weights(self) -> list[Tensor]:
        """Weights that training moves."""
        return [w for w in self.weights if w.requires_grad]

    trainable_variables = trainable_weights

    @property
    def non_trainable_weights(self) -> list[Tensor]:
        """Weights that training does not move: frozen ones and states."""
        return [w for w in self.weights if not w.requires_grad]

    non_trainable_variables = non_trainable_weights

    @property
    def trainable(self) -> bool:
        """Whether training moves the weights; it may be set at any time."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = bool(value)
        for w in self._own():
            if leaf_of(w) is not None:
                w.requires_grad = bool(value)
        for _, child in self.children():
            if isinstance(child, Layer):
                child.trainable = value
            else:
                for p in child.parameters():
                    p.requires_grad = bool(value)

    def get_weights(self) -> "list[np.ndarray[Any, Any]]":
        """Copies of all weights on the host."""
        return [np.array(backend.to_host(w.array)) for w in self.weights]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Copy values into the weights, which stay where they are.

        Raises
        ------
        ValueError
            If their number or a shape differs. Nothing is changed then.
        """
        mine = self.weights
        if len(weights) != len(mine):
            raise ValueError(
                f"set_weights: {self.name} has {len(mine)} weights, {len(weights)} were given"
                + ("" if self.built else "; it is not built yet")
            )
        values = [w.array if isinstance(w, Tensor) else np.asarray(w) for w in weights]
        for i, (w, value) in enumerate(zip(mine, values, strict=True)):
            if w.shape != value.shape:
                raise ShapeError(
                    f"set_weights: weight {i} of {self.name} has shape {w.shape}, given was "
                    f"{value.shape}"
                )
        for w, value in zip(mine, values, strict=True):
            with backend.on_device_of(w.array):
                w.array[...] = backend.to_device(value, w.device)
            changed(w.array, "set_weights")

    def count_params(self) -> int:
        """Number of elements of all weights."""
        return sum(w.size for w in self.weights)

    # Configuration

    def get_config(self) -> dict[str, Any]:
        """What the constructor takes to make a layer like this one."""
        mine = {*self._positional()}
        left = {*_COMMON, *_SHAPES, "autocast", "sparse"} - (mine - {"input_shape", "input_length"})
        # What a base class must be given, and this one gives it.
        left |= {k for k, v in self._defaults().items() if v is inspect.Parameter.empty} - mine
        given = {k: v for k, v in self._given.value.items() if k not in left}
        for key, default in self._defaults().items():  # what was set later
            found = getattr(self, key, given.get(key, default))
            if key not in left and _differs(key, given.get(key, default), found):
                given[key] = found
        dtype = self.dtype
        if dtype is None and config.default_dtype() != np.float32:
            dtype = config.default_dtype()  # which may be another one where the layer is read
        if dtype is not None and "dtype" in self._defaults():
            given["dtype"] = dtype.name
        return {"name": self.name, "trainable": self.trainable, **given}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """The layer of :meth:`get_config`; layers in it are made anew."""
        return cls(**{k: _anew(v) for k, v in config.items()})


class _Given:
    """A setting of the constructor as an attribute that cannot be set."""

    def __init__(self, name: str, kind: Any) -> None:
        self.name = name
        self.kind = kind

    def __get__(self, layer: Any, _: Any = None) -> Any:
        if layer is None:
            return self
        found = layer._given.value.get(self.name, layer._defaults().get(self.name))
        return self.kind.get(None if found is inspect.Parameter.empty else found)

    def __set__(self, layer: Any, value: Any) -> None:
        raise AttributeError(
            f"{type(layer).__name__}: {self.name} is given to the constructor; for other numbers "
            "in the weights use set_weights"
        )


class _Penalty(_Given):
    """The regularizer of a weight; another one counts from the next ``fit`` on."""

    def __init__(self, name: str, begin: str) -> None:
        super().__init__(name, regularizers)
        self.begin = begin

    def __get__(self, layer: Any, kind: Any = None) -> Any:
        later = None if layer is None else layer._set_penalties
        if later is not None and self.begin in later.value:
            return later.value[self.begin]
        return super().__get__(layer, kind)

    def __set__(self, layer: Any, value: Any) -> None:
        before = {} if layer._set_penalties is None else layer._set_penalties.value
        layer._set_penalties = Hidden(before | {self.begin: regularizers.get(value)})


def _anew(value: Any) -> Any:
    """A part of a configuration, with new layers for those in it."""
    if isinstance(value, Layer):
        return type(value).from_config(value.get_config())
    return [_anew(v) for v in value] if isinstance(value, list) else value


def _differs(key: str, given: Any, found: Any) -> bool:
    """Whether an attribute is another setting than what the constructor was given.

    Only numbers, and what has a name in configurations, are attributes as they were given.
    """
    if type(found) in (bool, int, float):
        return bool(np.ndim(given) > 0 or found != given)
    kind = _KINDS.get(key.rpartition("_")[2])
    if kind is None or not (found is None or callable(found) or isinstance(found, str)):
        return False
    before, now = kind.get(given), kind.get(found)
    if before is now or before is None or now is None:
        return before is not now
    return bool(kind.serialize(before) != kind.serialize(now))


_KINDS: dict[str, Any] = {
    "activation": activations,
    "constraint": constraints,
    "initializer": initializers,
    "regularizer": regularizers,
}


class Hidden:
    """Something of a layer in which modules are not looked for."""

    def __init__(self, value: Any) -> None:
        self.value = value


class _Shape(tuple[Any, ...]):
    """A shape that is a leaf of a tree."""


def _shapes(input_shape: Any) -> Any:
    """Several shapes, or the very one that was given."""
    if isinstance(input_shape, (list, tuple)) and any(
        isinstance(s, (list, tuple)) for s in input_shape
    ):
        return [_Shape(s) for s in input_shape]
    return input_shape


def _shapes_of(args: Any) -> Any:
    """Shapes of the first argument, with None for the samples."""
    if not args:
        return None
    found = [(None, *x.shape[1:]) if hasattr(x, "shape") else None for x in leaves(args[:1])]
    return found if isinstance(args[0], (list, tuple)) else found[0]


def _as_tensor(x: Any) -> Any:
    """Arrays as tensors, of the default dtype where they are of longer numbers."""
    if isinstance(x, Tensor) or not (isinstance(x, np.ndarray) or backend.is_array(x)):
        return x
    if x.dtype == np.float64:
        return asarray(x, dtype=config.default_dtype())
    return asarray(x)


def _cast(dtype: Any, x: Any) -> Any:
    """Arrays as tensors, and floats of another dtype in this one."""
    x = _of_own_dtype(x)
    return astype(x, dtype) if isinstance(x, Tensor) and x.dtype.kind in "fV" else x


def _of_own_dtype(x: Any) -> Any:
    """Arrays as tensors of their own dtype."""
    return asarray(x) if isinstance(x, np.ndarray) or backend.is_array(x) else x


# Settings of Keras that are not there, and what to do instead.
_ABSENT = {
    "lora_rank": "freeze the layer and add one of two narrow Dense layers beside it",
    "lora_alpha": "it scales what lora_rank makes, which is not there",
    "quantization_config": "use dtype='float16' for weights of half the size",
    "renorm": "use LayerNormalization or GroupNormalization for small batches",
    "renorm_clipping": "renorm is not there",
    "renorm_momentum": "renorm is not there",
    "virtual_batch_size": "use a smaller batch_size with gradient_accumulation_steps",
    "rms_scaling": "use RMSNormalization",
    "weights": "build the layer, and call its set_weights",
    "sparse": "tensors are dense; give dense arrays",
    "ragged": "pad samples to one length, with keras.utils.pad_sequences",
    "optional": "give each input",
    "tensor": "call the layer or the model with the tensor",
    "input_tensor": "call the layer or the model with the tensor",
}


def refuse(kind: str, settings: dict[str, Any]) -> None:
    """Take those settings out that are not there; an error where one would have an effect."""
    for key in [key for key in settings if key in _ABSENT]:
        value = settings.pop(key)
        if value is not None and value is not False:
            raise TypeError(
                f"{kind}: {key} is {value!r}; that is not supported here, leave it away: "
                f"{_ABSENT[key]}"
            )


def _dtype_of(given: Any) -> Any:
    if isinstance(given, dict):
        given = given.get("config", {}).get("name")
    if given is None or (given == "float32" and config.default_dtype() == np.float32):
        return None
    try:
        return checked_dtype("dtype", given)
    except DTypeError:
        raise GraphError(f"dtype {given!r} is not known") from None


@functools.cache
def _first_of(kind: type) -> str:
    """Name of what a class's own ``call`` takes first."""
    parameters = inspect.signature(kind.call).parameters  # type: ignore[attr-defined]
    return next((name for name in parameters if name != "self"), "")


_taken: dict[type, frozenset[str]] = {}


def _taken_by(kind: type) -> frozenset[str]:
    """Those of ``training`` and ``mask`` that a class's own ``call`` has as parameters."""
    found = _taken.get(kind)
    if found is None:
        parameters = inspect.signature(kind.call).parameters  # type: ignore[attr-defined]
        names = {"training", "mask"} if kind.forward is Layer.forward else set()  # type: ignore[attr-defined]
        found = _taken[kind] = frozenset(names & parameters.keys())
    return found
