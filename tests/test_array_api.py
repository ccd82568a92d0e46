"""The Python Array API standard 2024.12, function by function against array_api_strict."""

import inspect
import math
import operator
import os
import subprocess
import sys
from array import array

import array_api_strict as strict
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from hypothesis.extra.array_api import make_strategies_namespace

import gputensor as gt

strict.set_array_api_strict_flags(api_version="2024.12")
quick = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])

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
        if name in ("maximum", "minimum"):  # of 0 and -0 either, and NumPy is not of one mind
            number &= wanted != 0
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
    change = {"floor_divide": operator.ifloordiv, "remainder": operator.imod, "pow": operator.ipow}
    ways.append(change[name](gt.tensor(x), gt.asarray(y)))
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


def test_buffers_and_arrays_of_others_keep_their_dtype_and_memory():
    class Other:
        def __init__(self, array):
            self.array = array

        def __dlpack__(self, **options):
            return self.array.__dlpack__(**options)

        def __dlpack_device__(self):
            return self.array.__dlpack_device__()

    for data in (array("d", [0.1, 2.0]), memoryview(np.array([0.1, 2.0]))):
        for made in (data, Other(np.asarray(data))):
            shared = gt.asarray(made, device="cpu", copy=False)
            copied = gt.tensor(made, device="cpu")
            assert shared.dtype == copied.dtype == gt.float64
            assert shared[0].item() == copied[0].item() == np.asarray(data)[0]
            data[1] += 1
            assert shared[1].item() == data[1] == copied[1].item() + 1

    class Table:
        def __array__(self, dtype=None, copy=None):
            return np.array([[0.1]], dtype)

    assert gt.asarray(Table()).tolist() == [[0.1]]
    assert gt.tensor(Table(), dtype=gt.float32).dtype == gt.float32


def test_several_axes_at_once():
    x = gt.ones((2, 3))
    for axis in ((0, 1), (0, -1), (2, 1), ()):
        assert gt.expand_dims(x, axis=axis).shape == np.expand_dims(np.ones((2, 3)), axis).shape
    with pytest.raises(gt.errors.ShapeError, match="names an axis twice"):
        gt.expand_dims(x, axis=(0, -4))


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
        assert getattr(gt, name)(gt.ones(2, dtype=gt.float16) / 2).dtype == gt.float16
    found = gt.polygamma(2, gt.asarray(x.astype(np.float32)))
    assert found.dtype == gt.float32
    np.testing.assert_allclose(found.numpy(), special.polygamma(2, x), rtol=1e-5)
    with pytest.raises(ValueError, match="n is -1; it must be an int, 0 or more"):
        gt.polygamma(-1, x)
    assert gt.polygamma(1, 2.0).dtype == gt.float32
    assert gt.polygamma(1, 2).dtype == gt.float64


def test_polygamma_takes_an_array_of_orders():
    special = pytest.importorskip("scipy.special")
    for orders in (np.array([[0], [1], [3]]), np.array([[2]], "int8"), np.array(1), np.ones(4)):
        for dtype in ("float32", "float64"):
            x = np.linspace(0.5, 2, 4).astype(dtype)
            found = gt.polygamma(gt.asarray(orders), gt.asarray(x))
            assert found.dtype == np.result_type(orders, x)
            np.testing.assert_allclose(found.cpu().numpy(), special.polygamma(orders, x), 1e-5)
    orders, x = gt.asarray([[0], [2]]), gt.tensor([0.5, 1.5], "float64", requires_grad=True)
    assert gt.gradcheck(lambda t: gt.polygamma(orders, t), x)
    assert gt.gradgradcheck(lambda t: gt.polygamma(orders, t), x)
    assert np.isnan(gt.polygamma(gt.asarray([-1]), x.detach()).cpu().numpy()).all()
    with pytest.raises(gt.errors.GraphError, match=r"no gradient towards n; write n\.detach"):
        gt.polygamma(x, x)


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


# Dtypes and what is made of nothing


@pytest.mark.parametrize("name", REAL + COMPLEX + ("float16",))
def test_finfo_gives_python_numbers(name):
    found = gt.finfo(getattr(gt, name))
    wanted = np.finfo(name)
    assert [type(n) for n in found[:5]] == [int, float, float, float, float]
    assert found[:5] == (wanted.bits, wanted.eps, wanted.max, wanted.min, wanted.smallest_normal)
    assert found.dtype == np.finfo(name).dtype
    assert gt.finfo(gt.zeros(1, dtype=name)) == found
    with pytest.raises(gt.errors.DTypeError, match="is not of integers"):
        gt.iinfo(getattr(gt, name))


def test_bfloat16_is_floating_point():
    pytest.importorskip("ml_dtypes")
    assert gt.finfo("bfloat16")[:2] == (16, 2**-7)
    assert gt.isdtype("bfloat16", "real floating")
    assert gt.isdtype("bfloat16", ("bool", gt.zeros(1, dtype="bfloat16").dtype))
    assert not gt.isdtype("bfloat16", ("integral", gt.float16))
    half = gt.full(3, 0.5, dtype="bfloat16")
    for found in (
        gt.erf(half),
        gt.polygamma(1, half),
        gt.median(half),
        gt.clip(half, 0, gt.ones(3)),
    ):
        assert found.dtype == half.dtype


@pytest.mark.parametrize("name", INTEGERS)
def test_iinfo_gives_python_numbers(name):
    found = gt.iinfo(name)
    assert [type(n) for n in found[:3]] == [int, int, int]
    assert found == (np.iinfo(name).bits, np.iinfo(name).max, np.iinfo(name).min, np.dtype(name))
    with pytest.raises(gt.errors.DTypeError, match="is not floating point"):
        gt.finfo(name)


