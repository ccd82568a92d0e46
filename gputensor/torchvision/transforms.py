"""Transforms of images: arrays of shape (height, width[, channels]), tensors (channels, h, w).

A transform whose ``batch`` is not None takes images with further axes in front, so that a loader
can transform a batch at once; results are the same.
"""

import enum
import math
import numbers
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gputensor import ops
from gputensor import random as engine_random
from gputensor.autograd import Tensor as Engine
from gputensor.torch.creation import as_tensor
from gputensor.torch.tensor import ours

__all__ = [
    "CenterCrop",
    "ColorJitter",
    "Compose",
    "ConvertImageDtype",
    "Grayscale",
    "InterpolationMode",
    "Lambda",
    "Normalize",
    "PILToTensor",
    "Pad",
    "RandomApply",
    "RandomChoice",
    "RandomCrop",
    "RandomHorizontalFlip",
    "RandomOrder",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomVerticalFlip",
    "Resize",
    "ToDtype",
    "ToImage",
    "ToPILImage",
    "ToTensor",
]


class Compose:
    """Transforms one after the other.

    Examples
    --------
    >>> t = torchvision.transforms
    >>> both = t.Compose([t.ToTensor(), t.Normalize((0.5,), (0.5,))])
    >>> both(np.full((2, 2), 255, np.uint8))
    tensor([[[1., 1.],
             [1., 1.]]])
    """

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]) -> None:
        self.transforms = list(transforms)

    def __call__(self, img: Any) -> Any:
        for transform in self.transforms:
            img = transform(img)
        return img

    def batch(self, images: Any) -> Any:
        """Many images at once, or None if a transform cannot."""
        for transform in self.transforms:
            step = getattr(transform, "batch", None)
            if step is None:
                return None
            images = step(images)
        return images

    def __repr__(self) -> str:
        inner = "".join(f"    {t!r}\n" for t in self.transforms)
        return f"Compose(\n{inner})"


class _Named:
    def __repr__(self) -> str:
        said = ", ".join(f"{k}={v}" for k, v in vars(self).items() if not k.startswith("_"))
        return f"{type(self).__name__}({said})"


def _first(array: Any) -> Any:
    """Channels before height and width; there is one if there were none."""
    return array[None] if array.ndim == 2 else np.moveaxis(array, -1, -3)


class ToTensor(_Named):
    """Images as float32 tensors (channels, height, width) of numbers from 0 to 1.

    Examples
    --------
    >>> torchvision.transforms.ToTensor()(np.full((4, 5, 3), 255, np.uint8)).shape
    torch.Size([3, 4, 5])
    """

    def __call__(self, pic: Any) -> Any:
        array = _first(np.asarray(pic))
        if array.dtype == np.uint8:
            array = array.astype(np.float32) / np.float32(255)
        return ours(as_tensor(np.ascontiguousarray(array)))

    def batch(self, images: Any) -> Any:
        """Many images at once."""
        array = images[:, None] if images.ndim == 3 else np.moveaxis(images, -1, -3)
        return ours(as_tensor(np.ascontiguousarray(array).astype(np.float32) / np.float32(255)))


class PILToTensor(_Named):
    """Images as tensors (channels, height, width) of their own dtype.

    Examples
    --------
    >>> torchvision.transforms.PILToTensor()(np.zeros((4, 5, 3), np.uint8)).shape
    torch.Size([3, 4, 5])
    """

    def __call__(self, pic: Any) -> Any:
        return ours(as_tensor(np.array(_first(np.asarray(pic)))))


class ToImage(PILToTensor):
    """Images as tensors (channels, height, width) of their own dtype, by the name of ``v2``.

    Examples
    --------
    >>> torchvision.transforms.v2.ToImage()(np.zeros((4, 5, 3), np.uint8)).shape
    torch.Size([3, 4, 5])
    """


class ConvertImageDtype(_Named):
    """uint8 from 0 to 255 as floating point from 0 to 1.

    Examples
    --------
    >>> image = torch.tensor([[[0, 255]]], dtype=torch.uint8)
    >>> torchvision.transforms.ConvertImageDtype(torch.float32)(image)
    tensor([[[0., 1.]]])
    """

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype

    def __call__(self, image: Any) -> Any:
        scale = 255.0 if image.dtype == np.uint8 else 1.0
        return ours(ops.divide(ops.astype(image, self.dtype), scale))


