"""Where ``fit`` is: what a checkpoint has besides model and optimizer."""

from typing import Any

from gputensor import backend
from gputensor.autograd import Tensor, wrap
from gputensor.checkpoints import Checkpointer
from gputensor.checkpoints.checkpointer import Opened
from gputensor.distributed import rank
from gputensor.distributed.training import Team
from gputensor.errors import CheckpointError
from gputensor.training.callbacks import CallbackList
from gputensor.training.history import History
from gputensor.training.interrupts import Interrupts
from gputensor.training.measures import Measures, Sums

__all__ = ["Clock", "Progress", "chosen", "how_to_go_on"]


def chosen(resume: Any, callbacks: Any) -> tuple[Checkpointer | None, Opened | None, list[Any]]:
    """Who saves checkpoints, the one to go on from, and the other callbacks.

    Parameters
    ----------
    resume : bool, path-like or Checkpointer
        As ``fit`` takes it.
    callbacks : Callback, sequence of such, or None
    """
    given = [] if callbacks is None else callbacks
    given = list(given) if isinstance(given, (list, tuple)) else [given]
    savers = [c for c in given if isinstance(c, Checkpointer)]
    rest = [c for c in given if not isinstance(c, Checkpointer)]
    if resume is not None and not isinstance(resume, bool):
        savers.append(resume if isinstance(resume, Checkpointer) else Checkpointer(resume))
    if len({id(s) for s in savers}) > 1:
        raise ValueError("fit: give one Checkpointer, as resume= or among the callbacks")
    if resume is True and not savers:
        raise ValueError(
            "fit: resume=True goes on from the Checkpointer among the callbacks, and there is "
            "none; resume='folder' makes one"
        )
    if not savers:
        return None, None, rest
    saver = savers[0]
    resume = True if resume is None and saver.resumes else resume
    if resume is None or resume is False:
        if saver.last is None and saver.latest is not None:
            raise ValueError(
                f"fit: {saver.folder} has a checkpoint of step {saver.latest}; resume=True goes on "
                "from there, a run that begins anew needs a folder of its own"
            )
        return saver, None, rest
    opened = saver.open()
    if opened is not None and "fit" not in opened:
        raise CheckpointError(
            f"{saver.path(opened.step)}: it was not saved by fit, but by a loop; restore() takes it"
        )
    return saver, opened, rest


