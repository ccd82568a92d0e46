"""Graphs: what recordings leave, what passes keep, and programs beside the interpreter."""

import itertools
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gputensor as gt
from checks import bits
from gputensor import kernels
from gputensor.graph import driver_code, fuse, ir, layout, loops, passes
from gputensor.graph.cpu import Program
from gputensor.graph.interpret import Memory, interpret
from gputensor.graph.ir import Graph, Node, Returned, Value
from gputensor.graph.record import record

pytestmark = pytest.mark.cpu

CPU = gt.device("cpu")
PLACE = ((lambda: None).__code__, 0)


@pytest.fixture(autouse=True)
def on_the_cpu():
    with CPU:
        yield


def recorded(function, *tensors):
    """The graph of a call, and what it gave."""
    out, found, reason = record(function, tensors, {}, list(tensors), CPU)
    assert found is not None, reason
    ir.verify(found.graph)
    return found.graph, out


def arrays_of(tree):
    return ir.map_values(lambda leaf: leaf, tree)


def interpreted(graph, *arrays):
    memory = Memory(CPU)
    for value, array in zip(graph.arguments, arrays, strict=True):
        memory.put(value.buffer, array)
    found = interpret(graph, memory)
    return found.value if isinstance(found, Returned) else found


# Loops of NumPy

DTYPES = "?bBhHiIlLefdFD"
UFUNCS = [
    u
    for u in vars(np).values()
    if isinstance(u, np.ufunc)
    and u.nout == 1
    and u.signature is None
    and u not in (np.isnat, np.ldexp)
]


def run_loop(loop, arrays):
    """Run a loop over vectors, the last of which is the result, by the driver."""
    operands = []
    for i, a in enumerate(arrays):
        step = a.strides[0]
        operands += [i, 0, step, step, 0, 0, 0]
    code = np.array([len(arrays[-1]), 7, 1, 1, 1, 1, *loop, len(arrays), 0, *operands], np.int64)
    import ctypes

    objects = (ctypes.c_int64 * len(arrays))(*map(id, arrays))
    bases = (ctypes.c_int64 * len(arrays))()
    loops.driver()(code.ctypes.data, 1, bases, objects, len(arrays))


def numbers(dtype, n, seed=0):
    rng = np.random.default_rng(seed)
    if dtype.kind == "b":
        return rng.integers(0, 2, n).astype(bool)
    if dtype.kind in "iu":
        return rng.integers(0, 5, n).astype(dtype)
    x = rng.standard_normal(n) + (1j * rng.standard_normal(n) if dtype.kind == "c" else 0)
    return x.astype(dtype)


@pytest.mark.parametrize("ufunc", UFUNCS, ids=lambda u: u.__name__)
def test_loops_give_the_bits_of_their_ufunc(ufunc):
    seen = 0
    for char in DTYPES:
        dtype = np.dtype(char)
        try:
            dtypes = ufunc.resolve_dtypes((dtype,) * ufunc.nin + (None,))
        except TypeError:
            continue
        loop = loops.find(ufunc, dtypes)
        if loop is None or dtypes[0] != dtype:
            continue
        seen += 1
        for step in (1, 2):
            operands = [numbers(dtypes[i], 40, i)[::step] for i in range(ufunc.nin)]
            out = np.empty(len(operands[0]), dtypes[-1])
            with np.errstate(all="ignore"):
                run_loop(loop, [*operands, out])
                expected = ufunc(*operands)
            assert out.tobytes() == expected.tobytes(), (char, step)
    assert seen


@pytest.mark.parametrize(("source", "target"), [*itertools.product("?bBhHiIlLfd", repeat=2)])
def test_conversions_are_those_of_numpy(source, target):
    source, target = np.dtype(source), np.dtype(target)
    loop = loops.find_cast(source, target)
    if loop is None:  # a float that is no integer of the type is undefined
        assert source.kind == "f"
        assert target.kind in "iu"
        return
    x = numbers(source, 40) if source.kind != "f" else numbers(source, 40) * 100
    x[:2] = 0
    if source.kind == "f":
        x[2:6] = [-0.0, np.nan, np.inf, 1e-40]
    for part in (x, x[::-1], x[::3]):
        out = np.empty(len(part), target)
        run_loop(loop, [part, out])
        assert out.tobytes() == part.astype(target).tobytes()


@pytest.mark.parametrize("char", "?hfdD")
def test_choices_are_those_of_where(char):
    dtype = np.dtype(char)
    condition = numbers(np.dtype(bool), 30)
    x, y = numbers(dtype, 30, 1), numbers(dtype, 30, 2)
    for step in (1, -2):
        out = np.empty(len(x[::step]), dtype)
        run_loop(loops.find_choice(dtype.itemsize), [condition[::step], x[::step], y[::step], out])
        assert out.tobytes() == np.where(condition, x, y)[::step].tobytes()