class ToDtype(ConvertImageDtype):
    """Another dtype; with `scale` uint8 from 0 to 255 as floating point from 0 to 1.

    Examples
    --------
    >>> image = torch.tensor([[[0, 255]]], dtype=torch.uint8)
    >>> torchvision.transforms.v2.ToDtype(torch.float32, scale=True)(image)
    tensor([[[0., 1.]]])
    >>> torchvision.transforms.v2.ToDtype(torch.float32)(image)
    tensor([[[  0., 255.]]])
    """

    def __init__(self, dtype: Any, scale: bool = False) -> None:
        super().__init__(dtype)
        self.scale = scale

    def __call__(self, image: Any) -> Any:
        return super().__call__(image) if self.scale else ours(ops.astype(image, self.dtype))


class Normalize(_Named):
    """``(x - mean) / std`` for each channel.

    Examples
    --------
    >>> torchvision.transforms.Normalize((0.5,), (0.25,))(torch.ones(1, 1, 2))
    tensor([[[2., 2.]]])
    """

    def __init__(self, mean: Any, std: Any, inplace: bool = False) -> None:
        self.mean, self.std = mean, std

    def __call__(self, tensor: Any) -> Any:
        if not isinstance(tensor, Engine):
            raise TypeError("Normalize: put ToTensor() before it; it takes tensors")
        shape, options = (-1, 1, 1), {"dtype": tensor.dtype, "device": tensor.device}
        mean, std = (
            ops.reshape(ops.asarray(np.atleast_1d(v), **options), shape)  # type: ignore[arg-type]
            for v in (self.mean, self.std)
        )
        return ours(ops.divide(ops.subtract(tensor, mean), std))

    batch = __call__


class Lambda(_Named):
    """A function of the user's.

    Examples
    --------
    >>> torchvision.transforms.Lambda(lambda x: 1 - x)(torch.ones(1, 1, 2))
    tensor([[[0., 0.]]])
    """

    def __init__(self, lambd: Callable[[Any], Any]) -> None:
        self.lambd = lambd

    def __call__(self, img: Any) -> Any:
        return self.lambd(img)


def _pair(value: Any) -> tuple[int, int]:
    return (int(value),) * 2 if isinstance(value, numbers.Number) else tuple(value)  # type: ignore[call-overload]


def _size(image: Any) -> tuple[int, int]:
    shape = image.shape
    return tuple(shape[-2:]) if isinstance(image, Engine) or len(shape) == 2 else tuple(shape[:2])


def _cut(image: Any, top: int, left: int, height: int, width: int) -> Any:
    rows, columns = slice(top, top + height), slice(left, left + width)
    return image[..., rows, columns] if isinstance(image, Engine) else image[rows, columns]


def _picked(image: Any, rows: Any, columns: Any) -> Any:
    """Pixels by their numbers."""
    if not isinstance(image, Engine):
        return image[rows, columns]
    at = (ops.asarray(places, device=image.device) for places in (rows, columns))
    return ours(ops.getitem(image, (..., *at)))


def _raw(image: Any) -> Any:
    return image if isinstance(image, (Engine, np.ndarray)) else np.asarray(image)


class Pad(_Named):
    """A border: one width, or (left and right, top and bottom), or left, top, right, bottom.

    Examples
    --------
    >>> torchvision.transforms.Pad(1)(torch.ones(1, 1, 1))
    tensor([[[0., 0., 0.],
             [0., 1., 0.],
             [0., 0., 0.]]])
    """

    def __init__(self, padding: Any, fill: float = 0, padding_mode: str = "constant") -> None:
        self.padding, self.fill, self.padding_mode = padding, fill, padding_mode

    def __call__(self, img: Any) -> Any:
        image, p = _raw(img), self.padding
        sides = (p,) * 4 if isinstance(p, int) else tuple(p) * (2 if len(p) == 2 else 1)
        left, top, right, bottom = sides
        widths = [(top, bottom), (left, right)]
        options = {"constant_values": self.fill} if self.padding_mode == "constant" else {}
        if isinstance(image, Engine):
            whole = [(0, 0)] * (image.array.ndim - 2) + widths
            return ours(ops.pad(image, whole, self.padding_mode, **options))
        whole = widths + [(0, 0)] * (image.ndim - 2)
        return np.pad(image, whole, mode=self.padding_mode, **options)  # type: ignore[call-overload]


