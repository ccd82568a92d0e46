"""What differs between CuPy and NumPy is the same here: values, dtypes, refusals, views."""

import functools
import itertools
import math
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gputensor as gt
from cases import LINALG, REAL
from gputensor import backend, cuda_functions
from gputensor.backend import layout

on_cuda = pytest.mark.parametrize("cupy", ["forward"], indirect=True)  # no kernels of ours here
INF, NAN = math.inf, math.nan
DEVICES = ("cpu", "cuda")
DTYPES = [
    *("bool", "int8", "uint8", "int16", "int32", "uint32", "int64", "uint64", "float16"),
    *("bfloat16", "float32", "float64", "complex64", "complex128"),
]
FLOATS = [d for d in DTYPES if "float" in d]


def dtype_of(name):
    if name == "bfloat16":
        return np.dtype(pytest.importorskip("ml_dtypes").bfloat16)
    return np.dtype(name)


def bits(x):
    """The bytes of a tensor's elements, of which those of -0.0 differ from those of 0.0."""
    return x.detach().cpu().numpy().tobytes()


# Signs of zero


@on_cuda
@pytest.mark.parametrize("name", [*FLOATS, "complex64", "complex128"])
def test_the_sign_of_zero_survives(cupy, name):
    dtype = dtype_of(name)
    zeros = [-0.0] if dtype.kind != "c" else [complex(-0.0, 0.0), complex(0.0, -0.0)]
    for zero in zeros:
        wanted = np.array(zero, dtype).tobytes()
        host = np.array(zero, dtype)
        x = gt.asarray(np.ones((2, 3), dtype), device="cuda")
        ways = {
            "array without axes": gt.asarray(host, device="cuda"),
            "copy of it": gt.tensor(host, device="cuda"),
            "transfer": gt.asarray(host, device="cpu").to("cuda"),
            "transfer and back": gt.asarray(host, device="cuda").cpu(),
            "one element": gt.asarray(host.reshape(1), device="cuda"),
            "full": gt.full((), zero, dtype=dtype, device="cuda"),
            "full of a tensor": gt.full((), gt.asarray(host, device="cuda")),
            "full_like": gt.full_like(x[0, 0], zero),
            "NumPy's number": gt.asarray(host[()], dtype=dtype, device="cuda"),
            "where": gt.where(gt.equal(x[0, 0], 1), gt.asarray(host, device="cuda"), x[0, 0]),
        }
        for way, found in ways.items():
            assert found.dtype == dtype
            assert bits(found) == wanted, way
        for key in (0, (0, 1), ..., slice(None), (slice(None), 1)):
            for value in (zero, host[()], gt.asarray(host, device="cuda")):
                y = gt.asarray(np.ones((2, 3), dtype), device="cuda")
                y[key] = value
                assert bits(y[key]) == wanted * y[key].size
                assert bits(gt.index_set(x, key, value)[key]) == wanted * y[key].size
        for key in (gt.asarray([0, 1], device="cuda"), gt.equal(x, 1)):
            y = gt.asarray(np.ones((2, 3), dtype), device="cuda")
            y[key] = zero
            assert bits(y) == wanted * 6


@on_cuda
def test_the_sign_of_zero_survives_lists_and_arithmetic(cupy):
    with gt.device("cuda"):
        assert np.signbit(gt.tensor(-0.0).numpy())
        assert np.signbit(gt.tensor([[-0.0], [-0.0]]).numpy()).all()
        assert gt.divide(gt.tensor(1.0), gt.tensor(-0.0)).item() == -INF
        assert gt.atan2(gt.tensor(-0.0), -1.0).item() == pytest.approx(-math.pi)
        assert np.signbit(gt.sqrt(-0.0).numpy())
        x = gt.tensor(-0.0)
        x += gt.tensor(-0.0)
        assert np.signbit(x.numpy())


def test_a_number_has_a_hidden_sign_if_it_is_a_zero_with_a_minus():
    for number in (-0.0, np.float16(-0.0), complex(0.0, -0.0), np.complex64(complex(-0.0, 0))):
        assert cuda_functions.has_hidden_sign(number)
    for number in (0.0, 0, False, 0j, -1.0, NAN, np.float32(0), -1e-320):
        assert not cuda_functions.has_hidden_sign(number)


