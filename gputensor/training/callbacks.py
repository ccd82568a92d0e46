"""Callbacks of training: what is done at the beginning and end of training, epochs and batches."""

import csv
import math
import os
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import numpy as np

from gputensor.backend import warn_user
from gputensor.copies import Copy
from gputensor.distributed.api import is_first
from gputensor.shown import Shown

__all__ = [
    "CSVLogger",
    "Callback",
    "CallbackList",
    "EarlyStopping",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "ReduceLROnPlateau",
    "TerminateOnNaN",
]


class Callback(Shown):
    """Base class: its methods are called on the way, with the measures so far.

    Attributes
    ----------
    model : object
        What is trained.
    params : dict
        ``epochs``, ``steps`` and ``verbose``.
    writes_files : bool
        Whether all it does is to write files: where several processes train, the first does it.

    Examples
    --------
    >>> model = keras.Sequential([keras.layers.Dense(1, input_shape=(2,))])
    >>> model.compile("sgd", "mse")
    >>> calls = keras.callbacks.Callback()
    >>> history = model.fit(np.ones((4, 2)), np.ones(4), callbacks=[calls], verbose=0)
    >>> calls.model is model
    True
    """

    _kept: ClassVar[tuple[str, ...]] = ()  # attributes that a checkpoint has
    writes_files = False

    def __init__(self) -> None:
        self.params: dict[str, Any] = {}
        self._model: Any = None

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint has of the callback: numbers, texts, arrays, and trees of them."""
        return {name: getattr(self, name) for name in self._kept}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state; called after ``on_train_begin``."""
        for name in self._kept:
            setattr(self, name, state[name])

    @property
    def model(self) -> Any:
        """What is trained."""
        return self._model

    def set_params(self, params: dict[str, Any]) -> None:
        """Take note of ``epochs``, ``steps`` and ``verbose``."""
        self.params = params

    def set_model(self, model: Any) -> None:
        """Take note of what is trained."""
        self._model = model

    def on_train_begin(self, logs: Any = None) -> None:
        """Before the first epoch."""

    def on_train_end(self, logs: Any = None) -> None:
        """After the last epoch."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Before an epoch; the first is 0."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """After an epoch, and after its validation."""

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Before a step."""
        self.on_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """After a step; to read the measures so far waits for the device."""
        self.on_batch_end(batch, logs)

    def on_batch_begin(self, batch: int, logs: Any = None) -> None:
        """As ``on_train_batch_begin``."""

    def on_batch_end(self, batch: int, logs: Any = None) -> None:
        """As ``on_train_batch_end``."""

    def on_test_begin(self, logs: Any = None) -> None:
        """Before an evaluation."""

    def on_test_end(self, logs: Any = None) -> None:
        """After an evaluation."""

    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Before a batch of an evaluation."""

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        """After a batch of an evaluation."""

    def on_predict_begin(self, logs: Any = None) -> None:
        """Before a prediction."""

    def on_predict_end(self, logs: Any = None) -> None:
        """After a prediction."""

    def on_predict_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Before a batch of a prediction."""

    def on_predict_batch_end(self, batch: int, logs: Any = None) -> None:
        """After a batch of a prediction."""


_QUIET = {
    vars(Callback)[name]
    for name in (
        "on_train_batch_begin",
        "on_train_batch_end",
        "on_batch_begin",
        "on_batch_end",
        "on_test_batch_begin",
        "on_test_batch_end",
        "on_predict_batch_begin",
        "on_predict_batch_end",
    )
}


def _answers(callback: Any, *names: str) -> bool:
    """Whether a callback does something in one of the methods."""
    return any(getattr(getattr(callback, n, None), "__func__", n) not in _QUIET for n in names)


