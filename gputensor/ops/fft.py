"""The Fourier transforms of the Array API standard.

Transforms are linear, so a rule is a transform, too. Those of real numbers leave out one half of a
result that is Hermitian, ``y[-k] == conj(y[k])``; their rules count what is left out by a factor.

``norm`` is for all of them the side that divides by the number n of points: ``"forward"``,
``"backward"`` (the inverse, the default), or ``"ortho"``, both by the square root of n. Precision
is kept, float32 gives complex64; integers are taken as float64.
"""

import operator
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from gputensor import backend, config
from gputensor.autograd import Operand, Primitive, Tensor, as_array, wrap
from gputensor.backend import Device
from gputensor.errors import DTypeError, ShapeError
from gputensor.ops.axes import checked_axis, one_axis
from gputensor.ops.creation import raw_like
from gputensor.ops.data_type import astype, checked_dtype
from gputensor.ops.pieces import pad
from gputensor.ops.precision import widened
from gputensor.options import ints, number

__all__ = [
    "fft",
    "fft2",
    "fftfreq",
    "fftn",
    "fftshift",
    "hfft",
    "ifft",
    "ifft2",
    "ifftn",
    "ifftshift",
    "ihfft",
    "irfft",
    "irfft2",
    "irfftn",
    "rfft",
    "rfft2",
    "rfftfreq",
    "rfftn",
]

Axes: TypeAlias = tuple[int, ...]


def _fitted(xp: Any, g: Any, shape: tuple[int, ...]) -> Any:
    """Gradient of what was cut or padded with zeros to the shape of `g`, from `shape`."""
    if g.shape == shape:
        return g
    key = tuple(slice(min(a, b)) for a, b in zip(g.shape, shape, strict=True))
    return xp.index_put(shape, key, g[key])


def _counted(g: Any, n: int, axis: int, times: float) -> Any:
    """`g` times `times` but for those of the ``n // 2 + 1`` elements that stand for themselves."""
    length = n // 2 + 1
    factors = raw_like(g, "full", length, times, dtype=g.dtype.char.lower())  # the real dtype
    factors[0] = 1
    if n % 2 == 0:
        factors[-1] = 1
    return g * factors.reshape(length, *(1,) * (len(g.shape) - 1 - axis))


def _full_rule(name: str) -> Callable[..., Any]:
    def rule(xp: Any, g: Any, _out: Any, _x: Any, n: int, axis: int, norm: str) -> Any:
        return _fitted(xp, getattr(xp.fft, name)(g, n=n, axis=axis, norm=norm), _x.shape)

    return rule


def _from_half_rule(name: str) -> Callable[..., Any]:
    def rule(xp: Any, g: Any, _out: Any, _x: Any, n: int, axis: int, norm: str) -> Any:
        found = getattr(xp.fft, name)(g, n=n, axis=axis, norm=norm)
        return _fitted(xp, _counted(found, n, axis, 2), _x.shape)

    return rule


def _to_half_rule(name: str) -> Callable[..., Any]:
    def rule(xp: Any, g: Any, _out: Any, _x: Any, n: int, axis: int, norm: str) -> Any:
        g = _counted(g, n, axis, 0.5)
        return _fitted(xp, getattr(xp.fft, name)(g, n=n, axis=axis, norm=norm), _x.shape)

    return rule


def _along(name: str, rule: Callable[..., Any]) -> Primitive:
    """Transform along one axis."""
    return Primitive(
        name,
        lambda xp, x, n, axis, norm: getattr(xp.fft, name)(x, n=n, axis=axis, norm=norm),
        (rule,),
    )


_fft = _along("fft", _full_rule("fft"))
_ifft = _along("ifft", _full_rule("ifft"))
_rfft = _along("rfft", _to_half_rule("hfft"))
_irfft = _along("irfft", _from_half_rule("ihfft"))
_hfft = _along("hfft", _from_half_rule("rfft"))
_ihfft = _along("ihfft", _to_half_rule("irfft"))


