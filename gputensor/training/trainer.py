"""``compile``, ``fit``, ``evaluate``, ``predict``, with everything on the device.

The data set is uploaded once, in the dtype it came in. Each epoch's order is drawn on the device,
batches are gathered there, and losses and metrics add up there; the host reads them once an epoch.
Batches of a generator are uploaded one by one.
"""

import math
import time
from typing import Any, ClassVar

from gputensor import backend
from gputensor.autograd import Tensor
from gputensor.checkpoints import Checkpointer
from gputensor.checkpoints.checkpointer import Opened
from gputensor.distributed import training as ranks
from gputensor.distributed.api import is_first
from gputensor.distributed.group import Part, group
from gputensor.training.callbacks import CallbackList
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
from gputensor.training.interrupts import Interrupts, tell
from gputensor.training.measures import Door, Head, Measures, Sums, by_output
from gputensor.training.progress import Clock, Progress, chosen, how_to_go_on
from gputensor.training.sources import Held, Streamed, training_on_batches, wrapped
from gputensor.training.steps import Singles
from gputensor.tree import leaves

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
    _door: ClassVar[Door]  # what names stand for; the class of models sets it
    _singles: Singles | None = None  # for train_on_batch
    optimizer: Any = None
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
        loss : str, function or Loss, optional; or a list or dict of such, one for each output
            See :mod:`gputensor.keras.losses`. Without one, the loss is what layers add with
            ``add_loss`` and by their regularizers.
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
        listed = isinstance(loss_weights, (list, tuple))
        if isinstance(loss_weights, str) or (
            listed and not (loss_weights and all(isinstance(w, (int, float)) for w in loss_weights))
        ):  # where metrics stood in Keras 2
            loss_weights, metrics = None, loss_weights
        if isinstance(metrics, str):
            raise TypeError(f"compile: metrics must be a list; write metrics=[{metrics!r}]")
        self._check_steps()
        self.optimizer = self._door.optimizer(optimizer)
        self._eager = bool(run_eagerly)
        self._choice = loss, loss_weights, metrics, weighted_metrics
        self._measures = self._measured(self._output_names())
        self._singles = Singles()
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
        loss, weights, metrics, weighted = self._choice
        chosen = by_output("loss", loss, names, ())
        factors = by_output("loss_weights", weights, names, ())
        heads = []
        # An output without an axis of steps has none that do not count.
        shape = getattr(self, "output_shape", None)
        flat = isinstance(shape, tuple) and len(shape) < 2
        masked = not flat and any(getattr(m, "makes_mask", False) for m in self.modules())
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
                found += [(*self._door.metric(m), counts) for m in mine or ()]
            head_loss = None if chosen[i] is None else self._door.loss(chosen[i])
            weight = 1.0 if factors[i] is None else factors[i]
            heads.append(Head(name, head_loss, weight, found, self._door, masked))
        return Measures(heads, self._door.accuracy)

    def _bind(self) -> Any:
        """The engine of the optimizer, with all of the model's parameters."""
        assert self.optimizer is not None
        self._look_for_penalties()
        return self.optimizer.bind(self.parameters())

    def _train_on(
        self, x: Any, ys: list[Any], weights: list[Any], sums: Sums, part: Part | None = None
    ) -> Tensor:
        """A step on a batch, or on this rank's part of one."""
        loss = self._loss_of(x, ys, weights, sums, 1.0 if part is None else part.factor)
        assert self.optimizer is not None
        self.optimizer.zero_grad()
        if loss.requires_grad:  # else all is frozen
            loss = self.optimizer.scale_loss(loss)
            if part is None:
                loss.backward()
            else:
                ranks.backward(loss, self.optimizer.engine, part.share)
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
        resume: Any = None,
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
            says which one it was. On the CPU steps are run as they are where 50 or fewer have as
            many rows, and the first 50 where it is not known how many there will be: a few are not
            worth a recording.
        resume : path-like, Checkpointer or True, optional
            Save checkpoints in a folder, and go on from the latest one there, if there is one:
            with the same bits as if training had not been interrupted. True goes on from the
            :class:`gputensor.checkpoints.Checkpointer` among the callbacks. Ctrl-C saves, then.

        Returns
        -------
        History

        Raises
        ------
        ShapeError, DTypeError, LabelError
            If the data do not fit the model. Nothing is trained then.
        CaptureError
            With ``capture=True``, if a step cannot be captured.
        CheckpointError
            If the checkpoint is damaged, or of another model, optimizer or other data. Nothing is
            changed then.
        """
        self._compiled()
        check_capture(capture)
        capture = False if self._eager and capture == "auto" else capture
        batch_size = positive("fit", "batch_size", 32 if batch_size is None else batch_size)
        epochs = positive("fit", "epochs", epochs)
        check_verbose("fit", verbose)
        check_share("fit", "validation_split", validation_split)
        saver, opened, callbacks = chosen(resume, callbacks)
        self._check_last_layers()
        pair = y is None and isinstance(x, tuple) and len(x) in (2, 3)
        if pair and len(leaves(getattr(self, "inputs", None) or [x[0]])) == 1:
            raise TypeError(f"fit: x is a tuple of {len(x)}, and y is missing; write fit(x, y)")
        if is_iterable_of_batches(x):
            if y is not None:
                raise ValueError("fit: y must not be given where x gives batches, which have it")
            source: Any = Streamed(self, Batches(x, steps_per_epoch), class_weight)
            source.begin(None if opened is None else opened.value("fit")["source"])
        else:
            source = Held(self, x, y, sample_weight, class_weight, batch_size, steps_per_epoch)
        held: Any = None
        size = evaluation_batch("fit", validation_batch_size)
        if validation_data is not None:
            given = unpacked_validation(validation_data)
            with about("validation_data"):
                held = self._evaluated(*given, size, validation_steps, group())
        elif validation_split:
            held = source.split(validation_split, size, validation_steps)
        verbose = verbose if is_first() else 0
        params = {"epochs": epochs, "steps": source.steps, "verbose": verbose}
        history = self.history = History(params)
        told = CallbackList(callbacks, self, params)
        history.set_model(self)
        team = ranks.Team(self, self._bind())
        if opened is not None:
            opened.check({"model": self, "optimizer": self.optimizer})
            team.check(opened)
        self.stop_training = False
        with backend.on_device_of(source.place):
            return self._run(
                source,
                held,
                history,
                told,
                team,
                (initial_epoch, epochs),
                verbose,
                shuffle,
                capture,
                validation_freq,
                saver,
                opened,
            )

    def _run(
        self,
        source: Any,
        held: Any,
        history: History,
        told: CallbackList,
        team: ranks.Team,
        epochs: tuple[int, int],
        verbose: int | str,
        shuffle: bool,
        capture: Any,
        validation_freq: int,
        saver: Checkpointer | None,
        opened: Opened | None,
    ) -> History:
        measures = self._measures
        assert measures is not None
        sums = measures.sums(source.place)
        looking = told.looking if team.group is None else []
        run = source.steps_of(sums, capture, epochs[1] - epochs[0])
        team.begin(
            told,
            {
                **source.plan(),
                "first and last sample": 0 if team.group is None else source.mark(),
                "epochs": epochs,
                "validation every": validation_freq if held is not None else None,
                "checkpoint to go on from": None if opened is None else opened.step,
                "checkpoints every": None if saver is None else (saver.every or "epoch"),
            },
        )
        progress = Progress(self, source, sums, measures, history, told)
        progress.epoch = epochs[0]
        progress.step = (saver and saver.last) or 0
        told.on_train_begin({})
        if opened is not None:
            place = opened.value("fit")
            if place["source"]["batch"]:
                told.on_epoch_begin(place["epoch"], {})
            assert saver is not None
            saver.put(opened, progress.objects())
            team.go_on(place["ranks"])
        interrupts = Interrupts(saver is not None)
        clock = Clock(saver, progress, team, interrupts)
        amid = bool(source.batch)
        logs = history.latest()
        try:
            with interrupts:
                told.wish = interrupts.wish
                while progress.epoch < epochs[1] and not progress.stopped:
                    epoch = progress.epoch
                    if not amid:
                        told.on_epoch_begin(epoch, {})
                    self.train()
                    if not amid:
                        source.begin_epoch(shuffle)
                        team.begin_epoch()
                        sums.clear()
                        measures.clear()
                        progress.rows, progress.seconds = 0, 0.0
                    amid = False
                    began = time.perf_counter() - progress.seconds
                    title = f"Epoch {epoch + 1}/{epochs[1]}"
                    with Display(source.rows, title, verbose, sums) as display:
                        display.update(progress.rows)
                        before = source.batch
                        for rows in source.batches(run, told, clock):
                            batch = source.batch - 1
                            progress.step += source.batch - before
                            before = source.batch
                            progress.rows += rows
                            display.update(rows)
                            if team.wants_batches:
                                found = measures.results(sums, progress.rows, team.group)
                                told.on_train_batch_end(batch, found)
                            for watch in looking:
                                watch.look(sums.values.array, batch)
                            if team.stops(self.stop_training, within=True):
                                break
                            wished = team.group is None and interrupts.wished
                            if clock.due() or wished:
                                progress.seconds = time.perf_counter() - began
                                progress.ranks = team.gathered(progress.part())
                                self._save(saver, progress, {}, wished)
                        logs = measures.results(sums, progress.rows, team.group)
                    if is_first() and math.isnan(logs.get("loss", 0.0)):
                        self._warn_once("NaN", f"fit: the loss is NaN; {source.about_nan()}")
                    seconds = time.perf_counter() - began
                    self.eval()
                    team.end_epoch()
                    if held is not None and (epoch + 1) % validation_freq == 0:
                        told.on_test_begin({})
                        found = held(told)
                        told.on_test_end(found)
                        logs |= {f"val_{name}": value for name, value in found.items()}
                    history.seconds.append(seconds)
                    if verbose:
                        print_epoch(title, logs, progress.rows, seconds)
                    logs = team.same(logs)
                    # Keras's order: by name, those of the validation last.
                    order = sorted(logs, key=lambda name: (name.startswith("val_"), name))
                    logs = {name: logs[name] for name in order}
                    told.on_epoch_end(epoch, logs)
                    history.add(epoch, logs)
                    progress.epoch, progress.stopped = epoch + 1, team.stops(self.stop_training)
                    source.end_epoch()
                    progress.ranks = None
                    if saver is not None:
                        self._save(saver, progress, logs, team.stops(interrupts.wished))
            if self.optimizer is not None:
                self.optimizer.finalize_variable_values()
            team.end()
            told.on_train_end(logs)
        except KeyboardInterrupt as error:
            if verbose or saver is not None:
                text = how_to_go_on(progress, saver, epochs[1])
                tell(error, text if is_first() else "")
            raise
        finally:
            self.eval()
            if saver is not None:
                saver.wait()
        if saver is not None:
            saver.ended()
        return history

    def _save(
        self, saver: Checkpointer | None, progress: Progress, logs: dict[str, Any], wished: bool
    ) -> None:
        """Save a checkpoint, and end training if that is wished."""
        assert saver is not None
        if is_first():
            progress.save(saver, logs)
        elif (optimizer := self.optimizer) is not None and optimizer.engine.in_parts:
            optimizer.live_state()  # which takes the parts of all ranks
        if wished:
            raise KeyboardInterrupt

    # Single batches

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: dict[int, float] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """One step on a batch; gives the loss and the metrics of that batch, before the step.

        Steps are replayed as those of :meth:`fit` are, but with ``run_eagerly``. Where several
        processes train, each takes its part of the batch, which all are given.
        """
        self._compiled()
        xs = self._inputs(x)
        rows = self._rows(xs)
        ys, weights = self._targets_of(y, rows), self._weights_of(sample_weight, rows)
        weights = self._with_classes(class_weight, ys, weights)
        team = ranks.Team(self, self._bind())
        part, xs, ys, weights = team.own("train_on_batch: rows", rows, xs, ys, weights)
        measures = self._measures
        assert measures is not None
        assert self._singles is not None
        place = leaves(xs)[0]
        with backend.on_device_of(place):
            sums, run = self._singles.of(place, self._single)
            sums.clear()
            measures.clear()
            self.train()
            try:
                run(self._batch(xs, None), *wrapped(ys, weights), part)
            finally:
                self.eval()
            return self._as_results(measures.results(sums, rows, team.group), return_dict)

    def _single(self, place: Any) -> tuple[Sums, Any]:
        """Sums, and the function that trains on a batch and adds to them."""
        assert self._measures is not None
        sums = self._measures.sums(place)
        return sums, training_on_batches(self, sums, not self._eager and "auto", place)
