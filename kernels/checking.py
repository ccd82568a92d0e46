"""``gt.kernels.check``: what can be known of a kernel on this machine, with a GPU or without."""

import contextlib
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

import gputensor
from gputensor import backend
from gputensor.errors import GPUTensorError, LaunchError, ParityError
from gputensor.kernels import flags, nvrtc, scratch, source
from gputensor.kernels.declare import Kernel
from gputensor.kernels.nvrtc import Launch
from gputensor.kernels.source import CudaSource, misfit, number

__all__ = ["Report", "check", "forget_cupy"]

ARCHITECTURES = ("sm_80", "sm_90", "sm_120")
ORDERS = ("forward", "reverse", "shuffle")


class Report:
    """What was checked of a kernel, and what was not; printed, it is a list.

    Attributes
    ----------
    name : str
        The kernel's.
    checked : list of str
    unchecked : list of str
        Each with what to install.
    usages : list of gputensor.kernels.nvrtc.Usage
        Registers, spills and shared memory of each CUDA kernel, by architecture.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.checked: list[str] = []
        self.unchecked: list[str] = []
        self.usages: list[nvrtc.Usage] = []

    def __repr__(self) -> str:
        lines = [f"kernel {self.name}", *(f"  ok           {text}" for text in self.checked)]
        lines += [f"  not checked  {text}" for text in self.unchecked]
        return "\n".join(lines)


def check(
    kernel: Kernel,
    *arrays: Any,
    architectures: Sequence[str] = ARCHITECTURES,
    gradient: bool = True,
    rtol: float | None = None,
    atol: float = 1e-6,
    **attrs: Any,
) -> Report:
    """Check a kernel in all ways that this machine can, with a GPU or without one.

    The launch is tried without a device: its arguments must fit the parameters in the source. The
    CUDA C++ is compiled by NVRTC, if that is installed. Loop and CUDA kernel are compared with the
    reference; where there is no GPU the CUDA C++ runs on the CPU, in several orders of threads and
    with guards around memory, if this is Linux with a C++ compiler. The gradient is compared with
    finite differences.

    Parameters
    ----------
    kernel : Kernel
    *arrays : NumPy arrays and numbers
        What the kernel takes. Small ones are enough; finite differences take a call for each
        element.
    architectures : sequence of str
        What to compile for.
    gradient : bool
        Whether to check the gradient.
    rtol, atol : float
        As for :meth:`Kernel.parity`.
    **attrs
        Keyword arguments of the kernel.

    Returns
    -------
    Report
        What was checked, and what was not, with what to install.

    Raises
    ------
    LaunchError
        If arguments of a launch do not fit the parameters in the source.
    CompileError
        If the source does not compile, with the numbered lines.
    ParityError
        If an implementation differs from the reference, races, or leaves its memory.
    GradcheckError
        If the gradient differs from finite differences.

    Examples
    --------
    >>> import numpy as np
    >>> x, bias = np.ones((3, 4), "f"), np.zeros(4, "f")
    >>> report = gt.kernels.check(gt.kernels.bias_activation, x, bias, kind="tanh")
    >>> report.checked[-1]
    'gradient against finite differences'
    """
    if not isinstance(kernel, Kernel):
        raise TypeError(
            f"check: kernel must be what gt.kernel makes, got {type(kernel).__name__}; decorate "
            "the reference with @gt.kernel(...)"
        )
    report = Report(kernel.name)
    if kernel.cuda is None:
        report.unchecked.append("CUDA: the kernel has none, on a GPU its reference runs")
    else:
        _compile(report, _launches(report, kernel, arrays, attrs), architectures)
    _compare(report, kernel, arrays, {"rtol": rtol, "atol": atol, **attrs})
    if gradient:
        _differentiate(report, kernel, arrays, attrs)
    return report


# The launch, and the compiler


class _Tried(CudaSource):
    """A source whose launches are checked and noted, not done."""

    def __init__(self, real: CudaSource) -> None:
        self.__dict__.update(real.__dict__)
        self.real = real
        self.seen: dict[str, Launch] = {}

    def launch(
        self,
        entry: str,
        args: Sequence[Any],
        *,
        elements: int | None = None,
        blocks: tuple[int, ...] | None = None,
        threads: int | tuple[int, ...] = 256,
        shared: int = 0,
    ) -> None:
        parameters = self.real.fitting(entry, args)
        for p, value in zip(parameters, args, strict=True):
            if not p.pointer:
                number(entry, p, value)
            elif value is not None and not (
                backend.is_array(value)
                and p.dtype in (None, value.dtype)
                and value.flags.c_contiguous
            ):
                raise LaunchError(misfit(entry, p, value))
        most = self.seen.get(entry, Launch(self.real, entry, 0, 0))
        self.seen[entry] = Launch(
            self.real,
            entry,
            max(most.threads, int(np.prod(threads))),
            max(most.shared, shared),
        )


def _launches(
    report: Report, kernel: Kernel, arrays: Sequence[Any], attrs: dict[str, Any]
) -> list[Launch]:
    """What the launch code would launch, given arrays of the host."""
    assert kernel.source is not None
    assert kernel.cuda is not None
    tried = _Tried(kernel.source)
    copies = [a.copy() if isinstance(a, np.ndarray) else a for a in arrays]
    try:
        kernel.cuda(tried, *copies, **attrs)
    except GPUTensorError:
        raise
    except Exception as error:  # launch code may do what CuPy's arrays alone can
        report.unchecked.append(
            f"launch: it cannot be tried with NumPy's arrays ({type(error).__name__}: {error}); "
            "gputensor.backend.namespace(x) makes it work with both"
        )
        return []
    names = ", ".join(tried.seen) or "nothing"
    report.checked.append(f"arguments of the launch of {names}")
    return list(tried.seen.values())


def _compile(report: Report, launches: Sequence[Launch], architectures: Sequence[str]) -> None:
    if not launches:
        return
    if not nvrtc.is_installed():
        report.unchecked.append(f"compiling for {', '.join(architectures)}: {nvrtc.INSTALL}")
        return
    for arch in architectures:
        report.usages += nvrtc.compile_source(launches[0].source, launches, arch)
    for usage in report.usages:
        if not usage.fits:
            raise LaunchError(
                f"{usage.entry}: a block of {usage.threads} threads finds no registers on "
                f"{usage.arch}, where each takes {usage.registers}; launch smaller blocks"
            )
        spilled = f"{usage.spilled} bytes spilled" if usage.spilled else "none spilled"
        report.checked.append(
            f"{usage.entry} compiles for {usage.arch}: {usage.registers} registers, {spilled}, "
            f"{usage.shared} bytes of shared memory"
        )


# Results


def _compare(
    report: Report, kernel: Kernel, arrays: Sequence[Any], options: dict[str, Any]
) -> None:
    def compare(where: str) -> None:
        for how, error in kernel.parity(*arrays, **options).items():
            if how == "loop" and where:
                continue
            report.checked.append(f"{how}{where} against the reference: largest error {error:.2g}")

    compare("")
    if kernel.cuda is None or backend.cuda_status().available:
        return
    from gputensor import standin

    if standin.host_compiler() is None:
        report.unchecked.append(
            "results of the CUDA source: there is no GPU, and nothing to run it on the CPU with; "
            "that takes Linux, and g++ or clang++, or a compiler named by CXX"
        )
        return
    with _in_place_of_cupy():
        try:
            compare(f" (on the CPU; threads {', '.join(ORDERS)})")
        except GPUTensorError:
            raise
        except Exception as error:  # the stand-in's own: races, accesses out of bounds
            raise ParityError(f"{kernel.name}, CUDA source on the CPU: {error}") from error


@contextlib.contextmanager
def _in_place_of_cupy() -> Iterator[None]:
    from gputensor import standin

    forget_cupy()
    try:
        with standin.installed(order="compare"):
            yield
    finally:
        forget_cupy()


def forget_cupy() -> None:
    """Drop what gputensor remembers of the CuPy that it saw, for another one to take its place."""
    from gputensor import blas, epilogue
    from gputensor.backend import devices
    from gputensor.graph import cuda, draws

    for cached in (backend.cuda_status, devices._configured_device, source._multiprocessors):
        cached.cache_clear()
    for kind in [k for k in backend.NAMESPACES if k not in backend.HOST_TYPES]:
        del backend.NAMESPACES[kind]
    for flag in flags._FLAGS:
        flag.arrays.clear()
    scratch._zeros.clear()
    for made in source._SOURCES:
        made._entries.clear()
    blas._handles.clear()
    epilogue.choices.clear()
    cuda._lanes.by_device.clear()
    draws._states.by_generator.clear()
    backend.DEFERRED_CHECKS.clear()


# The gradient


def _differentiate(
    report: Report, kernel: Kernel, arrays: Sequence[Any], attrs: dict[str, Any]
) -> None:
    if kernel.writes & {*kernel.operands[: len(arrays)], *attrs}:
        report.unchecked.append("gradient: the kernel changes its operands")
        return
    plain = [a.copy() if isinstance(a, np.ndarray) else a for a in arrays]
    found = kernel.reference(backend.namespace(backend.device("cpu")), *plain, **attrs)
    results = found if isinstance(found, tuple) else (found,)
    floating = [i for i, a in enumerate(results) if backend.is_array(a) and a.dtype.kind in "fcV"]
    if not floating:
        report.unchecked.append("gradient: no result is an array of floating point numbers")
        return
    leaves, places = [], []
    for i, a in enumerate(arrays):
        if isinstance(a, np.ndarray) and a.dtype.kind in "fcV":
            wide = np.complex128 if a.dtype.kind == "c" else np.float64
            leaf = gputensor.tensor(a.astype(wide), requires_grad=True, device="cpu")
            leaves.append(leaf)
            places.append(i)
    if not leaves:
        report.unchecked.append("gradient: no operand is an array of floating point numbers")
        return

    def function(place: int, *given: Any) -> Any:
        operands = list(arrays)
        for i, t in zip(places, given, strict=True):
            operands[i] = t
        with backend.device("cpu"):
            out = kernel(*operands, **attrs)
        return out[place] if isinstance(out, tuple) else out

    for place in floating:
        gputensor.gradcheck(functools.partial(function, place), *leaves)
    report.checked.append("gradient against finite differences")
