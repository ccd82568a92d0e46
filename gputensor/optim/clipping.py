"""The gradients that an optimizer's parameters have: their norm, and clipping."""

from typing import Any

import numpy as np

from gputensor import backend
from gputensor.autograd import Tensor, changed, wrap
from gputensor.backend import Array
from gputensor.distributed.group import sums_under_way
from gputensor.kernels import clip_norm, squared_norm
from gputensor.optim.arranged import Arranged
from gputensor.optim.groups import number

__all__ = ["Clipping"]


class Clipping(Arranged):
    """Parameters whose gradients may be measured and clipped."""

    @property
    def _home(self) -> Any:
        """Device of the first parameter."""
        return self._parts[0].block.values.device

    def _arrive(self) -> None:
        """Wait for gradients that are being added up over several processes."""
        arriving = sums_under_way.pop(self, None)
        if arriving is not None:
            arriving.wait()

    def _gradients(self, change: bool = False) -> list[Array]:
        """Stretches of the flat buffers that hold gradients; with `change` they may be written.

        Tensors that ``.grad`` has given then keep the values that they have.
        """
        self._arrive()
        stretches = self._stretches()
        if (shard := self._shard) is not None:
            stretches = shard.cut(stretches)
        found = [part.block.grads.array[start:stop] for part, start, stop in stretches]
        for leaf in (m.leaf for part in self._parts for m in part.members if change):
            if leaf.grad is not None and leaf.grad.array is not leaf.buffer:
                leaf.grad = wrap(leaf.buffer)
        return found

    def grad_norm(self) -> Tensor:
        """Euclidean norm of all gradients together; it stays on the device.

        Returns
        -------
        float64 Tensor of shape ()
            On the device of the first parameter; 0 if there are no gradients.
        """
        return _root(self._squared_norm(self._gradients()))

    def _squared_norm(self, gradients: list[Array]) -> Array:
        home = self._home
        parts = []
        for g in gradients:
            with backend.on_device_of(g):
                parts.append(backend.to_device(squared_norm.raw(g), home))
        with backend.on_device_of(home):
            xp = backend.namespace(home)
            found = _total(xp, parts)
            if (shard := self._shard) is not None:
                found = found.astype(np.float64).reshape(1)
                shard.total(found)
                found = found.reshape(())
            return found

    def clip_grad_norm(self, max_norm: float) -> Tensor:
        """Scale all gradients down so that their norm is `max_norm` at most; call before `step`.

        Nothing is read by the host. A norm of NaN or infinity makes gradients NaN, not small.

        Parameters
        ----------
        max_norm : float
            Above 0.

        Returns
        -------
        float64 Tensor of shape ()
            The norm before, as of :meth:`grad_norm`.
        """
        most = number("max_norm", max_norm, 0, float("inf"))
        gradients = self._gradients(change=True)
        squared = self._squared_norm(gradients)
        for g in gradients:
            with backend.on_device_of(g):
                clip_norm.raw(g, backend.to_device(squared, backend.device_of(g)), most=most)
            changed(g, "clip_grad_norm")
        return _root(squared)

    def clip_grad_value(self, max_value: float) -> None:
        """Bring each element of the gradients into ``[-max_value, max_value]``; before `step`.

        Parameters
        ----------
        max_value : float
            From 0 on.
        """
        most = number("max_value", max_value, 0, float("inf"))
        for g in self._gradients(change=True):
            with backend.on_device_of(g):
                g[...] = backend.namespace(g).clip(g, -most, most)
            changed(g, "clip_grad_value")


def _root(squared: Array) -> Tensor:
    with backend.on_device_of(squared):
        return wrap(_root_of(backend.namespace(squared), squared))


def _root_of(xp: Any, squared: Array) -> Array:
    return xp.asarray(xp.sqrt(squared))


def _total(xp: Any, parts: list[Array]) -> Array:
    return xp.asarray(sum(parts[1:], parts[0])) if parts else xp.zeros(())