def _over(name: str, rule: Callable[..., Any]) -> Primitive:
    """Transform over several axes."""
    return Primitive(
        name,
        # A list, since CuPy takes a tuple that equals x.shape for one that changes no length.
        lambda xp, x, s, axes, norm: getattr(xp.fft, name)(x, s=list(s), axes=axes, norm=norm),
        (rule,),
    )


def _fftn_rule(name: str) -> Callable[..., Any]:
    def rule(xp: Any, g: Any, _out: Any, _x: Any, s: Axes, axes: Axes, norm: str) -> Any:
        return _fitted(xp, getattr(xp.fft, name)(g, s=s, axes=axes, norm=norm), _x.shape)

    return rule


def _rfftn_rule(xp: Any, g: Any, _out: Any, _x: Any, s: Axes, axes: Axes, norm: str) -> Any:
    g = _counted(g, s[-1], axes[-1], 0.5)
    if len(axes) > 1:
        g = xp.fft.fftn(g, s=s[:-1], axes=axes[:-1], norm=norm)
    return _fitted(xp, xp.fft.hfft(g, n=s[-1], axis=axes[-1], norm=norm), _x.shape)


def _irfftn_rule(xp: Any, g: Any, _out: Any, _x: Any, s: Axes, axes: Axes, norm: str) -> Any:
    found = _counted(xp.fft.ihfft(g, n=s[-1], axis=axes[-1], norm=norm), s[-1], axes[-1], 2)
    if len(axes) > 1:
        found = xp.fft.ifftn(found, s=s[:-1], axes=axes[:-1], norm=norm)
    return _fitted(xp, found, _x.shape)


_fftn = _over("fftn", _fftn_rule("fftn"))
_ifftn = _over("ifftn", _fftn_rule("ifftn"))
_rfftn = _over("rfftn", _rfftn_rule)
_irfftn = _over("irfftn", _irfftn_rule)


# The transforms along the last axis and along the others, by that over several.
_ALONG = {
    _fftn: (_fft, _fft),
    _ifftn: (_ifft, _ifft),
    _rfftn: (_rfft, _fft),
    _irfftn: (_irfft, _ifft),
}


def _operand(name: str, x: Operand, norm: str) -> Operand:
    """The operand, of a dtype that can be transformed, after a look at `norm`.

    Raises
    ------
    ValueError
        If `norm` is unknown.
    """
    if norm not in ("backward", "ortho", "forward"):
        raise ValueError(
            f"fft.{name}: norm {norm!r} is unknown; allowed are 'backward', 'ortho', 'forward'"
        )
    x = widened(as_array(f"fft.{name}", x))
    dtype = getattr(x, "dtype", None)
    # NumPy would take bfloat16 for float64.
    return astype(x, np.float32) if dtype is not None and dtype.kind == "V" else x


def _length(name: str, n: Any) -> int:
    length: int = operator.index(n)
    if length < 1:
        raise ShapeError(f"fft.{name}: {n} points cannot be transformed; it takes one or more")
    return length


def _not_empty(x: Operand, axis: int) -> Operand:
    """`x` with a zero along `axis` if there is nothing, of which NumPy's inverses make garbage."""
    if x.shape[axis]:
        return x
    widths = [(0, 0)] * len(x.shape)
    widths[axis] = (0, 1)
    return pad(x, widths)


def _one_axis(
    run: Primitive, x: Operand, n: int | None, axis: int, norm: str, half: bool = False
) -> Tensor:
    """A transform along one axis; `half` says that `x` is one half of a Hermitian array."""
    x = _operand(run.name, x, norm)
    axis = one_axis(f"fft.{run.name}", x, axis)
    if n is None:
        n = 2 * (x.shape[axis] - 1) if half else x.shape[axis]
    if half:
        x = _not_empty(x, axis)
    return run(x, n=_length(run.name, n), axis=axis % len(x.shape), norm=norm)


