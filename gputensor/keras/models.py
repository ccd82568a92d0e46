"""Sequential models: compile, fit, evaluate, predict, with everything on the device.

The data set is uploaded once, in the dtype it came in. Each epoch's order is drawn on the device,
batches are gathered there, and losses and metrics add up there; the host reads them once an epoch.
"""

import itertools
import logging
import math
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from gputensor import backend, config, nn, optim
from gputensor.autograd import Tensor, no_grad, wrap
from gputensor.backend import Array, Device
from gputensor.errors import CaptureError, DeviceMismatchError, DTypeError, GraphError, ShapeError
from gputensor.graph.capture import Captured
from gputensor.keras import losses, metrics, optimizers
from gputensor.keras.functional import Graph
from gputensor.keras.layers import Dense, InputLayer, Layer, Rescaling
from gputensor.keras.layers.base import Hidden, checked_shape
from gputensor.keras.symbolic import KerasTensor
from gputensor.kernels import gather_scale, next_rows
from gputensor.ops.nn import cross_entropy_and_result
from gputensor.ops.precision import widened
from gputensor.ops.statistical import mean
from gputensor.random import default_generator
from gputensor.tree import leaves

__all__ = ["History", "Model", "Sequential"]

_log = logging.getLogger("gputensor.keras")
_EVALUATION_BATCH = 1024


class History:
    """What ``fit`` measured.

    Attributes
    ----------
    history : dict of list
        For each metric, and ``seconds``, its value in every epoch.
    epoch : list of int
    params : dict
        ``epochs``, ``steps`` (batches of an epoch) and ``verbose``.
    """

    def __init__(self, params: dict[str, Any] | None = None) -> None:
        self.history: dict[str, list[float]] = {}
        self.epoch: list[int] = []
        self.params = params or {}

    def add(self, epoch: int, values: dict[str, float]) -> None:
        """Append an epoch's values."""
        self.epoch.append(epoch)
        for name, value in values.items():
            self.history.setdefault(name, []).append(value)


class _Sums:
    """Loss and metrics, added up on the device."""

    def __init__(self, names: list[str], place: Array) -> None:
        self.names = names
        self.values = wrap(backend.namespace(place).zeros(len(names), np.float64))

    def add(self, values: list[Array]) -> None:
        """Add sums over a batch."""
        sums = self.values.array
        for i, value in enumerate(values):
            sums[i] += value

    def means(self, rows: int) -> dict[str, float]:
        """Means over all rows; reads the device once."""
        with backend.expected_waits():
            sums = backend.to_host(self.values.array)
        return dict(zip(self.names, (sums / rows).tolist(), strict=True))


def _sum_of(each: Array, rows: int) -> Array:
    """Sum over a batch of a loss of each row, or of their mean."""
    return backend.namespace(each).sum(each) if each.ndim else each * rows


def _measured(metric: Callable[..., Tensor], y: Array, prediction: Tensor, rows: int) -> Array:
    """Sum of a metric over a batch."""
    found = metric(y, prediction).array
    return found.mean(dtype=np.float64) * rows


class _Display:
    """Progress bar with the loss so far, on a terminal and where it is wanted.

    The loss comes by a copy to pinned memory, begun at most four times a second and shown when it
    has arrived, so that nobody waits for the device.
    """

    def __init__(self, total: int, text: str, verbose: int | str, sums: _Sums | None = None):
        from tqdm import tqdm

        self._bar = tqdm(
            total=total,
            desc=text,
            unit=" samples",
            unit_scale=True,
            leave=False,
            mininterval=0.25,
            disable=verbose not in (1, "auto") or not sys.stderr.isatty(),
        )
        self._sums = None if self._bar.disable else sums
        self._rows = 0
        self._next = 0.0
        self._copy: tuple[np.ndarray[Any, Any], Any, int] | None = None

    def __enter__(self) -> "_Display":
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def update(self, rows: int) -> None:
        """Say that so many more rows are done, or given to the device."""
        self._bar.update(rows)
        self._rows += rows
        if self._sums is None:
            return
        if self._copy is not None and self._copy[1].done:
            host, _, count = self._copy
            self._copy = None
            self._bar.set_postfix(loss=f"{host[0] / count:.4f}", refresh=False)
        now = time.monotonic()
        if self._copy is None and now >= self._next:
            self._next = now + 0.25
            self._copy = *_begin_copy(self._sums.values.array), self._rows


