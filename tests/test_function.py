"""checkpoint, custom_vjp, hooks, detect_anomaly, gradgradcheck."""

import gc
import weakref

import numpy as np
import pytest

import gputensor as gt
from checks import double_leaf as leaf
from gputensor.autograd import watch
from gputensor.nn import functional as F

RNG = np.random.default_rng(3)


W, X = RNG.normal(size=(4, 4)), RNG.normal(size=(3, 4))


# checkpoint


def block(x, w):
    return gt.tanh(x @ w) * x


def gradients(call):
    """Gradients of three layers that share their weights, two of them through `call`."""
    w, x = leaf(W), leaf(X)
    out = gt.sin(call(block, block(call(block, x, w), w), w)).sum()
    out.backward()
    return out.item(), w.grad.numpy(), x.grad.numpy()


def test_checkpoint_gives_the_same_gradients():
    plain = gradients(lambda f, *args: f(*args))
    for found, expected in zip(gradients(gt.checkpoint), plain, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_checkpoint_reaches_what_the_function_reads_from_outside():
    found = []
    for wrapped in (False, True):
        w, x = leaf(W), leaf(X)
        scaled = w * 2  # computed outside, from what is read as well
        inside = lambda x, w=w, s=scaled: gt.tanh(x @ w) @ s + w.sum()  # noqa: E731
        out = gt.checkpoint(inside, x * 1) if wrapped else inside(x * 1)
        (out * out).sum().backward()
        found.append((w.grad.numpy(), x.grad.numpy()))
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


@pytest.mark.parametrize("optimizer", [gt.optim.SGD, gt.optim.Adam])
def test_checkpoint_trains_a_module(optimizer):
    found = []
    for wrapped in (False, True):
        gt.manual_seed(0)
        layer = gt.nn.Sequential(gt.nn.Dense(4, 4, "relu"), gt.nn.Dense(4, 4, "tanh"))
        steps = optimizer(layer.parameters(), lr=0.1)
        x = gt.tensor(X, dtype=gt.float32)
        for _ in range(3):
            y = x
            for _ in range(3):  # the same parameters three times
                y = gt.checkpoint(layer, y) if wrapped else layer(y)
            steps.zero_grad()
            (y * y).sum().backward()
            steps.step()
        found.append([p.numpy() for p in map(gt.Tensor.detach, layer.parameters())])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_checkpoint_keeps_nothing_and_runs_twice():
    seen = []

    def watched(x):
        y = gt.exp(x)
        seen.append(weakref.ref(y.array))
        return y * y

    x = leaf([1.0, 2.0])
    out = gt.checkpoint(watched, x)
    gc.collect()
    assert [ref() for ref in seen] == [None]
    out.sum().backward()
    assert len(seen) == 2
    gc.collect()
    assert seen[1]() is None
    np.testing.assert_allclose(x.grad.numpy(), 2 * np.exp(2 * np.array([1.0, 2.0])))


def test_checkpoint_draws_the_same_random_numbers():
    own = gt.random.Generator(5)

    def noisy(x):
        y = F.dropout(x, 0.5, training=True)
        return y * own.normal(shape=x.shape, dtype=gt.float64, device=x.device)

    gt.manual_seed(1)
    x = leaf(np.ones(50))
    out = gt.checkpoint(noisy, x)
    after = gt.random.default_generator.state, own.state
    out.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), out.detach().numpy())
    assert (gt.random.default_generator.state, own.state) == after
    assert after[1][1] > 0


def test_checkpoints_nest():
    def outer(x, w):
        return gt.checkpoint(block, gt.checkpoint(block, x, w), w)

    w, x = leaf(W), leaf(X)
    gt.checkpoint(outer, x, w).sum().backward()
    v, y = leaf(W), leaf(X)
    block(block(y, v), v).sum().backward()
    np.testing.assert_allclose(w.grad.numpy(), v.grad.numpy(), rtol=1e-12)
    np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=1e-12)


