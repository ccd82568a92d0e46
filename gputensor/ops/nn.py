"""Operations of neural networks; the fused ones run the kernels of ``gputensor.kernels``."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from gputensor import backend, epilogue
from gputensor.autograd import Operand, Primitive, Tensor, as_array, wrap
from gputensor.backend import is_narrow, namespace
from gputensor.errors import DTypeError, OperandError, ShapeError
from gputensor.kernels import (
    Kernel,
    bias_activation,
    bias_activation_backward,
    row_layer_norm,
    row_rms_norm,
    row_softmax,
    row_softmax_backward,
    softmax_cross_entropy,
)
from gputensor.kernels.bias_activation import FROM_RESULT, KINDS
from gputensor.kernels.gelu import gelu as elementwise_gelu
from gputensor.kernels.runtime import narrow, widen
from gputensor.kernels.softmax_cross_entropy import Result
from gputensor.ops.axes import any_zero, checked_axis, kept_shape, one_axis
from gputensor.ops.creation import asarray
from gputensor.ops.elementwise import multiply, relu, sigmoid, tanh
from gputensor.ops.manipulation import reshape
from gputensor.ops.precision import casting, lowered, widened
from gputensor.ops.products import product
from gputensor.ops.special import erfc
from gputensor.options import number

__all__ = [
    "cross_entropy",
    "dense",
    "gelu",
    "layer_norm",
    "log_softmax",
    "logsumexp",
    "rms_norm",
    "silu",
    "softmax",
]


def _shifted(xp: Any, x: Any, axis: Any) -> tuple[Any, Any]:
    """`x` less its finite maximum, and the maximum; of no elements 0."""
    if any_zero(x.shape, axis):
        return x, xp.zeros(kept_shape(x.shape, axis), x.dtype)
    top = xp.max(x, axis=axis, keepdims=True)
    top = xp.where(xp.isfinite(top), top, 0)
    return x - top, top


def _logsumexp_forward(xp: Any, x: Any, axis: Any, keepdims: bool) -> Any:
    shifted, top = _shifted(xp, widen(xp, x), axis)
    out = xp.log(xp.sum(xp.exp(shifted), axis=axis, keepdims=True)) + top
    return narrow(xp, out if keepdims else xp.reshape(out, xp.sum(top, axis=axis).shape), x)


def _largest(x: Any, axis: Any) -> tuple[Any, Any]:
    """The largest elements, which are constants here, and whether they are infinite."""
    xp = namespace(x)
    top = xp.max(x, axis=axis, keepdims=True)
    return top, xp.isinf(top)


def _logsumexp_rule(xp: Any, g: Any, _out: Any, x: Any, axis: Any, keepdims: bool) -> Any:
    shape = x.shape
    if any_zero(shape, axis):
        return xp.zeros_like(x)
    x, g = widen(xp, x), widen(xp, xp.reshape(g, kept_shape(shape, axis)))
    top, endless = _largest(x.array if isinstance(x, Tensor) else x, axis)
    shifted = x - xp.where(endless, 0, top)
    if not isinstance(x, np.ndarray) or endless.any():  # equal shares of the largest
        shifted = xp.where(endless, xp.where(xp.equal(x, top), 0.0, -math.inf), shifted)
    weights = xp.exp(shifted)
    return weights * (g / xp.sum(weights, axis=axis, keepdims=True))


_logsumexp = Primitive("logsumexp", _logsumexp_forward, (_logsumexp_rule,))


def logsumexp(x: Operand, /, axis: Any = None, *, keepdims: bool = False) -> Tensor:
    """``log(sum(exp(x)))`` along `axis`, without overflow; parameters as for :func:`gputensor.sum`.

    Of no elements it is minus infinity. Where it is infinite the elements that are so share the
    gradient.

    Examples
    --------
    >>> gt.logsumexp(gt.tensor([1000.0, 1000.0]))
    tensor(1000.6932, dtype=float32)
    """
    x = widened(as_array("logsumexp", x))
    return _logsumexp(x, axis=checked_axis("logsumexp", x, axis), keepdims=keepdims)


def _by_rows(kernel: Kernel, axis: int, *arrays: Any, **attrs: Any) -> Any:
    """Result of a kernel on matrices, of shape and along any axis of arrays."""
    xp = namespace(arrays[0])
    if not arrays[0].size:
        return arrays[0].copy()
    last = axis in (-1, arrays[0].ndim - 1)
    moved = arrays if last else [xp.moveaxis(a, axis, -1) for a in arrays]
    shape = moved[0].shape
    out = kernel.raw(*(a.reshape(math.prod(shape[:-1]), shape[-1]) for a in moved), **attrs)
    return out.reshape(shape) if last else xp.moveaxis(out.reshape(shape), -1, axis)


def _softmax_forward(xp: Any, x: Any, axis: int, logarithm: bool) -> Any:
    return _by_rows(row_softmax, axis, x, logarithm=logarithm)


def _softmax_rule(xp: Any, g: Any, out: Any, _x: Any, axis: int, logarithm: bool) -> Any:
    if not isinstance(g, Tensor):
        return _by_rows(row_softmax_backward, axis, g, out, logarithm=logarithm)
    if logarithm:
        return g - xp.exp(out) * xp.sum(g, axis=axis, keepdims=True)
    return out * (g - xp.sum(g * out, axis=axis, keepdims=True))


_softmax = Primitive("softmax", _softmax_forward, (_softmax_rule,))


def softmax(x: Operand, /, axis: int = -1) -> Tensor:
    """``exp(x) / sum(exp(x))`` along `axis`, without overflow.

    Parameters
    ----------
    x : Tensor or array
    axis : int

    Returns
    -------
    Tensor
        Of the shape of `x`; sums to 1 along `axis`.

    Raises
    ------
    ShapeError
        If `axis` is not an axis of `x`.

    Examples
    --------
    >>> gt.softmax(gt.tensor([[0.0, 1.0], [2.0, 2.0]]), axis=1)
    tensor([[0.26894143, 0.7310586 ],
            [0.5       , 0.5       ]], dtype=float32)
    """
    x = widened(as_array("softmax", x))
    return _softmax(x, axis=one_axis("softmax", x, axis), logarithm=False)


def log_softmax(x: Operand, /, axis: int = -1) -> Tensor:
    """``log(softmax(x))`` along `axis`, without overflow; parameters as for :func:`softmax`.

    Examples
    --------
    >>> gt.log_softmax(gt.tensor([0.0, 1.0]))
    tensor([-1.3132616 , -0.31326166], dtype=float32)
    """
    x = widened(as_array("log_softmax", x))
    return _softmax(x, axis=one_axis("log_softmax", x, axis), logarithm=True)


# What cublasLt can do with a product, see gputensor.epilogue. The derivative of ReLU follows from
# the result, so no mask is written.
_EPILOGUES = {None: epilogue.BIAS, "relu": epilogue.RELU_BIAS}


def _dense_forward(xp: Any, x: Any, w: Any, b: Any, kind: str | None, out: Any = None) -> Any:
    if out is None and not backend.on_cpu(x) and kind in _EPILOGUES:
        out = xp.empty((len(x), w.shape[1]), x.dtype)
        epilogue.product(_EPILOGUES[kind], x, w, b, out, partial(_plain_dense, kind))
        return out
    z = product(xp, x, w, out=out)
    if kind:
        return bias_activation.raw(z, b, kind=kind, out=z)
    z += b
    return z


def _plain_dense(kind: str | None, x: Any, w: Any, b: Any, out: Any) -> None:
    _dense_forward(namespace(x), x, w, b, kind, out)


def _dense_rule(
    xp: Any, needs: Any, g: Any, out: Any, x: Any, w: Any, b: Any, *, kind: str | None
) -> tuple[Any, Any, Any]:
    into_w, into_b = (None if isinstance(need, bool) else need for need in needs[1:])
    if kind:
        g, b_grad = bias_activation_backward.raw(g, out, b, kind=kind, bias_grad=into_b)
    x_grad = None if needs[0] is False else product(xp, g, w.T)
    both = needs[1] is not False and needs[2] is not False
    if both and not kind and not backend.on_cpu(g):
        w_grad = xp.empty(w.shape, w.dtype) if into_w is None else into_w
        b_grad = xp.empty(b.shape, b.dtype) if into_b is None else into_b
        epilogue.product(epilogue.COLUMN_SUMS, x.T, g, b_grad, w_grad, _parameter_gradients)
        return x_grad, w_grad, b_grad
    w_grad = None
    if needs[1] is not False:
        # In the order of the weight in memory, which then takes it as it is.
        across = into_w is None and backend.on_cpu(g) and not w.flags.c_contiguous
        w_grad = product(xp, g.T, x).T if across else product(xp, x.T, g, out=into_w)
    if not kind:
        b_grad = None if needs[2] is False else _column_sums(xp, g, into_b)
    return x_grad, w_grad, b_grad


def _column_sums(xp: Any, g: Any, out: Any = None) -> Any:
    if not is_narrow(g.dtype):
        return g.sum(axis=0, out=out) if backend.on_cpu(g) else xp.sum(g, axis=0, out=out)
    total = xp.sum(widen(xp, g), axis=0)
    if out is None:
        return total
    out[...] = total
    return out


def _parameter_gradients(x: Any, g: Any, into_b: Any, into_w: Any) -> None:
    xp = namespace(g)
    product(xp, x, g, out=into_w)
    _column_sums(xp, g, into_b)


def _dense_reference(xp: Any, x: Any, w: Any, b: Any, kind: str | None) -> Any:
    z = product(xp, x, w)
    return bias_activation.reference(xp, z, b, kind=kind) if kind else z + b


_bias_activation = bias_activation.primitive
_gelu = elementwise_gelu.primitive
_dense = Primitive("dense", _dense_forward, _dense_rule, reference=_dense_reference)


def gelu(x: Operand, /) -> Tensor:
    """Gaussian error linear unit ``x * Phi(x)``, exact (Hendrycks & Gimpel 2016)."""
    x = as_array("gelu", x)
    if x.dtype.kind in "fV":
        found: Tensor = _gelu(x)
        return found
    return multiply(0.5 * x, erfc(-x * math.sqrt(0.5)))


def silu(x: Operand, /) -> Tensor:
    """Sigmoid linear unit ``x * sigmoid(x)``, also known as swish.

    Examples
    --------
    >>> gt.nn.functional.silu(gt.tensor([-1.0, 2.0]))
    tensor([-0.2689414,  1.761594 ], dtype=float32)
    """
    return multiply(x, sigmoid(x))


ACTIVATIONS: dict[str | None, Callable[[Tensor], Tensor]] = {
    None: lambda x: x,
    "gelu": gelu,
    "linear": lambda x: x,
    "relu": relu,
    "sigmoid": sigmoid,
    "silu": silu,
    "softmax": softmax,
    "tanh": tanh,
}


def dense(x: Tensor, w: Tensor, b: Tensor | None = None, activation: str | None = None) -> Tensor:
    """``activation(x @ w + b)``; bias and activation are one kernel, in both directions.

    Parameters
    ----------
    x : Tensor of shape (..., inputs)
    w : Tensor of shape (inputs, outputs)
    b : Tensor of shape (outputs,), optional
    activation : {None, "linear", "relu", "gelu", "sigmoid", "silu", "softmax", "tanh"}

    Returns
    -------
    Tensor of shape (..., outputs)

    Raises
    ------
    ShapeError
        If the shapes do not fit.
    ValueError
        For another activation.

    Examples
    --------
    >>> b = gt.tensor([0.0, 1.0, -5.0])
    >>> gt.nn.functional.dense(gt.ones((1, 2)), gt.ones((2, 3)), b, "relu")
    tensor([[2., 3., 0.]], dtype=float32)
    """
    if not isinstance(activation, str | None) or activation not in ACTIVATIONS:
        allowed = ", ".join(repr(name) for name in ACTIVATIONS)
        raise ValueError(f"dense: activation {activation!r} is unknown; allowed are {allowed}")
    if isinstance(x, (list, tuple)):
        raise OperandError(f"dense: x is a {type(x).__name__}; write gt.asarray(x, dtype=w.dtype)")
    if w.ndim != 2 or not x.ndim or x.shape[-1] != w.shape[0]:
        raise ShapeError(
            f"dense: x of shape {x.shape} and w of shape {w.shape} do not fit; x must have shape "
            "(..., inputs) and w (inputs, outputs)"
        )
    if b is None:
        return ACTIVATIONS[activation](x @ w)
    if b.shape != (w.shape[1],):
        raise ShapeError(f"dense: b has shape {b.shape}, it must be ({w.shape[1]},)")
    if casting.dtype is not None:
        x, w, b = lowered("dense", x, w, b)
    if not x.dtype == w.dtype == b.dtype:
        if w.dtype == np.float32 and x.dtype in _TO_FLOAT64:
            backend.warn_user(
                f"dense: x is {x.dtype} and the weight float32, so all that follows is float64, at "
                "half the speed; write x.astype(gt.float32), or give the layers dtype=gt.float64"
            )
        return ACTIVATIONS[activation](x @ w + b)  # by the rules of promotion
    rows = x if x.ndim == 2 else reshape(x, (math.prod(x.shape[:-1]), x.shape[-1]))
    if activation in FROM_RESULT:
        out = _dense(rows, w, b, kind=activation)
    elif activation in KINDS:  # its derivative needs the product
        out = _bias_activation(rows @ w, b, kind=activation)
    else:
        out = ACTIVATIONS[activation](_dense(rows, w, b, kind=None))
    return out if x.ndim == 2 else reshape(out, (*x.shape[:-1], w.shape[1]))


# What float32 becomes float64 with.
_TO_FLOAT64 = {np.dtype(c) for c in "diIlLqQ"}

_layer_norm = row_layer_norm.primitive
_rms_norm = row_rms_norm.primitive


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    """``(x - mean) / sqrt(variance + eps) * weight + bias`` along the last axis (Ba et al. 2016).

    Parameters
    ----------
    x : Tensor of shape (..., columns)
    weight, bias : Tensor of shape (columns,)
    eps : float

    Returns
    -------
    Tensor of the shape of `x`

    Raises
    ------
    ShapeError
        If the shapes do not fit.

    Examples
    --------
    >>> gt.nn.functional.layer_norm(gt.tensor([[1.0, 3.0]]), gt.ones(2), gt.zeros(2))
    tensor([[-0.999995,  0.999995]], dtype=float32)
    """
    x = widened(x)
    rows = _norm_rows("layer_norm", x, weight=weight, bias=bias)
    return reshape(_layer_norm(rows, weight, bias, eps=number("layer_norm", "eps", eps)), x.shape)


def rms_norm(x: Tensor, weight: Tensor, eps: float = 1e-5) -> Tensor:
    """``x / sqrt(mean(x**2) + eps) * weight`` along the last axis (Zhang & Sennrich 2019).

    Parameters, result and errors are those of :func:`layer_norm`.

    Examples
    --------
    >>> gt.nn.functional.rms_norm(gt.tensor([[3.0, 4.0]]), gt.ones(2))
    tensor([[0.8485278, 1.1313704]], dtype=float32)
    """
    x = widened(x)
    rows = _norm_rows("rms_norm", x, weight=weight)
    return reshape(_rms_norm(rows, weight, eps=number("rms_norm", "eps", eps)), x.shape)


def _norm_rows(name: str, x: Tensor, **vectors: Tensor) -> Tensor:
    """`x` as a matrix, if it and the vectors fit."""
    if not x.ndim or not x.shape[-1]:
        raise ShapeError(f"{name}: x has shape {x.shape}; it must be (..., columns), not empty")
    for key, vector in vectors.items():
        if vector.shape != x.shape[-1:]:
            raise ShapeError(
                f"{name}: {key} has shape {vector.shape}; for x of shape {x.shape} it must be "
                f"{x.shape[-1:]}"
            )
    return reshape(x, (math.prod(x.shape[:-1]), x.shape[-1]))


def _cross_entropy_forward(
    xp: Any, logits: Any, target: Any, smoothing: float, reduction: str, result: Any
) -> Any:
    if reduction == "none":
        return result.losses.astype(logits.dtype, copy=False)
    total = result.total
    if reduction == "mean":
        total = total / len(logits) if len(logits) else total * xp.nan
    return xp.asarray(total).astype(logits.dtype)


def _cross_entropy_rule(
    xp: Any, g: Any, _out: Any, _logits: Any, _t: Any, smoothing: Any, reduction: str, result: Any
) -> Any:
    g = widen(xp, g)  # the number of rows may be above the range of 16 bits
    if reduction == "none":
        g = xp.expand_dims(g, 1)
    elif _scale(reduction, result.grad) != _share(reduction, result.grad):
        g = g * _share(reduction, result.grad)
    return result.grad * g


def _share(reduction: str, logits: Any) -> float:
    """What a row's loss is multiplied by in the result."""
    return 1 / max(len(logits), 1) if reduction == "mean" else 1.0


