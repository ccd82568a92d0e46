"""Captured functions on CUDA: graphs recorded there, and their programs."""

import gc
import math
import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_graph import programs

import gputensor as gt
from cases import every_case
from checks import weights_of
from conftest import forget_cupy, on_gpu
from gputensor import backend, standin
from gputensor.autograd import watch, wrap
from gputensor.errors import CaptureError, LabelError
from gputensor.graph import cuda, ir, passes, plans
from gputensor.graph.cuda import Program
from gputensor.graph.interpret import Memory, interpret
from gputensor.graph.ir import Returned
from gputensor.graph.record import record

CUDA = backend.Device("cuda")


@pytest.fixture
def device(request, monkeypatch):
    """CuPy, or its stand-in with one order of blocks: a compiler is slow enough."""
    if on_gpu(request.config):
        import cupy

        standin.counters.reset()
        yield cupy
        return
    if standin.host_compiler() is None:
        pytest.skip("no C++ compiler to run the CUDA sources with")
    monkeypatch.delenv("GPUTENSOR_DEVICE")
    forget_cupy()
    with standin.installed(devices=2) as module, CUDA:
        yield module
    forget_cupy()


def numbers(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def on_device(*arrays):
    return [gt.tensor(a, device="cuda") for a in arrays]


def recorded(function, *tensors):
    """The graph of a call, and what it gave."""
    with CUDA:
        out, found, reason = record(function, tensors, {}, list(tensors), CUDA)
    assert found is not None, reason
    ir.verify(found.graph)
    return found.graph, out


def host(leaf):
    if isinstance(leaf, Returned):
        leaf = leaf.value
    return backend.to_host(leaf.array if isinstance(leaf, gt.Tensor) else leaf)


def near(found, expected, tolerance=1e-5):
    found, expected = host(found), host(expected)
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    scale = max(1, np.max(np.abs(expected), initial=0, where=np.isfinite(expected)))
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * scale)


# Every operation

# What waits for the device, or sorts by Thrust, which cannot be captured; and lookups of places.
NOT_CAPTURED = {
    *("cholesky", "det", "eigh", "eigvalsh", "inv", "lstsq", "matrix_norm", "matrix_power"),
    *("median", "pinv", "qr", "quantile", "slogdet", "solve", "solve_triangular", "sort", "svd"),
    *("svdvals", "embedding", "getitem", "index_add", "index_set", "cofactors", "cofactors_slope"),
    *("output", "interp", "take", "expm", "eig", "eigvals"),
}
# Their values decide, or the host has them; the last three are refused on CUDA, or fail in CuPy.
NOT_RECORDED = {
    *("getitem", "index_add", "index_set", "to", "lstsq", "expm", "eig", "eigvals"),
    *("clip", "erf", "erfc", "digamma", "polygamma"),
}


@every_case
def test_programs_do_what_the_operation_does(device, name, function, arrays):
    def step(*tensors):
        leaves = [t.detach() for t in tensors]
        for leaf in leaves:
            leaf.requires_grad = True
        out = function(*leaves)
        if out.requires_grad:
            weights = weights_of(out).astype(out.dtype)
            out.backward(gt.asarray(weights, device=out.device))
        return [None if t is None else t.detach() for t in (out, *(t.grad for t in leaves))]

    tensors = on_device(*arrays)
    try:
        with CUDA:
            out, found, _ = record(step, tuple(tensors), {}, tensors, CUDA)
    except (AttributeError, gt.errors.DTypeError):
        assert name in NOT_RECORDED
        return
    if found is None:
        assert name in NOT_RECORDED
        return
    graph = found.graph
    ir.verify(graph)
    memory = Memory(CUDA)
    for value, tensor in zip(graph.arguments, tensors, strict=True):
        memory.put(value.buffer, tensor.array)
    with CUDA:
        by_nodes = interpret(graph, memory)
        short = passes.simplified(graph)
        ir.verify(short)
        program = Program(short)
    results = [by_nodes, program.run(*(t.array for t in tensors))[0]]
    try:
        results += [program.run(*(t.array for t in tensors))[0] for _ in range(2)]
    except CaptureError:
        assert name in NOT_CAPTURED
    for result in results:
        for a, b in zip(result, out, strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                near(a, b, 1e-12)


def operands_of(shape, seed):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype("f") for _ in range(3)]


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(programs(), st.integers(0, 1000))
def test_random_programs(device, drawn, seed):
    shape, function = drawn
    with CUDA:
        graph, _ = recorded(function, *on_device(*operands_of(shape, seed)))
        short = passes.simplified(graph)
        ir.verify(short)
        program = Program(short)
        for i in range(3):
            arrays = on_device(*operands_of(shape, seed + i))
            expected = [t.numpy() for t in function(*(a.cpu() for a in arrays))]
            found = program.run(*(a.array for a in arrays))[0]
            for a, b in zip(found, expected, strict=True):
                np.testing.assert_allclose(host(a), b, rtol=1e-4, atol=1e-4)


