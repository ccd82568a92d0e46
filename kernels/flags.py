"""Bad values that a kernel meets on the device: noted there, raised when the host next reads."""

from collections.abc import Callable
from typing import Any

import numpy as np

from gputensor import backend
from gputensor.backend import Array, namespace

__all__ = ["Flag"]

_EMPTY = np.array([-1, 0, 0, 0])  # place, value, limit, whether these are filled in
_FLAGS: "list[Flag]" = []


class Flag:
    """Place, value and limit of the first bad value that kernels of one kind met on a device.

    Parameters
    ----------
    explain : callable
        ``explain(place, value, limit)`` gives the exception to raise.
    """

    def __init__(self, explain: Callable[[int, int, int], Exception]) -> None:
        self.explain = explain
        self.arrays: dict[int, Array] = {}
        _FLAGS.append(self)

    def on(self, values: Array) -> Array:
        """The int64 array of shape (4,) on the device of `values` that a launch may fill.

        It is looked at when the host next reads from a device.
        """
        device = values.device.id
        flag = self.arrays.get(device)
        if flag is None:
            flag = self.arrays[device] = namespace(values).asarray(_EMPTY)

        def check() -> None:
            place, value, limit, filled = flag.get().tolist()
            if filled:
                flag[...] = namespace(flag).asarray(_EMPTY)
                raise self.explain(place, value, limit)

        backend.DEFERRED_CHECKS[f"{id(self)} {device}"] = check
        return flag

    def check(self, values: Array, limit: int) -> Any:
        """Which of `values` are in ``[0, limit)``; bad ones raise, at once for NumPy arrays.

        For references; a CUDA kernel calls ``note_bad`` and ``fill_flag`` of ``common.cuh``.
        """
        inside = (values >= 0) & (values < limit)
        xp = namespace(values)
        if isinstance(values, np.ndarray):
            if not inside.all():
                place = int(np.argmin(inside))
                raise self.explain(place, int(values[place]), limit)
        elif values.size:
            flag = self.on(values)
            place = xp.argmin(inside)
            value = values[place].astype(np.int64)
            one = xp.ones_like(value)
            found = xp.stack([place.astype(np.int64), value, limit * one, one])
            flag[...] = xp.where(inside[place] | (flag[3] != 0), flag, found)
        return inside
