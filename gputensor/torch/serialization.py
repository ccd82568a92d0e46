"""``torch.save`` and ``torch.load``: those of gputensor, with tensors of the door."""

from typing import Any

from gputensor import serialization
from gputensor.serialization import save
from gputensor.torch.tensor import as_device, ours
from gputensor.tree import map_tree

__all__ = ["load", "save"]


def load(f: Any, map_location: Any = None, *, weights_only: bool = True, **options: Any) -> Any:
    """What :func:`save` stored, or the tensors of any safetensors file by name.

    Parameters
    ----------
    f : path or file that bytes are read from
    map_location : device, optional
        Where tensors are put; by default on that of new ones. A function, which PyTorch calls with
        storages of the host, says the CPU.
    weights_only : bool
        Says nothing: there is never anything else.

    Raises
    ------
    ValueError
        If it is another file, such as one of PyTorch's own.

    Examples
    --------
    >>> torch.save({"weight": torch.ones(2), "epoch": 3}, "state.pt")
    >>> torch.load("state.pt")
    OrderedDict([('weight', tensor([1., 1.])), ('epoch', 3)])
    """
    found = serialization.load(f, as_device("cpu" if callable(map_location) else map_location))
    return map_tree(ours, found)
