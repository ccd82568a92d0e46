"""The door's Tensor: the engine's, with PyTorch's methods.

The door has no operations of its own. A function here calls the engine and gives the tensor that
comes out another class, :func:`ours`: the same object, memory and place on the tape. Tensors of
the door are tensors of the engine, so layers, optimizers and transforms take them as they are.

Functions become methods by :func:`attach`, once for both spellings, ``torch.relu(x)`` and
``x.relu()``.
"""

import math
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Self

import numpy as np

from gputensor import backend, config, ops
from gputensor.autograd import Leaf, Node, propagate, seed_gradient
from gputensor.autograd import Tensor as Engine
from gputensor.backend import Device
from gputensor.errors import DeviceError, GraphError
from gputensor.ops.inplace import setitem
from gputensor.torch.display import text

__all__ = [
    "Parameter",
    "Size",
    "Tensor",
    "as_device",
    "attach",
    "device",
    "get_default_device",
    "ours",
    "set_default_device",
]


class Size(tuple[int, ...]):
    """Lengths of the axes.

    Examples
    --------
    >>> torch.Size([2, 3]).numel()
    6
    """

    __slots__ = ()

    def numel(self) -> int:
        """Number of elements."""
        return math.prod(self)

    def __getitem__(self, key: Any) -> Any:
        found = tuple.__getitem__(self, key)
        return Size(found) if isinstance(key, slice) else found

    def __repr__(self) -> str:
        return f"torch.Size({list(self)})"

    __str__ = __repr__


class device(Device):
    """A place for tensors, ``torch.device("cuda:0")``; a context for new ones, too.

    Its ``type`` is ``"cpu"`` or ``"cuda"``, its ``index`` the number of a GPU.

    Examples
    --------
    >>> torch.device("cpu").type
    'cpu'
    """

    __slots__ = ()

    def __init__(self, type: Any = "cpu", index: int | None = None) -> None:
        if isinstance(type, int):
            type = f"cuda:{type}"
        if index is not None and type == "cuda":
            type = f"cuda:{index}"
        elif isinstance(type, str) and type.startswith("cpu:"):
            type = "cpu"
        found = backend.device(type)
        super().__init__(found.kind, found.index)

    @property
    def type(self) -> str:
        """The kind, without a number."""
        return self.kind

    def __repr__(self) -> str:
        extra = "" if self.kind == "cpu" else f", index={self.index}"
        return f"device(type={self.kind!r}{extra})"


_chosen: list[Device] = []  # by set_default_device


def set_default_device(where: Any) -> None:
    """Put new tensors on a device; None for the CPU, or what ``GPUTENSOR_DEVICE`` names.

    Examples
    --------
    >>> torch.set_default_device("cpu")
    >>> torch.zeros(2).device
    device(type='cpu')
    """
    _chosen[:] = [] if where is None else [as_device(where)]


def get_default_device() -> "device":
    """Device of new tensors.

    Examples
    --------
    >>> torch.get_default_device()
    device(type='cpu')
    """
    return device(as_device(None))


def as_device(where: Any) -> Device:
    """What ``device=`` takes: a name, a number, a device, or None for that of new tensors.

    That is the CPU, as in PyTorch, unless a ``with`` block or a setting says otherwise.
    """
    if where is not None:
        return where if isinstance(where, Device) else device(where)
    entered = backend.entered_device()
    if entered is not None:
        return entered
    if _chosen:
        return _chosen[0]
    return Device("cpu") if config.device_setting() == "auto" else backend.default_device()


class _Count(int):
    """The number of elements, which is the method ``size`` of PyTorch when it is called."""

    shape: Size

    def __call__(self, dim: int | None = None) -> Any:
        return self.shape if dim is None else self.shape[dim]


def ours(result: Any) -> Any:
    """A result of the engine, or a list or tuple of such, as the door's tensors: same objects."""
    kind = type(result)
    if kind is Engine:
        result.__class__ = Tensor
    elif kind is tuple or kind is list:
        for part in result:
            ours(part)
    elif kind is dict:
        for part in result.values():
            ours(part)
    elif isinstance(result, tuple) and hasattr(result, "_fields"):
        for part in result:
            ours(part)
    return result


_retained: dict[int, Engine] = {}  # gradients of results, by the id of the tensor