def test_checkpoint_of_trees():
    def function(tree, factor, *, offset):
        return {"a": tree["u"] * factor, "b": (tree["u"] + tree["v"][0] + offset, gt.ones(2))}

    u, v = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    out = gt.checkpoint(function, {"u": u, "v": [v]}, 3.0, offset=gt.ones(2))
    assert out["a"].tolist() == [3, 6]
    assert not out["b"][1].array.base
    (out["b"][0] * v).sum().backward()
    assert u.grad.tolist() == [3, 4]
    assert v.grad.tolist() == [1 + 2 * 3 + 1, 2 + 2 * 4 + 1]


def test_higher_derivatives_of_checkpoint():
    w = leaf(W[0])
    f = lambda x: gt.checkpoint(lambda t: gt.sin(t * w) * t, x)  # noqa: E731
    assert gt.gradcheck(f, leaf(X[0]))
    assert gt.gradgradcheck(f, leaf(X[0]))
    assert gt.gradgradcheck(lambda x, w: gt.checkpoint(block, x, w), leaf(X), leaf(W))
    z = gt.tensor([1 + 2j, 0.5j], dtype=gt.complex128, requires_grad=True)
    assert gt.gradgradcheck(lambda z: gt.checkpoint(lambda t: t * t.conj() * t, z), z)


def test_checkpoint_in_other_precision():
    w = gt.tensor(W, dtype=gt.float32, requires_grad=True)
    dtypes = []

    def product(x):
        out = x @ w
        dtypes.append(out.dtype)
        return out.astype(gt.float32)

    with gt.autocast("float16"):
        out = gt.checkpoint(product, gt.tensor(X, dtype=gt.float32))
    out.sum().backward()
    assert dtypes == [gt.float16, gt.float16]


def test_a_function_that_changes_is_noticed():
    state = []

    def fickle(x):
        state.append(1)
        return x * gt.random.default_generator.uniform(shape=len(state), dtype=gt.float64)

    out = gt.checkpoint(fickle, leaf([1.0]))
    with pytest.raises(gt.errors.GraphError, match=r"a result has shape \(2,\), not \(1,\)"):
        out.sum().backward()

    def greedy(x):
        state.append(1)
        for _ in state:
            gt.random.default_generator.uniform()
        return x * 2

    out = gt.checkpoint(greedy, leaf([1.0]))
    with pytest.raises(gt.errors.GraphError, match="more random numbers"):
        out.sum().backward()


def test_checkpoint_without_gradients_is_a_call():
    assert not gt.checkpoint(gt.sin, gt.ones(2)).requires_grad
    with gt.no_grad():
        assert not gt.checkpoint(gt.sin, leaf([1.0])).requires_grad


def test_changed_arguments_of_checkpoint_are_noticed():
    x, factor = leaf([1.0, 2.0]), gt.ones(2, dtype=gt.float64)
    out = gt.checkpoint(gt.multiply, x, factor)
    factor += 1
    with pytest.raises(gt.errors.GraphError, match="checkpoint saved a value"):
        out.sum().backward()


# custom_vjp


@gt.custom_vjp
def stable(x):
    """log(1 + exp(x)), whose gradient does not overflow."""
    return gt.log1p(gt.exp(x))


stable.defvjp(
    lambda x: (stable(x), gt.exp(-gt.abs(x))),
    lambda e, g: (g * (1 - e / (1 + e)),),  # right for x > 0
)


def test_custom_gradient():
    x = leaf([0.5, 700.0])
    out = stable(x)
    out.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 1 / (1 + np.exp(-np.array([0.5, 700.0]))))
    assert stable.__name__ == "stable"
    assert "overflow" in stable.__doc__
    assert gt.gradcheck(stable, leaf([0.5, 3.0]))
    assert gt.gradgradcheck(stable, leaf([0.5, 3.0]))
    assert not stable(gt.ones(2)).requires_grad


def test_custom_gradient_of_trees():
    @gt.custom_vjp
    def function(tree, name, scale):
        return {"sum": tree["a"] + tree["b"], "product": tree["a"] * tree["b"] * scale}

    calls = []

    def backward(saved, g):
        calls.append(saved[1])
        (a, b), _, scale = saved
        part = {
            "a": g["sum"] + g["product"] * b * scale,
            "b": g["sum"] + g["product"] * a * scale,
        }
        return part, None, None

    function.defvjp(
        lambda tree, name, scale: (
            function.function(tree, name, scale),
            ((tree["a"], tree["b"]), name, scale),
        ),
        backward,
    )
    a, b, scale = leaf([2.0]), leaf([3.0]), leaf([10.0])
    out = function({"a": a, "b": b}, "n", scale)
    out["product"].sum().backward(retain_graph=True)
    assert (a.grad.item(), b.grad.item(), scale.grad) == (30, 20, None)
    assert calls == ["n"]
    out["sum"].sum().backward()
    assert (a.grad.item(), b.grad.item()) == (31, 21)


