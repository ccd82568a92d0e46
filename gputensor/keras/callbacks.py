"""Callbacks with Keras's names."""

from typing import Any

from gputensor.checkpoints import Checkpointer
from gputensor.keras.naming import lacking
from gputensor.keras.tensorboard import TensorBoard
from gputensor.training.callbacks import (
    Callback,
    CallbackList,
    CSVLogger,
    EarlyStopping,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
    TerminateOnNaN,
)
from gputensor.training.history import History

__all__ = [
    "BackupAndRestore",
    "CSVLogger",
    "Callback",
    "CallbackList",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "ReduceLROnPlateau",
    "TensorBoard",
    "TerminateOnNaN",
]


class BackupAndRestore(Checkpointer):
    """Checkpoints that ``fit`` goes on from, with Keras's name: of the whole run, to the bit.

    Parameters
    ----------
    backup_dir : path-like
    save_freq : "epoch" or int
        Steps between two checkpoints; there is one after each epoch anyway.
    double_checkpoint : bool
        Whether the one before the last is kept, too.
    delete_checkpoint : bool
        Whether they are removed when ``fit`` has ended.

    Examples
    --------
    >>> backup = keras.callbacks.BackupAndRestore("backup")
    """

    resumes = True

    def __init__(
        self,
        backup_dir: Any,
        save_freq: str | int = "epoch",
        double_checkpoint: bool = False,
        delete_checkpoint: bool = True,
    ) -> None:
        if save_freq != "epoch" and not isinstance(save_freq, int):
            raise ValueError(
                f"BackupAndRestore: save_freq is {save_freq!r}; allowed are 'epoch' and ints"
            )
        every = None if isinstance(save_freq, str) else save_freq
        super().__init__(backup_dir, keep=2 if double_checkpoint else 1, every=every)
        self.delete_checkpoint = delete_checkpoint

    def ended(self) -> None:
        """Remove the checkpoints, if that is wanted."""
        for step in self.steps if self.delete_checkpoint else ():
            self.path(step).unlink(missing_ok=True)
        if self.delete_checkpoint:
            self.last = None


__getattr__ = lacking(
    __name__,
    {
        "OrbaxCheckpoint": "ModelCheckpoint",
        "ProgbarLogger": "verbose=1 of fit",
        "RemoteMonitor": "LambdaCallback",
        "SwapEMAWeights": "use_ema=True of the optimizer",
    },
)
