"""Matrix products: on CUDA against NumPy, with the calls that cuBLAS gets; threads on the CPU."""

import importlib
import logging
import sys
import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gputensor as gt
from gputensor import blas, config, standin
from gputensor.errors import DeviceError, DTypeError, ShapeError
from gputensor.ops.nn import dense
from gputensor.standin import nvmath_cublas

DTYPES = ["float16", "bfloat16", "float32", "float64", "complex64", "complex128"]
TOLERANCE = {"float16": 2e-2, "bfloat16": 1e-1, "float32": 1e-4, "complex64": 1e-4}
RNG = np.random.default_rng(5)


@pytest.fixture
def calls():
    """What the stand-in for cuBLAS was asked for."""
    nvmath_cublas.calls.clear()
    return nvmath_cublas.calls


@pytest.fixture
def bindings():
    """Forget before and after whether there are bindings of cuBLAS, and the handles."""

    def forget():
        blas._bindings.cache_clear()
        blas._handles.clear()

    forget()
    yield forget
    forget()


def dtype_of(name):
    return np.dtype(pytest.importorskip("ml_dtypes").bfloat16 if name == "bfloat16" else name)


def normal(shape, dtype="float64"):
    dtype = dtype_of(dtype)
    values = RNG.standard_normal(shape)
    return (values + 1j * RNG.standard_normal(shape) if dtype.kind == "c" else values).astype(dtype)


def product(a, b):
    """Product by NumPy, in the precision that sums are to have at least."""
    if a.itemsize == 2:
        a, b = a.astype("float32"), b.astype("float32")
    return np.matmul(a, b)


def close(found, a, b):
    dtype = np.result_type(a.dtype, b.dtype)
    assert found.dtype == dtype
    rtol = TOLERANCE.get(dtype.name, 1e-10)
    expected = product(a, b)
    host = found.get()
    assert host.shape == expected.shape
    np.testing.assert_allclose(host.astype(expected.dtype), expected, rtol=rtol, atol=rtol)


LAYOUTS = ("dense", "transposed", "gaps", "reversed", "neither")


def laid_out(cupy, host, layout):
    """Device array with the values of `host`, its last two axes in a layout of memory."""
    if layout == "dense" or not host.ndim:
        return cupy.asarray(host)
    if host.ndim == 1:
        host = host[:, None]
        return laid_out(cupy, host, "gaps" if layout == "transposed" else layout)[:, 0]
    if layout == "transposed":
        return cupy.asarray(np.ascontiguousarray(np.swapaxes(host, -1, -2))).swapaxes(-1, -2)
    if layout == "gaps":
        *stack, rows, columns = host.shape
        wide = cupy.zeros((*stack, rows + 1, columns + 3), host.dtype)[..., 1:, 2:-1]
        wide[...] = cupy.asarray(host)
        return wide
    if layout == "reversed":
        return cupy.asarray(np.ascontiguousarray(host[..., ::-1, :]))[..., ::-1, :]
    return cupy.asarray(np.repeat(host, 2, axis=-1))[..., ::2]


sizes = st.integers(0, 5)
layouts = st.sampled_from(LAYOUTS)


@st.composite
def operands(draw):
    """Shapes of two operands whose leading axes broadcast."""
    m, k, n = draw(sizes), draw(sizes), draw(sizes)
    stack = draw(st.lists(st.integers(0, 3), max_size=3))
    stacks = []
    for _ in range(2):
        own = [draw(st.sampled_from([length, 1])) for length in stack]
        stacks.append(own[draw(st.integers(0, len(own))) :])
    left, right = (*stacks[0], m, k), (*stacks[1], k, n)
    if draw(st.integers(0, 5)) == 0:
        left = (k,)
    if draw(st.integers(0, 5)) == 0:
        right = (k,)
    return left, right


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(operands(), layouts, layouts, st.sampled_from(DTYPES))
def test_shapes_layouts_and_dtypes(cupy, shapes, left, right, dtype):
    a, b = (normal(shape, dtype) for shape in shapes)
    close(blas.matmul(laid_out(cupy, a, left), laid_out(cupy, b, right)), a, b)


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(operands(), layouts, st.sampled_from(["float32", "complex128"]))
def test_out_is_written_in_place(cupy, shapes, layout, dtype):
    a, b = (normal(shape, dtype) for shape in shapes)
    out = laid_out(cupy, np.full_like(np.matmul(a, b), np.nan), layout)
    assert blas.matmul(cupy.asarray(a), cupy.asarray(b), out=out) is out
    close(out, a, b)


