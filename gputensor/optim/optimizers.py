"""Optimizers. Parameters and gradients become views of one flat array, so a step is one launch.

Parameters of one dtype and device share a :class:`_Flat`: an array of all their values, another
of their gradients, and the optimizer's state beside them.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from gputensor import backend, memory
from gputensor.autograd import (
    Leaf,
    Tensor,
    changed,
    no_grad,
    wrap,
)
from gputensor.backend import Array
from gputensor.kernels import adam_step, clip_norm, sgd_step, squared_norm
from gputensor.ops.creation import tensor
from gputensor.optim.schedules import Schedule
from gputensor.watched import Watched

__all__ = ["SGD", "Adam", "AdamW", "Optimizer"]


class _Flat:
    """Parameters of one dtype and device, moved into one array; likewise their gradients.

    To the kernels a complex number is two real ones.
    """

    def __init__(self, parameters: list[Tensor]) -> None:
        first = parameters[0].array
        dtype = first.dtype
        self.leaves: list[Leaf] = []
        self.bounds: list[tuple[int, int]] = []
        size = sum(p.size for p in parameters)
        pair = 1 + (dtype.kind == "c")
        flat = first.real.dtype if pair == 2 else dtype
        with backend.on_device_of(first):
            xp = backend.namespace(first)
            # Tensors, so that a recording knows them.
            self.values = wrap(xp.empty(pair * size, flat))
            self.grads = wrap(xp.zeros(pair * size, flat))
            self.count = wrap(xp.zeros(1, np.int64))
            self.ticket = wrap(xp.zeros(1, np.uint32))
            self.rate = wrap(xp.zeros((), np.float64))
            start = 0
            for p in parameters:
                leaf = p._node
                assert isinstance(leaf, Leaf)
                stop = start + p.size
                view = self.values.array.view(dtype)[start:stop].reshape(p.shape)
                view[...] = p.array
                p.array = view
                grad, leaf.grad = leaf.grad, None
                leaf.buffer = self.grads.array.view(dtype)[start:stop].reshape(p.shape)
                if grad is not None:
                    leaf.accumulate(grad.array, own=False)
                self.leaves.append(leaf)
                self.bounds.append((pair * start, pair * stop))
                start = stop

    def state(self) -> Tensor:
        """Zeros beside the values, float32 beside those of 16 bits."""
        values = self.values.array
        dtype = np.float32 if values.dtype.itemsize == 2 else values.dtype
        with backend.on_device_of(values):
            return wrap(backend.namespace(values).zeros(values.size, dtype))

    def runs(self) -> list[tuple[int, int]]:
        """Longest stretches of parameters that have gradients."""
        found: list[tuple[int, int]] = []
        for leaf, (start, stop) in zip(self.leaves, self.bounds, strict=True):
            if leaf.grad is None:
                continue
            if leaf.grad.array is not leaf.buffer:
                leaf.settle()
            if found and found[-1][1] == start:
                found[-1] = found[-1][0], stop
            else:
                found.append((start, stop))
        return found


def _number(name: str, value: Any, low: float, high: float) -> float:
    """`value` as a float if it is in ``[low, high)``."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}")
    if not low <= value < high:
        raise ValueError(f"{name} is {value}; it must be at least {low} and below {high}")
    return float(value)


def checked_rate(name: str, value: Any) -> float | Schedule:
    """A learning rate, if it is a number from 0 on, or a schedule that gives a number."""
    if not callable(value):
        return _number(name, value, 0, float("inf"))
    with no_grad():
        first = value(tensor(0.0, dtype=np.float64, device="cpu"))
    if not isinstance(first, Tensor) or first.shape != ():
        raise TypeError(
            f"{name}: a schedule must return a tensor of shape () for the number of steps taken, "
            f"such a tensor too; it returned {first!r}"
        )
    schedule: Schedule = value
    return schedule


def _root(squared: Array) -> Tensor:
    with backend.on_device_of(squared):
        return wrap(_root_of(backend.namespace(squared), squared))


def _root_of(xp: Any, squared: Array) -> Array:
    return xp.asarray(xp.sqrt(squared))


def _total(xp: Any, parts: list[Array]) -> Array:
    return xp.asarray(sum(parts[1:], parts[0])) if parts else xp.zeros(())


def _as_number(count: Array) -> Array:
    return count.reshape(()).astype(np.float64)


def _count(count: Array, skip: Array | None) -> None:
    count += 1 if skip is None else skip == 0


