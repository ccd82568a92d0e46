"""``keras.preprocessing.image``."""

from typing import Any

from gputensor.keras import images
from gputensor.keras.naming import lacking
from gputensor.keras.utils import array_to_img, img_to_array, load_img, save_img

__all__ = ["array_to_img", "img_to_array", "load_img", "save_img", "smart_resize"]


def smart_resize(
    x: Any, size: Any, interpolation: str = "bilinear", data_format: str = "channels_last"
) -> Any:
    """The middle of images, in the ratio of `size`, resized to it.

    Examples
    --------
    >>> keras.preprocessing.image.smart_resize(np.ones((4, 8, 3), "float32"), (2, 2)).shape
    (2, 2, 3)
    """
    options: dict[str, Any] = {"data_format": data_format, "crop_to_aspect_ratio": True}
    return images.resize(x, size, interpolation, **options).numpy()


__getattr__ = lacking(
    __name__,
    {
        "ImageDataGenerator": "keras.layers.RandomFlip, RandomRotation and their like, and "
        "keras.utils.image_dataset_from_directory, as in Keras 3",
    },
)
