"""Modules: trees of parameters with a forward function."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from gputensor import backend
from gputensor.autograd import Leaf, Tensor, changed
from gputensor.backend import Device
from gputensor.errors import ShapeError
from gputensor.nn import functional
from gputensor.ops.creation import parameter, zeros
from gputensor.ops.nn import ACTIVATIONS
from gputensor.random import Generator, default_generator
from gputensor.watched import Watched

__all__ = ["Dense", "Dropout", "Embedding", "Flatten", "Linear", "Module", "Sequential"]


class Module(Watched):
    """Base class of layers and models.

    A subclass sets parameters (tensors with ``requires_grad=True``) and other modules as
    attributes, or in lists, tuples and dicts that are attributes, and defines ``forward``.

    Attributes
    ----------
    training : bool
        Whether layers such as dropout act; see :meth:`train` and :meth:`eval`.
    """

    training = True

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the module's result."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward(self, x)")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.forward(*args, **kwargs)

    def _members(self) -> Iterator[tuple[str, Any]]:
        """Attributes and what their lists, tuples and dicts hold, by name."""
        for name, value in vars(self).items():
            if isinstance(value, (list, tuple)):
                yield from ((f"{name}.{i}", item) for i, item in enumerate(value))
            elif isinstance(value, dict):
                yield from ((f"{name}.{key}", item) for key, item in value.items())
            else:
                yield name, value

    def children(self) -> Iterator[tuple[str, "Module"]]:
        """Modules directly inside, by name."""
        return ((name, value) for name, value in self._members() if isinstance(value, Module))

    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """Parameters here and in all modules inside, by dotted name."""
        for name, value in self._members():
            if isinstance(value, Tensor) and isinstance(value._node, Leaf):
                yield prefix + name, value
        for name, child in self.children():
            yield from child.named_parameters(f"{prefix}{name}.")

    def parameters(self) -> list[Tensor]:
        """Parameters here and in all modules inside, each once."""
        return list({id(p): p for _, p in self.named_parameters()}.values())

    def train(self, mode: bool = True) -> "Module":
        """Switch to training, here and inside."""
        self.training = mode
        for _, child in self.children():
            child.train(mode)
        return self

    def eval(self) -> "Module":
        """Switch to inference, here and inside."""
        return self.train(False)

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for p in self.parameters():
            p.grad = None

    def state_dict(self) -> dict[str, "np.ndarray[Any, Any]"]:
        """Copies of all parameters on the host, by name."""
        return {n: np.array(backend.to_host(p.array)) for n, p in self.named_parameters()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Copy values into the parameters, which stay where they are.

        Raises
        ------
        KeyError
            If names are missing or unknown.
        ShapeError
            If a shape differs. Nothing is changed then.
        """
        if not isinstance(state, Mapping):
            raise TypeError(
                f"load_state_dict: state must be a mapping of names to arrays, as of state_dict(), "
                f"got {type(state).__name__}"
            )
        mine = dict(self.named_parameters())
        if missing := sorted(mine.keys() - state.keys()):
            raise KeyError(f"load_state_dict: state lacks {', '.join(missing)}")
        if unknown := sorted(state.keys() - mine.keys()):
            raise KeyError(f"load_state_dict: the module has no {', '.join(unknown)}")
        values = {n: v.array if isinstance(v, Tensor) else np.asarray(v) for n, v in state.items()}
        for name, p in mine.items():
            if values[name].shape != p.shape:
                raise ShapeError(
                    f"load_state_dict: {name} has shape {values[name].shape}, "
                    f"the parameter has {p.shape}"
                )
        for name, p in mine.items():
            with backend.on_device_of(p.array):
                p.array[...] = backend.to_device(values[name], p.device)
            changed(p.array, "load_state_dict")