# Complex numbers

PARTS = [0.0, -0.0, 1.5, -2.0, INF, -INF, NAN]
GRID = np.array([complex(a, b) for a in PARTS for b in PARTS])


@on_cuda
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
@pytest.mark.parametrize("name", ["divide", "reciprocal"])
def test_complex_quotients_are_numpys(cupy, name, dtype):
    x = GRID.astype(dtype)
    operands = (x[:, None], x) if name == "divide" else (x,)
    wanted = getattr(np, name)(*operands)
    found = getattr(gt, name)(*(gt.asarray(o, device="cuda") for o in operands)).numpy()
    assert found.dtype == dtype
    np.testing.assert_allclose(found.real, wanted.real, rtol=1e-6)
    np.testing.assert_allclose(found.imag, wanted.imag, rtol=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.complex_numbers(allow_nan=False, max_magnitude=1e18), st.complex_numbers(max_magnitude=9))
def test_complex_quotients_of_any_size(x, y):
    if abs(y) < 1e-150:
        return
    with gt.device(backend.default_device()):
        found = (gt.tensor(x, dtype=gt.complex128) / gt.tensor(y, dtype=gt.complex128)).item()
    assert found == pytest.approx(x / y, rel=1e-13, abs=1e-300)


@on_cuda
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", ["logical_and", "logical_or", "logical_xor", "logical_not"])
def test_logic_of_complex_numbers(cupy, name):
    operands = (GRID[:, None], GRID) if name != "logical_not" else (GRID,)
    found = getattr(gt, name)(*(gt.asarray(o, device="cuda") for o in operands))
    np.testing.assert_array_equal(found.numpy(), getattr(np, name)(*operands))


# Values that differ


def both(function, *arrays):
    """What a function gives on each device, as NumPy arrays."""
    found = []
    for device in DEVICES:
        with gt.device(device):
            out = function(*(gt.asarray(a, device=device) for a in arrays))
            outs = out if isinstance(out, tuple) else (out,)
            assert all(t.device.kind == device for t in outs)
            found.append([t.detach().cpu().numpy() for t in outs])
    return found


