"""Convolution: images are (n, height, width, channels), sequences (n, steps, channels)."""

from typing import Any, ClassVar

from gputensor.autograd import Tensor
from gputensor.errors import ShapeError
from gputensor.keras import activations
from gputensor.keras.layers.base import positive
from gputensor.keras.layers.channels import Channeled
from gputensor.ops import volumes, windows
from gputensor.ops.manipulation import reshape
from gputensor.ops.nn import dense
from gputensor.ops.pieces import pad
from gputensor.shown import retold

__all__ = [
    "Conv1D",
    "Conv1DTranspose",
    "Conv2D",
    "Conv2DTranspose",
    "Conv3D",
    "Conv3DTranspose",
    "Convolution1D",
    "Convolution1DTranspose",
    "Convolution2D",
    "Convolution2DTranspose",
    "Convolution3D",
    "Convolution3DTranspose",
    "DepthwiseConv1D",
    "DepthwiseConv2D",
    "SeparableConv1D",
    "SeparableConv2D",
    "SeparableConvolution1D",
    "SeparableConvolution2D",
]


def sizes_of(layer: str, name: str, value: Any, axes: int) -> tuple[int, ...]:
    """As many positive ints as there are axes."""
    given = tuple(value) if isinstance(value, (tuple, list)) else (value,) * axes
    if len(given) != axes:
        raise ValueError(f"{layer}: {name} is {value!r}; it must be an int or {axes} of them")
    return tuple(positive(layer, **{name: n}) for n in given)


def with_height(x: Tensor) -> Tensor:
    """Sequences as images of height 1."""
    return reshape(x, (x.shape[0], 1, *x.shape[1:]))


def without_height(x: Tensor) -> Tensor:
    """The sequences again."""
    return reshape(x, (x.shape[0], *x.shape[2:]))


def two(sizes: tuple[int, ...]) -> tuple[int, int]:
    """Height and width; a sequence has height 1."""
    return (1, sizes[0]) if len(sizes) == 1 else (sizes[0], sizes[1])


