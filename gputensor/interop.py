"""NumPy's protocols: ``np.sin(t)``, ``np.concatenate([t, u])``, ``array * t``; copies and pickles.

A NumPy call with a tensor among its arguments goes to the function of gputensor of the same name,
on the tape and on the tensor's device. Functions are found by name when they are called, so that
none has to be listed here but those that NumPy calls otherwise. What gputensor does not have is
refused: NumPy would have to have the elements on the host.
"""

import copy
import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from gputensor import backend, ops
from gputensor.autograd import Leaf, Node, Tensor, raw_operand, wrap
from gputensor.backend import Array
from gputensor.errors import GraphError
from gputensor.ops.creation import tensor
from gputensor.ops.inplace import setitem

__all__: list[str] = []

# What NumPy calls otherwise.
_NAMES = {
    "absolute": "abs",
    "amax": "max",
    "amin": "min",
    "arccos": "acos",
    "arccosh": "acosh",
    "arcsin": "asin",
    "arcsinh": "asinh",
    "arctan": "atan",
    "arctan2": "atan2",
    "arctanh": "atanh",
    "concatenate": "concat",
    "conjugate": "conj",
    "degrees": "rad2deg",
    "expit": "sigmoid",
    "invert": "bitwise_invert",
    "left_shift": "bitwise_left_shift",
    "power": "pow",
    "psi": "digamma",
    "radians": "deg2rad",
    "ravel": "flatten",
    "right_shift": "bitwise_right_shift",
}
_PARAMETERS = {"a_max": "max", "a_min": "min", "ddof": "correction", "newshape": "shape"}
_REDUCTIONS = {
    "add": "sum",
    "logaddexp": "logsumexp",
    "logical_and": "all",
    "logical_or": "any",
    "maximum": "max",
    "minimum": "min",
    "multiply": "prod",
}
_ACCUMULATIONS = {"add": "cumulative_sum", "multiply": "cumulative_prod"}
# What they mean in NumPy unless they are given.
_UFUNC_DEFAULTS = {
    "casting": "same_kind",
    "dtype": None,
    "order": "K",
    "subok": True,
    "where": True,
}


def _function(path: list[str]) -> Callable[..., Any] | None:
    """Public function of gputensor for one of NumPy's, by the name below ``numpy``."""
    place: Any = ops
    for part in path[:-1]:
        place = getattr(sys.modules["gputensor"], part, None)
    name = _NAMES.get(path[-1], path[-1])
    found = getattr(place, name) if name in getattr(place, "__all__", ()) else None
    return found if inspect.isroutine(found) else None


def _unknown(name: str, example: str = "(x.detach().numpy())") -> TypeError:
    return TypeError(
        f"{name} has no counterpart for tensors; to compute with NumPy, off the tape and on the "
        f"host, write {name}{example}"
    )


# ---------------------------------------------------------------- ufuncs