def assert_alike(function, *arrays, rtol=0.0):
    cpu, cuda = both(function, *arrays)
    for a, b in zip(cpu, cuda, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(b.astype(complex), a.astype(complex), rtol=rtol)
        if a.dtype.kind == "f":
            number = ~np.isnan(a)
            np.testing.assert_array_equal(np.signbit(a[number]), np.signbit(b[number]))


SPECIAL = np.array([1.0, NAN, -NAN, -0.0, INF, 0.0, -INF, NAN, -3.0, 1.0])


@on_cuda
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", FLOATS)
def test_places_orders_and_powers_of_special_numbers(cupy, dtype):
    x = SPECIAL.astype(dtype_of(dtype))
    for data in (x, np.stack([x, x[::-1], np.sort(x)]), x[:1]):
        for axis in (-1, 0, None):
            for name in ("argmax", "argmin"):
                assert_alike(lambda t, n=name, a=axis: getattr(gt, n)(t, axis=a), data)
        for descending in (False, True):
            for name in ("sort", "argsort"):
                assert_alike(lambda t, n=name, d=descending: getattr(gt, n)(t, descending=d), data)
        assert_alike(lambda t: tuple(gt.topk(t, 1)), data)
        assert_alike(lambda t: tuple(gt.unique_all(t)), data)
        for power in (0.5, -1.0, -1, 2, 2.0, 3):
            assert_alike(lambda t, p=power: t**p, data, rtol=1e-2 if dtype == "float16" else 1e-6)
        assert_alike(lambda t: gt.pow(t, gt.full_like(t, 0.5)), data, rtol=1e-2)
        assert_alike(lambda t: gt.clip(t, -1.0, 1.0), data)
        assert_alike(gt.sign, data)
        assert_alike(gt.round, data)
        assert_alike(gt.nan_to_num, data)
        assert_alike(lambda t: gt.nan_to_num(t, nan=2.0, posinf=-0.0, neginf=3.0), data)


@on_cuda
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", [*FLOATS, "complex64", "complex128"])
def test_no_elementwise_function_hides_nan(cupy, dtype):
    x = np.array([NAN, 0.5], dtype_of(dtype))
    modules = gt.ops.choices, gt.ops.elementwise, gt.ops.special
    for name in itertools.chain(*(m.__all__ for m in modules)):
        if name in ("nan_to_num", "real", "imag") or name.startswith(("is", "signbit", "logical")):
            continue
        try:
            cpu, cuda = (getattr(gt, name)(gt.asarray(x, device=d)).cpu() for d in DEVICES)
        except (TypeError, gt.errors.DTypeError):  # takes more than one, or not this dtype
            continue
        for found in (cpu, cuda):
            assert gt.any(gt.isnan(found[0])), name
        assert not gt.any(gt.isnan(cpu[1])) or name in ("acosh",), name


@on_cuda
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", FLOATS)
def test_whole_quotients_and_what_they_leave(cupy, dtype):
    x = np.array([*SPECIAL, 0.1, 0.3, -0.7, 7.5, 1e4, -2.5]).astype(dtype_of(dtype))
    for name in ("floor_divide", "remainder"):
        assert_alike(getattr(gt, name), x[:, None], x)
        for number in (0.1, -3, 0.0):
            assert_alike(lambda t, n=name, y=number: getattr(gt, n)(t, y), x)
            assert_alike(lambda t, n=name, y=number: getattr(gt, n)(y, t), x)
    assert gt.floor_divide(gt.tensor(1.0, device="cuda"), 0.1).item() == 9


@on_cuda
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64", "uint64"])
@pytest.mark.parametrize(
    "bounds", [(-1, 1), (None, 0.5), (0.5, 2), (None, 1), (0, 1 << 70), (-5, 5)]
)
def test_integers_are_clipped_to_any_bounds(cupy, dtype, bounds):
    assert_alike(lambda x: gt.clip(x, *bounds), np.array([0, 1, 2, 100], dtype))


@on_cuda
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", FLOATS)
def test_the_next_number(cupy, dtype):
    ends = [0.0, -0.0, 1.0, -1.0, 1.5, INF, -INF, NAN, float(gt.finfo(dtype_of(dtype)).max)]
    x = np.array(ends, dtype_of(dtype))
    (cpu,), (cuda,) = both(gt.nextafter, x[:, None], x)
    assert cuda.dtype == cpu.dtype
    away = x != 0  # of 0 it is a subnormal number, which CuPy may flush
    np.testing.assert_array_equal(cuda[away].astype(float), cpu[away].astype(float))
    if dtype == "bfloat16":
        np.testing.assert_array_equal(cuda.astype(float), cpu.astype(float))


@on_cuda
@pytest.mark.parametrize("device", DEVICES)
def test_an_integer_that_does_not_fit_is_refused(cupy, device):
    x = gt.asarray(np.array([1, 2], np.int8), device=device)
    for number in (300, np.int64(300), np.uint8(200)):
        for key in (0, ..., slice(1)):
            with pytest.raises((OverflowError, gt.errors.GPUTensorError)):
                x[key] = number
            with pytest.raises((OverflowError, gt.errors.GPUTensorError)):
                gt.index_set(x, key, number)
    for choices in ((x, 300), (300, x)):
        with pytest.raises(OverflowError):
            gt.where(x > 1, *choices)
    assert x.numpy().tolist() == [1, 2]


@on_cuda
def test_complex_quotients_in_place(cupy):
    x = gt.asarray(np.array([1 + 1j, 2 + 0j]), device="cuda")
    x /= gt.asarray(np.array([complex(INF, 0), 2j]), device="cuda")
    np.testing.assert_array_equal(x.numpy(), [0, -1j])


@on_cuda
def test_what_is_not_finite_does_not_spread_in_a_convolution(cupy):
    x = np.array([1.0, NAN, 2.0, 3.0, -INF, 4.0, 1.0])
    for y in ([1.0, 2.0], [1.0, 0.0, INF], [3.0], [NAN, 1.0]):
        for mode in ("full", "valid", "same"):
            assert_alike(lambda a, b, m=mode: gt.convolve(a, b, mode=m), x, np.array(y))
            assert_alike(lambda a, b, m=mode: gt.convolve(b, a, mode=m), x, np.array(y))


@on_cuda
def test_variance_without_degrees_of_freedom_is_the_same(cupy):
    x = np.arange(6.0).reshape(2, 3)
    with np.errstate(all="ignore"):
        for correction in (0, 1, 2, 3, 4):
            assert_alike(lambda t, c=correction: gt.var(t, axis=1, correction=c), x)


@on_cuda
@pytest.mark.parametrize("name", [d for d in DTYPES if d != "bool"])
def test_additions_at_repeated_places(cupy, name):
    values = np.arange(12).reshape(4, 3).astype(dtype_of(name))
    places = np.array([2, 0, 2, 2])
    assert_alike(lambda i, v: gt.index_add((3, 3), i, v), places, values)
    assert_alike(lambda i, v: gt.index_add((5, 4, 3), (slice(1, 2), i), v), places, values)


@on_cuda
@pytest.mark.filterwarnings("ignore:invalid value")  # of orders that are no integers
def test_polygamma_takes_a_number_and_keeps_the_dtype(cupy):
    for dtype in ("float32", "float64", "int64"):
        x = np.array([[1, 2, 3]], dtype)
        for n in (0, 1, 3):
            assert_alike(lambda t, n=n: gt.polygamma(n, t), x, rtol=1e-5)
    for orders in (np.array([[0], [1], [-2]]), np.array(2, "int8"), np.array([0.0, 1.5, 3.0])):
        for dtype in ("float32", "float64", "int64"):
            assert_alike(gt.polygamma, orders, np.array([1, 2, 3], dtype), rtol=1e-5)
    x = gt.tensor([0.5, 1.5], dtype=gt.float64, device="cuda", requires_grad=True)
    assert gt.gradcheck(gt.digamma, x)
    assert gt.gradcheck(lambda t: gt.grad(lambda u: gt.sum(gt.gammaln(u)))(t), x)


# Dtypes: the same on both devices

UNARY = [
    *("abs", "acos", "acosh", "asin", "asinh", "atan", "atanh", "bitwise_invert", "cbrt", "ceil"),
    *("conj", "cos", "cosh", "digamma", "erf", "erfc", "erfinv", "exp", "exp2", "expm1", "floor"),
    *("gammaln", "imag", "isfinite", "isinf", "isnan", "log", "log1p", "log2", "log10"),
    *("logical_not", "nan_to_num", "negative", "positive", "real", "reciprocal", "relu", "round"),
    *("sigmoid", "sign", "signbit", "sin", "sinc", "sinh", "softplus", "sqrt", "square", "tan"),
    *("tanh", "trunc"),
]
BINARY = [
    *("add", "atan2", "bitwise_and", "bitwise_left_shift", "bitwise_or", "bitwise_right_shift"),
    *("bitwise_xor", "copysign", "divide", "equal", "floor_divide", "greater", "greater_equal"),
    *("hypot", "less", "less_equal", "logaddexp", "logical_and", "logical_or", "logical_xor"),
    *("maximum", "minimum", "multiply", "nextafter", "not_equal", "pow", "remainder", "subtract"),
]
OTHER = {
    "add a number": lambda x: x + 1,
    "add a fraction": lambda x: x + 0.5,
    "add an imaginary number": lambda x: x + 1j,
    "all": gt.all,
    "argmax": gt.argmax,
    "argsort": gt.argsort,
    "bias_activation": lambda x: gt.kernels.bias_activation(x[None], x, kind="gelu"),
    "clip": lambda x: gt.clip(x, 0, 1),
    "clip above": lambda x: gt.clip(x, max=1),
    "clip below": lambda x: gt.clip(x, 0),
    "cumulative_sum": gt.cumulative_sum,
    "dot": lambda x: gt.vecdot(x, x),
    "eigh": lambda x: gt.linalg.eigh(gt.diag(x)).eigenvalues,
    "eigvalsh": lambda x: gt.linalg.eigvalsh(gt.diag(x)),
    "index_add": lambda x: gt.index_add((3,), gt.asarray([0, 0], device=x.device), x),
    "inv": lambda x: gt.linalg.inv(gt.diag(x)),
    "log_softmax": gt.log_softmax,
    "logsumexp": gt.logsumexp,
    "max": gt.max,
    "mean": gt.mean,
    "polygamma": lambda x: gt.polygamma(1, x),
    "prod": gt.prod,
    "softmax": gt.softmax,
    "sort": gt.sort,
    "squared": lambda x: x**2,
    "square root": lambda x: x**0.5,
    "sum": gt.sum,
    "to the power of -1": lambda x: x**-1,
    "to the power of -1.0": lambda x: x**-1.0,
    "unique": gt.unique_values,
    "var": gt.var,
    "where": lambda x: gt.where(x == x, x, 0),
}


def outcome(function, x):
    """Dtype and values; or the error, where its operand is refused."""
    try:
        with np.errstate(all="ignore"):
            found = function(x).cpu().numpy()
        return found.dtype, found.astype(complex)
    except (TypeError, gt.errors.GPUTensorError) as error:
        return type(error), str(error)


@on_cuda
@pytest.mark.parametrize("name", [*UNARY, *BINARY, *OTHER])
def test_both_devices_take_the_same_dtypes(cupy, name):
    for dtype in DTYPES:
        data = np.array([1.5, -2.5] if dtype in FLOATS or dtype[0] == "c" else [1, 2])
        data = data.astype(dtype_of(dtype))
        if name in OTHER:
            function = OTHER[name]
        elif name in UNARY:
            function = getattr(gt, name)
        else:
            function = functools.partial(lambda f, x: f(x, x), getattr(gt, name))
        cpu, cuda = (outcome(function, gt.asarray(data, device=device)) for device in DEVICES)
        assert cpu[0] == cuda[0], (dtype, cpu, cuda)
        if isinstance(cpu[1], str):
            assert cpu[0] is gt.errors.DTypeError, (dtype, cpu)
            assert cpu[1] == cuda[1]
        else:
            np.testing.assert_allclose(cpu[1], cuda[1], rtol=2e-2, err_msg=dtype)


@on_cuda
def test_nothing_is_computed_with_what_is_refused(cupy):
    from gputensor import standin

    x = gt.tensor([1 + 2j], device="cuda")
    standin.counters.reset()
    for function in (gt.atan2, gt.hypot, gt.copysign, gt.nextafter):
        with pytest.raises(gt.errors.DTypeError, match="does not take operands of dtype complex64"):
            function(x, x)
        with pytest.raises(gt.errors.DTypeError, match="float32, complex"):
            function(gt.tensor([1.0], device="cuda"), 2j)
    assert standin.counters.array_ops == 0


# Order of axes in memory, and with it what is a view

LAYOUTS = {
    "Fortran's": np.asfortranarray,
    "from behind": lambda x: np.ascontiguousarray(x[..., ::-1])[..., ::-1],
    "turned": lambda x: np.ascontiguousarray(np.moveaxis(x, 0, -1)).transpose(
        -1, *range(x.ndim - 1)
    ),
    "with gaps": lambda x: np.repeat(x, 2, -1)[..., ::2],
}


def placed(host, device):
    """Tensor with the values and the strides of a NumPy array."""
    if device == "cpu":
        return gt.asarray(host)
    cupy = sys.modules["cupy"]
    owner = host if host.base is None else host.base
    flat = owner.reshape(-1, order="A" if owner.flags.forc else "C")
    offset = host.__array_interface__["data"][0] - owner.__array_interface__["data"][0]
    memory = cupy.asarray(np.ascontiguousarray(flat)).data + offset
    return gt.asarray(cupy.ndarray(host.shape, host.dtype, memory, host.strides))


def strides(x):
    """Those of axes that have more than one place."""
    return [s for n, s in zip(x.shape, x.array.strides, strict=True) if n > 1] if x.size else []


@on_cuda
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("cases", [REAL, LINALG], ids=["ops", "linalg"])
def test_results_lie_in_memory_as_on_the_cpu(cupy, cases, layout):
    rng = np.random.default_rng(0)
    for name, calls in cases.items():
        for function, *inputs in calls:
            arrays = [rng.normal(size=x) if isinstance(x, tuple) else x for x in inputs]
            arrays = [
                LAYOUTS[layout](x) if isinstance(x, np.ndarray) and x.ndim > 1 else x
                for x in arrays
            ]
            found = []
            for device in DEVICES:
                with gt.device(device):
                    given = [placed(a, device) if isinstance(a, np.ndarray) else a for a in arrays]
                    out = function(*given)
                    outs = out if isinstance(out, (tuple, list)) else [out]
                    found.append([strides(t) for t in outs if isinstance(t, gt.Tensor)])
            assert found[0] == found[1], name


REDUCTIONS = (
    *("all", "any", "argmax", "argmin", "count_nonzero", "logsumexp", "max", "mean", "min"),
    *("prod", "std", "sum", "var"),
)


@on_cuda
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions_are_in_cs_order(cupy, name):
    for axes in itertools.permutations(range(3)):
        for device in DEVICES:
            x = gt.permute_dims(gt.asarray(np.ones((2, 3, 4)), device=device), axes)
            for axis in range(3):
                for keepdims in (False, True):
                    found = getattr(gt, name)(x, axis=axis, keepdims=keepdims)
                    assert found.array.flags.c_contiguous, (axes, device, axis)


@on_cuda
@pytest.mark.parametrize("axes", [(0, 1, 2), (0, 2, 1), (1, 2, 0), (2, 1, 0)])
def test_transfers_keep_the_order_of_axes_and_new_tensors_are_in_cs(cupy, axes):
    host = np.arange(24.0).reshape(2, 3, 4).transpose(axes)
    there = gt.asarray(host, device="cuda")
    for moved in (there, there.cpu(), there.cpu().to("cuda"), gt.asarray(host, device="cuda:1")):
        assert strides(moved) == list(host.strides)
        np.testing.assert_array_equal(moved.cpu().numpy(), host)
    for device in DEVICES:
        for dtype in ("float64", "float32"):
            for data in (host, there, there.cpu()):
                assert gt.tensor(data, dtype, device).array.flags.c_contiguous
    x = gt.tensor(host, device="cuda", requires_grad=True)
    y = gt.permute_dims(x, (2, 0, 1)).cpu()
    y *= 2  # a copy that nobody else has
    (y * y).sum().backward()
    np.testing.assert_array_equal(x.grad.cpu().numpy(), 8 * host)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_the_order_of_axes_is_that_of_numpys_results(data):
    shape = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=4))
    operands = []
    for _ in range(data.draw(st.integers(1, 3))):
        axes = data.draw(st.permutations(range(len(shape))))
        x = np.empty([shape[a] for a in axes]).transpose(np.argsort(axes))
        steps = data.draw(st.tuples(*[st.sampled_from([1, -1]) for _ in shape]))
        x = x[tuple(slice(None, None, s) for s in steps)]
        operands.append(x[0] if len(shape) > 1 and data.draw(st.booleans()) else x)
    result = sum(operands[1:], operands[0] * 1) if len(operands) < 3 else np.where(*operands)
    if len(operands) == 2:
        result = np.add(*operands)
    axes = layout.order_of_axes([(x.shape, x.strides) for x in operands])
    expected = sorted(range(result.ndim), key=lambda i: -result.strides[i])
    long = [i for i in range(result.ndim) if result.shape[i] > 1]
    assert [a for a in axes if a in long] == [a for a in expected if a in long]