class _Done:
    """Stands for the event of a copy that needs none."""

    done = True


def _begin_copy(array: Array) -> tuple["np.ndarray[Any, Any]", Any]:
    """Host array that a device array is being copied to, and the event after which it is there."""
    if backend.on_cpu(array):
        return array.copy(), _Done()
    import cupy

    host = np.frombuffer(cupy.cuda.alloc_pinned_memory(array.nbytes), array.dtype, array.size)
    stream = cupy.cuda.get_current_stream()
    array.data.copy_to_host_async(host.ctypes.data, array.nbytes, stream)
    return host, stream.record()


class _Steps:
    """Runs the training steps of :meth:`Sequential.fit`, replayed where that is possible.

    Parameters
    ----------
    step : callable
        ``step(rows)`` trains on the next batch.
    capture : {"auto", True, False}
    device : Device
    """

    def __init__(self, step: Callable[[int], None], capture: Any, device: Device) -> None:
        self._step = step
        self._must = capture is True
        self._told = False
        self._run: Callable[[int], None] = step
        if capture:
            self._run = Captured(step, device, own=capture == "auto")

    def __call__(self, rows: int) -> None:
        self._run(rows)
        reason = getattr(self._run, "reason", None)
        if reason is None or self._told:
            return
        if self._must:
            raise CaptureError(f"fit: a step cannot be captured: {reason}")
        self._told = True
        _log.info(f"fit runs its steps operation by operation, not as one graph: {reason}")


