"""``torch.utils``."""

from gputensor.torch.utils import checkpoint, data, tensorboard

__all__ = ["checkpoint", "data", "tensorboard"]
