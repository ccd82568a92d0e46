"""Image files and arrays."""

from typing import Any

import numpy as np

from gputensor.keras.formats import checked_format

__all__ = ["array_to_img", "img_to_array", "load_img", "save_img"]

Array = np.ndarray[Any, Any]


def img_to_array(img: Any, data_format: str | None = None, dtype: Any = None) -> Array:
    """An image of Pillow as an array (height, width, channels), float32 by default.

    Examples
    --------
    >>> image = keras.utils.array_to_img(np.zeros((4, 6, 3)))  # doctest: +SKIP
    >>> keras.utils.img_to_array(image).shape  # doctest: +SKIP
    """
    x = np.asarray(img, dtype=np.float32 if dtype is None else dtype)
    checked_format("img_to_array", data_format, first=False)
    if x.ndim not in (2, 3):
        raise ValueError(f"img_to_array: img has shape {x.shape}; it must have 2 or 3 axes")
    return x[..., None] if x.ndim == 2 else x


def array_to_img(
    x: Any, data_format: str | None = None, scale: bool = True, dtype: Any = None
) -> Any:
    """An array (height, width, channels) as an image of Pillow, from black to white if `scale`.

    Examples
    --------
    >>> keras.utils.array_to_img(np.zeros((4, 6, 3))).size  # doctest: +SKIP
    """
    from PIL import Image

    values = np.asarray(x, dtype=np.float32 if dtype is None else dtype)
    checked_format("array_to_img", data_format, first=False)
    if values.ndim != 3:
        raise ValueError("array_to_img: x must have the axes height, width, channels")
    if scale:
        values = values - values.min()
        most = values.max()
        values = values / most * 255 if most else values
    if values.shape[-1] not in (1, 3, 4):
        raise ValueError(f"array_to_img: x has {values.shape[-1]} channels; allowed are 1, 3, 4")
    pixels = values.astype(np.uint8)
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def load_img(
    path: Any,
    color_mode: str = "rgb",
    target_size: Any = None,
    interpolation: str = "nearest",
    keep_aspect_ratio: bool = False,
) -> Any:
    """An image file as an image of Pillow.

    Parameters
    ----------
    path : path-like or file
    color_mode : {"grayscale", "rgb", "rgba"}
    target_size : (int, int), optional
        Height and width.
    interpolation : {"nearest", "bilinear", "bicubic", "box", "hamming", "lanczos"}
    keep_aspect_ratio : bool
        Whether the middle is cut out in the ratio of `target_size` first.

    Examples
    --------
    >>> keras.utils.load_img("cat.jpg", target_size=(32, 32)).size  # doctest: +SKIP
    (32, 32)
    """
    from PIL import Image

    modes = {"grayscale": "L", "rgb": "RGB", "rgba": "RGBA"}
    if color_mode not in modes:
        raise ValueError(f"load_img: color_mode is {color_mode!r}; allowed are {', '.join(modes)}")
    filters = ("nearest", "bilinear", "bicubic", "box", "hamming", "lanczos")
    if interpolation not in filters:
        allowed = ", ".join(filters)
        raise ValueError(f"load_img: interpolation is {interpolation!r}; allowed are {allowed}")
    found = Image.open(path)
    with found:
        image = found.convert(modes[color_mode])
    if target_size is None:
        return image
    high, wide = (int(n) for n in target_size)
    box = None
    if keep_aspect_ratio:
        width, height = image.size
        cut_high = min(height, max(width * high // wide, 1))
        cut_wide = min(width, max(height * wide // high, 1))
        left, top = (width - cut_wide) // 2, (height - cut_high) // 2
        box = (left, top, left + cut_wide, top + cut_high)
    return image.resize((wide, high), getattr(Image.Resampling, interpolation.upper()), box)


def save_img(
    path: Any,
    x: Any,
    data_format: str | None = None,
    file_format: str | None = None,
    scale: bool = True,
    **options: Any,
) -> None:
    """Write an array (height, width, channels) as an image file; see :func:`array_to_img`.

    Examples
    --------
    >>> keras.utils.save_img("black.png", np.zeros((4, 6, 3)))  # doctest: +SKIP
    """
    array_to_img(x, data_format, scale).save(path, format=file_format, **options)