# The interpreter and programs


def chain(x, y):
    z = gt.tanh(x * y + 1)
    w = gt.where(z > 0, z, y.T.T) - gt.sum(z, axis=0)
    return {"w": w, "rows": (w @ y.T).sum(axis=-1), "first": w[0] * 2, "n": 3}


def test_graphs_and_programs_have_the_bits_of_the_function():
    x, y = (gt.tensor(numbers(np.dtype("f"), 12, i).reshape(3, 4)) for i in range(2))
    graph, _ = recorded(chain, x, y)
    program = Program(graph)
    for seed in range(3):
        arrays = [numbers(np.dtype("f"), 12, seed + i).reshape(3, 4) for i in range(2)]
        expected = chain(*map(gt.asarray, arrays))
        by_nodes, by_program = interpreted(graph, *arrays), program.run(*arrays)[0]
        for key in ("w", "rows", "first"):
            assert bits(by_nodes[key].value) == bits(expected[key])
            assert bits(by_program[key]) == bits(expected[key])
        assert by_program["n"] == 3


@pytest.mark.parametrize("axis", [0, 1, (0, 1), None])
@pytest.mark.parametrize("shape", [(9, 1), (173, 1), (40, 3, 1), (40, 1, 3), (1, 50), (70000, 1)])
@pytest.mark.parametrize("keepdims", [False, True])
def test_sums_have_the_bits_of_numpys_where_axes_have_length_1(shape, axis, keepdims):
    @gt.capture
    def f(x):
        return gt.sum(x * 1.5, axis=axis, keepdims=keepdims)

    for seed in range(5):
        x = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
        expected = np.sum(x * np.float32(1.5), axis=axis, keepdims=keepdims)
        np.testing.assert_array_equal(f(gt.asarray(x, device="cpu")).numpy(), expected)


def summed(x, y):
    """Sums of what is computed, of what is kept as well, of an operand, and of a few of each."""
    z = x * y
    total = gt.sum(z * 2) + gt.sum(x)
    return z, gt.sum(z), gt.mean(z - total), total


SPECIAL = st.sampled_from([(), (np.nan,), (np.inf,), (np.inf, -np.inf), (-0.0,), (1e38, 3e38)])


@given(
    length=st.one_of(st.integers(1, 1100), st.integers(15_000, 150_000)),
    threads=st.integers(1, 5),
    dtype=st.sampled_from(["f", "d"]),
    special=SPECIAL,
    seed=st.integers(0, 1000),
)
def test_sums_in_stretches_have_the_bits_of_numpys(length, threads, dtype, special, seed):
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=length) * 10.0 ** rng.integers(-3, 4, length)).astype(dtype)
    y = rng.normal(size=length).astype(dtype)
    if special == (-0.0,):
        x[:], y[:] = -0.0, 1
    for number in special[:length]:
        x[rng.integers(length)] = number
    graph, _ = recorded(summed, gt.zeros(length, dtype=dtype), gt.zeros(length, dtype=dtype))
    with pytest.MonkeyPatch.context() as patch, np.errstate(all="ignore"):
        patch.setattr(driver_code, "_threads", lambda: threads)
        patch.setattr(driver_code, "_GRAIN", 1 << 8)
        program = Program(passes.simplified(graph), report=lambda found: None)
        expected = summed(gt.asarray(x), gt.asarray(y))
        for a, b in zip(program.run(x, y)[0], expected, strict=True):
            assert bits(a) == bits(b)


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("shape", [(2, 5000), (5000, 2), (300, 301), (1, 9000), (9000, 1)])
def test_threads_share_the_sums_of_rows(monkeypatch, shape, axis, threads):
    monkeypatch.setattr(driver_code, "_threads", lambda: threads)
    monkeypatch.setattr(driver_code, "_GRAIN", 1 << 8)
    graph, _ = recorded(lambda x: gt.sum(x * 3, axis=axis), gt.zeros(shape))
    x = np.random.default_rng(0).normal(size=shape).astype("f")
    found = Program(passes.simplified(graph)).run(x)[0]
    assert bits(found) == bits(np.sum(x * np.float32(3), axis=axis))


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
@pytest.mark.parametrize("shape", [(6, 3, 5, 70), (2, 70, 3, 5), (130, 2, 3, 4), (4000,), (3, 900)])
def test_threads_share_maps_along_any_axes(monkeypatch, shape, threads):
    monkeypatch.setattr(driver_code, "_threads", lambda: threads)
    monkeypatch.setattr(driver_code, "_GRAIN", 1 << 8)
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape[::-1]).astype("f").T
    y, z = rng.normal(size=shape).astype("f"), rng.normal(size=shape[-1:]).astype("f")

    def f(x, y, z):
        return gt.tanh(x * y) - z, gt.where(x > y, x, z)

    graph, _ = recorded(f, *map(gt.asarray, (x, y, z)))
    for a, b in zip(Program(passes.simplified(graph)).run(x, y, z)[0], f(x, y, z), strict=True):
        assert bits(a) == bits(b)