# Launches


def chain(w, b, x):
    """Thirty small operations, forward and backward."""
    leaves = [t.detach() for t in (w, b, x)]
    for leaf in leaves:
        leaf.requires_grad = True
    z = leaves[2]
    for _ in range(10):
        z = gt.tanh(z * leaves[0] + leaves[1])
    loss = z.sum()
    loss.backward()
    return [loss.detach(), *(t.grad.detach() for t in leaves)]


def counted(call):
    standin.counters.reset()
    call()
    found = dict(standin.counters.kernels)
    found.pop("memcpy", None)
    return found


@pytest.mark.standin
@pytest.mark.parametrize(
    ("shape", "other", "most"), [((8,), (8,), 1), ((8,), (), 1), ((40, 10), (10,), 2)]
)
def test_thirty_operations_and_their_gradients_are_few_kernels(device, shape, other, most):
    tensors = on_device(numbers(0, *other), numbers(1, *other), numbers(2, *shape))
    run = gt.capture(chain)
    expected = chain(*(t.cpu() for t in tensors))
    for _ in range(3):
        found = run(*tensors)
        for a, b in zip(found, expected, strict=True):
            near(a, b, 2e-5)
    kernels = counted(lambda: run(*tensors))
    assert sum(kernels.values()) <= most
    assert standin.counters.graph_launches == 1
    assert standin.counters.launches == standin.counters.array_ops == 0


@pytest.mark.standin
def test_thirty_operations_and_their_gradients_are_a_kernel_each_in_eager_use(device):
    gc.collect()
    assert not watch.count  # of hooks, which take a longer way
    tensors = on_device(*(numbers(i, 8) for i in range(3)))
    chain(*tensors)
    kernels = counted(lambda: chain(*tensors))
    of_the_sum = {name: kernels.pop(name) for name in ("reduce_sum", "cupy_fill", "cupy_copy")}
    assert set(of_the_sum.values()) == {1}  # itself, its seed, and that spread over all elements
    assert sum(kernels.values()) == 59  # two rules for each of tanh and multiply, and sums
    assert standin.counters.graph_launches == 0


@pytest.mark.standin
@pytest.mark.parametrize(
    ("shape", "other"), [((8,), ()), ((40, 10), (10,)), ((40, 10), (40, 1)), ((300, 400), ())]
)
def test_sums_of_what_was_broadcast_are_part_of_the_rules_kernel(device, shape, other):
    gc.collect()
    assert not watch.count
    tensors = on_device(numbers(0, *other), numbers(1, *other), numbers(2, *shape))
    chain(*tensors)
    kernels = counted(lambda: chain(*tensors))
    assert kernels.pop("reduce_sum") == 2  # of the loss, and of the first gradient of b
    assert [kernels.pop(name) for name in ("cupy_fill", "cupy_copy")] == [1, 1]
    assert sum(kernels.values()) == 59
    assert set(kernels) == {
        *("map_add", "map_multiply", "map_tanh", "map_3_multiply_subtract"),
        *("reduce_3_multiply_sum", "reduce_4_multiply_sum_add", "reduce_sum_add"),
    }


