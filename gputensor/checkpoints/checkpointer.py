"""Saves and restores the whole of a training run."""

import contextlib
import math
import os
import re
import threading
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gputensor import backend, files, tensor_files
from gputensor.autograd import Tensor, changed
from gputensor.checkpoints import file
from gputensor.checkpoints.file import Checkpoint
from gputensor.checkpoints.staging import Staging
from gputensor.copies import host_copy
from gputensor.errors import CheckpointError
from gputensor.random import Generator
from gputensor.random.everywhere import set_shared_state, shared_state

__all__ = ["Checkpointer"]

_NAME = re.compile(r"step-(\d{9,})\.safetensors")
# What JSON of another form than ours raises.
_MALFORMED = AttributeError, LookupError, TypeError, ValueError, RecursionError
_HIGHER = ("acc", "auc", "precision", "recall", "f1", "fbeta", "iou")


class Checkpointer:
    """Saves the state of a run in a folder, and brings it back.

    A checkpoint is one safetensors file. It is there whole or not at all, whatever the moment at
    which the process is killed, and is refused where it was changed since.

    Parameters
    ----------
    folder : path-like
        Of the run's own; made where it is missing.
    keep : int
        How many of the last checkpoints stay.
    monitor : str, optional
        Name of a metric, such as ``"val_loss"``; the checkpoint in which it was best stays, too.
    mode : {"auto", "min", "max"}
        Which is better; "auto" goes by the name.
    every : int, optional
        In ``fit``: steps between two checkpoints. There is one after each epoch anyway.

    Attributes
    ----------
    last : int or None
        The step that the run went on from, or has saved last.

    Examples
    --------
    >>> checkpoints = gt.checkpoints.Checkpointer("runs/a")
    >>> model = gt.nn.Dense(2, 1)
    >>> optimizer = gt.optim.SGD(model.parameters(), lr=0.1)
    >>> found = checkpoints.restore(model=model, optimizer=optimizer)
    >>> for step in range(found.step if found else 0, 20):
    ...     optimizer.zero_grad()
    ...     (model(gt.ones((4, 2))) ** 2).mean().backward()
    ...     optimizer.step()
    ...     if (step + 1) % 10 == 0:
    ...         checkpoints.save(step + 1, model=model, optimizer=optimizer)
    >>> checkpoints.wait()
    """

    resumes = False  # whether ``fit`` goes on from the latest without being asked

    def __init__(
        self,
        folder: "str | os.PathLike[str]",
        *,
        keep: int = 3,
        monitor: str | None = None,
        mode: str = "auto",
        every: int | None = None,
    ) -> None:
        for name, value in (("keep", keep), ("every", every)):
            wrong = isinstance(value, bool) or not isinstance(value, int) or value < 1
            if wrong and not (name == "every" and value is None):
                raise ValueError(f"Checkpointer: {name} is {value!r}; it must be a positive int")
        if mode not in ("auto", "min", "max"):
            raise ValueError(f"Checkpointer: mode is {mode!r}; allowed are 'auto', 'min' and 'max'")
        if not isinstance(folder, (str, os.PathLike)) or not os.fspath(folder):
            raise TypeError(f"Checkpointer: folder is {folder!r}; it must be the path of a folder")
        # The program may change its working folder later.
        self.folder = Path(os.path.abspath(os.path.expanduser(folder)))
        if os.path.lexists(self.folder) and not self.folder.is_dir():
            raise NotADirectoryError(f"Checkpointer: {self.folder} is there, and is no folder")
        self.keep = keep
        self.monitor = monitor
        self.every = every
        highest = mode == "max" or (
            mode == "auto" and monitor is not None and any(word in monitor for word in _HIGHER)
        )
        self._sign = -1.0 if highest else 1.0
        self._staging = Staging()
        self._thread: threading.Thread | None = None
        self._written = threading.Event()
        self._error: BaseException | None = None
        self._told = self._missed = False
        self._scores: dict[int, float] = {}
        self.last: int | None = None
        files.clear_leftovers(self.folder)

    def __repr__(self) -> str:
        return f"Checkpointer({str(self.folder)!r}, steps={self.steps})"

    def ended(self) -> None:
        """What is done when ``fit`` has ended by itself: nothing."""

    # What is there

    def path(self, step: int) -> Path:
        """The file of a step."""
        return self.folder / f"step-{step:09d}.safetensors"

    @property
    def steps(self) -> list[int]:
        """Steps of the checkpoints that are there, in order."""
        try:
            names = os.listdir(self.folder)
        except OSError:
            return []
        return sorted(int(found[1]) for name in names if (found := _NAME.fullmatch(name)))

    @property
    def latest(self) -> int | None:
        """The last step of which there is a checkpoint."""
        return self.steps[-1] if self.steps else None

    @property
    def best(self) -> int | None:
        """The step in which :attr:`monitor` was best, of those that are there."""
        scores = {step: score for step in self.steps if (score := self._score(step)) < math.inf}
        return min(scores, key=lambda step: (scores[step], -step)) if scores else None

    def _score(self, step: int) -> float:
        """What is least in the best checkpoint; infinity where that is not known."""
        if step not in self._scores:
            score = math.inf
            if self.monitor is not None:
                # One that is damaged has none: its checksum is not looked at here.
                with contextlib.suppress(CheckpointError, OSError, *_MALFORMED):
                    found = file.read_content(self.path(step))
                    value = tensor_files.built(found["metrics"], {})[self.monitor]
                    score = self._sign * float(value)
            self._scores[step] = math.inf if math.isnan(score) else score
        return self._scores[step]

    # Saving

    @property
    def busy(self) -> bool:
        """Whether a checkpoint is being written."""
        return self._thread is not None and not self._written.is_set()

    def save(self, step: int, *, metrics: dict[str, Any] | None = None, **what: Any) -> None:
        """Save a checkpoint; it is written by a thread while training goes on.

        Training may change everything as soon as this returns. If the one before is still being
        written, that is waited for. What keeps a checkpoint from being written, such as a full
        disk, is a warning, once, and no error: training goes on, and the next one may succeed.

        Parameters
        ----------
        step : int
            Steps taken so far.
        metrics : dict of str to float, optional
            Measures, of which `monitor` is one.
        **what
            By name: modules, optimizers, loss scales, generators (NumPy's, too) and other objects
            with ``state_dict()`` and ``load_state_dict()``; numbers, texts, arrays, and dicts,
            lists and tuples of them. The generators that programs share (gputensor's own,
            NumPy's and Python's) are saved without being named.

        Raises
        ------
        TypeError
            If something is neither.
        ValueError
            If there are later checkpoints of another run.
        """
        if isinstance(step, bool) or not isinstance(step, (int, np.integer)) or step < 0:
            raise ValueError(f"save: step is {step!r}; it must be an int from 0 on")
        step = int(step)
        measured = _measured(metrics)
        self._miss(measured)
        self.wait()
        self._check_order(step)
        if self._thread is not None:
            self._thread.join()  # which may still give back the space of older ones
        content = self._stage(step, measured, what)
        self._scores.pop(step, None)
        self.last = step
        self._written.clear()
        # No daemon: Python ends when it has written.
        self._thread = threading.Thread(target=self._write, args=(step, content))
        self._thread.start()

    def _check_order(self, step: int) -> None:
        latest = self.latest
        if latest is None or latest < step or self.last is not None:
            return
        raise ValueError(
            f"save: {self.folder} has a checkpoint of step {latest}, and this is one of step "
            f"{step}; go on from there with restore(), or give the run a folder of its own"
        )

    def _miss(self, metrics: dict[str, float]) -> None:
        """Warn, once, if what is monitored is none of the metrics."""
        if self.monitor is None or self.monitor in metrics or self._missed or not metrics:
            return
        self._missed = True
        warnings.warn(
            f"Checkpointer: monitor is {self.monitor!r}, and the metrics of this checkpoint are "
            f"{', '.join(metrics)}; the best one is chosen of those that have it",
            UserWarning,
            stacklevel=3,
        )

    def _stage(self, step: int, metrics: dict[str, float], what: dict[str, Any]) -> dict[str, Any]:
        """Copy all that is to be saved; what is JSON of it is the result."""
        staging = self._staging
        staging.begin()
        into = _Taking(staging)
        tree = {}
        for name, value in what.items():
            kind, state = _state_of(name, value)
            tree[name] = [kind, tensor_files.plan("save", state, name, into, _same)]
        random = tensor_files.plan("save", shared_state(), "random", into, _same)
        plain = tensor_files.plan("save", metrics, "metrics", {})
        staging.taken()
        return {"step": step, "metrics": plain, "random": random, "what": tree}

    def _write(self, step: int, content: dict[str, Any]) -> None:
        try:
            self._staging.arrive()
            self.folder.mkdir(parents=True, exist_ok=True)
            later = [s for s in self.steps if s > step]
            file.write(self.path(step), self._staging.arrays, content)
            # Later ones are of a run that was given up for this one.
            with files.removed(map(self.path, [*later, *self._superfluous(later)])):
                self._told = False
                self._written.set()
        except BaseException as error:
            self._error = error
        finally:
            self._written.set()

    def _superfluous(self, gone: list[int]) -> list[int]:
        """Steps of checkpoints that are not kept, but for those that go anyway."""
        steps = [step for step in self.steps if step not in gone]
        best = self.best if self.monitor is not None else None
        return [step for step in steps[: -self.keep] if step != best]

    def wait(self) -> None:
        """Wait until the last checkpoint is written."""
        if self._thread is not None:
            self._written.wait()
        self.tell()

    def tell(self) -> None:
        """Warn, once, if a checkpoint could not be written."""
        error, self._error = self._error, None
        if error is None or self._told:
            return
        self._told = True
        latest = self.latest
        warnings.warn(
            f"no checkpoint could be written to {self.folder}: {error}; training goes on"
            + (f", the last checkpoint is that of step {latest}" if latest is not None else ""),
            UserWarning,
            stacklevel=3,
        )

    # Restoring

    def restore(self, step: int | None = None, **what: Any) -> Checkpoint | None:
        """Bring objects, and the shared generators, to the state of a checkpoint.

        Parameters
        ----------
        step : int, optional
            By default the latest. Later ones are removed when the run saves its next.
        **what
            Objects by the names that they were saved under, or some of them; tensors and arrays
            are overwritten in place.

        Returns
        -------
        Checkpoint or None
            Step, and the values that were saved; None if the folder has no checkpoint.

        Raises
        ------
        CheckpointError
            If the file is cut off, altered, no checkpoint, or does not fit the objects. Nothing is
            changed then.
        """
        self.wait()
        found = self.open(step)
        if found is None:
            return None
        self.put(found, what)
        return found.checkpoint()

    def put(self, found: "Opened", what: dict[str, Any]) -> None:
        """Bring objects to the state of a checkpoint that was read; all of them, or none."""
        found.check(what)
        found.put_into(what)
        self.last = found.step

    def open(self, step: int | None = None) -> "Opened | None":
        """Read a checkpoint, and change nothing yet; None if there is none."""
        steps = self.steps
        if step is None and not steps:
            return None
        chosen = steps[-1] if step is None else int(step)
        path = self.path(chosen)
        if chosen not in steps:
            raise CheckpointError(
                f"{self.folder} has no checkpoint of step {step}; "
                + (f"there are those of {', '.join(map(str, steps))}" if steps else "it has none")
            )
        try:
            arrays, content = file.read(path)
        except (CheckpointError, OSError) as error:
            if isinstance(error, OSError):
                error = CheckpointError(f"{path}: it cannot be read: {error}; nothing was changed")
            older = [s for s in steps if s < chosen]
            raise CheckpointError(
                str(error) + (f". restore(step={older[-1]}) takes the one before" if older else "")
            ) from None
        found = Opened(self, path, arrays, content)
        if found.step != chosen:
            raise CheckpointError(
                f"{path}: it is the checkpoint of step {found.step}; nothing was changed. Give it "
                "its name back"
            )
        return found