class CallbackList(Callback):
    """Several callbacks as one.

    Examples
    --------
    >>> keras.callbacks.CallbackList([keras.callbacks.History()]).callbacks[0]
    History of no epochs
    """

    def __init__(
        self, callbacks: Iterable[Any] = (), model: Any = None, params: dict[str, Any] | None = None
    ) -> None:
        super().__init__()
        if isinstance(callbacks, Callback) or callable(getattr(callbacks, "on_epoch_end", None)):
            callbacks = [callbacks]
        self.callbacks = list(callbacks)
        if not is_first():  # each of the others would write the same file
            self.callbacks = [c for c in self.callbacks if not getattr(c, "writes_files", False)]
        for i, callback in enumerate(self.callbacks):
            if isinstance(callback, type) or not hasattr(callback, "on_epoch_end"):
                what = callback.__name__ if isinstance(callback, type) else type(callback).__name__
                raise TypeError(
                    f"callbacks: item {i} must be a Callback, got "
                    + (f"the class {what}; write {what}()" if isinstance(callback, type) else what)
                )
        begins, ends = (
            ("on_train_batch_begin", "on_batch_begin"),
            (
                "on_train_batch_end",
                "on_batch_end",
            ),
        )
        self._begin = [c for c in self.callbacks if _answers(c, *begins)]
        self._end = [c for c in self.callbacks if _answers(c, *ends)]
        self._test_end = [c for c in self.callbacks if _answers(c, "on_test_batch_end")]
        for callback in self.callbacks:
            callback.set_model(model)
            callback.set_params(params or {})
        # Whether an interrupt within a callback may wait until the loop has saved.
        self.wish: Callable[[], bool] = bool

    def _tell(self, callbacks: Iterable[Any], name: str, *args: Any) -> None:
        for callback in callbacks:
            method = getattr(callback, name, None)
            if method is None:
                continue
            try:
                method(*args)
            except KeyboardInterrupt:
                if not self.wish():
                    raise

    def append(self, callback: Any) -> None:
        """Add one."""
        self.callbacks.append(callback)

    @property
    def looking(self) -> list["TerminateOnNaN"]:
        """Those that look at the loss after each batch, or on CUDA after some."""
        return [c for c in self.callbacks if isinstance(c, TerminateOnNaN)]

    @property
    def follows_batches(self) -> bool:
        """Whether something is called for each batch."""
        return bool(self._begin or self._end)

    @property
    def wants_batches(self) -> bool:
        """Whether measures after each batch are wanted."""
        return bool(self._end)

    @property
    def wants_test_batches(self) -> bool:
        """Whether measures after each batch of an evaluation are wanted."""
        return bool(self._test_end)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Call each one's."""
        self._tell(self._begin, "on_train_batch_begin", batch, logs)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Call each one's."""
        self._tell(self._end, "on_train_batch_end", batch, logs)

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        """Call each one's."""
        self._tell(self._test_end, "on_test_batch_end", batch, logs)


def _forward(name: str) -> Callable[..., None]:
    def call(self: CallbackList, *args: Any) -> None:
        self._tell(self.callbacks, name, *args)

    call.__name__, call.__doc__ = name, "Call each one's."
    return call


for _name in (
    "on_train_begin",
    "on_train_end",
    "on_epoch_begin",
    "on_epoch_end",
    "on_test_begin",
    "on_test_end",
    "on_test_batch_begin",
    "on_predict_begin",
    "on_predict_end",
    "on_predict_batch_begin",
    "on_predict_batch_end",
):
    setattr(CallbackList, _name, _forward(_name))


class _Monitor(Callback):
    """Base class of those that follow one measure."""

    _HIGHER: ClassVar[tuple[str, ...]] = ("acc", "auc", "precision", "recall", "f1", "fbeta", "iou")

    def __init__(self, monitor: str, mode: str, min_delta: float = 0.0) -> None:
        super().__init__()
        kind = type(self).__name__
        if mode not in ("auto", "min", "max"):
            raise ValueError(f"{kind}: mode is {mode!r}; allowed are 'auto', 'min' and 'max'")
        self.monitor = monitor
        self.mode = mode
        if mode == "auto":
            self.mode = "max" if any(word in monitor for word in self._HIGHER) else "min"
        self.min_delta = abs(min_delta)

    def _is_better(self, value: float, best: float) -> bool:
        if self.mode == "max":
            return value - self.min_delta > best
        return value + self.min_delta < best

    @property
    def _worst(self) -> float:
        return -math.inf if self.mode == "max" else math.inf

    def _value(self, logs: dict[str, Any] | None) -> float | None:
        """The measure; None, with a warning, if there is none of that name."""
        found = (logs or {}).get(self.monitor)
        if found is None:
            hint = ". Give fit validation_data" if self.monitor.startswith("val_") else ""
            warn_user(
                f"{type(self).__name__}: monitor is {self.monitor!r}, which was not measured; "
                f"there are {', '.join(logs or {})}{hint}"
            )
            return None
        return float(found)