class CenterCrop(_Named):
    """The middle.

    Examples
    --------
    >>> torchvision.transforms.CenterCrop(2)(torch.arange(16).reshape(1, 4, 4))
    tensor([[[ 5,  6],
             [ 9, 10]]])
    """

    def __init__(self, size: Any) -> None:
        self.size = _pair(size)

    def __call__(self, img: Any) -> Any:
        image = _raw(img)
        (high, wide), (height, width) = _size(image), self.size
        return _cut(image, round((high - height) / 2), round((wide - width) / 2), height, width)


def _draw(n: int) -> int:
    return int(engine_random.default_generator.integers(n, device="cpu").item())


def _between(low: float, high: float) -> float:
    drawn = engine_random.default_generator.random(device="cpu").item()
    return low + (high - low) * float(drawn)


def _order(n: int) -> list[int]:
    """Numbers below n in random order."""
    left = list(range(n))
    return [left.pop(_draw(len(left))) for _ in range(n)]


class RandomCrop(_Named):
    """A part at a random place, of the image with a border of `padding`.

    Examples
    --------
    >>> torchvision.transforms.RandomCrop(4, padding=2)(torch.ones(3, 6, 6)).shape
    torch.Size([3, 4, 4])
    """

    def __init__(
        self, size: Any, padding: Any = None, fill: float = 0, padding_mode: str = "constant"
    ) -> None:
        self.size, self.padding = _pair(size), padding
        self._pad = None if padding is None else Pad(padding, fill, padding_mode)

    def __call__(self, img: Any) -> Any:
        image = _raw(img) if self._pad is None else self._pad(img)
        (high, wide), (height, width) = _size(image), self.size
        if height > high or width > wide:
            raise ValueError(f"RandomCrop: size {self.size} is larger than the image, {high, wide}")
        return _cut(image, _draw(high - height + 1), _draw(wide - width + 1), height, width)


def _flipped(image: Any, axis: int) -> Any:
    if isinstance(image, Engine):
        return ours(ops.flip(image, axis=axis - 2))
    return np.flip(image, axis)


class RandomHorizontalFlip(_Named):
    """Left and right exchanged, with probability `p`.

    Examples
    --------
    >>> torchvision.transforms.RandomHorizontalFlip(p=1)(torch.tensor([[[1.0, 2.0]]]))
    tensor([[[2., 1.]]])
    """

    _axis = 1

    def __init__(self, p: float = 0.5) -> None:
        self.p = p

    def __call__(self, img: Any) -> Any:
        drawn = engine_random.default_generator.random(device="cpu").item()
        return _flipped(_raw(img), self._axis) if drawn < self.p else img


class RandomVerticalFlip(RandomHorizontalFlip):
    """Top and bottom exchanged, with probability `p`.

    Examples
    --------
    >>> torchvision.transforms.RandomVerticalFlip(p=1)(torch.tensor([[[1.0], [2.0]]]))
    tensor([[[2.],
             [1.]]])
    """

    _axis = 0


class Grayscale(_Named):
    """Brightness of colour images.

    Examples
    --------
    >>> torchvision.transforms.Grayscale()(torch.ones(3, 2, 2)).shape
    torch.Size([1, 2, 2])
    """

    def __init__(self, num_output_channels: int = 1) -> None:
        self.num_output_channels = num_output_channels

    def __call__(self, img: Any) -> Any:
        image = _raw(img)
        if isinstance(image, Engine):
            grey = ops.astype(_light(image), image.dtype)
            return ours(ops.concat([grey] * self.num_output_channels, axis=-3))
        grey = np.round(image @ np.array([0.299, 0.587, 0.114])).astype(image.dtype)
        return grey if self.num_output_channels == 1 else np.stack([grey] * 3, axis=-1)


class InterpolationMode(enum.Enum):
    """How images are seen between their pixels: those two are there.

    Examples
    --------
    >>> torchvision.transforms.InterpolationMode("nearest").name
    'NEAREST'
    """

    NEAREST = "nearest"
    BILINEAR = "bilinear"


def _weights(old: int, new: int, smooth: bool) -> "np.ndarray[Any, Any]":
    """Matrix of linear interpolation; of more pixels where it makes images smaller, if smooth."""
    scale = old / new
    support = max(scale, 1.0) if smooth else 1.0
    centers = (np.arange(new)[:, None] + 0.5) * scale
    if not smooth:
        centers = np.clip(centers, 0.5, old - 0.5)
    distance = np.abs(np.arange(old)[None, :] + 0.5 - centers) / support
    weights = np.maximum(0.0, 1.0 - distance)
    return weights / weights.sum(axis=1, keepdims=True)  # type: ignore[no-any-return]


