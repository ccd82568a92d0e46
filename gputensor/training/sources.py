"""Where the loop of ``fit`` has its batches from."""

from typing import Any

import numpy as np

from gputensor import backend
from gputensor.autograd import wrap
from gputensor.distributed.group import Part, group
from gputensor.distributed.training import mark_of, rows_of_part
from gputensor.kernels import next_batch
from gputensor.random import Generator, default_generator
from gputensor.random.everywhere import set_shared_state
from gputensor.training.callbacks import CallbackList
from gputensor.training.feeding import Batches
from gputensor.training.measures import Sums
from gputensor.training.progress import Clock
from gputensor.training.steps import Steps
from gputensor.tree import leaves

__all__ = ["Held", "Streamed", "training_on_batches", "wrapped"]


class Held:
    """Samples that are on the device, for the loop of ``fit``."""

    def __init__(
        self,
        model: Any,
        x: Any,
        y: Any,
        sample_weight: Any,
        class_weight: Any,
        size: int,
        steps: int | None,
    ) -> None:
        self._model = model
        self._group = group()
        self._xs = model._inputs(x)
        count = model._rows(self._xs)
        self.place = leaves(self._xs)[0]
        with backend.on_device_of(self.place):
            self._ys = model._targets_of(y, count)
            self._weights = model._weights_of(sample_weight, count)
        self._class_weight = class_weight
        self._size = size
        self._most = steps
        self.batch = 0
        self._drawn: tuple[int, int] | None = None  # the generator before the order was drawn
        self._set(count)
        if steps is not None and steps * size >= count + size:
            model._warn_once(
                "steps",
                f"fit: steps_per_epoch is {steps}, and {count} samples are {-(-count // size)} "
                f"batches of {size}: an epoch ends there. Leave out steps_per_epoch",
            )

    def _set(self, count: int) -> None:
        self._count = self._next = count
        self.steps = -(-count // self._size) if self._most is None else self._most
        self.rows = count if self._most is None else None

    def about_nan(self) -> str:
        """Where a loss that is NaN may come from."""
        xp = backend.namespace(self.place)
        for name, part in (("x", self._xs), ("y", self._ys), ("sample_weight", self._weights)):
            for array in leaves(part):
                if array is None or array.dtype.kind != "f":
                    continue
                bad = ~xp.isfinite(array)
                if bool(bad.any()):
                    row = int(xp.argmax(bad.reshape(len(array), -1).any(axis=1)))
                    return (
                        f"{name} has NaN or infinity, first in row {row} of those to train on: "
                        f"leave such rows out, or fill them, as np.nan_to_num({name}) does"
                    )
        return f"the data have none, so {_MENDS}"

    def split(self, share: float, size: int, steps: int | None) -> Any:
        """Keep the last samples for validation."""
        keep = int(self._count * (1 - share))
        if keep in (0, self._count):
            raise ValueError(
                f"fit: validation_split {share} of {self._count} samples leaves none to train or "
                "to evaluate on"
            )
        parts = self._xs, self._ys, self._weights
        xs, ys, weights = (_map(lambda a: a[keep:], part) for part in parts)
        self._xs, self._ys, self._weights = (_map(lambda a: a[:keep], part) for part in parts)
        self._set(keep)
        model, team = self._model, self._group
        return lambda told: model._evaluate(xs, ys, weights, size, steps, team, told)

    def steps_of(self, sums: Sums, capture: Any, epochs: int) -> Any:
        """Function that trains on the next rows of the order, for so many epochs."""
        model, xp = self._model, backend.namespace(self.place)
        device = backend.device_of(self.place)
        with backend.on_device_of(self.place):
            self._order = order = wrap(self._own(xp.arange(self._count)))
            self._at = at = wrap(xp.zeros(1, np.int64))
            weighted = model._with_classes(self._class_weight, self._ys, self._weights)
        xs = _map(wrap, self._xs)
        ys, weights = _map(wrap, self._ys), _map(wrap, weighted)

        alone, first_x = not isinstance(self._xs, (list, dict)), wrap(self.place)
        team, uncounted = self._group, model._measures.sums(self.place, counts=False)
        labelled = alone and len(ys) == 1 and ys[0] is not None and weights[0] is None
        with backend.on_device_of(self.place):
            numbers = ys[0] if labelled else wrap(xp.arange(self._count))

        def step(rows: int) -> None:
            part = None if team is None else team.part(rows)
            rows = rows if part is None else part.stop - part.start
            into = sums if part is None or part.counts else uncounted
            # One kernel: the first array's rows, and the labels or else the rows' numbers.
            operands = first_x.array, numbers.array, order.array, at.array
            first, found = next_batch.raw(*operands, rows=rows, **model._conversion(alone))
            if labelled:
                model._train_on(wrap(first), [found], [None], into, part)
                return
            x = wrap(first) if alone else model._batch_of(_map(lambda t: t.array, xs), first, found)
            y = [None if t is None else t.array[found] for t in ys]
            w = [None if t is None else t.array[found] for t in weights]
            model._train_on(x, y, w, into, part)

        return Steps(step, capture, device, self._ahead(epochs))

    def _ahead(self, epochs: int) -> dict[int | None, int]:
        """How many steps there are in some epochs, by their rows."""
        whole, rest = divmod(self._count, self._size)
        of_rest = self.steps * epochs // (whole + 1) if rest else 0
        return {rest: of_rest, self._size: self.steps * epochs - of_rest}

    def _own(self, order: Any, until: int | None = None) -> Any:
        """Rows of an order that are this rank's, batch by batch, up to the batch at a row."""
        until = self._count if until is None else until
        if self._group is None or not until:
            return order[:until]
        starts = range(0, until, self._size)
        parts = [
            (start, self._group.part(min(self._size, self._count - start))) for start in starts
        ]
        return order[np.concatenate([np.arange(s + p.start, s + p.stop) for s, p in parts])]

    def begin_epoch(self, shuffle: bool) -> None:
        """Begin with the first row, in a new order; with steps of an epoch given, go on first."""
        self.batch = 0
        if self._most is not None and self._next < self._count:
            return
        if shuffle:
            self._drawn = default_generator.state
            self._draw(default_generator)
        self._at.array.fill(0)
        self._next = 0

    def _draw(self, generator: Any) -> None:
        """A new order."""
        drawn = generator.permutation(self._count, device=backend.device_of(self.place)).array
        if self._group is not None:
            self._group.broadcast(drawn)
        self._order.array[...] = self._own(drawn)

    def end_epoch(self) -> None:
        """Say that the epoch is over."""
        self.batch = 0

    def plan(self) -> dict[str, Any]:
        """What an epoch is of."""
        return {"samples": self._count, "batch_size": self._size, "steps": self.steps}

    def mark(self) -> int:
        """A number by which the samples are told from others."""
        return mark_of((self._xs, self._ys, self._weights), waits=True)

    def state(self) -> dict[str, Any]:
        """What the order and the place in it come from."""
        return {
            **self.plan(),
            "batch": self.batch,
            "next": self._next,
            "drawn": self._drawn,
        }

    def go_on(self, state: dict[str, Any]) -> None:
        """Take the same order and place.

        Raises
        ------
        ValueError
            In the middle of an order of other data.
        """
        mine, names = self.state(), ("samples", "batch_size", "steps")
        if state.get("samples") is None:
            raise ValueError("fit: the checkpoint was made with batches, x is an array")
        others = [f"{n} {state[n]}, here {mine[n]}" for n in names if state[n] != mine[n]]
        amid = state["batch"] or (self._most is not None and state["next"] < state["samples"])
        if others and amid:
            raise ValueError(
                f"fit: the checkpoint is one in the middle of an epoch of other data: "
                f"{'; '.join(others)}. Give the same, or go on from the end of an epoch"
            )
        self.batch, self._drawn = state["batch"], state["drawn"]
        self._next = self._count if others else state["next"]
        if others:
            return
        if self._drawn is not None:
            generator = Generator(0)
            generator.state = self._drawn
            self._draw(generator)
        self._at.array.fill(len(self._own(np.arange(self._count), self._next)))

    def batches(self, run: Any, told: CallbackList, clock: Clock) -> Any:
        """Train on the batches of an epoch; gives how many rows were in one, or in several."""
        on_cpu = backend.device_of(self.place).kind == "cpu"
        singly = told.follows_batches or (on_cpu and bool(told.looking))
        while self.batch < self.steps and self._next < self._count:
            left = self._count - self._next
            rows = min(self._size, left)
            told.on_train_batch_begin(self.batch, {})
            most = 1 if singly else min(left // rows, self.steps - self.batch)
            done = run.next(rows, clock.left(most))
            self.batch += done
            self._next += rows * done
            yield rows * done


_MENDS = (
    "it arises in training: take a lower learning rate or the optimizer's clipnorm=1.0; "
    "keras.callbacks.TerminateOnNaN() says when"
)


class Streamed:
    """Batches that come one by one, for the loop of ``fit``."""

    def __init__(self, model: Any, batches: Batches, class_weight: Any) -> None:
        self._model = model
        self._group = group()
        self._batches = batches
        self._class_weight = class_weight
        self.steps = batches.steps
        self.rows: int | None = None
        self.place: Any = None
        self.batch = 0
        self._first: Any = None

    def about_nan(self) -> str:
        """Where a loss that is NaN may come from."""
        return f"where np.isfinite(x).all() of each batch, {_MENDS}"

    def begin(self, resumed: dict[str, Any] | None) -> None:
        """Read the first batch, which says where and in what shapes samples are."""
        if resumed is not None and resumed.get("begun") is not None:
            set_shared_state(resumed["begun"])  # from which an iterator makes its batches
        stream = iter(self._batches)
        try:
            first = next(stream)
        except StopIteration:
            raise ValueError("fit: x gives no batch") from None
        self._stream: Any = stream
        self._first = first
        self.place = leaves(self._model._inputs(first[0]))[0]
        self._model._targets_of(first[1], self._model._rows(self._model._inputs(first[0])))

    def split(self, share: float, size: int, steps: int | None) -> Any:
        """Refuse: samples to come cannot be kept for validation."""
        raise ValueError("fit: validation_split needs arrays; give validation_data instead")

    def steps_of(self, sums: Sums, capture: Any, epochs: int) -> Any:
        """Function that trains on a batch, for so many epochs."""
        ahead = None if self.steps is None else self.steps * epochs
        return training_on_batches(self._model, sums, capture, self.place, ahead)

    def begin_epoch(self, shuffle: bool) -> None:
        """Begin with the first batch, or go on."""
        self.batch = 0
        if self._first is None:
            self._stream = iter(self._batches)

    def batches(self, run: Any, told: CallbackList, clock: Clock) -> Any:
        """Train on the batches of an epoch; gives how many rows each had."""
        model, none = self._model, not self.batch
        while True:
            given, self._first = self._first, None
            if given is None:
                given = next(self._stream, None)
            if given is None:
                if self._group is not None:
                    self._group.agree(f"fit: rows of batch {self.batch} (0 where there is none)", 0)
                break
            x, y, weight = given
            none = False
            told.on_train_batch_begin(self.batch, {})
            xs = model._inputs(x)
            rows = model._rows(xs)
            part = None
            if self._group is not None:
                what = f"fit: rows of batch {self.batch} (0 where there is none)"
                self._group.agree(what, rows, mark_of((xs, y), waits=self.batch == 0))
                part = self._group.part(rows)
            ys, weights = model._targets_of(y, rows), model._weights_of(weight, rows)
            weights = model._with_classes(self._class_weight, ys, weights)
            if part is not None:
                xs, ys, weights = (rows_of_part(part, tree) for tree in (xs, ys, weights))
            run(model._batch(xs, None), *wrapped(ys, weights), part)
            self.batch += 1
            yield rows
        if none:
            raise ValueError(
                "fit: x gives no batch any more; give a generator without end and steps_per_epoch, "
                "or an iterable that can be begun again"
            )
        self._batches.end_epoch()

    def end_epoch(self) -> None:
        """Say that the epoch is over."""
        self.batch = 0

    def plan(self) -> dict[str, Any]:
        """What an epoch is of."""
        return {"steps": self.steps}

    def mark(self) -> int:
        """None: each batch is compared."""
        return 0

    def state(self) -> dict[str, Any]:
        """Where the batches are."""
        return {"batch": self.batch, **self._batches.state()}

    def go_on(self, state: dict[str, Any]) -> None:
        """Take the batches to where they were."""
        if "taken" not in state:
            raise ValueError("fit: the checkpoint was made with arrays, x gives batches")
        self.batch, self._first = state["batch"], None
        if self.batch or not self._batches.begins_anew or state["own"] is not None:
            self._batches.go_on(state)
            self._stream = self._batches.going(self.batch)


def training_on_batches(
    model: Any, sums: Sums, capture: Any, place: Any, ahead: int | None = None
) -> Steps:
    """Function of a batch that trains on it, see :func:`wrapped`; on the device of `place`.

    `ahead` is how many batches will come, if that is known.
    """
    uncounted = model._measures.sums(place, counts=False)

    def step(x: Any, ys: list[Any], weights: list[Any], part: Part | None) -> None:
        def raw(ts: list[Any]) -> list[Any]:
            return [None if t is None else t.array for t in ts]

        into = sums if part is None or part.counts else uncounted
        model._train_on(x, raw(ys), raw(weights), into, part)

    return Steps(step, capture, backend.device_of(place), None if ahead is None else {None: ahead})


def wrapped(*lists: list[Any]) -> list[Any]:
    """Lists of arrays, some None, as tensors: what a recording takes."""
    return [_map(wrap, arrays) for arrays in lists]


def _map(function: Any, tree: Any) -> Any:
    """A tree of arrays, where None stays."""
    if isinstance(tree, dict):
        return {k: _map(function, v) for k, v in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [_map(function, v) for v in tree]
    return None if tree is None else function(tree)