class EarlyStopping(_Monitor):
    """Stop when a measure has not become better for a while.

    Parameters
    ----------
    monitor : str
    min_delta : float
        Smallest change that is one.
    patience : int
        Epochs without such a change after which training stops.
    verbose : {0, 1}
    mode : {"auto", "min", "max"}
    baseline : float, optional
        What has to be surpassed.
    restore_best_weights : bool
        Whether the weights of the best epoch are put back.
    start_from_epoch : int
        Epochs before that one are not looked at.

    Examples
    --------
    >>> keras.callbacks.EarlyStopping(monitor="val_loss", patience=3).patience
    3
    """

    _kept = ("wait", "stopped_epoch", "best", "best_epoch", "best_weights")

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.patience = patience
        self.verbose = verbose
        self.baseline = baseline
        self.restore_best_weights = restore_best_weights
        self.start_from_epoch = start_from_epoch
        self.stopped_epoch = 0
        self.best = self._worst
        self.best_epoch = 0
        self.best_weights: Any = None
        self.wait = 0

    def on_train_begin(self, logs: Any = None) -> None:
        """Begin anew."""
        self.wait = self.stopped_epoch = self.best_epoch = 0
        self.best, self.best_weights = self._worst, None

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Look at the measure."""
        value = self._value(logs)
        if value is None or epoch < self.start_from_epoch:
            return
        if self.restore_best_weights and self.best_weights is None:
            self.best_weights = _weights(self.model)
            self.best_epoch = epoch
        self.wait += 1
        if self._is_better(value, self.best):
            self.best, self.best_epoch = value, epoch
            if self.restore_best_weights:
                self.best_weights = _weights(self.model)
            if self.baseline is None or self._is_better(value, self.baseline):
                self.wait = 0
            return
        if self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs: Any = None) -> None:
        """Put the best weights back."""
        if self.stopped_epoch and self.verbose and is_first():
            print(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.restore_best_weights and self.best_weights is not None:
            if self.verbose and is_first():
                print(f"Weights are those of epoch {self.best_epoch + 1}, the best one")
            self.model.load_state_dict(self.best_weights)


def _weights(model: Any) -> dict[str, Any]:
    state: dict[str, Any] = model.state_dict()
    return state


class ModelCheckpoint(_Monitor):
    """Save the model, or its weights, after epochs.

    Parameters
    ----------
    filepath : str or path
        May have ``{epoch}``, with a `save_freq` of batches ``{batch}``, and names of measures in
        it: ``"{epoch:02d}-{val_loss:.2f}.keras"``.
    monitor : str
    verbose : {0, 1}
    save_best_only : bool
        Whether only what is better than ever before is saved.
    save_weights_only : bool
    mode : {"auto", "min", "max"}
    save_freq : "epoch" or int
        A number is of batches.
    initial_value_threshold : float, optional
        What has to be surpassed at first.

    Examples
    --------
    >>> keras.callbacks.ModelCheckpoint("best.keras", save_best_only=True).monitor
    'val_loss'
    """

    _kept = ("best", "_epoch", "_batches")
    writes_files = True

    def __init__(
        self,
        filepath: Any,
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
    ) -> None:
        super().__init__(monitor, mode)
        if save_freq != "epoch" and not isinstance(save_freq, int):
            raise ValueError(
                f"ModelCheckpoint: save_freq is {save_freq!r}; allowed are 'epoch' and ints"
            )
        self.filepath = os.fspath(filepath)
        self.verbose = verbose
        self.save_best_only = save_best_only
        self.save_weights_only = save_weights_only
        self.save_freq = save_freq
        self.best = self._worst if initial_value_threshold is None else initial_value_threshold
        self._epoch = 0
        self._batches = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Note the epoch."""
        self._epoch = epoch

    def on_batch_end(self, batch: int, logs: Any = None) -> None:
        """Save after so many batches."""
        if self.save_freq == "epoch":
            return
        self._batches += 1
        if self._batches >= int(self.save_freq):
            self._batches = 0
            self._save(self._epoch, {"batch": batch + 1, **(logs or {})})

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Save after the epoch."""
        if self.save_freq == "epoch":
            self._save(epoch, logs or {})

    def _save(self, epoch: int, logs: dict[str, Any]) -> None:
        if self.save_best_only:
            value = self._value(logs)
            if value is None or not self._is_better(value, self.best):
                return
            if self.verbose and is_first():
                print(f"Epoch {epoch + 1}: {self.monitor} {value:.5f}, it was {self.best:.5f}")
            self.best = value
        try:
            path = self.filepath.format(epoch=epoch + 1, **logs)
        except KeyError as error:
            raise ValueError(
                f"ModelCheckpoint: filepath is {self.filepath!r}, and there is no {error}; there "
                f"are {', '.join(map(repr, ['epoch', *logs]))}"
            ) from None
        if folder := os.path.dirname(path):
            os.makedirs(folder, exist_ok=True)
        if self.save_weights_only:
            self.model.save_weights(path)
        else:
            self.model.save(path)
        if self.verbose and is_first():
            print(f"Epoch {epoch + 1}: saved {path}")


class ReduceLROnPlateau(_Monitor):
    """Lower the learning rate when a measure has not become better for a while.

    Parameters
    ----------
    monitor : str
    factor : float
        Of the learning rate, below 1.
    patience : int
    verbose : {0, 1}
    mode : {"auto", "min", "max"}
    min_delta : float
    cooldown : int
        Epochs after a change that are not counted.
    min_lr : float

    Examples
    --------
    >>> keras.callbacks.ReduceLROnPlateau(factor=0.5, patience=2).factor
    0.5
    """

    _kept = ("best", "wait", "cooldown_counter")

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        if factor >= 1:
            raise ValueError(f"ReduceLROnPlateau: factor is {factor}; it must be below 1")
        self.factor = factor
        self.patience = patience
        self.verbose = verbose
        self.cooldown = cooldown
        self.min_lr = min_lr
        self.on_train_begin()

    def on_train_begin(self, logs: Any = None) -> None:
        """Begin anew."""
        self.best, self.wait, self.cooldown_counter = self._worst, 0, 0

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Look at the measure."""
        optimizer = self.model.optimizer
        if logs is not None:
            logs["learning_rate"] = float(optimizer.learning_rate)
        value = self._value(logs)
        if value is None:
            return
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.wait = 0
        if self._is_better(value, self.best):
            self.best, self.wait = value, 0
        elif self.cooldown_counter <= 0:
            self.wait += 1
            old = float(np.float32(optimizer.learning_rate))
            if self.wait >= self.patience and old > np.float32(self.min_lr):
                new = max(old * self.factor, self.min_lr)
                optimizer.learning_rate = new
                if self.verbose and is_first():
                    print(f"Epoch {epoch + 1}: the learning rate is {new:g} from here on")
                self.cooldown_counter = self.cooldown
                self.wait = 0