def test_custom_gradient_of_a_complex_function():
    square = gt.custom_vjp(lambda z: z * z)
    square.defvjp(lambda z: (z * z, z), lambda z, g: (g * 2 * z.conj(),))
    z = gt.tensor([1 + 2j, 0.5j], dtype=gt.complex128, requires_grad=True)
    assert gt.gradcheck(square, z)
    assert gt.gradgradcheck(square, z)


def test_bad_custom_gradients():
    bare = gt.custom_vjp(gt.sin)
    assert bare(gt.zeros(1)).item() == 0
    with pytest.raises(gt.errors.GraphError, match="custom_vjp sin has no gradient yet"):
        bare(leaf([1.0]))
    bare.defvjp(lambda x: x, lambda _, g: (g,))
    with pytest.raises(TypeError, match="must return a pair"):
        bare(leaf([1.0]))
    bare.defvjp(lambda x: (x * 1, None), lambda _, g: g)
    with pytest.raises(TypeError, match="must return a tuple with a gradient for each"):
        bare(leaf([1.0])).backward()
    bare.defvjp(lambda x: (x * 1, None), lambda _, g: (gt.ones(3),))
    with pytest.raises(gt.errors.ShapeError, match=r"of shape \(1,\)"):
        bare(leaf([1.0])).backward()
    saved = gt.ones(1, dtype=gt.float64)
    bare.defvjp(lambda x: (x * 1, saved), lambda s, g: (g * s,))
    out = bare(leaf([1.0]))
    saved += 1
    with pytest.raises(gt.errors.GraphError, match="custom_vjp saved a value"):
        out.backward()


# Hooks


def test_hooks_see_complete_gradients_and_change_them():
    x = leaf([1.0, 2.0])
    y = x * 3
    seen = []
    handle = y.register_hook(lambda g: seen.append(g.tolist()))
    y.register_hook(lambda g: g * 10)
    x.register_hook(lambda g: seen.append(g.tolist()))
    (y * y + y).sum().backward(retain_graph=True)
    assert seen == [[7, 13], [210, 390]]
    assert x.grad.tolist() == [210, 390]
    handle.remove()
    handle.remove()
    (y * y + y).sum().backward()
    assert seen[2:] == [[210, 390]]
    assert x.grad.tolist() == [420, 780]


def test_hooks_in_higher_derivatives():
    def f(x):
        y = x * 1
        y.register_hook(lambda g: g * x)
        return y**2

    # The gradient is 2 y x; of this the second pass takes 2 y by x and, through the hook again,
    # 2 x times x by y.
    assert gt.grad(f)(gt.tensor(3.0)).item() == 18
    assert gt.grad(gt.grad(f))(gt.tensor(3.0)).item() == 6 + 18


def test_hooks_of_leaves_with_an_optimizer():
    layer = gt.nn.Dense(2, 2)
    optimizer = gt.optim.SGD(layer.parameters(), lr=0.1)
    layer.weight.register_hook(lambda g: g * 0)
    optimizer.zero_grad()
    layer(gt.ones((1, 2))).sum().backward()
    assert not layer.weight.grad.numpy().any()
    assert layer.bias.grad.numpy().all()


def test_hooks_of_complex_tensors():
    z = gt.tensor([1 + 2j], requires_grad=True)
    seen = []
    y = z * 1
    y.register_hook(lambda g: seen.append(g.tolist()))
    gt.real(y * 1j).sum().backward()
    assert seen == [z.grad.tolist()] == [[-1j]]


