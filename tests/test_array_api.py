"""The Python Array API standard 2024.12, function by function against array_api_strict."""

import math

import array_api_strict as strict
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import gputensor as gt

strict.set_array_api_strict_flags(api_version="2024.12")
quick = settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.too_slow])

REAL = ("float32", "float64")
COMPLEX = ("complex64", "complex128")
INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
SPECIAL = (0.0, -0.0, 0.5, -0.5, 1.0, -1.0, 2.0, -3.0, math.inf, -math.inf, math.nan)


def elements(dtype):
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        return st.sampled_from(SPECIAL) | st.floats(-50, 50, width=16)
    if dtype.kind == "c":
        part = st.sampled_from([0.5, -1.5, 2.0]) | st.floats(-3, 3, width=16)
        return st.builds(complex, part, part)
    return hnp.from_dtype(dtype)


def arrays(dtypes, shape=None, **kwargs):
    if shape is None:
        shape = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
    return st.sampled_from(dtypes).flatmap(
        lambda dtype: hnp.arrays(dtype, shape, elements=kwargs.get("elements", elements(dtype)))
    )


def two_arrays(dtypes):
    """Two arrays that broadcast, of dtypes that promote."""
    shapes = hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3)

    def of(pair):
        first = st.sampled_from(dtypes)
        return st.tuples(first, first).flatmap(
            lambda chosen: st.tuples(
                *(
                    hnp.arrays(d, s, elements=elements(d))
                    for d, s in zip(chosen, pair.input_shapes, strict=True)
                )
            )
        )

    return shapes.flatmap(of)


def both(name, *operands, **kwargs):
    """A function's results here and in array_api_strict, as NumPy arrays."""
    place = [getattr(module, name) for module in (gt, strict)]
    with np.errstate(all="ignore"):
        found = place[0](*[_as(gt, o) for o in operands], **kwargs)
        wanted = place[1](*[_as(strict, o) for o in operands], **kwargs)
    return found.numpy(), np.asarray(wanted)


def _as(module, operand):
    return module.asarray(operand) if isinstance(operand, np.ndarray) else operand


def check(name, *operands, rtol=0.0, **kwargs):
    found, wanted = both(name, *operands, **kwargs)
    assert found.dtype == wanted.dtype
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=rtol, atol=rtol)
    if wanted.dtype.kind == "f":
        number = ~np.isnan(wanted)
        np.testing.assert_array_equal(np.signbit(found[number]), np.signbit(wanted[number]))


UNARY = {
    **dict.fromkeys(["abs", "negative", "positive", "sign", "square"], REAL + COMPLEX + INTEGERS),
    **dict.fromkeys(["round"], REAL + COMPLEX + INTEGERS),
    **dict.fromkeys(["ceil", "floor", "trunc"], REAL + INTEGERS),
    **dict.fromkeys(["isfinite", "isinf", "isnan"], REAL + COMPLEX + INTEGERS),
    **dict.fromkeys(["conj", "imag", "real"], COMPLEX),
    **dict.fromkeys(["signbit"], REAL),
    **dict.fromkeys(["bitwise_invert"], (*INTEGERS, "bool")),
    **dict.fromkeys(["logical_not"], ("bool",)),
    **dict.fromkeys(["acos", "acosh", "asin", "asinh", "atan", "atanh"], REAL + COMPLEX),
    **dict.fromkeys(["cos", "cosh", "sin", "sinh", "tan", "tanh"], REAL + COMPLEX),
    **dict.fromkeys(["exp", "expm1", "log", "log10", "log1p", "log2"], REAL + COMPLEX),
    **dict.fromkeys(["reciprocal", "sqrt"], REAL + COMPLEX),
}
BINARY = {
    **dict.fromkeys(["add", "multiply", "subtract"], REAL + COMPLEX + INTEGERS),
    **dict.fromkeys(["divide"], REAL + COMPLEX),
    **dict.fromkeys(["equal", "not_equal"], (*REAL, *INTEGERS)),
    **dict.fromkeys(["greater", "greater_equal", "less", "less_equal"], REAL + INTEGERS),
    **dict.fromkeys(["maximum", "minimum"], REAL + INTEGERS),
    **dict.fromkeys(["atan2", "copysign", "hypot", "logaddexp", "nextafter", "remainder"], REAL),
    **dict.fromkeys(["bitwise_and", "bitwise_or", "bitwise_xor"], ("int8", "int64", "int16")),
    **dict.fromkeys(["bitwise_left_shift", "bitwise_right_shift"], ("uint8", "uint16")),
    **dict.fromkeys(["logical_and", "logical_or", "logical_xor"], ("bool",)),
}
ONE_KIND = {"maximum", "minimum", "equal", "not_equal", "add", "subtract", "multiply"} | {
    name for name in BINARY if name.startswith(("greater", "less"))
}
# Results that CUDA rounds differently, and sums of several rounded parts.
INEXACT = 1e-5


