"""``evaluate`` and ``predict``: measures and outputs of a model, with everything on the device."""

from typing import Any

from gputensor import backend
from gputensor.autograd import Tensor, no_grad
from gputensor.backend import Array
from gputensor.distributed.group import Group
from gputensor.errors import GraphError, ShapeError
from gputensor.training.callbacks import CallbackList
from gputensor.training.checks import check_verbose, evaluation_batch
from gputensor.training.display import Display, lines_of
from gputensor.training.feeding import Batches, is_iterable_of_batches
from gputensor.training.inputs import Inputs
from gputensor.training.measures import Head, Measures
from gputensor.tree import leaves

__all__ = ["Evaluator"]


class Evaluator(Inputs):
    """Measures of a model's outputs, and the outputs."""

    _measures: Measures | None = None
    _penalized = False
    _constrains = False

    @property
    def _heads(self) -> list[Head]:
        return [] if self._measures is None else self._measures.heads

    def _compiled(self) -> None:
        if self._measures is None:
            raise GraphError("the model is not compiled; call model.compile(optimizer, loss) first")

    @property
    def _fused(self) -> bool:
        """Whether loss and softmax are one kernel on logits."""
        heads = self._heads
        return len(heads) == 1 and heads[0].logits_wanted(self._ends_in_softmax())

    def _loss_of(
        self, x: Any, ys: list[Any], weights: list[Any], sums: Any, factor: float = 1.0
    ) -> Tensor:
        """Mean loss of a batch; loss and metrics are added to `sums`.

        Losses that are sums over rows are multiplied by `factor`.
        """
        measures = self._measures
        assert measures is not None
        fused = self._fused
        out = self._outputs(x, logits=fused)
        outs = [out] if len(measures.heads) == 1 else leaves(out)
        return measures.measure(outs, ys, weights, fused, self._penalties_now(), sums, factor)

    def _penalties_now(self) -> list[Tensor]:
        """Losses that the layers add, for weights that are large for example."""
        return list(self.losses) if self._penalized else []

    def _look_for_penalties(self) -> None:
        """Note such losses, constraints and metrics of layers, which no step has to look for."""
        self._penalized = any(
            m.may_penalize() for m in self.modules() if hasattr(m, "may_penalize")
        )
        self._constrains = any(getattr(m, "_limits", None) for m in self.modules())
        if self._measures is not None:
            self._measures.look_for_own(self.modules())

    def _evaluated(
        self,
        x: Any,
        y: Any,
        weight: Any,
        size: int,
        steps: int | None,
        group: Group | None = None,
    ) -> Any:
        """Function that measures on these samples; they are uploaded and checked at once.

        It is given the callbacks, which hear of each batch.
        """
        if is_iterable_of_batches(x):
            batches = Batches(x, steps)
            return lambda told: self._evaluate_batches(batches, told)
        xs = self._inputs(x)
        ys, weights = self._targets_of(y, self._rows(xs)), self._weights_of(weight, self._rows(xs))
        return lambda told: self._evaluate(xs, ys, weights, size, steps, group, told)

    def _evaluate(
        self,
        xs: Any,
        ys: list[Any],
        weights: list[Any],
        size: int,
        steps: int | None = None,
        group: Group | None = None,
        told: CallbackList | None = None,
    ) -> dict[str, Any]:
        """Measures on samples; with a group each rank looks at its part of them."""
        told = CallbackList() if told is None else told
        measures = self._measures
        assert measures is not None
        self._look_for_penalties()
        place, count = leaves(xs)[0], self._rows(xs)
        count = count if steps is None else min(count, steps * size)
        if group is not None and (count < group.size or any(h.is_sum for h in measures.heads)):
            group = None  # each looks at all, as sums depend on what is in a batch
        first, last = (0, count) if group is None else group.part(count)[:2]
        with backend.on_device_of(place), no_grad():
            sums = measures.sums(place)
            measures.clear()
            order = backend.namespace(place).arange(last)
            for batch, start in enumerate(range(first, last, size)):
                told.on_test_batch_begin(batch, {})
                rows = order[start : start + size]
                own = [[None if a is None else a[rows] for a in pair] for pair in (ys, weights)]
                self._loss_of(self._batch(xs, rows), own[0], own[1], sums)
                if told.wants_test_batches:  # of this rank: another may have fewer batches
                    told.on_test_batch_end(
                        batch, measures.results(sums, min(start + size, last) - first)
                    )
            return measures.results(sums, count, group)

    def _evaluate_batches(self, batches: Batches, told: CallbackList) -> dict[str, Any]:
        measures = self._measures
        assert measures is not None
        sums, count = None, 0
        self._look_for_penalties()
        with no_grad():
            for batch, (x, y, weight) in enumerate(batches):
                told.on_test_batch_begin(batch, {})
                xs = self._inputs(x)
                rows = self._rows(xs)
                place = leaves(xs)[0]
                with backend.on_device_of(place):
                    if sums is None:
                        sums = measures.sums(place)
                        measures.clear()
                    ys, weights = self._targets_of(y, rows), self._weights_of(weight, rows)
                    self._loss_of(self._batch(xs, None), ys, weights, sums)
                count += rows
                if told.wants_test_batches:
                    told.on_test_batch_end(batch, measures.results(sums, count))
            if sums is None:
                raise ValueError("evaluate: there is no batch")
            return measures.results(sums, count)

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: int | str = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """Loss and metrics on samples.

        Parameters
        ----------
        x, y, sample_weight : as for :meth:`fit`
        batch_size : int, optional
            1024 by default; it does not change the result but for rounding.
        verbose : {"auto", 0, 1, 2}
            0 prints nothing, the others a line.
        steps : int, optional
            Batches that are looked at.
        callbacks : sequence of Callback, optional
        return_dict : bool
            Give a dict by name.

        Returns
        -------
        float, list of float, or dict
            The loss; a list of loss and metrics if there are any.
        """
        self._compiled()
        size = evaluation_batch("evaluate", batch_size)
        check_verbose("evaluate", verbose)
        self.eval()
        told = CallbackList(callbacks or (), self, {"verbose": verbose})
        run = self._evaluated(x, y, sample_weight, size, steps)
        told.on_test_begin({})
        values = run(told)
        told.on_test_end(values)
        if verbose:
            for line in lines_of("Evaluation", values):
                print(line)
        return self._as_results(values, return_dict)

    def _as_results(self, values: dict[str, Any], return_dict: bool) -> Any:
        if return_dict:
            return values
        return list(values.values()) if len(values) > 1 else values["loss"]

    @property
    def metrics_names(self) -> list[str]:
        """Names of the loss and the metrics, in the order in which evaluate gives them."""
        if self._measures is None:
            return []
        return [*self._measures.summed_names, *(label for label, _ in self._measures.gathered)]

    @property
    def metrics(self) -> list[Any]:
        """The loss and the metrics, each with ``name``, ``result()`` and ``reset_state()``.

        Results of the loss, and of metrics that are means over samples, are those that fit,
        evaluate or ``train_on_batch`` told last.
        """
        return [] if self._measures is None else self._measures.objects()

    def get_metrics_result(self) -> dict[str, Any]:
        """What fit, evaluate or ``train_on_batch`` measured last, by name; 0 before."""
        self._compiled()
        assert self._measures is not None
        return dict.fromkeys(self.metrics_names, 0.0) | self._measures.latest

    def reset_metrics(self) -> None:
        """Forget what was measured, as fit, evaluate and ``train_on_batch`` do by themselves."""
        if self._measures is not None:
            self._measures.latest.clear()
            self._measures.clear()

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: int | str = "auto",
        steps: int | None = None,
        callbacks: Any = None,
    ) -> Any:
        """Outputs for samples, on the host.

        Parameters
        ----------
        x : array or Tensor of shape (n, ...), or iterable of batches
        batch_size : int, optional
            1024 by default.
        verbose : {"auto", 0, 1, 2}
            1 and "auto" show a progress bar on a terminal.
        steps : int, optional
            Batches that are looked at.
        callbacks : sequence of Callback, optional

        Returns
        -------
        numpy.ndarray of shape (n, ...)
            A list or dict of such for models of several outputs.
        """
        size = evaluation_batch("predict", batch_size)
        check_verbose("predict", verbose)
        told = CallbackList(callbacks or (), self, {"verbose": verbose})
        was = self.training
        self.eval()
        told.on_predict_begin({})
        parts: list[list[Array]] = []
        structure: Any = None
        with no_grad():
            if is_iterable_of_batches(x):
                given: Any = ((self._inputs(b[0]), None) for b in Batches(x, steps))
                total: int | None = None
            else:
                xs = self._inputs(x)
                total = self._rows(xs)
                total = total if steps is None else min(total, steps * size)
                given = self._slices(xs, total, size)
            with Display(total, "Prediction", verbose) as display:
                for i, (xs, rows) in enumerate(given):
                    told.on_predict_batch_begin(i, {})
                    with backend.on_device_of(leaves(xs)[0]):
                        out = self._outputs(self._batch(xs, rows), logits=False)
                        structure = out
                        parts.append([t.array for t in leaves(out)])
                    told.on_predict_batch_end(i, {})
                    display.update(len(parts[-1][0]))
        if was:
            self.train()
        if not parts:
            raise ShapeError("predict: x has no samples")
        with backend.expected_waits(), backend.on_device_of(parts[0][0]):
            xp = backend.namespace(parts[0][0])
            found = [backend.to_host(xp.concatenate(column)) for column in zip(*parts, strict=True)]
        told.on_predict_end({})
        if isinstance(structure, dict):
            return dict(zip(structure, found, strict=True))
        return found if isinstance(structure, (list, tuple)) else found[0]

    def _slices(self, xs: Any, count: int, size: int) -> Any:
        order = backend.namespace(leaves(xs)[0]).arange(count)
        return ((xs, order[start : start + size]) for start in range(0, count, size))

    def test_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False
    ) -> Any:
        """Loss and metrics of a batch."""
        self._compiled()
        self.eval()
        xs = self._inputs(x)
        rows = self._rows(xs)
        ys, weights = self._targets_of(y, rows), self._weights_of(sample_weight, rows)
        return self._as_results(self._evaluate(xs, ys, weights, rows), return_dict)

    def predict_on_batch(self, x: Any) -> Any:
        """Outputs of a batch, on the host."""
        return self.predict(x, batch_size=self._rows(self._inputs(x)), verbose=0)