def test_promotion_equals_array_api_strict():
    names = (*REAL, *COMPLEX, *INTEGERS, "bool")
    for a in names:
        assert gt.isdtype(getattr(gt, a), "integral") is (a in INTEGERS)
        for b in names:
            try:
                wanted = strict.result_type(getattr(strict, a), getattr(strict, b))
            except TypeError:  # kinds that the standard does not mix
                continue
            assert gt.result_type(a, gt.zeros(2, dtype=b)) == str(wanted).removeprefix(
                "array_api_strict."
            )
            if a == str(wanted).removeprefix("array_api_strict."):
                assert gt.can_cast(getattr(gt, b), getattr(gt, a)) is True
    assert gt.result_type(gt.int8, 3) == gt.int8
    assert gt.result_type(gt.float32, 3, 2.5) == gt.float32
    assert gt.result_type(2j, gt.tensor(1.0)) == gt.complex64
    assert gt.can_cast(gt.float64, gt.float32) is False
    with pytest.raises(ValueError, match="give at least one array or dtype"):
        gt.result_type(1.0)


def test_astype_copies_if_it_has_to():
    x = gt.tensor([1.5, 2.0], requires_grad=True)
    assert gt.astype(x, gt.float32, copy=False) is x
    assert gt.astype(x, gt.float32) is not x
    wide = gt.astype(x, gt.float64, copy=False, device=x.device)
    (wide * wide).sum().backward()
    assert x.grad.tolist() == [3, 4]


def test_creation_equals_array_api_strict():
    for name, args, kwargs in [
        ("meshgrid", (np.arange(2.0), np.arange(3.0), np.float64(4)), {}),
        ("meshgrid", (np.arange(2.0), np.arange(3.0), np.arange(4.0)), {"indexing": "ij"}),
        ("meshgrid", (np.arange(2.0),), {}),
        ("broadcast_arrays", (np.arange(2.0), np.ones((3, 1))), {}),
    ]:
        if not hasattr(gt, name):
            continue
        found = getattr(gt, name)(*args, **kwargs)
        wanted = getattr(strict, name)(*(strict.asarray(a) for a in args), **kwargs)
        assert len(found) == len(wanted)
        for a, b in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(a.numpy(), np.asarray(b))
    x = np.arange(24.0).reshape(2, 3, 4)
    for k in (-5, -1, 0, 2, 7):
        for name in ("tril", "triu"):
            check(name, x, k=k)
    assert gt.linspace(0, 1j, 3).dtype == gt.complex64
    assert gt.full((), 2j).dtype == gt.complex64
    assert gt.empty_like(gt.zeros((2, 0), dtype=gt.int8)).dtype == gt.int8
    assert gt.empty_like(gt.zeros((2, 0)), dtype=gt.int8).shape == (2, 0)
    assert gt.meshgrid() == []
    assert (gt.ones(2)[gt.newaxis].shape, gt.pi, gt.e, gt.inf) == ((1, 2), math.pi, math.e, inf)


def test_gradients_of_a_grid_are_summed():
    x, y = gt.tensor([1.0, 2.0], requires_grad=True), gt.tensor([3.0, 4.0, 5.0])
    a, b = gt.meshgrid(x, y)
    (a * b).sum().backward()
    assert x.grad.tolist() == [12, 12]


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda: gt.meshgrid([1.0], indexing="xz"), ValueError, "indexing is 'xz'"),
        (lambda: gt.meshgrid([[1.0]]), gt.errors.ShapeError, r"array 0 has shape \(1, 1\)"),
        (lambda: gt.zeros(2.0), TypeError, "zeros: shape must hold ints, got 2.0"),
        (lambda: gt.zeros_like(2.0), TypeError, "zeros_like: x must be a tensor or an array"),
        (lambda: gt.from_dlpack([1.0]), TypeError, "x is a list, which does not export"),
        (lambda: gt.tril([1.0]), gt.errors.ShapeError, "tril: x needs two axes or more"),
        (lambda: gt.expand_dims([1.0], axis=4), IndexError, "axis 4 is out of range"),
        (lambda: gt.sum(gt.ones(2), axis=1), gt.errors.AxisError, "axis 1 is out of range"),
        (lambda: gt.ones(1).__array_namespace__(api_version="1999.1"), ValueError, "2024.12"),
        (lambda: gt.ones(1).to_device("cpu", stream=1), ValueError, "stream must be None"),
        (lambda: gt.tensor([1.0, 2.0]).__complex__(), gt.errors.ShapeError, "only one element"),
    ],
)
def test_what_is_refused(call, kind, text):
    with pytest.raises(kind, match=text):
        call()


# The array object, and what programs ask


def test_namespace_and_its_answers():
    x = gt.ones(2)
    assert x.__array_namespace__() is x.__array_namespace__(api_version="2023.12") is gt
    assert gt.__array_api_version__ == "2024.12"
    info = gt.__array_namespace_info__()
    assert info.default_device() in info.devices()
    assert info.capabilities()["boolean indexing"] is True
    for device in info.devices():
        defaults = info.default_dtypes(device=device)
        assert defaults["real floating"] == gt.asarray(1.0).dtype
        assert defaults["complex floating"] == gt.asarray(1j).dtype
        assert defaults["integral"] == gt.asarray(1).dtype
        assert defaults["indexing"] == gt.argmax(x).dtype
    theirs = strict.__array_namespace_info__()
    for kind in (None, "bool", "integral", "numeric", ("real floating", "signed integer")):
        assert info.dtypes(kind=kind).keys() == theirs.dtypes(kind=kind).keys()


def test_a_tensor_of_one_element_becomes_a_number():
    assert complex(gt.tensor(2.0)) == 2
    assert complex(gt.tensor(1 + 2j)) == 1 + 2j
    assert (2 << gt.tensor([1, 3])).tolist() == [4, 16]
    assert (16 >> gt.tensor([1, 3])).tolist() == [8, 2]
    x = gt.ones(2)
    assert x.to_device(x.device) is x


@pytest.mark.cpu
def test_dlpack_shares_memory_both_ways():
    data = np.arange(3.0)
    x = gt.from_dlpack(data)
    y = np.from_dlpack(x)
    data[0] = 7
    assert x.tolist() == y.tolist() == [7, 1, 2]
    assert not np.shares_memory(gt.from_dlpack(data, copy=True).array, data)
    assert gt.from_dlpack(x, device="cpu", copy=False).array.base is not None
    assert x.__dlpack_device__() == (1, 0)
    x.__dlpack__(max_version=(1, 0), dl_device=(1, 0), copy=True)
    with pytest.raises(gt.errors.GraphError, match=r"x\.detach\(\)"):
        np.from_dlpack(gt.ones(2) * gt.tensor(1.0, requires_grad=True))


