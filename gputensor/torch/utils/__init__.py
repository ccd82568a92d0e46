"""``torch.utils``."""

from gputensor.torch.utils import data

__all__ = ["data"]
