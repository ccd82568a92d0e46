"""Recurrent layers whose products are convolutions (Shi et al. 2015)."""

from typing import Any

from gputensor.autograd import Tensor
from gputensor.errors import ShapeError
from gputensor.keras.formats import checked_format
from gputensor.keras.layers.convolution import sizes_of, two, with_height, without_height
from gputensor.keras.layers.recurrent import RNN, LSTMCell
from gputensor.nn import functional
from gputensor.ops import recurrent, windows
from gputensor.ops.creation import ones, zeros
from gputensor.ops.elementwise import multiply
from gputensor.ops.manipulation import reshape
from gputensor.shown import retold

__all__ = ["ConvLSTM1D", "ConvLSTM2D"]


class _ConvLSTMCell(LSTMCell):
    """One step: a convolution of the input, and one of the state that keeps its size."""

    def __init__(
        self,
        axes: int,
        filters: int,
        kernel_size: Any,
        strides: Any,
        padding: str,
        dilation_rate: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(filters, **kwargs)
        name = f"ConvLSTM{axes}D"
        self.axes = axes
        self.kernel_size = sizes_of(name, "kernel_size", kernel_size, axes)
        self.strides = sizes_of(name, "strides", strides, axes)
        self.dilation_rate = sizes_of(name, "dilation_rate", dilation_rate, axes)
        self.padding = str(padding).lower()
        if self.padding not in ("valid", "same"):
            raise ValueError(f"{name}: padding is {padding!r}; allowed are 'valid' and 'same'")

    def build(self, input_shape: Any) -> None:
        """Draw the weights."""
        columns = self._gates * self.units
        kinds = zip(self.initializers, self.regularizers, strict=True)
        self.kernel, self.recurrent_kernel = (
            self.add_weight((*self.kernel_size, n, columns), kind, regularizer=penalty)
            for n, (kind, penalty) in zip((input_shape[-1], self.units), kinds, strict=False)
        )
        if self.use_bias:
            self.bias = self._first_bias()
        self.built = True

    def _convolved(self, x: Tensor, kernel: Tensor, bias: Any, **options: Any) -> Tensor:
        if self.axes == 2:
            return windows.convolve(x, kernel, bias, **options)
        kernel = reshape(kernel, (1, *kernel.shape))
        return without_height(windows.convolve(with_height(x), kernel, bias, **options))

    def _inputs(self, x: Tensor) -> Tensor:
        """Convolutions of all steps (n, steps, ..., channels)."""
        n, steps = x.shape[:2]
        if self.training and self.dropout:
            kept = ones((n, 1, *x.shape[2:]), dtype=x.dtype, device=x.device)
            x = multiply(x, functional.dropout(kept, self.dropout, True, self._generator))
        y = self._convolved(
            reshape(x, (n * steps, *x.shape[2:])),
            self.kernel,
            self.bias,
            stride=two(self.strides),
            padding=self.padding,
            dilation=two(self.dilation_rate),
        )
        return reshape(y, (n, steps, *y.shape[1:]))

    def step(self, n: int, like: Tensor) -> recurrent.Step:
        """Step for `n` samples, with what of the state is dropped drawn once."""
        kept: Any = None
        dropping = self.training and self.recurrent_dropout

        def product(h: Tensor) -> Tensor:
            nonlocal kept
            if dropping:
                if kept is None:
                    whole = ones(h.shape, dtype=h.dtype, device=h.device)
                    share = self.recurrent_dropout
                    kept = functional.dropout(whole, share, True, self._generator)
                h = multiply(h, kept)
            return self._convolved(h, self.recurrent_kernel, None, padding="same")

        return recurrent.lstm_step(product, None, self.activation, self.recurrent_activation)


class _ConvLSTM(RNN):
    """What they share.

    Parameters
    ----------
    filters : int
    kernel_size, strides, dilation_rate : int or sequence of int
    padding : {"valid", "same"}
    activation, recurrent_activation, use_bias, dropout, recurrent_dropout, ...
        As of :class:`LSTM`.
    return_sequences, return_state, go_backwards, stateful : bool
        As of :class:`RNN`.
    """

    _axes = 2

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: Any = None,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        **kwargs: Any,
    ) -> None:
        checked_format(type(self).__name__, data_format, first=False)
        cell = _ConvLSTMCell(
            self._axes,
            filters,
            kernel_size,
            strides,
            padding,
            dilation_rate,
            activation=activation,
            recurrent_activation=recurrent_activation,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            recurrent_initializer=recurrent_initializer,
            bias_initializer=bias_initializer,
            unit_forget_bias=unit_forget_bias,
            kernel_regularizer=kernel_regularizer,
            recurrent_regularizer=recurrent_regularizer,
            bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint,
            recurrent_constraint=recurrent_constraint,
            bias_constraint=bias_constraint,
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
            seed=seed,
        )
        options = (return_sequences, return_state, go_backwards, stateful)
        super().__init__(cell, *options, **kwargs)

    def build(self, input_shape: Any) -> None:
        """Build the cell."""
        if len(input_shape) != self._axes + 3:
            raise ShapeError(
                f"{type(self).__name__}: the input has shape {tuple(input_shape)}; it must have "
                f"{self._axes + 3} axes: samples, steps, places and channels"
            )
        if not self.cell.built:
            self.cell._build((input_shape[0], *input_shape[2:]))
        self.built = True

    def _first(self, x: Tensor, given: Any) -> tuple[Tensor, ...]:
        if given is not None:
            return tuple(given)
        if self.stateful and self._last is not None:
            return tuple(self._last)
        cell: Any = self.cell
        places = x.shape[2:-1]
        if cell.padding == "valid":
            spans = [
                (k - 1) * d + 1 for k, d in zip(cell.kernel_size, cell.dilation_rate, strict=True)
            ]
        else:
            spans = [1] * len(places)
        sizes = [(n - w) // s + 1 for n, w, s in zip(places, spans, cell.strides, strict=True)]
        shape = (x.shape[0], *sizes, cell.units)
        return (zeros(shape, dtype=x.dtype, device=x.device),) * 2


class ConvLSTM1D(_ConvLSTM):
    __doc__ = retold(
        _ConvLSTM,
        "Long short-term memory of sequences of sequences.",
        ">>> keras.layers.ConvLSTM1D(4, 3)(np.ones((2, 5, 8, 3))).shape\n(2, 6, 4)",
    )
    _axes = 1


class ConvLSTM2D(_ConvLSTM):
    __doc__ = retold(
        _ConvLSTM,
        "Long short-term memory of sequences of images.",
        ">>> keras.layers.ConvLSTM2D(4, 3)(np.ones((2, 5, 8, 8, 3))).shape\n(2, 6, 6, 4)",
    )