@pytest.mark.standin
def test_nothing_is_copied_that_cublas_can_read(cupy, calls):
    x, g = cupy.asarray(normal((6, 4), "float32")), cupy.asarray(normal((6, 3), "float32"))
    flat = cupy.zeros(20, "float32")
    out = flat[5:17].reshape(4, 3)
    blas.matmul(x, x.T)  # makes the handle
    standin.counters.reset()
    calls.clear()
    blas.matmul(x.T, g, out=out)
    blas.matmul(x[:, 1:3].T, g, out=out[:2])
    blas.matmul(g.T, x[:, :3], out=flat[:9].reshape(3, 3).T)
    assert (standin.counters.launches, standin.counters.array_ops) == (3, 0)
    none, transposed = nvmath_cublas.Operation.N, nvmath_cublas.Operation.T
    assert [c["trans"] for c in calls] == [(none, transposed)] * 3


@pytest.mark.standin
@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ((5, 2, 3), (3, 4), [(4, 10, 3, 1)]),  # one product with all the rows
        ((6, 5, 2, 3), (3, 4), [(4, 60, 3, 1)]),
        ((5, 2, 3), (5, 3, 4), [(4, 2, 3, 5)]),
        ((6, 5, 2, 3), (6, 5, 3, 4), [(4, 2, 3, 30)]),
        ((2, 3), (5, 3, 4), [(4, 2, 3, 5)]),
        ((6, 5, 2, 3), (6, 1, 3, 4), [(4, 10, 3, 6)]),
        ((7, 1, 2, 3), (1, 5, 3, 4), [(4, 2, 3, 7)] * 5),
        ((2, 0), (0, 4), []),
        ((0, 3), (3, 4), []),
    ],
)
def test_stacks_are_few_calls(cupy, calls, left, right, expected):
    a, b = normal(left), normal(right)
    close(blas.matmul(cupy.asarray(a), cupy.asarray(b)), a, b)
    assert [(*c["shape"], c["batch"]) for c in calls] == expected


def test_no_columns_to_sum_give_zeros(cupy):
    for out in (None, cupy.full((2, 3), np.nan)):
        found = blas.matmul(cupy.ones((2, 0)), cupy.ones((0, 3)), out=out)
        np.testing.assert_array_equal(found.get(), np.zeros((2, 3)))


def test_nan_in_new_memory_does_not_matter(cupy):
    out = cupy.full((2, 2), np.nan, dtype="float32")
    blas.matmul(cupy.ones((2, 3), "float32"), cupy.ones((3, 2), "float32"), out=out)
    np.testing.assert_array_equal(out.get(), np.full((2, 2), 3))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        *[("int32", "int64"), ("bool", "int8"), ("int32", "float32"), ("float16", "float32")],
        *[("float32", "float64"), ("float64", "complex64")],
    ],
)
def test_dtypes_promote_as_those_of_numpy(cupy, left, right):
    a, b = (RNG.integers(0, 2, shape).astype(t) for shape, t in (((3, 4), left), ((4, 2), right)))
    found = blas.matmul(cupy.asarray(a), cupy.asarray(b))
    expected = a @ b
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found.get(), expected)


def test_sixteen_bits_are_summed_in_more(cupy):
    a = np.ones((1, 5000), "float16")
    assert blas.matmul(cupy.asarray(a), cupy.asarray(a.T)).get() == 5000  # float16 stops at 2048