def test_where_numpy_sums_in_another_way_nothing_is_halved(monkeypatch):
    monkeypatch.setattr(loops, "sums_by_halves", lambda: False)
    graph, _ = recorded(lambda x: gt.sum(x * 3), gt.zeros(100_000))
    x = np.random.default_rng(0).normal(size=100_000).astype("f")
    assert bits(Program(passes.simplified(graph)).run(x)[0]) == bits((x * np.float32(3)).sum())


def test_halves_of_an_array_are_numpys():
    assert loops.halves(1000, 0) == [1000]
    assert loops.halves(1000, 1) == [496, 504]
    assert loops.halves(1001, 2) == [248, 248, 248, 257]


def test_an_overflow_that_only_the_halves_meet_is_said():
    graph, _ = recorded(lambda x: gt.sum(x * 1), gt.zeros(40_000))
    x = np.zeros(40_000, "f")
    x[0] = x[-1] = 3e38
    with np.errstate(over="warn"), pytest.warns(RuntimeWarning, match="overflow encountered in"):
        assert np.isinf(Program(passes.simplified(graph)).run(x)[0].numpy())


def test_results_of_programs_are_new_each_time():
    graph, _ = recorded(lambda x: (x + 1, (x + 1).T, x.T + 2), gt.ones((2, 3)))
    program = Program(passes.simplified(graph))
    x = np.zeros((2, 3), "f")
    found = [program.run(x)[0] for _ in range(3)]
    arrays = [t.array for result in found for t in result]
    for a, b in itertools.combinations(arrays, 2):
        assert not np.shares_memory(a, b) or a.base is b.base is not None
    assert not any(np.shares_memory(a, x) for a in arrays)
    found[0][0].array[...] = 7
    assert found[1][0].tolist() == found[2][0].tolist() == [[1.0] * 3] * 2


PIECES = st.sampled_from(
    [(5,), (1,), (130,), (3000,), (2, 3), (4, 1), (1, 6), (3, 5, 2), (7, 300), ()]
)