class LearningRateScheduler(Callback):
    """Set the learning rate before each epoch.

    Parameters
    ----------
    schedule : callable
        ``schedule(epoch, lr)`` or ``schedule(epoch)`` gives it; the first epoch is 0.
    verbose : {0, 1}

    Examples
    --------
    >>> halved = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)
    """

    def __init__(self, schedule: Callable[..., Any], verbose: int = 0) -> None:
        super().__init__()
        self.schedule = schedule
        self.verbose = verbose

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Set it."""
        rate = float(self.model.optimizer.learning_rate)
        try:
            new = self.schedule(epoch, rate)
        except TypeError:  # which takes the epoch alone
            new = self.schedule(epoch)
        if not isinstance(new, (int, float, np.number)) and getattr(new, "shape", None) != ():
            raise TypeError(
                f"LearningRateScheduler: schedule must return a number, it returned {new!r}"
            )
        self.model.optimizer.learning_rate = float(new)
        if self.verbose and is_first():
            print(f"Epoch {epoch + 1}: the learning rate is {float(new):g}")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Report it."""
        if logs is not None:
            logs["learning_rate"] = float(self.model.optimizer.learning_rate)


class CSVLogger(Callback):
    """Write a row of measures for each epoch to a file.

    Parameters
    ----------
    filename : str or path
    separator : str
    append : bool
        Whether rows are added to those that are there.

    Examples
    --------
    >>> log = keras.callbacks.CSVLogger("log.csv")
    """

    writes_files = True

    def __init__(self, filename: Any, separator: str = ",", append: bool = False) -> None:
        super().__init__()
        self.filename = os.fspath(filename)
        self.separator = separator
        self.append = append
        self._keys: list[str] | None = None
        self._file: Any = None

    def on_train_begin(self, logs: Any = None) -> None:
        """Open the file."""
        there = self.append and os.path.exists(self.filename) and os.path.getsize(self.filename)
        self._keys = None
        self._headed = bool(there)
        self._file = open(self.filename, "a" if self.append else "w", newline="")  # noqa: SIM115

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Write a row."""
        logs = logs or {}
        writer = csv.writer(self._file, delimiter=self.separator)
        if self._keys is None:
            self._keys = sorted(logs)
            if not self._headed:
                writer.writerow(["epoch", *self._keys])
        writer.writerow([epoch, *(logs.get(key, "NA") for key in self._keys)])
        self._file.flush()

    def state_dict(self) -> dict[str, Any]:
        """The columns, and what is in the file."""
        with open(self.filename, newline="") as file:
            return {"keys": self._keys, "text": file.read()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Write the rows again that were there."""
        self._keys = state["keys"]
        self._file.seek(0)
        self._file.truncate()
        self._file.write(state["text"])
        self._file.flush()
        self._headed = bool(state["text"])

    def on_train_end(self, logs: Any = None) -> None:
        """Close the file."""
        self._file.close()


