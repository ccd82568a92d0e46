"""What a training loop does with samples and targets before the first step: upload and checks."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from gputensor import backend, config
from gputensor.autograd import Tensor, no_grad, wrap
from gputensor.backend import Array
from gputensor.errors import DeviceMismatchError, DTypeError, GraphError, ShapeError
from gputensor.kernels import gather_scale
from gputensor.training.checks import check_labels
from gputensor.training.feeding import as_weights, rows_of, weights_of_classes
from gputensor.tree import leaves, map_tree

__all__ = ["Inputs"]


# What gives numbers that are no probabilities.
_NO_PROBABILITIES = (None, "linear", "relu", "leaky_relu", "elu", "selu", "gelu", "silu", "tanh")


class Inputs:
    """Base of the training loop: data on the device, in the shapes that the model takes.

    A model has ``input_shape`` and ``output_shape`` of a sample (a list where there are several),
    ``build``, ``parameters`` and what is below.
    """

    _warned: set[str]
    input_shape: Any
    output_shape: Any

    if TYPE_CHECKING:

        def parameters(self) -> list[Tensor]: ...
        def modules(self) -> list[Any]: ...
        def train(self, mode: bool = True) -> Any: ...
        def eval(self) -> Any: ...
        def constrain(self) -> None: ...
        def build(self, input_shape: Any) -> Any: ...

        training: bool
        losses: list[Tensor]

        @property
        def _heads(self) -> list[Any]: ...

    def _outputs(self, x: Any, *, logits: bool) -> Any:
        """Result for a batch; without the last softmax with `logits`."""
        raise NotImplementedError

    def _ends_in_softmax(self) -> bool:
        """Whether the result is that of one last layer, dense with softmax."""
        return False

    @property
    def _scaling(self) -> tuple[float, float]:
        """Factor and offset that the gathering of a batch applies."""
        return 1.0, 0.0

    def _warn_once(self, key: str, text: str) -> None:
        if key not in self._warned:
            self._warned.add(key)
            backend.warn_user(text)

    def _upload(self, name: str, data: Any) -> Array:
        """Raw array of `data` on the model's device."""
        parameters = self.parameters()
        place = parameters[0].device if parameters else backend.default_device()
        raw = data.array if isinstance(data, Tensor) else data
        if raw is None:
            raise TypeError(f"{name} is missing")
        if not backend.is_array(raw) or isinstance(raw, np.ndarray):
            if hasattr(raw, "detach") and hasattr(raw, "cpu"):  # a tensor of PyTorch's
                raw = raw.detach().cpu()
            try:
                raw = backend.plain(raw if isinstance(raw, np.ndarray) else np.asarray(raw))
            except ValueError as error:
                raise ShapeError(f"{name} has nested lists of uneven lengths: {error}") from None
        if raw.dtype.kind not in "biuf":
            worded = raw.dtype.kind in "US" or (
                raw.dtype.kind == "O" and any(isinstance(v, str) for v in raw.flat)
            )
            words = "; numbers of words are np.unique(words, return_inverse=True)[1]"
            words = words if worded else ""
            raise DTypeError(f"{name} has dtype {raw.dtype}; it must hold numbers{words}")
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

    # Samples

    def _inputs(self, x: Any) -> Any:
        """Samples on the device, in the shape that the model takes; several as a list or dict."""
        if isinstance(x, dict) or (isinstance(x, (list, tuple)) and self._takes_several(x)):
            found = map_tree(lambda a: self._upload("x", a), x)
            if any(a.ndim == 0 or len(a) == 0 for a in leaves(found)):
                raise ShapeError("x has an array without a sample")
            rows_of(leaves(found))
            self._trace(found)
            return found
        array = self._upload("x", x)
        if array.ndim == 0 or len(array) == 0:
            raise ShapeError(f"x has shape {array.shape}; there must be a sample or more")
        if isinstance(self.input_shape, list):
            if len(self.input_shape) != 1:
                raise ShapeError(
                    f"x must be a list of {len(self.input_shape)} arrays, the model's inputs"
                )
            shape: Any = tuple(self.input_shape[0])
        else:
            if self.input_shape is None:
                self._known_from(array)
            shape = self.input_shape
        self._trace(array)
        if (
            shape is None
            or array.shape[1:] == shape
            or (len(shape) != array.ndim - 1 and None in shape)
        ):
            return array
        if None in shape and all(
            n in (None, m) for n, m in zip(shape, array.shape[1:], strict=True)
        ):
            return array
        if array.ndim == 1 and shape == (1,):
            return array.reshape(-1, 1)
        if None in shape or math.prod(array.shape[1:]) != math.prod(shape):
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

    def _takes_several(self, x: Any) -> bool:
        if isinstance(self.input_shape, list):
            return len(self.input_shape) > 1 or len(x) == 1
        arrays = all(isinstance(a, (np.ndarray, Tensor)) and a.ndim > 1 for a in x)
        return self.input_shape is None and arrays and len(x) > 1

    def _known_from(self, array: Array) -> None:
        """Build for samples like those of an array."""
        self.build(array.shape[1:] or (1,))

    def _trace(self, xs: Any) -> None:
        """Run a sample through a model that does not know its output's shape yet."""
        if self.output_shape is not None or not self._heads:
            return
        first = map_tree(lambda a: a[:1], xs) if not backend.is_array(xs) else xs[:1]
        with no_grad(), backend.on_device_of(leaves(first)[0]):
            out = self._outputs(self._batch(first, None), logits=False)
        shapes = [t.shape[1:] for t in leaves(out)]
        self.output_shape = shapes if isinstance(out, (list, tuple, dict)) else shapes[0]

    def _rows(self, xs: Any) -> int:
        return rows_of(leaves(xs))

    def _batch(self, xs: Any, rows: Any) -> Any:
        """Rows of samples as the model's input; all without `rows`."""
        if not isinstance(xs, (list, tuple, dict)):
            return self._gathered(xs, rows, *self._scaling)
        return map_tree(lambda a: self._gathered(a, rows, 1.0, 0.0), xs)

    def _batch_of(self, xs: Any, first: Array, rows: Array) -> Any:
        """:meth:`_batch` of several arrays, of which the first one's rows are gathered already."""
        known = leaves(xs)[0]
        return map_tree(
            lambda a: wrap(first) if a is known else self._gathered(a, rows, 1.0, 0.0), xs
        )

    def _conversion(self, alone: bool) -> dict[str, Any]:
        """How kernels make samples the model's input, the only one or one of several."""
        scale, offset = self._scaling if alone else (1.0, 0.0)
        return {"dtype": config.default_dtype(), "scale": scale, "offset": offset}

    def _gathered(self, x: Array, rows: Any, scale: float, offset: float) -> Tensor:
        if rows is None:
            rows = backend.namespace(x).arange(len(x))
        dtype = config.default_dtype()
        return wrap(gather_scale.raw(x, rows, dtype=dtype, scale=scale, offset=offset))

    # Targets

    def _targets_of(self, y: Any, rows: int) -> list[Any]:
        """Targets of each output on the device."""
        heads = self._heads
        if len(heads) == 1:
            if isinstance(y, dict) and len(y) == 1:
                y = next(iter(y.values()))
            shape = self.output_shape
            if isinstance(shape, list):
                shape = shape[0] if len(shape) == 1 else None
            if y is None:
                if heads[0].loss is not None:
                    raise TypeError("y is missing; the loss compares the outputs with it")
                return [None]
            return [self._targets("y", y, rows, heads[0].loss, shape)]
        if y is None and all(head.loss is None for head in heads):
            return [None] * len(heads)
        if isinstance(y, dict):
            y = [y.get(head.name) for head in heads]
        if not isinstance(y, (list, tuple)) or len(y) != len(heads):
            raise ShapeError(
                f"y must be a list of {len(heads)} arrays, or a dict: the outputs are "
                f"{', '.join(head.name for head in heads)}"
            )
        shapes = self.output_shape
        return [
            None
            if part is None
            else self._targets(f"y of {head.name}", part, rows, head.loss, shape)
            for head, part, shape in zip(heads, y, shapes, strict=True)
        ]

    def _targets(self, name: str, y: Any, rows: int, loss: Any, shape: Any) -> Array:
        """`y` on the device: class labels as int64, checked, or numbers of the default dtype."""
        array = self._upload(name, y)
        if array.ndim == 0 or len(array) != rows:
            raise ShapeError(f"{name} has shape {array.shape}; x has {rows} samples, so must y")
        if loss is None or not loss.cross_entropy:
            if array.ndim == 1 and shape == (1,):
                array = array.reshape(rows, 1)  # as Keras does
            binary = "binary" in getattr(loss, "name", "") and "from_logits" in vars(loss)
            if binary and bool(((array < 0) | (array > 1)).any()):
                self._warn_once(
                    "binary labels",
                    f"{name}: {loss.name} takes labels 0 and 1, or probabilities, and there are "
                    f"others, from {array.min()} to {array.max()}",
                )
            return array.astype(config.default_dtype(), copy=False)
        if shape is not None and len(shape) > 1:  # a distribution at each place
            if array.dtype.kind == "f" and not loss.sparse:
                return array.astype(config.default_dtype(), copy=False)
            return array
        if array.ndim == 2 and array.shape[1] == 1:
            array = array.reshape(rows)
        if shape is None:
            raise GraphError("the model does not know its output's shape yet")
        classes = shape[-1]
        if array.ndim == 2:
            if loss.sparse:
                raise ShapeError(
                    f"{name} has shape {array.shape}, but {loss.name} takes class labels of shape "
                    f"({rows},); for one-hot rows use categorical_crossentropy"
                )
            if array.shape[1] != classes:
                raise ShapeError(
                    f"{name} has shape {array.shape}; the model has {classes} outputs, so it must "
                    f"be ({rows}, {classes})"
                )
            return array.astype(config.default_dtype(), copy=False)
        if array.ndim != 1:
            raise ShapeError(
                f"{name} has shape {array.shape}; it must be ({rows},) or ({rows}, classes)"
            )
        xp = backend.namespace(array)
        if array.dtype.kind == "f" and not bool(
            xp.all(xp.isfinite(array) & (xp.floor(array) == array))
        ):
            raise DTypeError("y must hold class labels, whole numbers; it has fractions or NaN")
        if not loss.sparse:
            self._warn_once(
                "labels",
                "y holds class labels and the loss is categorical_crossentropy, which takes "
                "one-hot rows: they were taken as labels. Write "
                "loss='sparse_categorical_crossentropy', or "
                "y = gputensor.keras.utils.to_categorical(y)",
            )
        array = array.astype(np.int64, copy=False)
        check_labels(name, array, classes)
        return array

    def _check_last_layers(self) -> None:
        """Say where the last layer does not give what the loss takes, which would train badly."""
        for head, layer in zip(self._heads, self._last_layers(), strict=False):
            activation = getattr(layer, "activation", False)
            if not isinstance(activation, str | None):
                continue
            if activation == "softmax" and getattr(layer, "units", 0) == 1:
                self._warn_once(
                    f"one unit of {layer.name}",
                    f"{layer.name}: softmax of one unit is always 1; write activation='sigmoid'",
                )
            loss = head.loss
            if loss is None or "from_logits" not in vars(loss):
                continue
            kind, binary = type(loss).__name__, "binary" in loss.name
            meant = "sigmoid" if binary else "softmax"
            if loss.from_logits and activation in ("softmax", "sigmoid"):
                text = f"takes logits; leave out activation={activation!r}, or from_logits=True"
            elif not loss.from_logits and activation in _NO_PROBABILITIES:
                text = (
                    f"takes probabilities, and the last layer has activation={activation!r}; write "
                    f"activation={meant!r}, or loss=gputensor.keras.losses.{kind}(from_logits=True)"
                )
            else:
                continue
            self._warn_once(f"loss of {layer.name}", f"{layer.name}: the loss {loss.name} {text}")

    def _last_layers(self) -> list[Any]:
        """The layer that gives each output, where that is known."""
        return []

    # Weights

    def _weights_of(self, weight: Any, rows: int) -> list[Any]:
        """Sample weights of each output, or None."""
        heads = self._heads
        if weight is None:
            return [None] * len(heads)
        if isinstance(weight, dict):
            parts = [weight.get(head.name) for head in heads]
        elif len(heads) > 1 and isinstance(weight, (list, tuple)) and len(weight) == len(heads):
            parts = list(weight)
        else:
            parts = [weight] * len(heads)
        return [
            None if part is None else as_weights("sample_weight", part, rows, self._upload)
            for part in parts
        ]

    def _with_classes(self, class_weight: Any, ys: list[Any], weights: list[Any]) -> list[Any]:
        """Weights, times those of the classes."""
        if class_weight is None:
            return weights
        if not isinstance(class_weight, dict):
            raise TypeError(
                f"class_weight must be a dict of class to weight, got {type(class_weight).__name__}"
            )
        if not all(isinstance(k, (int, np.integer)) for k in class_weight):
            raise TypeError(
                f"class_weight has the keys {', '.join(map(repr, class_weight))}; they must be the "
                "numbers of the classes"
            )
        if len(ys) != 1:
            raise ValueError("class_weight is for models of one output; give sample_weight")
        shape = self.output_shape
        factors = weights_of_classes(class_weight, ys[0], shape[-1] if shape else 2)
        factors = factors.astype(config.default_dtype())
        return [factors if weights[0] is None else factors * weights[0]]
