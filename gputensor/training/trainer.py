"""``compile``, ``fit``, ``evaluate``, ``predict``, with everything on the device.

The data set is uploaded once, in the dtype it came in. Each epoch's order is drawn on the device,
batches are gathered there, and losses and metrics add up there; the host reads them once an epoch.
Batches of a generator are uploaded one by one.
"""

import time
from typing import TYPE_CHECKING, Any

from gputensor import backend
from gputensor.autograd import Tensor
from gputensor.training.callbacks import CallbackList, TerminateOnNaN
from gputensor.training.checks import (
    about,
    check_capture,
    check_share,
    check_verbose,
    evaluation_batch,
    positive,
    unpacked_validation,
)
from gputensor.training.display import Display, print_epoch
from gputensor.training.evaluator import Evaluator
from gputensor.training.feeding import Batches, is_iterable_of_batches
from gputensor.training.history import History
from gputensor.training.measures import Head, Measures, Sums, by_output
from gputensor.training.sources import Held, Streamed
from gputensor.tree import leaves

if TYPE_CHECKING:
    from gputensor.keras.optimizers import Optimizer

__all__ = ["Trainer"]


class Trainer(Evaluator):
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

    _eager = False
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
            How Keras runs a step, not what it computes; here ``fit(capture=)`` says it. Callbacks
            hear of each batch.
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
        self._check_steps()
        self.optimizer = optimizers.get(optimizer)
        self._eager = bool(run_eagerly)
        self._choice = loss, loss_weights, metrics, weighted_metrics
        self._measures = self._measured(self._output_names())
        if self.parameters():
            self._bind()

    def _check_steps(self) -> None:
        """Refuse steps of the user's that would not be taken."""
        for name in ("train_step", "test_step", "predict_step", "compute_loss", "compute_metrics"):
            if hasattr(type(self), name):
                raise TypeError(
                    f"{type(self).__name__} defines {name}, which fit does not call; write a loop "
                    "of your own with loss.backward() and optimizer.step(), or the loss as a "
                    "function for compile"
                )

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

    def _bind(self) -> Any:
        """The engine of the optimizer, with all of the model's parameters."""
        assert self.optimizer is not None
        self._look_for_penalties()
        return self.optimizer.bind(self.parameters())

    def _train_on(self, x: Any, ys: list[Any], weights: list[Any], sums: Sums) -> Tensor:
        loss = self._loss_of(x, ys, weights, sums)
        assert self.optimizer is not None
        self.optimizer.zero_grad()
        if loss.requires_grad:  # else all is frozen
            loss.backward()
            self.optimizer.step()
            if self._constrains:
                self.constrain()
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
            source: Any = Streamed(self, Batches(x, steps_per_epoch), class_weight)
            source.begin()
        else:
            source = Held(self, x, y, sample_weight, class_weight, batch_size, steps_per_epoch)
        held: Any = None
        size = evaluation_batch("fit", validation_batch_size)
        if validation_data is not None:
            validation = unpacked_validation(validation_data)
            with about("validation_data"):
                held = self._evaluated(*validation, size, validation_steps)
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
                # Keras's order: by name, those of the validation last.
                order = sorted(logs, key=lambda name: (name.startswith("val_"), name))
                logs = {name: logs[name] for name in order}
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