@st.composite
def programs(draw):
    """A random function of three tensors of a shape, made of elementwise steps, sums and views."""
    shape = draw(PIECES)
    steps = draw(
        st.lists(
            st.tuples(st.integers(0, 9), st.integers(0, 7), st.integers(0, 7)),
            min_size=1,
            max_size=14,
        )
    )

    def function(a, b, c):
        pool = [a, b, c]
        for kind, i, j in steps:
            x, y = pool[i % len(pool)], pool[j % len(pool)]
            if kind == 0:
                z = x + y
            elif kind == 1:
                z = x * y - 0.5
            elif kind == 2:
                z = gt.tanh(x)
            elif kind == 3:
                z = gt.where(x > y, x, -y)
            elif kind == 4:
                z = x - gt.sum(y, axis=0, keepdims=True) if len(shape) else x - y
            elif kind == 5:
                z = x * gt.sum(y) if len(shape) else gt.exp(-x * x)
            elif kind == 6:
                z = gt.flip(x) + y if len(shape) else x
            elif kind == 7:
                z = x + 0
                z[...] = y * 0.25
                z += x
            elif kind == 8 and len(shape) and shape[0] > 1:
                z = x * 1
                z[1:] = x[:-1] + z[1:]  # neighbours are read before they are written over
            else:
                z = gt.astype(gt.astype(x, "float64") / 3, "float32")
            pool.append(z)
        return pool[-1], pool[len(pool) // 2] * 1

    return shape, function


@given(programs(), st.integers(0, 1000))
def test_random_programs(drawn, seed):
    shape, function = drawn
    rng = np.random.default_rng(seed)

    def operands():
        return [rng.standard_normal(shape).astype("f") for _ in range(3)]

    with CPU, np.errstate(all="ignore"):
        graph, _ = recorded(function, *map(gt.asarray, operands()))
        plain = Program(graph)
        arrays = operands()
        expected = [bits(t) for t in function(*map(gt.asarray, arrays))]
        assert [bits(r.value) for r in interpreted(graph, *arrays)] == expected
        assert [bits(t) for t in plain.run(*arrays)[0]] == expected
        short = passes.simplified(graph)
        ir.verify(short)
        program = Program(short)
        for _ in range(2):
            program._layout.arena[...] = 0xFF  # NaN
            arrays = operands()
            expected = [bits(t) for t in function(*map(gt.asarray, arrays))]
            assert [bits(t) for t in program.run(*arrays)[0]] == expected


@given(programs(), st.integers(0, 1000))
def test_temporaries_may_lie_anywhere(drawn, seed):
    shape, function = drawn
    rng = np.random.default_rng(seed)

    def scattered(lives):
        places, end = [0] * len(lives), 0
        for i in rng.permutation(len(lives)):
            places[i] = end + 64 * int(rng.integers(4))
            end = -(-(places[i] + lives[i][0]) // 64) * 64
        return places, end

    arrays = [rng.standard_normal(shape).astype("f") for _ in range(3)]
    with CPU, np.errstate(all="ignore"), mock.patch.object(layout, "_packed", scattered):
        graph, out = recorded(function, *map(gt.asarray, arrays))
        program = Program(passes.simplified(graph))
        for _ in range(2):
            program._layout.arena[...] = 0xFF  # NaN
            assert [bits(t) for t in program.run(*arrays)[0]] == [bits(t) for t in out]


# Passes


def gradients(x, y):
    """Value and gradients of a small function, as a training step has them."""
    w, v = (gt.tensor(t, requires_grad=True) for t in (x, y))
    out = gt.tanh(w * v) + gt.abs(v) * gt.abs(v) + gt.arange(4)
    unused = gt.exp(w)
    gt.sum(out).backward()
    del unused
    p, g = ((t * 1).array.reshape(-1) for t in (x, w.grad))
    kernels.clip_norm.raw(g, kernels.squared_norm.raw(g), most=0.5)
    kernels.sgd_step.raw(p, g, None, lr=0.1)
    return out.detach(), w.grad, v.grad, gt.asarray(p), gt.asarray(g)


def made(skip):
    x, y = (gt.tensor(numbers(np.dtype("f"), 12, i).reshape(3, 4)) for i in range(2))
    graph, out = recorded(gradients, x, y)
    passes.simplified(graph, skip)
    ir.verify(graph)
    found = Program(graph).run(x.array, y.array)[0]
    assert [bits(t) for t in found] == [bits(t) for t in out]
    return len(graph.nodes)


@pytest.mark.parametrize("name", sorted({p.__name__ for p in passes.PASSES}))
def test_each_pass_shortens_the_graph_and_changes_no_bit(name):
    assert made(skip=(name,)) > made(skip=())


def value(buffer, version=1, shape=(4,), offset=0):
    dtype = np.dtype("f")
    strides = np.empty(shape, dtype).strides
    return Value(buffer, version, offset, shape, strides, dtype)


def small_graph():
    graph = Graph(CPU)
    a, b, c = (graph.buffer("temporary", 16) for _ in range(3))
    graph.nodes = [
        Node("map", "assign", (1.0,), {}, (value(a),), PLACE),
        Node("map", "exp", (value(a),), {}, (value(b),), PLACE),
        Node("map", "add", (value(a), value(b)), {}, (value(c),), PLACE),
    ]
    graph.result = Returned(value(c), True)
    ir.verify(graph)
    return graph, (a, b, c)


def drop(graph, _):
    del graph.nodes[1]


def swap(graph, _):
    graph.nodes[1:] = graph.nodes[:0:-1]


def double(graph, _):
    graph.nodes.insert(1, graph.nodes[1])


def overwrite(graph, buffers):
    node = Node("map", "assign", (2.0,), {}, (value(buffers[0], 2),), PLACE)
    graph.nodes.insert(2, node)


def overlap(graph, buffers):
    c = buffers[2]
    graph.nodes[2].outputs = (value(c, 1, (3,)), value(c, 2, (3,), 4))


@pytest.mark.parametrize("change", [drop, swap, double, overwrite, overlap])
def test_verify_notices_a_graph_that_is_changed(change):
    graph, buffers = small_graph()
    change(graph, buffers)
    with pytest.raises(ir.GraphFault):
        ir.verify(graph)


# Groups


def grouped(function, *tensors):
    graph, _ = recorded(function, *tensors)
    graph = passes.simplified(graph)
    items = fuse.groups(graph, lambda node: node.kind == "map")
    return [len(i.nodes) if isinstance(i, fuse.Group) else i.name for i in items]


def test_maps_of_one_shape_are_one_group():
    x = gt.ones((5, 5))
    assert grouped(lambda x: gt.tanh(x * 2 + 1) - x, x) == [4]
    assert grouped(lambda x: gt.tanh(x @ x.T) * 2 + gt.exp(x.T @ x), x) == ["matmul", "matmul", 4]


def test_what_reads_neighbours_is_no_group_with_what_writes_them():
    def smooth(x):
        y = x * 1
        y[1:-1] = (y[:-2] + y[2:]) / 2
        return y

    x = gt.asarray(numbers(np.dtype("f"), 9000))
    graph, out = recorded(smooth, x)
    program = Program(passes.simplified(graph))
    assert bits(program.run(x.array)[0]) == bits(out)