def _axes(
    run: Primitive,
    x: Operand,
    s: Sequence[int] | None,
    axes: Sequence[int] | None,
    norm: str,
    half: bool = False,
) -> Tensor:
    """A transform over several axes; `half` as above, of the last of them."""
    x = _operand(run.name, x, norm)
    ndim = len(getattr(x, "shape", ()))
    if axes is None:
        axes = range(ndim - (ndim if s is None else len(s)), ndim)
    axes = ints(f"fft.{run.name}", "axes", axes)
    for a in axes:
        checked_axis(f"fft.{run.name}", x, a)
    if not axes:
        raise ShapeError(f"fft.{run.name}: there is no axis to transform; shape is {x.shape}")
    axes = tuple(a % ndim for a in axes)
    if s is None:
        s = [x.shape[a] for a in axes]
        if half:
            s[-1] = 2 * (s[-1] - 1)
    if len(s) != len(axes):
        raise ShapeError(f"fft.{run.name}: s {tuple(s)} and axes {axes} must be as many")
    lengths = tuple(_length(run.name, n) for n in s)
    if half:
        x = _not_empty(x, axes[-1])
    if len(set(axes)) == len(axes):
        return run(x, s=lengths, axes=axes, norm=norm)
    found: Tensor = x
    # As in NumPy, an axis that is named twice is transformed twice.
    last, others = _ALONG[run]
    order = list(zip(lengths, axes, strict=True))
    steps = [(others, *pair) for pair in order[-2::-1]]
    steps.insert(len(steps) if half else 0, (last, *order[-1]))
    for step, n, axis in steps:
        found = step(found, n=n, axis=axis, norm=norm)
    return found


def fft(x: Operand, /, n: int | None = None, axis: int = -1, norm: str = "backward") -> Tensor:
    r"""Discrete Fourier transform :math:`y_k = \sum_j x_j e^{-2\pi i jk/n}`.

    Parameters
    ----------
    x : Tensor or array
    n : int, optional
        Number of points: the end is cut off or zeros are added. The length of `x` by default.
    axis : int
    norm : {"backward", "ortho", "forward"}
        Whether the result is left as it is, or divided by the root of n or by n.

    Returns
    -------
    Tensor
        Complex, of length n along `axis`.

    Raises
    ------
    ShapeError
        If `axis` is not an axis of `x`, or n is less than 1.
    ValueError
        For another `norm`.

    Examples
    --------
    >>> gt.fft.fft(gt.tensor([1.0, 0.0, 0.0, 0.0]))
    tensor([1.+0.j, 1.+0.j, 1.+0.j, 1.+0.j], dtype=complex64)
    """
    return _one_axis(_fft, x, n, axis, norm)


def ifft(x: Operand, /, n: int | None = None, axis: int = -1, norm: str = "backward") -> Tensor:
    r"""Inverse of :func:`fft`, :math:`y_j = \frac1n \sum_k x_k e^{2\pi i jk/n}`.

    Other parameters are those of :func:`fft`; `norm` ``"forward"`` leaves the sum as it is.

    Examples
    --------
    >>> gt.fft.ifft(gt.fft.fft(gt.tensor([1.0, 2.0])))
    tensor([1.+0.j, 2.+0.j], dtype=complex64)
    """
    return _one_axis(_ifft, x, n, axis, norm)


def fftn(
    x: Operand,
    /,
    s: Sequence[int] | None = None,
    axes: Sequence[int] | None = None,
    norm: str = "backward",
) -> Tensor:
    """:func:`fft` along several axes.

    Parameters
    ----------
    x : Tensor or array
    s : sequence of ints, optional
        Number of points along each of `axes`.
    axes : sequence of ints, optional
        All by default; the last ``len(s)`` if `s` is given. One that is named twice is transformed
        twice.
    norm : {"backward", "ortho", "forward"}

    Returns
    -------
    Tensor
        Complex.

    Raises
    ------
    ShapeError
        If `s` and `axes` do not fit together or not the shape.

    Examples
    --------
    >>> gt.fft.fftn(gt.ones((2, 2, 2))).shape
    (2, 2, 2)
    """
    return _axes(_fftn, x, s, axes, norm)


