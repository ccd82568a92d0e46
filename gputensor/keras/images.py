"""``keras.ops.image``: functions of images (n, height, width, channels), or one without n."""

from collections.abc import Callable
from typing import Any

import numpy as np

from gputensor.autograd import Tensor
from gputensor.errors import ShapeError
from gputensor.keras.formats import checked_format
from gputensor.keras.naming import lacking
from gputensor.keras.symbolic import door
from gputensor.ops import convolution, windows
from gputensor.ops.choices import clip
from gputensor.ops.creation import asarray
from gputensor.ops.data_type import astype
from gputensor.ops.elementwise import round as rounded
from gputensor.ops.manipulation import reshape
from gputensor.ops.pieces import pad
from gputensor.ops.resizing import resized
from gputensor.ops.sampling import affine

__all__ = [
    "affine_transform",
    "crop_images",
    "extract_patches",
    "pad_images",
    "resize",
    "rgb_to_grayscale",
]


def of_images(name: str, x: Any, function: Callable[[Tensor], Tensor]) -> Tensor:
    """`function` of a batch, for one image, too, and for whole numbers, which come back as such."""
    images = asarray(x)
    if images.ndim not in (3, 4):
        raise ShapeError(
            f"{name}: images have shape {images.shape}; they must be (n, height, width, channels)"
        )
    whole = images.dtype
    many = images if images.ndim == 4 else images[None]
    found = function(astype(many, np.float32) if whole.kind in "biu" else many)
    if whole.kind in "iu":
        limits = np.iinfo(whole)
        found = astype(clip(rounded(found), float(limits.min), float(limits.max)), whole)
    return found if images.ndim == 4 else found[0]


