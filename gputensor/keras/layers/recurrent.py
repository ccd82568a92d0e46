"""Recurrent layers, their cells, and layers around layers."""

import copy
from typing import Any, ClassVar

from gputensor.autograd import Tensor
from gputensor.errors import ShapeError
from gputensor.keras import activations
from gputensor.keras.layers.base import Layer, positive
from gputensor.keras.layers.regularization import generator_of
from gputensor.nn import functional
from gputensor.ops import recurrent
from gputensor.ops.choices import where
from gputensor.ops.creation import asarray, ones, zeros
from gputensor.ops.elementwise import add, multiply
from gputensor.ops.manipulation import concat, expand_dims, flip, reshape
from gputensor.shown import retold

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Bidirectional",
    "GRUCell",
    "LSTMCell",
    "SimpleRNN",
    "SimpleRNNCell",
    "StackedRNNCells",
    "TimeDistributed",
]


class _Cell(Layer):
    """What cells share.

    Parameters
    ----------
    units : int
    activation, recurrent_activation : str or function
        Of the state, and of the gates.
    use_bias : bool
    kernel_initializer, recurrent_initializer, bias_initializer : str or Initializer
    kernel_regularizer, recurrent_regularizer, bias_regularizer : str or Regularizer, optional
    kernel_constraint, recurrent_constraint, bias_constraint : str or Constraint, optional
    dropout, recurrent_dropout : float
        Of the inputs and of the state while training, the same at every step.
    seed : int or keras.random.SeedGenerator, optional
        Where the layer's own random numbers begin.

    Attributes
    ----------
    kernel : Tensor of shape (inputs, gates * units)
    recurrent_kernel : Tensor of shape (units, gates * units)
    bias : Tensor, or None
    """

    _gates = 1
    _states = 1
    _constrained: ClassVar = {
        "kernel": "kernel",
        "recurrent": "recurrent_kernel",
        "bias": "bias",
    }

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: Any = None,
        **kwargs: Any,
    ) -> None:
        name = type(self).__name__
        super().__init__(**kwargs)
        self.units: int = positive(name, units=units)
        self.activation = activations.get(activation)
        self.recurrent_activation = activations.get(recurrent_activation)
        self.use_bias = use_bias
        self.initializers = (kernel_initializer, recurrent_initializer, bias_initializer)
        self.regularizers = (kernel_regularizer, recurrent_regularizer, bias_regularizer)
        self.dropout = dropout
        self.recurrent_dropout = recurrent_dropout
        self.seed = seed
        self._generator = generator_of(seed)
        self.kernel: Any = None
        self.recurrent_kernel: Any = None
        self.bias: Any = None

    @property
    def state_size(self) -> list[int]:
        """Lengths of the states."""
        return [self.units] * self._states

    @property
    def output_size(self) -> int:
        """Length of an output."""
        return self.units

    def build(self, input_shape: Any) -> None:
        """Draw the weights."""
        columns = self._gates * self.units
        shapes = ((input_shape[-1], columns), (self.units, columns))
        kernels = [
            self.add_weight(shape, kind, regularizer=penalty)
            for shape, kind, penalty in zip(
                shapes, self.initializers, self.regularizers, strict=False
            )
        ]
        self.kernel, self.recurrent_kernel = kernels
        if self.use_bias:
            self.bias = self._first_bias()
        self.built = True

    def _first_bias(self) -> Tensor:
        shape = (self._gates * self.units,)
        return self.add_weight(shape, self.initializers[2], regularizer=self.regularizers[2])

    def _inputs(self, x: Tensor) -> Tensor:
        """Products of all inputs, dropped ones left out."""
        if self.training and self.dropout:
            shape = (x.shape[0], *(1 for _ in x.shape[1:-1]), x.shape[-1])
            whole = ones(shape, dtype=x.dtype, device=x.device)
            x = multiply(x, functional.dropout(whole, self.dropout, True, self._generator))
        return functional.dense(x, self.kernel, self.bias)

    def _step(self) -> recurrent.Step:
        raise NotImplementedError

    def step(self, n: int, like: Tensor) -> recurrent.Step:
        """Step for `n` samples, with what of the state is dropped drawn once."""
        step = self._step()
        if not self.training or not self.recurrent_dropout:
            return step
        whole = ones((n, self.units), dtype=like.dtype, device=like.device)
        kept = functional.dropout(whole, self.recurrent_dropout, True, self._generator)
        return lambda x, state: step(x, (multiply(state[0], kept), *state[1:]))

    def call(self, x: Tensor, states: Any = None) -> tuple[Tensor, list[Tensor]]:
        """Output and next states for an input of shape (n, inputs)."""
        if states is None:
            states = self.get_initial_state(x.shape[0], x)
        given = tuple(states) if isinstance(states, (list, tuple)) else (states,)
        found = self.step(x.shape[0], x)(self._inputs(x), given)
        return found[0], [*found]

    def get_initial_state(self, batch_size: int, like: Tensor | None = None) -> list[Tensor]:
        """Zeros."""
        kind: Any = {} if like is None else {"dtype": like.dtype, "device": like.device}
        return [zeros((batch_size, n), **kind) for n in self.state_size]