def test_out_of_another_dtype(cupy):
    a, b = cupy.asarray(normal((2, 3), "float32")), cupy.asarray(normal((3, 2), "float32"))
    out = cupy.empty((2, 2), "float64")
    assert blas.matmul(a, b, out=out) is out
    np.testing.assert_allclose(out.get(), a.get() @ b.get(), rtol=1e-6)
    with pytest.raises(DTypeError, match="out is int32, which cannot take float32"):
        blas.matmul(a, b, out=cupy.empty((2, 2), "int32"))


@pytest.mark.parametrize(
    ("left", "right", "message"),
    [
        ((2, 3), (4, 5), r"operands of shape \(2, 3\), \(4, 5\) do not fit: 3 columns, 4 rows"),
        ((2,), (3,), r"\(2,\), \(3,\) do not fit"),
        ((), (3, 3), r"\(\), \(3, 3\): each needs an axis"),
        ((2, 1, 3), (4, 3, 1), None),
        ((2, 1, 3), (3, 3, 1), r"\(2, 1, 3\), \(3, 3, 1\) do not broadcast"),
    ],
)
def test_errors_name_the_shapes(cupy, left, right, message):
    a, b = cupy.ones(left), cupy.ones(right)
    if message is None:
        message = r"\(2, 1, 3\), \(4, 3, 1\) do not broadcast"
    with pytest.raises(ShapeError, match=message):
        blas.matmul(a, b)
    with pytest.raises(ShapeError, match=message):
        gt.asarray(a) @ gt.asarray(b)
    with pytest.raises(ShapeError, match=r"out has shape \(2, 2\), the result has \(2, 4\)"):
        blas.matmul(cupy.ones((2, 3)), cupy.ones((3, 4)), out=cupy.ones((2, 2)))


# ------------------------------------------------------------------ operations and gradients


