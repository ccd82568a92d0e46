"""Products with a bias, ReLU or column sums in one kernel, against the plain way."""

import importlib
import itertools
import logging
import sys

import numpy as np
import pytest

import gputensor as gt
from gputensor import blas, epilogue
from gputensor.ops.nn import dense
from gputensor.standin import nvmath_cublaslt

RNG = np.random.default_rng(7)
TOLERANCE = {"float32": 1e-5, "float16": 5e-3, "bfloat16": 4e-2}
ACTIVATIONS = (None, "relu")


@pytest.fixture
def lt(cupy, monkeypatch):
    """The stand-in for cublasLt, working as it should; nothing is chosen yet."""
    blas._bindings.cache_clear()
    epilogue._bindings.cache_clear()
    epilogue.choices.clear()
    monkeypatch.setattr(epilogue, "_forced", True)
    for record in (nvmath_cublaslt.calls, nvmath_cublaslt.queries, nvmath_cublaslt._descriptors):
        record.clear()
    monkeypatch.setattr(nvmath_cublaslt, "faults", nvmath_cublaslt._Faults())
    yield nvmath_cublaslt
    epilogue._bindings.cache_clear()
    epilogue.choices.clear()


@pytest.fixture
def timed(monkeypatch):
    """Let the clock show seconds in turn, those of the epilogue first."""

    def set_times(*milliseconds):
        turn = itertools.cycle(milliseconds)

        def clock(work):
            work()
            return next(turn)

        monkeypatch.setattr(epilogue, "_forced", None)
        monkeypatch.setattr(epilogue, "_milliseconds", clock)

    return set_times


def dtype_of(name):
    return np.dtype(pytest.importorskip("ml_dtypes").bfloat16 if name == "bfloat16" else name)


def operands(dtype="float32", shape=(24, 20, 16)):
    m, k, n = shape
    shapes = (m, k), (k, n), (n,), (m, n)
    return [RNG.standard_normal(s).astype(dtype_of(dtype)) for s in shapes]


def exact_operands(dtype, shape=(24, 20, 16)):
    """Halves, whose products are exact: rounding must not decide on a ReLU."""
    *inputs, g = operands(dtype, shape)
    return [(RNG.integers(-3, 4, a.shape) / 2).astype(a.dtype) for a in inputs] + [g]


def layer(arrays, activation, device="cuda"):
    """Result and gradients of a dense layer."""
    x, w, b, g = (gt.asarray(a, device=device) for a in arrays)
    x.requires_grad = w.requires_grad = b.requires_grad = True
    out = dense(x, w, b, activation)
    out.backward(g)
    return [t.numpy() for t in (out.detach(), x.grad, w.grad, b.grad)]


def close(found, expected, dtype):
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype
        a, b = a.astype("float64"), b.astype("float64")
        np.testing.assert_allclose(
            a, b, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * abs(b).max()
        )


def used(lt):
    """Epilogues of the last products."""
    return [c["epilogue"].name for c in lt.calls]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("shape", [(64, 96, 80), (33, 20, 10)])
def test_values_and_gradients(lt, dtype, activation, shape):
    """On a GPU, too: by the epilogue where it is sound, chosen by the clock or not."""
    arrays = exact_operands(dtype, shape)
    expected = layer(arrays, activation, "cpu")
    for _ in range(2):
        close(layer(arrays, activation), expected, dtype)
    epilogue._forced = None
    epilogue.choices.clear()
    for _ in range(2):
        close(layer(arrays, activation), expected, dtype)


