"""Independent products of a captured program side by side: which, and with what memory."""

import contextlib
import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_graph_cuda import CUDA, device, numbers, on_device

import gputensor as gt
from gputensor import blas, epilogue, keras, standin
from gputensor.graph import branches, cuda
from gputensor.kernels import scratch
from gputensor.standin.streams import Race, _before

__all__ = ["device"]

SEEDS = range(4)


def program_of(run, *args):
    return run.replay_for(*args).program


def beside(run, *args):
    """Names of the steps that run beside the chain."""
    return [part.name for part in gt.explain(run)(*args).parts if part.beside]


# Which


def test_the_gradient_of_a_weight_runs_beside_that_of_its_layers_input(device):
    step, _, _ = training(dense(20, 16, 4))
    run = gt.capture(step, device="cuda")
    run()
    parts = gt.explain(run)().parts
    places = [i for i, part in enumerate(parts) if part.beside]
    (place,) = places
    # The gradient of the last weight, with that of its bias; what comes next, of its input.
    assert (parts[place].name, parts[place + 1].name) == ("product_with_epilogue", "matmul")
    assert parts[place].written == 4 * (16 * 4 + 4)
    assert parts[place + 1].written == 4 * (ROWS * 16)
    assert "writes 272 B, beside what comes next\n" in str(gt.explain(run)())


def test_of_many_layers_all_weights_gradients_but_that_of_the_first_do(device):
    step, _, _ = training(dense(20, 16, 12, 8, 4))
    run = gt.capture(step, device="cuda")
    run()
    parts = gt.explain(run)().parts
    assert [part.written for part in parts if part.beside] == [4 * 36, 4 * 96, 4 * 192]


def orders(function, *tensors):
    run = gt.capture(function, device="cuda")
    run(*tensors)
    issues = program_of(run, *tensors)._order
    return [i.number for i in issues if i.beside], [i.number for i in issues if i.joins]


def test_a_second_product_is_what_makes_a_branch(device):
    x, v, w = on_device(*(numbers(i, 6, 6) for i in range(3)))
    assert orders(lambda: (x @ v, x @ w)) == ([0], [])
    assert orders(lambda: (x @ v, gt.tanh(x), gt.exp(w).sum())) == ([], [])
    assert orders(lambda: x @ v @ w @ x) == ([], [])  # each needs the one before
    # One of three: that which stays would otherwise run alone.
    assert orders(lambda: (x @ v, x @ w, v @ w))[0] == [0]
    assert orders(lambda: (x @ v, x @ w, v @ w, w @ x))[0] == [0, 2]
    # The chain waits where a result is needed.
    assert orders(lambda: gt.tanh(x @ v) * gt.exp(x @ w)) == ([0], [2])
    assert orders(lambda: ((x @ v) @ (x @ w)) @ (x @ v)) == ([0], [2])  # and but once
    # Two that need each other stay on the chain.
    assert orders(lambda: ((x @ v) @ w, w @ x, v @ x)) == ([2, 3], [])


def test_products_of_integers_stay_on_the_chain(device):
    x, y = (gt.astype(t * 10, "int32") for t in on_device(numbers(0, 4, 4), numbers(1, 4, 4)))
    assert orders(lambda: (x @ y, y @ x)) == ([], [])


def test_what_writes_where_another_reads_or_writes_keeps_its_order(device):
    x, v, w = on_device(*(numbers(i, 6, 6) for i in range(3)))
    out = gt.zeros((6, 6), device="cuda")

    def written_twice():
        out[...] = x @ v
        out[2:] = (v @ w)[2:]
        return out @ w

    def read_before():
        y = out @ x
        out[...] = v @ w
        return y, out @ v

    for function in (written_twice, read_before):
        out[...] = 1
        expected = [[t.numpy() for t in _tuple(function())] for _ in range(5)]
        out[...] = 1
        run = gt.capture(function, device="cuda")
        for want in expected:
            for a, b in zip(_tuple(run()), want, strict=True):
                np.testing.assert_array_equal(a.numpy(), b)


def _tuple(found):
    return found if isinstance(found, tuple) else (found,)


