"""NumPy's protocols: ``np.sin(t)``, ``np.concatenate([t, u])``, ``array * t``; copies and pickles.

A NumPy call with a tensor among its arguments goes to the function of gputensor of the same name,
on the tape and on the tensor's device. Functions are found by name when they are called, so that
none has to be listed here but those that NumPy calls otherwise. What gputensor does not have is
refused: NumPy would have to have the elements on the host.
"""

import copy
import functools
import inspect
import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from gputensor import backend, ops
from gputensor.autograd import Leaf, Node, Tensor, leaf_of, raw_operand, wrap
from gputensor.backend import Array
from gputensor.errors import GraphError
from gputensor.ops import linalg
from gputensor.ops.axes import any_zero, checked_axis, count_of
from gputensor.ops.creation import tensor
from gputensor.ops.inplace import setitem

__all__ = ["NAMES"]

# What NumPy calls otherwise.
NAMES = {
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
    "around": "round",
    "concatenate": "concat",
    "conjugate": "conj",
    "expit": "sigmoid",
    "invert": "bitwise_invert",
    "left_shift": "bitwise_left_shift",
    "power": "pow",
    "psi": "digamma",
    "ravel": "flatten",
    "right_shift": "bitwise_right_shift",
}
_PARAMETERS = {"a_max": "max", "a_min": "min", "ddof": "correction", "newshape": "shape"}
_MISSING = object()
# By ufunc: the function that its reduce is, and the result of no elements, if there is one.
_REDUCTIONS: dict[str, tuple[str, Any]] = {
    "add": ("sum", 0),
    "logaddexp": ("logsumexp", -math.inf),
    "logical_and": ("all", True),
    "logical_or": ("any", False),
    "maximum": ("max", _MISSING),
    "minimum": ("min", _MISSING),
    "multiply": ("prod", 1),
}
_UFUNCS = {target: ufunc for ufunc, (target, _) in _REDUCTIONS.items()}
_ACCUMULATIONS = {"add": "cumulative_sum", "multiply": "cumulative_prod"}
# Options that choose what a tensor does not have, by function, or that change nothing.
_WITHOUT_MEANING = {
    "copy": ("order", "subok"),
    "einsum": ("optimize", "order"),
    "empty_like": ("order", "subok"),
    "full_like": ("order", "subok"),
    "ones_like": ("order", "subok"),
    "zeros_like": ("order", "subok"),
    "argsort": ("kind",),
    "sort": ("kind",),
    "broadcast_to": ("subok",),
    "broadcast_arrays": ("subok",),
}
# What to write in the place of functions that would change an array.
_INSTEAD = {
    "copyto": "y[...] = x, with a tensor y, or gt.full(shape, x)",
    "fill_diagonal": "gt.where(gt.eye(n, dtype=bool), x, y)",
    "piecewise": "gt.select(conditions, [f(x) for f in functions])",
    "place": "gt.where(mask, x, y)",
    "put": "gt.index_set(y, key, x)",
    "put_along_axis": "gt.index_set(y, key, x)",
    "putmask": "gt.where(mask, x, y)",
    "at": "gt.index_add(shape, key, values), or x[key] += values",
}


def _function(path: list[str]) -> Callable[..., Any] | None:
    """Public function of gputensor for one of NumPy's, by the name below ``numpy``."""
    place: Any = ops
    for part in path[:-1]:
        place = getattr(sys.modules["gputensor"], part, None)
    name = NAMES.get(path[-1], path[-1])
    found = getattr(place, name) if name in getattr(place, "__all__", ()) else None
    return found if inspect.isroutine(found) else None


def _unknown(name: str) -> TypeError:
    instead = _INSTEAD.get(name.rpartition(".")[2])
    keeping = f"; write {instead}" if instead else ""
    return TypeError(
        f"{name} has no counterpart for tensors{keeping}; to compute with NumPy, off the tape and "
        f"on the host, write {name}(x.detach().numpy())"
    )


def _has_rules(kind: type, protocol: str) -> bool:
    """Whether another library's class has rules of its own for NumPy's functions."""
    if kind in backend.NAMESPACES or issubclass(kind, Tensor):
        return False
    own = getattr(kind, protocol, None)
    return own is not None and own is not getattr(np.ndarray, protocol)


# ---------------------------------------------------------------- ufuncs


