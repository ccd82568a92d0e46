"""Minimization of smooth functions, after :func:`scipy.optimize.minimize`; vectors stay on device.

The gradients come from the tape. The host reads three numbers for each evaluation: the value, the
slope along the line that is searched, and the largest element of the gradient.

The algorithms are those of Nocedal & Wright, "Numerical Optimization", 2nd edition, 2006, by the
numbers given below.
"""

import inspect
import math
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from gputensor import backend
from gputensor.autograd import Tensor, no_grad, wrap
from gputensor.backend import Array
from gputensor.errors import DTypeError
from gputensor.ops.creation import asarray, parameter
from gputensor.optim import Adam
from gputensor.transforms import grad, value_and_grad, vjp
from gputensor.tree import leaves, map_tree, rebuilt

__all__ = ["OptimizeResult", "minimize"]


class OptimizeResult(dict[str, Any]):
    """What a minimization found, as :class:`scipy.optimize.OptimizeResult`: keys are attributes.

    Attributes
    ----------
    x : tree of Tensor
        The solution, like `x0`.
    fun : float
        The value there.
    jac : tree of Tensor
        The gradient there.
    nit, nfev, njev, nhev : int
        Numbers of iterations, of evaluations of function and gradient (always both), and of
        products with the Hessian.
    success : bool
        Whether a tolerance was met.
    status : int
        0: a tolerance was met; 1: `maxiter` was reached; 2: no lower value was found along the
        line, as where rounding outweighs what is left to gain; 3: value or gradient is NaN or
        infinite; 4: the value fell without end along a line, as of a function without a minimum;
        99: the callback has stopped it.
    message : str
        The status in words.

    Examples
    --------
    >>> result = gt.optimize.minimize(lambda x: (x * x).sum(), gt.tensor([1.0], dtype=gt.float64))
    >>> result.success
    True
    """

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self]

    def __repr__(self) -> str:
        return "\n".join(f"{name:>8}: {value!r}" for name, value in self.items())


class _Point(NamedTuple):
    """A point on a line: how far along, value and slope there, and what belongs to them."""

    t: float
    f: float
    slope: float
    largest: float  # element of the gradient, by magnitude
    x: Array
    g: Array


class _Problem:
    """A function of a tree as one of a flat vector, in raw arrays."""

    def __init__(self, fun: Callable[..., Any], x0: Any, args: tuple[Any, ...]) -> None:
        numbers = leaves(x0) if isinstance(x0, (list, tuple)) else []
        if numbers and all(isinstance(x, (int, float)) for x in numbers):
            x0 = asarray(x0)
        self.tree = map_tree(asarray, x0)
        found = leaves(self.tree)
        dtypes = {x.dtype for x in found}
        if len(dtypes) != 1 or found[0].dtype.kind != "f":
            raise DTypeError(
                f"minimize: x0 must be of one real floating point dtype, got "
                f"{', '.join(sorted(map(str, dtypes))) or 'nothing'}"
            )
        backend.same_device("minimize", [x.array for x in found])
        self.xp = backend.namespace(found[0].array)
        self.start = self.flat(self.tree)
        self.fun = lambda x: fun(self.unflat(x), *args)
        self._both = value_and_grad(self.fun)
        self.nfev = self.nhev = 0

    def flat(self, tree: Any) -> Array:
        return self.xp.concatenate([x.array.reshape(-1) for x in leaves(tree)])

    def unflat(self, x: Tensor) -> Any:
        def parts() -> Any:
            start = 0
            for leaf in leaves(self.tree):
                yield x[start : start + leaf.size].reshape(leaf.shape)
                start += leaf.size

        return rebuilt(self.tree, parts())

    def result(self, x: Array) -> Any:
        """A vector as a tree of tensors of its own memory."""
        return self.unflat(wrap(x.copy()))

    def __call__(self, x: Array, direction: Array | None = None, t: float = 0.0) -> _Point:
        self.nfev += 1
        value, gradient = self._both(wrap(x))
        g = gradient.array
        numbers = [value.array.reshape(()), self.xp.max(self.xp.abs(g))]
        if direction is not None:
            numbers.append(g @ direction)
        f, largest, *slope = numbers_of(self.xp, numbers)
        return _Point(t, f, slope[0] if slope else math.nan, largest, x, g)

    def curvature(self, x: Array) -> Callable[[Array], Array]:
        """The product with the Hessian at `x`; the gradient is recorded once for all of them."""
        _, pull = vjp(grad(self.fun), wrap(x))

        def product(v: Array) -> Array:
            self.nhev += 1
            return pull(wrap(v))[0].array

        return product


def numbers_of(xp: Any, scalars: list[Any]) -> list[float]:
    """Arrays of one element as numbers, in one transfer."""
    found: list[float] = backend.to_host(
        xp.stack([xp.asarray(s).astype(np.float64) for s in scalars])
    ).tolist()
    return found


