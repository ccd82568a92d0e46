"""Checkpoints: the whole of a training run in a file, from which it goes on with the same bits."""

from gputensor.checkpoints.checkpointer import Checkpointer
from gputensor.checkpoints.file import Checkpoint

__all__ = ["Checkpoint", "Checkpointer"]