class Dense(Module):
    """Fully connected layer ``activation(x @ weight + bias)``.

    Parameters
    ----------
    in_features, out_features : int
        Lengths of the last axis of input and output.
    activation : {None, "linear", "relu", "gelu", "sigmoid", "silu", "softmax", "tanh"}
    bias : bool
        Whether there is a bias.
    dtype : floating point dtype, optional
    device : str or Device, optional
    generator : Generator, optional
        For the initial weights, evenly distributed over
        :math:`\\pm\\sqrt{6 / (in + out)}` (Glorot & Bengio 2010). The bias begins at zero.

    Attributes
    ----------
    weight : Tensor of shape (in_features, out_features)
    bias : Tensor of shape (out_features,), or None
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        activation: str | None = None,
        *,
        bias: bool = True,
        dtype: Any = None,
        device: str | Device | None = None,
        generator: Generator | None = None,
    ) -> None:
        _check_sizes("Dense", in_features=in_features, out_features=out_features)
        if not isinstance(activation, str | None) or activation not in ACTIVATIONS:
            allowed = ", ".join(repr(name) for name in ACTIVATIONS)
            raise ValueError(f"Dense: activation {activation!r} is unknown; allowed are {allowed}")
        limit = math.sqrt(6 / (in_features + out_features))
        draw = (generator or default_generator).uniform
        weight = draw(-limit, limit, (in_features, out_features), dtype=dtype, device=device)
        self.weight = parameter(weight.array)
        self.bias = (
            parameter(zeros(out_features, dtype=dtype, device=device).array) if bias else None
        )
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """``activation(x @ weight + bias)``, of shape (..., out_features)."""
        return functional.dense(x, self.weight, self.bias, self.activation)


class Linear(Module):
    """Fully connected layer ``x @ weight.T + bias`` with PyTorch's shape of the weight.

    Parameters
    ----------
    in_features, out_features : int
    bias : bool
    dtype : floating point dtype, optional
    device : str or Device, optional

    Attributes
    ----------
    weight : Tensor of shape (out_features, in_features)
    bias : Tensor of shape (out_features,), or None
        Both drawn from ``U(-1/sqrt(in_features), 1/sqrt(in_features))``.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        dtype: Any = None,
        device: str | Device | None = None,
    ) -> None:
        super().__init__()
        _check_sizes("Linear", in_features=in_features, out_features=out_features)
        self.in_features = in_features
        self.out_features = out_features
        self.weight = evenly(in_features, (out_features, in_features), dtype, device)
        self.bias = evenly(in_features, (out_features,), dtype, device) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """``x @ weight.T + bias``, of shape (..., out_features)."""
        return functional.linear(x, self.weight, self.bias)


def evenly(fan_in: int, shape: tuple[int, ...], dtype: Any, device: Any) -> Tensor:
    """Parameter drawn from ``U(-1/sqrt(fan_in), 1/sqrt(fan_in))``, as PyTorch's layers begin."""
    limit = 1 / math.sqrt(fan_in)
    drawn = default_generator.uniform(-limit, limit, shape, dtype=dtype, device=device)
    return parameter(drawn.array)


class Embedding(Module):
    """A table of vectors, looked up by number: see :func:`gputensor.nn.functional.embedding`.

    Parameters
    ----------
    rows, features : int
        Number of vectors and their length.
    dtype : floating point dtype, optional
    device : str or Device, optional
    generator : Generator, optional
        For the initial vectors, standard normal numbers.

    Attributes
    ----------
    weight : Tensor of shape (rows, features)
    """

    def __init__(
        self,
        rows: int,
        features: int,
        *,
        dtype: Any = None,
        device: str | Device | None = None,
        generator: Generator | None = None,
    ) -> None:
        _check_sizes("Embedding", rows=rows, features=features)
        draw = (generator or default_generator).standard_normal
        self.weight = parameter(draw((rows, features), dtype=dtype, device=device).array)

    def forward(self, index: Tensor) -> Tensor:
        """Vectors of the numbers in `index`, of shape (*index.shape, features)."""
        return functional.embedding(index, self.weight)


def _check_sizes(layer: str, **sizes: Any) -> None:
    for name, n in sizes.items():
        if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
            raise ValueError(f"{layer}: {name} is {n!r}; it must be a positive int")


class Flatten(Module):
    """All axes but the first in one: (n, ...) becomes (n, features)."""

    def forward(self, x: Tensor) -> Tensor:
        """Tensor of shape (n, features)."""
        if not x.ndim:
            raise ShapeError("Flatten: x has shape (); it must have an axis of samples")
        return x.reshape(x.shape[0], math.prod(x.shape[1:]))


class Dropout(Module):
    """Zeros at random while training, see :func:`gputensor.nn.functional.dropout`.

    Parameters
    ----------
    p : float
        Probability of zero.
    generator : Generator, optional
    """

    def __init__(self, p: float = 0.5, generator: Generator | None = None) -> None:
        if not isinstance(p, (int, float, np.number)) or not 0 <= p <= 1:
            raise ValueError(f"Dropout: p is {p!r}; it must be a number from 0 to 1")
        self.p = p
        self.generator = generator

    def forward(self, x: Tensor) -> Tensor:
        """`x` with elements dropped while ``training``."""
        return functional.dropout(x, self.p, self.training, self.generator)


class Sequential(Module):
    """Modules one after the other.

    Parameters
    ----------
    *layers : Module
    """

    def __init__(self, *layers: Module) -> None:
        for i, layer in enumerate(layers):
            if not isinstance(layer, Module):
                raise TypeError(f"Sequential: layer {i} is a {type(layer).__name__}, not a Module")
        self.layers = list(layers)

    def children(self) -> Iterator[tuple[str, Module]]:
        """The layers, by number."""
        yield from ((str(i), layer) for i, layer in enumerate(self.layers))

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, index: int) -> Module:
        return self.layers[index]

    def forward(self, x: Tensor) -> Tensor:
        """Result of the last layer."""
        for layer in self.layers:
            x = layer(x)
        return x