class Model(Layer):
    """A model: ``Model(inputs, outputs)`` of what ``keras.Input`` began, or a subclass with ``call``.

    Parameters
    ----------
    inputs, outputs : KerasTensor, or list or dict of such, optional
    name : str, optional

    Examples
    --------
    >>> x = keras.Input((784,))
    >>> y = Dense(10, activation="softmax")(Dense(512, activation="relu")(x))
    >>> model = Model(x, y)
    """

    _graph: Hidden | None = None
    _loss: losses.Loss | None = None
    optimizer: optim.Optimizer | None = None
    history: History | None = None  # of the last call of fit

    def __init__(self, inputs: Any = None, outputs: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._warned: set[str] = set()
        if inputs is not None or outputs is not None:
            if inputs is None or outputs is None:
                raise TypeError("Model: give both inputs and outputs")
            self._set_graph(Graph(inputs, outputs))

    def _set_graph(self, graph: Graph) -> None:
        self._graph = Hidden(graph)
        self.built = True
        self.input_shape = _sample_shapes(graph.inputs)
        self.output_shape = _sample_shapes(graph.outputs)

    @property
    def layers(self) -> list[Any]:
        """The layers directly inside."""
        if self._graph is not None:
            return list(self._graph.value.layers)
        return [child for _, child in self.children() if isinstance(child, Layer)]

    def children(self) -> Iterator[tuple[str, nn.Module]]:
        """Modules directly inside, by name."""
        if self._graph is None:
            return super().children()
        own = {id(layer) for layer in self._graph.value.layers}
        others = ((n, m) for n, m in super().children() if id(m) not in own)
        named: Iterator[tuple[str, nn.Module]] = self._graph.value.named()
        return itertools.chain(named, others)

    def call(self, x: Any) -> Any:
        """Outputs for inputs."""
        if self._graph is None:
            raise NotImplementedError(f"{type(self).__name__} defines no call(self, x)")
        return self._graph.value.run(x)

    @property
    def inputs(self) -> list[Any]:
        """The symbolic tensors that the model begins with."""
        return leaves(self._known_graph().inputs)

    @property
    def outputs(self) -> list[Any]:
        """The symbolic tensors that the model ends with."""
        return leaves(self._known_graph().outputs)

    @property
    def input(self) -> Any:
        """What the model begins with, without values."""
        return self._known_graph().inputs

    @property
    def output(self) -> Any:
        """What the model ends with, without values."""
        return self._known_graph().outputs

    def _known_graph(self) -> Graph:
        if self._graph is None:
            raise AttributeError(
                f"{self.name} is no graph of keras.Input and layers: it has no inputs and outputs"
            )
        graph: Graph = self._graph.value
        return graph

    def get_layer(self, name: str | None = None, index: int | None = None) -> Any:
        """The layer of a name or a number.

        Raises
        ------
        ValueError
            If there is none.
        """
        if index is not None:
            if not -len(self.layers) <= index < len(self.layers):
                raise ValueError(
                    f"get_layer: index is {index}; there are {len(self.layers)} layers"
                )
            return self.layers[index]
        for layer in self.layers:
            if layer.name == name:
                return layer
        names = ", ".join(layer.name for layer in self.layers)
        raise ValueError(f"get_layer: no layer is named {name!r}; there are {names}")

    def __getstate__(self) -> dict[str, Any]:
        state = dict(vars(self))
        if self.optimizer is not None:
            state["optimizer"] = self.optimizer.state_dict()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Make a copy, whose optimizer works in the memory of the copied parameters."""
        vars(self).update(state, optimizer=None)
        if state["optimizer"] is not None:
            self.optimizer = self._bind()
            self.optimizer.load_state_dict(state["optimizer"])

    def summary(self, line_length: Any = None, print_fn: Callable[[str], object] = print) -> None:
        """Print each layer with its output's shape and its number of parameters."""
        if callable(line_length):
            print_fn = line_length
        rows = [("Layer (type)", "Output shape", "Parameters")]
        for layer in self.layers:
            shape = layer.output_shape
            text = "?" if shape is None else str((None, *shape))
            name = f"{layer.name} ({type(layer).__name__})"
            rows.append((name, text, f"{layer.count_params():,}"))
        widths = [max(len(row[i]) for row in rows) for i in range(3)]
        print_fn(f'Model: "{self.name}"')
        for i, (name, text, size) in enumerate(rows):
            print_fn(f"{name:<{widths[0]}}  {text:<{widths[1]}}  {size:>{widths[2]}}")
            if i == 0:
                print_fn("-" * (sum(widths) + 4))
        trained = sum(w.size for w in self.trainable_weights)
        print_fn(f"Total parameters: {self.count_params():,}")
        print_fn(f"Trainable parameters: {trained:,}")
        print_fn(f"Non-trainable parameters: {self.count_params() - trained:,}")

    def compile(
        self,
        optimizer: str | optimizers.Optimizer = "adam",
        loss: Any = None,
        metrics: Sequence[Any] | None = None,
    ) -> None:
        """Say how to train.

        Parameters
        ----------
        optimizer : str or Optimizer
        loss : str, function or Loss
            See :mod:`gputensor.keras.losses`.
        metrics : sequence of str or function
            See :mod:`gputensor.keras.metrics`.
        """
        if loss is None:
            raise TypeError("compile: loss is missing; for example loss='categorical_crossentropy'")
        if isinstance(metrics, str):
            raise TypeError(f"compile: metrics must be a list; write metrics=[{metrics!r}]")
        self._loss = losses.get(loss)
        self._metrics = [_metrics_get(metric) for metric in metrics or ()]
        self._optimizer_choice = optimizers.get(optimizer)
        self.optimizer = None if self.input_shape is None else self._bind()

    def _bind(self) -> optim.Optimizer:
        return self._optimizer_choice.bind(self.parameters())

    def _warn_once(self, key: str, text: str) -> None:
        if key not in self._warned:
            self._warned.add(key)
            warnings.warn(text, UserWarning, stacklevel=4)

    # Data

    def _upload(self, name: str, data: Any) -> Array:
        """Raw array of `data` on the model's device."""
        place = self.parameters()[0].device if self.parameters() else backend.default_device()
        raw = data.array if isinstance(data, Tensor) else data
        if not backend.is_array(raw) or isinstance(raw, np.ndarray):
            try:
                raw = backend.plain(raw if isinstance(raw, np.ndarray) else np.asarray(raw))
            except ValueError as error:
                raise ShapeError(f"{name} has nested lists of uneven lengths: {error}") from None
        if raw.dtype.kind not in "biuf":
            raise DTypeError(f"{name} has dtype {raw.dtype}; it must hold numbers")
        if isinstance(data, Tensor) and data.device != place:
            raise DeviceMismatchError(
                f"{name} is on {data.device}, the model on {place}; move it with "
                f"{name}.to({str(place)!r})"
            )
        if not isinstance(raw, np.ndarray) or raw.dtype.kind == "f":
            raw = raw.astype(
                raw.dtype if raw.dtype.itemsize < 4 else config.default_dtype(), copy=False
            )
        return backend.to_device(backend.namespace(raw).ascontiguousarray(raw), place)

    def _inputs(self, x: Any) -> Array:
        """`x` on the device, in the shape that the model takes."""
        array = self._upload("x", x)
        if array.ndim == 0 or len(array) == 0:
            raise ShapeError(f"x has shape {array.shape}; there must be a sample or more")
        if self.input_shape is None:
            self.build(array.shape[1:])
        shape = self.input_shape
        assert shape is not None
        if array.shape[1:] == shape:
            return array
        if math.prod(array.shape[1:]) != math.prod(shape):
            hint = "; for a single sample write x[None]" if array.shape == shape else ""
            raise ShapeError(
                f"x has shape {array.shape}, samples of {array.shape[1:]}; the model takes samples "
                f"of {shape}{hint}"
            )
        self._warn_once(
            "shape",
            f"x has samples of shape {array.shape[1:]} and the model takes {shape}: they were "
            f"reshaped. Write x.reshape({', '.join(map(str, (-1, *shape)))}), or begin the model "
            f"with Flatten(input_shape={array.shape[1:]})",
        )
        return array.reshape(len(array), *shape)

    def _targets(self, y: Any, rows: int) -> Array:
        """`y` on the device: class labels as int64, checked, or numbers of the default dtype."""
        assert self._loss is not None
        array = self._upload("y", y)
        if array.ndim == 0 or len(array) != rows:
            raise ShapeError(f"y has shape {array.shape}; x has {rows} samples, so must y")
        if not self._loss.cross_entropy:
            if array.ndim == 1 and self.output_shape == (1,):
                array = array.reshape(rows, 1)  # as Keras does
            return array.astype(config.default_dtype(), copy=False)
        if array.ndim == 2 and array.shape[1] == 1:
            array = array.reshape(rows)
        classes = self.output_shape[-1]
        if array.ndim == 2:
            if self._loss.sparse:
                raise ShapeError(
                    f"y has shape {array.shape}, but {self._loss.name} takes class labels of shape "
                    f"({rows},); for one-hot rows use categorical_crossentropy"
                )
            if array.shape[1] != classes:
                raise ShapeError(
                    f"y has shape {array.shape}; the model has {classes} outputs, so it must be "
                    f"({rows}, {classes})"
                )
            return array.astype(config.default_dtype(), copy=False)
        if array.ndim != 1:
            raise ShapeError(
                f"y has shape {array.shape}; it must be ({rows},) or ({rows}, classes)"
            )
        xp = backend.namespace(array)
        if array.dtype.kind == "f" and not bool(
            xp.all(xp.isfinite(array) & (xp.floor(array) == array))
        ):
            raise DTypeError("y must hold class labels, whole numbers; it has fractions or NaN")
        if not self._loss.sparse:
            self._warn_once(
                "labels",
                "y holds class labels and the loss is categorical_crossentropy, which takes "
                "one-hot rows: they were taken as labels. Write "
                "loss='sparse_categorical_crossentropy', or "
                "y = gputensor.keras.utils.to_categorical(y)",
            )
        array = array.astype(np.int64, copy=False)
        losses.check_labels("y", array, classes)
        return array

    def _batch(self, x: Array, rows: Array) -> Tensor:
        """Rows of `x` as the second layer's or the first layer's input."""
        scale, offset = self._scaling
        return wrap(
            gather_scale.raw(x, rows, dtype=config.default_dtype(), scale=scale, offset=offset)
        )

    @property
    def _scaling(self) -> tuple[float, float]:
        """Factor and offset that the gathering of a batch applies."""
        return 1.0, 0.0

    def _batches(self, x: Array, size: int) -> Iterator[tuple[Tensor, Array]]:
        """Batches of `x` in order, with their rows."""
        order = backend.namespace(x).arange(len(x))
        for start in range(0, len(x), size):
            rows = order[start : start + size]
            yield self._batch(x, rows), rows

    def _outputs(self, x: Tensor, *, logits: bool) -> Tensor:
        """Result for a batch of :meth:`_batches`; without the last softmax with `logits`."""
        if not logits or self._graph is None:
            found: Tensor = self(x)
            return found
        last = self.layers[-1]
        found = self._graph.value.run(x, logits_of=last)
        return found

    def _ends_in_softmax(self) -> bool:
        """Whether the result is that of one last layer, Dense with softmax."""
        if self._graph is None:
            return False
        graph: Graph = self._graph.value
        last = getattr(getattr(graph.outputs, "node", None), "layer", None)
        once = sum(node.layer is last for node in graph.nodes) == 1
        return once and last is self.layers[-1] and _plain_softmax(last)

    @property
    def _fused(self) -> bool:
        """Whether loss and softmax are one kernel on logits."""
        assert self._loss is not None
        return self._loss.cross_entropy and not self._loss.from_logits and self._ends_in_softmax()

    def _loss_and_sums(self, x: Tensor, y: Array) -> tuple[Tensor, list[Array]]:
        """Mean loss of a batch, and the sums of loss and metrics over it."""
        loss = self._loss
        assert loss is not None
        fused = self._fused
        out = self._outputs(x, logits=fused)
        if fused or (loss.cross_entropy and loss.from_logits):
            result, sums = cross_entropy_and_result(out, y, loss.label_smoothing, "mean")
            values = [sums.total]
            correct: Array | None = sums.correct
        else:
            each = loss.function(wrap(y), widened(out))
            if each.ndim > 1:  # a loss of the user's for each output: the mean of a sample's
                each = mean(each, axis=tuple(range(1, each.ndim)))
            result = mean(each)
            values = [_sum_of(each.array, len(x.array))]
            correct = None
        for _, metric in self._metrics:
            if metric is metrics.accuracy and correct is not None:
                values.append(correct)
                continue
            prediction = out.detach()
            if fused:
                prediction = nn.functional.softmax(prediction)
            values.append(_measured(metric, y, prediction, len(x.array)))
        return result, values

    def _sums(self, place: Array) -> _Sums:
        """Sums of loss and metrics, 0 so far, where `place` is."""
        return _Sums(["loss", *(name for name, _ in self._metrics)], place)

    def _compiled(self) -> None:
        if self._loss is None:
            raise GraphError("the model is not compiled; call model.compile(optimizer, loss) first")
        if not self.layers:
            raise GraphError("the model has no layers; add one with model.add(layer)")

    def fit(
        self,
        x: Any,
        y: Any,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: int | str = "auto",
        validation_split: float = 0.0,
        validation_data: tuple[Any, Any] | None = None,
        shuffle: bool = True,
        capture: bool | str = "auto",
    ) -> History:
        """Train.

        Parameters
        ----------
        x : array or Tensor of shape (n, ...)
            Samples. Integers are uploaded as they are and converted batch by batch.
        y : array or Tensor
            Class labels of shape (n,), one-hot rows of shape (n, classes), or numbers.
        batch_size : int, optional
            32 by default.
        epochs : int
        verbose : {"auto", 0, 1, 2}
            0 prints nothing, 2 a line per epoch, 1 and "auto" a progress bar (on a terminal) too.
        validation_split : float
            Share of the samples, taken from the end, to evaluate on after each epoch.
        validation_data : (x, y), optional
            Samples to evaluate on instead.
        shuffle : bool
            Whether each epoch has a new random order.
        capture : {"auto", True, False}
            Whether a step is recorded and replayed, on CUDA as one CUDA graph, see
            :func:`gputensor.capture`; the results are the same. With "auto" steps on CUDA that
            cannot be captured, because of a loss, a metric or a layer that reads values, are run
            one operation after the other, and the log says why. On the CPU, where less is gained,
            "auto" replays only if layers, loss and schedule are gputensor's own: what Python does
            in those of the user would happen in the first steps only.

        Returns
        -------
        History

        Raises
        ------
        ShapeError, DTypeError, LabelError
            If the data do not fit the model. Nothing is trained then.
        CaptureError
            With ``capture=True``, if a step on CUDA cannot be captured.
        """
        self._compiled()
        if capture not in ("auto", True, False):
            raise ValueError(f"fit: capture is {capture!r}; allowed are 'auto', True and False")
        batch_size = _positive("fit", "batch_size", 32 if batch_size is None else batch_size)
        epochs = _positive("fit", "epochs", epochs)
        _check_verbose("fit", verbose)
        if not isinstance(validation_split, (int, float)) or not 0 <= validation_split < 1:
            raise ValueError(
                f"fit: validation_split is {validation_split!r}; it must be a number, at least 0 "
                "and below 1"
            )
        x_all = self._inputs(x)
        with backend.on_device_of(x_all):
            y_all = self._targets(y, len(x_all))
            held: tuple[Array, Array] | None = None
            if validation_data is not None:
                if not isinstance(validation_data, (tuple, list)) or len(validation_data) != 2:
                    raise TypeError(
                        "fit: validation_data must be a tuple (x, y), got "
                        f"{type(validation_data).__name__}"
                    )
                held = self._held(*validation_data)
            elif validation_split:
                keep = len(x_all) - int(len(x_all) * validation_split)
                if keep in (0, len(x_all)):
                    raise ValueError(
                        f"fit: validation_split {validation_split} of {len(x_all)} samples leaves "
                        "none to train or to evaluate on"
                    )
                held = x_all[keep:], y_all[keep:]
                x_all, y_all = x_all[:keep], y_all[:keep]
            if self.optimizer is None:
                self.optimizer = self._bind()
            count = len(x_all)
            steps = -(-count // batch_size)
            history = History({"epochs": epochs, "steps": steps, "verbose": verbose})
            self.history = history
            xp = backend.namespace(x_all)
            order, at = wrap(xp.arange(count)), wrap(xp.zeros(1, np.int64))
            sums = self._sums(x_all)
            device = backend.device_of(x_all)
            train = self._train_step(wrap(x_all), wrap(y_all), order, at, sums)
            step = _Steps(train, capture, device)
            try:
                for epoch in range(epochs):
                    began = time.perf_counter()
                    self.train()
                    if shuffle:
                        drawn = default_generator.permutation(count, device=device)
                        order.array[...] = drawn.array
                    at.array.fill(0)
                    sums.values.array.fill(0)
                    with _Display(count, f"Epoch {epoch + 1}/{epochs}", verbose, sums) as display:
                        for start in range(0, count, batch_size):
                            rows = min(batch_size, count - start)
                            step(rows)
                            display.update(rows)
                        values = sums.means(count)
                    seconds = time.perf_counter() - began
                    self.eval()
                    if held is not None:
                        found = self._evaluate(*held, _EVALUATION_BATCH)
                        values |= {f"val_{name}": value for name, value in found.items()}
                    history.add(epoch, values | {"seconds": seconds})
                    if verbose:
                        rate = f"{count / seconds:,.0f} samples/s"
                        text = f"{_in_words(values)}  {seconds:.2f} s  {rate}"
                        print(f"Epoch {epoch + 1}/{epochs}  {text}")
            finally:
                self.eval()
        return history

    def _held(self, x: Any, y: Any) -> tuple[Array, Array]:
        inputs = self._inputs(x)
        return inputs, self._targets(y, len(inputs))

    def _train_step(
        self, x: Tensor, y: Tensor, order: Tensor, at: Tensor, sums: _Sums
    ) -> Callable[[int], None]:
        """Function that trains on the next rows of `order`, from place `at` on."""
        optimizer = self.optimizer
        assert optimizer is not None

        def step(rows: int) -> None:
            index = next_rows.raw(order.array, at.array, rows=rows)
            loss, values = self._loss_and_sums(self._batch(x.array, index), y.array[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            sums.add(values)

        return step

    def _evaluate(self, x: Array, y: Array, size: int) -> dict[str, float]:
        sums = self._sums(x)
        with no_grad():
            for batch, rows in self._batches(x, size):
                sums.add(self._loss_and_sums(batch, y[rows])[1])
        return sums.means(len(x))

    def evaluate(
        self,
        x: Any,
        y: Any,
        batch_size: int | None = None,
        verbose: int | str = "auto",
        return_dict: bool = False,
    ) -> float | list[float] | dict[str, float]:
        """Loss and metrics on samples.

        Parameters
        ----------
        x, y : as for :meth:`fit`
        batch_size : int, optional
            1024 by default; it does not change the result but for rounding.
        verbose : {"auto", 0, 1, 2}
            0 prints nothing, the others a line.
        return_dict : bool
            Give a dict by name.

        Returns
        -------
        float, list of float, or dict
            The loss; a list of loss and metrics if there are any.
        """
        self._compiled()
        size = _evaluation_batch("evaluate", batch_size)
        _check_verbose("evaluate", verbose)
        self.eval()
        inputs, targets = self._held(x, y)
        with backend.on_device_of(inputs):
            values = self._evaluate(inputs, targets, size)
        if verbose:
            print(f"Evaluation  {_in_words(values)}")
        if return_dict:
            return values
        return list(values.values()) if self._metrics else values["loss"]

    def predict(
        self, x: Any, batch_size: int | None = None, verbose: int | str = "auto"
    ) -> "np.ndarray[Any, Any]":
        """Outputs for samples, on the host.

        Parameters
        ----------
        x : array or Tensor of shape (n, ...)
        batch_size : int, optional
            1024 by default.
        verbose : {"auto", 0, 1, 2}
            1 and "auto" show a progress bar on a terminal.

        Returns
        -------
        numpy.ndarray of shape (n, ...)
        """
        if not self.layers:
            raise GraphError("the model has no layers; add one with model.add(layer)")
        size = _evaluation_batch("predict", batch_size)
        _check_verbose("predict", verbose)
        self.eval()
        inputs = self._inputs(x)
        parts = []
        with backend.on_device_of(inputs), no_grad():
            with _Display(len(inputs), "Prediction", verbose) as display:
                for batch, rows in self._batches(inputs, size):
                    parts.append(self._outputs(batch, logits=False).array)
                    display.update(len(rows))
            with backend.expected_waits():
                return backend.to_host(backend.namespace(inputs).concatenate(parts))


def _sample_shapes(tree: Any) -> Any:
    """Shapes of symbolic tensors without the samples: one, or a list of them."""
    found = [t.shape[1:] for t in leaves(tree)]
    return found[0] if isinstance(tree, KerasTensor) else found


def _plain_softmax(layer: Any) -> bool:
    """Whether a layer is a Dense layer with softmax, and no subclass that does more."""
    return (
        isinstance(layer, Dense)
        and layer.activation == "softmax"
        and type(layer).call is Dense.call
        and type(layer).logits is Dense.logits
        and type(layer).forward is Layer.forward
        and "forward" not in vars(layer)
        and "call" not in vars(layer)
    )


class Sequential(Model):
    """Layers one after the other, in Keras's form.

    Parameters
    ----------
    layers : sequence of Layer, optional
        The first says its ``input_shape``, or it is read off the data when training begins.

    Examples
    --------
    >>> model = Sequential([Dense(512, activation="relu", input_shape=(784,)),
    ...                     Dense(10, activation="softmax")])
    >>> model.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])
    >>> model.fit(x_train, y_train, epochs=10, batch_size=256)
    """

    def __init__(
        self,
        layers: Sequence[Layer] | None = None,
        trainable: bool = True,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, trainable=trainable, **kwargs)
        self._stack: list[Any] = []
        for layer in layers or ():
            self.add(layer)

    @property
    def layers(self) -> list[Any]:
        """The layers, from first to last."""
        return [layer for layer in self._stack if not isinstance(layer, InputLayer)]

    def children(self) -> Iterator[tuple[str, nn.Module]]:
        """The layers, by number."""
        return ((str(i), layer) for i, layer in enumerate(self.layers))

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, index: int) -> Any:
        return self.layers[index]

    def add(self, layer: Any) -> None:
        """Put a layer at the end.

        Raises
        ------
        TypeError
            If it is none.
        """
        if isinstance(layer, KerasTensor) and layer.node is not None:
            layer = layer.node.layer
        if not isinstance(layer, Layer):
            raise TypeError(
                f"Sequential: a layer must be of gputensor.keras.layers, got {type(layer).__name__}"
            )
        self._stack.append(layer)
        self.optimizer = None  # bound anew, to the new layer's parameters too, before training
        self._graph = None
        if len(self._stack) == 1 and layer.input_shape is not None:
            self.build(layer.input_shape)
        elif self.input_shape is not None:
            before = self._stack[-2].output_shape
            self.output_shape = layer.build_for(before)

    def pop(self) -> Any:
        """Take the last layer away."""
        layer = self._stack.pop()
        self.optimizer = None
        self._graph = None
        self.output_shape = self._stack[-1].output_shape if self._stack else None
        return layer

    def build(self, input_shape: Any = None) -> None:
        """Make all parameters that there are not yet, for samples of this shape.

        Parameters
        ----------
        input_shape : sequence of int
            With None for the samples before it, or without.
        """
        shape = checked_shape("Sequential", input_shape)
        assert shape is not None
        self.input_shape = self.output_shape = shape
        for layer in self._stack:
            self.output_shape = shape = layer.build_for(shape)
        self.built = True

    def _build(self, input_shape: Any) -> None:
        self.build(input_shape)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Shape of the last layer's result."""
        for layer in self._stack:
            input_shape = layer.compute_output_shape(input_shape)
        return input_shape

    def call(self, x: Any) -> Any:
        """Result of the last layer."""
        for layer in self._stack:
            x = layer(x)
        return x

    @property
    def _scaling(self) -> tuple[float, float]:
        first = self.layers[0]
        plain = type(first) is Rescaling and "forward" not in vars(first)
        return (first.scale, first.offset) if plain else (1.0, 0.0)

    def _outputs(self, x: Tensor, *, logits: bool) -> Tensor:
        layers = self.layers
        if self._scaling != (1.0, 0.0):
            layers = layers[1:]
        own = type(self).call is not Sequential.call or type(self).forward is not Layer.forward
        if own:
            found: Tensor = self(x)
            return found
        for layer in layers[:-1]:
            x = layer(x)
        last = layers[-1]
        return last.logits(x) if logits else last(x)  # type: ignore[no-any-return]

    def _ends_in_softmax(self) -> bool:
        own = type(self).call is not Sequential.call or type(self).forward is not Layer.forward
        return not own and _plain_softmax(self.layers[-1])

    def _known_graph(self) -> Graph:
        if self._graph is None:
            if self.input_shape is None:
                raise AttributeError(
                    f"{self.name} is not built yet: its input's shape is not known"
                )
            first = InputLayer(self.input_shape).output
            x = first
            for layer in self.layers:
                x = layer(x)
            self._graph = Hidden(Graph(first, x))
        graph: Graph = self._graph.value
        return graph


_metrics_get = metrics.get


def _positive(method: str, name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"{method}: {name} is {value!r}; it must be a positive int")
    return int(value)


def _evaluation_batch(method: str, batch_size: int | None) -> int:
    return _positive(method, "batch_size", _EVALUATION_BATCH if batch_size is None else batch_size)


def _check_verbose(method: str, verbose: int | str) -> None:
    if verbose not in ("auto", 0, 1, 2):
        raise ValueError(f"{method}: verbose is {verbose!r}; allowed are 'auto', 0, 1 and 2")


def _in_words(values: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.4f}" for name, value in values.items())