class SimpleRNNCell(_Cell):
    """One step ``h = activation(x @ kernel + h @ recurrent_kernel + bias)``.

    Examples
    --------
    >>> keras.layers.SimpleRNNCell(4).units
    4
    """

    def __init__(self, units: int, activation: Any = "tanh", *args: Any, **kwargs: Any) -> None:
        super().__init__(units, activation, "sigmoid", *args, **kwargs)

    @classmethod
    def _positional(cls) -> list[str]:
        return [name for name in _Cell._positional() if name != "recurrent_activation"]

    def _step(self) -> recurrent.Step:
        return recurrent.simple_step(self.recurrent_kernel, None, self.activation)


class LSTMCell(_Cell):
    """One step of :class:`LSTM`. `unit_forget_bias` begins the bias of the forget gate at 1.

    Examples
    --------
    >>> keras.layers.LSTMCell(4).units
    4
    """

    _gates = 4
    _states = 2

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            units,
            activation,
            recurrent_activation,
            use_bias,
            kernel_initializer,
            recurrent_initializer,
            bias_initializer,
            **kwargs,
        )
        self.unit_forget_bias = unit_forget_bias

    def _first_bias(self) -> Tensor:
        bias = super()._first_bias()
        if self.unit_forget_bias:
            bias.array[self.units : 2 * self.units] = 1
        return bias

    def _step(self) -> recurrent.Step:
        kinds = (self.activation, self.recurrent_activation)
        return recurrent.lstm_step(self.recurrent_kernel, None, *kinds)


class GRUCell(_Cell):
    """One step of :class:`GRU`. `reset_after` is the form of cuDNN, with a bias of its own.

    Examples
    --------
    >>> keras.layers.GRUCell(4).units
    4
    """

    _gates = 3

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        reset_after: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            units,
            activation,
            recurrent_activation,
            use_bias,
            kernel_initializer,
            recurrent_initializer,
            bias_initializer,
            **kwargs,
        )
        self.reset_after = reset_after

    def _first_bias(self) -> Tensor:
        columns = self._gates * self.units
        shape = (2, columns) if self.reset_after else (columns,)
        return self.add_weight(shape, self.initializers[2], regularizer=self.regularizers[2])

    def _inputs(self, x: Tensor) -> Tensor:
        if self.bias is None or not self.reset_after:
            return super()._inputs(x)
        whole = self.bias
        try:
            self.__dict__["bias"] = whole[0]
            return super()._inputs(x)
        finally:
            self.__dict__["bias"] = whole

    def _step(self) -> recurrent.Step:
        bias = self.bias[1] if self.bias is not None and self.reset_after else None
        kinds = (self.activation, self.recurrent_activation)
        return recurrent.gru_step(self.recurrent_kernel, bias, *kinds, reset_after=self.reset_after)