@pytest.mark.parametrize("name", UNARY)
@quick
@given(data=st.data())
def test_unary_functions_equal_array_api_strict(name, data):
    x = data.draw(arrays(UNARY[name]))
    loose = x.dtype.kind == "c" or gt.device() != "cpu"
    check(name, x, rtol=INEXACT if loose else 0)


@pytest.mark.parametrize("name", BINARY)
@quick
@given(data=st.data())
def test_binary_functions_equal_array_api_strict(name, data):
    dtypes = BINARY[name]
    if name in ONE_KIND:  # kinds do not mix in the standard
        dtypes = data.draw(
            st.sampled_from([[d for d in dtypes if np.dtype(d).kind == k] for k in "fciu"])
        )
        dtypes = dtypes or REAL
    x, y = data.draw(two_arrays(list(dtypes)))
    loose = x.dtype.kind == "c" or gt.device() != "cpu"
    check(name, x, y, rtol=INEXACT if loose else 0)


@pytest.mark.parametrize(
    "name", ["add", "subtract", "multiply", "divide", "maximum", "atan2", "hypot", "copysign"]
)
@pytest.mark.parametrize("dtype", REAL)
def test_numbers_take_the_dtype_of_the_array(name, dtype):
    x = np.array([0.5, -2.0], dtype)
    for operands in ((x, 2.0), (3.0, x), (x, 2)):
        check(name, *operands, rtol=1e-6)
    for name, dtype in (("bitwise_or", "int16"), ("floor_divide", "uint8"), ("pow", "int32")):
        check(name, np.array([1, 2], dtype), 3)
        check(name, 3, np.array([1, 2], dtype))


# Where the standard says more than NumPy does, which array_api_strict leaves as it is.
inf, nan = math.inf, math.nan
CASES = {
    "floor_divide": [
        *[(inf, 2, inf), (inf, -2, -inf), (-inf, 2, -inf), (-inf, -2, inf), (inf, inf, nan)],
        *[(3, -inf, -0.0), (-3, inf, -0.0), (3, inf, 0.0), (-3, -inf, 0.0), (0.0, -inf, -0.0)],
        *[(1.0, 0.1, 9.0), (-7, 2, -4), (0.0, 0.0, nan), (1.0, 0.0, inf), (nan, 1, nan)],
    ],
    "remainder": [
        *[(1, inf, 1), (1, -inf, -inf), (-1, inf, inf), (-1, -inf, -1), (inf, 1, nan)],
        *[(0.0, -2, -0.0), (-0.0, 2, 0.0), (-7, 2, 1), (7, -2, -1), (1, 0.0, nan)],
    ],
    "pow": [
        *[(-inf, 0.5, inf), (-0.0, 0.5, 0.0), (4, 0.5, 2), (-1, 0.5, nan), (-inf, -0.5, 0.0)],
        *[(nan, 0.0, 1), (1, nan, 1), (-inf, 3, -inf), (-0.0, 3, -0.0), (-0.0, -1, -inf)],
    ],
}


@pytest.mark.cpu
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", REAL)
def test_special_cases_of_the_standard(name, dtype):
    function = getattr(gt, name)
    x, y, wanted = np.array(CASES[name], dtype).T
    ways = [
        function(gt.asarray(x), gt.asarray(y)),
        gt.stack([function(gt.asarray(a), gt.asarray(b)) for a, b in zip(x, y, strict=True)]),
        gt.stack([function(gt.asarray(a), float(b)) for a, b in zip(x, y, strict=True)]),
        gt.stack([function(float(a), gt.asarray(b)) for a, b in zip(x, y, strict=True)]),
        gt.stack([function(gt.asarray(x), b)[i] for i, b in enumerate(gt.asarray(y))]),
    ]
    for found in ways:
        assert found.dtype == dtype
        np.testing.assert_array_equal(found.numpy(), wanted)
        number = ~np.isnan(wanted)
        np.testing.assert_array_equal(np.signbit(found.numpy()[number]), np.signbit(wanted[number]))