@pytest.mark.standin
def test_dlpack_between_devices(cupy):
    x = gt.tensor([1.0, 2.0], device="cuda")
    assert x.__dlpack_device__() == (2, 0)
    assert gt.from_dlpack(x).device == "cuda:0"
    assert gt.from_dlpack(x, device="cpu").tolist() == [1, 2]
    assert gt.from_dlpack(np.ones(2), device="cuda").device == "cuda:0"
    with pytest.raises(ValueError, match="copy=False, but x is on cuda:0 and shall be on cpu"):
        gt.from_dlpack(x, device="cpu", copy=False)


# Manipulation, indexing, searching, sorting, sets, statistics


NUMBERS = ("float64", "float32", "int16", "uint8", "complex64", "bool")


def draw_axis(data, x, *, several=False, none=True):
    """An axis of `x`, some of them, or None."""
    one = st.integers(-x.ndim, x.ndim - 1)
    choices = [st.none()] if none else []
    if x.ndim:
        choices.append(one)
        if several:
            choices.append(st.lists(one, unique_by=lambda a: a % x.ndim, min_size=1).map(tuple))
    return data.draw(st.one_of(choices))


@quick
@given(x=arrays(NUMBERS), data=st.data())
def test_manipulation_equals_array_api_strict(x, data):
    check("flip", x, axis=draw_axis(data, x, several=True))
    check("roll", x, data.draw(st.integers(-9, 9)), axis=draw_axis(data, x))
    check("tile", x, tuple(data.draw(st.lists(st.integers(0, 3), max_size=4))))
    check("repeat", x, data.draw(st.integers(0, 3)), axis=draw_axis(data, x))
    check("expand_dims", x, axis=data.draw(st.integers(-x.ndim - 1, x.ndim)))
    check("reshape", x, (-1,), copy=data.draw(st.sampled_from([None, True])))
    if x.ndim:
        axis = draw_axis(data, x, none=False)
        check("roll", x, (2, -1), axis=(axis, (axis + 1) % x.ndim))
        check("moveaxis", x, axis, draw_axis(data, x, none=False))
        order = tuple(data.draw(st.permutations(range(x.ndim))))
        check("moveaxis", x, tuple(range(x.ndim)), order)
        check("permute_dims", x, order)
        counts = data.draw(st.lists(st.integers(0, 3), min_size=(n := x.shape[axis]), max_size=n))
        check("repeat", x, np.array(counts, np.int64), axis=axis)
        found = gt.unstack(gt.asarray(x), axis=axis)
        wanted = strict.unstack(strict.asarray(x), axis=axis)
        assert len(found) == len(wanted)
        for a, b in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(a.numpy(), np.asarray(b))


@quick
@given(data=st.data())
def test_joins_equal_array_api_strict(data):
    x, y = data.draw(two_arrays(["float32", "float64"]))
    found, wanted = (
        module.broadcast_arrays(module.asarray(x), module.asarray(y)) for module in (gt, strict)
    )
    assert isinstance(found, list)
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(a.numpy(), np.asarray(b))
    x, y = (a.numpy() for a in found)
    for name, axis in [("stack", data.draw(st.integers(-x.ndim - 1, x.ndim))), ("concat", None)]:
        a, b = (
            getattr(module, name)([module.asarray(x), module.asarray(y)], axis=axis)
            for module in (gt, strict)
        )
        assert a.numpy().dtype == np.asarray(b).dtype
        np.testing.assert_array_equal(a.numpy(), np.asarray(b))


@quick
@given(x=arrays(("float64", "int8", "bool")), data=st.data())
def test_searching_and_logic_equal_array_api_strict(x, data):
    axis, keepdims = draw_axis(data, x, several=True), data.draw(st.booleans())
    check("count_nonzero", x, axis=axis, keepdims=keepdims)
    check("all", x, axis=axis, keepdims=keepdims)
    check("any", x, axis=axis, keepdims=keepdims)
    if x.ndim:
        for found, wanted in zip(
            gt.nonzero(gt.asarray(x)), strict.nonzero(strict.asarray(x)), strict=True
        ):
            assert found.dtype == gt.int64
            np.testing.assert_array_equal(found.numpy(), np.asarray(wanted))
    ordered = np.unique(x.astype(np.float64)[~np.isnan(x.astype(np.float64))])
    side = data.draw(st.sampled_from(["left", "right"]))
    queries = data.draw(arrays(["float64"], elements=st.floats(-5, 5, width=16)))
    check("searchsorted", ordered, queries, side=side)
    backwards = np.arange(len(ordered))[::-1].copy()
    found, wanted = (
        module.searchsorted(
            module.asarray(ordered[::-1].copy()),
            module.asarray(queries),
            side=side,
            sorter=module.asarray(backwards),
        )
        for module in (gt, strict)
    )
    np.testing.assert_array_equal(found.numpy(), np.asarray(wanted))


@quick
@given(x=arrays(("float64", "float32", "int16", "uint8")), data=st.data())
def test_sorting_equals_array_api_strict(x, data):
    if not x.ndim:
        for name in ("sort", "argsort"):
            with pytest.raises(gt.errors.ShapeError, match="it has no axes"):
                getattr(gt, name)(x)
        return
    axis = draw_axis(data, x, none=False)
    for descending in (False, True):
        for name in ("sort", "argsort"):
            check(name, x, axis=axis, descending=descending)
        check("sort", x, axis=axis, descending=descending, stable=False)
        order = gt.argsort(gt.asarray(x), axis=axis, descending=descending)
        np.testing.assert_array_equal(
            gt.take_along_axis(gt.asarray(x), order, axis=axis).numpy(),
            gt.sort(gt.asarray(x), axis=axis, descending=descending).numpy(),
        )
        k = data.draw(st.integers(0, x.shape[axis]))
        top = gt.topk(gt.asarray(x), k, axis=axis, largest=descending)
        np.testing.assert_array_equal(
            top.indices.numpy(), np.take(order.numpy(), range(k), axis=axis)
        )
        assert top.values.shape == top.indices.shape


