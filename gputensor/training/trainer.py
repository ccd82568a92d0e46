"""``compile``, ``fit``, ``evaluate``, ``predict``, with everything on the device.

The data set is uploaded once, in the dtype it came in. Each epoch's order is drawn on the device,
batches are gathered there, and losses and metrics add up there; the host reads them once an epoch.
Batches of a generator are uploaded one by one.
"""

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from gputensor import backend
from gputensor.autograd import Tensor, no_grad, wrap
from gputensor.backend import Array
from gputensor.errors import GraphError, ShapeError
from gputensor.kernels import next_rows
from gputensor.random import default_generator
from gputensor.training.callbacks import CallbackList, TerminateOnNaN
from gputensor.training.checks import (
    check_capture,
    check_share,
    check_verbose,
    evaluation_batch,
    positive,
    unpacked_validation,
)
from gputensor.training.display import Display, lines_of, print_epoch
from gputensor.training.feeding import Batches, is_iterable_of_batches
from gputensor.training.history import History
from gputensor.training.inputs import Inputs
from gputensor.training.measures import Head, Measures, Sums, by_output
from gputensor.training.steps import Steps
from gputensor.tree import leaves

if TYPE_CHECKING:
    from gputensor.keras.optimizers import Optimizer

__all__ = ["Trainer"]


