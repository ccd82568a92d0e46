"""Values and derivatives at zeros, infinities, equal, huge and tiny numbers."""

import itertools
import math

import numpy as np
import pytest
import scipy.linalg
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

import gputensor as gt
from gputensor import linalg
from gputensor.nn import functional as F

inf, nan = math.inf, math.nan
quick = settings(deadline=None, max_examples=60)


def gradients(function, *operands, dtype="float32"):
    """Gradients of the sum of a function of numbers or lists, as lists."""
    tensors = [gt.asarray(np.asarray(x, dtype)) for x in operands]
    found = gt.grad(lambda *x: gt.sum(function(*x)), tuple(range(len(tensors))))(*tensors)
    return [g.tolist() for g in found]


# Any magnitude: float32 computes what float64 does, whose squares of such numbers do not overflow.

# CUDA takes subnormal numbers for 0.
ANY = st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=False)
VECTORS = st.lists(ANY, min_size=1, max_size=4)
# Close to one another, and far from 0.
CLOSE = st.tuples(ANY, st.lists(st.integers(-20, 20), min_size=1, max_size=4)).map(
    lambda pair: [pair[0] * (1 + n * 2.0**-20) for n in pair[1]]
)


def assert_as_in_float64(function, *operands, tolerance=1e-5, value=True):
    """Value and gradients in float32 are those in float64, rounded; what underflows there is 0."""
    with np.errstate(all="ignore"):
        narrow = [np.asarray(x, np.float32) for x in operands]
        assume(all(np.isfinite(x).all() for x in narrow))
        found, wanted = (
            [
                [function(*map(gt.asarray, arrays)).tolist()],
                *gradients(function, *arrays, dtype=arrays[0].dtype),
            ]
            for arrays in (narrow, [x.astype(np.float64) for x in narrow])
        )
        for a, b in zip(found[not value :], wanted[not value :], strict=True):
            exact = np.asarray(b, np.float64).astype(np.float32).astype(np.float64)
            scale = np.max(np.abs(exact), initial=0, where=np.isfinite(exact))
            np.testing.assert_allclose(a, exact, rtol=tolerance, atol=tolerance * scale + 3e-38)


UNARY = [
    "asinh",
    "atan",
    "cbrt",
    "exp",
    "expm1",
    "log1p",
    "reciprocal",
    "softplus",
    "square",
    "abs",
]


@pytest.mark.parametrize("name", UNARY)
@quick
@given(x=ANY)
@example(x=1e20)
@example(x=-20.0)
def test_functions_of_numbers_of_any_magnitude(name, x):
    assume(name != "log1p" or x > -1)
    assert_as_in_float64(getattr(gt, name), x)


@pytest.mark.parametrize("name", ["log", "log2", "log10", "sqrt"])
@quick
@given(x=ANY.map(abs).filter(lambda x: x > 1e-37))
@example(x=3e38)
def test_roots_and_logarithms_of_numbers_of_any_magnitude(name, x):
    assert_as_in_float64(getattr(gt, name), x)


@pytest.mark.parametrize("name", ["atan2", "hypot", "logaddexp", "maximum"])
@quick
@given(x=ANY, y=ANY)
@example(x=1e8, y=1e8)
@example(x=1e20, y=-1e20)
@example(x=0.0, y=0.0)
def test_functions_of_two_numbers_of_any_magnitude(name, x, y):
    # Beyond these a distance is subnormal or infinite, and so is of no use for its gradient.
    assume(name == "maximum" or x == y == 0 or 1e-30 < max(abs(x), abs(y)) < 2e38)
    assert_as_in_float64(getattr(gt, name), x, y)


OF_VECTORS = {
    "norm": (linalg.vector_norm, 1e-30),
    "norm of order 3": (lambda x: linalg.vector_norm(x, ord=3), 1e-30),
    "norm of order 1": (lambda x: linalg.vector_norm(x, ord=1), 0),
    "norm of order -2": (lambda x: linalg.vector_norm(x, ord=-2), 1e-30),
    "largest": (lambda x: linalg.vector_norm(x, ord=inf), 0),
    "matrix norm": (lambda x: linalg.matrix_norm(x[None]), 1e-30),
    "logsumexp": (gt.logsumexp, 0),
}


