"""``torch.utils``."""

from gputensor.torch.utils import data, tensorboard

__all__ = ["data", "tensorboard"]