@quick
@given(x=arrays(("float64", "int8", "bool", "complex64")))
def test_sets_equal_array_api_strict(x):
    here, there = gt.asarray(x), strict.asarray(x)
    for name in ("unique_all", "unique_counts", "unique_inverse"):
        found, wanted = getattr(gt, name)(here), getattr(strict, name)(there)
        assert found._fields == wanted._fields
        for a, b in zip(found, wanted, strict=True):
            assert a.numpy().dtype == np.asarray(b).dtype
            np.testing.assert_array_equal(a.numpy(), np.asarray(b))
    np.testing.assert_array_equal(
        np.sort(gt.unique_values(here).numpy()), np.sort(np.asarray(strict.unique_values(there)))
    )
    everything = gt.unique_all(here)
    np.testing.assert_array_equal(everything.values.numpy()[everything.inverse_indices.numpy()], x)


@quick
@given(x=arrays(("float64", "int32", "complex64"), elements=None), data=st.data())
def test_indexing_equals_array_api_strict(x, data):
    if not x.ndim:
        return
    axis = draw_axis(data, x, none=False)
    n = x.shape[axis]
    if not n:
        return
    indices = np.array(data.draw(st.lists(st.integers(-n, n - 1), max_size=4)), np.int64)
    check("take", x, indices, axis=axis)
    shape = list(x.shape)
    shape[axis] = data.draw(st.integers(0, 3))
    places = data.draw(hnp.arrays(np.int64, shape, elements=st.integers(-n, n - 1)))
    check("take_along_axis", x, places, axis=axis)
    # axes of length 1 broadcast
    check_same(
        gt.take_along_axis(gt.asarray(x), gt.zeros((1,) * x.ndim, dtype=gt.int64), axis=axis),
        np.take(x, [0], axis=axis),
    )
    one = x[(slice(None),) * (axis % x.ndim) + (slice(1),)]
    check_same(
        gt.take_along_axis(gt.asarray(one[..., None]), gt.zeros((*one.shape, 2), dtype=int)),
        np.repeat(one[..., None], 2, axis=-1),
    )


def check_same(found, wanted):
    assert found.dtype == wanted.dtype
    np.testing.assert_array_equal(found.numpy(), wanted)


@quick
@given(
    x=st.sampled_from(["float32", "float64", "int8", "uint16", "complex64"]).flatmap(
        lambda d: hnp.arrays(
            d,
            hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
            elements=st.integers(0, 4),
        )
    ),
    data=st.data(),
)
def test_statistics_equal_array_api_strict(x, data):
    axis, keepdims = draw_axis(data, x, several=True), data.draw(st.booleans())
    for name in ("sum", "prod"):
        check(name, x, axis=axis, keepdims=keepdims, rtol=1e-5)
        check(name, x, axis=axis, keepdims=keepdims, dtype=None, rtol=1e-5)
    if x.dtype.kind == "f":
        for name in ("mean", "std", "var"):
            if x.size:
                check(name, x, axis=axis, keepdims=keepdims, rtol=1e-5)
    if x.size and x.dtype.kind != "c":
        for name in ("max", "min"):
            check(name, x, axis=axis, keepdims=keepdims)
    if x.ndim:
        axis = draw_axis(data, x, none=x.ndim == 1)
        for name in ("cumulative_sum", "cumulative_prod"):
            for first in (False, True):
                check(name, x, axis=axis, include_initial=first, rtol=1e-5)
        axis = draw_axis(data, x, none=False)
        check("diff", x, axis=axis, n=data.draw(st.integers(0, 4)))
        edged = np.diff(x, axis=axis, prepend=0, append=1)  # of floats NumPy makes float64
        edged = edged if x.dtype.kind in "iu" else edged.astype(x.dtype)
        check_same(gt.diff(gt.asarray(x), axis=axis, prepend=0, append=1), edged)
        check_same(gt.cumsum(gt.asarray(x)), np.cumsum(x))
        np.testing.assert_allclose(gt.cumprod(gt.asarray(x), 0).numpy(), np.cumprod(x, 0))


# What the standard has not


@quick
@given(x=arrays(("float64", "int16")), data=st.data())
def test_pad_and_split_equal_numpy(x, data):
    widths = data.draw(
        hnp.arrays(np.int64, (x.ndim, 2), elements=st.integers(0, 5)).map(np.ndarray.tolist)
    )
    if not x.ndim:
        check_same(gt.pad(gt.asarray(x), 2), x)
        return
    check_same(
        gt.pad(gt.asarray(x), widths, constant_values=3), np.pad(x, widths, constant_values=3)
    )
    if x.size:
        for mode in ("edge", "reflect", "symmetric", "wrap"):
            check_same(gt.pad(gt.asarray(x), widths, mode), np.pad(x, widths, mode))
    if x.ndim:
        axis = draw_axis(data, x, none=False)
        cuts = sorted(data.draw(st.lists(st.integers(-3, 4), max_size=3)))
        for sections in (cuts, 1, max(x.shape[axis], 1)):
            if x.shape[axis] or np.iterable(sections):
                found = gt.split(gt.asarray(x), sections, axis)
                for a, b in zip(found, np.split(x, sections, axis), strict=True):
                    check_same(a, b)
    for name in ("hstack", "vstack"):
        check_same(getattr(gt, name)([gt.asarray(x), gt.asarray(x)]), getattr(np, name)([x, x]))


@pytest.mark.parametrize("mode", ["full", "same", "valid"])
@pytest.mark.parametrize(("n", "m"), [(1, 1), (5, 2), (2, 5), (4, 4), (3, 1), (6, 3)])
def test_convolve_equals_numpy(mode, n, m):
    x, y = np.random.default_rng(n).normal(size=n), np.arange(1.0, m + 1)
    np.testing.assert_allclose(
        gt.convolve(gt.asarray(x), gt.asarray(y), mode).numpy(), np.convolve(x, y, mode), atol=1e-12
    )


