"""``nvmath.bindings.cublasLt`` on device memory that the host holds: products with an epilogue.

As with the library, descriptors take any value of the right size, and what does not go together is
found by the heuristic and by the product: dtypes and compute types, dimensions that do not fit,
transposed operands whose rows are to be summed, algorithms of another problem, workspaces that are
too small, operands less aligned than was promised. Matrices lie column by column.
"""

import ctypes
import enum
import itertools
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np

from .memory import without_owner
from .nvmath_cublas import (
    _TYPES,
    LibraryError,
    Operation,
    Status,
    _dtype,
    _handle,
    _matrices,
    _memory,
    _rounded,
    _scalar,
)
from .state import Count
from .streams import Uses, as_stream, submit

__all__ = ["Epilogue", "MatmulDescAttribute", "MatmulPreferenceAttribute", "make_module"]


class Epilogue(enum.IntEnum):
    """What is done to a product before it is written, or beside it."""

    DEFAULT = 1
    RELU = 2
    BIAS = 4
    RELU_BIAS = 6
    BGRADA = 256
    BGRADB = 512


class MatmulDescAttribute(enum.IntEnum):
    """Attributes of an operation."""

    TRANSA = 3
    TRANSB = 4
    EPILOGUE = 7
    BIAS_POINTER = 8


class MatmulPreferenceAttribute(enum.IntEnum):
    """What an algorithm must keep to."""

    MAX_WORKSPACE_BYTES = 1
    REDUCTION_SCHEME_MASK = 3
    MIN_ALIGNMENT_A_BYTES = 5
    MIN_ALIGNMENT_B_BYTES = 6
    MIN_ALIGNMENT_C_BYTES = 7
    MIN_ALIGNMENT_D_BYTES = 8


class ReductionScheme(enum.IntEnum):
    """Where the parts of a split sum are added up."""

    NONE = 0
    INPLACE = 1
    COMPUTE_TYPE = 2
    OUTPUT_TYPE = 4
    MASK = 7


class cuBLASLtError(LibraryError):
    """A call that cublasLt refuses."""


@dataclass
class _Operation:
    compute: int
    scale: int
    attributes: dict[int, int] = field(default_factory=lambda: {3: 0, 4: 0, 7: 1, 8: 0})


@dataclass
class _Layout:
    type: int
    rows: int
    columns: int
    ld: int


@dataclass
class _Preference:
    attributes: dict[int, int] = field(
        default_factory=lambda: {1: 0, 3: 7, 5: 256, 6: 256, 7: 256, 8: 256}
    )


@dataclass
class _Faults:
    """Ways of the library that tests choose."""

    hides_nan: bool = False  # as the ReLU of some kernels does
    wrong: bool = False  # results that differ by more than rounding
    unsupported: bool = False  # the heuristic finds nothing


matmul_algo_dtype = np.dtype([("data_", "<u8", (8,))])
matmul_heuristic_result_dtype = np.dtype(
    [
        ("algo", matmul_algo_dtype),
        ("workspace_size", "<u8"),
        ("state", "<i4"),
        ("waves_count", "<f4"),
        ("reserved", "<i4", (4,)),
    ]
)

faults = _Faults()
calls: list[dict[str, Any]] = []  # products that were asked for, for tests; they clear it
queries: list[Epilogue] = []  # and of the heuristic
_descriptors: dict[int, _Operation | _Layout | _Preference] = {}
_numbers = itertools.count(0x17000)
_SIZES = {3: 4, 4: 4, 7: 4, 8: 8}
_PREFERENCE_SIZES = {1: 8, 3: 4, 5: 4, 6: 4, 7: 4, 8: 4}
_MAGIC = 0x17A160
_WORKSPACE = 1024  # bytes that an algorithm takes


def _require(condition: bool, reason: str, status: Status = Status.INVALID_VALUE) -> None:
    if not condition:
        raise cuBLASLtError(status, reason)


def _new(descriptor: _Operation | _Layout | _Preference) -> int:
    number = next(_numbers)
    _descriptors[number] = descriptor
    return number


def _get(number: int, kind: type) -> Any:
    found = _descriptors.get(number)
    _require(isinstance(found, kind), f"{number} is no {kind.__name__}")
    return found


def _put(attributes: dict[int, int], sizes: dict[int, int], name: int, at: int, size: int) -> None:
    _require(sizes.get(name) == size, f"attribute {name} of {size} bytes")
    attributes[int(name)] = int.from_bytes(ctypes.string_at(at, size), "little")