class _Conv(Channeled):
    """What convolutions share.

    Parameters
    ----------
    filters : int
    kernel_size : int or sequence of int
        The window.
    strides, dilation_rate : int or sequence of int
    padding : {"valid", "same", "causal"}
        None; as much as gives ``ceil(size / stride)`` windows; or as that, all of it before.
    groups : int
    activation : str or function, optional
    use_bias : bool
    kernel_initializer, bias_initializer : str or Initializer
    kernel_regularizer, bias_regularizer : str or Regularizer, optional
    kernel_constraint, bias_constraint : str or Constraint, optional

    Attributes
    ----------
    kernel : Tensor of shape (*kernel_size, channels / groups, filters)
    bias : Tensor of shape (filters,), or None
    """

    _axes = 2
    _constrained: ClassVar = {"kernel": "kernel", "bias": "bias"}

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        groups: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        name = type(self).__name__
        super().__init__(**kwargs)
        self._set_format(data_format)
        self.filters = positive(name, filters=filters)
        self.kernel_size = sizes_of(name, "kernel_size", kernel_size, self._axes)
        self.strides = sizes_of(name, "strides", strides, self._axes)
        self.dilation_rate = sizes_of(name, "dilation_rate", dilation_rate, self._axes)
        self.groups: int = positive(name, groups=groups)
        self.padding = str(padding).lower()
        allowed = ("valid", "same", "causal") if self._axes == 1 else ("valid", "same")
        if self.padding not in allowed:
            raise ValueError(f"{name}: padding is {padding!r}; allowed are {allowed}")
        self.activation = activations.short(activation)
        self.use_bias = use_bias
        self.initializers = (kernel_initializer, bias_initializer)
        self.regularizers = (kernel_regularizer, bias_regularizer)
        self.kernel: Any = None
        self.bias: Any = None

    def _channels(self, input_shape: Any) -> int:
        channels: Any = self._channels_last(input_shape)[-1]
        if len(input_shape) != self._axes + 2 or channels is None:
            place = "last" if self.data_format == "channels_last" else "second"
            raise ShapeError(
                f"{type(self).__name__}: the input has shape {tuple(input_shape)}; it must have "
                f"{self._axes + 2} axes, the {place} of channels"
            )
        if channels % self.groups or self.filters % self.groups:
            raise ShapeError(
                f"{type(self).__name__}: {channels} channels and {self.filters} filters cannot be "
                f"cut into {self.groups} groups"
            )
        return int(channels) // self.groups

    def build(self, input_shape: Any) -> None:
        """Draw the weights."""
        self._weights((*self.kernel_size, self._channels(input_shape), self.filters), self.filters)

    def _weights(self, shape: tuple[int, ...], outputs: int) -> None:
        kernel, bias = self.initializers
        self.kernel = self.add_weight(shape, kernel, regularizer=self.regularizers[0])
        if self.use_bias:
            self.bias = self.add_weight((outputs,), bias, regularizer=self.regularizers[1])
        self.built = True

    def call(self, x: Tensor) -> Tensor:
        """Of shape (n, ..., filters)."""
        return self._convolved(x, self.kernel, self.bias, self.groups)

    def _convolved(
        self, x: Tensor, kernel: Tensor, bias: Tensor | None, groups: int, active: bool = True
    ) -> Tensor:
        flat = self._axes == 1
        activation = self.activation if active else None
        padding: Any = self.padding
        if padding == "causal":
            before = (self.kernel_size[0] - 1) * self.dilation_rate[0]
            x, padding = pad(x, [(0, 0), (before, 0), (0, 0)]), "valid"
        plain = activation is None or isinstance(activation, str)
        if self._axes == 3:
            y = volumes.convolve(
                x,
                kernel,
                bias,
                stride=self.strides,  # type: ignore[arg-type]
                padding=padding,
                dilation=self.dilation_rate,  # type: ignore[arg-type]
                groups=groups,
                activation=activation if plain else None,
            )
            return y if plain else activations.applied(activation, y)
        y = windows.convolve(
            with_height(x) if flat else x,
            reshape(kernel, (1, *kernel.shape)) if flat else kernel,
            bias,
            stride=two(self.strides),
            padding=padding,
            dilation=two(self.dilation_rate),
            groups=groups,
            activation=activation if plain else None,
        )
        y = without_height(y) if flat else y
        return y if plain else activations.applied(activation, y)


class Conv2D(_Conv):
    __doc__ = retold(
        _Conv,
        "Convolution of images.",
        '>>> keras.layers.Conv2D(4, 3, padding="same")(np.ones((2, 8, 8, 3))).shape\n(2, 8, 8, 4)',
    )


class Conv1D(_Conv):
    __doc__ = retold(
        _Conv,
        "Convolution of sequences.",
        ">>> keras.layers.Conv1D(4, 3)(np.ones((2, 8, 3))).shape\n(2, 6, 4)",
    )
    _axes = 1


class Conv3D(_Conv):
    __doc__ = retold(
        _Conv,
        "Convolution of volumes.",
        ">>> keras.layers.Conv3D(4, 3)(np.ones((2, 5, 5, 5, 3))).shape\n(2, 3, 3, 3, 4)",
    )
    _axes = 3


Convolution1D, Convolution2D, Convolution3D = Conv1D, Conv2D, Conv3D