@pytest.mark.parametrize("name", OF_VECTORS)
@quick
@given(x=VECTORS)
@example(x=[1e20, -2e20])
@example(x=[1e-25, 2e-25])
@example(x=[1e8, 1e8])
@example(x=[0.0, 0.0])
def test_functions_of_vectors_of_any_magnitude(name, x):
    function, least = OF_VECTORS[name]
    assume(all(v == 0 or least < abs(v) < 1e38 for v in x))
    assert_as_in_float64(function, x)


@quick
@given(x=st.one_of(VECTORS, CLOSE))
@example(x=[1e20, -1e20])
@example(x=[1e-25, 3e-25])
@example(x=[1.0, 1.0])
@example(x=[25198316.0] * 3)  # whose sum is rounded
def test_deviations_of_any_magnitude(x):
    assume(all(v == 0 or 1e-30 < abs(v) < 1e37 for v in x))
    spread = np.std(np.asarray(x, np.float32).astype(np.float64))
    # Rounding of the mean is as large as these.
    assume(spread == 0 or spread > 1e-3 * max(map(abs, x)))
    assert_as_in_float64(gt.std, x, tolerance=1e-3)
    assert_as_in_float64(lambda v: gt.std(v[:, None], axis=0), x, tolerance=1e-3)


def test_variances_of_many_numbers_far_from_0():
    for n in (500, 4096, 100000):
        x = (1e7 + np.random.default_rng(9).normal(size=n)).astype(np.float32)
        wanted = np.var(x.astype(np.float64))
        assert gt.var(gt.asarray(x)).item() == pytest.approx(wanted, rel=2e-3)
        assert gt.var(gt.asarray(x[:, None]), axis=0).tolist() == pytest.approx([wanted], rel=2e-3)
        y = F.layer_norm(gt.asarray(x), gt.ones(n), gt.zeros(n)).numpy()
        # The mean itself is rounded to a multiple of 1.
        exact = (x - x.astype(np.float64).mean()) / np.sqrt(wanted)
        assert np.abs(y - exact).max() < 0.6


@quick
@given(
    x=st.lists(st.floats(-3, 3, width=32), min_size=2, max_size=6, unique=True),
    power=st.integers(-120, 120),
)
def test_layer_norms_do_not_depend_on_the_size_of_rows(x, power):
    x = np.asarray([x], np.float32)
    assume(np.std(x) > 0.1)
    weight, bias = np.arange(1.0, x.size + 1, dtype=np.float32), np.ones(x.size, np.float32)
    vectors = gt.asarray(weight), gt.asarray(bias)
    slopes = gt.asarray(np.cos(np.arange(x.size), dtype=np.float32))
    for function, given_vectors in ((F.layer_norm, vectors), (F.rms_norm, vectors[:1])):
        found = []
        for exponent in (0, power):
            scaled = gt.asarray(np.ldexp(x, exponent))
            # Nothing is added to the variance that counts.
            tiny = np.ldexp(1e-30, 2 * exponent)
            tiny = 0.0 if tiny < 1e-38 else min(tiny, 1e38)

            def norm(v, *rest, function=function, tiny=tiny):
                return function(v, *rest, eps=tiny)

            out, pull = gt.vjp(norm, scaled, *given_vectors)
            dx, *others = (g.numpy() for g in pull(slopes[None]))
            found.append((out.numpy(), np.ldexp(dx.astype(np.float64), exponent), *others))
        if power > -60:  # below, squares are subnormal
            for a, b in zip(*found, strict=True):
                np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4)


