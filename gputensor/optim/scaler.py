"""Dynamic loss scaling, for gradients in float16; it never waits for the device."""

import math
import warnings
from typing import Any

import numpy as np

from gputensor import backend
from gputensor.autograd import Tensor, changed, wrap
from gputensor.backend import Array, Device
from gputensor.copies import Copy, host_copy
from gputensor.errors import GraphError
from gputensor.kernels import unscale, update_scale
from gputensor.ops.elementwise import multiply
from gputensor.optim.optimizer import Optimizer
from gputensor.options import number
from gputensor.shown import Shown
from gputensor.watched import Watched

__all__ = ["GradScaler"]

_SMALLEST = 2.0**-24


class GradScaler(Shown, Watched):
    """Dynamic loss scaling, for training inside ``gt.autocast("float16")``.

    The loss is multiplied by a scale, so that gradients are not lost below float16's smallest
    number; before the step they are divided by it. If one is infinite or NaN then, the scale was
    too large: the step is left out, parameters and optimizer staying as they are, and the scale is
    made smaller. After `growth_interval` good steps in a row it is made larger (Micikevicius et al.
    2018). It does not go below 2**-24, where a warning says that all steps are left out. Scale,
    decision and count live on the device; the host never waits for them.

    Parameters
    ----------
    init_scale : float
        Above 0.
    growth_factor : float
        Above 1.
    backoff_factor : float
        Between 0 and 1.
    growth_interval : int

    Examples
    --------
    >>> model, x, labels = gt.nn.Dense(4, 3), gt.ones((2, 4)), gt.tensor([0, 2])
    >>> optimizer = gt.optim.SGD(model.parameters(), lr=0.1)
    >>> scaler = gt.optim.GradScaler()
    >>> with gt.autocast("float16"):
    ...     loss = gt.nn.functional.cross_entropy(model(x), labels)
    >>> optimizer.zero_grad()
    >>> scaler.scale(loss).backward()
    >>> scaler.unscale(optimizer)  # only where gradients are looked at, or clipped, before the step
    >>> norm = optimizer.clip_grad_norm(1.0)
    >>> scaler.step(optimizer)
    >>> scaler.update()
    """

    def __init__(
        self,
        init_scale: float = 65536.0,
        *,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
    ) -> None:
        init_scale = number("GradScaler", "init_scale", init_scale)
        self.growth_factor: float = number("GradScaler", "growth_factor", growth_factor)
        self.backoff_factor: float = number("GradScaler", "backoff_factor", backoff_factor)
        for name, value, low, high in (
            ("init_scale", init_scale, 0.0, math.inf),
            ("growth_factor", self.growth_factor, 1.0, math.inf),
            ("backoff_factor", self.backoff_factor, 0.0, 1.0),
        ):
            if not low < value < high:
                raise ValueError(
                    f"GradScaler: {name} is {value}; it must be above {low} and below {high}"
                )
        if growth_interval < 1 or growth_interval != int(growth_interval):
            raise ValueError(
                f"GradScaler: growth_interval is {growth_interval}; it must be a positive int"
            )
        self.growth_interval = int(growth_interval)
        # On the host until a loss or an optimizer shows where they belong.
        self._scale = wrap(np.full(1, init_scale, np.float32))
        self._streak = wrap(np.zeros(1, np.uint32))
        self._copy: Copy | None = None
        self._warned = False
        self._calls = 0
        self._found: dict[Optimizer, Tensor] = {}  # flags of the optimizers since update()
        self._stepped: set[Optimizer] = set()

    def _scale_on(self, where: Device) -> Array:
        """The scale on a device, which is its place from the first call on."""
        if where.kind == "cuda" and self._scale.device == "cpu":
            self._scale, self._streak = self._scale.to(where), self._streak.to(where)
        return backend.to_device(self._scale.array, where)

    @property
    def factor(self) -> Tensor:
        """The scale, a float32 tensor of shape (); it stays on the device."""
        return wrap(self._scale.array.copy().reshape(()))

    def scale(self, loss: Tensor) -> Tensor:
        """`loss` times the scale; call ``backward()`` of that."""
        if not isinstance(loss, Tensor):
            raise TypeError(f"scale: loss must be a Tensor, got {type(loss).__name__}")
        with backend.on_device_of(loss.array):
            scale = wrap(self._scale_on(loss.device).reshape(()))
        return multiply(loss, scale)

    def unscale(self, optimizer: Optimizer) -> None:
        """Divide the gradients by the scale, before they are clipped or looked at.

        :meth:`step` does it where it has not been done.

        Raises
        ------
        GraphError
            If it has been done since :meth:`update`.
        """
        if optimizer in self._found:
            raise GraphError(
                "unscale: the gradients of this optimizer are unscaled already; call update() "
                "once after step(), before the next backward pass"
            )
        home = optimizer._home
        flags: dict[Device, Array] = {}
        for g in optimizer._gradients(change=True):
            where = backend.device_of(g)
            with backend.on_device_of(where):
                if where not in flags:
                    flags[where] = backend.namespace(where).zeros(1, np.uint32)
                unscale.raw(g, self._scale_on(where), flags[where])
            changed(g, "unscale")
        found = _any(list(flags.values()), home)
        if (shard := optimizer._shard) is not None:
            shard.total(found, "max")
        self._found[optimizer] = wrap(found)

    def step(self, optimizer: Optimizer) -> None:
        """Step of the optimizer, or nothing if a gradient is infinite or NaN.

        Raises
        ------
        GraphError
            If it has been called since :meth:`update`.
        """
        if optimizer in self._stepped:
            raise GraphError("step: call update() before the next step of this optimizer")
        if optimizer not in self._found:
            self.unscale(optimizer)
        optimizer.step(skip=self._found[optimizer].array)
        self._stepped.add(optimizer)

    def update(self) -> None:
        """Move the scale, by what the steps since the last call found.

        Raises
        ------
        GraphError
            If there was none.
        """
        if not self._stepped:
            raise GraphError("update: there was no step; call step(optimizer) first")
        where = self._scale.device
        with backend.on_device_of(where):
            update_scale.raw(
                self._scale.array,
                self._streak.array,
                _any([flag.array for flag in self._found.values()], where),
                growth=self.growth_factor,
                backoff=self.backoff_factor,
                interval=self.growth_interval,
                least=_SMALLEST,
            )
        if backend.recording() is None:
            self._look()
        self._found.clear()
        self._stepped.clear()

    def _look(self) -> None:
        """Warn where all steps are left out, as far as is known without waiting for the device.

        It is looked at in one of a hundred calls.
        """
        self._calls += 1
        if self._calls % 100:
            return
        if self._copy is None:
            self._copy = Copy(self._scale.array)
        if self._copy.done:
            smallest = self._copy.host[0] <= _SMALLEST
            self._copy = None
            if smallest and not self._warned:
                self._warned = True
                warnings.warn(
                    "GradScaler: gradients are infinite or NaN at the smallest scale, so that no "
                    "step is done; the loss itself is NaN or infinite, or a gradient overflows",
                    UserWarning,
                    stacklevel=3,
                )

    def state_dict(self) -> dict[str, Any]:
        """Copies of scale and count of good steps, on the host."""
        return {name: host_copy(array) for name, array in self.live_state().items()}

    def live_state(self) -> dict[str, Any]:
        """As :meth:`state_dict`, the arrays themselves."""
        return {"scale": self._scale.array, "streak": self._streak.array}

    def load_live_state(self, state: dict[str, Any]) -> None:
        """Copy back what :meth:`live_state` gave."""
        self.load_state_dict(state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Copy state back.

        Raises
        ------
        KeyError
            If names are missing or unknown.
        """
        if state.keys() != {"scale", "streak"}:
            raise KeyError(
                f"load_state_dict: state must hold scale, streak; it holds {list(state)}"
            )
        for name, t in (("scale", self._scale), ("streak", self._streak)):
            array = t.array
            with backend.on_device_of(array):
                value = np.asarray(state[name], array.dtype)
                array[...] = backend.to_device(value, backend.device_of(array))


def _any(flags: list[Array], where: Device) -> Array:
    """One flag on `where` that is set if one of the flags is."""
    moved = [backend.to_device(flag, where) for flag in flags]
    with backend.on_device_of(where):
        xp = backend.namespace(where)
        out = moved[0] if moved else xp.zeros(1, np.uint32)
        for flag in moved[1:]:
            out = out | flag
        return out
