"""Transforms as functions: ``torchvision.transforms.functional``."""

from typing import Any

from gputensor.torchvision import transforms
from gputensor.torchvision.transforms import (
    _cut,
    _flipped,
    _raw,
    adjust_brightness,
    adjust_contrast,
    adjust_saturation,
    rotated,
)

__all__ = [
    "adjust_brightness",
    "adjust_contrast",
    "adjust_saturation",
    "center_crop",
    "convert_image_dtype",
    "crop",
    "hflip",
    "normalize",
    "pad",
    "pil_to_tensor",
    "resize",
    "rgb_to_grayscale",
    "rotate",
    "to_grayscale",
    "to_pil_image",
    "to_tensor",
    "vflip",
]


def to_tensor(pic: Any) -> Any:
    """See :class:`gputensor.torchvision.transforms.ToTensor`.

    Examples
    --------
    >>> torchvision.transforms.functional.to_tensor(np.zeros((4, 5), np.uint8)).shape
    torch.Size([1, 4, 5])
    """
    return transforms.ToTensor()(pic)


def pil_to_tensor(pic: Any) -> Any:
    """See :class:`gputensor.torchvision.transforms.PILToTensor`.

    Examples
    --------
    >>> torchvision.transforms.functional.pil_to_tensor(np.zeros((4, 5), np.uint8)).dtype
    dtype('uint8')
    """
    return transforms.PILToTensor()(pic)


def to_pil_image(pic: Any) -> Any:
    """See :class:`gputensor.torchvision.transforms.ToPILImage`.

    Examples
    --------
    >>> torchvision.transforms.functional.to_pil_image(torch.zeros(1, 4, 5)).size
    (5, 4)
    """
    return transforms.ToPILImage()(pic)


def convert_image_dtype(image: Any, dtype: Any) -> Any:
    """See :class:`gputensor.torchvision.transforms.ConvertImageDtype`.

    Examples
    --------
    >>> image = torch.tensor([[[0, 255]]], dtype=torch.uint8)
    >>> torchvision.transforms.functional.convert_image_dtype(image, torch.float32)
    tensor([[[0., 1.]]])
    """
    return transforms.ConvertImageDtype(dtype)(image)


def normalize(tensor: Any, mean: Any, std: Any, inplace: bool = False) -> Any:
    """``(tensor - mean) / std`` for each channel.

    Examples
    --------
    >>> torchvision.transforms.functional.normalize(torch.ones(1, 1, 2), [0.5], [0.25])
    tensor([[[2., 2.]]])
    """
    return transforms.Normalize(mean, std, inplace)(tensor)


def resize(img: Any, size: Any, **options: Any) -> Any:
    """See :class:`gputensor.torchvision.transforms.Resize`.

    Examples
    --------
    >>> torchvision.transforms.functional.resize(torch.ones(3, 8, 8), [4, 4]).shape
    torch.Size([3, 4, 4])
    """
    return transforms.Resize(size, **options)(img)


def pad(img: Any, padding: Any, fill: float = 0, padding_mode: str = "constant") -> Any:
    """A border; see :class:`gputensor.torchvision.transforms.Pad`.

    Examples
    --------
    >>> torchvision.transforms.functional.pad(torch.ones(1, 2, 2), 1).shape
    torch.Size([1, 4, 4])
    """
    return transforms.Pad(padding, fill, padding_mode)(img)


def crop(img: Any, top: int, left: int, height: int, width: int) -> Any:
    """A part of an image.

    Examples
    --------
    >>> torchvision.transforms.functional.crop(torch.arange(9).reshape(1, 3, 3), 1, 0, 1, 2)
    tensor([[[3, 4]]])
    """
    return _cut(_raw(img), top, left, height, width)


def center_crop(img: Any, output_size: Any) -> Any:
    """The middle.

    Examples
    --------
    >>> torchvision.transforms.functional.center_crop(torch.ones(3, 8, 8), 4).shape
    torch.Size([3, 4, 4])
    """
    return transforms.CenterCrop(output_size)(img)


def hflip(img: Any) -> Any:
    """Left and right exchanged.

    Examples
    --------
    >>> torchvision.transforms.functional.hflip(torch.tensor([[[1.0, 2.0]]]))
    tensor([[[2., 1.]]])
    """
    return _flipped(_raw(img), 1)


def vflip(img: Any) -> Any:
    """Top and bottom exchanged.

    Examples
    --------
    >>> torchvision.transforms.functional.vflip(torch.tensor([[[1.0], [2.0]]]))
    tensor([[[2.],
             [1.]]])
    """
    return _flipped(_raw(img), 0)


def rgb_to_grayscale(img: Any, num_output_channels: int = 1) -> Any:
    """Brightness of colour images.

    Examples
    --------
    >>> torchvision.transforms.functional.rgb_to_grayscale(torch.ones(3, 2, 2)).shape
    torch.Size([1, 2, 2])
    """
    return transforms.Grayscale(num_output_channels)(img)


to_grayscale = rgb_to_grayscale


def rotate(img: Any, angle: float, *, fill: float = 0.0) -> Any:
    """An image turned about its middle against the clock, by the nearest pixels.

    Examples
    --------
    >>> image = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    >>> torchvision.transforms.functional.rotate(image, 90)
    tensor([[[2., 4.],
             [1., 3.]]])
    """
    return rotated(_raw(img), angle, fill)
