"""Optimizers, and schedules of their learning rates."""

from gputensor.optim import schedules
from gputensor.optim.optimizers import SGD, Adam, AdamW, Optimizer
from gputensor.optim.scaler import GradScaler
from gputensor.optim.schedules import Schedule

__all__ = ["SGD", "Adam", "AdamW", "GradScaler", "Optimizer", "Schedule", "schedules"]
