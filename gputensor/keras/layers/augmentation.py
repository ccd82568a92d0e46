"""Layers that change images at random while training, on the device."""

import math
from typing import Any

from gputensor.autograd import Tensor
from gputensor.errors import ShapeError
from gputensor.keras.layers.base import Layer
from gputensor.keras.layers.regularization import generator_of
from gputensor.ops.choices import clip, where
from gputensor.ops.creation import arange
from gputensor.ops.data_type import astype
from gputensor.ops.elementwise import cos, floor, remainder, sin
from gputensor.ops.elementwise import round as rounded
from gputensor.ops.manipulation import flip, reshape
from gputensor.random import default_generator

__all__ = ["RandomCrop", "RandomFlip", "RandomRotation", "RandomTranslation", "RandomZoom"]

_FILLS = ("reflect", "wrap", "constant", "nearest")


def _bounds(name: str, key: str, factor: Any) -> tuple[float, float]:
    """Least and largest of a factor: one number is both its signs."""
    pair = tuple(factor) if isinstance(factor, (list, tuple)) else (-factor, factor)
    if len(pair) != 2 or not -math.inf < pair[0] <= pair[1] < math.inf:
        raise ValueError(
            f"{name}: {key} is {factor!r}; it must be a number of 0 or more, or a pair (least, "
            "largest)"
        )
    return float(pair[0]), float(pair[1])


def _inside(index: Tensor, size: int, fill: str) -> Tensor:
    """Numbers of pixels, those outside moved in as `fill` says."""
    if fill == "wrap":
        return remainder(index, size)
    if fill == "reflect":  # the pixel at the edge comes twice
        index = remainder(index, 2 * size)
        return where(index < size, index, 2 * size - 1 - index)
    return clip(index, 0, size - 1)


def sampled(
    x: Tensor, rows: Tensor, columns: Tensor, fill: str, value: float, interpolation: str
) -> Tensor:
    """Images at other places than their own.

    Parameters
    ----------
    x : Tensor of shape (n, height, width, channels)
    rows, columns : Tensor that broadcasts to (n, height, width)
        Where each pixel of the result is in `x`, in pixels.
    fill : {"reflect", "wrap", "constant", "nearest"}
        What is outside; with "constant" it is `value`.
    interpolation : {"bilinear", "nearest"}

    Returns
    -------
    Tensor of the shape and dtype of `x`
    """
    n, high, wide, _ = x.shape
    sample = reshape(arange(n, device=x.device), (n, 1, 1))
    corners: list[tuple[Tensor, Any, Tensor, Any]]
    if interpolation == "nearest":
        corners = [(rounded(rows), None, rounded(columns), None)]
    else:
        top, left = floor(rows), floor(columns)
        below, right = rows - top, columns - left
        corners = [
            (top + i, below if i else 1 - below, left + j, right if j else 1 - right)
            for i in (0, 1)
            for j in (0, 1)
        ]
    total: Any = None
    for row, above, column, beside in corners:
        at = tuple(
            astype(_inside(place, size, fill), "int64")
            for place, size in ((row, high), (column, wide))
        )
        part = x[(sample, *at)]
        if fill == "constant":
            here = (row >= 0) & (row < high) & (column >= 0) & (column < wide)
            part = where(reshape(here, (*here.shape, 1)), part, value)
        if above is not None:
            share = above * beside
            part = part * reshape(share, (*share.shape, 1))
        total = part if total is None else total + part
    return astype(total, x.dtype)