@pytest.mark.parametrize(
    ("left", "right"),
    [
        *[((3, 4), (4, 5)), ((4,), (4, 5)), ((3, 4), (4,)), ((4,), (4,)), ((2, 3, 4), (4, 5))],
        *[((2, 3, 4), (2, 4, 5)), ((2, 1, 3, 4), (6, 4, 5)), ((3, 4), (2, 4, 5))],
        *[((4,), (2, 4, 5)), ((2, 4, 5), (5,))],
    ],
)
def test_gradients_equal_those_of_the_cpu(cupy, left, right):
    a, b = normal(left), normal(right)

    def gradients(device):
        x, y = (gt.asarray(v, device=device) for v in (a, b))
        x.requires_grad = y.requires_grad = True
        out = x @ y
        (out * gt.cos(out)).sum().backward()
        return [t.numpy() for t in (out.detach(), x.grad, y.grad)]

    for ours, expected in zip(gradients("cuda"), gradients("cpu"), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("activation", [None, "relu", "tanh", "gelu"])
@pytest.mark.parametrize("flat", [False, True])
def test_dense_equals_that_of_the_cpu(cupy, activation, flat):
    x0, w0, b0 = normal((2, 7, 5)), normal((5, 3)), normal(3)

    def gradients(device):
        x, w, b = (gt.asarray(v, device=device) for v in (x0, w0, b0))
        x.requires_grad = w.requires_grad = b.requires_grad = True
        if flat:
            gt.optim.SGD([w, b], lr=0.1)  # gradients are views of its buffer
        out = dense(x, w, b, activation)
        (out * out).sum().backward()
        return [t.numpy() for t in (out.detach(), x.grad, w.grad, b.grad)]

    for ours, expected in zip(gradients("cuda"), gradients("cpu"), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("subscripts", "shapes"),
    [
        ("ij,jk->ik", [(2, 3), (3, 4)]),
        ("ji,kj->ki", [(3, 2), (4, 3)]),
        ("bij,bjk->bik", [(5, 2, 3), (5, 3, 4)]),
        ("ibj,bkj->kbi", [(2, 5, 3), (5, 4, 3)]),
        ("...ij,jk->...ik", [(5, 6, 2, 3), (3, 4)]),
        ("ijk,jkl->il", [(2, 3, 4), (3, 4, 5)]),
        ("i,i->", [(3,), (3,)]),
        ("i,i", [(3,), (3,)]),
        ("ij,j", [(2, 3), (3,)]),
        ("abcd,dcef->feab", [(2, 3, 4, 5), (5, 4, 2, 3)]),
    ],
)
def test_einsum_is_a_product(cupy, calls, subscripts, shapes):
    a, b = (normal(shape) for shape in shapes)

    def gradients(device):
        x, y = (gt.asarray(v, device=device) for v in (a, b))
        x.requires_grad = y.requires_grad = True
        out = gt.einsum(subscripts, x, y)
        (out * gt.cos(out)).sum().backward()
        return [t.numpy() for t in (out.detach(), x.grad, y.grad)]

    found = gradients("cuda")
    np.testing.assert_allclose(found[0], np.einsum(subscripts, a, b), rtol=1e-10, atol=1e-12)
    for ours, expected in zip(found, gradients("cpu"), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-10, atol=1e-12)
    if calls:  # which only the stand-in writes down
        assert calls[0]["batch"] == (5 if "b" in subscripts and len(shapes[0]) == 3 else 1)


@pytest.mark.parametrize(
    ("subscripts", "shapes"),
    [
        ("ij,ij->ij", [(2, 3), (2, 3)]),
        ("ij,jk->k", [(2, 3), (3, 4)]),
        ("ii,ij->j", [(3, 3), (3, 4)]),
        ("ij,jk->ik", [(2, 1), (3, 4)]),
        ("i,j->ij", [(2,), (3,)]),
        ("ij,jk,kl->il", [(2, 3), (3, 4), (4, 5)]),
    ],
)
def test_einsum_that_is_no_single_product(cupy, subscripts, shapes):
    arrays = [normal(shape) for shape in shapes]
    found = gt.einsum(subscripts, *(gt.asarray(a, device="cuda") for a in arrays))
    np.testing.assert_allclose(found.numpy(), np.einsum(subscripts, *arrays), rtol=1e-10)


# ------------------------------------------------------------------ settings, handles, absence


@pytest.mark.standin
@pytest.mark.parametrize("dtype", DTYPES)
def test_compute_types(cupy, calls, dtype):
    a = cupy.asarray(normal((3, 3), dtype))
    blas.matmul(a, a)
    with gt.matmul_precision("tf32"):
        blas.matmul(a, a)
        with gt.matmul_precision("ieee"):
            blas.matmul(a, a)
    blas.matmul(a, a)
    types = nvmath_cublas.ComputeType
    exact = types.COMPUTE_64F if dtype in ("float64", "complex128") else types.COMPUTE_32F
    fast = types.COMPUTE_32F_FAST_TF32 if dtype in ("float32", "complex64") else exact
    assert [c["compute"] for c in calls] == [exact, fast, exact, exact]
    assert {c["dtype"] for c in calls} == {dtype}
    assert {c["math"] for c in calls} == {nvmath_cublas.Math.DISALLOW_REDUCED_PRECISION_REDUCTION}


def test_precision_is_ieee_unless_told(cupy):
    a, b = normal((64, 64), "float32"), normal((64, 64), "float32")
    exact = a.astype("float64") @ b
    error = abs(blas.matmul(cupy.asarray(a), cupy.asarray(b)).get() - exact).max()
    assert error < 2e-5
    with pytest.raises(ValueError, match="matmul_precision: 'half' is unknown"):
        gt.matmul_precision("half")
    assert config.tf32_products() is False


def test_each_stream_and_thread_has_a_handle(cupy, bindings):
    a, b = normal((4, 4)), normal((4, 4))
    on_device = cupy.asarray(a), cupy.asarray(b)
    stream = cupy.cuda.Stream(non_blocking=True)
    assert blas.prepare() is True
    assert blas.prepare() is True
    assert len(blas._handles) == 1
    with stream:
        found = blas.matmul(*on_device)
    stream.synchronize()
    close(found, a, b)
    results = []
    thread = threading.Thread(target=lambda: results.append(blas.matmul(*on_device).get()))
    thread.start()
    thread.join()
    np.testing.assert_allclose(results[0], a @ b)
    assert len(blas._handles) == 3
    assert len({h.number for h in blas._handles.values()}) == 3


def test_second_device(cupy, bindings):
    if cupy.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("one CUDA device")
    for device in ("cuda:1", "cuda:0"):
        x = gt.asarray(normal((3, 3)), device=device)
        x.requires_grad = True
        out = x @ x
        assert out.device == device
        out.backward(gt.ones_like(out))
        assert x.grad.device == device


def test_without_nvmath(cupy, bindings, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "nvmath.bindings.cublas", None)
    a, b = normal((3, 4)), normal((4, 5))
    with caplog.at_level(logging.WARNING, "gputensor"):
        for _ in range(2):
            close(blas.matmul(cupy.asarray(a), cupy.asarray(b)), a, b)
            out = cupy.empty((3, 5))
            assert blas.matmul(cupy.asarray(a), cupy.asarray(b), out=out) is out
            close(out, a, b)
    assert len(caplog.records) == 1
    assert "nvmath-python is not usable" in caplog.text
    assert blas.prepare() is False
    with pytest.raises(ShapeError, match="do not fit"):
        blas.matmul(cupy.asarray(a), cupy.asarray(a))


def test_captured_products_have_the_bits_of_eager_ones(cupy, bindings):
    x, w, g = (cupy.asarray(normal(s, "float32")) for s in ((64, 30), (30, 20), (64, 20)))
    outs = [cupy.zeros(s, "float32") for s in ((64, 20), (30, 20), (64, 30), (2, 32, 20))]

    def step():
        blas.matmul(x, w, out=outs[0])
        blas.matmul(x.T, g, out=outs[1])
        blas.matmul(g, w.T, out=outs[2])
        blas.matmul(x.reshape(2, 32, 30), w, out=outs[3])

    step()
    eager = [out.get() for out in outs]
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        assert blas.prepare()
        stream.begin_capture()
        step()
        graph = stream.end_capture()
        for out in outs:
            out.fill(0)
        graph.launch()
        stream.synchronize()
    for out, expected in zip(outs, eager, strict=True):
        np.testing.assert_array_equal(out.get(), expected)


@pytest.mark.parametrize(
    ("there", "message"),
    [(True, r"call gputensor.blas.prepare\(\) on it"), (False, "install nvmath-python: pip")],
)
def test_capture_that_is_not_prepared(cupy, bindings, monkeypatch, there, message):
    a = cupy.ones((3, 3))
    if not there:
        monkeypatch.setitem(sys.modules, "nvmath.bindings.cublas", None)
    with cupy.cuda.Stream(non_blocking=True) as stream:
        stream.begin_capture()
        try:
            with pytest.raises(DeviceError, match=message):
                blas.matmul(a, a, out=a)
        finally:
            stream.end_capture()


@pytest.mark.standin
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"handle": 1}, "NOT_INITIALIZED"),
        ({"transa": 5}, "5 is not a valid Operation"),
        ({"lda": 2}, "lda is 2, the matrix has 3 rows"),
        ({"m": 4, "lda": 4}, "a of 1 x 4 x 3 elements .* does not lie in one allocation"),
        ({"ldc": 4}, "c of 1 x 3 x 3 elements"),
        ({"a": 0}, "a of 1 x 3 x 3 elements"),
        ({"atype": 1}, "types 1, 0, 0"),
        ({"compute_type": 70}, "float32 with compute type 70"),
        ({"algo": 3}, "algorithm 3"),
        ({"k": 0}, "m, n, k are 3, 3, 0"),
        ({"c": None}, "C overlaps A or B"),
    ],
)
def test_stand_in_refuses_what_cublas_does(cupy, bindings, changed, message):
    blas.prepare()
    (handle,) = blas._handles.values()
    a, b, c = (cupy.ones((3, 3), "float32") for _ in range(3))
    kind = blas.kind_of(a.dtype)
    arguments = {
        **{"handle": handle.number, "transa": 0, "transb": 0, "m": 3, "n": 3, "k": 3},
        **{"alpha": kind.one, "a": a.data.ptr, "atype": 0, "lda": 3},
        **{"b": b.data.ptr, "btype": 0, "ldb": 3, "beta": kind.zero},
        **{"c": c.data.ptr, "ctype": 0, "ldc": 3, "compute_type": 68, "algo": -1},
    }
    nvmath_cublas.gemm_ex_64(**arguments)
    arguments |= {k: a.data.ptr if v is None else v for k, v in changed.items()}
    with pytest.raises((ValueError, nvmath_cublas.cuBLASError), match=message):
        nvmath_cublas.gemm_ex_64(**arguments)