# Strong Wolfe line search, algorithms 3.5 and 3.6


def _cubic(a: _Point, b: _Point) -> float:
    """Where the cubic through two points, with their slopes, is lowest (equation 3.59)."""
    d1 = a.slope + b.slope - 3 * (a.f - b.f) / (a.t - b.t)
    root = d1 * d1 - a.slope * b.slope
    if not root >= 0:  # NaN as well
        return math.nan
    d2 = math.copysign(math.sqrt(root), b.t - a.t)
    below = b.slope - a.slope + 2 * d2
    return b.t - (b.t - a.t) * (b.slope + d2 - d1) / below if below else math.nan


def _line_search(
    problem: _Problem, start: _Point, d: Array, t: float, c1: float, c2: float, most: int = 30
) -> tuple[_Point | None, bool]:
    """Point along `d` that is low enough and flat enough; None if none was found.

    The second result says that there is none, as the value fell further and further: each step is
    two times as long as the one before, or longer, so that the last is that of a billion steps.

    Differences of the value that may be rounding are ignored, so that near the solution, where
    there are no others, the slope decides (after Hager & Zhang, "A new conjugate gradient method",
    2005).
    """
    slack = float(np.finfo(start.x.dtype).eps) * abs(start.f)

    def at(t: float) -> _Point:
        return problem(start.x + t * d, d, t)

    def high(p: _Point, low: _Point) -> bool:
        return not p.f <= start.f + c1 * p.t * start.slope + slack or (
            low.t > 0 and p.f >= low.f + slack
        )

    def flat(p: _Point) -> bool:
        return abs(p.slope) <= -c2 * start.slope

    low = start
    for _ in range(most):
        p = at(t)
        if high(p, low):
            ends = low, p
            break
        if flat(p):
            return p, False
        if p.slope >= 0:
            ends = p, low
            break
        far = _cubic(low, p)
        low, t = p, min(max(far, 2 * t), 10 * t) if far > t else 2 * t
    else:
        return low, low.f < start.f - slack
    for _ in range(most):
        low, other = ends
        width = other.t - low.t
        if low.t + width / 2 in (low.t, other.t):  # nothing between
            break
        t = _cubic(low, other)
        if not 0.1 <= (t - low.t) / width <= 0.9:
            t = low.t + width / 2
        p = at(t)
        if high(p, low) or p.f >= low.f + slack:
            ends = low, p
        elif flat(p):
            return p, False
        else:
            ends = p, low if p.slope * width >= 0 else other
    return ends[0] if ends[0].t > 0 else None, False


# Directions


class _LBFGS:
    """Limited-memory BFGS (algorithms 7.4 and 7.5)."""

    c2 = 0.9

    def __init__(self, problem: _Problem, maxcor: int = 10) -> None:
        self._pairs: deque[tuple[Array, Array, float]] = deque(maxlen=maxcor)

    def direction(self, p: _Point) -> Array:
        q = -p.g
        alphas = []
        for s, y, sy in reversed(self._pairs):
            alphas.append((s @ q) / sy)
            q = q - alphas[-1] * y
        if self._pairs:
            s, y, sy = self._pairs[-1]
            q = q * (sy / (y @ y))
        for (s, y, sy), alpha in zip(self._pairs, reversed(alphas), strict=True):
            q = q + (alpha - (y @ q) / sy) * s
        return q

    def update(self, old: _Point, new: _Point, d: Array) -> None:
        sy = new.t * (new.slope - old.slope)
        if sy > 0:
            self._pairs.append((new.x - old.x, new.g - old.g, sy))

    def reset(self) -> None:
        self._pairs.clear()

    def first_step(self, p: _Point) -> float:
        return 1.0 if self._pairs else min(1.0, 1 / p.largest)


class _BFGS:
    """BFGS with the inverse Hessian (algorithm 6.1, equations 6.17 and 6.20)."""

    c2 = 0.9

    def __init__(self, problem: _Problem) -> None:
        self._xp = problem.xp
        self._inverse: Array | None = None

    def direction(self, p: _Point) -> Array:
        return -p.g if self._inverse is None else -(self._inverse @ p.g)

    def update(self, old: _Point, new: _Point, d: Array) -> None:
        s, y, sy = new.x - old.x, new.g - old.g, new.t * (new.slope - old.slope)
        if not sy > 0:
            return
        if self._inverse is None:
            self._inverse = self._xp.eye(s.size, dtype=s.dtype) * (sy / (y @ y))
        hy = self._inverse @ y
        outer = self._xp.multiply.outer
        self._inverse = (
            self._inverse
            - (outer(s, hy) + outer(hy, s)) / sy
            + outer(s, s) * ((1 + (y @ hy) / sy) / sy)
        )

    def reset(self) -> None:
        self._inverse = None

    def first_step(self, p: _Point) -> float:
        return min(1.0, 1 / p.largest) if self._inverse is None else 1.0