class LambdaCallback(Callback):
    """Functions that are called on the way, by the names of a callback's methods.

    Examples
    --------
    >>> told = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: print(epoch))
    >>> told.on_epoch_end(3, {})
    3
    """

    def __init__(self, **functions: Any) -> None:
        super().__init__()
        for name, function in functions.items():
            if not hasattr(Callback, name):
                raise TypeError(f"LambdaCallback: {name} is none of a callback's methods")
            if function is not None:
                setattr(self, name, function)


class TerminateOnNaN(Callback):
    """Stop when the loss is NaN or infinite.

    The loss so far is copied from the device without waiting for it: training stops a few steps
    later there.

    Parameters
    ----------
    raise_error : bool
        Whether to raise RuntimeError, not to end ``fit``.

    Examples
    --------
    >>> stop = keras.callbacks.TerminateOnNaN()
    """

    def __init__(self, raise_error: bool = False) -> None:
        super().__init__()
        self.raise_error = raise_error
        self._copy: Copy | None = None

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Forget the copy of the epoch before."""
        self._copy = None

    def look(self, sums: Any, batch: int) -> None:
        """Look at the sum of losses, as far as it has come from the device."""
        if self._copy is None:
            self._copy = Copy(sums)
        if self._copy.done:
            bad = not np.isfinite(self._copy.host[0])
            self._copy = None
            if bad:
                self._stop(f"Batch {batch}")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Look at the loss of the epoch."""
        told = self.model.stop_training and not self.raise_error
        if not math.isfinite((logs or {}).get("loss", 0.0)) and not told:
            self._stop(f"Epoch {epoch + 1}")

    def _stop(self, place: str) -> None:
        text = f"{place}: the loss is NaN or infinite, training stops"
        if self.raise_error:
            raise RuntimeError(text)
        print(text)
        self.model.stop_training = True