BROADCAST = {
    "multiply": lambda x, y: x * y,
    "divide": lambda x, y: x / (y + 3),
    "where": lambda x, y: gt.where(x > 0, x * 0.3, y),
    "several": lambda x, y: x * y + y * y,
}
PAIRS = [
    *(((9,), ()), ((4, 5), (5,)), ((3000,), (1,)), ((2, 4, 5), (4, 1)), ((4, 5), (4, 1))),
    *(((1, 5), (5,)), ((70, 33), (1, 33)), ((4, 1), (1, 5)), ((0, 5), (5,))),
]


def step_gradients(function, x, y, dtype, watched):
    """Gradients that several steps of the pass add to, by whole steps or rule by rule."""
    a, b = (gt.astype(gt.tensor(t, device="cuda"), dtype) for t in (x, y))
    for t in (a, b):
        t.requires_grad = True
    elsewhere = gt.tensor([1.0], requires_grad=True)
    handle = elsewhere.register_hook(lambda g: None) if watched else None
    parts = [gt.astype(t, "float32") for t in (function(a, b), function(a, b * 1.5))]
    (parts[0] * parts[1]).sum().backward()
    if handle is not None:
        handle.remove()
    found = [t.grad.numpy() for t in (a, b)]
    for g in found:
        g[np.isnan(g)] = np.nan  # of any sign
    return [g.tobytes() for g in found]


@pytest.mark.parametrize(
    ("dtype", "pairs"),
    [("float32", PAIRS), ("float64", PAIRS[:2]), ("float16", PAIRS[:2]), ("bfloat16", PAIRS[:2])],
)
@pytest.mark.parametrize("name", BROADCAST)
def test_steps_with_sums_have_the_bits_of_rules_and_sums_one_by_one(device, name, dtype, pairs):
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    for shape, other in pairs:
        x, y = numbers(0, *shape), numbers(1, *other)
        if x.size > 8:
            x.reshape(-1)[:4] = np.nan, np.inf, -0.0, 1e-42
        one, all_at_once = (step_gradients(BROADCAST[name], x, y, dtype, w) for w in (True, False))
        assert one == all_at_once, (shape, other)


def test_numbers_of_numpy_are_operands_of_their_own_value(device):
    x = gt.ones(3, device="cuda")
    for kind in (np.float32, np.float64, float, int):
        for value in (2, 3, 2):
            assert gt.add(x, kind(value)).tolist() == [1 + value] * 3
            assert (x * kind(value)).tolist() == [value] * 3


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_gradients_of_16_bits_that_meet_have_the_bits_of_the_cpu(device, dtype):
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    x = numbers(0, 700)

    def gradient(place, captured=False):
        w = gt.astype(gt.tensor(x, device=place), dtype)
        w.requires_grad = True

        def f():
            w.grad = None
            z = w * 0.3
            (w * 1.7 + z * (w + 1) + w * w - w / 2).sum().backward()
            return w.grad.detach() * 1

        run = gt.capture(f, device=place) if captured else f
        return [run().numpy().tobytes() for _ in range(3)]

    expected = gradient("cpu")
    assert gradient("cuda") == expected
    assert gradient("cuda", captured=True) == expected


def test_numbers_that_change_are_arguments_of_one_kernel(device, monkeypatch):
    outlined, made = plans.outlined, []

    def counting(*args):
        made.append(1)
        return outlined(*args)

    monkeypatch.setattr(plans, "outlined", counting)
    values = numbers(0, 5)
    x = gt.tensor(values, device="cuda", requires_grad=True)
    count = []
    for i, n in enumerate((0.3, 2.0, 0.1, -7.7, 1e3 + 0.1, 1e35, 0.7)):
        x.grad = None
        y = (x * n - n) / n
        y.sum().backward()
        number = np.float32(n)
        np.testing.assert_array_equal(y.detach().numpy(), (values * number - number) / number)
        np.testing.assert_array_equal(x.grad.numpy(), 1 / number * number * np.ones(5, "f"))
        if i in (2, 3, 4, 6):
            assert len(made) == count[-1]
        count.append(len(made))


