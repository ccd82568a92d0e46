"""Layers that prepare images and categories; those that draw at random act while training alone."""

import math
from typing import Any

import numpy as np

from gputensor.autograd import Tensor
from gputensor.errors import ShapeError
from gputensor.keras import images
from gputensor.keras.formats import checked_format
from gputensor.keras.layers.base import Layer, positive
from gputensor.keras.layers.regularization import generator_of
from gputensor.nn import functional
from gputensor.ops.choices import clip, where
from gputensor.ops.creation import asarray, zeros
from gputensor.ops.data_type import astype
from gputensor.ops.elementwise import cos, sin
from gputensor.ops.manipulation import flip, reshape, stack
from gputensor.ops.searching import searchsorted
from gputensor.ops.statistical import mean
from gputensor.ops.statistical import sum as total
from gputensor.random import default_generator

__all__ = [
    "CategoryEncoding",
    "CenterCrop",
    "Discretization",
    "RandomBrightness",
    "RandomContrast",
    "RandomCrop",
    "RandomFlip",
    "RandomGrayscale",
    "RandomInvert",
    "RandomRotation",
    "RandomShear",
    "RandomTranslation",
    "RandomZoom",
    "Resizing",
]


class Resizing(Layer):
    """Images in another size, see ``keras.ops.image.resize``.

    Parameters
    ----------
    height, width : int
    interpolation : {"bilinear", "nearest", "bicubic"}
    crop_to_aspect_ratio, pad_to_aspect_ratio : bool
    fill_mode : "constant"
    fill_value : float
    antialias : bool

    Examples
    --------
    >>> keras.layers.Resizing(4, 4)(np.ones((2, 8, 8, 3))).shape
    (2, 4, 4, 3)
    """

    built = True

    def __init__(
        self,
        height: int,
        width: int,
        interpolation: str = "bilinear",
        crop_to_aspect_ratio: bool = False,
        pad_to_aspect_ratio: bool = False,
        fill_mode: str = "constant",
        fill_value: float = 0.0,
        antialias: bool = False,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        checked_format("Resizing", data_format, first=False)
        self.height, self.width = (
            positive("Resizing", height=height),
            positive("Resizing", width=width),
        )
        self.interpolation = interpolation
        self.options: dict[str, Any] = {
            "crop_to_aspect_ratio": crop_to_aspect_ratio,
            "pad_to_aspect_ratio": pad_to_aspect_ratio,
            "fill_mode": fill_mode,
            "fill_value": fill_value,
            "antialias": antialias,
        }

    def call(self, x: Tensor) -> Tensor:
        """Of shape (n, height, width, channels)."""
        return images.resize(x, (self.height, self.width), self.interpolation, **self.options)


class CenterCrop(Layer):
    """The middle of images; smaller ones are enlarged first.

    Examples
    --------
    >>> keras.layers.CenterCrop(4, 4)(np.ones((2, 8, 8, 3))).shape
    (2, 4, 4, 3)
    """

    built = True

    def __init__(
        self, height: int, width: int, data_format: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        checked_format(type(self).__name__, data_format, first=False)
        self.height = positive(type(self).__name__, height=height)
        self.width = positive(type(self).__name__, width=width)

    def call(self, x: Tensor) -> Tensor:
        """Of shape (n, height, width, channels)."""
        high, wide = x.shape[-3:-1]
        if high < self.height or wide < self.width:
            size = (self.height, self.width)
            return images.resize(x, size, crop_to_aspect_ratio=True)
        top, left = (high - self.height) // 2, (wide - self.width) // 2
        return x[..., top : top + self.height, left : left + self.width, :]


class _Random(Layer):
    """Base: acts unless it is told that the model does not train."""

    built = True
    training = True  # also where the layer is called by itself, as in Keras

    def __init__(self, seed: Any = None, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        checked_format(type(self).__name__, data_format, first=False)
        self.seed = seed
        self._generator = generator_of(seed)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The input's shape."""
        return input_shape

    def _even(self, low: float, high: float, n: int, like: Tensor) -> Tensor:
        """Numbers evenly distributed, of shape (n, 1, 1, 1)."""
        dtype = like.dtype if like.dtype.kind == "f" else np.dtype(np.float32)
        draw = (self._generator or default_generator).uniform(
            low, high, (n, 1, 1, 1), dtype=dtype, device=like.device
        )
        found: Tensor = draw
        return found

    def call(self, x: Tensor) -> Tensor:
        """Of the shape of `x`."""
        if not self.training:
            return x
        return images.of_images(type(self).__name__, x, self._changed)

    def _changed(self, x: Tensor) -> Tensor:
        raise NotImplementedError


def _range(layer: str, name: str, factor: Any, low: float = -math.inf) -> tuple[float, float]:
    """Lower and upper bound: of one number its negative and itself."""
    pair = isinstance(factor, (list, tuple))
    ends = tuple(float(f) for f in factor) if pair else (-abs(float(factor)), abs(float(factor)))
    if len(ends) != 2 or ends[0] > ends[1] or ends[0] < low:
        raise ValueError(
            f"{layer}: {name} is {factor!r}; it must be a number, or two from the lower to the "
            "upper bound"
        )
    return ends


class RandomFlip(_Random):
    """Images turned over, each with probability one half.

    Parameters
    ----------
    mode : {"horizontal_and_vertical", "horizontal", "vertical"}
    seed : int or keras.random.SeedGenerator, optional

    Examples
    --------
    >>> keras.layers.RandomFlip()(np.ones((2, 8, 8, 3))).shape
    (2, 8, 8, 3)
    """

    def __init__(
        self, mode: str = "horizontal_and_vertical", seed: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(seed, **kwargs)
        if mode not in ("horizontal_and_vertical", "horizontal", "vertical"):
            raise ValueError(
                f"RandomFlip: mode is {mode!r}; allowed are 'horizontal', 'vertical' and "
                "'horizontal_and_vertical'"
            )
        self.ways = mode

    def _changed(self, x: Tensor) -> Tensor:
        for name, axis in (("horizontal", 2), ("vertical", 1)):
            if name in self.ways:
                x = where(self._even(0, 1, x.shape[0], x) < 0.5, flip(x, axis=axis), x)
        return x


class _Moved(_Random):
    """Base of layers that see images through maps of their places."""

    def __init__(
        self,
        fill_mode: str,
        interpolation: str,
        seed: Any,
        fill_value: float,
        data_format: str | None,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed, data_format, **kwargs)
        for setting, value, allowed in (
            ("fill_mode", fill_mode, ("reflect", "wrap", "constant", "nearest")),
            ("interpolation", interpolation, ("bilinear", "nearest")),
        ):
            if value not in allowed:
                raise ValueError(
                    f"{type(self).__name__}: {setting} is {value!r}; allowed are "
                    f"{', '.join(map(repr, allowed))}"
                )
        self.fill_mode, self.interpolation = fill_mode, interpolation
        self.fill_value = fill_value

    def _map(self, x: Tensor) -> list[Any]:
        """The numbers a0, a1, a2, b0, b1, b2 of ``keras.ops.image.affine_transform``."""
        raise NotImplementedError

    def _changed(self, x: Tensor) -> Tensor:
        none = zeros((x.shape[0],), dtype=x.dtype, device=x.device)
        numbers = [none + (reshape(k, (-1,)) if isinstance(k, Tensor) else k) for k in self._map(x)]
        return images.affine_transform(
            x,
            stack([*numbers, none, none], axis=1),
            self.interpolation,
            self.fill_mode,
            self.fill_value,
        )


class RandomRotation(_Moved):
    """Images turned about their middle.

    Parameters
    ----------
    factor : float or (float, float)
        Bounds of the turn, in full turns, against the clock.
    fill_mode : {"reflect", "wrap", "constant", "nearest"}
        What is seen outside.
    interpolation : {"bilinear", "nearest"}
    seed : int or keras.random.SeedGenerator, optional
    fill_value : float

    Examples
    --------
    >>> keras.layers.RandomRotation(0.1)(np.ones((2, 8, 8, 3))).shape
    (2, 8, 8, 3)
    """

    def __init__(
        self,
        factor: Any,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: Any = None,
        fill_value: float = 0.0,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(fill_mode, interpolation, seed, fill_value, data_format, **kwargs)
        self.factor = _range("RandomRotation", "factor", factor)

    def _map(self, x: Tensor) -> list[Any]:
        n, high, wide, _ = x.shape
        turn = self._even(self.factor[0], self.factor[1], n, x) * (2 * math.pi)
        c, s = cos(turn), sin(turn)
        i, j = (wide - 1) / 2, (high - 1) / 2
        return [c, -s, i - (c * i - s * j), s, c, j - (s * i + c * j)]


class RandomTranslation(_Moved):
    """Images moved up and down by shares of their height, and aside by shares of their width.

    Parameters
    ----------
    height_factor, width_factor : float or (float, float)
        Bounds of the shares; above 0 is down, and to the right.
    fill_mode, interpolation, seed, fill_value : as of :class:`RandomRotation`

    Examples
    --------
    >>> keras.layers.RandomTranslation(0.1, 0.1)(np.ones((2, 8, 8, 3))).shape
    (2, 8, 8, 3)
    """

    def __init__(
        self,
        height_factor: Any,
        width_factor: Any,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: Any = None,
        fill_value: float = 0.0,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(fill_mode, interpolation, seed, fill_value, data_format, **kwargs)
        self.height_factor = _range("RandomTranslation", "height_factor", height_factor, -1.0)
        self.width_factor = _range("RandomTranslation", "width_factor", width_factor, -1.0)

    def _map(self, x: Tensor) -> list[Any]:
        n, high, wide, _ = x.shape
        down = self._even(*self.height_factor, n, x) * high
        aside = self._even(*self.width_factor, n, x) * wide
        return [1, 0, -aside, 0, 1, -down]


class RandomZoom(_Moved):
    """Images seen from nearer or farther.

    Parameters
    ----------
    height_factor, width_factor : float or (float, float)
        Bounds of what is added to 1 for the share that is seen: above 0 is farther. Without the
        second one both are the same.
    fill_mode, interpolation, seed, fill_value : as of :class:`RandomRotation`

    Examples
    --------
    >>> keras.layers.RandomZoom(0.1)(np.ones((2, 8, 8, 3))).shape
    (2, 8, 8, 3)
    """

    def __init__(
        self,
        height_factor: Any,
        width_factor: Any = None,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: Any = None,
        fill_value: float = 0.0,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(fill_mode, interpolation, seed, fill_value, data_format, **kwargs)
        self.height_factor = _range("RandomZoom", "height_factor", height_factor, -1.0)
        self.width_factor = (
            None
            if width_factor is None
            else _range("RandomZoom", "width_factor", width_factor, -1.0)
        )

    def _map(self, x: Tensor) -> list[Any]:
        n, high, wide, _ = x.shape
        rows = 1 + self._even(*self.height_factor, n, x)
        columns = rows if self.width_factor is None else 1 + self._even(*self.width_factor, n, x)
        i, j = (wide - 1) / 2, (high - 1) / 2
        return [columns, 0, i * (1 - columns), 0, rows, j * (1 - rows)]


class RandomShear(_Moved):
    """Rows moved aside by shares of their place, and columns.

    Parameters
    ----------
    x_factor, y_factor : float or (float, float)
        Bounds of the shares.
    interpolation, fill_mode, fill_value, seed : as of :class:`RandomRotation`

    Examples
    --------
    >>> keras.layers.RandomShear(0.2, 0.2)(gt.ones((2, 4, 4, 1)), training=True).shape
    (2, 4, 4, 1)
    """

    def __init__(
        self,
        x_factor: Any = 0.0,
        y_factor: Any = 0.0,
        interpolation: str = "bilinear",
        fill_mode: str = "reflect",
        fill_value: float = 0.0,
        data_format: str | None = None,
        seed: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(fill_mode, interpolation, seed, fill_value, data_format, **kwargs)
        self.x_factor = _range("RandomShear", "x_factor", x_factor)
        self.y_factor = _range("RandomShear", "y_factor", y_factor)

    def _map(self, x: Tensor) -> list[Any]:
        n = x.shape[0]
        return [1, self._even(*self.x_factor, n, x), 0, self._even(*self.y_factor, n, x), 1, 0]


class RandomContrast(_Random):
    """Each image drawn to its channels' means, or away: ``(x - mean) * factor + mean``.

    Parameters
    ----------
    factor : float or (float, float)
        The factor is from ``1 - lower`` to ``1 + upper``.
    value_range : (float, float)
        What results are kept within.
    seed : int or keras.random.SeedGenerator, optional

    Examples
    --------
    >>> keras.layers.RandomContrast(0.1)(np.ones((2, 8, 8, 3))).shape
    (2, 8, 8, 3)
    """

    def __init__(
        self, factor: Any, value_range: Any = (0, 255), seed: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(seed, **kwargs)
        pair = isinstance(factor, (list, tuple))
        self.lower, self.upper = (float(f) for f in (factor if pair else (factor, factor)))
        self.value_range = tuple(value_range)

    def _changed(self, x: Tensor) -> Tensor:
        factor = self._even(1 - self.lower, 1 + self.upper, x.shape[0], x)
        middle = mean(x, axis=(1, 2), keepdims=True)
        return clip((x - middle) * factor + middle, *self.value_range)


class RandomBrightness(_Random):
    """Each image made brighter or darker by a share of the range of values.

    Parameters
    ----------
    factor : float or (float, float)
        Bounds of the share.
    value_range : (float, float)
    seed : int or keras.random.SeedGenerator, optional

    Examples
    --------
    >>> keras.layers.RandomBrightness(0.1)(np.ones((2, 8, 8, 3))).shape
    (2, 8, 8, 3)
    """

    def __init__(
        self, factor: Any, value_range: Any = (0, 255), seed: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(seed, **kwargs)
        self.factor = _range("RandomBrightness", "factor", factor, -1.0)
        self.value_range = tuple(value_range)

    def _changed(self, x: Tensor) -> Tensor:
        low, high = self.value_range
        more = self._even(*self.factor, x.shape[0], x) * (high - low)
        return clip(x + more, low, high)


class RandomGrayscale(_Random):
    """Images without their colours, each with probability `factor`.

    Examples
    --------
    >>> keras.layers.RandomGrayscale(1.0)(np.ones((1, 2, 2, 3)), training=True).shape
    (1, 2, 2, 3)
    """

    def __init__(self, factor: float = 0.5, seed: Any = None, **kwargs: Any) -> None:
        super().__init__(seed, **kwargs)
        self.factor = factor

    def _changed(self, x: Tensor) -> Tensor:
        return where(
            self._even(0, 1, x.shape[0], x) < self.factor, images.rgb_to_grayscale(x) + 0 * x, x
        )


class RandomInvert(_Random):
    """Images of the opposite brightness, each with probability `factor`.

    Examples
    --------
    >>> keras.layers.RandomInvert()(np.full((1, 2, 2, 1), 55.0), training=True)[0, 0, 0]
    tensor([200.], dtype=float32)
    """

    def __init__(
        self, factor: float = 1.0, value_range: Any = (0, 255), seed: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(seed, **kwargs)
        self.factor = factor
        self.value_range = tuple(value_range)

    def _changed(self, x: Tensor) -> Tensor:
        return where(self._even(0, 1, x.shape[0], x) < self.factor, sum(self.value_range) - x, x)


class RandomCrop(_Random):
    """A part of images, the same of all in a batch; their middle while the model does not train.

    Examples
    --------
    >>> keras.layers.RandomCrop(4, 4)(np.ones((2, 8, 8, 3))).shape
    (2, 4, 4, 3)
    """

    def __init__(
        self,
        height: int,
        width: int,
        seed: Any = None,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed, data_format, **kwargs)
        self.height = positive("RandomCrop", height=height)
        self.width = positive("RandomCrop", width=width)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """That of the part."""
        return (*input_shape[:-3], self.height, self.width, input_shape[-1])

    def call(self, x: Tensor) -> Tensor:
        """Of shape (n, height, width, channels)."""
        size = self.height, self.width
        high, wide = x.shape[-3:-1]
        if high < size[0] or wide < size[1]:
            return images.resize(x, size, crop_to_aspect_ratio=True)
        top, left = (high - size[0]) // 2, (wide - size[1]) // 2
        if self.training:
            generator = self._generator or default_generator
            ends = (high - size[0] + 1, wide - size[1] + 1)
            top, left = (int(generator.integers(0, n, (), device="cpu").item()) for n in ends)
        return x[..., top : top + size[0], left : left + size[1], :]


class CategoryEncoding(Layer):
    """Whole numbers as rows of 0 and 1, or counts.

    Parameters
    ----------
    num_tokens : int
        Numbers are below it.
    output_mode : {"multi_hot", "one_hot", "count"}
        A row for each sample with a 1 at each of its numbers; a row for each number; or a row of
        how often each is there.

    Examples
    --------
    >>> keras.layers.CategoryEncoding(num_tokens=3)(np.array([[0, 2]]))
    tensor([[1., 0., 1.]], dtype=float32)
    """

    built = True

    def __init__(
        self,
        num_tokens: int | None = None,
        output_mode: str = "multi_hot",
        sparse: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(sparse=sparse or None, **kwargs)
        if num_tokens is None:
            raise ValueError("CategoryEncoding: num_tokens is missing; numbers must be below it")
        if output_mode not in ("multi_hot", "one_hot", "count"):
            raise ValueError(
                f"CategoryEncoding: output_mode is {output_mode!r}; allowed are 'multi_hot', "
                "'one_hot' and 'count'"
            )
        self.num_tokens = positive("CategoryEncoding", num_tokens=num_tokens)
        self.output_mode = output_mode

    def call(self, x: Tensor, count_weights: Any = None) -> Tensor:
        """Of shape (..., num_tokens)."""
        return encoded(
            astype(asarray(x), np.int64), self.num_tokens, self.output_mode, count_weights
        )


def encoded(numbers: Tensor, count: int, mode: str, weights: Any = None) -> Tensor:
    """Rows of numbers below `count`, in the modes of :class:`CategoryEncoding`."""
    if mode == "one_hot" and numbers.ndim > 1 and numbers.shape[-1] == 1:
        numbers = numbers[..., 0]
    rows = astype(functional.one_hot(numbers, count), np.float32)
    if mode == "one_hot" or not numbers.ndim:
        return rows
    if weights is not None:
        rows = rows * reshape(asarray(weights), (*numbers.shape, 1))
    if numbers.ndim == 1:
        rows = rows[None] if mode != "multi_hot" else rows
        return rows[0] if mode != "multi_hot" else rows.max(axis=0)
    return total(rows, axis=-2) if mode == "count" else rows.max(axis=-2)


class Discretization(Layer):
    """Numbers of the intervals that values are in.

    Parameters
    ----------
    bin_boundaries : sequence of float, optional
        Where intervals meet; a value at one is in the upper interval.
    num_bins : int, optional
        How many intervals :meth:`adapt` makes, with as many values in each.
    epsilon : float
        Is not used: quantiles are exact.
    output_mode : {"int", "one_hot", "multi_hot", "count"}

    Examples
    --------
    >>> keras.layers.Discretization(bin_boundaries=[0.0, 1.0])(np.float32([[-1.0, 0.5, 2.0]]))
    tensor([[0, 1, 2]])
    """

    built = True

    def __init__(
        self,
        bin_boundaries: Any = None,
        num_bins: int | None = None,
        epsilon: float = 0.01,
        output_mode: str = "int",
        sparse: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(sparse=sparse or None, **kwargs)
        if (bin_boundaries is None) == (num_bins is None):
            raise ValueError("Discretization: give either bin_boundaries or num_bins")
        if output_mode not in ("int", "one_hot", "multi_hot", "count"):
            raise ValueError(f"Discretization: output_mode {output_mode!r} is unknown")
        self.bin_boundaries = None if bin_boundaries is None else [float(b) for b in bin_boundaries]
        self.num_bins = num_bins
        self.output_mode = output_mode

    def get_config(self) -> dict[str, Any]:
        """As of every layer, with the boundaries that it has now."""
        found = super().get_config()
        if self.bin_boundaries is not None:
            found |= {"bin_boundaries": list(self.bin_boundaries), "num_bins": None}
        return found

    def adapt(self, data: Any) -> None:
        """Put the boundaries at quantiles of a data set."""
        if self.num_bins is None:
            return
        values = np.asarray(data.numpy() if isinstance(data, Tensor) else data, np.float64)
        shares = np.arange(1, self.num_bins) / self.num_bins
        self.bin_boundaries = np.unique(np.quantile(values, shares)).tolist()

    def call(self, x: Tensor) -> Tensor:
        """Numbers of the shape of `x`, or rows of them."""
        if self.bin_boundaries is None:
            raise ShapeError("Discretization: it has no boundaries yet; call adapt(data) first")
        x = asarray(x)
        dtype = x.dtype if x.dtype.kind == "f" else np.dtype(np.float32)
        limits = asarray(np.asarray(self.bin_boundaries), dtype=dtype, device=x.device)
        found = searchsorted(limits, astype(x, dtype), side="right")
        if self.output_mode == "int":
            return astype(found, np.int64)
        return encoded(astype(found, np.int64), len(self.bin_boundaries) + 1, self.output_mode)