@quick
@given(
    size=st.sampled_from([0.0, 1e4, 1e8, -1e8, 1e30, 2e38]),
    logits=st.lists(st.integers(-30, 30), min_size=2, max_size=5),
    smoothing=st.sampled_from([0.0, 0.1, 1.0]),
    data=st.data(),
)
@example(size=1e8, logits=[0, 0], smoothing=0.0, data=None)
@example(size=2e38, logits=[0, 0, 0], smoothing=0.1, data=None)
def test_cross_entropy_does_not_round_at_the_size_of_the_logits(size, logits, smoothing, data):
    x = np.asarray([logits], np.float32) + np.float32(size)
    label = 0 if data is None else data.draw(st.integers(0, len(logits) - 1))
    weights = gt.full(x.shape, 0.25)
    for target in ([label], weights):
        found, wanted = (
            gt.value_and_grad(lambda v, t=target: F.cross_entropy(v, t, label_smoothing=smoothing))(
                gt.asarray(x.astype(dtype))
            )
            for dtype in (np.float32, np.float64)
        )
        for a, b in zip(found, wanted, strict=True):
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5, atol=1e-6)
        if size in (1e8, 2e38) and not any(logits):
            mass = 1 if target is not weights else 0.25 * len(logits) * (1 - smoothing) + smoothing
            assert found[0].item() == pytest.approx(math.log(len(logits)) * mass)


@quick
@given(x=st.one_of(ANY, st.sampled_from([inf, -inf])), t=st.sampled_from([0.0, 0.25, 1.0]))
@example(x=10.0, t=1.0)
@example(x=-1.09375, t=0.25)
@example(x=inf, t=0.0)
@example(x=inf, t=1.0)
def test_binary_cross_entropy_keeps_its_digits_and_knows_certainty(x, t):
    def loss(v):
        return F.binary_cross_entropy_with_logits(v, gt.asarray(np.asarray([t], v.dtype)))

    found = loss(gt.asarray(np.asarray([x], np.float32))).item()
    sure = np.float64(min(max(x, -1e300), 1e300))
    wanted = (1 - t) * np.logaddexp(0, sure) + t * np.logaddexp(0, -sure)
    if math.isinf(x) and t in (0.0, 1.0):
        wanted = 0.0 if (x > 0) == (t == 1) else inf
    if wanted < 3e38 or math.isinf(wanted):
        assert found == pytest.approx(wanted, rel=1e-5, abs=1e-44)
    ((slope,),) = gradients(loss, [x])
    one, other = np.exp(-np.logaddexp(0, -sure)), np.exp(-np.logaddexp(0, sure))
    # Nearer to 0 than normal numbers are, it may be 0; where its two parts are nearly the same,
    # their last digits are all that is left.
    last = max(2.0**-126, 4e-7 * min((1 - t) * one, t * other))
    assert slope == pytest.approx((1 - t) * one - t * other, rel=1e-5, abs=last)


# Single numbers