class _Augmentation(Layer):
    """Base: draws for each image while training, and else gives what comes."""

    built = True

    def __init__(self, seed: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed = seed
        self._generator = generator_of(seed)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The input's shape."""
        return input_shape

    def _drawn(self, x: Tensor, bounds: tuple[float, float], count: int | None = None) -> Tensor:
        """Evenly drawn numbers of shape (n, 1, 1), one for each image."""
        generator = self._generator or default_generator
        n = x.shape[0] if count is None else count
        found: Tensor = generator.uniform(*bounds, (n, 1, 1), dtype="float32", device=x.device)
        return found

    def call(self, x: Tensor) -> Tensor:
        """Of the shape of `x`, (n, height, width, channels) or of one image."""
        if not self.training:
            return x
        if x.ndim not in (3, 4):
            raise ShapeError(
                f"{type(self).__name__}: x has shape {x.shape}; it must be (n, height, width, "
                "channels)"
            )
        if x.ndim == 3:
            return self._changed(reshape(x, (1, *x.shape)))[0]
        return self._changed(x)

    def _changed(self, x: Tensor) -> Tensor:
        raise NotImplementedError


class RandomFlip(_Augmentation):
    """Mirrors images at random while training.

    Parameters
    ----------
    mode : {"horizontal_and_vertical", "horizontal", "vertical"}
        Left and right, or top and bottom, are exchanged in every second image.
    seed : int or keras.random.SeedGenerator, optional
        Where the layer's own random numbers begin.
    """

    def __init__(
        self, mode: str = "horizontal_and_vertical", seed: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(seed, **kwargs)
        if mode not in ("horizontal", "vertical", "horizontal_and_vertical"):
            raise ValueError(
                f"RandomFlip: mode is {mode!r}; allowed are 'horizontal', 'vertical', "
                "'horizontal_and_vertical'"
            )
        self._directions = mode

    def _changed(self, x: Tensor) -> Tensor:
        for axis, name in ((2, "horizontal"), (1, "vertical")):
            if name in self._directions:
                chosen = reshape(self._drawn(x, (0.0, 1.0)) < 0.5, (x.shape[0], 1, 1, 1))
                x = where(chosen, flip(x, axis=axis), x)
        return x


class _Moved(_Augmentation):
    """What layers share that move pixels."""

    def __init__(
        self,
        fill_mode: str,
        interpolation: str,
        seed: Any,
        fill_value: float,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed, **kwargs)
        name = type(self).__name__
        if fill_mode not in _FILLS:
            raise ValueError(f"{name}: fill_mode is {fill_mode!r}; allowed are {_FILLS}")
        if interpolation not in ("bilinear", "nearest"):
            raise ValueError(
                f"{name}: interpolation is {interpolation!r}; allowed are 'bilinear', 'nearest'"
            )
        self.fill_mode = fill_mode
        self.interpolation = interpolation
        self.fill_value = float(fill_value)

    def _at(self, x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        return sampled(x, rows, columns, self.fill_mode, self.fill_value, self.interpolation)


def _grid(x: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns of pixels, of shape (1, height, 1) and (1, 1, width)."""
    _, high, wide, _ = x.shape
    rows, columns = (arange(k, dtype="float32", device=x.device) for k in (high, wide))
    return reshape(rows, (1, high, 1)), reshape(columns, (1, 1, wide))


class RandomTranslation(_Moved):
    """Shifts images at random while training.

    Parameters
    ----------
    height_factor, width_factor : float or (float, float)
        The largest shift down and to the right as a share of the image's size, in both directions;
        or the least and the largest.
    fill_mode : {"reflect", "wrap", "constant", "nearest"}
        What comes in at the edges; "constant" is `fill_value`.
    interpolation : {"bilinear", "nearest"}
    seed : int or keras.random.SeedGenerator, optional
    """

    def __init__(
        self,
        height_factor: Any,
        width_factor: Any,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: Any = None,
        fill_value: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(fill_mode, interpolation, seed, fill_value, **kwargs)
        self.height_factor = height_factor
        self.width_factor = width_factor
        _bounds("RandomTranslation", "height_factor", height_factor)
        _bounds("RandomTranslation", "width_factor", width_factor)

    def _changed(self, x: Tensor) -> Tensor:
        rows, columns = _grid(x)
        _, high, wide, _ = x.shape
        down = self._drawn(x, _bounds("RandomTranslation", "height_factor", self.height_factor))
        right = self._drawn(x, _bounds("RandomTranslation", "width_factor", self.width_factor))
        return self._at(x, rows - high * down, columns - wide * right)


class RandomRotation(_Moved):
    """Turns images at random around their centre while training.

    Parameters
    ----------
    factor : float or (float, float)
        The largest angle as a share of a whole turn, in both directions; or the least and the
        largest, against the clock.
    fill_mode, interpolation, seed, fill_value : as of :class:`RandomTranslation`
    """

    def __init__(
        self,
        factor: Any,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: Any = None,
        fill_value: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(fill_mode, interpolation, seed, fill_value, **kwargs)
        self.factor = factor
        _bounds("RandomRotation", "factor", factor)

    def _changed(self, x: Tensor) -> Tensor:
        rows, columns = _grid(x)
        y, z = rows - (x.shape[1] - 1) / 2, columns - (x.shape[2] - 1) / 2
        angle = 2 * math.pi * self._drawn(x, _bounds("RandomRotation", "factor", self.factor))
        c, s = cos(angle), sin(angle)
        return self._at(
            x, c * y + s * z + (x.shape[1] - 1) / 2, c * z - s * y + (x.shape[2] - 1) / 2
        )


class RandomZoom(_Moved):
    """Makes images larger or smaller at random while training, around their centre.

    Parameters
    ----------
    height_factor, width_factor : float or (float, float)
        The largest change of size as a share, in both directions; or the least and the largest.
        Above 0 the image gets smaller. Without `width_factor` height and width change alike.
    fill_mode, interpolation, seed, fill_value : as of :class:`RandomTranslation`
    """

    def __init__(
        self,
        height_factor: Any,
        width_factor: Any = None,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: Any = None,
        fill_value: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(fill_mode, interpolation, seed, fill_value, **kwargs)
        self.height_factor = height_factor
        self.width_factor = width_factor
        _bounds("RandomZoom", "height_factor", height_factor)
        if width_factor is not None:
            _bounds("RandomZoom", "width_factor", width_factor)

    def _changed(self, x: Tensor) -> Tensor:
        rows, columns = _grid(x)
        y, z = (x.shape[1] - 1) / 2, (x.shape[2] - 1) / 2
        high = 1 + self._drawn(x, _bounds("RandomZoom", "height_factor", self.height_factor))
        wide = high
        if self.width_factor is not None:
            wide = 1 + self._drawn(x, _bounds("RandomZoom", "width_factor", self.width_factor))
        return self._at(x, (rows - y) * high + y, (columns - z) * wide + z)


class RandomCrop(_Augmentation):
    """A part of images, at a random place while training, else of the middle.

    Parameters
    ----------
    height, width : int
        Of the part.
    seed : int or keras.random.SeedGenerator, optional
    """

    def __init__(self, height: int, width: int, seed: Any = None, **kwargs: Any) -> None:
        super().__init__(seed, **kwargs)
        self.height = height
        self.width = width

    def compute_output_shape(self, input_shape: Any) -> Any:
        """With the part's height and width."""
        return (*input_shape[:-3], self.height, self.width, input_shape[-1])

    def call(self, x: Tensor) -> Tensor:
        """Of shape (n, height, width, channels), or of one image."""
        high, wide = x.shape[-3:-1]
        if self.height > high or self.width > wide:
            raise ShapeError(
                f"RandomCrop: a part of {self.height, self.width} is larger than images of "
                f"{high, wide}"
            )
        if self.training:
            return super().call(x)
        top, left = (high - self.height) // 2, (wide - self.width) // 2
        return x[..., top : top + self.height, left : left + self.width, :]

    def _changed(self, x: Tensor) -> Tensor:
        n, high, wide, _ = x.shape
        places = []
        for size, part, shape in (
            (high, self.height, (1, self.height, 1)),
            (wide, self.width, (1, 1, self.width)),
        ):
            first = floor(self._drawn(x, (0.0, float(size - part + 1))))
            places.append(astype(first, "int64") + reshape(arange(part, device=x.device), shape))
        return x[(reshape(arange(n, device=x.device), (n, 1, 1)), *places)]