class DepthwiseConv2D(_Conv):
    """Convolution of each channel by itself, `depth_multiplier` filters each.

    Other parameters are those of :class:`Conv2D`, without `filters`.

    Examples
    --------
    >>> keras.layers.DepthwiseConv2D(3)(np.ones((2, 8, 8, 3))).shape
    (2, 6, 6, 3)
    """

    _constrained: ClassVar = {"depthwise": "kernel", "bias": "bias"}

    def __init__(
        self,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        depth_multiplier: int = 1,
        data_format: str | None = None,
        dilation_rate: Any = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            1,
            kernel_size,
            strides,
            padding,
            data_format,
            dilation_rate,
            1,
            activation,
            use_bias,
            depthwise_initializer,
            bias_initializer,
            depthwise_regularizer,
            bias_regularizer,
            **kwargs,
        )
        self.depth_multiplier = positive(type(self).__name__, depth_multiplier=depth_multiplier)

    def build(self, input_shape: Any) -> None:
        """Draw the weights."""
        channels = self._channels(input_shape)
        shape = (*self.kernel_size, channels, self.depth_multiplier)
        self._weights(shape, channels * self.depth_multiplier)

    def call(self, x: Tensor) -> Tensor:
        """Of shape (n, ..., channels * depth_multiplier)."""
        return self._convolved(x, _depthwise(self.kernel), self.bias, x.shape[-1])


def _depthwise(kernel: Tensor) -> Tensor:
    """A kernel (..., channels, multiplier) as that of as many groups as channels."""
    *window, channels, each = kernel.shape
    return reshape(kernel, (*window, 1, channels * each))


class DepthwiseConv1D(DepthwiseConv2D):
    """:class:`DepthwiseConv2D` of sequences.

    Examples
    --------
    >>> keras.layers.DepthwiseConv1D(3)(np.ones((2, 8, 3))).shape
    (2, 6, 3)
    """

    _axes = 1


class SeparableConv2D(_Conv):
    """A convolution of each channel by itself, then one of a window of 1 (Chollet 2017).

    Parameters are those of :class:`Conv2D`, and `depth_multiplier`.

    Examples
    --------
    >>> keras.layers.SeparableConv2D(4, 3)(np.ones((2, 8, 8, 3))).shape
    (2, 6, 6, 4)
    """

    _constrained: ClassVar = {
        "depthwise": "depthwise_kernel",
        "pointwise": "pointwise_kernel",
        "bias": "bias",
    }

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        depth_multiplier: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        pointwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        pointwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            filters,
            kernel_size,
            strides,
            padding,
            data_format,
            dilation_rate,
            1,
            activation,
            use_bias,
            depthwise_initializer,
            bias_initializer,
            depthwise_regularizer,
            bias_regularizer,
            **kwargs,
        )
        self.depth_multiplier = positive(type(self).__name__, depth_multiplier=depth_multiplier)
        self.pointwise = (pointwise_initializer, pointwise_regularizer)
        self.depthwise_kernel: Any = None
        self.pointwise_kernel: Any = None

    def build(self, input_shape: Any) -> None:
        """Draw the weights."""
        channels = self._channels(input_shape)
        each = self.depth_multiplier
        self.depthwise_kernel = self.add_weight(
            (*self.kernel_size, channels, each),
            self.initializers[0],
            regularizer=self.regularizers[0],
        )
        self.pointwise_kernel = self.add_weight(
            (*(1 for _ in self.kernel_size), channels * each, self.filters),
            self.pointwise[0],
            regularizer=self.pointwise[1],
        )
        vars(self).pop("bias")  # the last of the weights
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                (self.filters,), self.initializers[1], regularizer=self.regularizers[1]
            )
        self.built = True

    def call(self, x: Tensor) -> Tensor:
        """Of shape (n, ..., filters)."""
        kernel = _depthwise(self.depthwise_kernel)
        y = self._convolved(x, kernel, None, x.shape[-1], active=False)
        rows = reshape(self.pointwise_kernel, self.pointwise_kernel.shape[-2:])
        return activations.applied(self.activation, dense(y, rows, self.bias))


class SeparableConv1D(SeparableConv2D):
    """:class:`SeparableConv2D` of sequences.

    Examples
    --------
    >>> keras.layers.SeparableConv1D(4, 3)(np.ones((2, 8, 3))).shape
    (2, 6, 4)
    """

    _axes = 1


SeparableConvolution1D, SeparableConvolution2D = SeparableConv1D, SeparableConv2D


