"""Pictures of many images."""

import math
from typing import Any

import numpy as np

from gputensor import ops
from gputensor.autograd import Tensor as Engine
from gputensor.torch.tensor import ours

__all__ = ["make_grid", "save_image"]


def make_grid(
    tensor: Any,
    nrow: int = 8,
    padding: int = 2,
    normalize: bool = False,
    value_range: tuple[float, float] | None = None,
    scale_each: bool = False,
    pad_value: float = 0.0,
) -> Any:
    """Images side by side, `nrow` in a row.

    Parameters
    ----------
    tensor : Tensor of shape (n, channels, height, width), or list of such images
    nrow, padding : int
    normalize : bool
        Whether the smallest and largest elements, or `value_range`, become 0 and 1.
    scale_each : bool
        Whether each image by itself.
    pad_value : float

    Returns
    -------
    Tensor of shape (3, height, width)

    Examples
    --------
    >>> torchvision.utils.make_grid(torch.zeros(6, 3, 8, 8), nrow=3, padding=1).shape
    torch.Size([3, 19, 28])
    """
    if not isinstance(tensor, Engine):
        tensor = ops.stack(list(tensor))
    images = tensor.detach()
    images = ops.reshape(images, (1,) * (4 - images.ndim) + tuple(images.array.shape))
    if normalize:
        axes = (1, 2, 3) if scale_each else None
        low, high = value_range or (
            ops.min(images, axis=axes, keepdims=True),
            ops.max(images, axis=axes, keepdims=True),
        )
        images = ops.clip(images, low, high) if value_range else images
        images = (images - low) / ops.maximum(ops.asarray(high - low), 1e-5)
    n, channels, height, width = images.shape
    if channels == 1:
        images = ops.concat([images] * 3, axis=1)
    if n == 1:
        return ours(images[0])
    across = min(nrow, n)
    down = math.ceil(n / across)
    high, wide = height + padding, width + padding
    grid = ops.full(
        (images.shape[1], down * high + padding, across * wide + padding),
        pad_value,
        dtype=images.dtype,
        device=images.device,
    )
    for i in range(n):
        top, left = i // across * high + padding, i % across * wide + padding
        grid[:, top : top + height, left : left + width] = images[i]
    return ours(grid)


def save_image(tensor: Any, fp: Any, format: str | None = None, **options: Any) -> None:
    """Write a picture of :func:`make_grid`; this needs Pillow.

    Examples
    --------
    >>> torchvision.utils.save_image(torch.zeros(6, 3, 8, 8), "grid.png")  # doctest: +SKIP
    """
    from PIL import Image  # type: ignore[import-not-found, unused-ignore]

    grid = make_grid(tensor, **options).cpu().numpy()
    pixels = np.clip(grid * 255 + 0.5, 0, 255).astype(np.uint8)
    Image.fromarray(np.moveaxis(pixels, 0, -1)).save(fp, format=format)