class _CG:
    """Nonlinear conjugate gradients by Polak and Ribière, with restarts (equation 5.45)."""

    c2 = 0.4  # SciPy's: looser than usual for conjugate gradients, and quicker

    def __init__(self, problem: _Problem) -> None:
        self._xp = problem.xp
        self._last: tuple[_Point, _Point, Array] | None = None

    def direction(self, p: _Point) -> Array:
        if self._last is None:
            return -p.g
        old, _, d = self._last
        beta = self._xp.maximum((p.g @ (p.g - old.g)) / (old.g @ old.g), 0)
        return beta * d - p.g

    def update(self, old: _Point, new: _Point, d: Array) -> None:
        self._last = old, new, d

    def reset(self) -> None:
        self._last = None

    def first_step(self, p: _Point) -> float:
        if self._last is None:
            return min(1.0, 1 / p.largest)
        old, new, _ = self._last  # as much lower as the last step was (equation 3.60)
        return min(1.0, 1.01 * 2 * (new.f - old.f) / p.slope) or 1.0


class _NewtonCG:
    """Newton's equations solved by conjugate gradients, in part (algorithm 7.1)."""

    c2 = 0.9

    def __init__(self, problem: _Problem) -> None:
        self._problem = problem

    def direction(self, p: _Point) -> Array:
        xp, product = self._problem.xp, self._problem.curvature(p.x)
        (norm,) = numbers_of(xp, [p.g @ p.g])
        enough = min(0.5, norm**0.25) ** 2 * norm  # squared, as the norms are
        z, r, rr = xp.zeros_like(p.g), p.g, norm
        d = -r
        for i in range(20 * p.g.size):
            hd = product(d)
            (curvature,) = numbers_of(xp, [d @ hd])
            if not curvature > 0:
                return d if i == 0 else z
            alpha = rr / curvature
            z = z + alpha * d
            r = r + alpha * hd
            before = rr
            (rr,) = numbers_of(xp, [r @ r])
            if rr <= enough:
                break
            d = (rr / before) * d - r
        return z

    def update(self, old: _Point, new: _Point, d: Array) -> None:
        pass

    def reset(self) -> None:
        pass

    def first_step(self, p: _Point) -> float:
        return 1.0


_METHODS: dict[str, Any] = {"L-BFGS": _LBFGS, "BFGS": _BFGS, "CG": _CG, "Newton-CG": _NewtonCG}
# Options with their defaults, None where it depends on the number of variables; as in SciPy.
_OPTIONS: dict[str, dict[str, Any]] = {
    "L-BFGS": {"maxiter": 15000, "gtol": 1e-5, "ftol": 2.220446049250313e-09, "maxcor": 10},
    "BFGS": {"maxiter": None, "gtol": 1e-5},
    "CG": {"maxiter": None, "gtol": 1e-5},
    "Newton-CG": {"maxiter": None, "gtol": 1e-5},
    "Adam": {"maxiter": 10000, "gtol": 1e-5, "lr": 0.01},
}
_MESSAGES = {
    0: "A tolerance was met",
    1: "maxiter iterations were done",
    2: "No lower value was found along the search direction",
    3: "The value or the gradient is not finite",
    4: "The value falls without end along a line: the function seems to have no minimum",
    99: "The callback raised StopIteration",
}