@pytest.mark.parametrize("dtype", ["float32", "int32", "uint8", "int64"])
def test_integers_that_change_are_arguments_of_one_kernel(device, monkeypatch, dtype):
    outlined, made = plans.outlined, []

    def counting(*args):
        made.append(1)
        return outlined(*args)

    monkeypatch.setattr(plans, "outlined", counting)
    values = np.arange(1, 6).astype(dtype)
    x = gt.tensor(values, device="cuda")
    count = []
    for n in (100, 65, 2, 101, 127, 3):
        for mine, plain in ((x + n, values + n), (x * n, values * n), (n - x, n - values)):
            np.testing.assert_array_equal(mine.numpy(), plain)
            assert mine.dtype == plain.dtype
        np.testing.assert_array_equal((x < n).numpy(), values < n)
        count.append(len(made))
    assert count[0] == count[1]
    assert count[2] == count[3] == count[4] == count[5]
    if dtype == "uint8":
        with pytest.raises(OverflowError):
            x + 300
        assert (x < 300).numpy().all()


def test_operations_that_do_more_with_a_number_than_compute_with_it(device):
    values = np.abs(numbers(0, 6)) + 0.1
    for function in (lambda a, n: a**n, lambda a, n: n**a, lambda a, n: gt.clip(a, n, n + 0.3)):
        for n in (0.7, 0.5, 2.0, 0.1, -1.3):
            found = []
            for place in ("cuda", "cpu"):
                a = gt.tensor(values, device=place, requires_grad=True)
                b = gt.where(a > 0.5, function(a, abs(n)), n)
                b.sum().backward()
                found.append((b.detach().numpy(), a.grad.numpy()))
            for one, other in zip(*found, strict=True):
                np.testing.assert_allclose(one, other, rtol=1e-5)


@pytest.mark.parametrize("axes", [None, 0, (1, 2), 2])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_sums_have_the_same_bits_alone_and_with_what_is_summed(device, axes, dtype):
    rng = np.random.default_rng(0)
    b = gt.tensor(rng.standard_normal(6).astype(np.float64), device="cuda")
    shapes = ((5, 7, 6), (6, 5, 7), (3, 64, 6), (70, 9, 6))
    for i, shape in enumerate(shapes):
        x = gt.tensor(rng.standard_normal(shape).astype(dtype), device="cuda")
        x = x if shape[-1] == 6 else gt.permute_dims(x, (1, 2, 0))

        def f(x=x):
            y = gt.tanh(x) * 2
            wide = y + b  # of another width, and broadcast
            return y.sum(axis=axes), (y * y).mean(axis=axes), gt.max(y, axis=axes), wide.sum()

        run = gt.capture(f, device="cuda")
        expected = [t.numpy().tobytes() for t in f()]
        for _ in range(3):
            assert [t.numpy().tobytes() for t in run()] == expected, (i, axes)
        assert run.graphs == 1


def training(device_module, rows=32, hidden=16, seed=3):
    """A step of training on batches that the device takes by itself, its sums and parameters."""
    from gputensor.kernels import next_batch

    gt.manual_seed(seed)
    rng = np.random.default_rng(seed)
    with CUDA:
        model = gt.nn.Sequential(
            gt.nn.Dense(12, hidden, "relu"), gt.nn.Dropout(0.2), gt.nn.Dense(hidden, 4)
        )
        optimizer = gt.optim.Adam(model.parameters(), lr=0.01)
        data = gt.tensor(rng.integers(0, 256, (4096, 12)).astype(np.uint8))
        labels = gt.tensor(rng.integers(0, 4, 4096))
        order = gt.tensor(rng.permutation(4096))
        at, total = gt.zeros(1, dtype="int64"), gt.zeros((), dtype="float64")

    def step():
        operands = (t.array for t in (data, labels, order, at))
        x, y = next_batch.raw(*operands, rows=rows, dtype=np.dtype(np.float32), scale=1 / 255)
        loss = gt.nn.functional.cross_entropy(model(wrap(x)), wrap(y))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total[...] += loss.detach()

    def state():
        return [total.item(), at.item(), gt.random.default_generator.state] + [
            p.detach().numpy() for p in model.parameters()
        ]

    return step, state