@pytest.mark.parametrize(
    ("function", "operands", "expected"),
    [
        # The quotient that was taken, not the floor of a rounded one.
        (gt.remainder, (1.0, 0.1), [1, -9]),
        (gt.remainder, (-1.0, inf), [1, 1]),
        (gt.remainder, (1.0, inf), [1, 0]),
        (gt.remainder, (7.5, -2.0), [1, 4]),
        # Infinities
        (gt.logaddexp, (2.0, inf), [0, 1]),
        (gt.logaddexp, (inf, inf), [0.5, 0.5]),
        (gt.logaddexp, (-inf, -inf), [0.5, 0.5]),
        (gt.logaddexp, (-inf, 1.0), [0, 1]),
        (gt.logsumexp, ([inf, 1.0],), [[1, 0]]),
        (gt.logsumexp, ([inf, -inf, inf],), [[0.5, 0, 0.5]]),
        (gt.logsumexp, ([-inf, -inf],), [[0.5, 0.5]]),
        (gt.logsumexp, ([nan, 1.0],), [[nan, nan]]),
        # At 0
        (gt.atan2, (0.0, 0.0), [0, 0]),
        (gt.atan2, (inf, 1.0), [0, 0]),
        (gt.atan2, (nan, inf), [nan, nan]),
        (gt.hypot, (0.0, 0.0), [0, 0]),
        (gt.std, ([1.0, 1.0],), [[0, 0]]),
        (gt.std, ([5.0],), [[0]]),
        (gt.std, ([1.0, nan],), [[nan, nan]]),
        *(
            (lambda x, p=p: linalg.vector_norm(x, ord=p), (x,), [slope])
            for p in (0.5, -1, -2, 1, 1.5, 2, 3)
            for x, slope in (
                ([0.0, 0.0], [0, 0]),
                ([0.0, 4.0], [0, 1 if p > 0 else 0]),
            )
        ),
        (lambda x: linalg.vector_norm(x, ord=-1), ([2.0, 2.0],), [[0.25, 0.25]]),
        # interp
        (gt.interp, ([1.0], [0.0, 1.0, 1.0], [0.0, 1.0, 2.0]), [[0], [0, 0, 0], [0, 0, 1]]),
        (gt.interp, ([inf, -inf], [0.0, 1.0], [2.0, 3.0]), [[0, 0], [0, 0], [1, 1]]),
        (
            gt.interp,
            ([0.5], [0.0, 1.0, 2.0], [0.0, 1.0, inf]),
            [[1], [-0.5, -0.5, 0], [0.5, 0.5, 0]],
        ),
        (gt.pow, (0.0, 0.0), [0, -inf]),
        (gt.pow, (nan, 0.0), [0, nan]),
        (gt.expm1, (-20.0,), [math.exp(-20)]),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_gradients_at_single_points(function, operands, expected):
    found = gradients(function, *operands)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_mixed_second_derivatives_of_a_power_with_exponent_0():
    for x in (2.0, 0.5, 100.0):
        found = gt.hessian(lambda p: p[0] ** p[1])(gt.asarray(np.array([x, 0.0])))
        log = math.log(x)
        np.testing.assert_allclose(found.numpy(), [[0, 1 / x], [1 / x, log * log]], rtol=1e-12)
    assert gt.grad(gt.grad(lambda x: x**0))(gt.tensor(0.0)).item() == 0


def test_numbers_among_the_operands_stay_exact_in_second_derivatives():
    y = gt.asarray(np.array(1.25))
    found = gt.grad(gt.grad(lambda v: 2.1**v))(y).item()
    assert found == pytest.approx(2.1**1.25 * math.log(2.1) ** 2, rel=1e-15)
    found = gt.grad(gt.grad(lambda v: gt.atan2(2.1, v)))(y).item()
    assert found == pytest.approx(2 * 2.1 * 1.25 / (2.1**2 + 1.25**2) ** 2, rel=1e-14)


@pytest.mark.cpu
@settings(deadline=None, max_examples=200)
@given(
    knots=st.lists(st.sampled_from([-inf, -1.0, 0.0, 0.0, 1.0, 2.0, inf]), min_size=1, max_size=4),
    values=st.lists(st.sampled_from([0.0, 2.0, -3.0, inf, -inf, nan]), min_size=4, max_size=4),
)
def test_interp_equals_numpy(knots, values):
    knots, values = np.sort(knots), np.asarray(values[: len(knots)])
    x = np.array([-inf, -1, -0.5, 0, 0.25, 1, 1.5, 2, 3, inf])
    found = gt.interp(gt.asarray(x), gt.asarray(knots), gt.asarray(values)).numpy()
    wanted = np.interp(x, knots, values)
    # Where NumPy has NaN, from an infinite abscissa to an ordinate, there may be a value.
    known = ~np.isnan(wanted) if np.isinf(knots).any() else np.full(x.shape, True)
    equal_infinities = np.isinf(knots[1:]) & (knots[1:] == knots[:-1])
    if not equal_infinities.any():
        np.testing.assert_allclose(found[known], wanted[known], rtol=1e-14)


def test_hessians_at_a_kink_are_what_the_docstrings_say():
    zero = gt.zeros(2)
    assert gt.hessian(lambda v: linalg.norm(v) ** 2)(zero).tolist() == [[0, 0], [0, 0]]
    assert gt.hessian(lambda v: gt.sum(v * v))(zero).tolist() == [[2, 0], [0, 2]]
    for function in (linalg.vector_norm, gt.hessian, gt.abs, gt.std):
        assert ")**2" in function.__doc__


# Stacks, axes, indices, dtypes


def test_one_singular_matrix_does_not_stop_the_others():
    good, bad = np.diag([2.0, 4.0]), np.ones((2, 2))
    bad[1] = 0
    x = gt.asarray(np.stack([good, bad, good]))
    keep = gt.asarray(np.array([True, False, True]))
    inverse = np.linalg.inv(good).T
    for mask, there in ((True, 0.0), (False, nan)):

        def loss(v, mask=mask):
            found = linalg.slogdet(v).logabsdet
            return gt.sum(gt.where(keep, found, 0.0) if mask else found)

        with np.errstate(divide="ignore"):
            g = gt.grad(loss)(x).numpy()
        np.testing.assert_allclose(g, [inverse, np.full((2, 2), there), inverse])

    def triangle(v):
        return gt.sum(gt.where(keep[:, None, None], linalg.qr(v).R, 0.0))

    g = gt.grad(triangle)(x).numpy()
    alone = gt.grad(lambda v: gt.sum(linalg.qr(v).R))(x[0]).numpy()
    np.testing.assert_allclose(g, [alone, np.zeros((2, 2)), alone])
    third = gt.grad(gt.grad(gt.grad(lambda s: gt.sum(linalg.det(x * s)[0]))))(gt.asarray(1.0))
    assert third.item() == 0  # of 8 s**2


@pytest.mark.parametrize("axis", [0, 1, -1, -2])
@pytest.mark.parametrize("shapes", [((3,), (3, 3)), ((3, 3), (3,)), ((3, 3), (2, 3, 3))])
def test_products_along_an_axis_of_operands_of_different_axes(axis, shapes):
    rng = np.random.default_rng(1)
    arrays = [rng.normal(size=s) for s in shapes]
    if any(not -a.ndim <= axis < a.ndim or a.shape[axis] != 3 for a in arrays):
        return
    for ours, theirs in ((linalg.cross, np.linalg.cross), (gt.vecdot, np.linalg.vecdot)):
        try:
            wanted = theirs(*arrays, axis=axis)
        except ValueError:  # they do not broadcast
            with pytest.raises(gt.errors.ShapeError):
                ours(*map(gt.asarray, arrays), axis=axis)
            continue
        np.testing.assert_allclose(ours(*map(gt.asarray, arrays), axis=axis).numpy(), wanted)
        leaves = [gt.tensor(a, requires_grad=True) for a in arrays]
        assert gt.gradcheck(lambda x, y, f=ours: f(x, y, axis=axis), *leaves)


def test_indices_that_are_bools_are_refused():
    x = gt.asarray(np.array([10.0, 20.0, 30.0]))
    mask = gt.asarray(np.array([True, False, True]))
    for call in (
        lambda: gt.take(x, mask),
        lambda: np.take(x, mask),
        lambda: gt.take(x, [True, False, True]),
        lambda: gt.take(x, True),
        lambda: gt.take_along_axis(x, mask),
        lambda: gt.take(x, gt.asarray(np.array([0.0]))),
        lambda: x[gt.asarray(np.array([0.0]))],
    ):
        with pytest.raises(IndexError, match=r"integers"):
            call()
    assert gt.take(x, []).shape == (0,)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "int64", "float32", "complex64"])
