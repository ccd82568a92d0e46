"""Recurrent layers with PyTorch's names, shapes and order of gates."""

import math
from typing import Any

from gputensor.autograd import Tensor
from gputensor.backend import Device
from gputensor.errors import ShapeError
from gputensor.nn import functional
from gputensor.nn.modules import Module, _check_sizes
from gputensor.ops import recurrent
from gputensor.ops.creation import parameter, zeros
from gputensor.ops.elementwise import relu, tanh
from gputensor.ops.manipulation import concat, permute_dims, stack
from gputensor.random import default_generator
from gputensor.shown import retold

__all__ = ["GRU", "LSTM", "RNN", "GRUCell", "LSTMCell", "RNNCell"]


class _Recurrent(Module):
    """What the kinds share.

    Parameters
    ----------
    input_size, hidden_size : int
    num_layers : int
        One on top of the other.
    bias : bool
    batch_first : bool
        Whether `x` is (n, steps, features), not (steps, n, features).
    dropout : float
        After each layer but the last.
    bidirectional : bool
    dtype : floating point dtype, optional
    device : str or Device, optional

    Attributes
    ----------
    weight_ih_l0, weight_hh_l0 : Tensor of shape (gates * hidden_size, inputs)
    bias_ih_l0, bias_hh_l0 : Tensor of shape (gates * hidden_size,)
        And so on for layers 1, 2, ...; with ``_reverse`` for the other direction. Drawn from
        ``U(-1/sqrt(hidden_size), 1/sqrt(hidden_size))``.
    """

    _gates = 1
    _states = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        dtype: Any = None,
        device: str | Device | None = None,
    ) -> None:
        super().__init__()
        sizes = {"input_size": input_size, "hidden_size": hidden_size, "num_layers": num_layers}
        _check_sizes(type(self).__name__, **sizes)
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = dropout
        self.bidirectional = bidirectional
        limit = 1 / math.sqrt(hidden_size)
        rows = self._gates * hidden_size
        for suffix, inputs in self._suffixes():
            shapes: dict[str, tuple[int, ...]] = {
                f"weight_ih_{suffix}": (rows, inputs),
                f"weight_hh_{suffix}": (rows, hidden_size),
            }
            if bias:
                shapes |= {f"bias_ih_{suffix}": (rows,), f"bias_hh_{suffix}": (rows,)}
            for name, shape in shapes.items():
                draw = default_generator.uniform(-limit, limit, shape, dtype=dtype, device=device)
                setattr(self, name, parameter(draw.array))

    def _suffixes(self) -> list[tuple[str, int]]:
        """Name of each layer and direction, and the length of its input."""
        ends = ("", "_reverse") if self.bidirectional else ("",)
        inner = self.hidden_size * len(ends)
        return [
            (f"l{layer}{end}", inner if layer else self.input_size)
            for layer in range(self.num_layers)
            for end in ends
        ]

    def _step(self, weight: Tensor, bias: Tensor | None) -> recurrent.Step:
        raise NotImplementedError

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Outputs of the last layer for every step, and the state after the last step.

        Parameters
        ----------
        x : Tensor of shape (steps, n, input_size), (n, steps, input_size) or (steps, input_size)
        state : Tensor of shape (layers * directions, n, hidden_size), or a pair (h, c), optional

        Returns
        -------
        outputs : Tensor of shape (steps, n, directions * hidden_size), or as `batch_first` says
        state : as `state`
        """
        name = type(self).__name__
        if x.ndim not in (2, 3) or x.shape[-1] != self.input_size:
            raise ShapeError(
                f"{name}: x has shape {x.shape}; it must be (steps, n, {self.input_size}), or "
                f"(n, steps, {self.input_size}) with batch_first"
            )
        single = x.ndim == 2
        y = x.reshape(1, *x.shape) if single else x
        if not single and not self.batch_first:
            y = permute_dims(y, (1, 0, 2))
        suffixes = [suffix for suffix, _ in self._suffixes()]
        states = self._start(y, state, len(suffixes))
        ends: list[recurrent.State] = []
        directions = 2 if self.bidirectional else 1
        for layer in range(self.num_layers):
            parts = []
            for way in range(directions):
                place = layer * directions + way
                suffix = suffixes[place]
                biases = (
                    getattr(self, f"bias_{k}_{suffix}") if self.bias else None for k in ("ih", "hh")
                )
                bias_ih, bias_hh = biases
                inputs = functional.linear(y, getattr(self, f"weight_ih_{suffix}"), bias_ih)
                step = self._step(getattr(self, f"weight_hh_{suffix}").T, bias_hh)
                found, end = recurrent.run(step, inputs, states[place], backwards=way == 1)
                parts.append(found)
                ends.append(end)
            y = parts[0] if directions == 1 else concat(parts, axis=-1)
            if self.dropout and layer < self.num_layers - 1:
                y = functional.dropout(y, self.dropout, self.training)
        last = [stack([end[k] for end in ends], axis=0) for k in range(self._states)]
        if single:
            y, last = y[0], [s[:, 0] for s in last]
        elif not self.batch_first:
            y = permute_dims(y, (1, 0, 2))
        return y, last[0] if self._states == 1 else tuple(last)

    def _start(self, x: Tensor, state: Any, count: int) -> list[recurrent.State]:
        n = x.shape[0]
        if state is None:
            empty = zeros((n, self.hidden_size), dtype=x.dtype, device=x.device)
            return [(empty,) * self._states] * count
        given = state if isinstance(state, (tuple, list)) else (state,)
        parts = [s.reshape(count, n, self.hidden_size) for s in given]
        return [tuple(s[k] for s in parts) for k in range(count)]


class RNN(_Recurrent):
    """Elman's recurrent layer ``h = tanh(x @ W.T + b + h @ U.T + c)``; see the parameters of LSTM.

    `nonlinearity` is "tanh" or "relu".

    Examples
    --------
    >>> out, state = gt.nn.RNN(4, 8)(gt.ones((5, 2, 4)))
    >>> out.shape, state.shape
    ((5, 2, 8), (1, 2, 8))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        **options: Any,
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"RNN: nonlinearity is {nonlinearity!r}; allowed are 'tanh', 'relu'")
        super().__init__(input_size, hidden_size, num_layers, **options)
        self.nonlinearity = nonlinearity

    def _step(self, weight: Tensor, bias: Tensor | None) -> recurrent.Step:
        kind = relu if self.nonlinearity == "relu" else tanh
        return recurrent.simple_step(weight, bias, kind)