def _nearest(old: int, new: int, middle: float) -> "np.ndarray[Any, Any]":
    """Numbers of the nearest pixels, seen from that place of each new one."""
    places: Any = np.minimum((np.arange(new) + middle) * (old / new), old - 1)
    return places.astype(np.int64)  # type: ignore[no-any-return]


class Resize(_Named):
    """Another size; one number is that of the shorter side.

    Parameters
    ----------
    size : int or (height, width)
    interpolation : InterpolationMode, or a number of Pillow's
        Bilinear by default, or nearest.
    antialias : bool
        Whether pixels are means of those they come from where tensors become smaller; images
        always are, as Pillow does it.

    Examples
    --------
    >>> torchvision.transforms.Resize((1, 2))(torch.tensor([[[0.0, 0.0, 1.0, 1.0]]]))
    tensor([[[0.1429, 0.8571]]])
    """

    def __init__(
        self, size: Any, interpolation: Any = InterpolationMode.BILINEAR, antialias: bool = True
    ) -> None:
        self.size, self.antialias = size, antialias
        kinds = {0: InterpolationMode.NEAREST, 2: InterpolationMode.BILINEAR}
        self.interpolation = kinds.get(interpolation, interpolation)
        if self.interpolation not in kinds.values():
            raise ValueError(
                f"Resize: interpolation is {interpolation!r}; allowed are "
                "InterpolationMode.BILINEAR and InterpolationMode.NEAREST"
            )

    def __call__(self, img: Any) -> Any:
        image = _raw(img)
        high, wide = _size(image)
        if isinstance(self.size, int):
            scale = self.size / min(high, wide)
            height = self.size if high <= wide else int(high * scale)
            width = self.size if wide <= high else int(wide * scale)
        else:
            height, width = self.size
        tensor = isinstance(image, Engine)
        if self.interpolation is InterpolationMode.NEAREST:
            middle = 0.0 if tensor else 0.5  # as PyTorch, and as Pillow
            down, across = _nearest(high, height, middle), _nearest(wide, width, middle)
            return _picked(image, down[:, None], across)
        smooth = self.antialias or not tensor
        rows, columns = _weights(high, height, smooth), _weights(wide, width, smooth)
        if tensor:
            whole = image.dtype.kind in "ui"
            kind = ops.float32 if whole else image.dtype
            rows_on, columns_on = (
                ops.asarray(w, dtype=kind, device=image.device) for w in (rows, columns.T)
            )
            made: Any = ops.matmul(ops.matmul(rows_on, ops.astype(image, kind)), columns_on)
            return ours(ops.astype(ops.round(made), image.dtype) if whole else made)
        found: Any = np.einsum("rh,cw,hw...->rc...", rows, columns, image.astype(np.float64))
        whole = image.dtype.kind in "ui"
        return (np.clip(np.round(found), 0, 255) if whole else found).astype(image.dtype)


class RandomResizedCrop(_Named):
    """A part of random area and ratio, at a random place, resized to `size`.

    Parameters
    ----------
    size : int or (height, width)
    scale : (float, float)
        Smallest and largest area, as a share of the image's.
    ratio : (float, float)
        Smallest and largest width over height.
    interpolation, antialias : as of :class:`Resize`

    Examples
    --------
    >>> torchvision.transforms.RandomResizedCrop(4)(torch.ones(3, 9, 8)).shape
    torch.Size([3, 4, 4])
    """

    def __init__(
        self,
        size: Any,
        scale: Any = (0.08, 1.0),
        ratio: Any = (3 / 4, 4 / 3),
        interpolation: Any = InterpolationMode.BILINEAR,
        antialias: bool = True,
    ) -> None:
        self.size, self.scale, self.ratio = _pair(size), scale, ratio
        self._resize = Resize(self.size, interpolation, antialias)

    def _part(self, high: int, wide: int) -> tuple[int, int]:
        """Height and width; of ten that do not fit, the largest of an allowed ratio."""
        low, most = self.ratio
        for _ in range(10):
            area = high * wide * _between(*self.scale)
            ratio = math.exp(_between(math.log(low), math.log(most)))
            width, height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < width <= wide and 0 < height <= high:
                return height, width
        if wide / high < low:
            return round(wide / low), wide
        return high, round(min(wide / high, most) * high)

    def __call__(self, img: Any) -> Any:
        image = _raw(img)
        high, wide = _size(image)
        height, width = self._part(high, wide)
        top, left = _draw(high - height + 1), _draw(wide - width + 1)
        return self._resize(_cut(image, top, left, height, width))


