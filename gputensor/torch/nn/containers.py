"""Modules that hold others: ``Sequential``, ``ModuleList``, ``ModuleDict``, ``ParameterList``."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

from gputensor.autograd import Tensor as Engine
from gputensor.torch.nn.module import Module
from gputensor.torch.tensor import Parameter

__all__ = ["ModuleDict", "ModuleList", "ParameterDict", "ParameterList", "Sequential"]


class _Listed(Module):
    """Members by number, which are the attributes ``"0"``, ``"1"``, ..."""

    def _items(self) -> list[Any]:
        return [value for _, value in self._members()]

    def _renumber(self, items: list[Any]) -> None:
        for name, _ in list(self._members()):
            delattr(self, name)
        for i, item in enumerate(items):
            setattr(self, str(i), item)

    def __len__(self) -> int:
        return len(self._items())

    def __iter__(self) -> Iterator[Any]:
        return iter(self._items())

    def __getitem__(self, index: Any) -> Any:
        items = self._items()
        if isinstance(index, slice):
            made = type(self)()
            made._renumber(items[index])
            return made
        return items[index]

    def __setitem__(self, index: int, value: Any) -> None:
        setattr(self, list(dict(self._members()))[index], value)

    def __delitem__(self, index: Any) -> None:
        items = self._items()
        del items[index]
        self._renumber(items)

    def append(self, item: Any) -> Self:
        """Add one at the end."""
        setattr(self, str(len(self)), item)
        return self

    def extend(self, items: Iterable[Any]) -> Self:
        """Add several at the end."""
        for item in items:
            self.append(item)
        return self

    def insert(self, index: int, item: Any) -> Self:
        """Add one at a place."""
        items = self._items()
        items.insert(index, item)
        self._renumber(items)
        return self


class Sequential(_Listed):
    """Modules one after the other, given one by one or as an ``OrderedDict`` of names.

    Examples
    --------
    >>> layers = torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2)
    >>> model = torch.nn.Sequential(*layers)
    >>> model(torch.ones(5, 3)).shape
    torch.Size([5, 2])
    >>> model[0].weight.shape
    torch.Size([4, 3])
    """

    def __init__(self, *args: Any) -> None:
        super().__init__()
        named = args[0] if len(args) == 1 and isinstance(args[0], (dict, OrderedDict)) else None
        for name, module in named.items() if named is not None else enumerate(args):
            if not isinstance(module, Module):
                raise TypeError(f"Sequential: {type(module).__name__} is not a Module")
            setattr(self, str(name), module)

    def _renumber(self, items: list[Any]) -> None:
        names = [name for name, _ in self._members()]
        if all(name.isdecimal() for name in names):
            super()._renumber(items)
        else:
            kept = [n for n, v in self._members() if any(v is item for item in items)]
            for name in set(names) - set(kept):
                delattr(self, name)

    def forward(self, input: Any) -> Any:
        """Result of the last module."""
        for module in self._items():
            input = module(input)
        return input


class ModuleList(_Listed):
    """A list of modules.

    Examples
    --------
    >>> layers = torch.nn.ModuleList([torch.nn.Linear(3, 3) for _ in range(2)])
    >>> len(list(layers.parameters()))
    4
    """

    def __init__(self, modules: Iterable[Any] | None = None) -> None:
        super().__init__()
        self.extend(modules or ())


class ParameterList(_Listed):
    """A list of parameters; tensors become such.

    Examples
    --------
    >>> len(torch.nn.ParameterList([torch.ones(3), torch.zeros(2)]))
    2
    """

    def __init__(self, values: Iterable[Any] | None = None) -> None:
        super().__init__()
        self.extend(values or ())

    def append(self, item: Any) -> Self:
        """Add one at the end."""
        if isinstance(item, Engine) and not isinstance(item, Parameter):
            item = Parameter(item)
        return super().append(item)


class ModuleDict(Module):
    """Modules by name.

    Examples
    --------
    >>> layers = torch.nn.ModuleDict({"a": torch.nn.Linear(3, 2), "b": torch.nn.ReLU()})
    >>> layers["b"](layers["a"](torch.ones(5, 3))).shape
    torch.Size([5, 2])
    """

    def __init__(self, modules: Any = None) -> None:
        super().__init__()
        self.update(modules or {})

    def update(self, modules: Any) -> None:
        """Add several, of a mapping or of pairs."""
        for key, module in modules.items() if isinstance(modules, Mapping) else modules:
            self[key] = module

    def __getitem__(self, key: str) -> Any:
        return dict(self._members())[key]

    def __setitem__(self, key: str, module: Any) -> None:
        if hasattr(type(self), key):
            raise KeyError(f"{type(self).__name__}: {key!r} is the name of a method; take another")
        setattr(self, key, module)

    def __delitem__(self, key: str) -> None:
        delattr(self, key)

    def __len__(self) -> int:
        return sum(1 for _ in self._members())

    def __iter__(self) -> Iterator[str]:
        return iter([name for name, _ in self._members()])

    def __contains__(self, key: object) -> bool:
        return key in dict(self._members())

    def keys(self) -> list[str]:
        """The names."""
        return list(self)

    def values(self) -> list[Any]:
        """The members."""
        return [value for _, value in self._members()]

    def items(self) -> list[tuple[str, Any]]:
        """Names and members."""
        return list(self._members())


class ParameterDict(ModuleDict):
    """Parameters by name; tensors become such.

    Examples
    --------
    >>> list(torch.nn.ParameterDict({"scale": torch.ones(3)}).keys())
    ['scale']
    """

    def __setitem__(self, key: str, value: Any) -> None:
        if isinstance(value, Engine) and not isinstance(value, Parameter):
            value = Parameter(value)
        super().__setitem__(key, value)