class StackedRNNCells(Layer):
    """Cells one on top of the other, for :class:`RNN`.

    Examples
    --------
    >>> cells = keras.layers.StackedRNNCells([keras.layers.GRUCell(4), keras.layers.GRUCell(2)])
    >>> keras.layers.RNN(cells)(np.ones((2, 5, 3))).shape
    (2, 2)
    """

    def __init__(self, cells: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.cells = list(cells)

    @property
    def state_size(self) -> list[int]:
        """Lengths of all states."""
        return [n for cell in self.cells for n in cell.state_size]

    @property
    def output_size(self) -> int:
        """Length of an output."""
        size: int = self.cells[-1].output_size
        return size

    def get_initial_state(self, batch_size: int, like: Tensor | None = None) -> list[Tensor]:
        """Zeros."""
        return [s for cell in self.cells for s in cell.get_initial_state(batch_size, like)]

    def build(self, input_shape: Any) -> None:
        """Build the cells."""
        for cell in self.cells:
            cell._build(input_shape)
            input_shape = (*input_shape[:-1], cell.output_size)
        self.built = True

    def call(self, x: Tensor, states: Any = None) -> tuple[Tensor, list[Tensor]]:
        """Output and next states."""
        states = list(self.get_initial_state(x.shape[0], x) if states is None else states)
        after: list[Tensor] = []
        for cell in self.cells:
            count = len(cell.state_size)
            x, own = cell(x, states[:count])
            after += own if isinstance(own, (list, tuple)) else [own]
            states = states[count:]
        return x, after


class RNN(Layer):
    """A cell along the steps of sequences (n, steps, features).

    Parameters
    ----------
    cell : Layer
        With `state_size`, and ``call(x, states)`` that gives an output and the next states.
    return_sequences : bool
        Whether to give the outputs of all steps, not of the last.
    return_state : bool
        Whether to give the states after the last step, too.
    go_backwards : bool
    stateful : bool
        Whether a batch begins with the states in which the one before ended.
    zero_output_for_mask : bool
        Whether the output of a step that is left out is 0, not that of the step before.
    unroll : bool
        How Keras runs; results are the same.

    Examples
    --------
    >>> keras.layers.RNN(keras.layers.GRUCell(4))(np.ones((2, 5, 3))).shape
    (2, 4)
    """

    def __init__(
        self,
        cell: Any,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        zero_output_for_mask: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.cell = StackedRNNCells(cell) if isinstance(cell, (list, tuple)) else cell
        self.return_sequences = return_sequences
        self.return_state = return_state
        self.go_backwards = go_backwards
        self.stateful = stateful
        self.zero_output_for_mask = bool(zero_output_for_mask)
        self._last: Any = None

    def build(self, input_shape: Any) -> None:
        """Build the cell."""
        if len(input_shape) != 3:
            raise ShapeError(
                f"{type(self).__name__}: the input has shape {tuple(input_shape)}; it must be "
                "(n, steps, features)"
            )
        if not self.cell.built:
            self.cell._build((input_shape[0], input_shape[2]))
        self.built = True

    @property
    def states(self) -> Any:
        """States after the last batch of a stateful layer."""
        return self._last

    def reset_states(self) -> None:
        """Begin the next batch with zeros."""
        self._last = None

    reset_state = reset_states

    def _first(self, x: Tensor, given: Any) -> tuple[Tensor, ...]:
        if given is not None:
            return tuple(given) if isinstance(given, (list, tuple)) else (given,)
        if self.stateful and self._last is not None:
            return tuple(self._last)
        if hasattr(self.cell, "get_initial_state"):
            return tuple(self.cell.get_initial_state(x.shape[0], x))
        sizes = self.cell.state_size
        sizes = sizes if isinstance(sizes, (list, tuple)) else [sizes]
        return tuple(zeros((x.shape[0], n), dtype=x.dtype, device=x.device) for n in sizes)

    def call(self, x: Tensor, initial_state: Any = None, mask: Any = None) -> Any:
        """Of shape (n, units), or (n, steps, units); with the states where they are wanted."""
        state = self._first(x, initial_state)
        if isinstance(self.cell, _Cell):
            step, inputs = self.cell.step(x.shape[0], x), self.cell._inputs(x)
            outputs, state = recurrent.run(
                step, inputs, state, mask=mask, backwards=self.go_backwards
            )
        else:
            outputs, state = self._general(x, state, mask)
        last = (
            state[0] if isinstance(self.cell, _Cell) else outputs[:, 0 if self.go_backwards else -1]
        )
        if mask is not None and self.zero_output_for_mask:
            seen = expand_dims(asarray(mask), axis=-1)
            outputs = where(seen, outputs, 0.0)
            last = where(seen[:, 0 if self.go_backwards else -1], last, 0.0)
        if self.stateful:
            self._last = [s.detach() for s in state]
        if self.go_backwards and self.return_sequences:
            outputs = flip(outputs, axis=1)  # in the order in which they were computed, as in Keras
        found = outputs if self.return_sequences else last
        return [found, *state] if self.return_state else found

    def _general(self, x: Tensor, state: tuple[Tensor, ...], mask: Any) -> Any:
        """Steps of a cell of the user's: the output goes before the states."""
        cell = self.cell

        def step(x: Tensor, state: recurrent.State) -> recurrent.State:
            out, after = cell(x, list(state[1:]))
            return (out, *(after if isinstance(after, (list, tuple)) else [after]))

        size = getattr(cell, "output_size", None) or state[0].shape[-1]
        begin = zeros((x.shape[0], size), dtype=x.dtype, device=x.device)
        outputs, after = recurrent.run(
            step, x, (begin, *state), mask=mask, backwards=self.go_backwards
        )
        return outputs, after[1:]

    def compute_mask(self, x: Any, mask: Any = None) -> Any:
        """That of the input where steps are left."""
        return mask if self.return_sequences else None


def _of_cell(name: str) -> property:
    """An attribute that is the cell's."""

    def get(layer: Any) -> Any:
        return getattr(layer.cell, name)

    def put(layer: Any, value: Any) -> None:
        setattr(layer.cell, name, value)

    return property(get, put)


class _OwnCell(RNN):
    """A recurrent layer by its cell's parameters."""

    _cell: type[_Cell]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Let the cell's settings be attributes."""
        super().__init_subclass__(**kwargs)
        for name in cls._cell._arguments():
            if not hasattr(cls, name):
                setattr(cls, name, _of_cell(name))

    def __init__(
        self,
        units: int,
        *args: Any,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        use_cudnn: Any = "auto",
        **kwargs: Any,
    ) -> None:
        if kwargs.pop("implementation", None) not in (None, 0, 1, 2):
            raise ValueError(f"{type(self).__name__}: implementation must be 0, 1 or 2")
        masked = kwargs.pop("zero_output_for_mask", False)
        own: tuple[str, ...] = ("name", "trainable", "activity_regularizer")
        own += ("input_shape", "input_dim", "batch_input_shape", "batch_shape", "autocast")
        shape = {key: kwargs.pop(key) for key in own if key in kwargs}
        length = kwargs.pop("input_length", None)
        if length is not None and "input_dim" in shape:
            shape["input_shape"] = (length, shape.pop("input_dim"))
        super().__init__(
            self._cell(units, *args, **kwargs),
            return_sequences,
            return_state,
            go_backwards,
            stateful,
            zero_output_for_mask=masked,
            **shape,
        )

    @classmethod
    def _positional(cls) -> list[str]:
        return cls._cell._positional()

    @classmethod
    def _arguments(cls) -> list[str]:
        return [*super()._arguments(), *cls._cell._arguments()]

    @property
    def units(self) -> int:
        """Length of an output."""
        units: int = self.cell.units  # type: ignore[union-attr]
        return units


class SimpleRNN(_OwnCell):
    __doc__ = retold(
        _Cell,
        "Elman's recurrent layer; parameters are those of :class:`RNN` and:",
        ">>> keras.layers.SimpleRNN(4)(np.ones((2, 5, 3))).shape\n(2, 4)",
    )
    _cell = SimpleRNNCell


class LSTM(_OwnCell):
    __doc__ = retold(
        _Cell,
        "Long short-term memory; parameters are those of :class:`RNN` and:",
        ">>> keras.layers.LSTM(4, return_sequences=True)(np.ones((2, 5, 3))).shape\n(2, 5, 4)",
    )
    _cell = LSTMCell


class GRU(_OwnCell):
    __doc__ = retold(
        _Cell,
        "Gated recurrent units; parameters are those of :class:`RNN` and:",
        ">>> keras.layers.GRU(4)(np.ones((2, 5, 3))).shape\n(2, 4)",
    )
    _cell = GRUCell


class TimeDistributed(Layer):
    """A layer at each step of sequences by itself.

    Examples
    --------
    >>> keras.layers.TimeDistributed(keras.layers.Dense(4))(np.ones((2, 5, 3))).shape
    (2, 5, 4)
    """

    def __init__(self, layer: Layer, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.layer = layer

    def build(self, input_shape: Any) -> None:
        """Build the layer for one step."""
        if not self.layer.built:
            self.layer._build((input_shape[0], *input_shape[2:]))
        self.built = True

    def call(self, x: Tensor) -> Tensor:
        """Of shape (n, steps, ...)."""
        n, steps = x.shape[:2]
        y = self.layer(reshape(x, (n * steps, *x.shape[2:])))
        return reshape(y, (n, steps, *y.shape[1:]))


_MERGES = ("concat", "sum", "mul", "ave", None)


class Bidirectional(Layer):
    """A recurrent layer in both directions.

    Parameters
    ----------
    layer : RNN
    merge_mode : {"concat", "sum", "mul", "ave", None}
        How the two results become one; None for both.
    backward_layer : RNN, optional
        By default one like `layer`.

    Examples
    --------
    >>> keras.layers.Bidirectional(keras.layers.GRU(4))(np.ones((2, 5, 3))).shape
    (2, 8)
    """

    def __init__(
        self,
        layer: Any,
        merge_mode: str | None = "concat",
        weights: Any = None,
        backward_layer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if weights is not None:
            raise TypeError(
                "Bidirectional: weights is not supported; build the layer and call "
                "layer.set_weights(weights)"
            )
        if merge_mode not in _MERGES:
            raise ValueError(f"Bidirectional: merge_mode is {merge_mode!r}; allowed are {_MERGES}")
        self.forward_layer = layer
        if backward_layer is None:
            backward_layer = copy.deepcopy(layer)
            backward_layer.name = f"backward_{layer.name}"
            backward_layer.go_backwards = not layer.go_backwards
        self.backward_layer = backward_layer
        for one in (layer, backward_layer):  # as Keras has it
            if hasattr(one, "zero_output_for_mask"):
                one.zero_output_for_mask = one.return_sequences
        self.merge_mode = merge_mode
        if self.input_shape is None:
            self.input_shape = layer.input_shape

    def build(self, input_shape: Any) -> None:
        """Build both."""
        for layer in (self.forward_layer, self.backward_layer):
            if not layer.built:
                layer._build(input_shape)
        self.built = True

    def get_config(self) -> dict[str, Any]:
        """The two layers and how they are merged."""
        return {
            "name": self.name,
            "trainable": self.trainable,
            "merge_mode": self.merge_mode,
            "layer": self.forward_layer,
            "backward_layer": self.backward_layer,
        }

    def call(self, x: Tensor, mask: Any = None) -> Any:
        """Both results as one; with the states of both where they are wanted."""
        ahead = self.forward_layer(x, mask=mask)
        back = self.backward_layer(x, mask=mask)
        states: list[Tensor] = []
        if self.forward_layer.return_state:
            states = [*ahead[1:], *back[1:]]
            ahead, back = ahead[0], back[0]
        if self.forward_layer.return_sequences:
            back = flip(back, axis=1)
        found: Any
        if self.merge_mode is None:
            found = [ahead, back]
            return found + states
        if self.merge_mode == "concat":
            found = concat([ahead, back], axis=-1)
        elif self.merge_mode == "mul":
            found = multiply(ahead, back)
        else:
            found = add(ahead, back) / (2 if self.merge_mode == "ave" else 1)
        return [found, *states] if states else found

    def compute_mask(self, x: Any, mask: Any = None) -> Any:
        """That of the input where steps are left."""
        return mask if self.forward_layer.return_sequences else None