def rotated(image: Any, angle: float, fill: float = 0.0) -> Any:
    """An image turned about its middle against the clock, by the nearest pixels; `fill` outside."""
    high, wide = _size(image)
    turn = math.radians(angle)
    y, x = np.mgrid[:high, :wide] + 0.5
    y, x = y - high / 2, x - wide / 2
    column = np.cos(turn) * x - np.sin(turn) * y + wide / 2
    row = np.sin(turn) * x + np.cos(turn) * y + high / 2
    inside = (column >= 0) & (column < wide) & (row >= 0) & (row < high)
    at = np.where(inside, row, 0).astype(int), np.where(inside, column, 0).astype(int)
    found = _picked(image, *at)
    if isinstance(image, Engine):
        there = ops.asarray(inside, device=image.device)
        return ours(ops.astype(ops.where(there, found, fill), image.dtype))
    there = inside[..., None] if image.ndim == 3 else inside
    return np.where(there, found, fill).astype(image.dtype)


class RandomRotation(_Named):
    """Images turned by a random angle, by the nearest pixels; the size stays.

    Parameters
    ----------
    degrees : float or (float, float)
        From where to where; one number is that on both sides.
    fill : float
        What is outside the image.

    Examples
    --------
    >>> torchvision.transforms.RandomRotation((90, 90))(torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]))
    tensor([[[2., 4.],
             [1., 3.]]])
    """

    def __init__(
        self,
        degrees: Any,
        interpolation: Any = InterpolationMode.NEAREST,
        expand: bool = False,
        center: Any = None,
        fill: float = 0,
    ) -> None:
        number = isinstance(degrees, numbers.Number)
        self.degrees: Any = (-degrees, degrees) if number else tuple(degrees)
        if expand or center is not None or interpolation not in (InterpolationMode.NEAREST, 0):
            raise ValueError(
                "RandomRotation: only interpolation=InterpolationMode.NEAREST is there, about the "
                "middle, without expand"
            )
        self.fill = fill

    def __call__(self, img: Any) -> Any:
        return rotated(_raw(img), _between(*self.degrees), self.fill)


def _blend(image: Any, other: Any, share: float) -> Any:
    """``image * share + other * (1 - share)``, within the numbers of its dtype."""
    most = 255 if image.dtype.kind == "u" else 1
    if isinstance(image, Engine):
        return ours(ops.astype(ops.clip(image * share + other * (1 - share), 0, most), image.dtype))
    return np.clip(image * share + other * (1 - share), 0, most).astype(image.dtype)


def _light(image: Any) -> Any:
    """Brightness of each pixel, in the axes of the image; whole where the image is."""
    axis = -3 if isinstance(image, Engine) else -1
    if image.ndim == 2 or image.shape[axis] == 1:
        return image
    weights = np.array([0.2989, 0.587, 0.114])
    if isinstance(image, Engine):
        factors = ops.asarray(weights.reshape(3, 1, 1), dtype=ops.float32, device=image.device)
        found: Any = ops.sum(ops.multiply(image, factors), axis=-3, keepdims=True)
        return ops.floor(found) if image.dtype.kind == "u" else found
    found = (image * weights).sum(-1, keepdims=True)
    return np.floor(found) if image.dtype.kind == "u" else found


def adjust_brightness(img: Any, brightness_factor: float) -> Any:
    """All pixels times a factor.

    Examples
    --------
    >>> torchvision.transforms.functional.adjust_brightness(torch.tensor([[[0.2, 0.6]]]), 2.0)
    tensor([[[0.4000, 1.0000]]])
    """
    return _blend(_raw(img), 0.0, brightness_factor)


def adjust_contrast(img: Any, contrast_factor: float) -> Any:
    """Distances to the mean brightness times a factor.

    Examples
    --------
    >>> torchvision.transforms.functional.adjust_contrast(torch.tensor([[[0.2, 0.6]]]), 0.5)
    tensor([[[0.3000, 0.5000]]])
    """
    image = _raw(img)
    return _blend(image, _light(image).mean(), contrast_factor)