def get_version() -> int:
    """Version of the library."""
    return 131000


def matmul_desc_create(compute_type: int, scale_type: int) -> int:
    """Describe an operation."""
    return _new(_Operation(compute_type, scale_type))


def matmul_desc_set_attribute(matmul_desc: int, attr: int, buf: int, size_in_bytes: int) -> None:
    """Set an attribute of an operation."""
    _put(_get(matmul_desc, _Operation).attributes, _SIZES, attr, buf, size_in_bytes)


def matrix_layout_create(type: int, rows: int, cols: int, ld: int) -> int:
    """Describe a matrix."""
    return _new(_Layout(type, rows, cols, ld))


def matmul_preference_create() -> int:
    """Describe what algorithms are wanted."""
    return _new(_Preference())


def matmul_preference_set_attribute(pref: int, attr: int, buf: int, size_in_bytes: int) -> None:
    """Set an attribute of a preference."""
    _put(_get(pref, _Preference).attributes, _PREFERENCE_SIZES, attr, buf, size_in_bytes)


def matmul_desc_destroy(matmul_desc: int) -> None:
    """End the description of an operation."""
    _get(matmul_desc, _Operation)
    del _descriptors[matmul_desc]


def matrix_layout_destroy(mat_layout: int) -> None:
    """End the description of a matrix."""
    _get(mat_layout, _Layout)
    del _descriptors[mat_layout]


def matmul_preference_destroy(pref: int) -> None:
    """End the description of algorithms."""
    _get(pref, _Preference)
    del _descriptors[pref]


@dataclass
class _Problem:
    operation: _Operation
    a: _Layout
    b: _Layout
    d: _Layout
    ops: tuple[Operation, Operation]
    epilogue: Epilogue

    def key(self) -> int:
        """What an algorithm is for."""
        parts = (self.operation.compute, *self.ops, self.epilogue, self.a.type)
        sizes = [(x.rows, x.columns, x.ld) for x in (self.a, self.b, self.d)]
        return hash((*parts, *sizes)) & (2**63 - 1)


def _problem(desc: int, adesc: int, bdesc: int, cdesc: int, ddesc: int) -> _Problem:
    operation: _Operation = _get(desc, _Operation)
    a, b, c, d = (_get(x, _Layout) for x in (adesc, bdesc, cdesc, ddesc))
    found = operation.attributes
    ops = Operation(found[3]), Operation(found[4])
    epilogue = Epilogue(found[7])
    m, k = (a.rows, a.columns) if ops[0] == Operation.N else (a.columns, a.rows)
    k2, n = (b.rows, b.columns) if ops[1] == Operation.N else (b.columns, b.rows)
    _require(k == k2 and (d.rows, d.columns) == (m, n), f"{m} x {k}, {k2} x {n} give {d}")
    _require(c == d, "C and D are laid out differently", Status.NOT_SUPPORTED)
    _require(all(x.ld >= x.rows for x in (a, b, d)), "a leading dimension is below the rows")
    _require(min(m, n, k) > 0, f"m, n, k are {m}, {n}, {k}")
    types = {x.type for x in (a, b, d)}
    _require(
        len(types) == 1
        and types <= {0, 2, 14}
        and operation.compute in _TYPES[a.type][2]
        and operation.scale == 0,
        f"types {types} with compute type {operation.compute} and scale type {operation.scale}",
        Status.NOT_SUPPORTED,
    )
    _require(
        not (epilogue == Epilogue.BGRADA and ops[0] != Operation.N),
        "BGRADA of a transposed A",
        Status.NOT_SUPPORTED,
    )
    _require(epilogue != Epilogue.BGRADB, "the stand-in has no BGRADB", Status.NOT_SUPPORTED)
    return _Problem(operation, a, b, d, ops, epilogue)


def matmul_algo_get_heuristic(
    light_handle: int, operation_desc: int,
    adesc: int, bdesc: int, cdesc: int, ddesc: int, preference: int,
    requested_algo_count: int, heuristic_results_array: int, return_algo_count: int,
) -> None:  # fmt: skip
    """Recommend algorithms; of cuBLAS's handles, each is one of cublasLt's, too."""
    _handle(light_handle)
    problem = _problem(operation_desc, adesc, bdesc, cdesc, ddesc)
    wanted = _get(preference, _Preference).attributes
    queries.append(problem.epilogue)
    _require(requested_algo_count > 0, "no algorithm is requested")
    _require(not faults.unsupported, "no heuristic for it", Status.NOT_SUPPORTED)
    bias = problem.operation.attributes[8]
    none = wanted[1] < _WORKSPACE
    ctypes.c_int32.from_address(return_algo_count).value = int(not none)
    if none:
        return
    result = np.zeros(1, matmul_heuristic_result_dtype)
    alignments = (*(wanted[i] for i in (5, 6, 8)), bias & -bias or 256)
    result["algo"]["data_"] = (_MAGIC, problem.key(), *alignments, wanted[3], 0)
    result["workspace_size"] = _WORKSPACE
    ctypes.memmove(heuristic_results_array, result.ctypes.data, result.nbytes)


