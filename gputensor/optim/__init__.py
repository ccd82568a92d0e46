"""Optimizers, and schedules of their learning rates."""

from typing import TYPE_CHECKING

from gputensor import words
from gputensor.optim import schedules
from gputensor.optim.groups import Group
from gputensor.optim.more_rules import ASGD, Adamax, RAdam, Rprop
from gputensor.optim.optimizer import Optimizer
from gputensor.optim.optimizers import SGD, Adam, AdamW
from gputensor.optim.rules import Adadelta, Adagrad, Lion, Muon, NAdam, RMSprop
from gputensor.optim.scaler import GradScaler
from gputensor.optim.schedules import Schedule

__all__ = [
    "ASGD",
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "GradScaler",
    "Group",
    "Lion",
    "Muon",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "Rprop",
    "Schedule",
    "schedules",
]

if not TYPE_CHECKING:
    __getattr__ = words.unknown("gputensor.optim")
