"""Replays on the CPU: the bits of the function itself, or the function itself."""

import functools
import random
import re
import signal
import threading
import types
from dataclasses import dataclass

import numpy as np
import pytest
import test_capture

import gputensor as gt
from cases import LINALG, REAL
from gputensor import backend, keras
from gputensor.errors import CaptureError, LabelError
from gputensor.graph import capture as capture_module
from gputensor.graph.guards import Guards
from gputensor.graph.record import record
from gputensor.keras.layers import Dense, Dropout
from gputensor.optim import schedules

pytestmark = pytest.mark.cpu

EYE = np.eye(4, dtype="float32")


@pytest.fixture(autouse=True)
def on_the_cpu():
    with gt.device("cpu"):
        yield
    assert backend.recording() is None


def same(a, b):
    """Whether two trees of tensors and arrays have the same bits."""
    found = gt.tree.map_tree(lambda x, y: _bits(x) == _bits(y), a, b)
    return all(gt.tree.leaves(found))


def _bits(x):
    x = x.detach().numpy() if isinstance(x, gt.Tensor) else x
    return (x.dtype, x.shape, x.tobytes()) if isinstance(x, np.ndarray) else repr(x)


def train(make_step, steps=40, captured=True):
    """All that training leaves behind, with a smaller batch every fifth step."""
    gt.manual_seed(5)
    model = gt.nn.Sequential(gt.nn.Dense(12, 16, "relu"), gt.nn.Dropout(0.3), gt.nn.Dense(16, 4))
    step, state = make_step(model)
    run = gt.capture(step) if captured else step
    rng = np.random.default_rng(3)
    losses = []
    for i in range(steps):
        rows = 5 if i % 5 == 4 else 9
        x = gt.tensor(rng.standard_normal((rows, 12)).astype(np.float32))
        losses.append(run(x, gt.tensor(rng.integers(0, 4, rows))))
    if captured:
        assert run.graphs == 2, "graphs"
    parameters = [p.array.copy() for p in model.parameters()]
    return losses, parameters, state(), gt.random.default_generator.state


def adamw(model):
    optimizer = gt.optim.AdamW(model.parameters(), lr=schedules.cosine_decay(0.05, 40))
    return functools.partial(test_capture.plain_step, model, optimizer), optimizer.state_dict


def scheduled_momentum(model):
    optimizer = gt.optim.SGD(
        model.parameters(), lr=schedules.exponential_decay(0.1, 10, 0.5), momentum=0.9
    )

    def step(x, y):
        optimizer.zero_grad()
        gt.nn.functional.cross_entropy(model(x), y, label_smoothing=0.1).backward()
        gt.nn.functional.cross_entropy(model(x) * 0.5, y).backward()  # which adds up
        optimizer.step()
        return {"norm": optimizer.grad_norm(), "ones": gt.ones((2,)) * 3, "text": "t"}

    return step, optimizer.state_dict


def scaled(model):
    optimizer = gt.optim.Adam(model.parameters(), lr=0.01)
    scaler = gt.optim.GradScaler(init_scale=2.0**14, growth_interval=3)

    def step(x, y):
        optimizer.zero_grad()
        with gt.autocast("float16"):
            loss = gt.nn.functional.cross_entropy(model(x), y)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        return loss

    return step, lambda: (optimizer.state_dict(), scaler.state_dict())


def by_hand(model):
    rate = gt.tensor(0.05)
    mean = gt.zeros((4,))

    def step(x, y):
        out = model(x)
        loss = gt.mean(gt.square(out - gt.asarray(EYE)[y]))
        gradients = gt.grad(lambda w: gt.sum(gt.square(w @ w.T)))(model.parameters()[0].detach())
        model.zero_grad()
        loss.backward()
        with gt.no_grad():
            for p in model.parameters():
                p -= rate * p.grad
            model.parameters()[0][:, :2] = model.parameters()[0][:, 2:4]
            mean.__imul__(0.9)
            mean.__iadd__(gt.mean(out.detach(), axis=0))
        return loss, gradients

    return step, lambda: (mean.array.copy(), [p.grad.array.copy() for p in model.parameters()])


@pytest.mark.parametrize("make_step", [adamw, scheduled_momentum, scaled, by_hand])
def test_replays_have_the_bits_of_the_function(make_step):
    assert same(train(make_step), train(make_step, captured=False))


CASES = {**REAL, **LINALG}