def test_differences_with_edges_equal_numpy(dtype):
    x = np.array([5, 3, 3], dtype)
    for edges in ({"prepend": 0}, {"append": 7}, {"prepend": x[:1], "append": x}, {}):
        for n in (0, 1, 2):
            wanted = np.diff(x, n=n, **edges)
            ours = {k: gt.asarray(e) if isinstance(e, np.ndarray) else e for k, e in edges.items()}
            found = gt.diff(gt.asarray(x), n=n, **ours)
            assert found.tolist() == wanted.tolist()
            # Numbers of Python's bend to floating point dtypes here.
            assert found.dtype == (wanted.dtype if x.dtype.kind in "biu" else x.dtype)
            assert np.diff(gt.asarray(x), n=n, **ours).tolist() == wanted.tolist()


@pytest.mark.parametrize("dtype", ["int8", "uint16", "int64", "float32"])
def test_functions_that_are_floating_point_in_numpy(dtype):
    x = np.array([3, 0, 1], dtype)
    x[1] = np.iinfo(dtype).min if np.dtype(dtype).kind in "iu" else -2
    for function in (np.fabs, np.rint, np.angle):
        wanted = function(x)
        found = function(gt.asarray(x))
        assert (found.dtype, found.tolist()) == (wanted.dtype, wanted.tolist())