def adjust_saturation(img: Any, saturation_factor: float) -> Any:
    """Distances to each pixel's brightness times a factor.

    Examples
    --------
    >>> torchvision.transforms.functional.adjust_saturation(torch.tensor([[[0.2, 0.6]]]), 0.0)
    tensor([[[0.2000, 0.6000]]])
    """
    image = _raw(img)
    return _blend(image, _light(image), saturation_factor)


class ColorJitter(_Named):
    """Brightness, contrast and saturation times random factors, in random order.

    Parameters
    ----------
    brightness, contrast, saturation : float or (float, float)
        How far the factor may be from 1, or from where to where it is.
    hue : 0
        Others are not supported.

    Examples
    --------
    >>> torchvision.transforms.ColorJitter(0.5, 0.5)(torch.ones(3, 4, 4)).shape
    torch.Size([3, 4, 4])
    """

    def __init__(
        self, brightness: Any = 0, contrast: Any = 0, saturation: Any = 0, hue: Any = 0
    ) -> None:
        if hue not in (0, (0, 0), [0, 0]):
            raise ValueError(f"ColorJitter: hue is {hue!r}; only 0 is supported")
        self.brightness, self.contrast, self.saturation = map(
            self._span, (brightness, contrast, saturation)
        )

    @staticmethod
    def _span(given: Any) -> tuple[float, float]:
        return (
            tuple(given) if isinstance(given, (tuple, list)) else (max(0.0, 1 - given), 1 + given)
        )

    def __call__(self, img: Any) -> Any:
        image = _raw(img)
        changes: list[tuple[Any, Any]] = [
            (adjust_brightness, self.brightness),
            (adjust_contrast, self.contrast),
            (adjust_saturation, self.saturation),
        ]
        for place in _order(len(changes)):
            change, span = changes[place]
            if tuple(span) != (1.0, 1.0):
                image = change(image, _between(*span))
        return image


class RandomApply(_Named):
    """Transforms one after the other, with probability `p`; the image itself otherwise.

    Examples
    --------
    >>> flip = torchvision.transforms.RandomHorizontalFlip(1.0)
    >>> torchvision.transforms.RandomApply([flip], p=1.0)(torch.tensor([[[1.0, 2.0]]]))
    tensor([[[2., 1.]]])
    """

    def __init__(self, transforms: Sequence[Callable[[Any], Any]], p: float = 0.5) -> None:
        self.transforms, self.p = transforms, p

    def __call__(self, img: Any) -> Any:
        return Compose([*self.transforms])(img) if _between(0.0, 1.0) < self.p else img


class RandomChoice(_Named):
    """One of several transforms, with probabilities `p`.

    Examples
    --------
    >>> double, negate = (lambda x: 2 * x), (lambda x: -x)
    >>> torchvision.transforms.RandomChoice([double, negate], p=[0, 1])(torch.ones(1, 1, 1))
    tensor([[[-1.]]])
    """

    def __init__(self, transforms: Sequence[Callable[[Any], Any]], p: Any = None) -> None:
        self.transforms, self.p = transforms, p

    def __call__(self, img: Any) -> Any:
        shares = np.ones(len(self.transforms)) if self.p is None else np.asarray(self.p, float)
        ends = np.cumsum(shares)
        place = int(np.searchsorted(ends, _between(0.0, 1.0) * ends[-1], side="right"))
        return self.transforms[place](img)


class RandomOrder(_Named):
    """Transforms one after the other, in random order.

    Examples
    --------
    >>> flip = torchvision.transforms.RandomHorizontalFlip(1.0)
    >>> torchvision.transforms.RandomOrder([flip, flip])(torch.tensor([[[1.0, 2.0]]]))
    tensor([[[1., 2.]]])
    """

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]) -> None:
        self.transforms = transforms

    def __call__(self, img: Any) -> Any:
        for place in _order(len(self.transforms)):
            img = self.transforms[place](img)
        return img


class ToPILImage(_Named):
    """A tensor (channels, height, width), or an array, as an image of Pillow.

    Examples
    --------
    >>> torchvision.transforms.ToPILImage()(torch.zeros(3, 4, 5)).size  # doctest: +SKIP
    """

    def __call__(self, pic: Any) -> Any:
        from PIL import Image  # type: ignore[import-not-found, unused-ignore]

        if isinstance(pic, Engine):
            array = pic.detach().cpu().numpy()
            array = (array * 255).astype(np.uint8) if array.dtype.kind == "f" else array
            pic = np.moveaxis(array, 0, -1)
            pic = pic[..., 0] if pic.shape[-1] == 1 else pic
        return Image.fromarray(pic)
