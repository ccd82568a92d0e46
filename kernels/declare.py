"""``gt.kernel``: a computation declared with its reference, CPU loop, CUDA kernel and gradient."""

import functools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gputensor import autograd, backend, config
from gputensor.autograd import Leaf, Operand, Primitive, Tensor, wrap
from gputensor.backend import namespace
from gputensor.errors import DTypeError, GraphError, OperandError, ParityError
from gputensor.kernels.source import CudaSource

__all__ = ["Kernel", "kernel"]

_FLOATS = {"f", "V"}  # V is bfloat16's
# Relative error that implementations may differ by, as they add in different orders.
_TOLERANCE = {"float64": 1e-11, "float32": 1e-5, "float16": 2e-3, "bfloat16": 2e-2}


class Kernel:
    """A computation on arrays in up to three implementations; :func:`kernel` makes one.

    Calling it runs it on tensors and records it on the tape; :meth:`raw` runs it on raw arrays.

    =============  ==================  ==============
    arrays         auto                reference
    =============  ==================  ==============
    NumPy          ``loop`` if given   ``reference``
    CuPy           ``cuda`` if given   ``reference``
    =============  ==================  ==============

    The columns are the setting ``GPUTENSOR_KERNELS``. The reference also takes over where an array
    is empty, not C-contiguous or of a dtype that the others do not take, and where floating point
    dtypes differ.

    Examples
    --------
    >>> gt.kernels.row_softmax
    <kernel row_softmax>
    """

    def __init__(
        self,
        reference: Callable[..., Any],
        *,
        source: str | Path | CudaSource | None = None,
        cuda: Callable[..., Any] | None = None,
        loop: Callable[..., Any] | None = None,
        vjp: Callable[..., Any] | None = None,
        dtypes: Iterable[str] = ("float32", "float64"),
        loop_dtypes: Iterable[str] | None = None,
        mixed: bool = False,
        writes: Iterable[str] = (),
        raises: bool = False,
    ) -> None:
        if (source is None) != (cuda is None):
            raise TypeError("kernel: source and cuda, the function that launches, go together")
        functools.update_wrapper(self, reference)
        named = {"dtypes": dtypes, "loop_dtypes": loop_dtypes, "writes": writes}
        for option, names in named.items():
            if isinstance(names, str):  # its letters would be taken for names
                raise TypeError(
                    f"kernel {reference.__name__}: {option} is the string {names!r}; give a tuple "
                    f"of names, {option}=({names!r},)"
                )
        self.name = reference.__name__
        self.reference = reference
        self.loop = loop
        self.cuda = cuda
        self.source = source if isinstance(source, CudaSource | None) else CudaSource(source)
        self.dtypes = frozenset(dtypes)
        self.loop_dtypes = self.dtypes if loop_dtypes is None else frozenset(loop_dtypes)
        self.mixed = mixed
        self.writes = frozenset(writes)
        self.raises = raises
        self._choices: dict[tuple[type, np.dtype[Any]], str] = {}
        self._vjp = vjp

    def __repr__(self) -> str:
        return f"<kernel {self.name}>"

    def __call__(self, *operands: Operand, **attrs: Any) -> Tensor:
        """Run on tensors, arrays or numbers, and record it where gradients are wanted."""
        return self.primitive(*operands, **attrs)

    @functools.cached_property
    def primitive(self) -> Primitive:
        """The kernel as an operation of the tape."""
        return Primitive(
            self.name,
            self._forward,
            _differentiated(self.reference) if self._vjp is None else _joint(self),
            reference=self.reference,
        )

    def _forward(self, _xp: Any, *arrays: Any, **attrs: Any) -> Any:
        found = self.raw(*arrays, **attrs)
        if found is None:
            raise OperandError(
                f"{self.name}: it gives no result, it changes arrays in place, which is not put on "
                f"the tape; write {self.name}.raw(...) with arrays, x.array of a tensor"
            )
        return found

    def implementation(self, *arrays: Any) -> str:
        """Which implementation takes these arrays: ``"loop"``, ``"cuda"`` or ``"reference"``."""
        if config.kernels_setting() == "reference":
            return "reference"
        dtype = None
        for a in arrays:
            if type(a) is not np.ndarray and not _is_array(a):
                continue
            if dtype is None:
                dtype, kind = a.dtype, type(a)
            elif a.dtype is not dtype and not self.mixed and _differ(a.dtype, dtype):
                return "reference"
            if not a.size or not a.flags.c_contiguous:
                return "reference"
        if dtype is None:
            return "reference"
        choice = self._choices.get((kind, dtype))
        if choice is None:
            how = "loop" if kind is np.ndarray else "cuda"
            taken = self.loop_dtypes if how == "loop" else self.dtypes
            there = getattr(self, how) is not None and dtype.name in taken
            choice = self._choices[kind, dtype] = how if there else "reference"
        return choice

    def raw(self, *arrays: Any, **attrs: Any) -> Any:
        """Run on raw arrays of one device, which must be the current one; no tape."""
        recording = backend.recording()
        if recording is not None:
            return recording.kernel(self, arrays, attrs)
        return self.run(*arrays, **attrs)

    @functools.cached_property
    def operands(self) -> tuple[str, ...]:
        """Names of the operands that are given by position."""
        code = self.reference.__code__
        return code.co_varnames[1 : code.co_argcount]

    def run(self, *arrays: Any, **attrs: Any) -> Any:
        """:meth:`raw` for arrays alone."""
        return self.bound(*arrays)(*arrays, **attrs)

    def bound(self, *arrays: Any) -> Callable[..., Any]:
        """The implementation that takes these arrays, as a function of such."""
        how = self.implementation(*arrays)
        if how == "loop":
            return self.loop  # type: ignore[return-value]
        if how == "cuda":
            return functools.partial(self.cuda, self.source)  # type: ignore[arg-type]
        xp = namespace(next(a for a in arrays if _is_array(a)))
        return functools.partial(self._in_order, xp)

    def _in_order(self, xp: Any, *arrays: Any, **attrs: Any) -> Any:
        """What the reference gives, in the order in memory that the other implementations give."""
        found = self.reference(xp, *arrays, **attrs)
        if isinstance(found, tuple):
            ordered = map(_in_c_order, found)
            return found._make(ordered) if hasattr(found, "_make") else tuple(ordered)
        return _in_c_order(found)

    def parity(
        self, *arrays: Any, rtol: float | None = None, atol: float = 1e-6, **attrs: Any
    ) -> dict[str, float]:
        """Run every implementation that this machine can run, and compare with the reference.

        Parameters
        ----------
        *arrays : NumPy arrays and numbers
            What the kernel takes; copies are used, and compared afterwards too.
        rtol, atol : float
            Relative error allowed (by dtype, 1e-5 for float32) and absolute error.
        **attrs
            Keyword arguments of the kernel.

        Returns
        -------
        dict
            Largest absolute error of each implementation that ran.

        Raises
        ------
        ParityError
            If results differ by more, naming implementation, place and values.
        """
        for i, a in enumerate(arrays):
            if isinstance(a, Tensor) or type(a).__module__.partition(".")[0] == "cupy":
                raise OperandError(
                    f"{self.name}: argument {i} is a {type(a).__name__}, and NumPy's arrays are "
                    "what all implementations are given; "
                    + ("write x.numpy()" if isinstance(a, Tensor) else "write x.get()")
                )
        first = next((a for a in arrays if isinstance(a, np.ndarray)), None)
        if first is None:
            raise OperandError(
                f"{self.name}: no argument is a NumPy array; give what the kernel takes, "
                f"({', '.join(self.operands)})"
            )
        if first.dtype.name not in self.dtypes | self.loop_dtypes:
            raise DTypeError(
                f"{self.name}: there is only the reference for {first.dtype}; the others take "
                f"{', '.join(sorted(self.dtypes | self.loop_dtypes))}"
            )
        expected = self._run("reference", np.ndarray, arrays, attrs)
        errors = {}
        if self.loop is not None and first.dtype.name in self.loop_dtypes:
            errors["loop"] = self._run("loop", np.ndarray, arrays, attrs)
        if self.cuda is not None and backend.cuda_status().available:
            errors["cuda"] = self._run("cuda", None, arrays, attrs)
        found = {}
        for how, results in errors.items():
            largest = [0.0]
            for i, (a, b) in enumerate(zip(results, expected, strict=True)):
                largest.append(_compare(f"{self.name}, {how}", i, a, b, rtol, atol))
            found[how] = max(largest)
        return found

    def _run(
        self, how: str, kind: type | None, arrays: Sequence[Any], attrs: dict[str, Any]
    ) -> list[Any]:
        """Results on the host, followed by the operands as they are afterwards."""
        where = backend.device("cpu" if kind is np.ndarray else "cuda")
        copies = [
            backend.to_device(a.copy(), where) if isinstance(a, np.ndarray) else a for a in arrays
        ]
        with backend.on_device_of(where), np.errstate(all="ignore"):
            if how == "reference":
                out = self.reference(namespace(where), *copies, **attrs)
            elif how == self.implementation(*copies):
                out = self.raw(*copies, **attrs)
            else:
                raise DTypeError(
                    f"{self.name}: the reference, not the {how}, would run; it takes arrays that "
                    "are not empty, C-contiguous and of one floating point dtype, and "
                    "GPUTENSOR_KERNELS=auto"
                )
        outs = [] if out is None else list(out) if isinstance(out, (tuple, list)) else [out]
        return [backend.to_host(a) if backend.is_array(a) else a for a in (*outs, *copies)]