@pytest.mark.standin
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_layer_equals_that_of_the_cpu(lt, dtype, activation):
    arrays = exact_operands(dtype)
    expected = layer(arrays, activation, "cpu")
    close(layer(arrays, activation), expected, dtype)
    lt.calls.clear()
    close(layer(arrays, activation), expected, dtype)
    assert used(lt) == (["RELU_BIAS"] if activation else ["BIAS", "BGRADA"])
    assert {c["dtype"] for c in lt.calls} == {dtype}
    assert len(lt.queries) == len(lt.calls)  # the first time only


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_equal_finite_differences(lt, activation):
    x, w, b, g = (a.astype("float64") for a in operands())
    found = layer([a.astype("float32") for a in (x, w, b, g)], activation)[1:]
    step = 1e-6

    def value():
        z = x @ w + b
        return np.sum(g * (np.maximum(z, 0) if activation else z))

    for operand, gradient in zip((x, w, b), found, strict=True):
        for place in list(np.ndindex(operand.shape))[:: max(1, operand.size // 12)]:
            kept = operand[place]
            operand[place] = kept + step
            above = value()
            operand[place] = kept - step
            slope = (above - value()) / (2 * step)
            operand[place] = kept
            np.testing.assert_allclose(gradient[place], slope, rtol=1e-4, atol=1e-4)


@pytest.mark.standin
def test_gradients_go_to_the_buffer_of_an_optimizer(lt):
    arrays = operands()
    expected = layer(arrays, None, "cpu")
    x, w, b, g = (gt.asarray(a, device="cuda") for a in arrays)
    w.requires_grad = b.requires_grad = True
    gt.optim.SGD([w, b], lr=0.1)
    dense(x, w, b).backward(g)
    assert used(lt)[-1] == "BGRADA"
    base = w._node.grad.array.base
    assert base is not None
    assert base is b._node.grad.array.base
    close([w.grad.numpy(), b.grad.numpy()], expected[2:], "float32")


def test_mask_at_zero(lt):
    """``relu'(0) = 0``, as without cublasLt."""
    x = np.array([[0, -1, 1, -0.0]] * 4, "float32").T.copy()
    w, b, g = np.eye(4, dtype="float32"), np.zeros(4, "float32"), np.ones((4, 4), "float32")
    found = layer([x, w, b, g], "relu")
    np.testing.assert_array_equal(found[0], np.maximum(x, 0))
    np.testing.assert_array_equal(found[1], (x > 0).astype("float32"))


@pytest.mark.standin
def test_tf32_is_a_kind_of_its_own(lt):
    arrays = operands()
    plain = layer(arrays, None, "cpu")
    close(layer(arrays, None), plain, "float32")
    lt.calls.clear()
    with gt.matmul_precision("tf32"):
        found = layer(arrays, None)
    assert {c["compute"] for c in lt.calls} == {77}
    assert len(epilogue.choices) == 4
    errors = [abs(a - b).max() / abs(b).max() for a, b in zip(found, plain, strict=True)]
    assert 1e-5 < errors[0] < 2e-3
    assert 1e-5 < errors[2] < 2e-3
    assert errors[3] < 1e-6  # sums are no product


@pytest.mark.standin
@pytest.mark.parametrize(("times", "taken"), [((1.0, 2.0), True), ((2.0, 1.0), False)])
def test_the_faster_is_remembered(lt, timed, caplog, times, taken):
    arrays = operands()
    timed(*times)
    with caplog.at_level(logging.DEBUG, "gputensor"):
        first = layer(arrays, "relu")
    word = "the epilogue" if taken else "the plain way"
    assert f"bias and ReLU, (24, 20) @ (20, 16), float32: {word} " in caplog.text
    assert "µs with it" in caplog.text
    lt.calls.clear()
    caplog.clear()
    timed()  # a look at the clock would raise
    for a, b in zip(layer(arrays, "relu"), first, strict=True):
        np.testing.assert_array_equal(a, b)
    assert used(lt) == ["RELU_BIAS"] * taken
    assert not caplog.records


@pytest.mark.standin
def test_a_tie_stays_plain(lt, timed):
    timed(0.99, 1.0)
    layer(operands(), None)
    assert all(choice.plan is None for choice in epilogue.choices.values())
    assert len(epilogue.choices) == 2


@pytest.mark.standin
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_clock_measures_events(lt, monkeypatch, activation):
    monkeypatch.setattr(epilogue, "_forced", None)
    arrays = operands()
    close(layer(arrays, activation), layer(arrays, activation, "cpu"), "float32")
    runs = epilogue._ROUNDS * epilogue._CALLS
    assert used(lt).count("RELU_BIAS" if activation else "BGRADA") >= runs


@pytest.mark.standin
def test_deterministic_stays_plain(lt, monkeypatch):
    arrays = operands()
    with gt.use_deterministic():
        layer(arrays, "relu")
        layer(arrays, None)
    monkeypatch.setenv("GPUTENSOR_KERNELS", "reference")
    layer(arrays, "relu")
    assert not lt.calls
    assert not epilogue.choices


def test_nan_is_never_hidden(lt, cupy):
    """By the epilogue or, where that would hide it, without."""
    arrays = operands()
    arrays[0][3] = np.nan
    layer(operands(), "relu")  # chosen with sound numbers
    out = layer(arrays, "relu")[0]
    assert np.isnan(out[3]).all()
    assert np.isfinite(np.delete(out, 3, 0)).all()


@pytest.mark.standin
@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("hides_nan", "it hides NaN"),
        ("wrong", "its error is 1.0e-01, 1.0e-04 allowed"),
        ("unsupported", "no heuristic for it"),
    ],
)
def test_what_is_not_sound_stays_plain(lt, monkeypatch, caplog, fault, reason):
    setattr(lt.faults, fault, True)
    arrays = operands()
    with caplog.at_level(logging.DEBUG, "gputensor"):
        close(layer(arrays, "relu"), layer(arrays, "relu", "cpu"), "float32")
    assert "float32: the plain way (" in caplog.text
    assert reason in caplog.text
    lt.calls.clear()
    close(layer(arrays, "relu"), layer(arrays, "relu", "cpu"), "float32")
    assert not lt.calls
    assert not nvmath_cublaslt._descriptors  # they were freed