def test_interp_equals_numpy():
    knots, values = np.array([-1.0, 0.0, 0.5, 2.0]), np.array([3.0, -1.0, 4.0, 1.5])
    x = np.array([[-2.0, -1.0, -0.3], [0.0, 0.25, 0.5], [1.0, 2.0, 2.5], [nan, inf, -inf]])
    for options in ({}, {"left": 7.0, "right": -7.0}):
        with np.errstate(invalid="ignore"):
            found = gt.interp(gt.asarray(x), gt.asarray(knots), gt.asarray(values), **options)
        np.testing.assert_allclose(found.numpy(), np.interp(x, knots, values, **options))
    assert gt.interp([0.0, 2.0, 4.0], [2.0], [5.0], left=1.0).tolist() == [1, 5, 5]


def test_groups_are_summed():
    x = np.array([1, 0, 5, 1])
    assert gt.bincount(gt.asarray(x)).tolist() == np.bincount(x).tolist()
    assert gt.bincount(gt.asarray(x), minlength=8).tolist() == np.bincount(x, None, 8).tolist()
    weights = gt.tensor([1.0, 2.0, 3.0, 4.0])
    assert gt.bincount(gt.asarray(x), weights).tolist() == [2, 5, 0, 0, 0, 3]
    assert gt.bincount(gt.asarray(x), weights).dtype == gt.float32
    assert gt.segment_sum(gt.ones((4, 2)), [0, 1, 1, 1]).tolist() == [[1, 1], [3, 3]]
    assert gt.segment_sum(gt.ones(2), [0, 0], 3).tolist() == [2, 0, 0]


@pytest.mark.parametrize("axis", [None, 0, -1, (0, 2)])
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("dtype", ["float64", "float32", "int32"])
def test_quantiles_equal_numpy(axis, keepdims, dtype):
    x = np.random.default_rng(5).normal(0, 9, (4, 2, 3)).astype(dtype)
    options = {"axis": axis, "keepdims": keepdims}
    for q in (0, 0.3, 1.0, [0.25, 0.5], [[0.1], [0.9]]):
        found, wanted = gt.quantile(gt.asarray(x), q, **options), np.quantile(x, q, **options)
        np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-5)
        assert found.shape == wanted.shape
        assert found.dtype == (dtype if dtype != "int32" else "float64")
    np.testing.assert_allclose(gt.median(gt.asarray(x), **options).numpy(), np.median(x, **options))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_quantiles_of_what_is_not_finite():
    assert gt.median([inf, inf, 1.0]).item() == inf
    assert gt.median([inf, 2.0, -inf]).item() == 2
    x = gt.tensor([[1.0, nan, 0.0], [1.0, 2.0, 4.0]], requires_grad=True)
    found = gt.median(x, axis=1)
    np.testing.assert_array_equal(found.detach().numpy(), [nan, 2])
    found[1].backward()
    assert x.grad.tolist() == [[0, 0, 0], [0, 1, 0]]


def test_angles():
    z = np.array([1 + 1j, -2.0, 3j, -1 - 1e-3j])
    np.testing.assert_allclose(gt.angle(gt.asarray(z)).numpy(), np.angle(z))
    np.testing.assert_allclose(gt.angle([-1.0, 2.0]).numpy(), [np.float32(math.pi), 0])
    assert gt.deg2rad(180.0).item() == np.float32(math.pi)
    np.testing.assert_allclose(gt.rad2deg(gt.asarray([1.0, 2.0])).numpy(), np.rad2deg([1, 2]), 1e-6)
    check_same(gt.swapaxes(gt.ones((2, 3, 4)), 0, -1), np.ones((4, 3, 2), np.float32))


def test_products_with_zeros_have_their_gradients():
    for values in ([2.0, 0.0, 3.0], [0.0, 0.0, 3.0], [0.0, 5.0, 7.0]):
        x = gt.tensor(values, requires_grad=True)
        gt.prod(x).backward()
        assert x.grad.tolist() == [math.prod(values[:i] + values[i + 1 :]) for i in range(3)]
        x.grad = None
        gt.cumulative_prod(x).sum().backward()
        a, b, c = values
        assert x.grad.tolist() == [1 + b + b * c, a + a * c, a * b]


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda x: gt.roll(x, (1, 2)), gt.errors.ShapeError, "2 shifts need as many axes"),
        (lambda x: gt.roll(x, (1, 2, 3), axis=(0, 1)), gt.errors.ShapeError, "3 shifts for 2"),
        (lambda x: gt.repeat(x, [1, 2], axis=0), gt.errors.ShapeError, "needs one number"),
        (lambda x: gt.repeat(x, -1), ValueError, "repeats holds -1"),
        (lambda x: gt.repeat(x, 1.5), TypeError, "repeats must hold ints, got float64"),
        (lambda x: gt.tile(x, (-1,)), ValueError, "must not be negative"),
        (lambda x: gt.moveaxis(x, 0, (0, 1)), gt.errors.ShapeError, "1 axes for 2 positions"),
        (lambda x: gt.moveaxis(x, 3, 0), gt.errors.AxisError, "axis 3 is out of range"),
        (lambda x: gt.broadcast_arrays(x, gt.ones(5)), gt.errors.ShapeError, "do not broadcast"),
        (lambda x: gt.reshape(x.T, (-1,), copy=False), gt.errors.ShapeError, "copy=False"),
        (lambda x: gt.split(x, 2), gt.errors.ShapeError, "axis 0 of length 3 has no 2 parts"),
        (lambda x: gt.pad(x, -1), ValueError, "must not be negative"),
        (lambda x: gt.pad(x, (1, 2, 3)), gt.errors.ShapeError, "pad_width .* does not fit"),
        (lambda x: gt.pad(x, 1, "mirror"), ValueError, "mode is 'mirror'"),
        (lambda x: gt.pad(x[:0], 1, "edge"), gt.errors.ShapeError, "has nothing to repeat"),
        (lambda x: gt.take(x, [0]), ValueError, "axis must be named"),
        (lambda x: gt.take(x, [7], axis=0), IndexError, "out of bounds"),
        (lambda x: gt.take_along_axis(x, [0]), gt.errors.ShapeError, "give them as many axes"),
        (lambda x: gt.nonzero(1.0), gt.errors.ShapeError, "nonzero: a 0-dimensional array"),
        (lambda x: gt.searchsorted(x, 1.0), gt.errors.ShapeError, "x1 must have one axis"),
        (lambda x: gt.searchsorted(x[0], 1.0, side="up"), ValueError, "side is 'up'"),
        (lambda x: gt.topk(x, 5), gt.errors.ShapeError, "k is 5; axis -1 of shape .* 0 to 4"),
        (lambda x: gt.sum(x, dtype="flaot"), gt.errors.DTypeError, "sum: 'flaot' is not supported"),
        (lambda x: gt.cumulative_sum(x), ValueError, "axis must be named"),
        (lambda x: gt.cumulative_prod(1.0), gt.errors.ShapeError, "it has no axes"),
        (lambda x: gt.diff(x, n=-1), ValueError, "n is -1"),
        (lambda x: gt.diff(1.0), gt.errors.ShapeError, "it has no axes"),
        (lambda x: gt.convolve(x, x), gt.errors.ShapeError, "operands need one axis"),
        (lambda x: gt.convolve([1.0], [1.0], "half"), ValueError, "mode is 'half'"),
        (lambda x: gt.interp(x, [1.0, 2.0], [1.0]), gt.errors.ShapeError, "xp and fp have shapes"),
        (lambda x: gt.segment_sum(x, [0, 1]), gt.errors.ShapeError, r"segment_ids \(2,\)"),
        (lambda x: gt.segment_sum(x, [0, 1, 9], 5), IndexError, "group 9 is out of range"),
        (lambda x: gt.quantile(x, 2), ValueError, "q is 2; it must be from 0 to 1"),
        (lambda x: gt.median(x[:0]), gt.errors.ShapeError, "none of zero elements"),
        (lambda x: gt.swapaxes(x, 0, 5), gt.errors.AxisError, "axis 5 is out of range"),
        (lambda x: gt.bincount([-1]), gt.errors.OutOfRangeError, "group -1 is out of range"),
        (lambda x: gt.bincount([1.0]), gt.errors.DTypeError, "must be integers, got float32"),
        (lambda x: gt.bincount([[1]]), gt.errors.ShapeError, "need one axis"),
    ],
)
@pytest.mark.cpu
def test_errors_say_what_is_allowed(call, kind, text):
    with pytest.raises(kind, match=text):
        call(gt.ones((3, 4)))