@pytest.mark.cpu
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    ("x", "wanted"),
    [
        (complex(inf, 0), complex(inf, 0)),
        (complex(-inf, nan), complex(-1, 0)),
        (complex(nan, 0), complex(nan, 0)),
        (complex(-inf, 2), complex(-1, 0)),
        (complex(1e-12, 0), complex(1e-12, 0)),
    ],
)
def test_expm1_of_infinite_complex_numbers(x, wanted):
    found = complex(gt.expm1(gt.tensor(x, dtype=gt.complex128)).item())
    np.testing.assert_allclose([found.real, found.imag], [wanted.real, wanted.imag], rtol=1e-9)


@quick
@given(data=st.data())
def test_clip_equals_array_api_strict(data):
    x = data.draw(arrays([*REAL, "int32", "uint8"]))
    ends = sorted(data.draw(st.lists(st.integers(0, 100), min_size=2, max_size=2)))
    low, high = (data.draw(st.sampled_from([None, n, np.array(n, x.dtype)])) for n in ends)
    found, wanted = (
        module.clip(module.asarray(x), _as(module, low), _as(module, high))
        for module in (gt, strict)
    )
    assert found.dtype == x.dtype
    np.testing.assert_array_equal(found.numpy(), np.asarray(wanted))


def test_bounds_do_not_promote():
    x = gt.tensor([-5.0, 0.5, 5.0])
    bounds = gt.tensor(-1.0, dtype=gt.float64), gt.tensor([[1.0], [2.0]], dtype=gt.float64)
    found = gt.clip(x, *bounds)
    assert found.dtype == gt.float32
    assert found.tolist() == [[-1, 0.5, 1], [-1, 0.5, 2]]
    assert gt.clip(x, np.float64(0), np.float64(1)).dtype == gt.float32
    assert gt.clip(gt.tensor([1, 300]), max=gt.tensor(2.5)).tolist() == [1, 2.5]


def test_select_takes_the_first_that_holds():
    x = gt.tensor([-2.0, 0.5, 3.0], requires_grad=True)
    found = gt.select([x < 0, x < 1], [x * x, x], 7)
    found.sum().backward()
    assert found.tolist() == [4, 0.5, 7]
    assert x.grad.tolist() == [-4, 1, 0]
    with pytest.raises(ValueError, match="1 conditions for 2 choices"):
        gt.select([x < 0], [x, x])


def test_special_functions_equal_scipy():
    special = pytest.importorskip("scipy.special")
    x = np.linspace(0.1, 0.9, 5)
    for name in ("digamma", "erf", "erfc", "erfinv", "gammaln"):
        found = getattr(gt, name)(gt.asarray(x.astype(np.float32)))
        assert found.dtype == gt.float32
        np.testing.assert_allclose(found.numpy(), getattr(special, name)(x), rtol=1e-5)
    found = gt.polygamma(2, gt.asarray(x.astype(np.float32)))
    assert found.dtype == gt.float32
    np.testing.assert_allclose(found.numpy(), special.polygamma(2, x), rtol=1e-5)
    with pytest.raises(ValueError, match="n is -1; it must be an int, 0 or more"):
        gt.polygamma(-1, x)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_softplus_neither_overflows_nor_vanishes():
    x = gt.tensor([-inf, -200.0, 0.0, 800.0, inf], dtype=gt.float64, requires_grad=True)
    found = gt.softplus(x)
    np.testing.assert_allclose(
        found.detach().numpy(), [0, math.exp(-200), math.log(2), 800, inf], rtol=1e-12
    )
    found.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [0, math.exp(-200), 0.5, 1, 1], rtol=1e-12)


def test_nan_to_num():
    x = gt.tensor([nan, inf, -inf, 2.0], requires_grad=True)
    found = gt.nan_to_num(x, nan=1.0, posinf=5.0, neginf=-5.0)
    found.sum().backward()
    assert found.tolist() == [1, 5, -5, 2]
    assert x.grad.tolist() == [0, 0, 0, 1]
    assert gt.nan_to_num(x)[1].item() == np.finfo(np.float32).max