def test_training_has_the_bits_of_eager_training(device):
    step, state = training(device)
    for _ in range(6):
        step()
    expected = state()
    step, state = training(device)
    run = gt.capture(step, device="cuda")
    for _ in range(6):
        run()
    for a, b in zip(state(), expected, strict=True):
        np.testing.assert_array_equal(a, b)
    assert run.graphs == 1
    assert run.reason is None


@pytest.mark.standin
def test_a_training_step_is_one_launch_without_memsets_that_calls_no_python(device):
    calls = []
    step, _ = training(device)

    @gt.capture(device="cuda")
    def run():
        calls.append(1)
        step()

    for _ in range(3):
        run()
    before = len(calls)
    counters = standin.counters
    counters.reset()
    for _ in range(20):
        run()
    assert len(calls) == before == 1
    assert counters.graph_launches == 20
    assert counters.launches == counters.array_ops == counters.memsets == counters.copies == 0
    assert counters.replayed_memsets == counters.replayed_copies == 0
    assert counters.driver_allocations == counters.synchronizations == 0
    assert counters.transfers_to_device == counters.transfers_to_host == 0
    assert counters.replayed_launches + counters.replayed_array_ops <= 20 * 20


# Many runs a launch


@pytest.mark.standin
def test_many_steps_are_few_launches(device):
    step, state = training(device, rows=8)
    for _ in range(90):
        step()
    expected = state()
    step, state = training(device, rows=8)
    run = gt.capture(step, device="cuda")
    run()
    standin.counters.reset()
    run.repeat(89)  # one as it is, then 64, 16, 4, 4
    assert standin.counters.graph_launches == 4
    for a, b in zip(state(), expected, strict=True):
        np.testing.assert_array_equal(a, b)
    standin.counters.reset()
    run.repeat(64)
    assert standin.counters.graph_launches == 1
    assert standin.counters.launches == 0


# What other libraries got wrong


def test_results_of_two_calls_are_two(device):
    f = gt.capture(lambda x: x * 2)
    results = [f(gt.full((3,), float(i), device="cuda")) for i in range(6)]
    assert [r.tolist() for r in results] == [[2.0 * i] * 3 for i in range(6)]


def test_a_buffer_that_a_function_shifts(device):
    @gt.capture
    def shift(buffer, new):
        buffer = gt.concat([buffer[1:], new])
        return buffer, buffer[-2:]

    buffer, expected = gt.zeros(5, device="cuda"), np.zeros(5, "f")
    for i in range(20):
        buffer, tail = shift(buffer, gt.full((1,), float(i), device="cuda"))
        expected = np.concatenate([expected[1:], [i]]).astype("f")
        np.testing.assert_array_equal(buffer.numpy(), expected)
        np.testing.assert_array_equal(tail.numpy(), expected[-2:])


def test_two_backward_passes_of_one_function(device):
    w = gt.tensor(numbers(0, 3, 4), device="cuda", requires_grad=True)

    @gt.capture
    def step(x):
        w.grad = None
        copy = (x.T.T * 1).mT
        losses = ((x @ w) ** 2).sum(axis=1)
        losses.sum().backward()
        first = w.grad.detach() * 1
        w.grad = None
        (gt.sum((copy.mT @ w) ** 2) * 0.5).backward()
        return first, w.grad.detach()

    for i in range(5):
        x = numbers(i, 6, 3)
        first, second = step(gt.tensor(x, device="cuda"))
        g = 2 * x.T @ (x @ w.detach().numpy())
        np.testing.assert_allclose(first.numpy(), g, rtol=1e-4)
        np.testing.assert_allclose(second.numpy(), g / 2, rtol=1e-4)


