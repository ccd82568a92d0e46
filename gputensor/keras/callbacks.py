"""Callbacks with Keras's names."""

from gputensor.keras.naming import lacking
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
    "CSVLogger",
    "Callback",
    "CallbackList",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "ReduceLROnPlateau",
    "TerminateOnNaN",
]

__getattr__ = lacking(
    __name__,
    {
        "BackupAndRestore": "ModelCheckpoint, and load_model where training goes on",
        "OrbaxCheckpoint": "ModelCheckpoint",
        "ProgbarLogger": "verbose=1 of fit",
        "RemoteMonitor": "LambdaCallback",
        "SwapEMAWeights": "use_ema=True of the optimizer",
        "TensorBoard": "CSVLogger",
    },
)
