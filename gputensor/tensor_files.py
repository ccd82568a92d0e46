"""Safetensors files: arrays by name, and texts by name; nothing in one is ever executed.

They are read and written by the package ``safetensors``. Trees of dicts, lists, numbers and arrays
go into one as the arrays, by their path, and the structure around them as JSON.
"""

import functools
import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gputensor import backend, files
from gputensor.autograd import Tensor
from gputensor.ops.data_type import checked_dtype

__all__ = ["built", "dumps", "loads", "plan", "read", "write"]

_CODES = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "U16": "uint16",
    "I16": "int16",
    "U32": "uint32",
    "I32": "int32",
    "U64": "uint64",
    "I64": "int64",
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
    "C64": "complex64",
}
NAMES = set(_CODES.values())
ARRAYS = ("tensor", "array", "complex tensor", "complex array")  # kinds in a plan


@functools.cache
def _code(dtype: Any) -> str | None:
    """The format's word for a dtype; None if it has none."""
    return next((code for code, name in _CODES.items() if name == dtype.name), None)


def _dense(name: str, array: Any) -> "np.ndarray[Any, Any]":
    """An array as its bytes lie in a file."""
    if _code(array.dtype) is None:
        raise TypeError(
            f"{name} is {array.dtype}, which safetensors files do not have; they have "
            f"{', '.join(sorted(NAMES))}"
        )
    dense = np.asarray(array, order="C")
    return dense if dense.dtype.isnative else dense.astype(dense.dtype.newbyteorder("="))


def _specified(arrays: Mapping[str, Any]) -> tuple[dict[str, Any], list[Any]]:
    """Arrays as the package takes them, and what has to live until it is done."""
    from safetensors import TensorSpec

    held, specs = [], {}
    for name, array in arrays.items():
        dense = _dense(name, array)
        held.append(dense)
        specs[name] = TensorSpec(
            dtype=dense.dtype.name,
            shape=dense.shape,
            data_ptr=dense.ctypes.data,
            data_len=dense.nbytes,
        )
    return specs, held


def head(
    arrays: Mapping[str, Any], metadata: dict[str, str]
) -> "tuple[bytes, list[np.ndarray[Any, Any]]]":
    """How a file begins, and the arrays whose bytes follow: for who writes them piece by piece.

    The format is that of the package's documentation: the length of the header in 8 bytes, the
    header as JSON, filled up to a multiple of 8 bytes; then the arrays without gaps, those of large
    items first, so that all of them are aligned.
    """
    dense = {name: _dense(name, array) for name, array in arrays.items()}
    ordered = sorted(dense, key=lambda name: (-dense[name].itemsize, name))
    entries: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for name in ordered:
        array = dense[name]
        start, end = end, end + array.nbytes
        code = _code(array.dtype)
        entries[name] = {"dtype": code, "shape": array.shape, "data_offsets": (start, end)}
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, [dense[name] for name in ordered]


def dumps(arrays: Mapping[str, Any], metadata: dict[str, str]) -> bytes:
    """A file's bytes."""
    from safetensors import serialize

    specs, held = _specified(arrays)
    content = bytes(serialize(specs, metadata=metadata))
    del held
    return content


def write(path: Path, arrays: Mapping[str, Any], metadata: dict[str, str]) -> None:
    """Write a file in one step."""
    from safetensors import serialize_file

    specs, held = _specified(arrays)
    with files.replacing(path) as place:
        serialize_file(specs, place, metadata=metadata)
    del held


def loads(content: bytes) -> tuple[dict[str, Any], dict[str, str]]:
    """Arrays and texts of a file's bytes.

    Raises
    ------
    ValueError
        If they are none of a safetensors file, or cut off.
    """
    from safetensors import SafetensorError, deserialize

    try:
        found = deserialize(content)  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise ValueError(f"it is no safetensors file, or damaged: {error}") from None
    length = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + length]).get("__metadata__", {})
    arrays = {}
    for name, entry in found:
        array = np.frombuffer(entry["data"], dtype_of(name, entry["dtype"]))
        arrays[name] = array.reshape(entry["shape"])
    return arrays, metadata