def _scale(reduction: str, logits: Any) -> float:
    """What the kernel multiplies the gradient by: nothing in 16 bits, where it might underflow."""
    return 1.0 if is_narrow(logits.dtype) else _share(reduction, logits)


def _cross_entropy_reference(
    xp: Any, logits: Any, target: Any, smoothing: float, reduction: str, result: Any
) -> Any:
    dtype, logits = logits.dtype, widen(xp, logits)
    classes = logits.shape[1]
    if len(target.shape) == 1:
        target = xp.equal(target[:, None], xp.arange(classes, device=_place(target)))
        target = xp.astype(target, logits.dtype)
    target = target * (1 - smoothing) + smoothing / classes
    losses = -xp.sum(target * xp.log_softmax(logits, axis=1), axis=1)
    found = losses if reduction == "none" else getattr(xp, reduction)(losses)
    return found if found.dtype == dtype else xp.astype(found, dtype)


def _place(x: Any) -> backend.Device:
    return x.device if isinstance(x, Tensor) else backend.device_of(x)


_cross_entropy = Primitive(
    "cross_entropy",
    _cross_entropy_forward,
    (_cross_entropy_rule, None),
    reference=_cross_entropy_reference,
)


def _target(name: str, logits: Tensor, target: Operand) -> Any:
    """Raw array of a target; a list goes to the device of the logits."""
    if isinstance(target, (list, tuple)):
        target = asarray(target, device=logits.device)
    raw = target.array if isinstance(target, Tensor) else target
    if not backend.is_array(raw):
        raise TypeError(
            f"{name}: target must be a tensor, an array or a list, not {type(raw).__name__}"
        )
    return backend.plain(raw) if isinstance(raw, np.ndarray) else raw


