"""Tensors as text, in PyTorch's form: four digits, and exponents where numbers differ much."""

from typing import Any

import numpy as np

from gputensor import backend, config
from gputensor.autograd import Node
from gputensor.autograd import Tensor as Engine

__all__ = ["set_printoptions", "text"]

_options: dict[str, Any] = {
    "precision": 4,
    "threshold": 1000,
    "edgeitems": 3,
    "linewidth": 80,
    "sci_mode": None,
}


def set_printoptions(
    precision: int | None = None,
    threshold: int | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """Choose how tensors are printed; what is not given stays, but for `sci_mode`.

    Examples
    --------
    >>> torch.set_printoptions(precision=2)
    >>> torch.tensor([1 / 3])
    tensor([0.33])
    >>> torch.set_printoptions(precision=4)
    """
    if profile is not None:
        raise ValueError("set_printoptions: profile= is not known here; give precision and others")
    given = {
        "precision": precision,
        "threshold": threshold,
        "edgeitems": edgeitems,
        "linewidth": linewidth,
    }
    _options.update({key: value for key, value in given.items() if value is not None})
    _options["sci_mode"] = sci_mode


def _formatter(array: Any) -> Any:
    """How an element of a floating point array is written."""
    digits = _options["precision"]
    size = np.abs(array[np.isfinite(array) & (array != 0)].astype(np.float64))
    if not size.size:
        whole, scientific = True, False
    else:
        whole = bool((size == np.ceil(size)).all())
        low, high = size.min(), size.max()
        scientific = bool(high / low > 1000.0 or high > 1e8 or (not whole and low < 1e-4))
    if _options["sci_mode"] is not None:
        scientific = _options["sci_mode"]
    if scientific:
        return lambda x: f"{x:.{digits}e}"
    if whole:
        return lambda x: f"{x:.0f}." if np.isfinite(x) else f"{x:.0f}"
    return lambda x: f"{x:.{digits}f}"


def _body(array: Any, indent: int) -> str:
    if array.dtype.kind in "fV":
        shown = array
        if array.size > _options["threshold"]:
            edge = _options["edgeitems"]
            keep = [
                np.r_[:edge, n - edge : n] if n > 2 * edge else np.arange(n) for n in array.shape
            ]
            shown = array[np.ix_(*keep)]
        write = _formatter(shown.astype(np.float64))
        finite = shown[np.isfinite(shown.astype(np.float64))]
        width = max((len(write(float(x))) for x in finite.ravel()), default=0)
        numbers = {"float_kind": lambda x: f"{write(float(x)):>{width}}"}
        if array.dtype.kind == "V" or array.dtype.itemsize == 2:
            array = array.astype(np.float32)
    elif array.dtype.kind == "b":
        width = 4 if bool(array.all()) else 5
        numbers = {"bool": lambda x: f"{x!s:>{width}}"}
    else:
        numbers = None
    return np.array2string(
        array,
        separator=", ",
        prefix=" " * indent,
        formatter=numbers,  # type: ignore[arg-type]
        threshold=_options["threshold"],
        edgeitems=_options["edgeitems"],
        max_line_width=_options["linewidth"],
        precision=_options["precision"],
    )


def text(x: Engine) -> str:
    """A tensor as text, with what is not the default: dtype, device, place on the tape."""
    array = backend.to_host(x.array)
    body = _body(array, 7) if array.size or array.ndim == 1 else "[]"
    extra = ""
    if not array.size and array.ndim != 1:
        extra += f", size={tuple(array.shape)}"
    if not backend.on_cpu(x.array):
        extra += f", device='{backend.device_of(x.array)}'"
    if array.dtype not in (config.default_dtype(), np.dtype(np.int64), np.dtype(bool)) or (
        not array.size and array.dtype.kind != "f"
    ):
        extra += f", dtype=torch.{array.dtype}"
    if isinstance(x._node, Node):
        extra += f", grad_fn=<{x._node.primitive.name}>"
    elif x._node is not None:
        extra += ", requires_grad=True"
    return f"tensor({body}{extra})"