def _differ(one: np.dtype[Any], other: np.dtype[Any]) -> bool:
    """Whether two dtypes are different ones of floating point."""
    return one.kind in _FLOATS and other.kind in _FLOATS and one != other


def _in_c_order(x: Any) -> Any:
    return backend.in_c_order(x) if _is_array(x) else x


def _is_array(operand: Any) -> bool:
    return hasattr(operand, "flags") and not isinstance(operand, np.generic)


def _compare(
    name: str, i: int, found: Any, expected: Any, rtol: float | None, atol: float
) -> float:
    if not isinstance(expected, np.ndarray):
        return 0.0
    if found.shape != expected.shape or found.dtype != expected.dtype:
        raise ParityError(
            f"{name}: result {i} is {found.dtype} of shape {found.shape}, the reference's "
            f"{expected.dtype} of shape {expected.shape}"
        )
    allowed = _TOLERANCE.get(expected.dtype.name, 0.0) if rtol is None else rtol
    a, b = found.astype(np.float64), expected.astype(np.float64)
    with np.errstate(all="ignore"):
        error = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0, np.abs(a - b))
        bad = ~(error <= atol + allowed * np.abs(b))
    if bad.any():
        place = tuple(int(k) for k in np.argwhere(bad)[0])
        raise ParityError(
            f"{name}: result {i} differs from the reference in {np.count_nonzero(bad)} of "
            f"{bad.size} elements; at {place} it is {found[place]}, the reference {expected[place]}"
        )
    return float(error.max(initial=0.0))