def test_hooks_of_tensors_that_are_gone_are_not_counted():
    gc.collect()
    before = watch.count
    x = leaf([1.0])
    y = x * 2
    kept = [x.register_hook(print), y.register_hook(print), y.register_hook(print)]
    assert watch.count == before + 3
    kept[1].remove()
    kept[1].remove()
    assert watch.count == before + 2
    y.sum().backward()
    del y
    gc.collect()
    assert watch.count == before + 1
    kept[2].remove()  # of what is gone
    assert watch.count == before + 1
    del x
    gc.collect()
    assert watch.count == before


def test_bad_hooks():
    with pytest.raises(gt.errors.GraphError, match="requires no gradient"):
        gt.ones(1).register_hook(print)
    x = leaf([1.0])
    handle = x.register_hook(lambda g: 3)
    with pytest.raises(TypeError, match="not int"):
        x.sum().backward()
    handle.remove()
    x.register_hook(lambda g: gt.ones(2))
    with pytest.raises(gt.errors.ShapeError, match="a hook returned"):
        x.sum().backward()


# detect_anomaly


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_the_line_of_a_bad_gradient_is_named():
    x = leaf([0.0, 1.0])
    with gt.detect_anomaly():
        root = gt.sqrt(x)  # the culprit
        out = (root * 2).sum()
        with pytest.raises(gt.errors.AnomalyError) as caught:
            out.backward()
    text = str(caught.value)
    assert "the gradient of operand 0 of sqrt is infinite" in text
    assert "the culprit" in text
    assert "test_function.py" in text
    gt.sqrt(x).sum().backward()  # outside nothing is looked at
    assert np.isinf(x.grad.numpy()[0])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_anomalies_in_higher_derivatives_and_other_threads():
    with gt.detect_anomaly(), pytest.raises(gt.errors.AnomalyError, match="of sqrt is infinite"):
        gt.grad(gt.grad(lambda x: gt.sqrt(x * x * x)))(gt.tensor(0.0))

    @gt.detect_anomaly()
    def fine(x):
        return gt.grad(gt.sin)(x)

    assert fine(gt.tensor(0.0)).item() == 1
    with gt.detect_anomaly():
        x = leaf([1.0])
        out = (x * 2).sum()
        with pytest.raises(gt.errors.AnomalyError, match="as is the gradient of its result"):
            out.backward(gt.tensor(np.nan))


# gradgradcheck


def test_gradgradcheck_finds_a_wrong_second_derivative():
    wrong = gt.custom_vjp(lambda x: x**3)
    wrong.defvjp(lambda x: (x**3, x), lambda x, g: (g * 3 * x * x.detach(),))
    assert gt.gradcheck(wrong, leaf([1.0, 2.0]))
    with pytest.raises(gt.errors.GradcheckError, match="input 0, element"):
        gt.gradgradcheck(wrong, leaf([1.0, 2.0]))
    assert gt.gradgradcheck(lambda x, k: x**3 * k, leaf([1.0, 2.0]), gt.tensor(2.0, "float64"))
    with pytest.raises(gt.errors.GraphError, match="no input requires"):
        gt.gradgradcheck(gt.sin, gt.ones(1, dtype=gt.float64))
    with pytest.raises(gt.errors.DTypeError, match="float64"):
        gt.gradgradcheck(gt.sin, gt.tensor([1.0], requires_grad=True))


def test_on_a_device(cupy):
    w, x = (gt.tensor(a, requires_grad=True, device="cuda") for a in (W, X))
    v, y = leaf(W), leaf(X)
    gt.checkpoint(block, x, w).sum().backward()
    block(y.cpu(), v.cpu()).sum().backward()
    np.testing.assert_allclose(w.grad.numpy(), v.grad.numpy(), rtol=1e-12)
    np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=1e-12)
    z = gt.tensor([0.5, 3.0], dtype=gt.float64, device="cuda", requires_grad=True)
    with gt.detect_anomaly():
        out = stable(z)
        out.register_hook(lambda g: g * 2)
        out.sum().backward()
    np.testing.assert_allclose(z.grad.numpy(), 2 / (1 + np.exp(-np.array([0.5, 3.0]))))
    gt.manual_seed(1)
    ones = gt.ones(64, device="cuda")
    ones.requires_grad = True
    out = gt.checkpoint(lambda t: F.dropout(t, 0.5, training=True), ones)
    out.sum().backward()
    np.testing.assert_array_equal(ones.grad.numpy(), out.detach().numpy())
