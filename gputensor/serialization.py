"""``gt.save`` and ``gt.load``: nested dicts of tensors and numbers, as one safetensors file.

Nothing in a file is executed. Tensors are stored as in any safetensors file (8 bytes with the
length of a JSON header, the header, the elements), named by their path in the object; the header's
metadata holds the structure around them as JSON.
"""

import json
import os
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np

from gputensor import backend, ops
from gputensor.autograd import Tensor
from gputensor.backend import Device
from gputensor.ops.data_type import checked_dtype

__all__ = ["load", "save"]

_NAMES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint64": "U64",
    "uint32": "U32",
    "uint16": "U16",
    "uint8": "U8",
    "bool": "BOOL",
    "complex64": "C64",
}
_DTYPES = {code: name for name, code in _NAMES.items()}


def _plan(value: Any, path: str, arrays: dict[str, Any]) -> Any:
    """`value` as JSON, its arrays put aside under their path."""
    if isinstance(value, (Tensor, np.ndarray)):
        array = np.ascontiguousarray(backend.to_host(getattr(value, "array", value)))
        array = array.reshape(np.shape(getattr(value, "array", value)))
        if array.dtype.name not in _NAMES:
            raise TypeError(f"save: {path or 'the tensor'} is {array.dtype}, which has no form")
        arrays[path or "tensor"] = array
        kind = "tensor" if isinstance(value, Tensor) else "array"
        return {kind: path or "tensor"}
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (int, float, np.number)):
        number = value.item() if isinstance(value, np.number) else value
        return number if np.isfinite(number) else {"float": repr(float(number))}
    if isinstance(value, np.dtype):
        return {"dtype": value.name}
    below = path + "." if path else ""
    if isinstance(value, Mapping):
        return {"dict": [[_key(k), _plan(v, f"{below}{k}", arrays)] for k, v in value.items()]}
    if isinstance(value, (list, tuple)):
        items = [_plan(v, f"{below}{i}", arrays) for i, v in enumerate(value)]
        return {"tuple": items} if isinstance(value, tuple) else {"list": items}
    if hasattr(value, "state_dict"):
        raise TypeError(
            f"save: {path or 'the object'} is a {type(value).__name__}, which would have to be "
            "stored as code; save its state_dict() and load that into a new one"
        )
    raise TypeError(
        f"save: {path or 'the object'} is a {type(value).__name__}; allowed are tensors, numbers, "
        "texts, None, and dicts, lists and tuples of these"
    )


def _key(key: Any) -> Any:
    if not isinstance(key, (str, int)):
        raise TypeError(f"save: a key is a {type(key).__name__}; it must be a text or an int")
    return key


def save(obj: Any, f: Any) -> None:
    """Store tensors, numbers, texts, and dicts, lists and tuples of them, in a file.

    Parameters
    ----------
    obj : object
        Such as a ``state_dict()``, or a dict of several with an epoch and a loss.
    f : path or file that bytes are written to

    Raises
    ------
    TypeError
        If there is something else in it, such as a module: save its ``state_dict()``.
    """
    arrays: dict[str, Any] = {}
    plan = _plan(obj, "", arrays)
    header: dict[str, Any] = {"__metadata__": {"gputensor": json.dumps(plan)}}
    start = 0
    for name, array in arrays.items():
        stop = start + array.nbytes
        header[name] = {
            "dtype": _NAMES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [start, stop],
        }
        start = stop
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    pieces = [len(text).to_bytes(8, "little"), text, *(a.tobytes() for a in arrays.values())]
    if hasattr(f, "write"):
        for piece in pieces:
            f.write(piece)
        return
    part = f"{os.fspath(f)}.part"  # a file is whole or not there
    with open(part, "wb") as stream:
        for piece in pieces:
            stream.write(piece)
    os.replace(part, f)


def _refuse(found: str) -> ValueError:
    return ValueError(
        f"load: {found}; a file of PyTorch's own torch.save holds pickled code, which is not "
        "executed here: write it with safetensors.torch.save_file there"
    )


def _arrays(data: bytes) -> tuple[dict[str, Any], Any]:
    """Arrays of a safetensors file by name, and its plan."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or not 0 < length <= len(data) - 8:
        raise _refuse("this is no safetensors file")
    try:
        header = json.loads(data[8 : 8 + length])
    except ValueError:
        raise _refuse("this is no safetensors file") from None
    body, arrays = memoryview(data)[8 + length :], {}
    metadata = header.pop("__metadata__", {})
    for name, entry in header.items():
        start, stop = entry["data_offsets"]
        dtype = checked_dtype("load", _DTYPES[entry["dtype"]])
        shape = tuple(entry["shape"])
        if not 0 <= start <= stop <= len(body) or stop - start != dtype.itemsize * np.prod(
            shape, dtype=int
        ):
            raise ValueError(f"load: the file is damaged: {name} does not fit in it")
        arrays[name] = np.frombuffer(body[start:stop], dtype).reshape(shape).copy()
    return arrays, json.loads(metadata.get("gputensor", "null"))


def _built(plan: Any, arrays: dict[str, Any], place: str | Device | None) -> Any:
    if not isinstance(plan, dict):
        return plan
    ((kind, value),) = plan.items()
    if kind == "tensor":
        return ops.asarray(arrays[value], device=place)
    if kind == "array":
        return arrays[value]
    if kind == "float":
        return float(value)
    if kind == "dtype":
        return checked_dtype("load", value)
    if kind == "dict":
        return OrderedDict((k, _built(v, arrays, place)) for k, v in value)
    items = (_built(v, arrays, place) for v in value)
    return tuple(items) if kind == "tuple" else list(items)


def load(f: Any, device: str | Device | None = None) -> Any:
    """What :func:`save` stored, or the tensors of any safetensors file by name.

    Parameters
    ----------
    f : path or file that bytes are read from
    device : str or Device, optional
        Where tensors are put; by default that of new ones.

    Returns
    -------
    object
        Of dicts, lists, tuples, numbers and tensors. Dicts keep their order.

    Raises
    ------
    ValueError
        If it is another file, such as one of PyTorch's own.
    """
    if hasattr(f, "read"):
        data = f.read()
    else:
        with open(f, "rb") as stream:
            data = stream.read()
    arrays, plan = _arrays(data)
    if plan is None and arrays:
        return OrderedDict((n, ops.asarray(a, device=device)) for n, a in arrays.items())
    return _built(plan, arrays, device)