def operands(values):
    """Tensors of values, or of random numbers for shapes."""
    rng = np.random.default_rng(1)
    arrays = [rng.standard_normal(v) if isinstance(v, tuple) else np.asarray(v) for v in values]
    return [gt.tensor(a, requires_grad=a.dtype.kind in "fc") for a in arrays]


@pytest.mark.parametrize("name", CASES)
def test_operations_are_replayed(name):
    for case, (function, *values) in enumerate(CASES[name]):
        inputs = operands(values)

        def step(function=function, inputs=inputs):
            for t in inputs:
                if t.requires_grad:
                    t.grad = None
            out = function(*inputs)
            if out.requires_grad:
                gt.sum(gt.real(out * gt.conj(out))).backward()
            return out, [t.grad for t in inputs]

        run = gt.capture(step)
        for _ in range(5):
            assert same(run(), step()), (name, case)
            for t in inputs:  # other values of the same kind, in place
                if t.requires_grad:
                    t.array[...] *= 1.001


# LAPACK refuses NaN.
FINITE = {
    *("eig", "eigh", "eigvals", "eigvalsh", "lstsq", "matrix_norm", "pinv", "svd", "svdvals"),
}


@pytest.mark.parametrize("name", sorted(CASES))
def test_graphs_of_operations_do_not_depend_on_values(name):
    for case, (function, *values) in enumerate(CASES[name]):

        def step(*inputs, function=function):
            inputs = [t.detach() for t in inputs]
            for t in inputs:
                t.requires_grad = t.dtype.kind in "fc"
            out = function(*inputs)
            if out.requires_grad:
                gt.sum(gt.real(out * gt.conj(out))).backward()
            return out.detach(), [t.grad for t in inputs]

        def outline(inputs, step=step):
            with np.errstate(all="ignore"):
                _, found, reason = record(step, tuple(inputs), {}, inputs, gt.device("cpu"))
            if found is None:
                return reason
            values = [[v[2:] for v in (*n.inputs, *n.outputs)] for n in found.graph.nodes]
            return [(n.kind, n.name) for n in found.graph.nodes], values

        inputs = [t.detach() for t in operands(values)]
        expected = outline(inputs)
        for t in inputs:
            if t.dtype.kind in "fc":
                t.array[...] = t.array * 1.01 if name in FINITE else np.nan
        assert outline(inputs) == expected, case


def test_most_operations_have_a_program():
    found = {}
    for name, ((function, *values), *_) in ((n, c) for n, c in CASES.items() if c):
        run = gt.capture(functools.partial(function, *operands(values)))
        for _ in range(3):
            run()
        found[name] = run.graphs
    assert sum(found.values()) > 0.95 * len(found), [n for n, made in found.items() if not made]


# What cannot be repeated

W = gt.tensor(np.linspace(-1, 1, 12, dtype="float32").reshape(3, 4), requires_grad=True)


def numbers_of_python(x):
    return x if random.random() < 2 else x * 2


def value_read(x):
    return x * 2 if gt.sum(x).item() > 0 else x


def mask(x):
    return gt.sum(x[x > 0])


def seeded(x):
    gt.manual_seed(3)
    return x + gt.random.default_generator.normal(shape=(3,))


DRAWS = np.random.default_rng(0)
OLD_DRAWS = np.random.RandomState(0)
PYTHONS = random.Random(0)


class Noise(gt.nn.Module):
    def __init__(self):
        self.settings = types.SimpleNamespace(draws=np.random.default_rng(1))

    def __call__(self, x):
        return x + self.settings.draws.normal(size=3).astype("float32")


NOISE = Noise()


def drawn_here(x):
    return x * np.float32(DRAWS.random())


def drawn_by_another(x):
    return NOISE(x)


def drawn_within(draws):
    def function(x):
        return [x + float(draws.normal()) for _ in range(2)][1]

    return function


def drawn_of_old(x):
    return x * float(OLD_DRAWS.rand())


def drawn_of_python(x):
    return x + PYTHONS.gauss(0, 1)