def test_arguments_that_share_memory(device):
    @gt.capture
    def f(x, y):
        x += 1
        return x + y

    def plain(x, y):
        x += 1
        return x + y

    for call in range(4):
        for alias in (False, True, "same"):
            found, expected = [], []
            for function, results in ((f, found), (plain, expected)):
                base = gt.arange(6, dtype="float32", device="cuda") + call
                if alias == "same":
                    x = y = base
                elif alias:
                    x, y = base[:4], base[2:6]
                else:
                    x, y = base[:4] * 1, base[2:6] * 1
                results += [function(x, y).tolist(), x.tolist(), y.tolist()]
            assert found == expected


def test_what_is_written_to_an_argument_reaches_the_caller(device):
    @gt.capture
    def add(x):
        x[1:] += 10
        return x.sum()

    for _ in range(4):
        x = gt.arange(4, dtype="float32", device="cuda")
        assert add(x).item() == 36
        assert x.tolist() == [0, 11, 12, 13]


def test_neighbours_are_read_before_they_are_written_over(device):
    @gt.capture
    def smooth(x):
        y = x * 1
        y[1:-1] = (y[:-2] + y[2:]) / 2
        return y

    for i in range(4):
        x = numbers(i, 3000)
        expected = x.copy()
        expected[1:-1] = (x[:-2] + x[2:]) / 2
        np.testing.assert_array_equal(smooth(gt.tensor(x, device="cuda")).numpy(), expected)


def test_equal_products_cancel(device):
    @gt.capture
    def f(a, b, x):
        return a * b - b * a, a * x + (-a) * x

    a, b, x = on_device(*(numbers(i, 100) * np.float32(1e20 if i == 2 else 1) for i in range(3)))
    for _ in range(3):
        for out in f(a, b, x):
            assert not out.numpy().any()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_comparisons_of_numbers_of_16_bits_tie_as_in_eager_code(device, dtype):
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")

    def f(x, y):
        p, q = (x + y) * 0.5, x * 0.5 + y * 0.5
        return p == q, p < q, gt.astype(gt.astype(gt.astype(x, "float32") / 3, dtype), "float32")

    run = gt.capture(f)
    x, y = (gt.astype(t, dtype) for t in on_device(numbers(0, 500), numbers(1, 500)))
    expected = [t.numpy() for t in f(x, y)]
    for _ in range(3):
        for a, b in zip(run(x, y), expected, strict=True):
            np.testing.assert_array_equal(a.numpy(), b)


