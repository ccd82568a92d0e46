"""Gradients that the user is given: theirs alone, and what they were for ever after."""

import sys
import threading

import numpy as np
import pytest

import gputensor as gt
from cases import REAL
from checks import leaf
from gputensor import autograd
from gputensor.errors import GraphError


def memories(*tensors):
    return [id(autograd.memory_of(t.array)) for t in tensors]


def assert_apart(*tensors):
    """Each has memory of its own."""
    found = memories(*tensors)
    assert len(set(found)) == len(found)


# ---------------------------------------------------------------- transforms

SHARING = {
    "a sum": lambda a, b: a + b,
    "the same": lambda a, b: a + b * 1,
    "views": lambda a, b: a + gt.reshape(gt.permute_dims(b, (1, 0)), (2, 2)),
    "joined": lambda a, b: gt.concat([a, b]),
    "one of them": lambda a, b: a,
    "a part": lambda a, b: a[0] + b[:, 0],
    "a kernel": lambda a, b: gt.nn.functional.dense(a, b, None),
}


@pytest.mark.parametrize("function", SHARING.values(), ids=SHARING)
@pytest.mark.parametrize("outer", [False, True])
def test_gradients_of_a_transform_share_no_memory(function, outer):
    x = gt.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=outer)
    seed = gt.ones(function(x, x).shape) * 2
    _, pull = gt.vjp(function, x, x)
    first, second = pull(seed), pull(seed)
    a, b = gt.grad(lambda *args: function(*args).sum(), (0, 1))(x, x)
    _, tangent = gt.jvp(function, (x, x), (seed_like(x), seed_like(x)))
    assert_apart(*first, *second, a, b, tangent, seed, x)
    values = b.tolist()
    with gt.no_grad():
        a *= 10
    assert b.tolist() == values
    with gt.no_grad():
        first[0][...] = 7
    assert second[0].tolist() == pull(seed)[0].tolist()


def seed_like(x):
    return gt.ones_like(x) * 3


def test_a_tangent_is_not_the_users():
    v = gt.ones(2)
    _, tangent = gt.jvp(lambda x: x + 0, (gt.ones(2),), (v,))
    tangent *= 2
    assert v.tolist() == [1, 1]


@pytest.mark.parametrize("name", sorted(REAL))
def test_whatever_a_rule_gives_is_the_users_alone(name):
    for function, *inputs in REAL[name]:
        given = [gt.tensor(x) for x in inputs]
        out, pull = gt.vjp(function, *given)
        seed = gt.ones_like(out)
        assert_apart(*pull(seed), *pull(seed), seed, *given)


# ---------------------------------------------------------------- .grad


@pytest.mark.parametrize("optimizer", [None, gt.optim.SGD])
def test_grad_stays_what_it_was(optimizer):
    w = leaf([1.0, 2.0])
    steps = optimizer and optimizer([w], lr=0.1)
    (w * 3).sum().backward()
    kept, row, array = w.grad, w.grad[:1], w.grad.detach()
    (w * 4).sum().backward()
    assert w.grad.tolist() == [7, 7]
    total = w.grad
    assert total is w.grad  # the same until something is added
    if steps:
        steps.zero_grad()
    else:
        w.grad = None
    assert w.grad is None
    (w * 5).sum().backward()
    assert w.grad.tolist() == [5, 5]
    assert (kept.tolist(), row.tolist(), array.tolist()) == ([3, 3], [3], [3, 3])
    assert total.tolist() == [7, 7]
    if steps:
        last = w.grad
        steps.clip_grad_norm(1.0)
        np.testing.assert_allclose(w.grad.tolist(), 0.5**0.5, rtol=1e-6)
        steps.step()
        assert last.tolist() == [5, 5]


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w.grad.__imul__(2),
        lambda w: w.grad.__setitem__(..., w.grad * 2),
        lambda w: setattr(w, "grad", w.grad * 2),
        lambda w: w.grad.array.__imul__(2),
    ],
)
def test_what_the_user_makes_of_grad_is_what_a_step_takes_and_a_pass_adds_to(change):
    w = leaf([1.0, 2.0])
    steps = gt.optim.SGD([w], lr=0.5)
    (w * 3).sum().backward()
    change(w)
    steps.step()
    assert w.tolist() == [-2, -1]
    change(w)
    (w * 1).sum().backward()
    assert w.grad.tolist() == [13, 13]
    assert steps.grad_norm().item() == pytest.approx(13 * 2**0.5)
    steps.clip_grad_norm(2**0.5)
    change(w)
    np.testing.assert_allclose(w.grad.tolist(), [2, 2], rtol=1e-6)
    steps.step()
    np.testing.assert_allclose(w.tolist(), [-3, -2], rtol=1e-6)


