"""The usual layers."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from gputensor.autograd import Tensor
from gputensor.backend import Device
from gputensor.errors import ShapeError
from gputensor.nn import functional
from gputensor.nn.module import Module
from gputensor.ops.creation import parameter, zeros
from gputensor.ops.nn import ACTIVATIONS
from gputensor.random import Generator, default_generator

__all__ = ["Dense", "Dropout", "Embedding", "Flatten", "Linear", "Module", "Sequential"]


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

    Examples
    --------
    >>> layer = gt.nn.Dense(4, 3, "relu")
    >>> layer
    Dense(weight: (4, 3), bias: (3,), activation='relu')
    >>> layer(gt.ones((2, 4))).shape
    (2, 3)
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

    Examples
    --------
    >>> gt.nn.Linear(4, 3)
    Linear(weight: (3, 4), bias: (3,), in_features=4, out_features=3)
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

    Examples
    --------
    >>> gt.nn.Embedding(10, 4)(gt.tensor([1, 5])).shape
    (2, 4)
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
    """All axes but the first in one: (n, ...) becomes (n, features).

    Examples
    --------
    >>> gt.nn.Flatten()(gt.ones((2, 3, 4))).shape
    (2, 12)
    """

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

    Examples
    --------
    >>> layer = gt.nn.Dropout(0.5)
    >>> layer.eval()(gt.ones(3))
    tensor([1., 1., 1.], dtype=float32)
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

    Examples
    --------
    >>> net = gt.nn.Sequential(gt.nn.Dense(4, 3, "relu"), gt.nn.Dense(3, 2))
    >>> net(gt.ones((5, 4))).shape, len(net.parameters())
    ((5, 2), 4)
    """

    def __init__(self, *layers: Module) -> None:
        for i, layer in enumerate(layers):
            if not isinstance(layer, Module):
                several = isinstance(layer, (list, tuple))
                raise TypeError(
                    f"Sequential: layer {i} is a {type(layer).__name__}, not a Module"
                    + ("; write Sequential(*layers)" if several else "")
                )
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
