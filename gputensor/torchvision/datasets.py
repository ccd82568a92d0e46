"""Data sets of images, from ``gputensor.datasets``: its cache, mirrors and hashes."""

import os
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from gputensor.datasets import mnist as digits
from gputensor.datasets import sets
from gputensor.torch.creation import from_numpy
from gputensor.torch.tensor import ours
from gputensor.torch.utils.data import Dataset

__all__ = ["CIFAR10", "MNIST", "FashionMNIST", "VisionDataset"]

_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_CLOTHES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
_THINGS = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


class VisionDataset(Dataset[tuple[Any, Any]]):
    """Images with labels.

    Parameters
    ----------
    root : path-like
        Where torchvision keeps its files: those of MNIST's form are read if they are there. Others
        come from gputensor's cache.
    train : bool
        Training or test images.
    transform, target_transform : callable, optional
        Of an image, a uint8 array of shape (height, width) or (height, width, 3), and of a label,
        an int.
    download : bool
        Says nothing: what is not there is looked for, see ``gputensor.datasets``.

    Attributes
    ----------
    data, targets : of all images
    classes : list of str
        Their numbers by name are ``class_to_idx``, a dict.

    Examples
    --------
    >>> tensors = torchvision.transforms.ToTensor()
    >>> digits = torchvision.datasets.MNIST("data", transform=tensors)  # doctest: +SKIP
    >>> image, label = digits[0]  # doctest: +SKIP
    """

    _load: ClassVar[Callable[[], Any]] = staticmethod(digits.load_data)
    _idx = True  # whether torchvision's files are of MNIST's form
    classes: ClassVar[list[str]] = []

    def __init__(
        self,
        root: Any = None,
        train: bool = True,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
        download: bool = False,
    ) -> None:
        self.root, self.train = root, train
        self.transform, self.target_transform = transform, target_transform
        raw = os.path.join(os.path.expanduser(str(root)), type(self).__name__, "raw")
        there = self._idx and root is not None and os.path.isdir(raw)
        parts = digits.load_data(raw) if there else type(self)._load()
        images, labels = parts[0] if train else parts[1]
        self._images, self._labels = np.asarray(images), np.asarray(labels).reshape(-1)
        self._set()

    def _set(self) -> None:
        self.data: Any = from_numpy(self._images)
        self.targets: Any = from_numpy(self._labels.astype(np.int64))

    @property
    def class_to_idx(self) -> dict[str, int]:
        """Number of each class by name."""
        return {name: i for i, name in enumerate(self.classes)}

    @property
    def train_data(self) -> Any:
        """Old name of ``data``."""
        return self.data

    @property
    def train_labels(self) -> Any:
        """Old name of ``targets``."""
        return self.targets

    test_data, test_labels = train_data, train_labels

    def _image(self, index: Any) -> Any:
        return np.asarray(self.data[index])

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: Any) -> tuple[Any, Any]:
        image, target = self._image(index), int(self.targets[index])
        if self.transform is not None:
            image = self.transform(image)
        if self.target_transform is not None:
            target = self.target_transform(target)
        return image, target

    def __getbatch__(self, indices: Any) -> Any:
        """A batch at once, if the transform can do that; None if it cannot."""
        batch = getattr(self.transform, "batch", None)
        if batch is None or self.target_transform is not None:
            return None
        places = np.asarray(indices)
        images = batch(self._image(places))
        if images is None:
            return None
        targets = self.targets
        found = targets.numpy() if hasattr(targets, "numpy") else np.asarray(targets)
        return [ours(images), from_numpy(found[places])]


class MNIST(VisionDataset):
    """Digits, 28 x 28, grey.

    Examples
    --------
    >>> len(torchvision.datasets.MNIST("data", train=False))  # doctest: +SKIP
    """

    classes: ClassVar[list[str]] = [f"{i} - {name}" for i, name in enumerate(_DIGITS)]


class FashionMNIST(VisionDataset):
    """Clothes, 28 x 28, grey.

    Examples
    --------
    >>> torchvision.datasets.FashionMNIST.classes[9]
    'Ankle boot'
    """

    _load = staticmethod(sets.fashion_mnist)
    classes: ClassVar[list[str]] = list(_CLOTHES)


class CIFAR10(VisionDataset):
    """Animals and vehicles, 32 x 32, in colour; ``data`` is an array and ``targets`` a list.

    Examples
    --------
    >>> torchvision.datasets.CIFAR10.classes[:3]
    ['airplane', 'automobile', 'bird']
    """

    _load = staticmethod(sets.cifar10)
    _idx = False
    classes: ClassVar[list[str]] = list(_THINGS)

    def _set(self) -> None:
        self.data = self._images
        self.targets = self._labels.astype(np.int64).tolist()
