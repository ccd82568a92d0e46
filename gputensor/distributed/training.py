"""What the loop of ``fit`` says to the other ranks."""

import weakref
import zlib
from typing import TYPE_CHECKING, Any

from gputensor import backend
from gputensor.distributed import models
from gputensor.distributed.gradients import backward as _backward
from gputensor.distributed.group import Group, Part, group
from gputensor.errors import CheckpointError
from gputensor.tree import leaves, map_tree

if TYPE_CHECKING:
    from gputensor.autograd import Tensor
    from gputensor.optim import Optimizer

__all__ = ["Team", "backward", "mark_of", "rows_of_part"]


# Optimizers that have the same state on all ranks, as they began with it.
_begun: "weakref.WeakSet[Optimizer]" = weakref.WeakSet()


def rows_of_part(part: Part, tree: Any) -> Any:
    """Rows of a part, of a tree of arrays, where None stays."""
    if isinstance(tree, dict):
        return {k: rows_of_part(part, v) for k, v in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [rows_of_part(part, v) for v in tree]
    return None if tree is None else tree[part.start : part.stop]


def mark_of(tree: Any, waits: bool = False) -> int:
    """A number by which batches are told apart: of their first and last rows.

    What is on a device counts only where the host `waits` for it.
    """
    found = 0
    for x in leaves(tree):
        array = getattr(x, "array", x)
        if not backend.is_array(array) or not array.size or not array.ndim:
            continue
        if backend.on_cpu(array) or waits:
            with backend.on_device_of(array), backend.expected_waits():
                for row in (array[:1], array[-1:]):
                    found = zlib.crc32(backend.to_host(row).tobytes(), found)
    return found


def backward(loss: "Tensor", optimizer: "Optimizer", share: float) -> None:
    """Backward pass of a rank's part of the loss; gradients are those of the whole."""
    found = group()
    assert found is not None
    _backward(found, optimizer, loss, share)


class Team:
    """The ranks that train a model; of one process alone it does nothing.

    Parameters
    ----------
    model : Module
    optimizer : Optimizer

    Attributes
    ----------
    group : Group or None
    wants_batches : bool
        Whether a callback of one of the ranks hears of batches.
    """

    def __init__(self, model: Any, optimizer: "Optimizer") -> None:
        self.group: Group | None = group()
        self.wants_batches = False
        self._model = model
        self._optimizer = optimizer

    def begin(self, told: Any, plan: dict[str, Any]) -> None:
        """Begin with the model, the state and the random numbers of the first rank.

        Raises
        ------
        DistributedError
            If what is trained on, how often and from where is not the same on all ranks.
        """
        self.wants_batches = told.wants_batches
        if self.group is not None:
            models.check_same(self.group, "fit", list(plan.items()))
            self.wants_batches = self.group.any(self.wants_batches)
            models.begin(self.group, self._model, self._optimizer)
            _begun.add(self._optimizer)

    def check(self, opened: Any) -> None:
        """See that a checkpoint is one for so many ranks: those from within an epoch are.

        Raises
        ------
        CheckpointError
        """
        place, size = opened.value("fit"), 1 if self.group is None else self.group.size
        if place["source"]["batch"] and len(place["ranks"]) != size:
            raise CheckpointError(
                f"fit: the checkpoint of step {opened.step} is from within an epoch of "
                f"{len(place['ranks'])} processes, here are {size}. Start as many, or go on from a "
                "checkpoint of the end of an epoch"
            )

    def gathered(self, own: dict[str, Any]) -> list[dict[str, Any]] | None:
        """What each rank has of its own, with its random numbers; collective."""
        group = self.group
        if group is None:
            return None
        with backend.expected_waits():
            own = map_tree(lambda a: backend.to_host(getattr(a, "array", a)), own)
        own["numbers"] = models.numbers(self._model)
        return [group.share(own, root) for root in range(group.size)]

    def go_on(self, ranks: list[dict[str, Any]]) -> None:
        """Go on with the random numbers that :meth:`gathered` has."""
        if self.group is not None and len(ranks) > 1:
            models.set_numbers(self._model, ranks[self.group.rank]["numbers"])

    def own(self, what: str, rows: int, *trees: Any) -> tuple[Any, ...]:
        """This rank's part of a batch that all were given, and trees of its rows alone."""
        if self.group is None:
            return (None, *trees)
        first = self._optimizer not in _begun
        if first:
            models.begin(self.group, self._model, self._optimizer)
            _begun.add(self._optimizer)
        self.group.agree(what, rows, mark_of(trees, waits=first))
        part = self.group.part(rows)
        return (part, *(rows_of_part(part, tree) for tree in trees))

    def begin_epoch(self) -> None:
        """Go on with the learning rates of the first rank, and numbers that follow from its own."""
        if self.group is not None:
            models.same_rates(self.group, self._optimizer)
            models.own_numbers(self.group, self._model)

    def end_epoch(self) -> None:
        """Take the running means of the first rank."""
        if self.group is not None:
            models.copy_buffers(self.group, self._model)

    def same(self, logs: dict[str, Any]) -> dict[str, Any]:
        """What the first rank has measured, so that all callbacks decide alike."""
        found: dict[str, Any] = logs if self.group is None else self.group.share(logs)
        return found

    def stops(self, wish: bool, within: bool = False) -> bool:
        """Whether one of the ranks wishes to stop; within an epoch if callbacks hear of batches."""
        if self.group is None:
            return wish
        return (not within or self.wants_batches) and self.group.any(wish)

    def any(self, flag: bool) -> bool:
        """Whether it is true on one of the ranks."""
        return flag if self.group is None else self.group.any(flag)

    def end(self) -> None:
        """Draw the same random numbers again."""
        if self.group is not None:
            models.same_numbers(self.group, self._model)
