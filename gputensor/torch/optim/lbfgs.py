"""L-BFGS as an optimizer of parameters, over the engine's directions and line search."""

from collections.abc import Callable
from typing import Any, ClassVar

from gputensor import backend
from gputensor.autograd import Tensor, changed, enable_grad
from gputensor.backend import Array
from gputensor.optim import Optimizer
from gputensor.optimize import _LBFGS, _line_search, _Point, numbers_of

__all__ = ["LBFGS"]


class LBFGS(Optimizer):
    """Limited-memory BFGS (Nocedal & Wright, algorithm 7.5); a step calls the closure again.

    Parameters
    ----------
    params : iterable of Tensor
        One group.
    lr : float
    max_iter : int
        Iterations in a step.
    max_eval : int, optional
        Calls of the closure in a step; by default 1.25 times `max_iter`.
    tolerance_grad, tolerance_change : float
        Largest element of the gradient, and of a move, at which a step ends.
    history_size : int
    line_search_fn : {None, "strong_wolfe"}

    Examples
    --------
    >>> x = torch.tensor([3.0], requires_grad=True)
    >>> optimizer = torch.optim.LBFGS([x], line_search_fn="strong_wolfe")
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     loss = ((x - 1) ** 2).sum()
    ...     loss.backward()
    ...     return loss
    >>> optimizer.step(closure).item()
    4.0
    >>> round(x.item(), 4)
    1.0
    """

    _settings: ClassVar[dict[str, Any]] = {
        name: (lambda _name, value: value)
        for name in (
            *("max_iter", "max_eval", "tolerance_grad", "tolerance_change", "history_size"),
            "line_search_fn",
        )
    }

    def __init__(
        self,
        params: Any,
        lr: float = 1.0,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        if line_search_fn not in (None, "strong_wolfe"):
            raise ValueError(
                f"LBFGS: line_search_fn is {line_search_fn!r}; allowed are None, 'strong_wolfe'"
            )
        super().__init__(
            params,
            lr,
            max_iter=max_iter,
            max_eval=max_iter * 5 // 4 if max_eval is None else max_eval,
            tolerance_grad=tolerance_grad,
            tolerance_change=tolerance_change,
            history_size=history_size,
            line_search_fn=line_search_fn,
        )
        if len(self.param_groups) != 1:
            raise ValueError("LBFGS: there must be one group of parameters")
        self._memory = _LBFGS(None, history_size)  # type: ignore[arg-type]
        self._before: tuple[Array, Array] | None = None  # last gradient, and move since

    def _tensors(self) -> list[Tensor]:
        return [p for p in self.param_groups[0].params if p.requires_grad]

    def _flat(self, arrays: list[Array]) -> Array:
        xp = backend.namespace(arrays[0])
        return xp.concatenate([a.reshape(-1) for a in arrays])

    def _put(self, x: Array) -> None:
        """Give the parameters the values of a vector."""
        start = 0
        for p in self._tensors():
            stop = start + p.array.size
            with backend.on_device_of(p.array):
                p.array[...] = x[start:stop].reshape(p.array.shape)
            changed(p.array, "LBFGS")
            start = stop

    def step(self, closure: Callable[[], Any] | None = None, **options: Any) -> Any:
        """Several iterations; the closure computes the loss and its gradients.

        Returns
        -------
        Tensor
            The loss at the beginning.
        """
        if options:
            raise TypeError(f"LBFGS: step takes a closure, not {', '.join(options)}")
        if closure is None:
            raise TypeError("LBFGS: step needs a closure that computes the loss and its gradients")
        group = self.param_groups[0]
        tensors = self._tensors()
        calls = 0
        losses: list[Any] = []

        def at(x: Array | None, d: Array | None = None, t: float = 0.0) -> _Point:
            nonlocal calls
            calls += 1
            if x is None:
                x = self._flat([p.array for p in tensors])
            else:
                self._put(x)
            with enable_grad():
                losses.append(closure())
            grads = [p.grad for p in tensors]
            g = self._flat(
                [p.array * 0 if g is None else g.array for p, g in zip(tensors, grads, strict=True)]
            )
            xp = backend.namespace(g)
            raw = losses[-1].array if isinstance(losses[-1], Tensor) else xp.asarray(losses[-1])
            numbers = [raw.reshape(()), xp.max(xp.abs(g))] + ([] if d is None else [g @ d])
            f, largest, *slope = numbers_of(xp, numbers)
            return _Point(t, f, slope[0] if slope else 0.0, largest, x, g)

        p = at(None)
        for i in range(group.max_iter):
            if p.largest <= group.tolerance_grad:
                break
            t = float(group["lr"])
            if self._before is None:
                d = -p.g
                t *= min(1.0, 1.0 / float(abs(p.g).sum()))
            else:
                g, move = self._before
                y = p.g - g
                sy = float(y @ move)
                if sy > 1e-10:
                    self._memory._pairs.append((move, y, sy))
                d = self._memory.direction(p)
            p = p._replace(slope=float(p.g @ d))
            if p.slope > -group.tolerance_change:
                break
            if group.line_search_fn is not None:
                found, _ = _line_search(at, p, d, t, 1e-4, 0.9, 25)  # type: ignore[arg-type]
                if found is None:
                    self._put(p.x)
                    break
                self._put(found.x)
            elif i < group.max_iter - 1:
                found = at(p.x + t * d, d, t)
            else:  # the next step begins with a look at it
                found = p._replace(x=p.x + t * d)
                self._put(found.x)
            move = found.x - p.x
            self._before = p.g, move
            small = float(abs(move).max()) <= group.tolerance_change
            still = group.line_search_fn is None and i == group.max_iter - 1
            same = not still and abs(found.f - p.f) < group.tolerance_change
            p = found
            if small or same or calls >= group.max_eval:
                break
        return losses[0]
