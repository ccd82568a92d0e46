"""What is attached to Tensor where it is written: by the operations, and by the backward pass."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from gputensor.backend import Device

if TYPE_CHECKING:
    from gputensor.autograd.tensor import Tensor


class Attached:
    """Declarations for type checkers."""

    __slots__ = ()

    if TYPE_CHECKING:  # gputensor.ops attaches these; declared here for type checkers
        __add__: Callable[["Tensor", Any], "Tensor"]
        __radd__: Callable[["Tensor", Any], "Tensor"]
        __sub__: Callable[["Tensor", Any], "Tensor"]
        __rsub__: Callable[["Tensor", Any], "Tensor"]
        __mul__: Callable[["Tensor", Any], "Tensor"]
        __rmul__: Callable[["Tensor", Any], "Tensor"]
        __truediv__: Callable[["Tensor", Any], "Tensor"]
        __rtruediv__: Callable[["Tensor", Any], "Tensor"]
        __floordiv__: Callable[["Tensor", Any], "Tensor"]
        __mod__: Callable[["Tensor", Any], "Tensor"]
        __pow__: Callable[["Tensor", Any], "Tensor"]
        __rpow__: Callable[["Tensor", Any], "Tensor"]
        __matmul__: Callable[["Tensor", Any], "Tensor"]
        __rmatmul__: Callable[["Tensor", Any], "Tensor"]
        __rfloordiv__: Callable[["Tensor", Any], "Tensor"]
        __rmod__: Callable[["Tensor", Any], "Tensor"]
        __and__: Callable[["Tensor", Any], "Tensor"]
        __rand__: Callable[["Tensor", Any], "Tensor"]
        __or__: Callable[["Tensor", Any], "Tensor"]
        __ror__: Callable[["Tensor", Any], "Tensor"]
        __xor__: Callable[["Tensor", Any], "Tensor"]
        __rxor__: Callable[["Tensor", Any], "Tensor"]
        __lshift__: Callable[["Tensor", Any], "Tensor"]
        __rlshift__: Callable[["Tensor", Any], "Tensor"]
        __rshift__: Callable[["Tensor", Any], "Tensor"]
        __rrshift__: Callable[["Tensor", Any], "Tensor"]
        __array_namespace__: Callable[..., Any]
        __neg__: Callable[["Tensor"], "Tensor"]
        __pos__: Callable[["Tensor"], "Tensor"]

        def __abs__(self) -> "Tensor": ...
        def __eq__(self, other: object) -> "Tensor": ...  # type: ignore[override]
        def __ne__(self, other: object) -> "Tensor": ...  # type: ignore[override]

        __invert__: Callable[["Tensor"], "Tensor"]
        __lt__: Callable[["Tensor", Any], "Tensor"]
        __le__: Callable[["Tensor", Any], "Tensor"]
        __gt__: Callable[["Tensor", Any], "Tensor"]
        __ge__: Callable[["Tensor", Any], "Tensor"]
        __getitem__: Callable[["Tensor", Any], "Tensor"]

        def __setitem__(self, key: Any, value: Any) -> None: ...

        __iadd__: Callable[["Tensor", Any], "Tensor"]
        __isub__: Callable[["Tensor", Any], "Tensor"]
        __imul__: Callable[["Tensor", Any], "Tensor"]
        __itruediv__: Callable[["Tensor", Any], "Tensor"]
        __ifloordiv__: Callable[["Tensor", Any], "Tensor"]
        __imod__: Callable[["Tensor", Any], "Tensor"]
        __ipow__: Callable[["Tensor", Any], "Tensor"]
        __imatmul__: Callable[["Tensor", Any], "Tensor"]
        __iand__: Callable[["Tensor", Any], "Tensor"]
        __ior__: Callable[["Tensor", Any], "Tensor"]
        __ixor__: Callable[["Tensor", Any], "Tensor"]
        __ilshift__: Callable[["Tensor", Any], "Tensor"]
        __irshift__: Callable[["Tensor", Any], "Tensor"]
        __iter__: Callable[["Tensor"], Iterator["Tensor"]]
        T: "Tensor"
        mT: "Tensor"
        imag: "Tensor"
        real: "Tensor"
        abs: Callable[..., "Tensor"]
        all: Callable[..., "Tensor"]
        any: Callable[..., "Tensor"]
        argmax: Callable[..., "Tensor"]
        argmin: Callable[..., "Tensor"]
        astype: Callable[..., "Tensor"]
        argsort: Callable[..., "Tensor"]
        clip: Callable[..., "Tensor"]
        cumprod: Callable[..., "Tensor"]
        cumsum: Callable[..., "Tensor"]
        conj: Callable[..., "Tensor"]
        exp: Callable[..., "Tensor"]
        flatten: Callable[..., "Tensor"]
        log: Callable[..., "Tensor"]
        max: Callable[..., "Tensor"]
        ravel: Callable[..., "Tensor"]
        mean: Callable[..., "Tensor"]
        min: Callable[..., "Tensor"]
        permute_dims: Callable[..., "Tensor"]
        prod: Callable[..., "Tensor"]
        relu: Callable[..., "Tensor"]
        reshape: Callable[..., "Tensor"]
        sigmoid: Callable[..., "Tensor"]
        sqrt: Callable[..., "Tensor"]
        square: Callable[..., "Tensor"]
        squeeze: Callable[..., "Tensor"]
        std: Callable[..., "Tensor"]
        sum: Callable[..., "Tensor"]
        tanh: Callable[..., "Tensor"]
        transpose: Callable[..., "Tensor"]
        var: Callable[..., "Tensor"]

        def backward(
            self, gradient: "Tensor | None" = None, retain_graph: bool = False
        ) -> None: ...
        def to(self, where: "str | Device") -> "Tensor": ...
