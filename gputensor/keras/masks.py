"""Which steps of a sequence count: masks that travel beside tensors from layer to layer."""

import weakref
from typing import Any

from gputensor.autograd import Tensor

__all__ = ["mask_of", "set_mask"]

_masks: dict[int, tuple["weakref.ref[Tensor]", Any]] = {}


def set_mask(x: Any, mask: Any) -> None:
    """Let a mask travel with a tensor, as long as that lives."""
    if not isinstance(x, Tensor) or mask is None:
        return
    key = id(x)
    _masks[key] = weakref.ref(x, lambda _: _masks.pop(key, None)), mask


def mask_of(x: Any) -> Any:
    """The mask of a tensor, or None."""
    found = _masks.get(id(x)) if _masks else None
    return found[1] if found is not None and found[0]() is x else None