def cross_entropy_and_result(
    logits: Tensor,
    target: Operand,
    label_smoothing: float,
    reduction: str,
    sums: Any = None,
) -> tuple[Tensor, Result]:
    """Loss as of :func:`cross_entropy`, and all that the kernel computed with it.

    To `sums`, a raw float64 array, loss and right answers are added, as the kernel does.
    """
    logits = widened(asarray(logits))
    if logits.ndim != 2 or logits.shape[1] == 0:
        raise ShapeError(
            f"cross_entropy: logits have shape {logits.shape}; they must be (rows, classes) with "
            "one class or more"
        )
    if logits.dtype.kind not in "fV":
        raise DTypeError(f"cross_entropy: logits must be floating point, not {logits.dtype}")
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(
            f"cross_entropy: reduction {reduction!r} is unknown; allowed are 'mean', 'sum', 'none'"
        )
    label_smoothing = number("cross_entropy", "label_smoothing", label_smoothing)
    if not 0 <= label_smoothing <= 1:
        raise ValueError(
            f"cross_entropy: label_smoothing is {label_smoothing}; it must be from 0 to 1"
        )
    raw = _target("cross_entropy", logits, target)
    if isinstance(target, Tensor) and target.requires_grad:
        raise DTypeError("cross_entropy: gradients towards the target are not supported; detach it")
    if raw.shape not in ((len(logits.array),), logits.shape):
        raise ShapeError(
            f"cross_entropy: target has shape {raw.shape}; for logits of shape {logits.shape} it "
            f"must be class labels of shape ({len(logits.array)},) or probabilities of shape "
            f"{logits.shape}"
        )
    if raw.ndim == 1 and raw.dtype.kind not in "iu":
        raise DTypeError(f"cross_entropy: class labels must be integers, not {raw.dtype}")
    if raw.ndim == 2:
        raw = raw.astype(logits.dtype, copy=False)
    backend.same_device("cross_entropy", [logits.array, raw])
    with backend.on_device_of(logits.array):
        result = softmax_cross_entropy.raw(
            logits.array,
            raw,
            smoothing=label_smoothing,
            scale=_scale(reduction, logits.array),
            **({} if sums is None else {"sums": sums}),
        )
    loss = _cross_entropy(
        logits, raw, smoothing=label_smoothing, reduction=reduction, result=result
    )
    return loss, result


