"""torchvision's names: data sets, transforms, models, pictures of many images."""

from gputensor.torchvision import datasets, models, transforms, utils

__all__ = ["datasets", "models", "transforms", "utils"]