@on_cuda
def test_a_reshape_of_a_result_is_a_view_on_both_or_on_neither(cupy):
    for device in DEVICES:
        x = gt.tensor(np.arange(6.0).reshape(3, 2), device=device)
        for result, shared in (
            (gt.exp(x.T), False),
            (gt.exp(x), True),
            (gt.sum(x.T[None], axis=0), True),
        ):
            part = gt.reshape(result, (6,))
            part[...] = 7.0
            assert bool(gt.all(result == 7.0)) is shared
        root = gt.exp(x.T)
        parts = gt.reshape(root.T, (6,))  # the memory of what is transposed is in order
        parts[...] = 7.0
        assert bool(gt.all(root == 7.0))


# Lines of the user


def test_lines_of_compiled_libraries_are_not_the_users():
    def frame(name):
        scope = {}
        exec(compile("import sys\nfound = sys._getframe()", name, "exec"), scope)
        return scope["found"]

    ours = sys._getframe()
    for name in (
        "cupy/cuda/memory.pyx",
        "cupy_backends/cuda/api/runtime.pyx",
        "numpy/random/mtrand.pyx",
    ):
        assert __file__ in backend.user_line([frame(name), ours])
    assert "mine.pyx" in backend.user_line([frame("mine.pyx"), ours])