def resize(
    images: Any,
    size: Any,
    interpolation: str = "bilinear",
    antialias: bool = False,
    crop_to_aspect_ratio: bool = False,
    pad_to_aspect_ratio: bool = False,
    fill_mode: str = "constant",
    fill_value: float = 0.0,
    data_format: str | None = None,
) -> Tensor:
    """Images in another size.

    Parameters
    ----------
    images : array of shape (n, height, width, channels) or (height, width, channels)
    size : (int, int)
    interpolation : {"bilinear", "nearest", "bicubic"}
    antialias : bool
        Whether kernels are as wide as the steps between elements.
    crop_to_aspect_ratio, pad_to_aspect_ratio : bool
        Whether the middle of the right shape is taken first, or what is lacking filled.
    fill_mode : "constant"
    fill_value : float
    """
    checked_format("resize", data_format, first=False)
    if interpolation not in ("bilinear", "nearest", "bicubic"):
        raise ValueError(
            f"resize: interpolation is {interpolation!r}; allowed are 'bilinear', 'nearest' and "
            "'bicubic'"
        )
    if fill_mode != "constant":
        raise ValueError(f"resize: fill_mode is {fill_mode!r}; allowed is 'constant'")
    if crop_to_aspect_ratio and pad_to_aspect_ratio:
        raise ValueError("resize: give one of crop_to_aspect_ratio and pad_to_aspect_ratio")
    new = int(size[0]), int(size[1])

    def sized(x: Tensor) -> Tensor:
        high, wide = x.shape[1:3]
        fitting = int(wide * new[0] / new[1]), int(high * new[1] / new[0])
        if crop_to_aspect_ratio:
            h, w = max(min(high, fitting[0]), 1), max(min(wide, fitting[1]), 1)
            top, left = (high - h) // 2, (wide - w) // 2
            x = x[:, top : top + h, left : left + w]
        elif pad_to_aspect_ratio:
            more = [(max(n, f) - n) // 2 for n, f in zip((high, wide), fitting, strict=True)]
            x = pad(x, [(0, 0), *((m, m) for m in more), (0, 0)], constant_values=fill_value)
        smooth = antialias and interpolation != "nearest"
        kind = "nearest-exact" if interpolation == "nearest" else interpolation
        return resized(x, new, kind, smooth=smooth)

    return of_images("resize", images, sized)


def affine_transform(
    images: Any,
    transform: Any,
    interpolation: str = "bilinear",
    fill_mode: str = "constant",
    fill_value: float = 0.0,
    data_format: str | None = None,
) -> Tensor:
    """Images seen through maps of their places.

    Parameters
    ----------
    images : array of shape (n, height, width, channels) or (height, width, channels)
    transform : array of shape (n, 8) or (8,)
        See :func:`gputensor.ops.sampling.affine`.
    interpolation : {"bilinear", "nearest"}
    fill_mode : {"constant", "nearest", "reflect", "mirror", "wrap"}
    fill_value : float
    """
    checked_format("affine_transform", data_format, first=False)
    if interpolation not in ("bilinear", "nearest"):
        raise ValueError(
            f"affine_transform: interpolation is {interpolation!r}; allowed are 'bilinear' and "
            "'nearest'"
        )
    if fill_mode not in ("constant", "nearest", "reflect", "mirror", "wrap"):
        raise ValueError(f"affine_transform: fill_mode {fill_mode!r} is unknown")
    maps = asarray(transform, device=asarray(images).device)
    maps = maps if maps.ndim == 2 else maps[None]
    options: dict[str, Any] = {"kind": interpolation, "edge": fill_mode, "fill": fill_value}
    return of_images("affine_transform", images, lambda x: affine(x, maps, **options))


def extract_patches(
    images: Any,
    size: Any,
    strides: Any = None,
    dilation_rate: Any = 1,
    padding: str = "valid",
    data_format: str | None = None,
) -> Tensor:
    """Windows of images, each as a vector: of shape (n, rows, columns, height * width * channels).

    Parameters
    ----------
    images : array of shape (n, height, width, channels) or (height, width, channels)
    size : int or (int, int)
        Of a window.
    strides : int or (int, int), optional
        From one to the next, by default `size`.
    dilation_rate : int or (int, int)
        From one element of a window to the next.
    padding : {"valid", "same"}
    """
    checked_format("extract_patches", data_format, first=False)
    given = (size, size if strides is None else strides, dilation_rate)
    window, step, spread = (
        (int(v), int(v)) if hasattr(v, "__index__") else (int(v[0]), int(v[1])) for v in given
    )

    def cut(x: Tensor) -> Tensor:
        shape = x.shape[1:3]
        pads = windows.pads_of("extract_patches", padding, shape, window, step, spread)
        out = windows.windows_of("extract_patches", shape, window, step, spread, pads)
        before = pads[0][0], pads[1][0]
        found = convolution.unfold(
            x, window=window, stride=step, dilation=spread, before=before, out=out
        )
        return reshape(found, (x.shape[0], *out, -1))

    return of_images("extract_patches", images, cut)


def rgb_to_grayscale(images: Any, data_format: str | None = None) -> Tensor:
    """Brightness of red, green and blue, with one channel."""
    checked_format("rgb_to_grayscale", data_format, first=False)

    def grey(x: Tensor) -> Tensor:
        found: Tensor = x[..., 0:1] * 0.2989 + x[..., 1:2] * 0.587 + x[..., 2:3] * 0.114
        return found

    return of_images("rgb_to_grayscale", images, grey)


def _edges(
    name: str, size: int, before: int | None, after: int | None, target: int | None, sign: int
) -> tuple[int, int]:
    """What is put on or cut off at both ends, two of three numbers being given."""
    known = [n is not None for n in (before, after, target)]
    if sum(known) != 2:
        raise ValueError(f"{name}: give two of the two edges and the target size along each axis")
    change = 0 if target is None else sign * (target - size)
    first = change - (after or 0) if before is None else before
    last = change - first if after is None else after
    return first, last


def pad_images(
    images: Any,
    top_padding: int | None = None,
    left_padding: int | None = None,
    bottom_padding: int | None = None,
    right_padding: int | None = None,
    target_height: int | None = None,
    target_width: int | None = None,
    data_format: str | None = None,
) -> Tensor:
    """Zeros around images: along each axis two of both edges and the new size are given."""
    checked_format("pad_images", data_format, first=False)

    def padded(x: Tensor) -> Tensor:
        high, wide = x.shape[1:3]
        rows = _edges("pad_images", high, top_padding, bottom_padding, target_height, 1)
        columns = _edges("pad_images", wide, left_padding, right_padding, target_width, 1)
        return pad(x, [(0, 0), rows, columns, (0, 0)])

    return of_images("pad_images", images, padded)


def crop_images(
    images: Any,
    top_cropping: int | None = None,
    left_cropping: int | None = None,
    bottom_cropping: int | None = None,
    right_cropping: int | None = None,
    target_height: int | None = None,
    target_width: int | None = None,
    data_format: str | None = None,
) -> Tensor:
    """Images without edges: along each axis two of both edges and the new size are given."""
    checked_format("crop_images", data_format, first=False)

    def cropped(x: Tensor) -> Tensor:
        high, wide = x.shape[1:3]
        a, b = _edges("crop_images", high, top_cropping, bottom_cropping, target_height, -1)
        c, d = _edges("crop_images", wide, left_cropping, right_cropping, target_width, -1)
        return x[:, a : high - b, c : wide - d]

    return of_images("crop_images", images, cropped)


__getattr__ = lacking(
    __name__,
    {
        "gaussian_blur": "keras.ops.conv with a kernel of your own",
        "hsv_to_rgb": "colours as red, green and blue",
        "map_coordinates": "keras.ops.image.affine_transform",
        "perspective_transform": "keras.ops.image.affine_transform, whose last two numbers are it",
        "rgb_to_hsv": "colours as red, green and blue",
    },
)

globals().update({name: door(globals()[name]) for name in __all__})
