"""``DataLoader`` under the name of its module in PyTorch."""

from gputensor.torch.utils.data import DataLoader, default_collate

__all__ = ["DataLoader", "default_collate"]