class Progress:
    """Where ``fit`` is.

    Attributes
    ----------
    epoch : int
        The number of the epoch, from 0 on.
    rows : int
        Done of it.
    seconds : float
        That it has taken so far.
    step : int
        Steps taken in all.
    stopped : bool
        Whether training was ended by a callback.
    ranks : list or None
        Within an epoch of several processes the :meth:`part` of each.
    """

    def __init__(
        self, model: Any, source: Any, sums: Sums, measures: Measures, history: History, told: Any
    ) -> None:
        self.epoch = self.rows = self.step = 0
        self.seconds = 0.0
        self.stopped = False
        self.ranks: list[dict[str, Any]] | None = None
        self._model = model
        self._source = source
        self._sums = sums
        self._measures = measures
        self._history = history
        self._told: CallbackList = told

    def _stateful(self) -> list[tuple[str, Any]]:
        """Layers that begin a batch with the states after the last, which are no weights."""
        return [(n, m) for n, m in self._model.named_modules() if getattr(m, "stateful", False)]

    def part(self) -> dict[str, Any]:
        """What each of several processes has of its own, as arrays."""
        return {
            "sums": self._sums.values.array,
            "gathered": {
                label: [*getattr(metric, "variables", ()), *getattr(metric, "_coming", ())]
                for label, metric in self._measures.gathered
            },
            "stateful": {name: layer.states for name, layer in self._stateful()},
        }

    def state_dict(self) -> dict[str, Any]:
        """All of it, as numbers and arrays."""
        history = self._history
        callbacks = [
            (type(c).__name__, c.state_dict())
            for c in self._told.callbacks
            if hasattr(c, "state_dict")
        ]
        return {
            "epoch": self.epoch,
            "rows": self.rows,
            "seconds": self.seconds,
            "step": self.step,
            "stopped": self.stopped,
            "source": self._source.state(),
            "measures": self._sums.names,
            "ranks": [self.part()] if self.ranks is None else self.ranks,
            "history": [history.epoch, history.seconds, history.history],
            "callbacks": callbacks,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there.

        Raises
        ------
        ValueError
            If loss, metrics or data are others. Nothing is changed then.
        """
        gathered = dict(self._measures.gathered)
        # One alone saves at the end of an epoch, where sums begin anew.
        own = state["ranks"][rank() if len(state["ranks"]) > 1 else 0]
        theirs = [*state["measures"], *own["gathered"]]
        mine = [*self._sums.names, *gathered]
        if mine != theirs:
            raise ValueError(
                f"it was made with the measures {', '.join(theirs)}; the model is compiled with "
                f"{', '.join(mine)}"
            )
        self._source.go_on(state["source"])
        for name in ("epoch", "rows", "seconds", "step", "stopped"):
            setattr(self, name, state[name])
        _fill(self._sums.values, own["sums"])
        for label, metric in gathered.items():
            _restore(label, metric, own["gathered"][label])
        for name, layer in self._stateful():
            found = own["stateful"][name]
            place = self._sums.values.device
            layer._last = found and [wrap(backend.to_device(a, place)) for a in found]
        epochs, seconds, values = state["history"]
        self._history.epoch[:] = epochs
        self._history.seconds[:] = seconds
        self._history.history.clear()
        self._history.history.update({name: list(column) for name, column in values.items()})
        left = list(state["callbacks"])
        for callback in self._told.callbacks:
            own = next((s for s in left if s[0] == type(callback).__name__), None)
            if own is not None and hasattr(callback, "load_state_dict"):
                left.remove(own)
                callback.load_state_dict(own[1])

    def save(self, saver: Checkpointer, logs: dict[str, Any]) -> None:
        """Save a checkpoint, of the place that is reached."""
        model = self._model
        saver.save(
            self.step,
            metrics={k: v for k, v in logs.items() if isinstance(v, (int, float))},
            model=model,
            optimizer=model.optimizer,
            fit=self,
        )

    def objects(self) -> dict[str, Any]:
        """What a checkpoint is brought into."""
        return {"fit": self, "model": self._model, "optimizer": self._model.optimizer}


def _restore(label: str, metric: Any, values: list[Any]) -> None:
    """Bring a metric to the sums of a checkpoint; those it has not made yet wait for that."""
    variables = list(getattr(metric, "variables", ()))
    coming = getattr(metric, "_coming", None)
    count = len(variables)
    if count > len(values) or (count < len(values) and coming is None):
        raise ValueError(f"metric {label} has {count} variables, not {len(values)}")
    for t, value in zip(variables, values, strict=False):
        _fill(t, value)
    if coming is not None:
        coming[:] = values[count:]


def _fill(t: Tensor, value: Any) -> None:
    with backend.on_device_of(t.array):
        t.array[...] = backend.to_device(value, t.device)


class Clock:
    """When a checkpoint is due, by steps; on all ranks at the same ones."""

    def __init__(
        self, saver: Checkpointer | None, progress: Progress, team: Team, interrupts: Interrupts
    ) -> None:
        self._interrupts = interrupts
        self._every = None if saver is None else saver.every
        self._saver = saver
        self._progress = progress
        self._team = team
        self._last = progress.step

    def left(self, most: int) -> int:
        """How many of the next steps there are until then, `most` at most; 1 if it is wished."""
        if self._interrupts.wished:
            return 1
        if self._every is None:
            return most
        return max(1, min(most, self._last + self._every - self._progress.step))

    def due(self) -> bool:
        """Whether one is due; not while one is being written."""
        if self._every is None or self._progress.step - self._last < self._every:
            return False
        assert self._saver is not None
        self._saver.tell()
        if self._team.any(self._saver.busy):
            return False
        self._last = self._progress.step
        return True


def how_to_go_on(progress: Progress, saver: Checkpointer | None, epochs: int) -> str:
    """What an interrupted ``fit`` says.

    Parameters
    ----------
    epochs : int
        How many there were to be.
    """
    if saver is None:
        return (
            f"Interrupted in epoch {progress.epoch + 1} of {epochs}. The model is as it was "
            f"trained so far: the same fit with initial_epoch={progress.epoch} goes on from here, "
            "in this process; with resume='folder' fit keeps checkpoints for another one."
        )
    saver.wait()
    step = saver.latest
    if step is None:
        return f"Interrupted at step {progress.step}, before the first checkpoint was saved."
    place = "" if step == progress.step else f" at step {progress.step}"
    return (
        f"Interrupted{place}: step {step} is saved. The same fit with "
        f"resume={str(saver.folder)!r} goes on from there."
    )
