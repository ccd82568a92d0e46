"""What a tensor says of its array, and what it becomes outside: numbers, lists, other arrays."""

from typing import Any

import numpy as np

from gputensor import backend
from gputensor.autograd.attached import Attached
from gputensor.autograd.modes import state
from gputensor.autograd.tape import Node
from gputensor.backend import Array, Device
from gputensor.errors import (
    DTypeError,
    GraphError,
    ImplicitTransferError,
    ShapeError,
)

# What to write where NumPy or Python would lose the gradient.
_WITH_GRADIENT = (
    "gt.stack([x, y]) for np.array([x, y]), z = gt.zeros(n) and z[key] = x to fill an array, "
    "gt.full(n, x) for np.full(n, x), gt.exp(x) for math.exp(x), gt.where(x > y, x, y) to choose"
)

_IN_NOTEBOOKS = 200  # numbers that are shown at most; NumPy's own threshold is 1000


class Values(Attached):
    """Part of Tensor."""

    __slots__ = ()

    array: Array
    _node: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""
        shape: tuple[int, ...] = self.array.shape
        return shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of an element."""
        dtype: np.dtype[Any] = self.array.dtype
        return dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return int(self.array.ndim)

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(self.array.size)

    @property
    def nbytes(self) -> int:
        """Bytes of the elements."""
        return int(self.array.nbytes)

    @property
    def device(self) -> Device:
        """Device that the elements are on."""
        return backend.device_of(self.array)

    def numpy(self) -> "np.ndarray[Any, Any]":
        """NumPy array: of the same memory on the CPU, a copy from CUDA (this waits for it).

        Raises
        ------
        GraphError
            If the tensor is on the tape: NumPy would lose the gradient. Use ``x.detach()``.
        """
        self._leave_tape("numpy", "x.detach().numpy()")
        return backend.to_host(self.array)

    def _leave_tape(self, name: str, instead: str) -> None:
        if self._node is not None and state.enabled:
            raise GraphError(
                f"{name}: this tensor requires a gradient, which would be lost; write {instead}"
            )

    def lose_gradient(self, name: str, result: str, instead: str, silent: str) -> None:
        """Refuse a use that would lose the gradient inside a transform; warn of it elsewhere.

        Parameters
        ----------
        name, result : str
            The use, and what comes of it.
        instead, silent : str
            What to write to keep the gradient, and to give it up.
        """
        if self._node is None or not state.enabled:
            return
        lost = f"{name}: this tensor requires a gradient, which {result} does not have; write"
        if state.transforms:
            raise GraphError(f"{lost} {instead}, {silent} where no gradient is wanted")
        backend.warn_user(f"{lost} {silent} where none is wanted, else {instead}")

    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """Capsule for another library's ``from_dlpack``, as NumPy's or CuPy's array gives it.

        A view with negative strides, which other libraries do not take, is copied.

        Raises
        ------
        GraphError
            If the tensor is on the tape: the gradient would be lost. Use ``x.detach()``.
        BufferError
            With ``copy=False`` for such a view.
        """
        self._leave_tape("__dlpack__", "x.detach()")
        backend.end_recording("another library is given a tensor")
        array = self.array
        if any(n < 0 for n in array.strides):
            if copy is False:
                raise BufferError("__dlpack__: copy=False, but strides are negative; copy x first")
            with backend.on_device_of(array):
                array, copy = array.copy(), None
        return array.__dlpack__(
            stream=stream, max_version=max_version, dl_device=dl_device, copy=copy
        )

    def __dlpack_device__(self) -> tuple[int, int]:
        kind, index = self.array.__dlpack_device__()
        return kind, index

    def item(self) -> Any:
        """Python number of a tensor with one element; waits for the device.

        Raises
        ------
        ShapeError
            If there is more or less than one element.
        """
        if self.array.size != 1:
            raise ShapeError(f"item: only one element can become a number, shape is {self.shape}")
        return backend.to_host(self.array).item()

    def tolist(self) -> Any:
        """Nested lists of Python numbers; waits for the device."""
        return backend.to_host(self.array).tolist()

    def __float__(self) -> float:
        self.lose_gradient("float", "a Python number", _WITH_GRADIENT, "x.item()")
        return float(self.item())

    def __int__(self) -> int:
        self.lose_gradient("int", "a Python number", _WITH_GRADIENT, "x.item()")
        return int(self.item())

    def __complex__(self) -> complex:
        self.lose_gradient("complex", "a Python number", _WITH_GRADIENT, "x.item()")
        value = self.item()
        # As the array API standard has it, unlike Python.
        return (
            complex(value, value) if value != value and self.dtype.kind in "fV" else complex(value)
        )

    def __index__(self) -> int:
        if self.dtype.kind not in "iu":
            raise DTypeError(f"only an integer tensor can be an index, this one is {self.dtype}")
        return int(self.item())

    def __bool__(self) -> bool:
        if self.array.size != 1:
            raise ShapeError(
                f"the truth value of a tensor of shape {self.shape} is ambiguous; "
                "use .any() or .all()"
            )
        return bool(self.item())

    def __len__(self) -> int:
        if not self.array.ndim:
            raise TypeError("len() of a 0-dimensional tensor")
        return len(self.array)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> "np.ndarray[Any, Any]":
        if self._node is not None and state.enabled:
            raise GraphError(
                "NumPy was given a tensor that requires a gradient, which would be lost; write "
                f"{_WITH_GRADIENT}, x.detach().numpy() where no gradient is wanted"
            )
        if not backend.on_cpu(self.array):
            raise ImplicitTransferError(
                f"NumPy was given a tensor on {self.device}; copy it to the host in plain sight: "
                "x.numpy(), or x.detach().numpy() if it requires a gradient"
            )
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else str(self)

    def _repr_html_(self) -> str:
        """The text and, where the numbers are left out, their range, in a notebook."""
        import html

        array = backend.to_host(self.array)
        threshold = min(_IN_NOTEBOOKS, np.get_printoptions()["threshold"])
        with np.printoptions(threshold=threshold):
            text = html.escape(repr(self))
        facts = f"shape {tuple(self.shape)}, {self.dtype}, {self.device}, {self.nbytes:,} bytes"
        if array.size > threshold and array.dtype.kind in "iuf":
            facts += f"; min {array.min():.6g}, mean {array.mean():.6g}, max {array.max():.6g}"
        style = "margin: 0; font-family: monospace"
        return f'<pre style="{style}">{text}</pre><small>{html.escape(facts)}</small>'

    def __repr__(self) -> str:
        array = backend.to_host(self.array)
        empty = not array.size and array.shape != (0,)
        extra = f", shape={tuple(self.shape)}" if empty else ""
        extra += "" if backend.on_cpu(self.array) else f", device={str(self.device)!r}"
        if self.dtype.kind not in "bi" or self.dtype.itemsize != np.dtype(int).itemsize:
            extra += f", dtype={self.dtype}" if self.dtype.kind != "b" else ""
        if isinstance(self._node, Node):
            extra += f", grad_fn={self._node.primitive.name}"
        elif self._node is not None:
            extra += ", requires_grad=True"
        return f"tensor({np.array2string(array, separator=', ', prefix='tensor(')}{extra})"