def test_a_step_copies_nothing_unless_grad_is_asked_for(monkeypatch):
    model = gt.nn.Sequential(gt.nn.Dense(4, 3, "relu"), gt.nn.Dense(3, 2))
    steps = gt.optim.SGD(model.parameters(), lr=0.1)
    buffers = {p._node.buffer is not None and id(p._node.buffer) for p in model.parameters()}
    settled = []
    monkeypatch.setattr(autograd.Leaf, "settle", settled.append)
    for _ in range(2):
        steps.zero_grad()
        model(gt.ones((5, 4))).sum().backward()
        assert {id(p._node.grad.array) for p in model.parameters()} == buffers
        steps.step()
    assert not settled


def test_gradients_of_leaves_share_no_memory():
    x, y = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    seed = gt.tensor([1.0, 1.0])
    (x + y).backward(seed)
    assert_apart(x, y, x.grad, y.grad, seed)
    x.backward(seed)
    assert_apart(x.grad, seed)


@pytest.mark.parametrize("optimizer", [False, True])
@pytest.mark.parametrize("axes", [(0, 2, 1), (2, 1, 0), (1, 2, 0)])
def test_gradients_are_in_order_in_memory_whatever_the_users_is(optimizer, axes):
    given = gt.permute_dims(gt.tensor(np.arange(24.0).reshape(2, 3, 4)), axes)
    x = leaf(np.ones(given.shape))
    if optimizer:
        gt.optim.SGD([x], lr=0.1)

    def check(grad, times):
        assert grad.array.flags.c_contiguous
        np.testing.assert_array_equal(grad.cpu().numpy(), times * given.cpu().numpy())

    for function in (lambda t: t, lambda t: t * 1, lambda t: gt.permute_dims(t, (0, 1, 2))):
        x.grad = None
        function(x).backward(given)
        check(x.grad, 1)
        function(x).backward(given)
        check(x.grad, 2)
        check(gt.vjp(function, x.detach())[1](given)[0], 1)
    x.grad = given
    check(x.grad, 1)


def test_a_gradient_that_custom_vjp_returns_stays_the_users():
    kept = []

    def backward(saved, g):
        kept.append((saved, g))
        return (saved,)

    same = gt.custom_vjp(lambda x: x * 1)
    same.defvjp(lambda x: (x * 1, x), backward)
    x, y = leaf([1.0, 2.0]), leaf([1.0, 1.0])
    (same(x) + y).sum().backward()
    x.grad *= 10
    y.grad *= 10
    assert x.tolist() == [1, 2]
    ((saved, g),) = kept
    assert (saved.tolist(), g.tolist()) == ([1, 2], [1, 1])


@pytest.mark.parametrize("record", [False, True])
def test_custom_vjp_may_not_change_what_it_is_given(record):
    def backward(_, g):
        g *= 2
        return (g,)

    bad = gt.custom_vjp(lambda x: x * 1)
    bad.defvjp(lambda x: (x * 1, None), backward)
    x = gt.tensor([1.0], requires_grad=record)
    with pytest.raises(GraphError, match=r"in place|the tape cannot follow"):
        gt.grad(lambda x: (bad(x) + x).sum())(x)


# ---------------------------------------------------------------- hooks


@pytest.mark.parametrize("optimizer", [False, True])
def test_what_hooks_get_and_return_is_the_users(optimizer):
    layer, x = gt.nn.Dense(2, 2), gt.ones((3, 2))
    if optimizer:
        steps = gt.optim.SGD(layer.parameters(), lr=0.1)
    seen, given = [], []
    layer.weight.register_hook(seen.append)
    layer.weight.register_hook(lambda g: given.append(g * 2) or given[-1])
    layer.weight.register_hook(seen.append)
    layer(x).sum().backward()
    assert [g.tolist() for g in seen] == [[[3, 3]] * 2, [[6, 6]] * 2]
    assert_apart(*seen, *given, layer.weight.grad)
    layer.weight.grad.array[...] = 0
    if optimizer:
        steps.zero_grad()
        layer(x * 2).sum().backward()
    assert [g.tolist() for g in seen[:2]] == [[[3, 3]] * 2, [[6, 6]] * 2]
    assert given[0].tolist() == [[6, 6]] * 2