def _array_ufunc(self: Tensor, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
    """A call of a NumPy or SciPy ufunc, or of one of its methods, with a tensor among `inputs`."""
    if any(_has_rules(type(x), "__array_ufunc__") for x in inputs):
        return NotImplemented
    name = f"np.{ufunc.__name__}"
    if getattr(np, ufunc.__name__, None) is not ufunc:
        special = sys.modules.get("scipy.special")
        if getattr(special, ufunc.__name__, None) is not ufunc:
            raise _unknown(name[3:])
        name = f"scipy.special.{ufunc.__name__}"
    if method != "__call__":
        name += f".{method}"
    out = (options.pop("out", None) or (None,))[0]
    if out is not None and not isinstance(out, Tensor):
        raise TypeError(
            f"{name}: out is a {type(out).__name__}, and the result a tensor; write "
            "x = f(x, t) in the place of f(x, t, out=x), or x = x + t in that of x += t"
        )
    if method == "reduce":
        result = _reduced(name, ufunc.__name__, *inputs, **{"axis": 0} | options)
    elif method == "accumulate":
        result = _accumulated(name, ufunc, *inputs, **options)
    else:
        result = _elementwise(name, ufunc, method, *inputs, **_checked(name, options))
    if out is None:
        return result
    setitem(out, ..., result)
    return out


def _checked(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """Options of a ufunc's call, without those that say nothing.

    Raises
    ------
    TypeError
        For others that every ufunc has.
    """
    said = {}
    for key, value in options.items():
        if key in ("order", "subok") or value is {"casting": "same_kind", "where": True}.get(key):
            continue
        if key in ("where", "dtype", "casting", "signature"):
            fix = {
                "where": "; write gt.where(mask, result, other)",
                "dtype": "; write result.astype(dtype)",
            }.get(key, "")
            raise TypeError(f"{name}: {key}= cannot be used with tensors{fix}")
        said[key] = value
    return said


def _elementwise(name: str, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
    function = _OWN.get(ufunc.__name__) or _function([ufunc.__name__])
    if function is None:
        raise _unknown(name)
    if method == "__call__":
        return _call(name, function, inputs, options) if options else function(*inputs)
    if method == "outer" and not options:
        x, y = (i if isinstance(i, Tensor) else raw_operand(name, i) for i in inputs)
        ones = (1,) * len(getattr(y, "shape", ()))
        return function(ops.reshape(x, (*getattr(x, "shape", ()), *ones)), y)
    fix = f"; write {_INSTEAD[method]}" if method in _INSTEAD else ""
    raise TypeError(f"{name} cannot be used with tensors{fix}")


def _reduced(
    name: str,
    ufunc: str,
    x: Any,
    axis: Any = None,
    dtype: Any = None,
    keepdims: Any = False,
    initial: Any = None,
    where: Any = True,
) -> Any:
    """``ufunc.reduce``: along the axes, of the elements where the mask holds, and of `initial`."""
    target, of_none = _REDUCTIONS.get(ufunc, ("", _MISSING))
    if not target:
        raise _unknown(name)
    keepdims = False if keepdims is np._NoValue else bool(keepdims)
    has_initial = initial is not np._NoValue and initial is not None
    if where is not np._NoValue and where is not True:
        if of_none is _MISSING and not has_initial:
            raise ValueError(
                f"{name}: where= needs initial=, as there is no {target} of no elements"
            )
        x = ops.asarray(x)
        mask = ops.asarray(where, device=None if isinstance(where, Tensor) else x.device)
        if mask.dtype.kind != "b":
            raise TypeError(f"{name}: where must be of bools, it is {mask.dtype}")
        first = _fitting(name, initial, x.dtype) if of_none is _MISSING else of_none
        x = ops.where(mask, x, first)
    options = {"axis": axis, "keepdims": keepdims} | ({} if dtype is None else {"dtype": dtype})
    shape = getattr(x, "shape", np.shape(x))
    if has_initial and of_none is _MISSING and any_zero(shape, checked_axis(name, x, axis)):
        x = ops.sum(x, axis=axis, keepdims=keepdims)  # whose values do not matter
        return ops.full_like(x, _fitting(name, initial, x.dtype))
    found = _call(name, _function([target]), (x,), options)
    if not has_initial:
        return found
    function = _function([ufunc])
    assert function is not None
    return ops.astype(
        function(found, _fitting(name, initial, found.dtype)), found.dtype, copy=False
    )


def _fitting(name: str, initial: Any, dtype: np.dtype[Any]) -> Any:
    """The first value of a reduction, if the result's dtype has it."""
    if np.shape(initial) != ():
        raise TypeError(f"{name}: initial must be one number, its shape is {np.shape(initial)}")
    kind = getattr(initial, "dtype", None)
    known = np.dtype(np.float16) if dtype.kind == "V" else dtype  # NumPy takes bfloat16 for none
    bends = kind is None and np.result_type(known, initial) == known
    if not bends and (kind is None or not np.can_cast(kind, dtype, "same_kind")):
        raise TypeError(
            f"{name}: initial is {type(initial).__name__ if kind is None else kind}, and the "
            f"result {dtype}"
        )
    return initial


def _accumulated(name: str, ufunc: np.ufunc, x: Any, axis: Any = 0, dtype: Any = None) -> Any:
    function = _function([_ACCUMULATIONS.get(ufunc.__name__, "")])
    if function is None:
        raise _unknown(name)
    return function(x, axis=axis, dtype=dtype)


# ---------------------------------------------------------------- functions


@functools.cache
def _signature(function: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except ValueError:  # some that are written in C have none
        return None


def _call(name: str, function: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """`function` with arguments as NumPy takes them: the first by position, the others by name."""
    signature = _signature(function)
    assert signature is not None
    parameters = list(signature.parameters.values())
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        positional, rest = list(args), ()
        names = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
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
    silent = _WITHOUT_MEANING.get(function.__name__, ())
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for name, value in signature.bind(*args, **options).arguments.items():
        parameter = signature.parameters[name]
        if parameter.kind is parameter.VAR_POSITIONAL:
            positional += value
        elif parameter.kind is parameter.VAR_KEYWORD:
            named |= {k: v for k, v in value.items() if k not in silent}
        elif len(positional) < count and not named:
            positional.append(value)
        elif name not in silent and not _says_nothing(value, parameter.default):
            named[_PARAMETERS.get(name, name)] = value
    return tuple(positional), named


def _says_nothing(value: Any, default: Any) -> bool:
    """Whether an argument is the default one."""
    if value is default or value is np._NoValue:
        return True
    return isinstance(value, (str, int)) and type(value) is type(default) and value == default


def _raw(x: Any) -> Any:
    return x.array if isinstance(x, Tensor) else x


def _question(name: str) -> Callable[..., bool]:
    """A function of NumPy and CuPy that asks something of the memory of two arrays."""

    def answer(a: Any, b: Any, /) -> bool:
        arrays = [_raw(a), _raw(b)]
        first = next(x for x in arrays if backend.is_array(x))
        with backend.on_device_of(first):
            return bool(getattr(backend.namespace(first), name)(*arrays))

    return answer


def _copied(x: Any, /) -> Tensor:
    x = ops.asarray(x)
    return ops.astype(x, x.dtype)


def _of_floats(function: Callable[[Any], Tensor]) -> Callable[[Any], Tensor]:
    """An elementwise function that NumPy has for floating point: narrow integers become such."""

    def floating(x: Any, /) -> Tensor:
        x = ops.asarray(x)
        integers = x.dtype.kind in "biu"
        return function(ops.astype(x, np.result_type(x.dtype, np.float16)) if integers else x)

    return floating


def _linspace(
    start: Any,
    stop: Any,
    /,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: Any = None,
    axis: int = 0,
    device: Any = None,
) -> Any:
    found = ops.linspace(start, stop, num, endpoint=endpoint, dtype=dtype, device=device)
    found = ops.moveaxis(found, 0, axis) if axis else found
    parts = num - bool(endpoint)
    return (found, (stop - start) / parts if parts > 0 else np.nan) if retstep else found


def _polyval(p: Any, x: Any) -> Tensor:
    """Horner's scheme."""
    p, x = ops.asarray(p), ops.asarray(x)
    found = ops.zeros_like(x)
    for coefficient in p:
        found = found * x + coefficient
    return found


def _size(a: Any, axis: Any = None) -> int:
    return int(a.size) if axis is None else count_of(a.shape, checked_axis("size", a, axis))


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
    "array_repr": lambda x, /: repr(x),
    "array_str": lambda x, /: str(x),
    "copy": _copied,
    "cross": linalg.cross,
    "fabs": _of_floats(ops.abs),
    "deg2rad": _of_floats(ops.deg2rad),
    "degrees": _of_floats(ops.rad2deg),
    "gradient": lambda f, *varargs, **options: ops.gradient(f, *varargs, **options),
    "iscomplexobj": lambda x, /: x.dtype.kind == "c",
    "isrealobj": lambda x, /: x.dtype.kind != "c",
    "linspace": _linspace,
    "may_share_memory": _question("may_share_memory"),
    "ndim": lambda a, /: a.ndim,
    "polyval": _polyval,
    "rad2deg": _of_floats(ops.rad2deg),
    "radians": _of_floats(ops.deg2rad),
    "rint": _of_floats(ops.round),
    "shape": lambda a, /: a.shape,
    "shares_memory": _question("shares_memory"),
    "size": _size,
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
    if any(_has_rules(kind, "__array_function__") for kind in types):
        return NotImplemented
    path = [*function.__module__.split(".")[1:], function.__name__]
    name = ".".join(["np", *path])
    target = _OWN.get(".".join(path)) or _function(path)
    if target is None:
        raise _unknown(name)
    given, named = _bound(function, target, args, options)
    out = named.pop("out", None)
    if out is not None and not isinstance(out, Tensor):
        raise TypeError(f"{name}: out is a {type(out).__name__}, and the result a tensor")
    ufunc = _UFUNCS.get(target.__name__)
    if ufunc and named.keys() & {"initial", "where"}:
        result = _reduced(name, ufunc, *given, **named)
    else:
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
    if backend.on_cpu(self.array):
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
        leaf = leaf_of(self)
        if leaf is not None:
            twin = Leaf(made.array)
            twin.grad = copy.deepcopy(leaf.given(), memo)
            if self._node is None:
                made._frozen = twin
            else:
                made._node = twin
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
    made = tensor(values, device=device, requires_grad=requires_grad or grad is not None)
    if grad is not None:
        made.grad = tensor(grad, device=device)
        made.requires_grad = requires_grad
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