class Tensor(Engine):
    """A tensor with PyTorch's methods, see :mod:`gputensor.torch`.

    ``torch.Tensor(2, 3)`` makes one of that shape, ``torch.Tensor([1, 2])`` one of these elements,
    of the default dtype; ``torch.tensor(data)`` keeps the dtype of the data.

    Examples
    --------
    >>> x = torch.tensor([[1.0, 2.0]])
    >>> x.size(), x.view(-1).tolist(), x.max(dim=1).values.item()
    (torch.Size([1, 2]), [1.0, 2.0], 2.0)
    """

    __slots__ = ()

    def __new__(cls, *data: Any) -> Self:
        dtype = config.default_dtype()
        if len(data) == 1 and not isinstance(data[0], (int, Size)):
            made = ops.tensor(data[0], dtype=dtype, device=as_device(None))
        else:
            shape = data[0] if data and isinstance(data[0], Size) else data or (0,)
            made = ops.zeros(tuple(shape), dtype=dtype, device=as_device(None))
        made.__class__ = cls
        return made  # type: ignore[return-value]

    def __init__(self, *data: object) -> None:
        pass

    # ------------------------------------------------------------ attributes

    @property
    def shape(self) -> Size:
        """Length of each axis."""
        return Size(self.array.shape)

    @property
    def size(self) -> _Count:
        """``x.size()`` is the shape, ``x.size(dim)`` one length."""
        count = _Count(self.array.size)
        count.shape = Size(self.array.shape)
        return count

    @property
    def device(self) -> device:
        """Device that the elements are on."""
        return device(backend.device_of(self.array))

    @property
    def is_cuda(self) -> bool:
        """Whether it is on a CUDA device."""
        return not backend.on_cpu(self.array)

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return int(self.array.dtype.itemsize)

    def element_size(self) -> int:
        """Bytes of an element."""
        return int(self.array.dtype.itemsize)

    def numel(self) -> int:
        """Number of elements."""
        return int(self.array.size)

    nelement = numel

    def dim(self) -> int:
        """Number of axes."""
        return int(self.array.ndim)

    ndimension = dim

    def stride(self, dim: int | None = None) -> Any:
        """Elements from one to the next along each axis, or along one."""
        strides = tuple(n // self.array.itemsize for n in self.array.strides)
        return strides if dim is None else strides[dim]

    def is_contiguous(self) -> bool:
        """Whether the elements are one after another in C's order."""
        return bool(self.array.flags.c_contiguous)

    def data_ptr(self) -> int:
        """Address of the first element."""
        array = self.array
        return int(array.ctypes.data if isinstance(array, np.ndarray) else array.data.ptr)

    def is_floating_point(self) -> bool:
        """Whether the elements are floating point numbers."""
        return self.array.dtype.kind in "fV"

    def is_complex(self) -> bool:
        """Whether the elements are complex numbers."""
        return bool(self.array.dtype.kind == "c")

    # ------------------------------------------------------------ the tape

    @property
    def data(self) -> "Tensor":
        """Same elements in the same memory, off the tape; when set, the elements are replaced."""
        return self.detach()

    @data.setter
    def data(self, value: Engine) -> None:
        if not isinstance(value, Engine):
            raise TypeError(f"data must be a tensor, got {type(value).__name__}")
        if value.array.shape == self.array.shape and value.array.dtype == self.array.dtype:
            # In its memory, which an optimizer may work in.
            with backend.on_device_of(self.array):
                setitem(self.detach(), ..., value.detach())
            return
        leaf = isinstance(self._node, Leaf)
        self.array = value.detach().array
        if leaf:
            self._node = Leaf(self.array)

    @property
    def grad(self) -> Any:
        """Accumulated gradient, None before a backward pass."""
        if isinstance(self._node, Node):
            return _retained.get(id(self))
        return ours(Engine.grad.fget(self))  # type: ignore[attr-defined]

    @grad.setter
    def grad(self, value: Engine | None) -> None:
        Engine.grad.fset(self, value)  # type: ignore[attr-defined]

    @property
    def is_leaf(self) -> bool:
        """Whether it is not a result on the tape."""
        return not isinstance(self._node, Node)

    @property
    def grad_fn(self) -> Any:
        """The tape entry of a result; None for others."""
        return self._node if isinstance(self._node, Node) else None

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Set ``requires_grad``; the tensor itself."""
        self.requires_grad = requires_grad
        return self

    def retain_grad(self) -> None:
        """Keep the gradient of this result in ``.grad``, too."""
        if isinstance(self._node, Node):
            key, alive = id(self), weakref.finalize(self, _retained.pop, id(self), None)

            def keep(g: Engine) -> None:
                if alive.alive:
                    before = _retained.get(key)
                    _retained[key] = g if before is None else ours(ops.add(before, g))

            self.register_hook(keep)

    def register_hook(self, hook: Callable[..., Any]) -> Any:
        """Call `hook` with the gradient of this tensor in each backward pass."""
        return super().register_hook(lambda g: hook(ours(g)))

    def backward(
        self,
        gradient: Engine | None = None,
        retain_graph: bool | None = None,
        create_graph: bool = False,
        inputs: Any = None,
    ) -> None:
        """Add the gradient of this tensor to ``.grad`` of what it was computed from."""
        if not create_graph and inputs is None:
            super().backward(gradient, bool(retain_graph))
            return
        if self._node is None:
            raise GraphError("backward: this tensor was computed from nothing that requires a grad")
        seed: Any = seed_gradient(self, gradient)
        wanted = None
        if inputs is not None:
            wanted = [t._node for t in ([inputs] if isinstance(inputs, Engine) else inputs)]
        if create_graph:
            seed = ours(gradient if gradient is not None else ops.asarray(seed))
        found = propagate(
            [(self._node, seed)],
            wanted,  # type: ignore[arg-type]
            retain_graph=bool(retain_graph) or create_graph,
            create_graph=create_graph,
        )
        for entry, g in found.items():
            if isinstance(entry, Leaf):
                g = g if isinstance(g, Engine) else ops.asarray(g)
                entry.grad = g if entry.grad is None else ops.add(entry.given(), g)

    def detach(self) -> "Tensor":
        """Same elements in the same memory, off the tape."""
        return ours(super().detach())  # type: ignore[no-any-return]

    def detach_(self) -> Self:
        """Leave the tape; the tensor itself."""
        self._node = None
        return self

    def clone(self, memory_format: Any = None) -> "Tensor":
        """A copy, on the tape."""
        return ours(ops.asarray(self, copy=True))  # type: ignore[no-any-return]

    def contiguous(self, memory_format: Any = None) -> "Tensor":
        """Itself if the elements are in C's order, else a copy that has them so."""
        return self if self.array.flags.c_contiguous else self.clone()

    # ------------------------------------------------------------ conversions

    def to(self, *args: Any, **options: Any) -> "Tensor":
        """On another device, in another dtype, or both: ``x.to(device)``, ``x.to(dtype)``,
        ``x.to(device, dtype)``, ``x.to(other)``. Itself if nothing changes.

        ``non_blocking`` and ``memory_format`` say nothing here.
        """
        where, dtype = options.pop("device", None), options.pop("dtype", None)
        copy = options.pop("copy", False)
        options.pop("non_blocking", None)
        options.pop("memory_format", None)
        if options:
            raise TypeError(f"to: {next(iter(options))}= is unknown; allowed are device, dtype")
        for value in args:
            if isinstance(value, Engine):
                where, dtype = backend.device_of(value.array), value.array.dtype
            elif isinstance(value, bool):
                pass  # non_blocking
            elif isinstance(value, (str, int, Device)):
                where = value
            elif value is not None:
                dtype = value
        result: Engine = self
        if where is not None and backend.device_of(self.array) != (place := as_device(where)):
            result = super().to(place)
        if dtype is not None and result.array.dtype != np.dtype(dtype):
            result = ops.astype(result, dtype)
        return ours(ops.asarray(self, copy=True) if copy and result is self else result)  # type: ignore[no-any-return]

    def cpu(self) -> "Tensor":
        """On the CPU."""
        return self.to("cpu")

    def cuda(self, device: Any = None, non_blocking: bool = False) -> "Tensor":
        """On a CUDA device."""
        return self.to("cuda" if device is None else device)

    def type(self, dtype: Any = None) -> Any:
        """Name of the legacy type, ``"torch.FloatTensor"``; with a dtype the tensor in it."""
        if dtype is None:
            place = "" if backend.on_cpu(self.array) else "cuda."
            return f"torch.{place}{LEGACY[self.array.dtype.name]}"
        if isinstance(dtype, str):
            names = {name: key for key, name in LEGACY.items()}
            dtype = names[dtype.rpartition(".")[2]]
        return self.to(getattr(dtype, "dtype", dtype))

    def type_as(self, other: Engine) -> "Tensor":
        """In the dtype, and on the device, of another."""
        return self.to(other)

    def numpy(self, force: bool = False) -> Any:
        """NumPy array of the same memory."""
        if force:
            return self.detach().cpu().numpy()
        if not backend.on_cpu(self.array):
            raise DeviceError("numpy: the tensor is on CUDA; write x.cpu().numpy()")
        return super().numpy()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec and not self.array.ndim else str(self)

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return text(self)

    def __contains__(self, value: Any) -> bool:
        return bool((self == value).any())

    def __dir__(self) -> list[str]:
        return sorted({name for kind in type(self).__mro__ for name in vars(kind)})

    def __iter__(self) -> Iterator["Tensor"]:
        if not self.array.ndim:
            raise TypeError("iteration over a 0-d tensor")
        return (ours(self[i]) for i in range(len(self.array)))

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        made = Engine.__deepcopy__(self, memo)  # type: ignore[attr-defined]
        made.__class__ = type(self)
        return made  # type: ignore[no-any-return]

    def __copy__(self) -> Self:
        made = Engine.__copy__(self)  # type: ignore[attr-defined]
        made.__class__ = type(self)
        return made  # type: ignore[no-any-return]

    def __reduce__(self) -> Any:
        found: Any = Engine.__reduce__(self)
        make, values = found
        return _rebuilt, (type(self), make, values)

    def __array_function__(self, *call: Any) -> Any:
        return ours(Engine.__array_function__(self, *call))  # type: ignore[attr-defined]

    @property
    def T(self) -> "Tensor":
        """The axes in reverse order."""
        return ours(ops.permute_dims(self, tuple(reversed(range(self.array.ndim)))))  # type: ignore[no-any-return]

    @property
    def mT(self) -> "Tensor":
        """The last two axes exchanged."""
        return ours(ops.matrix_transpose(self))  # type: ignore[no-any-return]

    @property
    def real(self) -> "Tensor":
        """Real part."""
        return ours(ops.real(self))  # type: ignore[no-any-return]

    @property
    def imag(self) -> "Tensor":
        """Imaginary part."""
        return ours(ops.imag(self))  # type: ignore[no-any-return]


class Parameter(Tensor):
    """A tensor that a module counts among its parameters.

    Parameters
    ----------
    data : Tensor
        Its memory is shared.
    requires_grad : bool

    Examples
    --------
    >>> torch.nn.Parameter(torch.ones(2)).requires_grad
    True
    """

    __slots__ = ()

    def __new__(cls, data: Any = None, requires_grad: bool = True) -> Self:
        if data is None:
            data = ops.zeros(0, device=as_device(None))
        if not isinstance(data, Engine):
            raise TypeError(f"Parameter: data must be a tensor, got {type(data).__name__}")
        made = Engine.detach(data)
        made.__class__ = cls
        made.requires_grad = requires_grad
        return made  # type: ignore[return-value]

    def __init__(self, data: Any = None, requires_grad: bool = True) -> None:
        pass

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"Parameter containing:\n{text(self)}"


def _rebuilt(kind: type, make: Callable[..., Engine], values: tuple[Any, ...]) -> Engine:
    made = make(*values)
    made.__class__ = kind
    return made


# Functions of the door by the names of NumPy's ufuncs, see elementwise.
UFUNCS: dict[str, Callable[..., Any]] = {}


def array_ufunc(self: Engine, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
    """A call of a NumPy ufunc, such as ``np.float64(2) * tensor``."""
    function = UFUNCS.get(ufunc.__name__)
    if function is not None and method == "__call__" and not options:
        return function(*inputs)
    call = vars(Engine)["__array_ufunc__"]._function
    return ours(call(self, ufunc, method, *inputs, **options))


Tensor.__array_ufunc__ = type(vars(Engine)["__array_ufunc__"])(array_ufunc)  # type: ignore[attr-defined]


LEGACY = {
    "float32": "FloatTensor",
    "float64": "DoubleTensor",
    "float16": "HalfTensor",
    "bfloat16": "BFloat16Tensor",
    "uint8": "ByteTensor",
    "int8": "CharTensor",
    "int16": "ShortTensor",
    "int32": "IntTensor",
    "int64": "LongTensor",
    "bool": "BoolTensor",
    "complex64": "ComplexFloatTensor",
    "complex128": "ComplexDoubleTensor",
}


class _LegacyType(type):
    """Class of ``torch.FloatTensor`` and its like, which tell by the dtype."""

    dtype: "np.dtype[Any]"
    place: str | None

    def __instancecheck__(cls, instance: Any) -> bool:
        kind = "cpu" if cls.place is None else cls.place
        return (
            isinstance(instance, Engine)
            and instance.dtype == cls.dtype
            and instance.device.kind == kind
        )

    def __call__(cls, *data: Any) -> Any:
        options: dict[str, Any] = {"dtype": cls.dtype, "device": as_device(cls.place)}
        if len(data) == 1 and not isinstance(data[0], (int, Size)):
            return ours(ops.tensor(data[0], **options))
        shape = data[0] if data and isinstance(data[0], Size) else data or (0,)
        return ours(ops.zeros(tuple(shape), **options))


def legacy_types(place: str | None = None) -> dict[str, Any]:
    """``FloatTensor`` and the others, by name; of a device, or of that of new tensors."""
    module = "torch" if place is None else f"torch.{place}"
    return {
        name: _LegacyType(
            name,
            (),
            {
                "dtype": np.dtype(key),
                "place": place,
                "__module__": f"gputensor.{module}",
                "__doc__": f"Tensors of {key}, by the name that PyTorch had for them at first."
                f"\n\n    Examples\n    --------\n    >>> torch.{name}([1, 0]).dtype\n"
                f"    dtype('{key}')",
            },
        )
        for key, name in LEGACY.items()
        if key != "bfloat16"
    }


def attach(table: dict[str, Any]) -> None:
    """Make functions methods."""
    for name, function in table.items():
        setattr(Tensor, name, function)