def _array_ufunc(self: Tensor, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
    """A call of a NumPy or SciPy ufunc, or of one of its methods, with a tensor among `inputs`."""
    name = f"np.{ufunc.__name__}"
    if getattr(np, ufunc.__name__, None) is not ufunc:
        special = sys.modules.get("scipy.special")
        if getattr(special, ufunc.__name__, None) is not ufunc:
            raise _unknown(name[3:])
        name = f"scipy.special.{ufunc.__name__}"
    if method != "__call__":
        name += f".{method}"
    (out,) = options.pop("out", None) or (None,)
    if out is not None and not isinstance(out, Tensor):
        raise TypeError(
            f"{name}: out is a {type(out).__name__}, and the result a tensor; write "
            "x = f(x, t) in the place of f(x, t, out=x), or x = x + t in that of x += t"
        )
    if method in ("reduce", "accumulate"):
        result = _along(name, ufunc, method, *inputs, **options)
    else:
        _refuse(name, options)
        result = _elementwise(name, ufunc, method, *inputs)
    if out is None:
        return result
    setitem(out, ..., result)
    return out


def _refuse(name: str, options: dict[str, Any]) -> None:
    for key, value in options.items():
        if key not in _UFUNC_DEFAULTS or value is not _UFUNC_DEFAULTS[key]:
            fix = {"where": "gt.where(mask, result, other)", "dtype": "result.astype(dtype)"}.get(
                key
            )
            raise TypeError(
                f"{name}: {key}= cannot be used with tensors" + (f"; write {fix}" if fix else "")
            )


def _elementwise(name: str, ufunc: np.ufunc, method: str, *inputs: Any) -> Any:
    function = _function([ufunc.__name__])
    if function is None:
        raise _unknown(name)
    if method == "__call__":
        return function(*inputs)
    if method == "outer":
        x, y = (i if isinstance(i, Tensor) else raw_operand(name, i) for i in inputs)
        ones = (1,) * len(getattr(y, "shape", ()))
        return function(ops.reshape(x, (*getattr(x, "shape", ()), *ones)), y)
    fix = "gt.index_add(shape, key, values), or x[key] += values" if method == "at" else ""
    raise TypeError(f"{name} cannot be used with tensors" + (f"; write {fix}" if fix else ""))


def _along(
    name: str,
    ufunc: np.ufunc,
    method: str,
    x: Any,
    axis: Any = 0,
    dtype: Any = None,
    keepdims: bool = False,
    **options: Any,
) -> Any:
    """``ufunc.reduce`` and ``ufunc.accumulate``, which go along the first axis by default."""
    table = _REDUCTIONS if method == "reduce" else _ACCUMULATIONS
    function = _function([table[ufunc.__name__]]) if ufunc.__name__ in table else None
    if function is None:
        raise _unknown(name)
    chosen = {"axis": axis, "dtype": dtype, "keepdims": keepdims} | {
        key: value for key, value in options.items() if value is not np._NoValue
    }
    return _call(name, function, (x,), {k: v for k, v in chosen.items() if v or k == "axis"})


# ---------------------------------------------------------------- functions


@functools.cache
def _signature(function: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except ValueError:  # some that are written in C have none
        return None


def _call(
    name: str, function: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]
) -> Any:
    """`function` with arguments as NumPy takes them: the first by position, the others by name."""
    signature = _signature(function)
    assert signature is not None
    parameters = list(signature.parameters.values())
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        positional, names = list(args), []
    else:
        count = sum(p.kind is p.POSITIONAL_ONLY for p in parameters) or 1
        positional, rest = list(args[:count]), args[count:]
        names = [p.name for p in parameters[count:]]
        if len(rest) > len(names):
            raise TypeError(f"{name}: with tensors it takes {len(parameters)} arguments at most")
        options = dict(zip(names, rest, strict=False)) | options
    for key in options:
        if key not in names:
            allowed = f"; allowed are {', '.join(names)}" if names else ""
            raise TypeError(f"{name}: {key}= cannot be used with tensors{allowed}")
    return function(*positional, **options)


def _bound(
    function: Callable[..., Any], target: Callable[..., Any], args: Any, options: Any
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments of a call of NumPy's `function` in the form of :func:`_call` for `target`.

    What says the same as leaving it out is left out.
    """
    signature, wanted = _signature(function), _signature(target)
    if signature is None or wanted is None:
        return args, options
    count = sum(p.kind is p.POSITIONAL_ONLY for p in wanted.parameters.values()) or 1
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for name, value in signature.bind(*args, **options).arguments.items():
        parameter = signature.parameters[name]
        if parameter.kind is parameter.VAR_POSITIONAL:
            positional += value
        elif parameter.kind is parameter.VAR_KEYWORD:
            named |= value
        elif len(positional) < count and not named:
            positional.append(value)
        elif not _says_nothing(value, parameter.default):
            named[_PARAMETERS.get(name, name)] = value
    return tuple(positional), named


def _says_nothing(value: Any, default: Any) -> bool:
    """Whether an argument is the default one."""
    if value is default or value is np._NoValue:
        return True
    return isinstance(value, (str, int)) and type(value) is type(default) and value == default


def _raw(x: Any) -> Any:
    return x.array if isinstance(x, Tensor) else x


def _question(name: str) -> Callable[..., Any]:
    """A function of NumPy and CuPy whose answer is a bool or a shape, not an array."""

    def answer(*args: Any, **options: Any) -> Any:
        arrays = [_raw(a) for a in args]
        backend.same_device(name, arrays)
        first = next(a for a in arrays if backend.is_array(a))
        with backend.on_device_of(first):
            found = getattr(backend.namespace(first), name)(*arrays, **options)
        return bool(found) if getattr(found, "shape", None) == () else found

    return answer


def _linspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: Any = None,
    axis: int = 0,
    device: Any = None,
) -> Any:
    found = ops.linspace(start, stop, num, dtype=dtype, endpoint=endpoint, device=device)
    parts = num - bool(endpoint)
    found = ops.moveaxis(found, 0, axis)
    return (found, (stop - start) / (parts if parts > 0 else np.nan)) if retstep else found


def _squeeze(a: Any, axis: Any = None) -> Tensor:
    return ops.squeeze(
        a, tuple(i for i, n in enumerate(a.shape) if n == 1) if axis is None else axis
    )


def _take(a: Any, indices: Any, axis: Any = None) -> Tensor:
    return (
        ops.take(ops.flatten(a), indices, axis=0)
        if axis is None
        else ops.take(a, indices, axis=axis)
    )


def _where(condition: Any, x: Any = None, y: Any = None) -> Any:
    return ops.nonzero(condition) if x is None and y is None else ops.where(condition, x, y)


# What is not an operation of gputensor, or not in this form.
_OWN: dict[str, Callable[..., Any]] = {
    "allclose": _question("allclose"),
    "array_equal": _question("array_equal"),
    "array_repr": lambda x: repr(x),
    "array_str": lambda x: str(x),
    "copy": lambda a: ops.positive(a),
    "gradient": lambda f, *varargs, **options: ops.gradient(f, *varargs, **options),
    "iscomplexobj": lambda x: x.dtype.kind == "c",
    "isclose": lambda a, b, **options: wrap(_question("isclose")(a, b, **options)),
    "isrealobj": lambda x: x.dtype.kind != "c",
    "linspace": _linspace,
    "may_share_memory": _question("may_share_memory"),
    "ndim": lambda a: a.ndim,
    "shape": lambda a: a.shape,
    "shares_memory": _question("shares_memory"),
    "size": lambda a, axis=None: a.size if axis is None else a.shape[axis],
    "squeeze": _squeeze,
    "take": _take,
    "where": _where,
}


def _array_function(
    self: Tensor,
    function: Callable[..., Any],
    types: Any,
    args: tuple[Any, ...],
    options: dict[str, Any],
) -> Any:
    """A call of a NumPy function with a tensor among its arguments."""
    for kind in types:
        if not issubclass(kind, (Tensor, np.ndarray)) and kind not in backend.NAMESPACES:
            return NotImplemented
    path = [*function.__module__.split(".")[1:], function.__name__]
    name = ".".join(["np", *path])
    if own := _OWN.get(".".join(path)):
        return own(*args, **options)
    target = _function(path)
    if target is None:
        raise _unknown(name)
    given, named = _bound(function, target, args, options)
    out = named.pop("out", None)
    if out is not None and not isinstance(out, Tensor):
        raise TypeError(f"{name}: out is a {type(out).__name__}, and the result a tensor")
    result = _call(name, target, given, named)
    if out is None:
        return result
    setitem(out, ..., result)
    return out


class _OfTheType:
    """A method that instances do not seem to have.

    NumPy asks the type for ``__array_ufunc__``; CuPy asks the object, and leaves
    ``array * tensor`` to the tensor only if there is None.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __get__(self, instance: object, owner: type) -> Any:
        return self._function if instance is None else None


def _cuda_array_interface(self: Tensor) -> Any:
    """Address and form of the elements, for libraries that take CUDA memory; on CUDA only."""
    if isinstance(self.array, np.ndarray):
        raise AttributeError("__cuda_array_interface__: the tensor is on the CPU")
    self._leave_tape("__cuda_array_interface__", "x.detach()")
    return self.array.__cuda_array_interface__


# ---------------------------------------------------------------- copies and pickles


def _off_the_tape(name: str, x: Tensor) -> None:
    if isinstance(x._node, Node):
        raise GraphError(
            f"{name}: this tensor was computed from others that require a gradient, and its place "
            "on the tape cannot be copied; write x.detach()"
        )


def _deepcopy(self: Tensor, memo: dict[int, Any]) -> Tensor:
    """A tensor of its own memory; of a leaf a leaf, with a copy of its gradient.

    Raises
    ------
    GraphError
        For computed tensors.
    """
    _off_the_tape("deepcopy", self)
    with backend.on_device_of(self.array):
        made = wrap(self.array.copy())
        memo[id(self)] = made
        if isinstance(self._node, Leaf):
            made._node = Leaf(made.array)
            made._node.grad = copy.deepcopy(self._node.grad, memo)
    return made


def _copy(self: Tensor) -> Tensor:
    """Another tensor with the same memory and place on the tape."""
    return wrap(self.array, self._node)


def _reduce(self: Tensor) -> tuple[Any, ...]:
    _off_the_tape("pickle", self)
    grad = self.grad
    values = [None if a is None else backend.to_host(a.array) for a in (self, grad)]
    return _rebuilt, (*values, str(self.device), self.requires_grad)


def _rebuilt(values: Array, grad: Array | None, device: str, requires_grad: bool) -> Tensor:
    """A pickled tensor, on the device that it was on."""
    made = tensor(values, device=device, requires_grad=requires_grad)
    if grad is not None:
        made.grad = tensor(grad, device=device)
    return made


for _name, _method in {
    "__array_ufunc__": _OfTheType(_array_ufunc),
    "__array_function__": _array_function,
    "__copy__": _copy,
    "__cuda_array_interface__": property(_cuda_array_interface),
    "__deepcopy__": _deepcopy,
    "__reduce__": _reduce,
}.items():
    setattr(Tensor, _name, _method)
