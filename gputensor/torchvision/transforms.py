"""Transforms of images: arrays of shape (height, width[, channels]), tensors (channels, h, w).

A transform whose ``batch`` is not None takes images with further axes in front, so that a loader
can transform a batch at once; results are the same.
"""

import enum
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
    "Compose",
    "ConvertImageDtype",
    "Grayscale",
    "InterpolationMode",
    "Lambda",
    "Normalize",
    "PILToTensor",
    "Pad",
    "RandomCrop",
    "RandomHorizontalFlip",
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
            weights = ops.reshape(
                ops.asarray([0.2989, 0.587, 0.114], device=image.device), (3, 1, 1)
            )
            grey = ops.sum(ops.multiply(image, weights), axis=-3, keepdims=True)
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
            return image[..., down[:, None], across] if tensor else image[down[:, None], across]
        smooth = self.antialias or not tensor
        rows, columns = _weights(high, height, smooth), _weights(wide, width, smooth)
        if tensor:
            options = {"dtype": image.dtype, "device": image.device}
            found = ops.matmul(ops.asarray(rows, **options), image)
            return ours(ops.matmul(found, ops.asarray(columns.T, **options)))
        found = np.einsum("rh,cw,hw...->rc...", rows, columns, image.astype(np.float64))
        whole = image.dtype.kind in "ui"
        return (np.clip(np.round(found), 0, 255) if whole else found).astype(image.dtype)


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