def ifftn(
    x: Operand,
    /,
    s: Sequence[int] | None = None,
    axes: Sequence[int] | None = None,
    norm: str = "backward",
) -> Tensor:
    """:func:`ifft` along several axes; parameters as for :func:`fftn`.

    Examples
    --------
    >>> gt.fft.ifftn(gt.ones((2, 2))).shape
    (2, 2)
    """
    return _axes(_ifftn, x, s, axes, norm)


def rfft(x: Operand, /, n: int | None = None, axis: int = -1, norm: str = "backward") -> Tensor:
    """:func:`fft` of real numbers: the first ``n // 2 + 1`` elements, of which the rest follow.

    Raises
    ------
    DTypeError
        If `x` is complex.

    Examples
    --------
    >>> gt.fft.rfft(gt.ones(4))
    tensor([4.+0.j, 0.+0.j, 0.+0.j], dtype=complex64)
    """
    return _one_axis(_rfft, _real("rfft", x), n, axis, norm)


def _real(name: str, x: Operand) -> Operand:
    x = as_array(f"fft.{name}", x)
    if getattr(x, "dtype", np.dtype(float)).kind == "c":
        raise DTypeError(f"fft.{name}: x must be real, it is {x.dtype}; use gt.fft.fft")
    return x


def irfft(x: Operand, /, n: int | None = None, axis: int = -1, norm: str = "backward") -> Tensor:
    """Inverse of :func:`rfft`: n real numbers of ``n // 2 + 1`` complex ones.

    By default n is ``2 * (m - 1)`` for m elements; for the inverse of an odd number it must be
    given. The imaginary part of the first element, and for even n of the last, counts for nothing.

    Examples
    --------
    >>> gt.fft.irfft(gt.fft.rfft(gt.tensor([1.0, 2.0, 3.0, 4.0])))
    tensor([1., 2., 3., 4.], dtype=float32)
    """
    return _one_axis(_irfft, x, n, axis, norm, half=True)


def rfftn(
    x: Operand,
    /,
    s: Sequence[int] | None = None,
    axes: Sequence[int] | None = None,
    norm: str = "backward",
) -> Tensor:
    """:func:`rfft` along the last of `axes`, then :func:`fft` along the others.

    Examples
    --------
    >>> gt.fft.rfftn(gt.ones((2, 4))).shape
    (2, 3)
    """
    return _axes(_rfftn, _real("rfftn", x), s, axes, norm)


def irfftn(
    x: Operand,
    /,
    s: Sequence[int] | None = None,
    axes: Sequence[int] | None = None,
    norm: str = "backward",
) -> Tensor:
    """Inverse of :func:`rfftn`; `s` is the shape of the result along `axes`.

    Examples
    --------
    >>> gt.fft.irfftn(gt.fft.rfftn(gt.ones((2, 4)))).shape
    (2, 4)
    """
    return _axes(_irfftn, x, s, axes, norm, half=True)


def _over_two(many: Callable[..., Tensor], name: str) -> Callable[..., Tensor]:
    def function(
        x: Operand,
        /,
        *,
        s: Sequence[int] | None = None,
        axes: Sequence[int] = (-2, -1),
        norm: str = "backward",
    ) -> Tensor:
        return many(x, s=s, axes=axes, norm=norm)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f""":func:`{many.__name__}` along two axes, the last two by default.

    Examples
    --------
    >>> gt.fft.{name}(gt.ones((4, 4))).shape
    {(4, 3) if name == "rfft2" else (4, 6) if name == "irfft2" else (4, 4)}
    """
    return function


fft2 = _over_two(fftn, "fft2")
ifft2 = _over_two(ifftn, "ifft2")
rfft2 = _over_two(rfftn, "rfft2")
irfft2 = _over_two(irfftn, "irfft2")


def hfft(x: Operand, /, n: int | None = None, axis: int = -1, norm: str = "backward") -> Tensor:
    """:func:`fft` of a Hermitian array, of which `x` is the first half: n real numbers.

    The length n is as for :func:`irfft`.

    Examples
    --------
    >>> gt.fft.hfft(gt.tensor([1.0, 2.0, 1.0]))
    tensor([ 6.,  0., -2.,  0.], dtype=float32)
    """
    return _one_axis(_hfft, x, n, axis, norm, half=True)