@pytest.mark.standin
def test_stand_in_wants_a_workspace_that_stays(cupy, bindings):
    blas.prepare()
    (handle,) = blas._handles.values()
    nvmath_cublas.set_stream(handle.number, 0)  # takes the workspace away
    with cupy.cuda.Stream(non_blocking=True) as stream:
        blas.prepare()
        ours = blas._handles[0, stream.ptr, threading.get_ident()]
        a = cupy.ones((3, 3), "float32")
        nvmath_cublas.set_stream(ours.number, stream.ptr)
        stream.begin_capture()
        with pytest.raises(nvmath_cublas.cuBLASError, match="would allocate a workspace"):
            blas.matmul(a, a, out=cupy.empty_like(a))
        stream.end_capture()


def test_constants_are_those_of_nvmath():
    """Not the stand-in: what is installed."""
    try:
        real = importlib.import_module("nvmath.bindings.cublas")
    except ImportError:
        pytest.skip("no nvmath-python")
    assert blas._COMPUTE_32F == real.ComputeType.COMPUTE_32F
    assert blas._COMPUTE_64F == real.ComputeType.COMPUTE_64F
    assert blas._COMPUTE_32F_FAST_TF32 == real.ComputeType.COMPUTE_32F_FAST_TF32
    assert (blas._N, blas._T) == (real.Operation.N, real.Operation.T)
    assert blas._POINTER_MODE_HOST == real.PointerMode.HOST
    name = "DISALLOW_REDUCED_PRECISION_REDUCTION"
    assert getattr(real.Math, name) == blas._DISALLOW_REDUCED_PRECISION_REDUCTION