class LSTM(_Recurrent):
    __doc__ = retold(
        _Recurrent,
        "Long short-term memory (Hochreiter & Schmidhuber 1997).",
        ">>> out, (h, c) = gt.nn.LSTM(4, 8)(gt.ones((5, 2, 4)))\n"
        ">>> out.shape, h.shape\n"
        "((5, 2, 8), (1, 2, 8))",
    )
    _gates = 4
    _states = 2

    def _step(self, weight: Tensor, bias: Tensor | None) -> recurrent.Step:
        return recurrent.lstm_step(weight, bias)


class GRU(_Recurrent):
    __doc__ = retold(
        _Recurrent,
        "Gated recurrent units (Cho et al. 2014).",
        ">>> out, state = gt.nn.GRU(4, 8)(gt.ones((5, 2, 4)))\n"
        ">>> out.shape, state.shape\n"
        "((5, 2, 8), (1, 2, 8))",
    )
    _gates = 3

    def _step(self, weight: Tensor, bias: Tensor | None) -> recurrent.Step:
        return recurrent.gru_step(weight, bias, order="rzh")


class _Cell(Module):
    """One step of a recurrent layer: parameters `input_size`, `hidden_size` and `bias`."""

    _gates = 1
    _states = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        *,
        dtype: Any = None,
        device: str | Device | None = None,
    ) -> None:
        super().__init__()
        _check_sizes(type(self).__name__, input_size=input_size, hidden_size=hidden_size)
        self.input_size = input_size
        self.hidden_size = hidden_size
        limit = 1 / math.sqrt(hidden_size)
        rows = self._gates * hidden_size

        def draw(*shape: int) -> Tensor:
            numbers = default_generator.uniform(-limit, limit, shape, dtype=dtype, device=device)
            return parameter(numbers.array)

        self.weight_ih = draw(rows, input_size)
        self.weight_hh = draw(rows, hidden_size)
        self.bias_ih = draw(rows) if bias else None
        self.bias_hh = draw(rows) if bias else None

    def _step(self) -> recurrent.Step:
        raise NotImplementedError

    def forward(self, x: Tensor, state: Any = None) -> Any:
        """The next state for an input of shape (n, input_size): h, or the pair (h, c)."""
        if state is None:
            empty = zeros((*x.shape[:-1], self.hidden_size), dtype=x.dtype, device=x.device)
            state = (empty,) * self._states
        elif isinstance(state, Tensor):
            state = (state,)
        found = self._step()(functional.linear(x, self.weight_ih, self.bias_ih), tuple(state))
        return found[0] if self._states == 1 else found


class RNNCell(_Cell):
    """One step of :class:`RNN`.

    Examples
    --------
    >>> gt.nn.RNNCell(4, 8)(gt.ones((2, 4))).shape
    (2, 8)
    """

    def _step(self) -> recurrent.Step:
        return recurrent.simple_step(self.weight_hh.T, self.bias_hh)


class LSTMCell(_Cell):
    """One step of :class:`LSTM`.

    Examples
    --------
    >>> h, c = gt.nn.LSTMCell(4, 8)(gt.ones((2, 4)))
    >>> h.shape, c.shape
    ((2, 8), (2, 8))
    """

    _gates = 4
    _states = 2

    def _step(self) -> recurrent.Step:
        return recurrent.lstm_step(self.weight_hh.T, self.bias_hh)


class GRUCell(_Cell):
    """One step of :class:`GRU`.

    Examples
    --------
    >>> gt.nn.GRUCell(4, 8)(gt.ones((2, 4))).shape
    (2, 8)
    """

    _gates = 3

    def _step(self) -> recurrent.Step:
        return recurrent.gru_step(self.weight_hh.T, self.bias_hh, order="rzh")
