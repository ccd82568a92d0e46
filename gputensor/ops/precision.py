"""Mixed precision: products in 16 bits, all that adds up or compares in float32."""

import contextlib
import threading
from typing import Any

import numpy as np

from gputensor.autograd import Mode, Operand, Tensor, raw_operand
from gputensor.backend import is_narrow
from gputensor.errors import DTypeError
from gputensor.ops.data_type import astype, checked_dtype

__all__ = ["autocast", "casting", "lowered", "widened"]

_FLOAT32 = np.dtype(np.float32)


class _Casting(threading.local):
    dtype: "np.dtype[Any] | None" = None  # what products take their operands in, in this thread

    def __init__(self) -> None:
        self.before: list[np.dtype[Any] | None] = []  # what the contexts not yet left found


casting = _Casting()


class autocast(Mode):
    """Mixed precision inside, in this thread; a context manager and a decorator.

    Products (``matmul``, ``einsum``, ``dense``, hence ``Dense`` layers) take operands of float32 in
    `dtype`, add up in float32 and round the result to `dtype`; bias and activation of ``dense``
    are computed in float32 and rounded likewise. Operands of float64, complex and integer dtypes
    are left alone, and so are the operands beside them. Sums, means, variances, softmax, norms and
    losses take 16-bit operands in float32, and give float32. All other functions take what they
    get: 16 bits meeting float32 become float32.

    Parameters stay as they are, and their gradients come in their own dtype. With float16, whose
    numbers lie between 6e-8 and 65504, small gradients are lost unless the loss is scaled up, see
    :class:`gputensor.optim.GradScaler`. bfloat16 has the range of float32 and needs no scaling.

    A backward pass computes in the dtypes of the forward pass, wherever it is called.

    Parameters
    ----------
    dtype : {"float16", "bfloat16"}, such a dtype, or None
        None is for a part that is to be computed in full precision.

    Raises
    ------
    DTypeError
        For another dtype.
    ImportError
        For bfloat16 without the package ml_dtypes, which brings it to NumPy.

    Notes
    -----
    Which functions compute in which precision follows PyTorch's autocast (Micikevicius et al.
    2018). On the CPU products are computed in float32 and rounded, which gives the results of a
    GPU, not its speed.

    Examples
    --------
    >>> model, x, labels = gt.nn.Dense(4, 3), gt.ones((2, 4)), gt.tensor([0, 2])
    >>> with gt.autocast("float16"):
    ...     loss = gt.nn.functional.cross_entropy(model(x), labels)
    >>> loss.backward()
    >>> model.weight.grad.dtype
    dtype('float32')
    """

    name = "autocast"

    def __init__(self, dtype: Any) -> None:
        self.dtype = None if dtype is None else _checked(dtype)

    def __enter__(self) -> "autocast":
        casting.before.append(casting.dtype)
        casting.dtype = self.dtype
        return self

    def __exit__(self, *error: object) -> None:
        casting.dtype = casting.before.pop()


def _checked(dtype: Any) -> "np.dtype[Any]":
    with contextlib.suppress(DTypeError):
        found = checked_dtype("autocast", dtype)
        if is_narrow(found):
            return found
    raise DTypeError(f"autocast: dtype is {dtype!r}; allowed are 'float16', 'bfloat16' and None")


def lowered(name: str, *operands: Operand) -> tuple[Operand, ...]:
    """Operands of a product in the dtype of the autocast in force, if they are to be cast."""
    dtype = casting.dtype
    given = [o if isinstance(o, Tensor) else raw_operand(name, o) for o in operands]
    dtypes = [getattr(o, "dtype", None) for o in given]
    if dtype is None or not all(d == _FLOAT32 or (d is not None and is_narrow(d)) for d in dtypes):
        return operands
    # No cast is kept for a second use: of writes by NumPy, which shares the memory, nobody is told.
    return tuple(o if o.dtype == dtype else astype(o, dtype) for o in given)


def widened(x: Operand) -> Operand:
    """`x` in float32, if it is of a 16-bit floating point dtype and autocast is in force."""
    if casting.dtype is not None and is_narrow(getattr(x, "dtype", _FLOAT32)):
        return astype(x, _FLOAT32)
    return x