def test_dtypes_of_the_angle_and_of_deviations():
    assert gt.angle(gt.asarray(np.array([True, False]))).dtype == np.float64
    for dtype in (np.bool_, np.int8):
        x = gt.asarray(np.array([[1, 0], [1, 0]], dtype))
        assert gt.std(x, axis=0).tolist() == [0, 0]
        assert gt.std(x).dtype == np.float64


def test_the_sign_of_complex_zeros_is_0():
    for z in (complex(0.0, -0.0), complex(-0.0, 0.0), complex(-0.0, -0.0)):
        found = gt.sign(gt.asarray(np.array(z))).item()
        assert (math.copysign(1, found.real), math.copysign(1, found.imag)) == (1, 1)
    with np.errstate(invalid="ignore"):
        assert np.isnan(gt.sign(gt.asarray(np.array(complex(nan, 1)))).item())


# linspace, gradient, einsum


@quick
@given(
    start=st.one_of(st.floats(-10, 10), st.lists(st.floats(-10, 10), min_size=2, max_size=2)),
    stop=st.one_of(st.floats(-10, 10), st.lists(st.floats(-10, 10), min_size=2, max_size=2)),
    num=st.integers(0, 6),
    endpoint=st.booleans(),
)
def test_linspace_of_tensors_equals_numpy(start, stop, num, endpoint):
    ends = gt.asarray(np.asarray(start)), gt.asarray(np.asarray(stop))
    wanted = np.linspace(start, stop, num, endpoint=endpoint)
    for found in (
        gt.linspace(*ends, num, endpoint=endpoint),
        np.linspace(*ends, num, endpoint=endpoint),
    ):
        np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-12, atol=1e-12)
    if num > 1 and endpoint:  # exactly
        assert found[0].tolist() == np.broadcast_to(start, found.shape[1:]).tolist()
        assert found[-1].tolist() == np.broadcast_to(stop, found.shape[1:]).tolist()


def test_linspace_of_tensors_is_differentiated_and_keeps_dtypes():
    start, stop = (gt.tensor([1.0, 2.0], dtype=gt.float64, requires_grad=True) for _ in "ab")
    assert gt.gradcheck(lambda a, b: gt.linspace(a, b, 5) ** 2, start, stop)
    assert gt.linspace(gt.asarray(0.0), 1.0, 3).tolist() == [0, 0.5, 1]
    assert gt.linspace(gt.asarray(0.0), 1.0, 3).dtype == np.float32
    assert gt.linspace(0, gt.asarray(2), 3).dtype == np.float64
    assert gt.linspace(gt.asarray(1.0), 1j, 2).dtype == np.complex64
    points, step = np.linspace(gt.asarray(0.0), 1.0, retstep=True)
    assert points.shape == (50,)
    assert step.item() == pytest.approx(1 / 49)
    with pytest.raises(gt.errors.DTypeError, match="complex"):
        gt.linspace(gt.asarray(1.0), 1j, 2, dtype=gt.float32)
    with pytest.raises(ValueError, match="num is -1"):
        gt.linspace(gt.asarray(1.0), 2.0, -1)


COORDINATES = np.array([0.0, 0.5, 1.5, 1.75, 4.0])