def _measured(metrics: Any) -> dict[str, float]:
    """The numbers among metrics; arrays, as of each class, are none."""
    if metrics is not None and not isinstance(metrics, Mapping):
        raise TypeError(
            f"save: metrics is a {type(metrics).__name__}; give a dict of numbers by name"
        )
    found = {}
    for name, value in (metrics or {}).items():
        if isinstance(value, (str, bytes)) or value is None:
            raise TypeError(f"save: the metric {name} is {value!r}; it must be a number")
        if np.ndim(value) == 0:
            found[name] = float(value)
    return found


def _same(array: Any) -> Any:
    return array


class _Taking(dict[str, Any]):
    """Names of arrays, which are copied as they are noted."""

    def __init__(self, staging: Staging) -> None:
        super().__init__()
        self._staging = staging

    def __setitem__(self, name: str, array: Any) -> None:
        super().__setitem__(name, None)
        self._staging.take(name, array)


_KINDS = {
    "state": "a module, an optimizer or a loss scale",
    "object": "an object with state_dict()",
    "generator": "a generator",
    "value": "a value",
}


class Opened:
    """A checkpoint that was read, and objects that it may be brought into."""

    def __init__(
        self, owner: Checkpointer, path: Path, arrays: dict[str, Any], content: dict[str, Any]
    ) -> None:
        self._owner = owner
        self._path = path
        self._arrays = arrays
        try:
            self._tree = content["what"]
            self._random = tensor_files.built(content["random"], arrays)
            self._metrics = tensor_files.built(content["metrics"], {})
            self.step = content["step"]
            for kind, plan in self._tree.values():
                _KINDS[kind]
                tensor_files.built(plan, arrays)
        except _MALFORMED as error:
            raise self._refused(f"it is altered: {error!r}") from None

    def _refused(self, why: str) -> CheckpointError:
        return CheckpointError(f"{self._path}: {why}; nothing was changed")

    def __contains__(self, name: str) -> bool:
        return name in self._tree

    def value(self, name: str) -> Any:
        """What was saved under a name: a value, or the state of an object."""
        return tensor_files.built(self._tree[name][1], self._arrays)

    def checkpoint(self) -> Checkpoint:
        """What is no state of an object."""
        plain = {k: self.value(k) for k, (kind, _) in self._tree.items() if kind == "value"}
        return Checkpoint(self.step, self._metrics, plain, self._path)

    def check(self, what: dict[str, Any]) -> None:
        """Compare names, shapes and dtypes with those of objects.

        Raises
        ------
        CheckpointError
            If something does not fit.
        """
        for name, value in what.items():
            if name not in self._tree:
                raise self._refused(
                    f"it has no {name}; it has {', '.join(self._tree) or 'nothing'}"
                )
            kind, state = _state_of(name, value)
            saved, plan = self._tree[name]
            if kind == "value" and not isinstance(value, (Tensor, np.ndarray)):
                raise TypeError(
                    f"restore: {name} is a {type(value).__name__}, which cannot be changed in "
                    f"place; leave it out and take it from the result: found[{name!r}]"
                )
            if kind != saved:
                raise self._refused(f"{name} was saved as {_KINDS[saved]}, and is {_KINDS[kind]}")
            if kind == "object":
                continue
            mine: dict[str, Any] = {}
            tensor_files.plan("restore", state, name, mine, _same)
            theirs = _arrays_of(plan)
            if lacking := sorted(mine.keys() - theirs):
                raise self._refused(f"it lacks {_some(lacking)}")
            if besides := sorted(theirs - mine.keys()):
                raise self._refused(f"it has {_some(besides)}, which {name} has not")
            for key, array in mine.items():
                held = self._arrays.get(key)
                if held is None:
                    raise self._refused(f"it lacks {key}")
                if held.shape != array.shape or held.dtype != array.dtype:
                    raise self._refused(
                        f"{key} is of shape {held.shape} and {held.dtype} in it, and of shape "
                        f"{array.shape} and {array.dtype} here"
                    )

    def put_into(self, what: dict[str, Any]) -> None:
        """Bring objects to the state that was saved; all of them, or none."""
        done: list[tuple[Any, Any, Any]] = []
        shared = shared_state()
        try:
            for name, value in what.items():
                kind, state = _state_of(name, value)
                before = _copied(state)
                done.append((kind, value, before))
                _put(kind, value, self.value(name))
            set_shared_state(self._random)
        except Exception as error:
            for kind, value, before in done:
                with contextlib.suppress(Exception):
                    _put(kind, value, before)
            set_shared_state(shared)
            if isinstance(error, CheckpointError):
                raise
            text = error.args[0] if error.args else error
            raise self._refused(f"{name} does not take its state: {text}") from error