def test_numbers_are_drawn_once_by_captured_and_other_code_and_by_threads(device):
    def eager(n):
        return [
            float(v) for v in gt.random.default_generator.uniform(shape=n, device="cuda").numpy()
        ]

    gt.manual_seed(9)
    everything = sorted(v for _ in range(60) for v in eager(4))
    gt.manual_seed(9)
    f = gt.capture(lambda: gt.random.default_generator.uniform(shape=4), device="cuda")
    g = gt.capture(lambda: gt.random.default_generator.uniform(shape=8), device="cuda")
    found = []

    def work():
        with CUDA:
            for i in range(6):
                found.extend(f().tolist())
                found.extend(g().tolist())
                found.extend(eager(4) if i % 2 else eager(8))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2 * (6 * 12 + 3 * 12)
    # Whoever drew first: none of them twice, none left out.
    assert sorted(found) == everything[: len(found)] or set(found) <= set(everything)
    assert len(set(found)) == len(found)
    gt.manual_seed(9)
    rest = {v for _ in range(len(found) // 4) for v in eager(4)}
    assert set(found) == rest


def test_results_are_read_long_after(device):
    w = gt.tensor(numbers(0, 4), device="cuda", requires_grad=True)

    @gt.capture
    def f(x):
        w.grad = None
        (w * x).sum().backward()
        return x * 3

    kept = [(f(gt.full((4,), float(i), device="cuda")), w.grad) for i in range(8)]
    for i, (out, gradient) in enumerate(kept):
        assert out.tolist() == [3.0 * i] * 4
        assert gradient.tolist() == [float(i)] * 4


def test_products_of_new_shapes_are_captured(device):
    f = gt.capture(lambda x, w: gt.nn.functional.dense(x, w, w[0], "relu") @ w.T)
    for rows in (3, 8, 17, 64):
        x, w = on_device(numbers(rows, rows, 5), numbers(1, 5, 7))
        expected = np.maximum(x.numpy() @ w.numpy() + w.numpy()[0], 0) @ w.numpy().T
        for _ in range(3):
            near(f(x, w), gt.asarray(expected, device="cpu"), 1e-5)
    assert f.graphs == 4


def test_constants_that_nobody_keeps(device):
    @gt.capture
    def f(x):
        return x + gt.asarray([1.0, 2.0, 3.0], dtype="float32", device="cuda") * gt.ones(3)

    x = gt.zeros(3, device="cuda")
    for _ in range(4):
        gc.collect()
        spoiled = [gt.full((100,), math.nan, device="cuda") for _ in range(100)]
        assert f(x).tolist() == [1.0, 2.0, 3.0]
        del spoiled


def test_zeros_of_which_some_are_written_over(device):
    @gt.capture
    def f(x):
        out = gt.zeros((8, 2), device="cuda")
        out[2:5] = x
        out[6] = 1.0
        return out

    for i in range(4):
        expected = np.zeros((8, 2), "f")
        expected[2:5], expected[6] = i, 1
        np.testing.assert_array_equal(f(gt.full((3, 2), float(i), device="cuda")).numpy(), expected)


def test_an_error_while_recording_leaves_nothing_behind(device):
    class Stop(BaseException):
        pass

    calls = []

    @gt.capture
    def f(x):
        calls.append(1)
        if len(calls) < 3:
            raise (Stop if len(calls) == 1 else KeyError)("now")
        return x + 1

    x = gt.ones(2, device="cuda")
    for error in (Stop, KeyError):
        with pytest.raises(error):
            f(x)
        assert backend.recording() is None
        assert (x * 2).tolist() == [2.0, 2.0]
    for _ in range(4):
        assert f(x).tolist() == [2.0, 2.0]
    assert len(calls) == 3


# What cannot be captured


def waits(x):
    return gt.linalg.inv(x)


def sorts(x):
    return gt.sort(x)


@pytest.mark.standin
@pytest.mark.parametrize(("function", "line"), [(waits, "gt.linalg.inv(x)"), (sorts, "gt.sort(x)")])
def test_what_a_graph_cannot_hold_is_run_as_it_is(device, function, line, caplog):
    caplog.set_level("INFO")
    x = gt.tensor(numbers(0, 3, 3) + 3 * np.eye(3, dtype="f"), device="cuda")
    calls = []

    @gt.capture
    def run(x):
        calls.append(1)
        return function(x)

    expected = function(x).numpy()
    for _ in range(5):
        np.testing.assert_allclose(run(x).numpy(), expected, rtol=1e-5)
    assert line in run.reason
    assert "test_graph_cuda.py:" in run.reason
    assert run.reason in caplog.text
    assert len(calls) == 4  # all but the call that ran what was recorded
    # The stream and the context are as before.
    fine = gt.capture(lambda x: gt.exp(x) @ x)
    for _ in range(3):
        near(fine(x), gt.exp(x) @ x)


def test_bad_labels_are_noticed_after_a_replay(device):
    loss = gt.capture(lambda x, y: gt.nn.functional.cross_entropy(x, y))
    x = gt.ones((3, 4), device="cuda")
    good, bad = (gt.tensor(y, device="cuda") for y in ([0, 1, 2], [0, 7, 2]))
    for _ in range(3):
        loss(x, good).item()
    out = loss(x, bad)
    with pytest.raises(LabelError, match="row 1 has label 7"):
        out.item()
    assert loss(x, good).item() == pytest.approx(np.log(4))


def test_two_devices_are_not_recorded_together(device):
    other = gt.ones(2, device="cpu")
    run = gt.capture(lambda x: x + other.to("cuda"))
    for _ in range(3):
        assert run(gt.ones(2, device="cuda")).tolist() == [2.0, 2.0]
    assert "another device" in run.reason or "read" in run.reason


# Memory


@pytest.mark.standin
def test_temporaries_may_hold_anything_before_a_replay(device, monkeypatch):
    taken = []
    pool_of = cuda.Lane.__init__

    def watched(self):
        pool_of(self)
        malloc = self.pool.malloc

        def note(size):
            pointer = malloc(size)
            taken.append((pointer.ptr, size, pointer.mem.device))
            return pointer

        self.pool = type("Pool", (), {"malloc": staticmethod(note), "real": self.pool})()

    monkeypatch.setattr(cuda.Lane, "__init__", watched)
    step, state = training(device)
    for _ in range(6):
        step()
    expected = state()
    step, state = training(device)
    run = gt.capture(step, device="cuda")
    for _ in range(3):
        run()
    assert taken
    lane = cuda.lane()
    for _ in range(3):
        for address, size, _ in taken:
            device.cuda.runtime  # noqa: B018
            fill(device, address, size, lane)
        run()
    for a, b in zip(state(), expected, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.standin
def test_temporaries_may_lie_anywhere(device, monkeypatch):
    rng = np.random.default_rng(0)
    pool_of = cuda.Lane.__init__
    between = []

    def scattered(self):
        pool_of(self)
        real = self.pool

        def malloc(size):
            between.extend(real.malloc(512 * int(n)) for n in rng.integers(1, 5, 3))
            return real.malloc(size)

        self.pool = type("Pool", (), {"malloc": staticmethod(malloc), "real": real})()

    step, state = training(device)
    for _ in range(6):
        step()
    expected = state()
    monkeypatch.setattr(cuda.Lane, "__init__", scattered)
    step, state = training(device)
    run = gt.capture(step, device="cuda")
    for _ in range(6):
        run()
    assert between
    for a, b in zip(state(), expected, strict=True):
        np.testing.assert_array_equal(a, b)


def fill(module, address, size, lane):
    """Set bytes of a pool's memory that nobody owns for now."""
    import ctypes

    ctypes.memset(address, 0xFF, size)


@pytest.mark.standin
def test_calls_do_not_use_up_memory(device):
    f = gt.capture(lambda x: gt.tanh(x) @ x)
    x = gt.tensor(numbers(0, 8, 8), device="cuda")
    for _ in range(4):
        f(x)
    before = device.get_default_memory_pool().total_bytes(), len(gc.get_objects())
    for _ in range(300):
        f(x)
    gc.collect()
    assert device.get_default_memory_pool().total_bytes() == before[0]
    assert len(gc.get_objects()) - before[1] < 100


@pytest.mark.standin
def test_what_cannot_be_repeated_in_one_launch_is_called_so_often(device):
    total = gt.zeros((3, 3), device="cuda")
    eye = gt.eye(3, device="cuda") * 2

    def inverse():
        total[...] += gt.linalg.inv(eye)

    run = gt.capture(inverse, device="cuda")
    run.repeat(7)
    assert total.numpy().trace() == 3 * 7 * 0.5
    assert "linalg.inv" in run.reason
    counts = gt.zeros(2, device="cpu")

    def count():
        counts[...] += 1

    gt.capture(count, device="cpu").repeat(5)
    assert counts.tolist() == [5.0, 5.0]