@pytest.mark.parametrize("edge_order", [1, 2])
@pytest.mark.parametrize(
    ("spacing", "axis"),
    [
        ((), None),
        ((0.5,), None),
        ((2.0, 0.25), None),
        ((COORDINATES[:4], COORDINATES), None),
        ((COORDINATES,), 1),
        ((COORDINATES[:4].astype(np.uint8),), 0),
        ((), (1, 0)),
        ((), -1),
    ],
)
def test_slopes_of_samples_equal_numpy(edge_order, spacing, axis):
    if any(np.asarray(s).dtype == np.uint8 for s in spacing):
        spacing = (np.array([7, 5, 2, 0], np.uint8),)  # whose differences are negative
    samples = np.random.default_rng(2).normal(size=(4, 5))
    options = {"axis": axis, "edge_order": edge_order}
    tensors = [gt.asarray(s) if isinstance(s, np.ndarray) else s for s in spacing]
    for x in (samples, samples.astype(np.float32), np.round(9 * samples).astype(np.int32)):
        wanted = np.gradient(x, *spacing, **options)
        for found in (
            gt.gradient(gt.asarray(x), *tensors, **options),
            np.gradient(gt.asarray(x), *tensors, **options),
        ):
            assert isinstance(found, tuple) == isinstance(wanted, tuple)
            pairs = (
                zip(found, wanted, strict=True) if isinstance(wanted, tuple) else [(found, wanted)]
            )
            for a, b in pairs:
                assert a.dtype == b.dtype
                np.testing.assert_allclose(a.numpy(), b, rtol=1e-4, atol=1e-5)


def test_slopes_of_samples_are_differentiated_and_checked():
    rng = np.random.default_rng(3)
    x, at = (gt.tensor(a, requires_grad=True) for a in (rng.normal(size=(3, 5)), COORDINATES))
    for edge_order in (1, 2):
        assert gt.gradcheck(
            lambda v, a, e=edge_order: gt.gradient(v, a, axis=1, edge_order=e), x, at
        )
    bent = gt.asarray(np.array([0.0, inf, 2.0]))  # a sample has no part in its own slope
    assert gt.gradient(bent).tolist() == [inf, 1, -inf]
    assert gt.gradient(bent, gt.asarray(np.arange(3.0))).tolist() == [inf, 1, -inf]
    for call, kind, text in (
        (lambda: gt.gradient(gt.ones(1)), gt.errors.ShapeError, "needs 2 samples"),
        (lambda: gt.gradient(gt.ones((2, 3)), gt.ones(4)), gt.errors.ShapeError, r"shape \(4,\)"),
        (lambda: gt.gradient(gt.ones((2, 3)), 1, 2, 3), TypeError, "3 spacings for 2 axes"),
        (lambda: gt.gradient(gt.ones(3), edge_order=3), ValueError, "edge_order is 3"),
    ):
        with pytest.raises(kind, match=text):
            call()


def test_einsum_takes_lists_of_axes_and_says_which_axes_differ():
    rng = np.random.default_rng(4)
    a, b = rng.normal(size=(2, 3)), rng.normal(size=(3, 4))
    x, y = gt.asarray(a), gt.asarray(b)
    for arguments in (
        (0, [0, 1], 1, [1, 2], [2, 0]),
        (0, [0, 1], 1, [1, 2]),
        (0, [5, 1], 1, [1, 30]),
        (0, [..., 1], [..., 1]),
    ):
        ours, theirs = (
            [pair[i] if isinstance(i, int) else i for i in arguments] for pair in ((x, y), (a, b))
        )
        np.testing.assert_allclose(gt.einsum(*ours).numpy(), np.einsum(*theirs))
        np.testing.assert_allclose(np.einsum(*ours).numpy(), np.einsum(*theirs))
    shapes = {"ij,jk->ik": ((3, 4), (5, 2)), "ijk,jkl->il": ((3, 2, 6), (3, 4, 5)), "ii": ((1, 3),)}
    for subscripts, sizes in shapes.items():
        with pytest.raises(gt.errors.ShapeError, match=r"letter '.' of .* has length . and length"):
            gt.einsum(subscripts, *(gt.ones(s) for s in sizes))
    with pytest.raises(TypeError, match="followed by a list of ints"):
        gt.einsum(x, [0, 1], y)
    with pytest.raises(gt.errors.ShapeError, match="from 0 to 51"):
        gt.einsum(x, [0, 52])