def minimize(
    fun: Callable[..., Any],
    x0: Any,
    args: tuple[Any, ...] = (),
    method: str = "L-BFGS",
    *,
    tol: float | None = None,
    callback: Callable[..., Any] | None = None,
    options: dict[str, Any] | None = None,
) -> OptimizeResult:
    """Minimize a function, from `x0` on.

    Parameters
    ----------
    fun : callable
        ``fun(x, *args)``, a real tensor of one element made by gputensor's operations.
    x0 : tree of real floating point tensors
        Where to begin, of any shape; `fun` gets its like. Lists of numbers are one tensor. All is
        computed in its dtype, on its device.
    args : tuple
        Further arguments of `fun`.
    method : {"L-BFGS", "BFGS", "CG", "Newton-CG", "Adam"}
        The first four search along lines for points of the strong Wolfe conditions. BFGS keeps a
        matrix of the square of the number of variables; Newton-CG uses products with the Hessian.
    tol : float, optional
        Sets `gtol`, and `ftol` of L-BFGS.
    callback : callable, optional
        Called after each iteration with the current `x`; or with an :class:`OptimizeResult` of
        `x` and `fun` if its one parameter is called ``intermediate_result``. It may raise
        StopIteration to end the search.
    options : dict, optional
        ``maxiter``: the most iterations (15000 for L-BFGS, 10000 for Adam, otherwise 200 for each
        variable). ``gtol``: enough if no element of the gradient is larger (1e-5).
        ``ftol``, of L-BFGS: enough if a step lowers the value by less than this times the larger of
        1 and the values (2.2e-9). ``maxcor``, of L-BFGS: the number of steps that are remembered
        (10). ``lr``, of Adam: the learning rate (0.01).

    Returns
    -------
    OptimizeResult

    Raises
    ------
    ValueError
        For an unknown method or option.
    DTypeError
        If `x0` is not real, or of several dtypes.

    Examples
    --------
    >>> result = gt.optimize.minimize(lambda x: ((x - 3) ** 2).sum(), gt.zeros(2))
    >>> result.x
    tensor([3., 3.], dtype=float32)
    """
    if method not in _OPTIONS:
        raise ValueError(f"minimize: method is {method!r}; allowed are {', '.join(_OPTIONS)}")
    given = dict(options or {})
    chosen = dict(_OPTIONS[method])
    if unknown := given.keys() - chosen.keys():
        raise ValueError(
            f"minimize: {method} has no option {', '.join(sorted(unknown))}; it has "
            f"{', '.join(chosen)}"
        )
    if tol is not None:
        chosen |= {name: tol for name in ("gtol", "ftol") if name in chosen}
    chosen |= given
    problem = _Problem(fun, x0, args)
    if chosen["maxiter"] is None:
        chosen["maxiter"] = 200 * problem.start.size
    steps = _adam if method == "Adam" else _descent
    with no_grad(), backend.on_device_of(problem.start):
        status, nit, p = steps(problem, method, chosen, _report(problem, callback))
        return OptimizeResult(
            x=problem.result(p.x),
            fun=p.f,
            jac=problem.result(p.g),
            nit=nit,
            nfev=problem.nfev,
            njev=problem.nfev,
            nhev=problem.nhev,
            success=status == 0,
            status=status,
            message=_MESSAGES[status],
        )


def _report(problem: _Problem, callback: Callable[..., Any] | None) -> Callable[[_Point], bool]:
    """Function that tells the callback of a point; whether it wants to stop."""
    whole = callback is not None and list(inspect.signature(callback).parameters) == [
        "intermediate_result"
    ]

    def report(p: _Point) -> bool:
        if callback is None:
            return False
        x = problem.result(p.x)
        try:
            if whole:
                callback(intermediate_result=OptimizeResult(x=x, fun=p.f))
            else:
                callback(x)
        except StopIteration:
            return True
        return False

    return report


def _ended(p: _Point, nit: int, options: dict[str, Any]) -> int | None:
    """Status of a search that has come to an end at `p`."""
    if not (math.isfinite(p.f) and math.isfinite(p.largest)):
        return 3
    if p.largest <= options["gtol"]:
        return 0
    return 1 if nit >= options["maxiter"] else None


def _descent(
    problem: _Problem, method: str, options: dict[str, Any], report: Callable[[_Point], bool]
) -> tuple[int, int, _Point]:
    """Search along line after line: status, number of iterations and last point."""
    how = _METHODS[method](problem, **{k: options[k] for k in ("maxcor",) if k in options})
    p, nit = problem(problem.start), 0
    while (status := _ended(p, nit, options)) is None:
        d = how.direction(p)
        (slope,) = numbers_of(problem.xp, [p.g @ d])
        if not slope < 0:  # rounding
            how.reset()
            d = -p.g
            (slope,) = numbers_of(problem.xp, [p.g @ d])
        p = p._replace(t=0.0, slope=slope)
        found, endless = _line_search(problem, p, d, how.first_step(p), 1e-4, how.c2)
        if found is None or found.t == 0:
            return 2, nit, p
        how.update(p, found, d)
        old, p = p, found
        nit += 1
        if report(p):
            return 99, nit, p
        if not math.isfinite(p.f):
            continue
        if endless:
            return 4, nit, p
        gained = old.f - p.f
        if gained <= options.get("ftol", -math.inf) * max(abs(old.f), abs(p.f), 1):
            return 0, nit, p
        if gained <= 0 and p.largest >= old.largest:
            return 2, nit, p
    return status, nit, p


def _adam(
    problem: _Problem, method: str, options: dict[str, Any], report: Callable[[_Point], bool]
) -> tuple[int, int, _Point]:
    """Steps of Adam, see :class:`gputensor.optim.Adam`, and the best point they came to."""
    x = parameter(problem.start.copy())
    optimizer = Adam([x], lr=options["lr"])
    p = best = problem(x.array.copy())
    nit = 0
    while (status := _ended(p, nit, options)) is None:
        x.grad = wrap(p.g)
        optimizer.step()
        nit += 1
        p = problem(x.array.copy())
        best = p if p.f <= best.f else best
        if report(p):
            return 99, nit, best
    return status, nit, p if status == 0 else best