def _joint(kernel: Kernel) -> Callable[..., Any]:
    """A rule in the form of :class:`Primitive` from that of a kernel."""
    vjp = kernel._vjp
    assert vjp is not None

    def rule(xp: Any, needs: Any, g: Any, out: Any, *operands: Any, **attrs: Any) -> Sequence[Any]:
        if isinstance(g, tuple):
            g = tuple(
                xp.zeros_like(a) if part is None else part for part, a in zip(g, out, strict=True)
            )
        parts = vjp(xp, g, out, *operands, **attrs)
        if not isinstance(parts, (tuple, list)):
            parts = (parts,)
        if len(parts) != len(needs):
            raise GraphError(
                f"{kernel.name}: its vjp gave {len(parts)} gradient(s) for {len(needs)} operand(s) "
                f"({', '.join(kernel.operands)}); return one for each, None for those without"
            )
        return parts

    return rule


def _differentiated(reference: Callable[..., Any]) -> Callable[..., Any]:
    """The rule that follows from the reference: slower than a kernel, right all the same."""

    def rule(xp: Any, needs: Any, g: Any, _out: Any, *operands: Any, **attrs: Any) -> list[Any]:
        inputs = [
            a if need is False else wrap(a, Leaf(a))
            for a, need in zip(operands, needs, strict=True)
        ]
        leaves = [t._node if isinstance(t, Tensor) else None for t in inputs]
        with autograd.enable_grad():
            result = reference(autograd.reverse.differentiable_namespace, *inputs, **attrs)
        wanted = [leaf for leaf in leaves if leaf is not None]
        found = autograd.propagate(autograd.reverse.roots_of(result, g), wanted)
        return [None if leaf not in found else autograd.conjugate(found[leaf]) for leaf in leaves]

    return rule