@pytest.mark.standin
def test_bias_alone_may_be_fused_where_relu_hides_nan(lt):
    lt.faults.hides_nan = True
    layer(operands(), "relu")
    layer(operands(), None)
    taken = {key[1]: choice.plan is not None for key, choice in epilogue.choices.items()}
    assert taken == {
        epilogue.RELU_BIAS: False,
        epilogue.BIAS: True,
        epilogue.COLUMN_SUMS: True,
    }


@pytest.mark.standin
def test_too_little_workspace_is_no_algorithm(lt, monkeypatch):
    monkeypatch.setattr(nvmath_cublaslt, "_WORKSPACE", 1 << 40)
    layer(operands(), None)
    assert all(choice.plan is None for choice in epilogue.choices.values())
    assert len(epilogue.choices) == 2


@pytest.mark.standin
def test_no_memory_to_compare_in_stays_plain(lt, monkeypatch):
    def fail(*_):
        raise MemoryError

    monkeypatch.setattr(epilogue, "_compare", fail)
    arrays = operands()
    close(layer(arrays, None), layer(arrays, None, "cpu"), "float32")
    assert all(choice.plan is None for choice in epilogue.choices.values())
    assert len(epilogue.choices) == 2


@pytest.mark.standin
def test_without_nvmath(lt, monkeypatch):
    monkeypatch.setitem(sys.modules, "nvmath.bindings.cublasLt", None)
    arrays = operands()
    close(layer(arrays, None), layer(arrays, None, "cpu"), "float32")
    assert not lt.calls
    monkeypatch.setitem(sys.modules, "nvmath.bindings.cublas", None)
    blas._bindings.cache_clear()
    blas._handles.clear()
    epilogue.choices.clear()
    close(layer(arrays, None), layer(arrays, None, "cpu"), "float32")
    blas._bindings.cache_clear()


@pytest.mark.standin
def test_a_library_that_cannot_be_loaded(lt, monkeypatch, caplog):
    """The bindings can be imported without it."""

    def fail():
        raise RuntimeError("libcublasLt.so is not found")

    monkeypatch.setattr(sys.modules["nvmath.bindings.cublasLt"], "get_version", fail)
    arrays = operands()
    with caplog.at_level(logging.INFO, "gputensor"):
        close(layer(arrays, None), layer(arrays, None, "cpu"), "float32")
    assert "no epilogues: cublasLt is not usable (RuntimeError: libcublasLt.so" in caplog.text
    assert not lt.calls