class _ConvTranspose(_Conv):
    """Transposed convolution, which makes images larger: parameters as of :class:`Conv2D`.

    With padding "same" the result has `strides` times the size. `output_padding` says how much is
    added at the end.

    Attributes
    ----------
    kernel : Tensor of shape (*kernel_size, filters, channels)
    bias : Tensor of shape (filters,), or None
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        output_padding: Any = None,
        data_format: str | None = None,
        dilation_rate: Any = 1,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            filters,
            kernel_size,
            strides,
            padding,
            data_format,
            dilation_rate,
            1,
            activation,
            use_bias,
            kernel_initializer,
            bias_initializer,
            kernel_regularizer,
            bias_regularizer,
            **kwargs,
        )
        axes = self._axes
        given = (
            output_padding if isinstance(output_padding, (list, tuple)) else [output_padding] * axes
        )
        self.output_padding = tuple(given)

    def build(self, input_shape: Any) -> None:
        """Draw the weights."""
        self._weights((*self.kernel_size, self.filters, self._channels(input_shape)), self.filters)

    def _cuts(self) -> tuple[list[tuple[int, int]], list[int]]:
        """What is cut off at both ends, and what is added at the end, along each axis."""
        cuts, extra = [], []
        for k, s, d, given in zip(
            self.kernel_size, self.strides, self.dilation_rate, self.output_padding, strict=True
        ):
            span = (k - 1) * d + 1
            if given is None:
                # As TensorFlow: size * stride with "same", else all that windows reach.
                more = max(s - span, 0) if self.padding == "valid" else 0
                whole = span - s if self.padding == "same" else 0
                cuts.append((max(whole, 0) // 2, max(whole, 0) - max(whole, 0) // 2))
                extra.append(more + max(-whole, 0))
            else:
                cut = span // 2 if self.padding == "same" else 0
                cuts.append((cut, cut))
                extra.append(int(given))
        return cuts, extra

    def call(self, x: Tensor) -> Tensor:
        """Of shape (n, ..., filters)."""
        flat = self._axes == 1
        cuts, extra = self._cuts()
        if self._axes == 3:
            volume = volumes.convolve_transposed(
                x,
                self.kernel,
                self.bias,
                stride=self.strides,  # type: ignore[arg-type]
                padding=tuple(cuts),  # type: ignore[arg-type]
                extra=tuple(extra),  # type: ignore[arg-type]
                dilation=self.dilation_rate,  # type: ignore[arg-type]
            )
            return activations.applied(self.activation, volume)
        if flat:
            cuts, extra = [(0, 0), *cuts], [0, *extra]
        kernel = reshape(self.kernel, (1, *self.kernel.shape)) if flat else self.kernel
        y = windows.convolve_transposed(
            with_height(x) if flat else x,
            kernel,
            self.bias,
            stride=two(self.strides),
            padding=(cuts[0], cuts[1]),
            extra=(extra[0], extra[1]),
            dilation=two(self.dilation_rate),
        )
        return activations.applied(self.activation, without_height(y) if flat else y)


class Conv2DTranspose(_ConvTranspose):
    __doc__ = retold(
        _ConvTranspose,
        "Transposed convolution of images.",
        ">>> keras.layers.Conv2DTranspose(4, 2, strides=2)(np.ones((2, 8, 8, 3))).shape\n"
        "(2, 16, 16, 4)",
    )


class Conv1DTranspose(_ConvTranspose):
    __doc__ = retold(
        _ConvTranspose,
        "Transposed convolution of sequences.",
        ">>> keras.layers.Conv1DTranspose(4, 2, strides=2)(np.ones((2, 8, 3))).shape\n(2, 16, 4)",
    )
    _axes = 1


class Conv3DTranspose(_ConvTranspose):
    __doc__ = retold(
        _ConvTranspose,
        "Transposed convolution of volumes.",
        ">>> keras.layers.Conv3DTranspose(4, 2, strides=2)(np.ones((2, 3, 3, 3, 3))).shape\n"
        "(2, 6, 6, 6, 4)",
    )
    _axes = 3


Convolution1DTranspose = Conv1DTranspose
Convolution2DTranspose = Conv2DTranspose
Convolution3DTranspose = Conv3DTranspose
