"""torchvision's names: data sets, transforms, pictures of many images."""

from gputensor.torchvision import datasets, transforms, utils

__all__ = ["datasets", "transforms", "utils"]
