"""torchvision's names: data sets, transforms, models, pictures of many images."""

from gputensor.torch.paths import lead
from gputensor.torchvision import datasets, functional, models, transforms, utils

__all__ = ["datasets", "models", "transforms", "utils"]

lead(
    __name__,
    {
        **{f"datasets.{name}": datasets for name in ("cifar", "folder", "mnist", "vision")},
        **{f"models.{name}": models for name in ("alexnet", "resnet", "vgg")},
        **{f"transforms.{name}": transforms for name in ("transforms", "v2")},
        **{f"transforms.{name}": functional for name in ("functional", "v2.functional")},
    },
)