# Hypothesis's own strategies for the standard, which draw tensors

xps = make_strategies_namespace(gt)
ANY = xps.scalar_dtypes() | xps.complex_dtypes()
OPERATORS = {
    "numeric": (operator.add, operator.sub, operator.mul),
    "integral": (operator.and_, operator.or_, operator.xor, operator.lshift, operator.rshift),
    "floating": (operator.truediv,),
}


def on_host(x):
    return x.numpy() if isinstance(x, gt.Tensor) else x


@quick
@given(data=st.data())
def test_tensors_of_hypothesis_are_indexed_and_changed(data):
    dtype = data.draw(ANY)
    x = data.draw(xps.arrays(dtype, xps.array_shapes(min_side=1, max_side=4)))
    assert isinstance(x, gt.Tensor)
    assert x.dtype == dtype
    key = data.draw(xps.indices(x.shape, allow_newaxis=True))
    np.testing.assert_array_equal(x[key].numpy(), x.numpy()[key])
    mask = data.draw(xps.arrays(gt.bool, st.sampled_from([x.shape, (), x.shape[:1]])))
    np.testing.assert_array_equal(x[mask].numpy(), x.numpy()[mask.numpy()])
    value = data.draw(xps.from_dtype(dtype) | xps.arrays(dtype, ()))
    wanted = x.numpy().copy()
    for place in (data.draw(xps.indices(x.shape)), gt.ones(x.shape, dtype=gt.bool)):
        changed = gt.asarray(x, copy=True)
        changed[place] = value
        wanted[on_host(place)] = on_host(value)
        np.testing.assert_array_equal(changed.numpy(), wanted)
        wanted = x.numpy().copy()


@quick
@given(data=st.data())
def test_operators_keep_the_dtype(data):
    kind = data.draw(st.sampled_from(sorted(OPERATORS)))
    apply = data.draw(st.sampled_from(OPERATORS[kind]))
    dtype = data.draw(
        {
            "numeric": xps.numeric_dtypes(),
            "integral": xps.integer_dtypes() | xps.unsigned_integer_dtypes(),
            "floating": xps.floating_dtypes() | xps.complex_dtypes(),
        }[kind]
    )
    shapes = data.draw(xps.mutually_broadcastable_shapes(2, max_side=3)).input_shapes
    elements = {"min_value": 0, "max_value": 30} if gt.isdtype(dtype, "integral") else None
    if gt.device() != "cpu" and gt.isdtype(dtype, "complex floating"):
        # Parts of what is in between may be below the normal numbers, and 0 there.
        bounds = {"min_magnitude": 2.0**-30, "max_magnitude": 2.0**30, "allow_subnormal": False}
        elements = st.complex_numbers(**bounds, width=8 * dtype.itemsize)
    x, y = (data.draw(xps.arrays(dtype, shape, elements=elements)) for shape in shapes)
    number = y.numpy().flat[0].item() if y.size else 1
    with np.errstate(all="ignore"):
        for a, b in ((x, y), (x, number), (number, x)):
            found = apply(a, b)
            assert found.dtype == dtype
            wanted = apply(on_host(a), on_host(b))
            if gt.device() == "cpu" or found.dtype.kind not in "fc":
                np.testing.assert_array_equal(found.numpy(), wanted)
            else:  # with fused multiply-adds, and 0 for what is below the normal numbers
                tiny = float(gt.finfo(found.dtype).smallest_normal)
                np.testing.assert_allclose(found.numpy(), wanted, rtol=INEXACT, atol=4 * tiny)


# Signatures

