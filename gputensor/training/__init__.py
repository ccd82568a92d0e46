"""Training loops: what ``fit`` does, its callbacks and what it shows."""

from gputensor.training import callbacks
from gputensor.training.history import History
from gputensor.training.trainer import Trainer

__all__ = ["History", "Trainer", "callbacks"]