def dtype_of(name: str, code: str) -> "np.dtype[Any]":
    """NumPy's dtype of a format's."""
    if code not in _CODES:
        raise ValueError(f"{name} is of {code}, which is not known here")
    return checked_dtype("load", _CODES[code])


def read(path: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """Arrays and texts of a file.

    Raises
    ------
    ValueError
        If it is no safetensors file, or damaged.
    """
    try:
        return loads(Path(path).read_bytes())
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from None


# Trees


def plan(
    what: str,
    value: Any,
    path: str,
    arrays: dict[str, Any],
    copy: Callable[[Any], Any] = backend.to_host,
) -> Any:
    """`value` as JSON, copies of its arrays put aside under their path.

    Raises
    ------
    TypeError
        If there is something in it that is no number, text, None, array, or dict, list or tuple.
    """
    if isinstance(value, (Tensor, np.ndarray)) or backend.is_array(value):
        raw = value.array if isinstance(value, Tensor) else value
        kind = "tensor" if isinstance(value, Tensor) else "array"
        if raw.dtype == np.complex128:  # which the format has not
            raw, kind = backend.namespace(raw).stack([raw.real, raw.imag], -1), f"complex {kind}"
        if _code(raw.dtype) is None:
            raise TypeError(f"{what}: {path or 'the tensor'} is {raw.dtype}, which has no form")
        name = path or "tensor"
        # Keys with a dot in them may lead to the same name; the other one is the format's own.
        while name in arrays or name == "__metadata__":
            name += "_"
        arrays[name] = copy(raw)
        return {kind: name}
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (int, float, np.integer, np.floating, np.bool_)):
        number = value.item() if isinstance(value, np.generic) else value
        known = isinstance(number, int) or math.isfinite(number)
        return number if known else {"float": repr(float(number))}
    if isinstance(value, np.dtype):
        return {"dtype": value.name}
    below = path + "." if path else ""
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, (str, int)):
                raise TypeError(
                    f"{what}: a key of {path or 'the object'} is a {type(key).__name__}; it must "
                    "be a text or an int"
                )
        pairs = ((k, plan(what, v, f"{below}{k}", arrays, copy)) for k, v in value.items())
        return {"dict": [[k, v] for k, v in pairs]}
    if isinstance(value, (list, tuple)):
        items = [plan(what, v, f"{below}{i}", arrays, copy) for i, v in enumerate(value)]
        return {"tuple": items} if isinstance(value, tuple) else {"list": items}
    if hasattr(value, "state_dict"):
        raise TypeError(
            f"{what}: {path or 'the object'} is a {type(value).__name__}, which would have to be "
            "stored as code; save its state_dict() and load that into a new one"
        )
    raise TypeError(
        f"{what}: {path or 'the object'} is a {type(value).__name__}; allowed are tensors, "
        "numbers, texts, None, and dicts, lists and tuples of these"
    )


def built(
    found: Any,
    arrays: Mapping[str, Any],
    tensor: Callable[[Any], Any] = lambda a: a,
    mapping: Callable[[Any], Any] = dict,
) -> Any:
    """What :func:`plan` made `found` of; `tensor` makes tensors of arrays."""
    if not isinstance(found, dict):
        if isinstance(found, list):
            raise ValueError("a list has no kind")
        return found
    ((kind, value),) = found.items()
    if kind == "tensor":
        return tensor(arrays[value])
    if kind == "array":
        return arrays[value]
    if kind.startswith("complex"):
        whole = np.ascontiguousarray(arrays[value]).view(np.complex128)[..., 0]
        return tensor(whole) if kind == "complex tensor" else whole
    if kind == "float":
        return float(value)
    if kind == "dtype":
        return checked_dtype("load", value)
    if kind == "dict":
        return mapping((k, built(v, arrays, tensor, mapping)) for k, v in value)
    if kind not in ("list", "tuple") or not isinstance(value, list):
        raise ValueError(f"{kind!r} is no kind")
    items = (built(v, arrays, tensor, mapping) for v in value)
    return tuple(items) if kind == "tuple" else list(items)