def matmul(
    light_handle: int, compute_desc: int,
    alpha: int, a: int, adesc: int, b: int, bdesc: int,
    beta: int, c: int, cdesc: int, d: int, ddesc: int,
    algo: int, workspace: int, workspace_size_in_bytes: int, stream: int,
) -> None:  # fmt: skip
    """``D = epilogue(alpha op(A) op(B) + beta C)`` on any stream."""
    _handle(light_handle)
    problem = _problem(compute_desc, adesc, bdesc, cdesc, ddesc)
    operation, epilogue = problem.operation, problem.epilogue
    magic, key, *alignments, _mask, _ = np.frombuffer(ctypes.string_at(algo, 64), np.uint64)
    _require(magic == _MAGIC and key == problem.key(), "the algorithm is of another problem")
    _require(workspace_size_in_bytes >= _WORKSPACE, f"a workspace of {workspace_size_in_bytes}")
    _require(workspace % 256 == 0, f"workspace at {workspace:#x} is not aligned to 256 bytes")
    bias_at = operation.attributes[8]
    for name, at, size in zip("ABD", (a, b, d), alignments, strict=False):
        _require(at % int(size) == 0, f"{name} at {at:#x} is not aligned to {size} bytes")
    with_bias = epilogue not in (Epilogue.DEFAULT, Epilogue.RELU)
    if with_bias:
        _require(bias_at != 0, "there is no bias")
        _require(bias_at % int(alignments[3]) == 0, f"bias at {bias_at:#x} is less aligned")
    _require(c == d, "C is not D", Status.NOT_SUPPORTED)
    name, _, _ = _TYPES[problem.a.type]
    dtype, scale = _dtype(name), np.dtype("float32")
    layouts = problem.a, problem.b, problem.d
    x, y, z = (
        _matrices(label, at, dtype, (1, layout.rows, layout.columns), layout.ld, 0)[0]
        for label, at, layout in zip("abd", (a, b, d), layouts, strict=True)
    )
    _require(not (np.may_share_memory(x, z) or np.may_share_memory(y, z)), "D overlaps A or B")
    vector = _matrices("bias", bias_at, dtype, (1, len(z), 1), len(z), 0)[0] if with_bias else z
    factor, share = _scalar(alpha, scale), _scalar(beta, scale)
    _require(factor == 1 and share == 0, f"alpha and beta are {factor}, {share}")
    calls.append({"epilogue": epilogue, "dtype": name, "compute": operation.compute})

    uses = Uses()
    writes = False, False, True, epilogue == Epilogue.BGRADA
    operands = zip((x, y, z, vector), writes, strict=True)
    x, y, z, vector = (without_owner(v, uses, written) for v, written in operands)
    uses.note_all(_memory("the workspace", workspace, workspace_size_in_bytes), True)
    hides_nan, wrong = faults.hides_nan, faults.wrong

    def run() -> None:
        left, right = (
            v.mT if op == Operation.T else v
            for v, op in zip((x.astype(scale), y.astype(scale)), problem.ops, strict=True)
        )
        if epilogue == Epilogue.BGRADA:
            vector[...] = left.sum(1, keepdims=True)
        if operation.compute == 77:
            left, right = _rounded(left), _rounded(right)
        with np.errstate(all="ignore"):
            product = left @ right
            if epilogue & Epilogue.BIAS:
                product = product + vector.astype(scale)
            if epilogue & Epilogue.RELU:
                product = (np.fmax if hides_nan else np.maximum)(product, np.float32(0))
            z[...] = product * np.float32(1.1) if wrong else product

    submit(run, "launches", uses, as_stream(stream), Count("cublaslt_matmul", 0))


def make_module() -> ModuleType:
    """Make the module."""
    module = ModuleType("nvmath.bindings.cublasLt")
    vars(module).update({k: v for k, v in globals().items() if not k.startswith("_")})
    return module