@pytest.mark.parametrize("axes", [(0, 0), (1, 0, 1), (0, 1, 0)])
def test_transforms_over_an_axis_that_is_named_twice_equal_numpy(axes):
    rng = np.random.default_rng(5)
    z = rng.normal(size=(4, 6)) + 1j * rng.normal(size=(4, 6))
    for name in ("fftn", "ifftn", "rfftn", "irfftn", "fft2", "ifft2", "rfft2", "irfft2"):
        data = z.real if name.startswith("rfft") else z
        for s in (None, (5, 3, 4)[: len(axes)]):
            wanted = getattr(np.fft, name)(data, s=s, axes=axes, norm="ortho")
            found = getattr(gt.fft, name)(gt.asarray(data), s=s, axes=axes, norm="ortho")
            np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-10, atol=1e-12)
        leaf = gt.tensor(data, requires_grad=True)
        assert gt.gradcheck(lambda x, n=name: getattr(gt.fft, n)(x, axes=axes), leaf)


# Matrices


@pytest.mark.parametrize("size", [1e-3, 1.0, 40.0])
@pytest.mark.parametrize("kind", ["real", "complex", "nilpotent"])
def test_the_matrix_exponential_equals_scipy(size, kind):
    x = np.random.default_rng(6).normal(size=(2, 4, 4)) * size
    x = {"real": x, "complex": x * (1 + 0.5j), "nilpotent": np.triu(x, 1)}[kind]
    wanted = scipy.linalg.expm(x)
    found = linalg.expm(gt.asarray(x)).numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-8, atol=1e-10 * np.abs(wanted).max())
    assert linalg.expm(gt.zeros((0, 0))).shape == (0, 0)
    with pytest.raises(gt.errors.DTypeError, match="float16"):
        linalg.expm(gt.eye(2, dtype="float16"))


def test_eigenvalues_of_any_matrix_are_complex_and_numpys():
    x = np.random.default_rng(7).normal(size=(3, 4, 4))
    values, vectors = (a.numpy() for a in linalg.eig(gt.asarray(x)))
    np.testing.assert_allclose(x @ vectors, vectors * values[:, None, :], atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1)
    for mine, theirs in zip(values, np.linalg.eigvals(x), strict=True):
        np.testing.assert_allclose(np.sort_complex(mine), np.sort_complex(theirs))
    assert linalg.eigvals(gt.eye(2)).dtype == np.complex64


@pytest.mark.parametrize("shape", [(3, 2), (2, 3)])
@pytest.mark.parametrize("make", [lambda x: x, lambda x: x * (1 + 0.3j) + 0.2j])
def test_square_singular_vectors_of_oblong_matrices_have_gradients(shape, make):
    x = gt.tensor(make(np.random.default_rng(8).normal(size=shape)), requires_grad=True)

    def function(v):
        u, s, vh = linalg.svd(v)
        square = gt.conj(vh.mT) if shape[0] > shape[1] else u
        return (square * gt.exp(s)) @ gt.conj(square.mT)

    assert gt.gradcheck(function, x)
    assert gt.gradgradcheck(function, x)
    long = "U" if shape[0] > shape[1] else "Vh"
    with pytest.raises(gt.errors.GraphError, match=f"gradient of {long} is not defined"):
        gt.sum(gt.abs(getattr(linalg.svd(x), long))).backward()


# Beside PyTorch, which agrees but for the cases that are left out


@pytest.mark.peers
@pytest.mark.cpu
@pytest.mark.filterwarnings("ignore")
def test_values_and_gradients_at_special_points_equal_pytorch():
    torch = pytest.importorskip("torch")
    points = [0.0, -0.0, 1.0, -2.0, 0.5, inf, -inf]
    # Left out are gradients that PyTorch has not (NaN), of 0**y, and of a remainder by 0.
    for name, (x, y) in itertools.product(
        ["atan2", "hypot", "logaddexp", "remainder", "maximum", "pow", "divide"],
        itertools.product(points, points),
    ):
        theirs = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (x, y)]
        out = getattr(torch, name)(*theirs)
        out.backward()
        found = gradients(getattr(gt, name), x, y, dtype="float64")
        for a, t in zip(found, theirs, strict=True):
            b = t.grad.item()
            if not math.isnan(b) and (name, x) != ("pow", 0) and (name, y) != ("remainder", 0):
                np.testing.assert_allclose(a, b, err_msg=f"{name}({x}, {y})")