class Optimizer(Watched):
    """Base class: owns the flat buffers.

    Parameters
    ----------
    parameters : iterable of Tensor
        Tensors made with ``requires_grad=True``; each becomes a view of a flat array. A tensor
        belongs to one optimizer at a time. Real and imaginary parts of complex ones count as
        parameters of their own.
    lr : float or Schedule
        Learning rate, or a function of the number of steps taken that gives it, see
        :mod:`gputensor.optim.schedules`.

    Attributes
    ----------
    lr : float or Schedule
        May be set. It is kept on the device, where steps read it.
    """

    _slots: tuple[str, ...] = ()  # names of the state arrays
    _counts = False  # whether the kernel counts the steps

    def __init__(self, parameters: Iterable[Tensor], lr: float | Schedule) -> None:
        if isinstance(parameters, Tensor):
            raise TypeError("parameters must be an iterable of tensors; write [x] for one tensor")
        unique = list({id(p): p for p in parameters}.values())
        if not unique:
            raise ValueError("parameters is empty; give at least one tensor")
        groups: dict[tuple[Any, str], list[Tensor]] = {}
        for i, p in enumerate(unique):
            if not isinstance(p, Tensor) or not isinstance(p._node, Leaf):
                raise TypeError(
                    f"parameters: item {i} must be a tensor made with requires_grad=True"
                )
            groups.setdefault((p.dtype, str(p.device)), []).append(p)
        lr = checked_rate("lr", lr)
        with memory.explained(type(self).__name__, unique[0].device):
            self._flats = [_Flat(group) for group in groups.values()]
            self._states = [[flat.state() for _ in self._slots] for flat in self._flats]
        self.lr = lr

    @property
    def lr(self) -> float | Schedule:
        """Learning rate, or its schedule."""
        return self._lr

    @lr.setter
    def lr(self, value: float | Schedule) -> None:
        rate = checked_rate("lr", value)
        if callable(rate) or callable(vars(self).get("_lr")):
            self._lr = rate
        else:
            vars(self)["_lr"] = rate  # no setting of a captured step, which reads it below
        if not callable(self._lr):
            for flat in self._flats:
                with backend.on_device_of(flat.values.array):
                    flat.rate.array.fill(self._lr)

    def __reduce__(self) -> Any:
        raise TypeError(
            "an optimizer cannot be copied or pickled: it works in the memory of its parameters; "
            "make another for the copied ones and let it load_state_dict(this.state_dict())"
        )

    def zero_grad(self) -> None:
        """Forget the gradients; the next backward pass overwrites them."""
        for flat in self._flats:
            for leaf in flat.leaves:
                leaf.grad = None

    def step(self, *, skip: Array | None = None) -> None:
        """Move the parameters that have gradients; the others stay as they are.

        Parameters
        ----------
        skip : uint32 array of shape (1,), optional
            A flag on the device: where it is not 0, nothing moves and nothing counts.
        """
        for flat, states in zip(self._flats, self._states, strict=True):
            runs = flat.runs()
            there = skip
            if skip is not None:
                there = backend.to_device(skip, flat.values.device)
            values = flat.values.array
            with backend.on_device_of(values):
                if callable(self._lr) and runs:
                    with no_grad():
                        steps = wrap(_as_number(flat.count.array))
                        flat.rate.array[...] = self._lr(steps).array
                tensors = [flat.values, flat.grads, *states]
                for start, stop in runs:
                    arrays = [t.array[start:stop] for t in tensors]
                    self._update(flat, arrays, there, last=stop == runs[-1][1])
                if callable(self._lr) and runs and not self._counts:
                    _count(flat.count.array, there)
            changed(values, "an optimizer's step")

    def _update(self, flat: _Flat, arrays: list[Array], skip: Array | None, last: bool) -> None:
        raise NotImplementedError

    def _gradients(self, change: bool = False) -> list[Array]:
        """Stretches of the flat buffers that hold gradients; with `change` they may be written.

        Tensors that ``.grad`` has given then keep the values that they have.
        """
        found = [
            flat.grads.array[start:stop] for flat in self._flats for start, stop in flat.runs()
        ]
        for leaf in (leaf for flat in self._flats for leaf in flat.leaves if change):
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
        home = self._flats[0].values.device
        parts = []
        for g in gradients:
            with backend.on_device_of(g):
                parts.append(backend.to_device(squared_norm.raw(g), home))
        with backend.on_device_of(home):
            xp = backend.namespace(home)
            return _total(xp, parts)

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
        most = _number("max_norm", max_norm, 0, float("inf"))
        gradients = self._gradients(change=True)
        squared = self._squared_norm(gradients)
        for g in gradients:
            with backend.on_device_of(g):
                clip_norm.raw(g, backend.to_device(squared, backend.device_of(g)), most=most)
            changed(g, "clip_grad_norm")
        return _root(squared)

    def state_dict(self) -> dict[str, Any]:
        """Copies of the optimizer's state on the host; a schedule is not part of it."""
        state: dict[str, Any] = {} if callable(self.lr) else {"lr": self.lr}
        for key, array in self._named_state():
            state[key] = np.array(backend.to_host(array))
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Copy state back.

        Raises
        ------
        KeyError
            If names are missing or unknown.
        """
        arrays = dict(self._named_state())
        keys = arrays.keys() | (set() if callable(self.lr) else {"lr"})
        if state.keys() != keys:
            expected = ", ".join(sorted(keys))
            raise KeyError(f"load_state_dict: state must hold {expected}; it holds {list(state)}")
        if "lr" in state:
            self.lr = state["lr"]
        for key, array in arrays.items():
            with backend.on_device_of(array):
                array[...] = backend.to_device(np.asarray(state[key]), backend.device_of(array))

    def _named_state(self) -> Iterator[tuple[str, Array]]:
        for i, (flat, states) in enumerate(zip(self._flats, self._states, strict=True)):
            yield f"{i}.step", flat.count.array
            for name, t in zip(self._slots, states, strict=True):
                yield f"{i}.{name}", t.array


def _held(optimizer: Optimizer) -> Iterator[tuple[str, Any]]:
    state = vars(optimizer)  # which may not be complete yet
    for flat, states in zip(state.get("_flats", ()), state.get("_states", ()), strict=False):
        yield "parameters of an optimizer", flat.values.array
        yield "gradients of an optimizer", flat.grads.array
        yield from (
            (f"{name} of an optimizer", t.array)
            for name, t in zip(optimizer._slots, states, strict=True)
        )


memory.HOLDERS[Optimizer] = _held


class SGD(Optimizer):
    """Gradient descent, with momentum where asked for.

    Parameters
    ----------
    parameters : iterable of Tensor
    lr : float or Schedule
        Learning rate.
    momentum : float
        In [0, 1).
    nesterov : bool
        Nesterov's form of momentum.
    weight_decay : float
        Times the parameter, added to its gradient.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float | Schedule = 0.01,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        self.momentum = _number("momentum", momentum, 0, 1)
        self.weight_decay = _number("weight_decay", weight_decay, 0, float("inf"))
        if nesterov and not momentum:
            raise ValueError("nesterov=True needs a momentum above 0")
        self.nesterov = nesterov
        self._slots = ("velocity",) if momentum else ()
        super().__init__(parameters, lr)

    def _update(self, flat: _Flat, arrays: list[Array], skip: Array | None, last: bool) -> None:
        sgd_step.raw(
            arrays[0],
            arrays[1],
            arrays[2] if self._slots else None,
            lr=flat.rate.array,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            nesterov=self.nesterov,
            skip=skip,
        )