EXTENSIONS = {"linalg", "fft"}
LATER = {"broadcast_shapes", "isin"}  # versions
STANDARD = [
    name
    for name in strict.__all__
    if not name.startswith("_")
    and name not in EXTENSIONS | LATER
    and "flags" not in name.lower()
    and not isinstance(getattr(strict, name), type)
]


@pytest.mark.parametrize("name", STANDARD)
def test_names_and_signatures_are_the_standards(name):
    wanted, found = getattr(strict, name), getattr(gt, name)
    if not inspect.isfunction(wanted):
        return
    kinds = inspect.Parameter
    theirs = inspect.signature(wanted).parameters.values()
    mine = inspect.signature(found).parameters
    by_place = [p for p in mine.values() if p.kind != kinds.KEYWORD_ONLY]
    places = [p for p in theirs if p.kind != kinds.KEYWORD_ONLY]
    assert len(by_place) >= len(places)
    for own, other in zip(by_place, places, strict=False):
        if other.kind == kinds.POSITIONAL_OR_KEYWORD:
            assert (own.name, own.kind) == (other.name, other.kind)
        if other.kind == kinds.VAR_POSITIONAL:
            assert own.kind == other.kind
        assert own.default == other.default or (name, own.name) == ("expand_dims", "axis")
    for extra in by_place[len(places) :]:
        assert extra.default is not kinds.empty
    for other in theirs:
        if other.kind == kinds.KEYWORD_ONLY:
            theirs_own = "Undef" in repr(other.default)  # where the standard says None
            assert mine[other.name].default == (None if theirs_own else other.default)


ON_CUDA = {
    **{name: getattr(gt, name) for name in UNARY if "float64" in UNARY[name]},
    **{name: getattr(gt, name) for name in ["cbrt", "exp2", "nan_to_num", "sinc", "softplus"]},
    **{name: getattr(gt, name) for name in ["digamma", "erfc", "erfinv", "gammaln"]},
    **{
        name: lambda x, name=name: getattr(gt, name)(x, x[:1] * 0.5)
        for name in BINARY
        if "float64" in BINARY[name]
    },
    "argsort": lambda x: gt.argsort(x, axis=0, descending=True),
    "bincount": lambda x: gt.bincount(gt.astype(x * 9, gt.int64)[0], x[1]),
    "broadcast_arrays": lambda x: gt.concat(gt.broadcast_arrays(x, x[0])),
    "clip": lambda x: gt.clip(x, 0.3, x + 0.1),
    "convolve": lambda x: gt.convolve(x[0], x[1], "same"),
    "count_nonzero": lambda x: gt.count_nonzero(x, axis=1, keepdims=True),
    "cumulative_prod": lambda x: gt.cumulative_prod(x, axis=1, include_initial=True),
    "cumulative_sum": lambda x: gt.cumulative_sum(x, axis=0, include_initial=True),
    "diff": lambda x: gt.diff(x, prepend=0, append=x[:, :2]),
    "flip": gt.flip,
    "interp": lambda x: gt.interp(x, [0.2, 0.5, 0.7], [1.0, 3.0, -1.0]),
    "median": lambda x: gt.median(x, axis=0),
    "meshgrid": lambda x: gt.meshgrid(x[0], x[1])[1],
    "moveaxis": lambda x: gt.moveaxis(x, 0, 1),
    "nonzero": lambda x: gt.nonzero(x > 0.5)[1],
    "pad": lambda x: gt.concat([gt.pad(x, 2), gt.pad(x, 2, "reflect")]),
    "polygamma": lambda x: gt.polygamma(2, x),
    "prod": lambda x: gt.prod(x, axis=0),
    "repeat": lambda x: gt.concat([gt.repeat(x, 2), gt.repeat(x, [1, 2, 0], axis=0).flatten()]),
    "roll": lambda x: gt.roll(x, (1, 2), axis=(0, 1)),
    "searchsorted": lambda x: gt.searchsorted(gt.sort(x[0]), x, side="right"),
    "select": lambda x: gt.select([x < 0.3, x < 0.6], [x, 2 * x], 1.0),
    "sort": lambda x: gt.sort(x, descending=True),
    "split": lambda x: gt.hstack(gt.split(x, [1, 3], axis=1)),
    "take_along_axis": lambda x: gt.take_along_axis(x, gt.argsort(x, axis=1), axis=1),
    "tile": lambda x: gt.tile(x, (2, 1)),
    "topk": lambda x: gt.topk(x, 2, axis=0).values,
    "tril": lambda x: gt.tril(x) + gt.triu(x, k=1),
    "unique_all": lambda x: gt.unique_all(gt.round(4 * x)).counts,
    "unstack": lambda x: gt.vstack(gt.unstack(x, axis=1)),
}


@pytest.mark.parametrize("name", ON_CUDA)
def test_cuda_gives_what_the_cpu_gives(cupy, name):
    data = np.random.default_rng(3).uniform(0.1, 0.9, (3, 4))
    if name == "acosh":
        data = data + 1
    results = []
    for device in ("cpu", "cuda"):
        with gt.device(device):
            x = gt.tensor(data, device=device, requires_grad=True)
            out = ON_CUDA[name](x)
            assert out.device == x.device
            if out.requires_grad:
                out.sum().backward()
                assert x.grad.device == x.device
            results.append((out.detach().numpy(), None if x.grad is None else x.grad.numpy()))
    (wanted, slope), (found, own) = results
    assert found.dtype == wanted.dtype
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)
    if slope is not None:
        np.testing.assert_allclose(own, slope, rtol=1e-12, atol=1e-12)


METHODS = [
    name
    for name, method in vars(type(strict.ones(1))).items()
    if inspect.isfunction(method)
    and name.startswith("__")
    and name not in {"__array__", "__buffer__", "__hash__", "__repr__", "__str__", "__iter__"}
] + ["to_device"]


@pytest.mark.parametrize("name", METHODS)
def test_methods_are_the_standards(name):
    wanted = inspect.signature(getattr(strict.ones(1), name)).parameters.values()
    found = inspect.signature(getattr(gt.ones(1), name)).parameters
    keyword = inspect.Parameter.KEYWORD_ONLY
    places = [p for p in wanted if p.kind != keyword and p.name != "stream"]
    assert len(places) == len([p for p in found.values() if p.kind != keyword])
    assert {p.name for p in wanted if p.kind == keyword} <= found.keys()