@pytest.mark.parametrize(
    ("function", "where"),
    [
        (drawn_here, r"numpy.random._generator.Generator in drawn_here \(.*test_replay.py:\d+\)"),
        (drawn_by_another, r"_generator.Generator in Noise.__call__ \("),
        (drawn_within(np.random.default_rng(5)), r"_generator.Generator in drawn_within.<locals>"),
        (drawn_of_old, r"RandomState in drawn_of_old"),
        (drawn_of_python, r"random.Random in drawn_of_python"),
    ],
)
def test_functions_that_draw_from_generators_of_others_go_on_being_called(function, where):
    run = gt.capture(function)
    found = [run(gt.ones(3)).tolist() for _ in range(5)]
    assert len({tuple(x) for x in found}) == 5
    assert re.search(where, run.reason)
    assert "gt.random.Generator goes on" in run.reason


def test_generators_that_are_named_and_not_drawn_from_do_not_matter():
    kept = np.random.default_rng(0)

    def function(x, draws=kept):
        return x + 1 if draws is DRAWS else x * 2

    run = gt.capture(function)
    for _ in range(3):
        assert run(gt.ones(2)).tolist() == [2, 2]
        kept.random()  # between the calls
    assert run.reason is None
    assert run.graphs == 1


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (numbers_of_python, "random numbers are drawn"),
        (value_read, "values are read"),
        (mask, "boolean mask makes a shape depend"),
        (seeded, "set to a seed"),
    ],
)
def test_what_cannot_be_repeated_goes_on_being_called(function, why):
    count = []

    def counted(x):
        count.append(1)
        return function(x)

    run = gt.capture(counted)
    given = [np.float32([i, 1, -i]) for i in range(1, 7)]
    found = [run(gt.tensor(x)).numpy().copy() for x in given]
    assert len(count) == 6
    assert re.search(why, run.reason)
    assert re.search(r", at .*test_replay.py:\d+: ", run.reason)
    for x, y in zip(given, found, strict=True):
        np.testing.assert_array_equal(function(gt.tensor(x)).detach().numpy(), y)


def test_attributes_of_modules_and_optimizers_are_noticed():
    def states(captured):
        gt.manual_seed(2)
        model = gt.nn.Sequential(gt.nn.Dense(3, 4), gt.nn.Dropout(0.5), gt.nn.Dense(4, 2))
        optimizer = gt.optim.SGD(model.parameters(), lr=0.1, momentum=0.5)

        def step(x):
            optimizer.zero_grad()
            gt.sum(gt.square(model(x))).backward()
            optimizer.step()

        run = gt.capture(step) if captured else step
        changes = [
            lambda: None,
            lambda: setattr(model.layers[1], "p", 0.1),
            model.eval,
            lambda: setattr(optimizer, "weight_decay", 0.3),
            lambda: setattr(optimizer, "lr", 0.01),
            lambda: setattr(optimizer, "lr", schedules.cosine_decay(0.1, 50)),
            model.train,
            lambda: setattr(model.layers[1], "p", 0.5),
            lambda: setattr(model.parameters()[0], "requires_grad", False),
            lambda: model.load_state_dict({k: v * 0.5 for k, v in model.state_dict().items()}),
        ]
        for change in changes:
            change()
            for _ in range(5):
                run(gt.ones((2, 3)))
                yield [p.array.copy() for p in model.parameters()]
        if captured:
            assert run.graphs

    assert same(list(states(True)), list(states(False)))


def test_arguments_that_are_numpy_arrays_may_be_read_by_python():
    run = gt.capture(lambda x: gt.asarray(x) * (2 if x[0] > 2 else 1))
    for i in range(6):
        assert run(np.full(2, float(i))).tolist() == [i * (2 if i > 2 else 1)] * 2
    assert "numpy.ndarray, an array; give a tensor" in run.reason


def test_threads_may_call_it_side_by_side():
    w = gt.ones((4,))
    run = gt.capture(lambda x: gt.sum(gt.exp(x) * w))
    found = {}

    def work(i):
        for _ in range(30):
            found.setdefault(i, set()).add(run(gt.full((4,), float(i))).item())

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {i: {gt.sum(gt.exp(gt.full((4,), float(i)))).item()} for i in range(4)}


def test_python_runs_once_only():
    count = []

    @gt.capture
    def double(x):
        count.append(x.shape)
        return x * 2

    for i in range(6):
        assert double(gt.full((2,), float(i))).tolist() == [2.0 * i] * 2
    assert (len(count), double.graphs) == (1, 1)
    for i in range(6):
        assert double(gt.full((2, 2), float(i))[:, 0]).tolist() == [2.0 * i] * 2
    assert (len(count), double.graphs) == (2, 2)  # other strides