class Trainer(Inputs):
    """What a model gets its training loop from.

    Attributes
    ----------
    optimizer : Optimizer or None
        Set by :meth:`compile`.
    history : History or None
        Of the last call of :meth:`fit`.
    stop_training : bool
        Set to True, by a callback for example, it ends :meth:`fit` after the batch.
    """

    _measures: Measures | None = None
    _eager = False
    _penalized = False
    optimizer: "Optimizer | None" = None
    history: History | None = None
    stop_training = False

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: Any = "auto",
        auto_scale_loss: bool = True,
    ) -> None:
        """Say how to train.

        Parameters
        ----------
        optimizer : str, Optimizer or class of such
        loss : str, function or Loss; or a list or dict of such, one for each output
            See :mod:`gputensor.keras.losses`.
        loss_weights : list or dict of float, optional
            Of several outputs' losses.
        metrics, weighted_metrics : sequence of str, function or Metric; or one for each output
            See :mod:`gputensor.keras.metrics`. The latter count sample weights.
        run_eagerly : bool
            Whether steps are never replayed.
        steps_per_execution, jit_compile, auto_scale_loss
            Of no meaning here, where steps are captured as they are.
        """
        from gputensor.keras import optimizers

        listed = isinstance(loss_weights, (list, tuple))
        if isinstance(loss_weights, str) or (
            listed and not (loss_weights and all(isinstance(w, (int, float)) for w in loss_weights))
        ):  # where metrics stood in Keras 2
            loss_weights, metrics = None, loss_weights
        if loss is None:
            raise TypeError("compile: loss is missing; for example loss='categorical_crossentropy'")
        if isinstance(metrics, str):
            raise TypeError(f"compile: metrics must be a list; write metrics=[{metrics!r}]")
        self.optimizer = optimizers.get(optimizer)
        self._eager = bool(run_eagerly)
        self._choice = loss, loss_weights, metrics, weighted_metrics
        self._measures = self._measured(self._output_names())
        if self.parameters():
            self._bind()

    def _output_names(self) -> list[str]:
        """Names of the outputs, several or one."""
        return [""]

    def _measured(self, names: list[str]) -> Measures:
        from gputensor.keras import losses
        from gputensor.keras import metrics as kinds

        loss, weights, metrics, weighted = self._choice
        chosen = by_output("loss", loss, names, ())
        factors = by_output("loss_weights", weights, names, ())
        heads = []
        for i, name in enumerate(names):
            found = []
            for given, counts in ((metrics, False), (weighted, True)):
                mine = given
                if len(names) > 1 and given is not None:
                    parted = isinstance(given, dict) or any(
                        isinstance(m, (list, tuple)) for m in given
                    )
                    mine = by_output("metrics", given, names, ())[i] if parted else given
                elif isinstance(given, dict):
                    mine = next(iter(given.values()), None)
                elif given and all(isinstance(m, (list, tuple)) for m in given):
                    mine = given[0]
                mine = [mine] if mine is not None and not isinstance(mine, (list, tuple)) else mine
                found += [(*kinds.get(m), counts) for m in mine or ()]
            head_loss = None if chosen[i] is None else losses.get(chosen[i])
            heads.append(Head(name, head_loss, 1.0 if factors[i] is None else factors[i], found))
        return Measures(heads, kinds.accuracy)

    @property
    def _heads(self) -> list[Head]:
        return [] if self._measures is None else self._measures.heads

    def _bind(self) -> Any:
        """The engine of the optimizer, with all of the model's parameters."""
        assert self.optimizer is not None
        self._look_for_penalties()
        return self.optimizer.bind(self.parameters())

    def _compiled(self) -> None:
        if self._measures is None:
            raise GraphError("the model is not compiled; call model.compile(optimizer, loss) first")

    # One batch

    @property
    def _fused(self) -> bool:
        """Whether loss and softmax are one kernel on logits."""
        heads = self._heads
        return len(heads) == 1 and heads[0].logits_wanted(self._ends_in_softmax())

    def _loss_and_sums(self, x: Any, ys: list[Any], weights: list[Any]) -> Any:
        """Mean loss of a batch, and the sums of loss and metrics over it."""
        measures = self._measures
        assert measures is not None
        fused = self._fused
        out = self._outputs(x, logits=fused)
        outs = [out] if len(measures.heads) == 1 else leaves(out)
        return measures.measure(outs, ys, weights, fused, self._penalties_now())

    def _penalties_now(self) -> list[Tensor]:
        """Losses that the layers add, for weights that are large for example."""
        return list(self.losses) if self._penalized else []

    def _look_for_penalties(self) -> None:
        """Note whether there are such losses, which no step has to look for."""
        self._penalized = any(
            m.may_penalize() for m in self.modules() if hasattr(m, "may_penalize")
        )

    def _train_on(self, x: Any, ys: list[Any], weights: list[Any], sums: Sums) -> Tensor:
        loss: Tensor
        loss, values = self._loss_and_sums(x, ys, weights)
        assert self.optimizer is not None
        engine = self.optimizer.engine
        engine.zero_grad()
        loss.backward()
        engine.step()
        sums.add(values)
        return loss

    # Loops

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: int | str = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: dict[int, float] | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int = 1,
        capture: bool | str = "auto",
    ) -> History:
        """Train.

        Parameters
        ----------
        x : array or Tensor of shape (n, ...), or iterable of batches
            Samples. Integers are uploaded as they are and converted batch by batch. Models of
            several inputs take a list or a dict. Batches are ``(x, y)`` or ``(x, y, weights)``.
        y : array or Tensor
            Class labels of shape (n,), one-hot rows of shape (n, classes), or numbers.
        batch_size : int, optional
            32 by default.
        epochs : int
        verbose : {"auto", 0, 1, 2}
            0 prints nothing, 2 a line per epoch, 1 and "auto" a progress bar (on a terminal) too.
        callbacks : sequence of Callback, optional
            See :mod:`gputensor.keras.callbacks`.
        validation_split : float
            Share of the samples, taken from the end, to evaluate on after each epoch.
        validation_data : (x, y), (x, y, weights) or iterable of batches, optional
            Samples to evaluate on instead.
        shuffle : bool
            Whether each epoch has a new random order.
        class_weight : dict of int to float, optional
            Factors of the losses of samples, by their class.
        sample_weight : array of shape (n,), optional
            Factors of the losses of samples.
        initial_epoch : int
            Number of the first epoch, where training goes on.
        steps_per_epoch : int, optional
            Batches of an epoch.
        validation_steps, validation_batch_size, validation_freq : int, optional
            Batches of a validation, their size, and epochs between two.
        capture : {"auto", True, False}
            Whether a step is recorded and replayed, on CUDA as one CUDA graph, see
            :func:`gputensor.capture`; the results are the same. With "auto" that is done if
            layers, loss, metrics and schedule are gputensor's own, or captured by their authors:
            what Python does in those of the user would happen in the first steps only. The log
            says which one it was.

        Returns
        -------
        History

        Raises
        ------
        ShapeError, DTypeError, LabelError
            If the data do not fit the model. Nothing is trained then.
        CaptureError
            With ``capture=True``, if a step cannot be captured.
        """
        self._compiled()
        check_capture(capture)
        capture = False if self._eager and capture == "auto" else capture
        batch_size = positive("fit", "batch_size", 32 if batch_size is None else batch_size)
        epochs = positive("fit", "epochs", epochs)
        check_verbose("fit", verbose)
        check_share("fit", "validation_split", validation_split)
        if is_iterable_of_batches(x):
            if y is not None:
                raise ValueError("fit: y must not be given where x gives batches, which have it")
            source: Any = _Streamed(self, Batches(x, steps_per_epoch), class_weight)
            source.begin()
        else:
            source = _Held(self, x, y, sample_weight, class_weight, batch_size, steps_per_epoch)
        held: Any = None
        size = evaluation_batch("fit", validation_batch_size)
        if validation_data is not None:
            held = self._evaluated(*unpacked_validation(validation_data), size, validation_steps)
        elif validation_split:
            held = source.split(validation_split, size, validation_steps)
        params = {"epochs": epochs, "steps": source.steps, "verbose": verbose}
        history = self.history = History(params)
        told = CallbackList(callbacks or (), self, params)
        history.set_model(self)
        self._bind()
        self.stop_training = False
        with backend.on_device_of(source.place):
            return self._run(
                source,
                held,
                history,
                told,
                (initial_epoch, epochs),
                verbose,
                shuffle,
                capture,
                validation_freq,
            )

    def _run(
        self,
        source: Any,
        held: Any,
        history: History,
        told: CallbackList,
        epochs: tuple[int, int],
        verbose: int | str,
        shuffle: bool,
        capture: Any,
        validation_freq: int,
    ) -> History:
        measures = self._measures
        assert measures is not None
        sums = measures.sums(source.place)
        watches = [c for c in told.callbacks if isinstance(c, TerminateOnNaN)]
        run = source.steps_of(sums, capture)
        told.on_train_begin({})
        logs: dict[str, Any] = {}
        try:
            for epoch in range(*epochs):
                told.on_epoch_begin(epoch, {})
                began = time.perf_counter()
                self.train()
                source.begin_epoch(shuffle)
                sums.clear()
                measures.clear()
                done = 0
                title = f"Epoch {epoch + 1}/{epochs[1]}"
                with Display(source.rows, title, verbose, sums) as display:
                    for batch, rows in enumerate(source.batches(run, told)):
                        done += rows
                        display.update(rows)
                        if told.wants_batches:
                            told.on_train_batch_end(batch, measures.results(sums, done))
                        for watch in watches:
                            watch.look(sums.values.array, batch)
                        if self.stop_training:
                            break
                    logs = measures.results(sums, done)
                seconds = time.perf_counter() - began
                self.eval()
                if held is not None and (epoch + 1) % validation_freq == 0:
                    told.on_test_begin({})
                    found = held()
                    told.on_test_end(found)
                    logs |= {f"val_{name}": value for name, value in found.items()}
                history.seconds.append(seconds)
                if verbose:
                    print_epoch(title, logs, done, seconds)
                told.on_epoch_end(epoch, logs)
                history.add(epoch, logs)
                if self.stop_training:
                    break
            if self.optimizer is not None:
                self.optimizer.finalize_variable_values()
            told.on_train_end(logs)
        finally:
            self.eval()
        return history

    def _evaluated(self, x: Any, y: Any, weight: Any, size: int, steps: int | None) -> Any:
        """Function that measures on these samples; they are uploaded and checked at once."""
        if is_iterable_of_batches(x):
            batches = Batches(x, steps)
            return lambda: self._evaluate_batches(batches)
        xs = self._inputs(x)
        ys, weights = self._targets_of(y, self._rows(xs)), self._weights_of(weight, self._rows(xs))
        return lambda: self._evaluate(xs, ys, weights, size, steps)

    def _evaluate(
        self, xs: Any, ys: list[Any], weights: list[Any], size: int, steps: int | None = None
    ) -> dict[str, Any]:
        measures = self._measures
        assert measures is not None
        self._look_for_penalties()
        place, count = leaves(xs)[0], self._rows(xs)
        count = count if steps is None else min(count, steps * size)
        with backend.on_device_of(place), no_grad():
            sums = measures.sums(place)
            measures.clear()
            order = backend.namespace(place).arange(count)
            for start in range(0, count, size):
                rows = order[start : start + size]
                part = [[None if a is None else a[rows] for a in pair] for pair in (ys, weights)]
                sums.add(self._loss_and_sums(self._batch(xs, rows), *part)[1])
            return measures.results(sums, count)

    def _evaluate_batches(self, batches: Batches) -> dict[str, Any]:
        measures = self._measures
        assert measures is not None
        sums, count = None, 0
        self._look_for_penalties()
        with no_grad():
            for x, y, weight in batches:
                xs = self._inputs(x)
                rows = self._rows(xs)
                place = leaves(xs)[0]
                with backend.on_device_of(place):
                    if sums is None:
                        sums = measures.sums(place)
                        measures.clear()
                    ys, weights = self._targets_of(y, rows), self._weights_of(weight, rows)
                    sums.add(self._loss_and_sums(self._batch(xs, None), ys, weights)[1])
                count += rows
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
        values = run()
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
        gathered = [label for h in self._measures.heads for label, _, _ in h.gathered]
        return [*self._measures.summed_names, *gathered]

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

    # Single batches

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: dict[int, float] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """One step on a batch; gives the loss and the metrics of that batch, before the step."""
        self._compiled()
        xs = self._inputs(x)
        rows = self._rows(xs)
        ys, weights = self._targets_of(y, rows), self._weights_of(sample_weight, rows)
        weights = self._with_classes(class_weight, ys, weights)
        self._bind()
        measures = self._measures
        assert measures is not None
        place = leaves(xs)[0]
        with backend.on_device_of(place):
            sums = measures.sums(place)
            measures.clear()
            self.train()
            try:
                self._train_on(self._batch(xs, None), ys, weights, sums)
            finally:
                self.eval()
            return self._as_results(measures.results(sums, rows), return_dict)

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