@pytest.mark.cpu
@pytest.mark.parametrize(("rows", "threads"), [(1, 2), (40, 1), (2000, 2)])
def test_products_of_middling_size_take_one_thread(monkeypatch, rows, threads):
    """Small ones are OpenBLAS's own affair, large ones are shared; afterwards all is as before.

    So it is while OpenBLAS has its own threads.
    """
    monkeypatch.setattr(blas, "_give", None)
    library = blas._openblas()
    if library is None:
        pytest.skip("NumPy has another library than OpenBLAS")
    before = library.get_num_threads()
    library.set_num_threads(2)
    seen = []
    product = np.matmul

    def matmul(*args, **options):
        seen.append(library.get_num_threads())
        return product(*args, **options)

    monkeypatch.setattr(np, "matmul", matmul)
    x, w, out = normal((rows, 100)), normal((100, 100)), np.empty((rows, 100))
    try:
        assert blas.host_matmul(x, w, out=out) is out
        np.testing.assert_allclose(out, np.einsum("ij,jk->ik", x, w))
        with pytest.raises(ValueError, match="mismatch"):
            blas.host_matmul(x, normal((99, 100)))
        assert seen == [threads] * 2
        assert library.get_num_threads() == 2
    finally:
        library.set_num_threads(before)


@pytest.mark.cpu
def test_a_library_without_threads_to_set_is_left_alone(monkeypatch):
    monkeypatch.setattr(blas, "_openblas", lambda: None)
    x, w = normal((40, 100)), normal((100, 100))
    np.testing.assert_array_equal(blas.host_matmul(x, w), np.matmul(x, w))
    np.testing.assert_array_equal(blas.host_matmul(x, w[:, 0]), np.matmul(x, w[:, 0]))