IN_TORCH = {
    "acosh": lambda m, x: m.acosh(x + 1),
    "asinh": lambda m, x: m.asinh(x),
    "atanh": lambda m, x: m.atanh(x),
    "atan2": lambda m, x: m.atan2(x, x[0]),
    "copysign": lambda m, x: m.copysign(x, x - 0.5),
    "cumprod": lambda m, x: m.cumprod(x * (x > 0.4), 1),
    "digamma": lambda m, x: m.digamma(x),
    "erfc": lambda m, x: m.erfc(x),
    "erfinv": lambda m, x: m.erfinv(x),
    "exp2": lambda m, x: m.exp2(x),
    "flip": lambda m, x: m.flip(x, **({"axis": 1} if m is gt else {"dims": (1,)})),
    "gammaln": lambda m, x: m.gammaln(x) if m is gt else m.lgamma(x),
    "hypot": lambda m, x: m.hypot(x, x[1]),
    "logaddexp": lambda m, x: m.logaddexp(x, x[2]),
    "median": lambda m, x: (
        m.median(x[:, :3], axis=1) if m is gt else m.median(x[:, :3], dim=1).values
    ),
    "nan_to_num": lambda m, x: m.nan_to_num(x / (x > 0.4)),
    "polygamma": lambda m, x: m.polygamma(2, x),
    "prod": lambda m, x: m.prod(x * (x > 0.2), **({"axis": 0} if m is gt else {"dim": 0})),
    "quantile": lambda m, x: m.quantile(x, 0.3, **({"axis": 1} if m is gt else {"dim": 1})),
    "roll": lambda m, x: m.roll(x, (1, 2), **({"axis": (0, 1)} if m is gt else {"dims": (0, 1)})),
    "sinc": lambda m, x: m.sinc(x),
    "softplus": lambda m, x: (m if m is gt else m.nn.functional).softplus(x),
    "tril": lambda m, x: m.tril(x),
}


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", IN_TORCH)
def test_values_and_gradients_equal_pytorch(name):
    torch = pytest.importorskip("torch")
    data = np.random.default_rng(8).uniform(0.1, 0.9, (3, 4))
    mine, theirs = gt.tensor(data, requires_grad=True), torch.tensor(data, requires_grad=True)
    found, wanted = IN_TORCH[name](gt, mine), IN_TORCH[name](torch, theirs)
    np.testing.assert_allclose(found.detach().numpy(), wanted.detach().numpy(), rtol=1e-6)
    weights = np.cos(np.arange(float(wanted.numel()))).reshape(wanted.shape)
    found.backward(gt.tensor(weights))
    wanted.backward(torch.tensor(weights))
    np.testing.assert_allclose(mine.grad.numpy(), theirs.grad.numpy(), rtol=1e-6, atol=1e-9)


# Libraries that are written against the standard

SCIPY = """
import numpy as np, gputensor as gt
from scipy import differentiate, integrate, interpolate, special, stats
from scipy.optimize import elementwise
from scipy.spatial.transform import Rotation

data = np.random.default_rng(2).uniform(0.1, 0.9, (5, 4))
x = gt.tensor(data, requires_grad=True)
for function in (
    lambda x: special.logsumexp(x, axis=0),
    lambda x: special.softmax(x, axis=1),
    lambda x: special.xlogy(x, x),
    stats.zscore,
    stats.skew,
    stats.kurtosis,
    stats.gmean,
    stats.variation,
    lambda x: stats.quantile(x, 0.3, axis=0),
    lambda x: integrate.trapezoid(x, axis=0),
    lambda x: integrate.cumulative_trapezoid(x, axis=1),
):
    found = function(x)
    assert isinstance(found, gt.Tensor)
    np.testing.assert_allclose(found.detach().numpy(), function(data), rtol=1e-10)
    assert gt.gradcheck(function, x)
for function in (  # through NumPy, or in steps that the tape does not follow
    lambda x: stats.mannwhitneyu(x[:, 0], x[:, 1]).pvalue,
    lambda x: stats.jarque_bera(x).statistic,
    lambda x: Rotation.from_rotvec(x[:, :3]).as_matrix(),
    lambda x: interpolate.PchipInterpolator(x[:, 0] * 0 + np.arange(5.0), x)(1.5),
    special.ndtri,
):
    found = function(x.detach())
    assert isinstance(found, gt.Tensor)
    np.testing.assert_allclose(found.numpy(), function(data), rtol=1e-10)
root = elementwise.find_root(lambda t: t**3 - 2, (gt.asarray(data[0]), gt.asarray(data[1] + 2))).x
np.testing.assert_allclose(root.numpy(), 2 ** (1 / 3))
slope = differentiate.derivative(gt.sin, gt.asarray(data[0])).df
np.testing.assert_allclose(slope.numpy(), np.cos(data[0]), rtol=1e-6)
area = integrate.tanhsinh(gt.exp, gt.asarray(data[0] - 1), gt.asarray(data[0])).integral
np.testing.assert_allclose(area.numpy(), np.exp(data[0]) - np.exp(data[0] - 1))
"""


@pytest.mark.cpu
def test_scipy_computes_with_tensors_on_the_tape():
    scipy = pytest.importorskip("scipy", minversion="1.16")
    done = subprocess.run(
        [sys.executable, "-c", SCIPY],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SCIPY_ARRAY_API": "1"},
    )
    assert done.returncode == 0, f"SciPy {scipy.__version__}: {done.stderr}"


def test_a_tensor_fills_another_with_its_gradient():
    x = gt.tensor(3.0, requires_grad=True)
    for made in (gt.full((2, 3), x), gt.full_like(gt.ones((2, 3)), x)):
        made.sum().backward()
        assert made.tolist() == [[3, 3, 3], [3, 3, 3]]
    assert x.grad.item() == 12
    assert gt.full(2, x, dtype=gt.float64).dtype == gt.float64
    with pytest.raises(gt.errors.ShapeError, match="broadcast_to"):
        gt.full(3, gt.ones(2))