def test_without_branches_there_is_one_chain(device):
    x, v, w = on_device(*(numbers(i, 6, 6) for i in range(3)))
    with branches.in_one_chain():
        assert orders(lambda: (x @ v, x @ w)) == ([], [])
    assert orders(lambda: (x @ v, x @ w)) == ([0], [])


def test_memory_that_branches_keep_is_limited(device, monkeypatch):
    step, _, _ = training(MODELS["dense"])

    def joins(most):
        monkeypatch.setattr(branches, "_MOST_KEPT", most)
        run = gt.capture(step, device="cuda")
        run()
        order = program_of(run)._order
        places = [i for i, issue in enumerate(order) if issue.joins]
        return len(places), [order[i].beside for i in places]

    assert joins(1 << 20) == (1, [False])  # before the optimizer
    assert joins(0) == (4, [True, True, True, False])
    two = 4 * ROWS * (16 + 4 + 16 + 16)  # what the first two products read
    assert joins(two - 1) == (2, [True, False])  # the third waits, the fourth need not
    assert joins(two) == (2, [True, False])


# Same bits

ROWS = 24


def dense(*units):
    def make():
        layers = []
        for i, (n, m) in enumerate(itertools.pairwise(units)):
            layers.append(gt.nn.Dense(n, m, "relu" if i < len(units) - 2 else None))
        return gt.nn.Sequential(*layers), (ROWS, units[0])

    return make


def convolutional():
    nn = gt.nn
    model = nn.Sequential(
        *(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)),
        *(nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dense(36, 12, "gelu"), nn.Dense(12, 4)),
    )
    return model, (ROWS, 2, 8, 8)


class Block(gt.nn.Module):
    """Attention of a series to itself, and two layers; each added to its input."""

    def __init__(self, size):
        super().__init__()
        nn = gt.nn
        self.attention = nn.MultiheadAttention(size, 2, dropout=0.1, batch_first=True)
        self.norms = [nn.LayerNorm(size), nn.LayerNorm(size)]
        self.dense = nn.Sequential(nn.Dense(size, 24, "gelu"), nn.Dropout(0.1), nn.Dense(24, size))

    def forward(self, x):
        x = x + self.attention(*3 * [self.norms[0](x)], need_weights=False)[0]
        return x + self.dense(self.norms[1](x))


