"""Layers that take the number of their inputs from the first sample."""

import inspect
from typing import Any

from gputensor.nn.module import settle
from gputensor.torch.nn.layers import MODULES as LAYERS
from gputensor.torch.nn.module import Module
from gputensor.torch.tensor import Parameter

__all__ = ["MODULES"]


class _Lazy(Module):
    """What lazy layers share: parameters without elements, until the first call.

    That call makes the layer of another class, with the same parameters: who has them already, an
    optimizer for example, has those of the layer.
    """

    _becomes: type[Module]
    _channels = 1  # axis of the inputs, of a whole batch
    _axes: tuple[int, ...] = ()  # of whole batches; what has fewer is one sample

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__()
        self._given = args, options
        made = self._layer(None, options)  # mistakes are found here, too
        for name, value in vars(made).items():
            if isinstance(value, Parameter) or value is None:
                setattr(self, name, Parameter() if value is not None else None)

    def _layer(self, inputs: int | None, options: dict[str, Any]) -> Module:
        """The layer, or an example of it."""
        kind: Any = self._becomes
        args, _ = self._given
        if inputs is None:
            known = inspect.signature(kind.__init__).bind_partial(None, 1, *args, **options)
            inputs = known.arguments.get("groups", 1)
        return kind(inputs, *args, **options)  # type: ignore[no-any-return]

    def forward(self, input: Any) -> Any:
        """The result of the layer that this becomes."""
        shape = input.array.shape
        axis = self._channels - (bool(self._axes) and len(shape) not in self._axes)
        made = self._layer(int(shape[axis]), {"device": input.device} | self._given[1])
        mine = vars(self)
        del mine["_given"]
        for name, value in vars(made).items():
            if isinstance(value, Parameter):
                settle(mine[name], value.array)
            else:
                mine.setdefault(name, value)
        self.__class__ = self._becomes  # type: ignore[assignment]
        return self.forward(input)

    def extra_repr(self) -> str:
        args, options = self._given
        return ", ".join([*map(repr, args), *(f"{key}={v!r}" for key, v in options.items())])


def _lazy(name: str, args: str, sample: tuple[int, ...], **where: Any) -> type[Module]:
    kind: Any = LAYERS[name]
    members = {
        "_becomes": kind,
        "__module__": "gputensor.torch.nn",
        "__doc__": f"""A :class:`{name}` that takes its first argument from the first input.

    The parameters have no elements before. An optimizer may be made before or after.

    Examples
    --------
    >>> layer = torch.nn.Lazy{name}({args})
    >>> y = layer(torch.ones{sample})
    >>> type(layer).__name__
    '{name}'
    """,
        **where,
    }
    return type(f"Lazy{name}", (_Lazy,), members)


_SAMPLES = {1: (2, 3, 6), 2: (2, 3, 6, 6), 3: (2, 3, 6, 6, 6)}
MODULES: dict[str, type[Module]] = {
    f"Lazy{name}": made
    for name, made in (
        ("Linear", _lazy("Linear", "4", (2, 3), _channels=-1)),
        *(
            (f"{kind}{axes}d", _lazy(f"{kind}{axes}d", "4, 3", sample, _axes=(axes + 2,)))
            for kind in ("Conv", "ConvTranspose")
            for axes, sample in _SAMPLES.items()
        ),
        *((f"BatchNorm{n}d", _lazy(f"BatchNorm{n}d", "", s)) for n, s in _SAMPLES.items()),
        *(
            (f"InstanceNorm{n}d", _lazy(f"InstanceNorm{n}d", "", s, _axes=(n + 2,)))
            for n, s in _SAMPLES.items()
        ),
    )
}