def _state_of(name: str, value: Any) -> tuple[str, Any]:
    """What kind a thing to save is, and its state as a tree of arrays and numbers."""
    if isinstance(value, Generator):
        return "generator", {"state": np.array(value.state, np.uint64)}
    if isinstance(value, np.random.Generator):
        return "object", value.bit_generator.state
    if hasattr(value, "live_state"):
        return "state", value.live_state()
    if hasattr(value, "state_dict") and hasattr(value, "load_state_dict"):
        return "object", value.state_dict()
    if isinstance(value, type) or callable(value):
        raise TypeError(
            f"{name} is {getattr(value, '__name__', type(value).__name__)}, which has no state; a "
            "schedule follows the steps that its optimizer has taken, and needs none"
        )
    return "value", value


def _put(kind: str, value: Any, state: Any) -> None:
    if kind == "generator":
        seed, counter = (int(n) for n in state["state"])
        value.state = seed, counter
    elif isinstance(value, np.random.Generator):
        value.bit_generator.state = state
    elif kind == "state":
        value.load_live_state(state)
    elif kind == "object":
        value.load_state_dict(state)
    elif isinstance(value, Tensor):
        with backend.on_device_of(value.array):
            value.array[...] = backend.to_device(np.asarray(state), value.device)
        changed(value.array, "restore")
    else:
        value[...] = state


def _copied(tree: Any) -> Any:
    arrays: dict[str, Any] = {}
    found = tensor_files.plan("restore", tree, "", arrays, host_copy)
    return tensor_files.built(found, arrays)


def _arrays_of(plan: Any) -> set[str]:
    def walk(part: Any) -> Iterator[str]:
        if isinstance(part, dict):
            ((kind, value),) = part.items()
            if kind in tensor_files.ARRAYS:
                yield value
            elif kind == "dict":
                for _, below in value:
                    yield from walk(below)
            elif kind in ("list", "tuple"):
                for below in value:
                    yield from walk(below)

    return set(walk(plan))


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
