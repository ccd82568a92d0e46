"""Loss and metrics of a model's outputs, added up on the device."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gputensor import backend, nn
from gputensor.autograd import Tensor, no_grad, wrap
from gputensor.backend import Array
from gputensor.distributed.group import Group
from gputensor.errors import DistributedError, GraphError
from gputensor.ops.nn import cross_entropy_and_result
from gputensor.ops.precision import widened
from gputensor.ops.statistical import mean
from gputensor.ops.statistical import sum as total

__all__ = ["Door", "Head", "Measure", "Measures", "Sums"]


class Sums:
    """Loss and metrics, added up on the device.

    Attributes
    ----------
    values : Tensor
    counts : bool
        Whether they are looked at; what metrics gather is left out, too, if not.
    """

    def __init__(self, names: list[str], place: Any, counts: bool = True) -> None:
        self.names = names
        self.values = wrap(backend.namespace(place).zeros(len(names), np.float64))
        self.counts = counts

    def add(self, values: list[Any]) -> None:
        """Add sums over a batch; None stands for what a kernel has added already."""
        sums = self.values.array
        for i, value in enumerate(values):
            if value is not None:
                sums[i] += value

    def means(self, rows: int, group: Group | None = None) -> dict[str, float]:
        """Means over all rows, of all ranks with a group; reads the device once."""
        with backend.expected_waits():
            sums = backend.to_host(self.values.array)
        if group is not None:
            sums = sums.copy()
            group.all_reduce(sums)
        return dict(zip(self.names, (sums / max(rows, 1)).tolist(), strict=True))

    def clear(self) -> None:
        """Begin again."""
        self.values.array.fill(0)


class Door(NamedTuple):
    """What names and classes that users give stand for; whoever names them says it.

    Attributes
    ----------
    optimizer, loss : callable
        The object for what was given.
    metric : callable
        The same, with its name before it.
    function : callable
        The function of a metric that is a mean over samples; None if it is not.
    gathering : callable
        ``gathering(metric, name)``, as an object with ``update_state``.
    accuracy : callable
        The metric that the kernel of the loss measures by the way.
    mask_of, set_mask : callable
        Which places of an output count, None for all; and to let that go along with a tensor.
    """

    optimizer: Callable[[Any], Any]
    loss: Callable[[Any], Any]
    metric: Callable[[Any], tuple[str, Any]]
    function: Callable[[Any], Any]
    gathering: Callable[[Any, str], Any]
    accuracy: Any
    mask_of: Callable[[Any], Any]
    set_mask: Callable[[Any, Any], None]


class Head:
    """One output of a model: its loss, that loss's weight, and its metrics.

    Attributes
    ----------
    name : str
        Of the output; empty if it is the only one.
    loss : object or None
        See :mod:`gputensor.keras.losses`.
    weight : float
    metrics : list of (str, object, bool)
        Name, function or object with ``update_state``, and whether sample weights count.
    door : Door
    masked : bool
        Whether places may not count: means are over the others of all batches then, which metrics
        gather by themselves.
    """

    def __init__(
        self,
        name: str,
        loss: Any,
        weight: float,
        metrics: list[tuple[str, Any, bool]],
        door: Door,
        masked: bool = False,
    ) -> None:
        self.name = name
        self._door = door
        self.loss = loss
        self.weight = weight
        self.summed: list[tuple[str, Any]] = []
        self.gathered: list[tuple[str, Any, bool]] = []
        taken: dict[str, int] = {}
        for label, metric, weighted in metrics:
            label = _free(label, name, weighted, taken)
            function = door.function(metric)
            if function is None or weighted or masked:
                self.gathered.append((label, door.gathering(metric, label), weighted))
            else:
                self.summed.append((label, function))

    @property
    def is_sum(self) -> bool:
        """Whether the loss is a sum over rows, not a mean."""
        return getattr(self.loss, "reduction", None) == "sum"

    def logits_wanted(self, ends_in_softmax: bool) -> bool:
        """Whether loss and softmax are one kernel on logits."""
        loss = self.loss
        return bool(loss is not None and loss.cross_entropy and not loss.from_logits) and (
            ends_in_softmax
        )

    def measure(
        self,
        out: Tensor,
        y: Any,
        weight: Any,
        fused: bool,
        accuracy: Any,
        sums: Any = None,
        counts: bool = True,
    ) -> tuple[Tensor | None, list[Any]]:
        """Mean loss of a batch, and the sums of loss and metrics over it.

        The kernel of the loss adds the first of them, and right answers if they are next, to `sums`
        by itself, if it is given and there is such a kernel: they are None then. Without `counts`
        metrics gather nothing.
        """
        loss = self.loss
        result: Tensor | None = None
        values: list[Any] = []
        correct: Array | None = None
        rest = self.summed
        rows = len(out.array)
        mask = self._door.mask_of(out)
        if loss is not None:
            kernel = fused or (loss.cross_entropy and loss.from_logits)
            whole = getattr(loss, "reduction", "mean") in ("sum_over_batch_size", "mean")
            if kernel and weight is None and whole and out.ndim == 2:
                counted = bool(rest) and rest[0][1] is accuracy
                place = None if sums is None else sums.values.array[: 1 + counted]
                result, found = cross_entropy_and_result(
                    out, y, loss.label_smoothing, "mean", place
                )
                values = [found.total] if place is None else [None] * len(place)
                correct = found.correct
                rest = rest[len(values) - 1 :]
            else:
                result, value = self._weighted(out, y, weight, kernel, mask)
                values = [value]
        for _, metric in rest:
            if metric is accuracy and correct is not None:
                values.append(correct)
                continue
            each = metric(_wrapped(y), _prediction(out, fused))
            if isinstance(each, Tensor):
                values.append(each.array.mean(dtype=np.float64) * rows)
            else:  # a number of the user's, or an array of NumPy's
                values.append(float(np.mean(each)) * rows)
        for _, metric, weighted in self.gathered if counts else ():
            with no_grad():
                given = {"sample_weight": weight} if weighted and weight is not None else {}
                prediction = _prediction(out, fused)
                self._door.set_mask(prediction, mask)
                metric.update_state(_wrapped(y), prediction, **given)
        return result, values

    def _weighted(
        self, out: Tensor, y: Any, weight: Any, kernel: bool, mask: Any = None
    ) -> tuple[Tensor, Array]:
        """Mean loss, over what `mask` leaves, and its sum over the batch."""
        loss = self.loss
        rows = len(out.array)
        if kernel and out.ndim == 2:
            each = nn.functional.cross_entropy(
                out, y, label_smoothing=loss.label_smoothing, reduction="none"
            )
        else:
            # Of more axes, and without the softmax that the kernel would take in.
            whole = nn.functional.softmax(out) if kernel and not loss.from_logits else out
            each = loss.function(_wrapped(y), widened(whole))
        if mask is not None and tuple(mask.shape) == each.shape:  # else of steps that are gone
            counted = mask.astype(each.dtype)
            if getattr(loss, "reduction", None) != "sum":  # the mean below is over all places
                valid = total(counted)
                counted = counted * (counted.size / (valid + (valid == 0)))
            each = each * counted
        if (each.ndim > 1 and weight is None) or (each.ndim > 1 and weight.ndim == 1):
            # A loss for each output, or step in time: the mean of a sample's.
            each = mean(each, axis=tuple(range(1, each.ndim)))
        if weight is not None:
            each = each * wrap(weight.astype(each.dtype, copy=False))
        if getattr(loss, "reduction", None) == "sum" and each.ndim:
            result = total(each)
            return result, result.detach().array * rows
        result = mean(each)
        return result, result.detach().array.astype(np.float64) * rows


def _free(label: str, head: str, weighted: bool, taken: dict[str, int]) -> str:
    """Name of a metric that no other of the head has: Keras's, which puts a number or word to it.

    How often a name was asked for is kept in `taken`.
    """
    name = f"{head}_{label}" if head else label
    if weighted and name in taken:
        name = f"{head}_weighted_{label}" if head else f"weighted_{label}"
    before = taken.get(name, 0)
    taken[name] = before + 1
    return f"{name}_{before}" if before else name


def _whole_result(metric: Any, label: str, group: Group) -> Any:
    """Result of a metric over the batches of all ranks: its variables are sums."""
    variables = getattr(metric, "variables", None)
    if not variables:
        raise DistributedError(
            f"fit: metric {label} has no variables made with add_weight, whose sums over the "
            "ranks would be its state for all"
        )
    own = [t.array.copy() for t in variables]
    try:
        for t in variables:
            group.all_reduce(t.array)
        return metric.result()
    finally:
        for t, array in zip(variables, own, strict=True):
            t.array[...] = array


def _wrapped(y: Any) -> Any:
    return wrap(y) if backend.is_array(y) or hasattr(y, "recording") else y


def _prediction(out: Tensor, fused: bool) -> Tensor:
    found = out.detach()
    return nn.functional.softmax(found) if fused else found


@functools.cache
def _gathers(kind: type) -> bool:
    """Whether a class is one of metrics that gather."""
    return hasattr(kind, "update_state") and hasattr(kind, "reset_state")


class Measure:
    """A loss or a metric that is added up with the others, as one of ``model.metrics``.

    Attributes
    ----------
    name : str
    """

    def __init__(self, name: str, latest: dict[str, Any]) -> None:
        self.name = name
        self._latest = latest

    def __repr__(self) -> str:
        return f"<{self.name}: {self.result()}>"

    def result(self) -> Any:
        """The value when it was read last; 0 before."""
        return self._latest.get(self.name, 0.0)

    def reset_state(self) -> None:
        """Forget the value."""
        self._latest.pop(self.name, None)


class Measures:
    """Losses and metrics of all outputs of a model.

    Parameters
    ----------
    heads : list of Head
    accuracy : callable
        The metric that the fused loss measures by the way.

    Attributes
    ----------
    own : list of (str, object)
        Metrics that layers update by themselves, by name.
    latest : dict
        The results that were read last.
    """

    def __init__(self, heads: list[Head], accuracy: Any) -> None:
        self.heads = heads
        self.own: list[tuple[str, Any]] = []
        self.latest: dict[str, Any] = {}
        self._accuracy = accuracy
        self._shown = self.summed_names
        if len(heads) == 1:  # what the kernel of the loss counts is first
            heads[0].summed.sort(key=lambda metric: metric[1] is not accuracy)

    @property
    def summed_names(self) -> list[str]:
        """Names of what is added up for each row, the loss first."""
        names = ["loss"]
        for head in self.heads:
            if head.loss is not None and len(self.heads) > 1:
                names.append(f"{head.name}_loss")
            names += [label for label, _ in head.summed]
        return names

    @property
    def gathered(self) -> list[tuple[str, Any]]:
        """Metrics that gather by themselves, by name."""
        found = [(label, metric) for head in self.heads for label, metric, _ in head.gathered]
        return found + self.own

    def look_for_own(self, modules: Iterable[Any]) -> None:
        """Note the metrics that are attributes of modules, whose ``call`` updates them."""
        known = {id(metric) for head in self.heads for _, metric, _ in head.gathered}
        found = {}
        for module in modules:
            for value in vars(module).values():
                if _gathers(type(value)) and id(value) not in known:  # type: ignore[arg-type]
                    found[value.name] = value
        self.own = list(found.items())

    def sums(self, place: Any, counts: bool = True) -> Sums:
        """Sums, 0 so far, where `place` is."""
        return Sums(self.summed_names, place, counts)

    def clear(self) -> None:
        """Begin again with what is gathered."""
        for _, metric in self.gathered:
            metric.reset_state()
            getattr(metric, "_coming", []).clear()  # of a checkpoint: they are past now

    def results(self, sums: Sums, rows: int, group: Group | None = None) -> dict[str, Any]:
        """All measures by name, over so many rows; with a group over those of all ranks."""
        means = sums.means(rows, group)
        values: dict[str, Any] = {name: means[name] for name in self._shown}
        for label, metric in self.gathered:
            found = metric.result() if group is None else _whole_result(metric, label, group)
            with backend.expected_waits():
                host = found.numpy() if isinstance(found, Tensor) else np.asarray(found)
            values[label] = float(host) if host.ndim == 0 else host
        self.latest.clear()
        self.latest.update(values)
        return values

    def objects(self) -> list[Any]:
        """All measures, each with ``name``, ``result()`` and ``reset_state()``."""
        summed = [Measure(name, self.latest) for name in self.summed_names]
        return summed + [metric for _, metric in self.gathered]

    def measure(
        self,
        outs: list[Tensor],
        ys: list[Any],
        weights: list[Any],
        fused: bool,
        penalties: Any,
        sums: Sums,
        factor: float = 1.0,
    ) -> Tensor:
        """Loss of a batch; what is measured over it is added to `sums`.

        Losses that are sums over rows are multiplied by `factor`.
        """
        rows = len(outs[0].array)
        head = self.heads[0]
        if len(self.heads) == 1 and not penalties and head.loss is not None:
            place = sums if head.weight == 1.0 else None
            result, values = head.measure(
                outs[0], ys[0], weights[0], fused, self._accuracy, place, sums.counts
            )
            assert result is not None
            if factor != 1.0 and head.is_sum:
                result, values[0] = result * factor, values[0] * factor
            if head.weight != 1.0:
                result, values[0] = result * head.weight, values[0] * head.weight
            sums.add(values)
            return result
        whole: Tensor | None = None
        rest: list[Any] = []
        for head, out, y, weight in zip(self.heads, outs, ys, weights, strict=True):
            result, values = head.measure(out, y, weight, fused, self._accuracy, counts=sums.counts)
            if result is not None:
                if factor != 1.0 and head.is_sum:
                    result, values[0] = result * factor, values[0] * factor
                part = result if head.weight == 1.0 else result * head.weight
                whole = part if whole is None else whole + part
                if len(self.heads) == 1 and head.loss is not None:
                    values = values[1:]
            rest += values
        for penalty in penalties:
            whole = penalty if whole is None else whole + penalty
        if whole is None:
            raise GraphError(
                "the model has no loss: compile(loss=None) needs layers that call add_loss or have "
                "a regularizer; give a loss, such as loss='categorical_crossentropy'"
            )
        sums.add([whole.detach().array.astype(np.float64) * rows, *rest])
        return whole


def by_output(
    what: str, given: Any, names: list[str], single: type | tuple[type, ...]
) -> list[Any]:
    """What was given for each output: one for all, a list, or a dict by name.

    Raises
    ------
    ValueError
        If their number or a name does not fit.
    """
    if isinstance(given, Mapping):
        unknown = [k for k in given if k not in names]
        if unknown:
            raise ValueError(
                f"compile: {what} has {unknown[0]!r}, the outputs are {', '.join(names)}"
            )
        return [given.get(name) for name in names]
    if isinstance(given, Sequence) and not isinstance(given, (str, single)):
        if len(given) != len(names):
            raise ValueError(
                f"compile: {what} has {len(given)} items, the model has {len(names)} outputs"
            )
        return list(given)
    return [given] * len(names)