def test_arguments_are_read_and_changed_where_they_are():
    @gt.capture
    def count_up(x, step):
        with gt.no_grad():
            x += step
        return x

    x, one = gt.zeros((3,)), gt.ones((3,))
    for _ in range(5):
        out = count_up(x, one)
    assert x.tolist() == [5.0] * 3
    assert np.shares_memory(out.array, x.array)
    assert count_up(one, one).tolist() == [2.0] * 3  # both are one array
    assert count_up.graphs == 2


def test_a_replay_counts_as_a_change():
    w = gt.tensor([1.0, 1.0], requires_grad=True)
    optimizer = gt.optim.SGD([w], lr=0.5)

    @gt.capture
    def step():
        optimizer.zero_grad()
        gt.sum(w * w).backward()
        optimizer.step()

    for _ in range(4):
        step()
    assert step.graphs == 1
    loss = gt.sum(w * w)
    step()
    with pytest.raises(gt.errors.GraphError, match="changed in place"):
        loss.backward()


@pytest.mark.parametrize("forget", [False, True])
def test_gradients_that_are_forgotten_outside(forget):
    replayed, plain = (list(test_capture.forgetful("cpu", c, forget)) for c in (True, False))
    assert replayed == plain


def test_errors_of_a_replay_are_those_of_the_function():
    @gt.capture
    def loss(x, y):
        return gt.nn.functional.cross_entropy(x, y)

    x = gt.ones((2, 3))
    for _ in range(4):
        loss(x, gt.tensor([0, 1]))
    assert loss.graphs == 1
    with pytest.raises(LabelError, match="row 1 has label 3"):
        loss(x, gt.tensor([0, 3]))
    assert loss(x, gt.tensor([0, 1])).item() == pytest.approx(np.log(3), rel=1e-6)


def test_hooks_and_anomalies_are_seen():
    w = gt.tensor([1.0, 1.0], requires_grad=True)

    @gt.capture
    def step(x):
        w.grad = None
        gt.sum(gt.sqrt(w * x)).backward()
        return w.grad

    for _ in range(4):
        step(gt.ones((2,)))
    assert step.graphs == 1
    seen = []
    hook = w.register_hook(seen.append)
    step(gt.ones((2,)))
    assert len(seen) == 1
    hook.remove()
    other = gt.tensor([1.0], requires_grad=True)
    other.register_hook(seen.append)  # of a tensor that has no part in it
    step(gt.ones((2,)))
    with gt.detect_anomaly(), pytest.raises(gt.errors.AnomalyError):
        step(gt.zeros((2,)))


def test_functions_captured_inside_are_part_of_it():
    @gt.capture
    def inner(x):
        return x * 2

    @gt.capture
    def outer(x):
        return inner(x) + 1

    assert [outer(gt.tensor(float(i))).item() for i in range(5)] == [1.0, 3.0, 5.0, 7.0, 9.0]
    assert outer.graphs == 1


def test_what_is_not_hashable_is_no_hindrance():
    @gt.capture
    def total(x, weights):
        return x * sum(weights)

    assert [total(gt.ones(()), {i}).item() for i in range(5)] == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_rows_of_an_embedding_are_those_asked_for():
    weight = gt.tensor(np.arange(12.0).reshape(6, 2))
    run = gt.capture(lambda index: gt.nn.functional.embedding(index, weight))
    first = gt.tensor([0, 1])
    for index in (first, first, first, gt.tensor([2, 5])):
        assert same(run(index), gt.nn.functional.embedding(index, weight))
    assert run.graphs == 1


@pytest.mark.parametrize("wrong", [-1, 3])
def test_groups_are_checked_in_each_call(wrong):
    run = gt.capture(lambda ids: gt.segment_sum(gt.ones((2,)), ids, 3))
    for _ in range(4):
        run(gt.tensor([0, 2]))
    assert run.graphs == 1
    with pytest.raises(gt.errors.OutOfRangeError):
        run(gt.tensor([0, wrong]))


# What is set from outside between the calls