def ihfft(x: Operand, /, n: int | None = None, axis: int = -1, norm: str = "backward") -> Tensor:
    """Inverse of :func:`hfft`: the first ``n // 2 + 1`` elements of a Hermitian array.

    Examples
    --------
    >>> gt.fft.ihfft(gt.ones(4)).shape
    (3,)
    """
    return _one_axis(_ihfft, _real("ihfft", x), n, axis, norm)


def _frequencies(name: str, n: int, d: float, dtype: Any, device: str | Device | None) -> Tensor:
    chosen = checked_dtype("dtype", config.default_dtype() if dtype is None else dtype)
    if chosen.kind != "f":
        raise DTypeError(f"fft.{name}: dtype must be real floating point, it is {chosen}")
    d = number(f"fft.{name}", "d", d)
    if d == 0:
        raise ValueError(f"fft.{name}: d, the spacing of samples, is 0")
    where = backend.device(device)
    with backend.on_device_of(where):
        found = getattr(backend.namespace(where).fft, name)(_length(name, n), d)
        return wrap(found.astype(chosen))


def fftfreq(
    n: int, /, *, d: float = 1.0, dtype: Any = None, device: str | Device | None = None
) -> Tensor:
    """Frequencies of the elements of :func:`fft`, in cycles per unit of `d`; negative ones last.

    Parameters
    ----------
    n : int
        Number of points.
    d : float
        Spacing of samples.
    dtype : dtype, optional
        float32 by default.
    device : str or Device, optional

    Returns
    -------
    Tensor of shape (n,)

    Examples
    --------
    >>> gt.fft.fftfreq(4)
    tensor([ 0.  ,  0.25, -0.5 , -0.25], dtype=float32)
    """
    return _frequencies("fftfreq", n, d, dtype, device)


def rfftfreq(
    n: int, /, *, d: float = 1.0, dtype: Any = None, device: str | Device | None = None
) -> Tensor:
    """Frequencies of the ``n // 2 + 1`` elements of :func:`rfft`; otherwise as :func:`fftfreq`.

    Examples
    --------
    >>> gt.fft.rfftfreq(4)
    tensor([0.  , 0.25, 0.5 ], dtype=float32)
    """
    return _frequencies("rfftfreq", n, d, dtype, device)


_fftshift = Primitive(
    "fftshift",
    lambda xp, x, axes: xp.fft.fftshift(x, axes=axes) if axes else x.copy(),
    (lambda xp, g, _out, _x, axes: xp.fft.ifftshift(g, axes=axes) if axes else g,),
)
_ifftshift = Primitive(
    "ifftshift",
    lambda xp, x, axes: xp.fft.ifftshift(x, axes=axes) if axes else x.copy(),
    (lambda xp, g, _out, _x, axes: xp.fft.fftshift(g, axes=axes) if axes else g,),
)


def _shifted(run: Primitive, x: Operand, axes: int | Sequence[int] | None) -> Tensor:
    x = as_array(f"fft.{run.name}", x)
    name = f"fft.{run.name}"
    every = range(len(getattr(x, "shape", ())))
    places = tuple(every) if axes is None else ints(name, "axes", axes)
    checked_axis(name, x, places)
    return run(x, axes=places)


def fftshift(x: Operand, /, *, axes: int | Sequence[int] | None = None) -> Tensor:
    """Move the frequency 0 from the first place to the middle, along `axes` or all.

    Examples
    --------
    >>> gt.fft.fftshift(gt.tensor([0, 1, -2, -1]))
    tensor([-2, -1,  0,  1])
    """
    return _shifted(_fftshift, x, axes)


def ifftshift(x: Operand, /, *, axes: int | Sequence[int] | None = None) -> Tensor:
    """Inverse of :func:`fftshift`.

    Examples
    --------
    >>> gt.fft.ifftshift(gt.tensor([-2, -1, 0, 1]))
    tensor([ 0,  1, -2, -1])
    """
    return _shifted(_ifftshift, x, axes)