def kernel(
    *bare: Any,
    source: str | Path | CudaSource | None = None,
    cuda: Callable[..., Any] | None = None,
    loop: Callable[..., Any] | None = None,
    vjp: Callable[..., Any] | None = None,
    dtypes: Iterable[str] = ("float32", "float64"),
    loop_dtypes: Iterable[str] | None = None,
    mixed: bool = False,
    writes: Iterable[str] = (),
    raises: bool = False,
) -> Callable[[Callable[..., Any]], Kernel]:
    """Decorate a reference to make a :class:`Kernel`: a differentiable operation on both backends.

    The reference is ``f(xp, *arrays, **attrs)`` in plain array calls of the namespace `xp`:
    NumPy's, CuPy's, or gputensor's own, so that it can be differentiated to any order.

    Parameters
    ----------
    source : str, Path or CudaSource
        CUDA C++, or the file with it.
    cuda : callable
        ``cuda(source, *arrays, **attrs)`` makes the results and calls ``source.launch(...)``.
    loop : callable, optional
        ``loop(*arrays, **attrs)`` for the CPU, usually around a :class:`gputensor.kernels.Loop`.
    vjp : callable, optional
        ``vjp(xp, g, out, *arrays, **attrs)`` gives the gradient towards each operand, None for
        those without; raw arrays come and go, usually through another kernel's ``raw``. Of complex
        arrays the conjugates of gradients come and go. Where the kernel gives a tuple, `g` and
        `out` are tuples, too. Without it the reference is differentiated.
    dtypes : iterable of str
        Names of the dtypes of the first array that loop and CUDA kernel take.
    loop_dtypes : iterable of str, optional
        Those that the loop takes, if they are others.
    mixed : bool
        Whether floating point arrays of different dtypes go to loop and CUDA kernel, too.
    writes : iterable of str
        Names of the operands that are changed in place.
    raises : bool
        Whether it raises an error on the CPU because of values, such as labels out of range.

    Returns
    -------
    decorator
        Of a function; gives a :class:`Kernel`.

    Examples
    --------
    >>> from gputensor.kernels import CudaSource
    >>> source = CudaSource('''
    ... #include "common.cuh"
    ... __global__ void doubled(const float* x, float* out, long long size) {
    ...     for (int64 i = first_index(); i < size; i += grid_stride()) out[i] = 2 * x[i];
    ... }''')
    >>> def launch(source, x):
    ...     out = gt.backend.namespace(x).empty_like(x)
    ...     source.launch("doubled", (x, out, x.size), elements=x.size)
    ...     return out
    >>> @gt.kernel(source=source, cuda=launch)
    ... def doubled(xp, x):
    ...     return 2 * x
    >>> doubled(gt.tensor([1.0, 2.0]))  # the reference, where there is no GPU
    tensor([2., 4.], dtype=float32)
    """
    if bare:
        raise TypeError(
            "kernel: it is used with parentheses: @gt.kernel() above the reference, or "
            "@gt.kernel(source=..., cuda=...)"
        )
    return lambda reference: Kernel(
        reference,
        source=source,
        cuda=cuda,
        loop=loop,
        vjp=vjp,
        dtypes=dtypes,
        loop_dtypes=loop_dtypes,
        mixed=mixed,
        writes=writes,
        raises=raises,
    )