def after_each(change, make_step, times=16):
    """Results with a change before each fourth call, captured and not."""

    def results(captured):
        gt.manual_seed(2)
        step, state = make_step()
        run = gt.capture(step) if captured else step
        found = []
        for i in range(times):
            if i % 4 == 3:
                change(state, i // 4)
            x = gt.tensor(np.random.default_rng(i).standard_normal((6, 4)).astype("float32"))
            found.append((run(x), [p.array.copy() for p in state["model"].parameters()]))
        return found, run

    expected, _ = results(False)
    found, run = results(True)
    assert same(found, expected)
    return run


def small_training(optimizer=gt.optim.SGD, **options):
    def make_step():
        model = gt.nn.Sequential(
            gt.nn.Dense(4, 8, "tanh"), gt.nn.Dropout(0.3), gt.nn.LayerNorm(8), gt.nn.Dense(8, 2)
        )
        state = {"model": model, "optimizer": optimizer(model.parameters(), **options)}

        def step(x):
            state["optimizer"].zero_grad()
            loss = gt.mean(gt.square(model(x)))
            loss.backward()
            state["optimizer"].step()
            return loss

        return step, state

    return make_step


CHANGES = {
    "lr": lambda s, i: setattr(s["optimizer"], "lr", 0.1 / (i + 1)),
    "schedule": lambda s, i: setattr(
        s["optimizer"], "lr", 0.02 if i % 2 else schedules.exponential_decay(0.1, 3, 0.5)
    ),
    "weight_decay": lambda s, i: setattr(s["optimizer"], "weight_decay", 0.1 * (i % 2)),
    "momentum": lambda s, i: setattr(s["optimizer"], "momentum", 0.5 / (i + 1)),
    "p": lambda s, i: setattr(s["model"][1], "p", 0.2 * i),
    "train": lambda s, i: s["model"].train(i % 2 == 1),
    "eps": lambda s, i: setattr(s["model"][2], "eps", 0.1 * (i + 1)),
    "activation": lambda s, i: setattr(s["model"][0], "activation", (None, "relu")[i % 2]),
    "freeze": lambda s, i: setattr(s["model"][0].weight, "requires_grad", False),
    "head": lambda s, i: setattr(s["model"][3], "weight", gt.nn.Dense(8, 2).weight),
    "module": lambda s, i: setattr(
        s["model"], "layers", [*s["model"].layers[:3], gt.nn.Dense(8, 2)]
    ),
    "load": lambda s, i: s["model"].load_state_dict(
        {n: v * 0.5 for n, v in s["model"].state_dict().items()}
    ),
    "in place": lambda s, i: s["model"][0].weight.array.__imul__(0.5),
    "optimizer": lambda s, i: s.update(optimizer=gt.optim.SGD(s["model"].parameters(), lr=0.3)),
    "state": lambda s, i: s["optimizer"].load_state_dict(
        {k: v * 0 for k, v in s["optimizer"].state_dict().items()}
    ),
    "seed": lambda s, i: gt.manual_seed(i),
    "generator": lambda s, i: setattr(s["model"][1], "generator", gt.random.Generator(i)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_settings_that_change_between_calls(change):
    run = after_each(CHANGES[change], small_training(lr=0.1, momentum=0.9))
    if change in ("lr", "load", "in place", "state", "seed"):
        assert run.graphs == 1


def test_programs_are_found_again_with_the_settings_they_were_recorded_with():
    count = []
    model = gt.nn.Sequential(gt.nn.Dense(3, 3), gt.nn.Dropout(0.5))

    @gt.capture
    def forward(x):
        count.append(1)
        return model(x)

    for i in range(20):
        model.train(i % 2 == 0)
        forward(gt.ones((2, 3)))
    assert (len(count), forward.graphs) == (2, 2)


def test_many_settings_in_turn_are_no_error():
    model = gt.nn.Dropout(0.5)
    run = gt.capture(lambda x: model(x) * 2)
    for i in range(200):
        model.p = i / 400
        run(gt.ones((2,)))
    for _ in range(4):
        run(gt.ones((2,)))
    assert run.graphs >= 1
    assert run.graphs <= 32


def test_state_of_a_module_that_is_reset_between_sequences():
    class Recurrent(gt.nn.Module):
        def __init__(self):
            self.cell, self.state = gt.nn.Dense(3, 3, "tanh"), gt.zeros((1, 3))

        def forward(self, x):
            self.last = self.cell(x + self.state)
            return self.last

    gt.manual_seed(1)
    model = Recurrent()
    run = gt.capture(model)
    for i in range(12):
        if i % 4 == 3:
            model.state = gt.full((1, 3), float(i))
        x = gt.full((1, 3), 0.1 * i)
        assert same(run(x), model(x).detach())


def test_gradients_that_a_step_reads_but_does_not_compute():
    def states(captured):
        a, b = (gt.tensor([1.0, 2.0], requires_grad=True) for _ in range(2))
        optimizer = gt.optim.SGD([a, b], lr=0.1)
        step = gt.capture(optimizer.step) if captured else optimizer.step
        clear = gt.capture(optimizer.zero_grad) if captured else optimizer.zero_grad
        for i in range(14):
            gt.sum(a * a).backward()
            if i % 3:
                gt.sum(b * b).backward()
            step()
            yield a.array.copy(), b.array.copy()
            if i % 5 != 4:
                clear()
            yield a.grad is None, b.grad is None

    assert same(list(states(True)), list(states(False)))


def test_an_argument_that_a_replay_changes_is_a_change():
    w = gt.tensor([1.0, 1.0], requires_grad=True)
    x = gt.tensor([1.0, 2.0])

    @gt.capture
    def double(t):
        with gt.no_grad():
            t *= 2

    for _ in range(4):
        double(x)
    assert double.graphs == 1
    loss = gt.sum(w * x)
    double(x)
    with pytest.raises(gt.errors.GraphError, match="changed in place"):
        loss.backward()


@dataclass
class Box:
    value: gt.Tensor


def test_results_in_objects_are_those_of_the_call():
    total = gt.tensor(1.0)

    @gt.capture
    def boxed(x):
        return Box(x * total)

    for value in (2.0, 2.0, 2.0, 3.0, 4.0):
        assert boxed(gt.tensor(value)).value.item() == value


def test_numbers_that_are_equal_and_not_the_same():
    run = gt.capture(lambda x, y: gt.atan2(x, x * y))
    for y in [0.0] * 4 + [-0.0] * 4 + [0] * 4 + [np.float32(-0.0)] * 4:
        x = gt.tensor([0.0, -1.0])
        assert same(run(x, y), gt.atan2(x, x * y))


def test_random_numbers_inside_checkpoint_come_from_it():
    noise = gt.capture(lambda: gt.random.default_generator.normal(shape=(4,)))
    for _ in range(4):
        noise()
    x = gt.tensor(np.arange(1.0, 5.0), requires_grad=True)
    out = gt.checkpoint(lambda x: x * x * noise(), x)
    gt.sum(out).backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * out.detach().numpy() / x.detach().numpy())


def test_threads_that_record_at_once():
    w = gt.tensor(np.eye(3, dtype="float32"))
    functions = [gt.capture(lambda x, k=k: gt.tanh(x @ w) * k) for k in range(6)]
    wrong = []

    def work(seed):
        rng = np.random.default_rng(seed)
        for _ in range(30):
            for k in rng.permutation(6).tolist():
                x = gt.tensor(rng.standard_normal((2, 3)).astype("float32"))
                if not same(functions[k](x), gt.tanh(x @ w) * k):
                    wrong.append(k)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_function_that_is_not_replayed_runs_in_several_threads():
    meeting = threading.Barrier(2, timeout=120)

    @gt.capture
    def meet(x, together):
        if x.item() > 1:
            meeting.wait()
        return x

    for _ in range(3):
        meet(gt.tensor(1.0), None)
    threads = [threading.Thread(target=meet, args=(gt.tensor(2.0), None)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not meeting.broken


def test_a_loss_of_keras_that_looks_at_targets():
    def looks(y_true, y_pred):
        scale = 2 if y_true.sum() > 0 else 1
        return gt.mean(gt.square(y_pred - y_true), axis=1) * scale

    x, y = np.ones((24, 2), "float32"), np.ones((24, 1), "float32")
    y[16:] = -1

    def fitted(capture):
        gt.manual_seed(1)
        model = keras.Sequential([Dense(1, input_shape=(2,))])
        model.compile("sgd", looks)
        model.fit(x, y, batch_size=4, epochs=2, verbose=0, shuffle=False, capture=capture)
        return [p.array.copy() for p in model.parameters()]

    assert same(fitted("auto"), fitted(False))


# Keras


class Raw(keras.layers.Layer):
    """A layer that computes with NumPy; no gradient passes."""

    def forward(self, x):
        return x * gt.asarray(np.abs(x.detach().array).clip(1, 2))


def mean_distance(y_true, y_pred):
    return gt.abs(gt.asarray(y_pred) - gt.asarray(y_true))


def own_loss(y_true, y_pred):
    return gt.mean(gt.abs(y_pred - y_true), axis=1)


@pytest.mark.parametrize("layer", [Dropout(0.4), Raw()], ids=["dropout", "raw"])
@pytest.mark.parametrize("loss", ["sparse_categorical_crossentropy", "mse", own_loss])
def test_fit_is_the_same_with_and_without(layer, loss):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((70, 6)).astype("float32")
    labels = loss == "sparse_categorical_crossentropy"
    y = rng.integers(0, 3, 70) if labels else rng.standard_normal((70, 3)).astype("float32")

    def fitted(capture):
        gt.manual_seed(1)
        model = keras.Sequential(
            [
                Dense(8, activation="tanh", input_shape=(6,)),
                layer,
                Dense(3, activation="softmax" if labels else None),
            ]
        )
        model.compile("adam", loss, metrics=["accuracy"] if labels else [mean_distance])
        history = model.fit(
            x, y, batch_size=16, epochs=6, verbose=0, capture=capture, validation_split=0.1
        ).history
        return history, [p.array.copy() for p in model.parameters()]

    expected = fitted(False)
    assert same(fitted("auto"), expected)
    assert same(fitted(True), expected)


def counted(function):
    """A function that notes its calls."""

    @functools.wraps(function)
    def call(*args, **kwargs):
        call.count += 1
        return function(*args, **kwargs)

    call.count = 0
    return call


class Doubling(keras.layers.Layer):
    def forward(self, x):
        return x * 2


def own_layer(model, monkeypatch):
    Doubling.forward = counted(lambda self, x: x * 2)
    model.add(Doubling())
    return Doubling.forward, {}


def patched_layer(model, monkeypatch):
    layer = model.layers[0]
    layer.forward = counted(layer.forward)
    return layer.forward, {}


def patched_class(model, monkeypatch):
    monkeypatch.setattr(Dense, "forward", counted(Dense.forward))
    return Dense.forward, {}


def patched_optimizer(model, monkeypatch):
    monkeypatch.setattr(keras.optimizers.SGD, "step", counted(keras.optimizers.SGD.step))
    return keras.optimizers.SGD.step, {}


def wrapped_function(model, monkeypatch):
    loss = counted(gt.nn.functional.l1_loss)
    return loss, {"loss": lambda y, p: loss(p, gt.asarray(y))}


def own_metric(model, monkeypatch):
    metric = counted(mean_distance)
    return metric, {"metrics": [metric]}


def own_schedule(model, monkeypatch):
    rate = counted(lambda step: 0.1 / (1 + step))
    return rate, {"optimizer": keras.optimizers.SGD(rate)}


def schedule_in_a_schedule(model, monkeypatch):
    rate = counted(lambda step: 0.1 / (1 + step))
    return rate, {"optimizer": keras.optimizers.SGD(schedules.warmup(3, rate))}


PARTS = [
    *(own_layer, patched_layer, patched_class, patched_optimizer, wrapped_function, own_metric),
    *(own_schedule, schedule_in_a_schedule),
]


@pytest.mark.parametrize("part", PARTS)
def test_python_of_the_users_runs_in_each_step_of_fit(part, monkeypatch, caplog):
    def fitted(capture, **more):
        gt.manual_seed(1)
        model = keras.Sequential([Dense(3, input_shape=(6,))])
        call, options = part(model, monkeypatch)
        model.compile(**({"optimizer": "sgd", "loss": "mse"} | options))
        before = call.count
        x = np.linspace(-1, 1, 48 * 6, dtype="float32").reshape(48, 6)
        model.fit(x, x[:, :3], batch_size=4, verbose=0, capture=capture)
        return call.count - before, [p.array.copy() for p in model.parameters()]

    with caplog.at_level("INFO", logger="gputensor.keras"):
        found = [fitted(capture) for capture in (False, "auto", True)]
    counts = [count for count, _ in found]
    assert counts[:2] == [found[0][0]] * 2  # with "auto" as without
    assert counts[0] >= 12 > counts[2]
    assert all(same(weights, found[0][1]) for _, weights in found)
    assert "which is yours" in caplog.text


def test_a_captured_function_of_the_users_is_part_of_the_step():
    calls = []

    @gt.capture
    def loss(y_true, y_pred):
        calls.append(1)
        return gt.mean(gt.abs(y_pred - y_true), axis=1)

    model = keras.Sequential([Dense(3, input_shape=(6,))])
    model.compile("sgd", loss)
    x = np.ones((48, 6), "float32")
    model.fit(x, x[:, :3], batch_size=4, epochs=3, verbose=0)
    assert len(calls) == 1


def test_a_step_that_is_not_the_same_each_time_is_no_graph():
    class Counting(keras.layers.Layer):
        count = 0

        def forward(self, x):
            self.count += 1
            return x if self.count < 8 else x * 2

    model = keras.Sequential([Dense(3, input_shape=(6,)), Counting()])
    model.layers[1].count = 0  # it was called to learn the shape of its result
    model.compile("sgd", "mse")
    x = np.ones((48, 6), "float32")
    model.fit(x, x[:, :3], batch_size=4, verbose=0)
    assert model.layers[1].count == 12
    with pytest.raises(CaptureError, match=r"Counting.count is set, at .*test_replay.py:\d+"):
        model.fit(x, x[:, :3], batch_size=4, verbose=0, capture=True)


# Replays that follow each other


def counting():
    """A step that draws, counts and trains, and all that it leaves behind."""
    gt.manual_seed(2)
    model = gt.nn.Sequential(gt.nn.Dense(6, 8, "tanh"), gt.nn.Dropout(0.4), gt.nn.Dense(8, 3))
    optimizer = gt.optim.Adam(model.parameters(), lr=0.01)
    x = gt.asarray(np.random.default_rng(0).normal(size=(40, 6)).astype("f"))
    y, at = gt.asarray(np.arange(40) % 3), gt.zeros(1, dtype="int64")

    def step():
        rows = (at + gt.arange(5)) % 40
        loss = gt.nn.functional.cross_entropy(model(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        at[...] = at + 5

    def state():
        parameters = [*model.parameters()]
        arrays = [p.array.copy() for p in parameters], [p.grad.array.copy() for p in parameters]
        return arrays, at.item(), y, gt.random.default_generator.state

    return step, state


def test_replays_one_after_the_other_do_what_calls_do(monkeypatch):
    step, state = counting()
    for _ in range(90):
        step()
    expected = state()
    for spell in (0, 1e-3, 60):
        monkeypatch.setattr(capture_module, "_SPELL", spell)
        step, state = counting()
        run = gt.capture(step)
        run.repeat(90)
        assert run.graphs == 1
        assert same(state(), expected)


def test_replays_one_after_the_other_look_once(monkeypatch):
    step, _ = counting()
    run = gt.capture(step)
    run()
    looks = []
    hold = Guards.hold
    monkeypatch.setattr(Guards, "hold", lambda self: looks.append(1) or hold(self))
    monkeypatch.setattr(capture_module, "_SPELL", 60)
    assert run.some(70) == 70
    assert len(looks) == 1
    monkeypatch.setattr(capture_module, "_SPELL", 0)
    assert run.some(70) == 1


@pytest.mark.parametrize("bad", [0, 4, 33])
def test_an_error_comes_at_the_step_that_it_comes_at(bad):
    def trained(run_of):
        step, state = counting()
        run = run_of(step)
        run(3)
        state()[2][bad] = 7  # a label of a later batch
        with pytest.raises(LabelError, match="label 7"):
            run(50)
        state()[2][bad] = 0
        return state()

    def called(step):
        return lambda n: [step() for _ in range(n)]

    assert same(trained(lambda step: gt.capture(step).repeat), trained(called))


def test_an_interrupt_ends_replays_at_once_and_more_may_follow(monkeypatch):
    monkeypatch.setattr(capture_module, "_SPELL", 60)
    step, state = counting()
    run = gt.capture(step)
    run()
    timer = threading.Timer(0.3, signal.raise_signal, [signal.SIGINT])
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored behind an "&"
    try:
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            run.repeat(200_000)
    finally:
        timer.join()
        signal.signal(signal.SIGINT, handler)
    before = state()
    run.repeat(3)
    assert run.graphs == 1
    for a, b in zip(state()[0][0], before[0][0], strict=True):
        assert np.isfinite(a).all()
        assert (a != b).any()


def test_whoever_looks_for_nan_sees_each_batch_on_the_cpu(capsys):
    model = keras.Sequential([Dense(1, input_shape=(2,))])
    model.compile("sgd", "mse")
    x = np.ones((320, 2), "f")
    x[150] = np.nan
    model.fit(
        x,
        x[:, :1],
        batch_size=10,
        shuffle=False,
        verbose=0,
        callbacks=[keras.callbacks.TerminateOnNaN()],
    )
    assert "Batch 15: the loss is NaN" in capsys.readouterr().out
