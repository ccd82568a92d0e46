"""The base class of layers and models: a tree of parameters with a forward function."""

import contextlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import numpy as np

from gputensor import backend
from gputensor.autograd import Tensor, changed, leaf_of
from gputensor.backend import Device
from gputensor.copies import host_copy
from gputensor.errors import DTypeError, ShapeError
from gputensor.ops.data_type import checked_dtype, of_bytes
from gputensor.random import Generator, default_generator
from gputensor.shown import call_text, settings, table
from gputensor.watched import Watched
from gputensor.words import MODULE

__all__ = ["Module", "Names"]


class Names(NamedTuple):
    """Names that a state lacks, and those that the module has not."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Module(Watched):
    """Base class of layers and models.

    A subclass sets parameters (tensors with ``requires_grad=True``) and other modules as
    attributes, or in lists, tuples and dicts of any depth that are attributes, and defines
    ``forward``, with any arguments. Tensors that require no gradient are buffers, part of the
    state, unless their name begins with an underscore.

    Attributes
    ----------
    training : bool
        Whether layers such as dropout act; see :meth:`train` and :meth:`eval`.

    Examples
    --------
    >>> net = gt.nn.Sequential(gt.nn.Dense(4, 3), gt.nn.Dropout(0.5))
    >>> [name for name, _ in net.named_parameters()]
    ['0.weight', '0.bias']
    >>> net.eval().training
    False
    """

    training = True

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the module's result."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward(self, x)")

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        """The result of ``forward``; ``training=`` is for this call alone."""
        out: Tensor
        if "training" not in kwargs or _takes_training(self.forward):
            out = self.forward(*args, **kwargs)
            return out
        training = kwargs.pop("training")
        with contextlib.nullcontext() if training is None else self.mode(bool(training)):
            out = self.forward(*args, **kwargs)
        return out

    @contextlib.contextmanager
    def mode(self, training: bool) -> Iterator[None]:
        """Context in which the module, and all inside, train or do not."""
        others = [m for m in self.modules() if m.training != training]
        for module in others:
            module.training = training
        try:
            yield
        finally:
            for module in others:
                module.training = not training

    def __setattr__(self, name: str, value: Any) -> None:
        if (
            name[0] != "_"
            and type(self).__module__.startswith("gputensor.")
            and (name not in vars(self) and not hasattr(type(self), name))
        ):
            self._check_name(name, sys._getframe(1).f_globals.get("__name__", ""))
        super().__setattr__(name, value)

    def _check_name(self, name: str, setter: str) -> None:
        """Refuse a name that is a setting's misspelled, unless the library itself sets it."""
        import difflib

        if setter.startswith("gputensor."):
            return
        settings = [n for n in inspect.signature(type(self).__init__).parameters if n != "self"]
        known = [n for n in (*vars(self), *settings, *dir(type(self))) if n[0] != "_"]
        if name in settings:
            raise AttributeError(
                f"{type(self).__name__}: {name} is given to the constructor; set later it would "
                "have no effect"
            )
        meant = _ELSEWHERE.get(name)
        close = [meant] if meant in known else difflib.get_close_matches(name, known, 1, 0.75)
        if close:
            raise AttributeError(
                f"{type(self).__name__} has no attribute {name}; the name is {close[0]}"
            )

    if not TYPE_CHECKING:  # where any name would be taken for one

        def __getattr__(self, name: str) -> NoReturn:
            ours = MODULE.get(name)
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}"
                + (f"; write {ours}" if ours else ""),
                name=name,
                obj=self,
            )

    # What is shown

    def __repr__(self) -> str:
        """The module's own tensors and settings, and the modules inside."""
        own = [
            f"{name}: {value.shape}"
            for name, value in vars(self).items()
            if isinstance(value, Tensor) and name[0] != "_"
        ]
        children = [f"({name}): {child!r}" for name, child in self.children()]
        text = call_text(type(self).__name__, settings(type(self), vars(self)), own)
        if not children:
            return text
        inner = "\n".join(children).replace("\n", "\n  ")
        return f"{text.removesuffix(')')}\n  {inner}\n)"

    def _repr_html_(self) -> str:
        """A table of the parameters, in a notebook."""
        import html

        rows = [
            (name, tuple(p.shape), p.dtype, f"{p.size:,}", "yes" if p.requires_grad else "no")
            for name, p in self.named_parameters()
        ]
        if not rows:
            return f"<code>{html.escape(repr(self))}</code>"
        total = sum(p.size for p in self.parameters())
        return table(
            ("Parameter", "Shape", "Type", "Elements", "Trained"),
            rows,
            f"{type(self).__name__}: {total:,} elements",
        )

    # What is inside

    def _members(self) -> Iterator[tuple[str, Any]]:
        """Attributes and what their lists, tuples and dicts hold, by name."""
        for name, value in vars(self).items():
            yield from _spread(name, value)

    def children(self) -> Iterator[tuple[str, "Module"]]:
        """Modules directly inside, by name."""
        return ((name, value) for name, value in self._members() if isinstance(value, Module))

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, "Module"]]:
        """This module and all inside, by dotted name; one that is in several places, each time."""
        return self._walk(prefix.removesuffix("."), ())

    def _walk(self, name: str, above: tuple["Module", ...]) -> Iterator[tuple[str, "Module"]]:
        yield name, self
        above = (*above, self)
        for part, child in self.children():
            if not any(child is m for m in above):
                yield from child._walk(f"{name}.{part}" if name else part, above)

    def modules(self) -> list["Module"]:
        """This module and all inside, each once."""
        return list({id(m): m for _, m in self.named_modules()}.values())

    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """Parameters here and in all modules inside, frozen ones too, by dotted name."""
        for name, module in self.named_modules(prefix):
            for part, value in module._members():
                if isinstance(value, Tensor) and leaf_of(value) is not None:
                    yield f"{name}.{part}" if name else part, value

    def parameters(self) -> list[Tensor]:
        """Parameters here and in all modules inside, frozen ones too, each once."""
        return list({id(p): p for _, p in self.named_parameters()}.values())

    def named_buffers(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """Tensors of the state that have no gradients, by dotted name."""
        for name, module in self.named_modules(prefix):
            passing = vars(module).get("_passing", ())
            for part, value in module._members():
                if part.startswith("_") or part in passing:
                    continue
                if isinstance(value, Tensor) and value._node is None and leaf_of(value) is None:
                    yield f"{name}.{part}" if name else part, value

    def buffers(self) -> list[Tensor]:
        """Tensors of the state that have no gradients, each once."""
        return list({id(t): t for _, t in self.named_buffers()}.values())

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Set an attribute that is a buffer, or none of the state if not `persistent`."""
        if not persistent:
            self._passing = (*vars(self).get("_passing", ()), name)
        setattr(self, name, tensor)

    def register_parameter(self, name: str, parameter: Tensor | None) -> None:
        """Set an attribute that is a parameter."""
        setattr(self, name, parameter)

    def add_module(self, name: str, module: "Module | None") -> None:
        """Set an attribute that is a module."""
        setattr(self, name, module)

    def apply(self, function: Callable[["Module"], Any]) -> "Module":
        """Call a function of each module inside and then of this one."""
        for module in reversed(self.modules()):
            function(module)
        return self

    # Modes

    def train(self, mode: bool = True) -> "Module":
        """Switch to training, here and inside."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> "Module":
        """Switch to inference, here and inside."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> "Module":
        """Freeze all parameters, or thaw them."""
        for p in self.parameters():
            p.requires_grad = requires_grad
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters; with ``set_to_none=False`` they become zeros."""
        for p in self.parameters():
            if set_to_none or p.grad is None:
                p.grad = None
            else:
                with backend.on_device_of(p.array):
                    p.grad.array[...] = 0

    def to(self, where: Any = None, dtype: Any = None) -> "Module":
        """Move parameters and buffers to a device, or to a floating point dtype; they stay the same
        tensors.

        Parameters
        ----------
        where : str, Device or dtype, optional
        dtype : dtype, optional
        """
        device: Device | None = None
        if isinstance(where, (str, Device)) and where not in _DTYPES:
            device = backend.device(where)
        elif where is not None:
            dtype = where
        for t in (*self.parameters(), *self.buffers()):
            _move(t, device, dtype)
        return self

    # State

    def _generators(self) -> Iterator[tuple[str, Generator]]:
        """Generators of the modules' own, by dotted name."""
        for name, module in self.named_modules():
            for part, value in module._members():
                if isinstance(value, Generator) and value is not default_generator:
                    yield f"{name}.{part}" if name else part, value

    def state_dict(self) -> dict[str, "np.ndarray[Any, Any]"]:
        """Copies of all parameters and buffers on the host, by name, and of generators' states."""
        return {name: host_copy(array) for name, array in self.live_state().items()}

    def live_state(self) -> dict[str, Any]:
        """As :meth:`state_dict`, the arrays themselves."""
        state = {name: t.array for name, t in self._tensors()}
        for name, generator in self._generators():
            state[name] = np.array(generator.state, np.uint64)
        return state

    def load_live_state(self, state: Mapping[str, Any]) -> None:
        """Copy a state back, of :meth:`live_state`."""
        Module.load_state_dict(self, state)

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        yield from self.named_parameters()
        yield from self.named_buffers()

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> Names:
        """Copy values into parameters and buffers, which stay where they are.

        Parameters
        ----------
        state : mapping of str to array
        strict : bool
            Whether each name must be there, and no other.

        Returns
        -------
        Names
            ``missing_keys`` and ``unexpected_keys``.

        Raises
        ------
        KeyError
            If names are missing or unknown.
        ShapeError
            If a shape differs. Nothing is changed then.
        """
        if not isinstance(state, Mapping):
            raise TypeError(
                f"load_state_dict: state must be a mapping of names to arrays, as of state_dict(), "
                f"got {type(state).__name__}"
            )
        mine: dict[str, Tensor] = dict(self._tensors())
        generators = dict(self._generators())
        known = mine.keys() | generators.keys()
        missing, unknown = sorted(known - state.keys()), sorted(state.keys() - known)
        if missing and strict:
            raise KeyError(f"load_state_dict: state lacks {', '.join(missing)}")
        if unknown and strict:
            raise KeyError(f"load_state_dict: the module has no {', '.join(unknown)}")
        values: dict[str, Any] = {}
        for name in known & state.keys():
            value = state[name]
            array = value.array if isinstance(value, Tensor) else value
            array = array if backend.is_array(array) else np.asarray(array)
            if name in mine:
                array = of_bytes(array, mine[name].dtype)
            values[name] = array
            shape = mine[name].shape if name in mine else (2,)
            if array.shape != shape:
                raise ShapeError(
                    f"load_state_dict: {name} has shape {array.shape}, the parameter has {shape}"
                )
            if (array.dtype.kind not in "biufc" and array.dtype.name != "bfloat16") or (
                array.dtype.kind == "c" and mine[name].dtype.kind != "c"
            ):
                raise DTypeError(f"load_state_dict: {name} is of {array.dtype}")
        for name, value in values.items():
            if name in mine:
                _copy_into(mine[name], value)
            else:
                seed, counter = (int(n) for n in backend.to_host(value))
                generators[name].state = seed, counter
        return Names(missing, unknown)


def _takes_training(function: Callable[..., Any]) -> bool:
    found = inspect.signature(function).parameters
    return "training" in found


def _spread(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """A value, or what is in it if it is a container, by name."""
    if isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield from _spread(f"{name}.{i}", item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _spread(f"{name}.{key}", item)
    else:
        yield name, value


_ELSEWHERE = {"p": "rate", "rate": "p", "requires_grad": "trainable"}
_DTYPES = {"float16", "bfloat16", "float32", "float64"}


def _move(t: Tensor, device: Device | None, dtype: Any) -> None:
    """Move a tensor to a device and dtype; it stays the same tensor, with its gradient."""
    leaf = leaf_of(t)
    grad = None if leaf is None else leaf.given()
    for part in [t] if grad is None else [t, grad]:
        array = part.array
        with backend.on_device_of(array):
            if dtype is not None and array.dtype.kind in "fV":
                array = array.astype(checked_dtype("to", dtype), copy=False)
        if device is not None and backend.device_of(array) != device:
            array = backend.to_device(array, device)
        if array is not part.array:
            part.array = array
    if leaf is not None and (leaf.place is None or leaf.place.array is not t.array):
        _settle(t, leaf, grad)


def _settle(t: Tensor, leaf: Any, grad: Tensor | None) -> None:
    """Have a parameter, in other memory than before, laid anew by its optimizers."""
    leaf.buffer = leaf.place = leaf.writer = None
    leaf.shape, leaf.dtype = t.array.shape, t.array.dtype
    leaf.grad = grad


def settle(t: Tensor, array: Any) -> None:
    """Give a parameter an array of any shape; it stays the same tensor, without its gradient."""
    t.array = array
    _settle(t, leaf_of(t), None)


def _copy_into(t: Tensor, value: Any) -> None:
    with backend.on_device_of(t.array):
        t.array[...] = backend.to_device(value, t.device)
    changed(t.array, "load_state_dict")
