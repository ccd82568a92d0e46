"""``torch.nn.Module``: the engine's module with PyTorch's registration and names."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Self

from gputensor import nn as engine
from gputensor import ops
from gputensor.autograd import Leaf, leaf_of
from gputensor.autograd import Tensor as Engine
from gputensor.backend import Device
from gputensor.errors import DTypeError, ShapeError
from gputensor.nn.module import _move
from gputensor.torch.tensor import Parameter, as_device, ours

__all__ = ["DOOR_CLASSES", "Module"]


# The door's class of each layer class of the engine, such as those inside layers of the engine.
DOOR_CLASSES: dict[type, type] = {}


class _Handle:
    """A hook that was registered; ``remove()`` takes it away."""

    def __init__(self, hooks: dict[int, Any]) -> None:
        self._hooks, self._key = hooks, len(hooks) + max(hooks, default=0) + 1

    def remove(self) -> None:
        """Take the hook away."""
        self._hooks.pop(self._key, None)


class Module(engine.Module):
    """Base class of layers and models, as PyTorch's.

    Counted is what is set as an attribute: parameters (:class:`Parameter`), modules, and buffers
    by :meth:`register_buffer`. Plain lists and plain tensors are not: use :class:`ModuleList` and
    :class:`Parameter`.

    Examples
    --------
    >>> class Net(torch.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.hidden, self.out = torch.nn.Linear(4, 8), torch.nn.Linear(8, 2)
    ...     def forward(self, x):
    ...         return self.out(torch.relu(self.hidden(x)))
    >>> net = Net()
    >>> net(torch.ones(3, 4)).shape
    torch.Size([3, 2])
    >>> [name for name, _ in net.named_parameters()]
    ['hidden.weight', 'hidden.bias', 'out.weight', 'out.bias']
    """

    _buffer_names: ClassVar[Mapping[str, bool]] = {}  # and whether they are saved

    def __init__(self, *args: Any, **options: Any) -> None:
        pass

    def __setattr__(self, name: str, value: Any) -> None:
        if type(value) is Engine:
            ours(value)
            if isinstance(value._node, Leaf):  # a layer of the engine made a parameter
                value.__class__ = Parameter
        elif type(value) in DOOR_CLASSES:
            value.__class__ = DOOR_CLASSES[type(value)]
            for key, part in list(vars(value).items()):
                setattr(value, key, part)
        super().__setattr__(name, value)

    def __call__(self, *args: Any, **options: Any) -> Any:
        state = vars(self)
        before, after = state.get("_before"), state.get("_after")
        for hook in list(before.values()) if before else ():
            changed = hook(self, args)
            if changed is not None:
                args = changed if isinstance(changed, tuple) else (changed,)
        result = ours(self.forward(*args, **options))
        for hook in list(after.values()) if after else ():
            changed = hook(self, args, result)
            result = result if changed is None else changed
        return result

    def forward(self, *args: Any, **options: Any) -> Any:
        """Compute the module's result."""
        raise NotImplementedError(f'Module [{type(self).__name__}] is missing "forward"')

    # ------------------------------------------------------------ registration

    def register_buffer(self, name: str, tensor: Any, persistent: bool = True) -> None:
        """Set a tensor that is no parameter, but saved and moved like one."""
        vars(self)["_buffer_names"] = {**self._buffer_names, name: persistent}
        setattr(self, name, ours(tensor))

    register_module = engine.Module.add_module

    def register_forward_hook(self, hook: Callable[..., Any]) -> _Handle:
        """Call ``hook(module, args, result)`` after each forward; it may return another result."""
        return self._registered("_after", hook)

    def register_forward_pre_hook(self, hook: Callable[..., Any]) -> _Handle:
        """Call ``hook(module, args)`` before each forward; it may return other arguments."""
        return self._registered("_before", hook)

    def _registered(self, name: str, hook: Callable[..., Any]) -> _Handle:
        hooks = vars(self).setdefault(name, {})
        handle = _Handle(hooks)
        hooks[handle._key] = hook
        return handle

    # ------------------------------------------------------------ what is inside

    def _members(self) -> Iterator[tuple[str, Any]]:
        """Parameters, modules and buffers set here, by name."""
        buffers = self._buffer_names
        for name, value in vars(self).items():
            if isinstance(value, (Parameter, engine.Module)) or name in buffers:
                yield name, value

    def named_children(self) -> Iterator[tuple[str, Any]]:
        """Modules directly inside, by name, each once."""
        return self._children(once=True)

    def _children(self, once: bool) -> Iterator[tuple[str, Any]]:
        seen = set()
        for name, value in self._members():
            if isinstance(value, engine.Module) and id(value) not in seen:
                if once:
                    seen.add(id(value))
                yield name, value

    def children(self) -> Iterator[Any]:
        """Modules directly inside."""
        return (child for _, child in self.named_children())

    def named_modules(
        self, memo: set[int] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Any]]:
        """This module and all inside, by dotted name, each once; or by each of its names."""
        memo = set() if memo is None else memo
        if id(self) in memo:
            return
        if remove_duplicate:
            memo.add(id(self))
        yield prefix, self
        for name, child in self._children(remove_duplicate):
            path = f"{prefix}.{name}" if prefix else name
            if isinstance(child, Module):
                yield from child.named_modules(memo, path, remove_duplicate)
                continue
            for place, module in child.named_modules(path):  # the engine's, or Keras's layers
                if id(module) not in memo:
                    if remove_duplicate:
                        memo.add(id(module))
                    yield place, module

    def modules(self) -> Iterator[Any]:
        """This module and all inside."""
        return (module for _, module in self.named_modules())

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Any]]:
        """Parameters here and in all modules inside, by dotted name, each once; or by each."""
        return self._named(prefix, recurse, _is_parameter, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Any]:
        """Parameters here and in all modules inside, each once."""
        return (p for _, p in self.named_parameters(recurse=recurse))

    def named_buffers(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Any]]:
        """Buffers here and in all modules inside, by dotted name, each once."""
        return self._named(prefix, recurse, _is_buffer)

    def buffers(self, recurse: bool = True) -> Iterator[Any]:
        """Buffers here and in all modules inside."""
        return (b for _, b in self.named_buffers(recurse=recurse))

    def _named(
        self, prefix: str, recurse: bool, wanted: Callable[..., bool], once: bool = True
    ) -> Iterator[tuple[str, Any]]:
        seen = set()
        modules = self.named_modules(None, prefix, once) if recurse else iter([(prefix, self)])
        for path, module in modules:
            for name, value in module._members():
                if wanted(module, name, value) and value is not None and id(value) not in seen:
                    if once:
                        seen.add(id(value))
                    yield (f"{path}.{name}" if path else name), value

    def get_submodule(self, target: str) -> Any:
        """The module of a dotted name."""
        found: Any = self
        for name in target.split(".") if target else ():
            found = dict(found.named_children())[name]
        return found

    def get_parameter(self, target: str) -> Any:
        """The parameter of a dotted name."""
        return dict(self.named_parameters())[target]

    def apply(self, fn: Callable[..., Any]) -> Self:
        """Call `fn` with each module inside, and at last with this one."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    # ------------------------------------------------------------ state

    def _entries(self) -> Iterator[tuple[str, Any]]:
        """All that is saved, by dotted name; shared tensors by each of their names."""
        for name, value in self._members():
            saved = isinstance(value, Parameter) or self._buffer_names.get(name)
            if saved and value is not None:
                yield name, value
        for name, value in self._members():
            if isinstance(value, engine.Module):
                yield from ((f"{name}.{key}", entry) for key, entry in value._tensors())

    def state_dict(self, *, prefix: str = "", keep_vars: bool = False) -> Any:
        """Parameters and buffers by dotted name, off the tape, in their own memory."""
        return OrderedDict(
            (prefix + name, value if keep_vars else value.detach())
            for name, value in self._entries()
        )

    _tensors = _entries

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Copy values into parameters and buffers; with `strict` the names must be the same.

        Returns
        -------
        named tuple
            ``missing_keys`` and ``unexpected_keys``.

        Raises
        ------
        RuntimeError
            If names are missing or unknown, or a shape differs. Nothing is changed then.
        """
        try:
            return super().load_state_dict(state_dict, strict)
        except (KeyError, ShapeError, DTypeError) as error:
            raise RuntimeError(f"{type(self).__name__}: {error.args[0]}") from error

    # ------------------------------------------------------------ moving

    def to(self, *args: Any, **options: Any) -> Self:
        """On another device, or in another floating point dtype; tensors stay the same objects."""
        place, dtype = options.get("device"), options.get("dtype")
        for value in args:
            if isinstance(value, Engine):
                place, dtype = value.device, value.dtype
            elif isinstance(value, (str, int, Device)) and not isinstance(value, bool):
                place = value
            elif value is not None and not isinstance(value, bool):
                dtype = value
        for t in (*self.parameters(), *self.buffers()):
            _move(t, None if place is None else as_device(place), dtype)
        return self

    def cuda(self, device: Any = None) -> Self:
        """On a CUDA device."""
        return self.to("cuda" if device is None else device)

    def cpu(self) -> Self:
        """On the CPU."""
        return self.to("cpu")

    def float(self) -> Self:
        """Floating point tensors in float32."""
        return self.to(ops.float32)

    def double(self) -> Self:
        """Floating point tensors in float64."""
        return self.to(ops.float64)

    def half(self) -> Self:
        """Floating point tensors in float16."""
        return self.to(ops.float16)

    def type(self, dtype: Any) -> Self:
        """Floating point tensors in a dtype."""
        return self.to(dtype)

    # ------------------------------------------------------------ text

    def extra_repr(self) -> str:
        """What the text of the module says beside its name."""
        return ""

    def _get_name(self) -> str:
        return type(self).__name__

    def __repr__(self) -> str:
        lines = [
            f"({name}): " + repr(child).replace("\n", "\n  ")
            for name, child in self._members()
            if isinstance(child, engine.Module)
        ]
        extra = self.extra_repr()
        if not lines:
            return f"{self._get_name()}({extra})"
        body = "\n  ".join([extra, *lines] if extra else lines)
        return f"{self._get_name()}(\n  {body}\n)"


def _is_parameter(module: Any, name: str, value: Any) -> bool:
    if isinstance(module, Module):
        return isinstance(value, Parameter)
    return isinstance(value, Engine) and leaf_of(value) is not None


def _is_buffer(module: Any, name: str, value: Any) -> bool:
    if isinstance(module, Module):
        return name in module._buffer_names
    return name in dict(engine.Module.named_buffers(module)) and isinstance(value, Engine)