def test_a_hook_may_change_what_it_returns_and_nothing_else():
    def doubled(g):
        g *= 2
        return g

    x = leaf([1.0])
    y = x * 3
    y.register_hook(doubled)
    (y + x).sum().backward()
    assert x.grad.tolist() == [7]
    z = x * 3
    z.register_hook(lambda g: g.__imul__(2) and None)
    with pytest.raises(GraphError, match=r"return 2 \* g"):
        (z + x).sum().backward()


def test_hooks_under_a_transform_get_tensors_of_their_own():
    seen = []

    def function(x):
        y = x * x
        y.register_hook(seen.append)
        return (y + x).sum()

    x = gt.tensor([2.0])
    assert gt.grad(lambda x: gt.grad(function)(x).sum())(x).tolist() == [2]
    assert_apart(*seen)


# ---------------------------------------------------------------- threads


@pytest.fixture
def switching():
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def in_threads(function, count=4):
    errors = []

    def run():
        try:
            function()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if errors:
        raise errors[0]


@pytest.mark.usefixtures("switching")
@pytest.mark.parametrize("optimizer", [False, True])
def test_threads_that_go_backward_into_a_leaf_lose_nothing(optimizer):
    w = leaf([1.0, 2.0])
    layer, x = gt.nn.Dense(2, 2), gt.ones((1, 2))
    if optimizer:
        steps = gt.optim.SGD([w, *layer.parameters()], lr=0.1)
        steps.zero_grad()

    def run():
        for _ in range(300):
            ((w * 1.0).sum() + layer(x).sum()).backward()

    in_threads(run)
    assert w.grad.tolist() == [1200, 1200]
    assert layer.weight.grad.tolist() == [[1200] * 2] * 2
    assert layer.bias.grad.tolist() == [1200] * 2


@pytest.mark.usefixtures("switching")
def test_grad_is_read_while_threads_go_backward():
    w = leaf([0.0] * 100)
    gt.optim.SGD([w], lr=0.1)

    def run():
        for _ in range(200):
            (w * 1.0).sum().backward()
            assert len(set(w.grad.tolist())) == 1  # no sum half done

    in_threads(run)
    assert w.grad.tolist() == [800] * 100


def test_a_pass_that_comes_before_one_that_has_written_is_added():
    layer, x = gt.nn.Dense(2, 2), gt.ones((1, 2))
    steps = gt.optim.SGD(layer.parameters(), lr=0.1)
    passes = []

    def another(g):
        if not passes:
            passes.append(1)
            layer(x * 2).sum().backward()

    steps.zero_grad()
    h = x * leaf([1.0, 1.0])
    h.register_hook(another)  # runs when the outer pass has written into the buffers
    layer(h).sum().backward()
    assert layer.weight.grad.tolist() == [[3, 3]] * 2
    assert layer.bias.grad.tolist() == [2, 2]
    buffer = layer.weight._node.buffer
    steps.zero_grad()
    layer(x).sum().backward()
    assert layer.weight._node.grad.array is buffer


def test_a_pass_that_failed_leaves_the_buffers_to_others():
    layer, x = gt.nn.Dense(2, 2), gt.ones((1, 2))
    steps = gt.optim.SGD(layer.parameters(), lr=0.1)

    def fail(g):
        raise RuntimeError("stop")

    h = x * leaf([1.0, 1.0])
    handle = h.register_hook(fail)
    with pytest.raises(RuntimeError, match="stop"):
        layer(h).sum().backward()
    handle.remove()
    assert layer.weight.grad is None
    steps.zero_grad()
    layer(x).sum().backward()
    assert layer.weight._node.grad.array is layer.weight._node.buffer
    assert layer.weight.grad.tolist() == [[1, 1]] * 2