class Transformer(gt.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = gt.nn.Sequential(Block(12), Block(12), gt.nn.LayerNorm(12))
        self.head = gt.nn.Dense(12, 4)

    def forward(self, x):
        return self.head(gt.mean(self.layers(x), axis=1))


MODELS = {
    "small": dense(20, 16, 4),
    "dense": dense(16, 16, 16, 16, 16, 4),
    "dropout": lambda: (
        gt.nn.Sequential(
            gt.nn.Dense(16, 16, "tanh"), gt.nn.Dropout(0.3), gt.nn.Dense(16, 16), gt.nn.Dense(16, 4)
        ),
        (ROWS, 16),
    ),
    "convolutional": convolutional,
    "transformer": lambda: (Transformer(), (ROWS, 5, 12)),
}
OPTIMIZERS = {
    "Adam": {"lr": 0.01},
    "SGD": {"lr": 0.1, "momentum": 0.9},
    "AdamW": {"lr": 0.01},
    "RMSprop": {"lr": 0.01},
    "Lion": {"lr": 0.01},
}


def training(make, optimizer="Adam"):
    """A step of training, what it trained, and the optimizer."""
    gt.manual_seed(5)
    rng = np.random.default_rng(5)
    with CUDA:
        model, shape = make()
        made = getattr(gt.optim, optimizer)(model.parameters(), **OPTIMIZERS[optimizer])
        x = gt.tensor(rng.standard_normal(shape).astype(np.float32))
        y = gt.tensor(rng.integers(0, 4, len(x)))
        total = gt.zeros((), dtype="float64")

    def step():
        loss = gt.nn.functional.cross_entropy(model(x), y)
        made.zero_grad()
        loss.backward()
        made.step()
        total[...] += loss.detach()

    def state():
        return [total.item()] + [p.detach().numpy().tobytes() for p in model.parameters()]

    return step, state, made


def check(device, model, optimizer="Adam"):
    step, state, _ = training(MODELS[model], optimizer)
    for _ in range(8):
        step()
    expected = state()
    for seed in SEEDS:
        standin.settings.seed = seed
        step, state, _ = training(MODELS[model], optimizer)
        run = gt.capture(step, device="cuda")
        for _ in range(8):
            run()
        assert state() == expected
        assert (run.reason, run.graphs) == (None, 1)
        if not seed:
            assert beside(run)


@pytest.mark.parametrize("model", MODELS)
def test_models_have_the_bits_of_eager_training(device, model):
    check(device, model)


@pytest.mark.parametrize("model", ["small", "convolutional"])
def test_products_with_epilogues_run_beside_others(device, monkeypatch, model):
    monkeypatch.setattr(epilogue, "_forced", True)
    check(device, model)


@pytest.mark.parametrize("optimizer", [name for name in OPTIMIZERS if name != "Adam"])
def test_optimizers_wait_for_all_gradients(device, optimizer):
    check(device, "dense", optimizer)


@pytest.mark.parametrize("dtype", ["float16", "float64", "complex64"])
def test_other_dtypes(device, dtype):
    x, v, w = (gt.astype(t, dtype) for t in on_device(*(numbers(i, 5, 5) for i in range(3))))

    def f():
        leaves = [t.detach() for t in (v, w)]
        for leaf in leaves:
            leaf.requires_grad = True
        out = gt.tanh(gt.tanh(x @ leaves[0]) @ leaves[1])
        gt.sum(gt.real(out * gt.conj(out)) if dtype[0] == "c" else out).backward()
        return [leaf.grad.detach() for leaf in leaves]

    expected = [t.numpy().tobytes() for t in f()]
    run = gt.capture(f, device="cuda")
    for _ in range(6):
        assert [t.numpy().tobytes() for t in run()] == expected
    assert beside(run)


def test_64_steps_are_one_launch_each_joined_to_the_next(device):
    step, state, _ = training(MODELS["dense"])
    for _ in range(90):
        step()
    expected = state()
    for seed in SEEDS:
        standin.settings.seed = seed
        step, state, _ = training(MODELS["dense"])
        run = gt.capture(step, device="cuda")
        run()
        standin.counters.reset()
        run.repeat(89)
        assert state() == expected
    assert beside(run)


@pytest.mark.parametrize("rows", [64, 64 * 20 + 7])
def test_fit_with_a_last_batch_that_is_smaller(device, rows):
    def fitted(capture):
        gt.manual_seed(1)
        rng = np.random.default_rng(1)
        with CUDA:
            model = keras.Sequential(
                [
                    keras.layers.Dense(16, "relu", input_shape=(12,)),
                    keras.layers.Dense(16, "relu"),
                    keras.layers.Dense(4, "softmax"),
                ]
            )
            model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
            x = rng.standard_normal((rows, 12)).astype(np.float32)
            history = model.fit(
                x, rng.integers(0, 4, rows), batch_size=16, epochs=4, verbose=0, capture=capture
            )
        return history.history, [w.tobytes() for w in model.get_weights()]

    expected = fitted(False)
    for seed in SEEDS:
        standin.settings.seed = seed
        assert fitted("auto") == expected


# Random programs


@st.composite
def products(draw):
    """A random function of three matrices: products, views, writes in place, sums."""
    numbers = st.integers(0, 15)
    steps = draw(st.lists(st.tuples(numbers, numbers, numbers), min_size=2, max_size=16))

    def function(a, b, c):
        pool = [a, b, c]
        for kind, i, j in steps:
            x, y = pool[i % len(pool)], pool[j % len(pool)]
            if kind < 6:
                z = x @ y
            elif kind < 8:
                z = x.T @ y
            elif kind == 8:
                z = x + 0
                z[...] = y @ x
            elif kind == 9:
                z = x * 1
                z[1:3] = (x @ y)[1:3]
            elif kind == 10:
                z = gt.tanh(x) + gt.sum(y, axis=0)
            elif kind == 11:
                c += x * 0.125  # an argument, which others have read
                z = y
            elif kind == 12:
                c[...] = (x @ y) * 0.5
                z = x
            elif kind == 13:
                z = gt.concat([x[:2] @ y, (y @ x)[2:]])
            else:
                z = x * 0.5 - y
            pool.append(z / (1 + gt.max(gt.abs(z))))
        return pool[-1], pool[len(pool) // 2] * 1

    return function


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(products(), st.integers(0, 1000))
def test_random_programs_have_the_bits_of_eager_ones(device, function, seed):
    standin.settings.seed = seed

    def results(f, i):
        tensors = on_device(*(numbers(3 * i + k, 5, 5) for k in range(3)))
        return [t.numpy().tobytes() for t in (*f(*tensors), tensors[2])]

    run = gt.capture(function, device="cuda")
    for i in range(6):
        assert results(run, i) == results(function, i)
    assert run.reason is None


# Kernels and their counts


@pytest.mark.standin
@pytest.mark.parametrize("model", MODELS)
def test_branches_add_no_kernels(device, model):
    def graph_of(chain):
        step, _, _ = training(MODELS[model])
        run = gt.capture(step, device="cuda")
        with branches.in_one_chain() if chain else contextlib.nullcontext():
            for _ in range(3):
                run()
        standin.counters.reset()
        run()
        counts = standin.counters
        found = counts.kernels.copy(), counts.replayed_memsets, counts.replayed_copies
        return found, program_of(run)._graphs[1].graph

    with_branches, graph = graph_of(False)
    without, chain = graph_of(True)
    assert with_branches == without
    assert with_branches[1] == 0 or model == "transformer"
    assert len(graph.work) == len(chain.work)
    assert chain._chain
    assert not graph._chain


@pytest.mark.standin
def test_the_streams_of_a_step_part_and_meet_as_often_as_needed(device):
    step, _, _ = training(MODELS["dense"])
    run = gt.capture(step, device="cuda")
    for _ in range(3):
        run()
    work = program_of(run)._graphs[1].graph.work
    edges = [(i, j) for j, piece in enumerate(work) for i in piece.after]
    count = len(beside(run))
    # The chain, the steps beside it, an edge to each of these, and one back before the optimizer.
    assert count == 4
    assert len([1 for i, j in edges if j != i + 1]) <= 2 * count + 1
    assert max(len(piece.after) for piece in work) == 2


@pytest.mark.standin
def test_no_edge_says_what_others_say(device):
    x, v, w = on_device(*(numbers(i, 6, 6) for i in range(3)))
    run = gt.capture(lambda: (((y := gt.tanh(x)) @ v) @ w, w @ y, v @ y), device="cuda")
    for _ in range(3):
        run()
    work = program_of(run)._graphs[1].graph.work
    before = _before(piece.after for piece in work)
    assert len(work) == 5
    for piece in work:
        assert not any(before[i] >> j & 1 for i in piece.after for j in piece.after)


# What a fault would do


def faulty(monkeypatch, fault):
    """A captured step of training whose program has a fault, not run yet but recorded."""
    step, state, _ = training(MODELS["dense"])
    run = gt.capture(step, device="cuda")
    run()
    program = program_of(run)
    fault(monkeypatch, program)
    return run, state


def no_wait_for_the_second_stream(monkeypatch, program):
    """The optimizer does not wait for gradients; the end of the run does."""
    program._order = [issue._replace(joins=False) for issue in program._order]


def no_wait_for_the_chain(monkeypatch, program):
    """Products beside the chain begin when the first of them may."""
    follow = cuda.Lane.follow

    def lazy(stream, other):
        if stream is not program._lane.second or stream.capture is None:
            follow(stream, other)

    monkeypatch.setattr(cuda.Lane, "follow", staticmethod(lazy))


def memory_is_given_back_too_early(monkeypatch, program):
    """Buffers go as soon as nothing that is issued later uses them."""
    uses, last = branches._Uses(program.steps), {}
    for place, issue in enumerate(program._order):
        last |= dict.fromkeys(uses.temporaries[issue.number], place)
    needed = {v.buffer.number for v in program.graph.needed()}
    program._order = [
        issue._replace(over=tuple(n for n, at in last.items() if at == place and n not in needed))
        for place, issue in enumerate(program._order)
    ]


def one_workspace(monkeypatch, program):
    """Both streams' handles have one workspace."""
    prepare = blas.prepare

    def shared():
        ready = prepare()
        handle, first = blas.current_handle(), next(iter(blas._handles.values()))
        handle.workspace = first.workspace
        blas._bindings().set_workspace(handle.number, first.workspace.ptr, first.size)
        return ready

    monkeypatch.setattr(blas, "prepare", shared)


FAULTS = [
    no_wait_for_the_second_stream,
    no_wait_for_the_chain,
    memory_is_given_back_too_early,
    one_workspace,
]


@pytest.mark.standin
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_fault_is_found_before_a_graph_runs(device, monkeypatch, fault):
    run, _ = faulty(monkeypatch, fault)
    run()  # as a chain
    with pytest.raises(Race, match="in no order"):
        run()


@pytest.mark.standin
@pytest.mark.parametrize("fault", FAULTS[:3], ids=lambda fault: fault.__name__)
def test_a_fault_shows_in_what_a_graph_computes(device, monkeypatch, fault):
    step, state, _ = training(MODELS["dense"])
    for _ in range(8):
        step()
    expected = state()
    monkeypatch.setattr("gputensor.standin.streams._races", lambda work: ())
    run, state = faulty(monkeypatch, fault)
    for _ in range(7):
        run()
    assert state() != expected


@pytest.mark.standin
def test_each_stream_has_zeros_of_its_own_which_no_capture_makes(device):
    streams = [device.cuda.Stream(non_blocking=True) for _ in range(2)]
    made = []
    for stream in streams:
        with stream:
            stream.begin_capture()
            made += [scratch.zeros(), scratch.zeros(5000)]
            assert stream.end_capture().work == []
            assert scratch.zeros(5000) is made[-1]
    assert len({zeros.tickets.data.ptr for zeros in made}) == 4
    for zeros in made:
        assert not zeros.tickets.get().any()
        assert not zeros.counter.get().any()


@pytest.mark.standin
def test_what_cannot_be_captured_behind_a_branch_leaves_the_streams_as_they_were(device):
    x, v, w = on_device(*(numbers(i, 6, 6) for i in range(3)))

    def f():
        y, z = x @ v, x @ w
        return gt.linalg.inv(y + 3 * gt.eye(6)), z

    expected = [t.numpy() for t in f()]
    run = gt.capture(f, device="cuda")
    for _ in range(5):
        for a, b in zip(run(), expected, strict=True):
            np.testing.assert_array_equal(a.numpy(), b)
    assert "gt.linalg.inv(y + 3 * gt.eye(6))" in run.reason
    assert not cuda.lane().second.is_capturing()
    fine = gt.capture(lambda: (x @ v, x @ w), device="cuda")
    for _ in range(3):
        for a, b in zip(fine(), (x @ v, x @ w), strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy())


@pytest.mark.standin
def test_where_a_device_refuses_branches_the_graph_is_one_chain(device, monkeypatch, caplog):
    step, state, _ = training(MODELS["dense"])
    for _ in range(6):
        step()
    expected = state()
    wait = device.cuda.Stream.wait_event

    def refusing(stream, event):
        if stream.is_capturing() != event.stream.is_capturing():
            raise RuntimeError("no second stream here")
        wait(stream, event)

    monkeypatch.setattr(device.cuda.Stream, "wait_event", refusing)
    step, state, _ = training(MODELS["dense"])
    run = gt.capture(step, device="cuda")
    with caplog.at_level("INFO", logger="gputensor.capture"):
        for _ in range(6):
            run()
    assert run.reason is None
    assert state() == expected
    (said,) = caplog.messages
    assert "not computed side by side" in said
    assert "no second stream here" in said
    assert not beside(run)