def cross_entropy(
    logits: Tensor,
    target: Operand,
    *,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    r"""Cross-entropy of ``softmax(logits)`` against class labels or probabilities.

    Loss and gradient come from one pass over the logits,
    :math:`L = \sum_j q_j (\log\sum_k e^{x_k} - x_j)` for each row.

    Parameters
    ----------
    logits : Tensor of shape (rows, classes)
    target : Tensor or array of shape (rows,) or (rows, classes)
        Class labels (integers), or probabilities :math:`q`.
    label_smoothing : float
        Share of each target's mass that is spread evenly over the classes, in [0, 1].
    reduction : {"mean", "sum", "none"}

    Returns
    -------
    Tensor
        Of shape (), or (rows,) with ``reduction="none"``.

    Raises
    ------
    LabelError
        If a label is not in ``[0, classes)``: on the CPU at once; on CUDA when the host next reads
        a value, the loss of that row being NaN.
    ShapeError, DTypeError
        If logits and target do not fit.
    """
    return cross_entropy_and_result(logits, target, label_smoothing, reduction)[0]


def accuracy(logits: Tensor, target: Operand) -> Tensor:
    """Share of rows whose largest entry is that of the target, a float64 tensor of shape ().

    Examples
    --------
    >>> gt.nn.functional.accuracy(gt.tensor([[2.0, 0.0], [0.0, 2.0]]), gt.tensor([0, 0]))
    tensor(0.5, dtype=float64)
    """
    logits = asarray(logits)
    raw = _target("accuracy", logits, target)
    backend.same_device("accuracy", [logits.array, raw])
    with backend.on_device_of(raw):
        xp = backend.namespace(logits.array)
        answer = raw if raw.ndim == 1 else xp.argmax(raw, axis=1)
        found = xp.mean(xp.argmax(logits.array, axis=1) == answer, dtype="float64")
        return wrap(xp.asarray(found))