class _Held:
    """Samples that are on the device, for the loop of ``fit``."""

    def __init__(
        self,
        model: Trainer,
        x: Any,
        y: Any,
        sample_weight: Any,
        class_weight: Any,
        size: int,
        steps: int | None,
    ) -> None:
        self._model = model
        self._xs = model._inputs(x)
        count = model._rows(self._xs)
        self.place = leaves(self._xs)[0]
        with backend.on_device_of(self.place):
            self._ys = model._targets_of(y, count)
            weights = model._weights_of(sample_weight, count)
            self._weights = model._with_classes(class_weight, self._ys, weights)
        self._size = size
        self._most = steps
        self._set(count)

    def _set(self, count: int) -> None:
        self._count = count
        steps = -(-count // self._size)
        self.steps = steps if self._most is None else min(steps, self._most)
        self.rows = min(count, self.steps * self._size)

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
        model = self._model
        return lambda: model._evaluate(xs, ys, weights, size, steps)

    def steps_of(self, sums: Sums, capture: Any) -> Any:
        """Function that trains on the next rows of the order."""
        model, xp = self._model, backend.namespace(self.place)
        device = backend.device_of(self.place)
        with backend.on_device_of(self.place):
            self._order = order = wrap(xp.arange(self._count))
            self._at = at = wrap(xp.zeros(1, np.int64))
        xs = _map(wrap, self._xs)
        ys, weights = _map(wrap, self._ys), _map(wrap, self._weights)

        def step(rows: int) -> None:
            index = next_rows.raw(order.array, at.array, rows=rows)
            x = model._batch(_map(lambda t: t.array, xs), index)
            y = [None if t is None else t.array[index] for t in ys]
            w = [None if t is None else t.array[index] for t in weights]
            model._train_on(x, y, w, sums)

        return Steps(step, capture, device)

    def begin_epoch(self, shuffle: bool) -> None:
        """Draw an order."""
        if shuffle:
            device = backend.device_of(self.place)
            drawn = default_generator.permutation(self._count, device=device)
            self._order.array[...] = drawn.array
        self._at.array.fill(0)

    def batches(self, run: Any, told: CallbackList) -> Any:
        """Train on the batches of an epoch; gives how many rows each had."""
        for batch, start in enumerate(range(0, self.rows, self._size)):
            rows = min(self._size, self._count - start)
            told.on_train_batch_begin(batch, {})
            run(rows)
            yield rows


class _Streamed:
    """Batches that come one by one, for the loop of ``fit``."""

    def __init__(self, model: Trainer, batches: Batches, class_weight: Any) -> None:
        self._model = model
        self._batches = batches
        self._class_weight = class_weight
        self.steps = batches.steps
        self.rows: int | None = None
        self.place: Any = None
        self._first: Any = None

    def begin(self) -> None:
        """Read the first batch, which says where and in what shapes samples are."""
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

    def steps_of(self, sums: Sums, capture: Any) -> Any:
        """Function that trains on a batch."""
        model = self._model

        def step(x: Any, ys: list[Any], weights: list[Any]) -> None:
            def raw(ts: list[Any]) -> list[Any]:
                return [None if t is None else t.array for t in ts]

            model._train_on(x, raw(ys), raw(weights), sums)

        return Steps(step, capture, backend.device_of(self.place))

    def begin_epoch(self, shuffle: bool) -> None:
        """Begin with the first batch, or go on."""
        if self._first is None:
            self._stream = iter(self._batches)

    def batches(self, run: Any, told: CallbackList) -> Any:
        """Train on the batches of an epoch; gives how many rows each had."""
        model, batch = self._model, 0
        while True:
            given, self._first = self._first, None
            if given is None:
                given = next(self._stream, None)
            if given is None:
                break
            x, y, weight = given
            told.on_train_batch_begin(batch, {})
            xs = model._inputs(x)
            rows = model._rows(xs)
            ys, weights = model._targets_of(y, rows), model._weights_of(weight, rows)
            weights = model._with_classes(self._class_weight, ys, weights)
            run(model._batch(xs, None), _map(wrap, ys), _map(wrap, weights))
            batch += 1
            yield rows
        if not batch:
            raise ValueError(
                "fit: x gives no batch any more; give a generator without end and steps_per_epoch, "
                "or an iterable that can be begun again"
            )
        self._batches.end_epoch()


def _map(function: Any, tree: Any) -> Any:
    """A tree of arrays, where None stays."""
    if isinstance(tree, dict):
        return {k: _map(function, v) for k, v in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [_map(function, v) for v in tree]
    return None if tree is None else function(tree)