@pytest.mark.standin
@pytest.mark.parametrize("which", ["x", "b"])
def test_misaligned_operands_stay_plain(lt, cupy, which):
    x, w, b, g = operands(shape=(8, 8, 8))

    def shifted(a):
        memory = cupy.empty(a.size + 1, a.dtype)[1:].reshape(a.shape)
        memory[...] = cupy.asarray(a)
        assert memory.data.ptr % 16
        return gt.asarray(memory, copy=False)

    tensors = {"x": x, "w": w, "b": b}
    tensors = {
        k: shifted(v) if k == which else gt.asarray(v, device="cuda") for k, v in tensors.items()
    }
    for _ in range(2):
        out = dense(**tensors, activation="relu").numpy()
        np.testing.assert_allclose(out, np.maximum(x @ w + b, 0), rtol=1e-5, atol=1e-5)
        assert not lt.calls
        layer([x, w, b, g], "relu")  # of the same layout, aligned
        lt.calls.clear()


@pytest.mark.standin
@pytest.mark.parametrize("layout", ["transposed", "gaps", "reversed"])
def test_layouts(lt, cupy, layout):
    x, w, b, _ = operands()
    if layout == "transposed":
        on_device = cupy.asarray(x.T.copy()).T
    elif layout == "gaps":
        on_device = cupy.zeros((24, 32), "float32")[:, :20]
        on_device[...] = cupy.asarray(x)
    else:
        on_device = cupy.asarray(x[::-1, ::-1].copy())[::-1, ::-1]
    w, b = (gt.asarray(v, device="cuda") for v in (w, b))
    out = dense(gt.asarray(on_device, copy=False), w, b).numpy()
    np.testing.assert_allclose(out, x @ w.numpy() + b.numpy(), rtol=1e-4, atol=1e-5)
    assert bool(lt.calls) == (layout != "reversed")


@pytest.mark.standin
@pytest.mark.parametrize("shape", [(0, 3, 4), (3, 0, 4), (1, 1, 1), (5, 4, 1), (1, 4, 8)])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_edges(lt, shape, activation):
    arrays = operands(shape=shape)
    for _ in range(2):
        for a, b in zip(layer(arrays, activation), layer(arrays, activation, "cpu"), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.standin
def test_other_dtypes_stay_plain(lt):
    arrays = [a.astype("float64") for a in operands()]
    layer(arrays, None)
    assert not lt.calls
    assert not lt.queries


def test_captured_step_has_the_bits_of_an_eager_one(lt, timed):
    timed(1.0, 2.0)
    hidden, last = operands(), operands(shape=(24, 16, 8))
    x, g = (gt.asarray(a, device="cuda") for a in (hidden[0], last[3]))
    parameters = [gt.asarray(a, device="cuda") for a in (*hidden[1:3], *last[1:3])]
    for p in parameters:
        p.requires_grad = True
    w, b, v, c = parameters

    def step(x, g):
        out = dense(dense(x, w, b, "relu"), v, c)
        for p in parameters:
            p.grad = None
        out.backward(g)
        return out.detach(), *(p.grad for p in parameters)

    step(x, g)
    timed()
    eager = [t.numpy() for t in step(x, g)]
    captured = gt.capture(step)
    captured(x, g)
    lt.calls.clear()
    lt.queries.clear()
    for _ in range(3):
        for found, expected in zip(captured(x, g), eager, strict=True):
            np.testing.assert_array_equal(found.numpy(), expected)
    assert captured.graphs == 1
    if hasattr(sys.modules.get("nvmath.bindings.cublasLt"), "faults"):  # it is the stand-in
        assert used(lt) == ["RELU_BIAS", "BIAS", "BGRADA"] * 2  # issued once, and captured once
    assert not lt.queries


@pytest.mark.standin
def test_nothing_is_chosen_while_a_stream_captures(lt, cupy):
    x, w, b, _ = operands()
    on_device = [cupy.asarray(a) for a in (x, w, b)]
    out = cupy.empty((24, 16), "float32")
    stream = cupy.cuda.Stream(non_blocking=True)

    def plain(*arrays):
        blas.matmul(on_device[0], on_device[1], out=out)

    with stream:
        blas.prepare()
        stream.begin_capture()
        epilogue.product(epilogue.BIAS, *on_device, out, plain)
        graph = stream.end_capture()
        assert not lt.queries
        assert not epilogue.choices
        graph.launch()
        stream.synchronize()
    np.testing.assert_allclose(out.get(), x @ w, rtol=1e-4, atol=1e-5)


@pytest.mark.standin
def test_each_stream_has_its_workspace(lt, cupy):
    arrays = operands()
    layer(arrays, None)
    expected = layer(arrays, None)
    lt.calls.clear()
    lt.queries.clear()
    with cupy.cuda.Stream(non_blocking=True):
        found = layer(arrays, None)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)
    assert used(lt) == ["BIAS", "BGRADA"]
    assert not lt.queries