class Adam(Optimizer):
    """Adam (Kingma & Ba 2015).

    The step counter belongs to the whole buffer: a parameter without a gradient in a step keeps
    its value and its running means, but the bias correction moves on.

    Parameters
    ----------
    parameters : iterable of Tensor
    lr : float or Schedule
        Learning rate.
    betas : (float, float)
        Decay of the running means of the gradient and of its square, in [0, 1).
    eps : float
        Added to the root of the second mean.
    weight_decay : float
        Times the parameter, added to its gradient.
    """

    _slots = ("mean", "square")
    _counts = True
    _decoupled = False

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float | Schedule = 0.001,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise TypeError(f"betas must be a pair of numbers, such as (0.9, 0.999), got {betas!r}")
        self.betas = (_number("betas[0]", betas[0], 0, 1), _number("betas[1]", betas[1], 0, 1))
        self.eps = _number("eps", eps, 0, float("inf"))
        self.weight_decay = _number("weight_decay", weight_decay, 0, float("inf"))
        super().__init__(parameters, lr)

    def _update(self, flat: _Flat, arrays: list[Array], skip: Array | None, last: bool) -> None:
        adam_step.raw(
            *arrays,
            flat.count.array,
            flat.ticket.array,
            lr=flat.rate.array,
            beta1=self.betas[0],
            beta2=self.betas[1],
            eps=self.eps,
            weight_decay=self.weight_decay,
            decoupled=self._decoupled,
            advance=last,
            skip=skip,
        )


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019): parameters as for Adam."""

    _decoupled = True

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float | Schedule = 0.001,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(parameters, lr, betas=betas, eps=eps, weight_decay=weight_decay)