@pytest.mark.standin
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.update(handle=1), "NOT_INITIALIZED"),
        (lambda a: a.update(workspace_size=8), "a workspace of 8"),
        (lambda a: a.update(d=a["d"] + 4), "D at .* is not aligned to 16 bytes"),
        (lambda a: a.update(d=a["b"], c=a["b"]), "overlaps A or B"),
        (lambda a: a.update(c=a["a"]), "C is not D"),
        (lambda a: a.update(desc=a["adesc"]), "is no _Operation"),
        (lambda a: a.update(adesc=a["ddesc"]), "x 24 give|give _Layout"),
        (lambda a: a.update(alpha=a["beta"]), "alpha and beta are 0.0"),
    ],
)
def test_stand_in_refuses_what_cublaslt_does(lt, cupy, monkeypatch, change, message):
    arguments = {}
    real = lt.matmul
    names = ("handle", "desc", "alpha", "a", "adesc", "b", "bdesc", "beta", "c", "cdesc", "d")
    names += ("ddesc", "algo", "workspace", "workspace_size", "stream")

    def record(*args):
        arguments.update(zip(names, args, strict=True))
        real(*args)

    monkeypatch.setattr(sys.modules["nvmath.bindings.cublasLt"], "matmul", record)
    on_device = [cupy.asarray(a) for a in operands()[:3]]
    out = cupy.empty((24, 16), "float32")
    kept = epilogue._Plan(epilogue.BIAS, blas.kind_of(out.dtype), *on_device[:2], out)
    kept.run(*on_device, out)
    change(arguments)
    with pytest.raises(
        (lt.cuBLASLtError, importlib.import_module("gputensor.standin.nvmath_cublas").cuBLASError),
        match=message,
    ):
        real(*arguments.values())


def test_constants_are_those_of_nvmath():
    """Not the stand-in: what is installed."""
    try:
        real = importlib.import_module("nvmath.bindings.cublasLt")
    except ImportError:
        pytest.skip("no nvmath-python")
    assert epilogue.BIAS == real.Epilogue.BIAS
    assert epilogue.RELU_BIAS == real.Epilogue.RELU_BIAS
    assert epilogue.COLUMN_SUMS == real.Epilogue.BGRADA
    operation, preference = real.MatmulDescAttribute, real.MatmulPreferenceAttribute
    assert operation.TRANSA == epilogue._TRANSA
    assert operation.TRANSB == epilogue._TRANSB
    assert operation.EPILOGUE == epilogue._EPILOGUE
    assert operation.BIAS_POINTER == epilogue._BIAS_POINTER
    assert preference.MAX_WORKSPACE_BYTES == epilogue._MAX_WORKSPACE
    assert preference.REDUCTION_SCHEME_MASK == epilogue._REDUCTION_SCHEMES
    assert [preference[f"MIN_ALIGNMENT_{x}_BYTES"] for x in "ABCD"] == [*epilogue._ALIGNMENTS]
    assert real.ReductionScheme.COMPUTE_TYPE == epilogue._REDUCE_IN_COMPUTE_TYPE
    result = real.matmul_heuristic_result_dtype
    assert result.itemsize == nvmath_cublaslt.matmul_heuristic_result_dtype.itemsize
    assert result.fields["algo"][1] == 0
