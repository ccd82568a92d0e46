"""Transforms against finite differences, HIPS autograd and JAX; nesting, trees, memory."""

import gc
import weakref

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gputensor as gt
from gputensor.tree import leaves, map_tree, rebuilt

RNG = np.random.default_rng(5)
A = RNG.uniform(-1, 1, (3, 4))
X = RNG.uniform(0.3, 1, 4)
V = RNG.uniform(-1, 1, 4)


def vector(xp, x):
    """From 4 numbers to 3."""
    return xp.tanh(xp.matmul(A, x)) * x[:3] + xp.exp(-x[1:]) / x[0]


def scalar(xp, x):
    return xp.sum(vector(xp, x) ** 2) + xp.sum(xp.sin(x)) * x[0]


def ours(function):
    return lambda x: function(Ours, x)


class Ours:
    tanh, exp, sin, sum = gt.tanh, gt.exp, gt.sin, gt.sum
    matmul = staticmethod(lambda a, x: gt.matmul(gt.asarray(a, device=x.device), x))


def theirs(function):
    return lambda x: function(anp, x)


def x64(values=X):
    return gt.tensor(values, dtype=gt.float64)


def close(found, expected, tol=1e-10):
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=tol, atol=tol)


def test_jacobian_equals_autograd():
    found = gt.jacobian(ours(vector))(x64())
    close(found, autograd.jacobian(theirs(vector))(X))
    assert not found.requires_grad


def test_hessian_and_its_products_equal_autograd():
    expected = autograd.hessian(theirs(scalar))(X)
    close(gt.hessian(ours(scalar))(x64()), expected)
    (product,) = gt.hvp(ours(scalar), (x64(),), (x64(V),))
    close(product, expected @ V)


def test_vjp_and_jvp_equal_autograd():
    jacobian = autograd.jacobian(theirs(vector))(X)
    out, pull = gt.vjp(ours(vector), x64())
    close(out, vector(anp, X))
    for g in ([1.0, 0.0, 2.0], [0.5, -1.0, 0.0]):
        close(pull(x64(g))[0], np.array(g) @ jacobian)
    out, tangent = gt.jvp(ours(vector), (x64(),), (x64(V),))
    close(out, vector(anp, X))
    close(tangent, jacobian @ V)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_nested_gradients_of_a_scalar(order):
    mine, other = ours(lambda xp, x: xp.exp(x) * xp.sin(x * x)), None
    other = theirs(lambda xp, x: xp.exp(x) * xp.sin(x * x))
    for _ in range(order):
        mine, other = gt.grad(mine), autograd.grad(other)
    close(mine(gt.tensor(0.7, dtype=gt.float64)), other(0.7))


def forward(function):
    return lambda x: gt.jvp(function, (x,), (gt.ones_like(x),))[1]


def backward(function):
    def derivative(x):
        out, pull = gt.vjp(function, x)
        return pull(gt.ones_like(out))[0]

    return derivative


NESTS = {"grad": gt.grad, "jvp": forward, "vjp": backward, "jacobian": gt.jacobian}


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(sorted(NESTS)), min_size=1, max_size=4), st.floats(-1, 1))
def test_transforms_nest_in_any_order(names, at):
    function, expected = gt.sin, [np.sin, np.cos, lambda x: -np.sin(x), lambda x: -np.cos(x)]
    for name in names:
        function = NESTS[name](function)
    close(function(gt.tensor(at, dtype=gt.float64)), expected[len(names) % 4](at))


def test_gradients_of_what_is_read_from_outside():
    w0, x0 = gt.tensor(3.0, dtype=gt.float64), gt.tensor(2.0, dtype=gt.float64)
    inner = lambda w: gt.grad(lambda x: w * x**3)(x0)  # noqa: E731
    assert gt.grad(inner)(w0).item() == 12
    w = gt.tensor(3.0, requires_grad=True)
    slope = gt.grad(lambda x: w * x**3)(gt.tensor(2.0))
    (slope * slope).backward()
    assert w.grad.item() == 2 * 36 * 12
    directional = lambda w: gt.jvp(lambda x: w * x**3, (x0,), (x0,))[1]  # noqa: E731
    assert gt.grad(directional)(w0).item() == 24
    tangent = lambda v: gt.jvp(lambda x: x**3, (x0,), (v,))[1]  # noqa: E731
    assert gt.grad(tangent)(w0).item() == 12
    pulled = lambda g: gt.vjp(lambda x: x**3, x0)[1](g)[0]  # noqa: E731
    assert gt.grad(pulled)(w0).item() == 12


def cubic(x, y):
    return x * x * y


MIXED = {  # the derivative by both, 2 x, found in several ways
    "grad of grad": gt.grad(gt.grad(cubic), 1),
    "jacobian of grad": gt.jacobian(gt.grad(cubic), 1),
    "vjp of vjp": lambda x, y: gt.vjp(
        lambda y: gt.vjp(lambda x: cubic(x, y), x)[1](gt.ones_like(y))[0], y
    )[1](gt.ones_like(y))[0],
    "jvp of grad": lambda x, y: gt.jvp(lambda y: gt.grad(cubic)(x, y), (y,), (gt.ones_like(y),))[1],
    "jvp of jvp": lambda x, y: gt.jvp(
        lambda y: gt.jvp(lambda x: cubic(x, y), (x,), (gt.ones_like(x),))[1],
        (y,),
        (gt.ones_like(y),),
    )[1],
}


@pytest.mark.parametrize("way", MIXED)
@pytest.mark.parametrize("requires_grad", [False, True])
def test_a_transform_in_a_transform_leaves_the_tape_unless_an_argument_is_on_it(way, requires_grad):
    x = gt.tensor(2.0, requires_grad=requires_grad)
    found = MIXED[way](x, gt.tensor(3.0))
    assert found.item() == 4
    assert found.requires_grad == requires_grad
    if requires_grad:
        found.backward()
        assert x.grad.item() == 2


def test_inside_no_grad_transforms_work_and_record_nothing():
    x = gt.tensor(2.0, requires_grad=True)
    with gt.no_grad():
        value, slope = gt.value_and_grad(lambda t: t**3 * x)(x)
        assert (value.item(), slope.item()) == (16, 24)
        assert not value.requires_grad
        assert not slope.requires_grad
        assert not gt.jacobian(lambda t: t * x)(x).requires_grad


def net(tree):
    hidden = gt.tanh(tree["x"] @ tree["layers"][0] + tree["bias"][1])
    return (hidden @ tree["layers"][1]).sum() * tree["bias"][0]


TREE = {
    "x": RNG.normal(size=(2, 3)),
    "layers": [RNG.normal(size=(3, 4)), RNG.normal(size=4)],
    "bias": (np.array(2.0), RNG.normal(size=4)),
    "nothing": None,
}


def test_gradients_have_the_structure_of_their_arguments():
    tree = map_tree(gt.asarray, TREE)
    value, gradient = gt.value_and_grad(net)(tree)
    assert value.item() == net(tree).item()
    assert list(gradient) == list(TREE)
    assert type(gradient["layers"]) is list
    assert type(gradient["bias"]) is tuple
    assert gradient["nothing"] is None
    flat = leaves(tree)
    for i, (x, g) in enumerate(zip(flat, leaves(gradient), strict=True)):
        assert g.shape == x.shape

        def value_at(t, i=i):
            return net(rebuilt(tree, iter([*flat[:i], t, *flat[i + 1 :]]))).item()

        up, down = value_at(x + 1e-6), value_at(x - 1e-6)
        assert g.sum().item() == pytest.approx((up - down) / 2e-6, rel=1e-6)


def test_a_jacobian_of_trees_has_blocks():
    def function(x, tree):
        return {"a": x * tree[0], "b": gt.sum(tree[0] * tree[1])}

    x, tree = x64([1.0, 2.0]), [x64(3.0), x64([4.0, 5.0, 6.0])]
    found = gt.jacobian(function, (0, 1))(x, tree)
    assert found["a"][0].tolist() == [[3, 0], [0, 3]]
    assert found["a"][1][0].tolist() == [1, 2]
    assert found["a"][1][1].tolist() == [[0, 0, 0], [0, 0, 0]]
    assert found["b"][0].tolist() == [0, 0]
    assert found["b"][1][0].item() == 15
    assert found["b"][1][1].tolist() == [3, 3, 3]
    second = gt.hessian(lambda t: t["u"] ** 2 * t["v"].sum())({"u": x64(3.0), "v": x64([1.0, 2.0])})
    assert second["u"]["u"].item() == 6
    assert second["u"]["v"].tolist() == second["v"]["u"].tolist() == [6, 6]
    assert second["v"]["v"].tolist() == [[0, 0], [0, 0]]


def test_jacobians_of_nothing():
    assert gt.jacobian(lambda x: x[:0])(x64([1.0, 2.0])).shape == (0, 2)
    assert gt.jacobian(lambda x: gt.ones(3))(x64([1.0, 2.0])).tolist() == [[0, 0]] * 3
    assert gt.jacobian(lambda x: x.reshape(2, 2) * 2)(x64()).shape == (2, 2, 4)


def test_hvp_of_trees():
    x, v = {"u": x64(3.0), "w": x64([1.0, 2.0])}, {"u": x64(0.5), "w": x64([1.0, -1.0])}
    (found,) = gt.hvp(lambda t: t["u"] ** 2 * (t["w"] ** 2).sum(), (x,), (v,))
    assert found["u"].item() == pytest.approx(0.5 * 2 * 5 + 4 * 3 * (1 - 2))
    close(found["w"], 0.5 * 4 * 3 * np.array([1, 2]) + 2 * 9 * np.array([1, -1]))


def test_aux_is_passed_on():
    def function(x):
        return (x * x).sum(), {"twice": x * 2, "name": "n"}

    x = x64([1.0, 2.0])
    (value, aux), gradient = gt.value_and_grad(function, has_aux=True)(x)
    assert (value.item(), gradient.tolist(), aux["name"]) == (5, [2, 4], "n")
    assert aux["twice"].tolist() == [2, 4]
    assert not aux["twice"].requires_grad
    assert gt.grad(function, has_aux=True)(x)[1]["name"] == "n"
    assert gt.jacobian(function, has_aux=True)(x)[0].tolist() == [2, 4]
    assert gt.vjp(function, x, has_aux=True)[2]["twice"].tolist() == [2, 4]
    assert gt.jvp(function, (x,), (x,), has_aux=True)[2]["twice"].tolist() == [2, 4]
    assert gt.hessian(function, has_aux=True)(x)[0].tolist() == [[2, 0], [0, 2]]
    with pytest.raises(TypeError, match="must return a pair"):
        gt.grad(lambda x: x.sum(), has_aux=True)(x)


def test_complex_directions():
    z, t = gt.tensor([1 + 2j, 0.5 - 1j]), gt.tensor([0.3 - 1j, 2j])
    _, tangent = gt.jvp(lambda z: z**3, (z,), (t,))
    np.testing.assert_allclose(tangent.numpy(), (3 * z**2 * t).numpy(), rtol=1e-5)
    _, tangent = gt.jvp(lambda z: gt.real(z * z.conj()), (z,), (t,))
    expected = 2 * (z.numpy().conj() * t.numpy()).real
    np.testing.assert_allclose(tangent.numpy(), expected, rtol=1e-5)
    with pytest.raises(gt.errors.DTypeError, match="real and imaginary"):
        gt.jacobian(lambda z: z * z)(z)


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda x: gt.grad(gt.sum, 1)(x), ValueError, "argnums names argument 1"),
        (lambda x: gt.grad(lambda d: d["a"])({"a": 1}), TypeError, "argument 0 is int64"),
        (lambda x: gt.grad(lambda x: (x, x))(x), TypeError, "returned tuple"),
        (lambda x: gt.vjp(gt.sin, x)[1](gt.ones(2)), ValueError, r"gradient has shape \(2,\)"),
        (lambda x: gt.vjp(gt.sin, x)[1]((x,)), ValueError, "tuple of 1 is no single leaf"),
        (lambda x: gt.jvp(gt.sin, (x,), (gt.ones(2),)), ValueError, r"tangent has shape \(2,\)"),
        (lambda x: gt.jvp(gt.sin, (x,), (x, x)), ValueError, "structure"),
        (lambda x: gt.jvp(gt.sin, x, x), TypeError, "tuples"),
        (lambda x: gt.hvp(gt.sum, x, x), TypeError, "tuples"),
        (lambda x: gt.jvp(lambda x: 3, (x,), (x,)), TypeError, "returned int"),
    ],
)
def test_bad_input_is_a_clear_error(call, kind, text):
    with pytest.raises(kind, match=text):
        call(x64())


def test_saved_values_are_freed():
    seen = []

    def function(x):
        y = gt.exp(x)
        seen.append(weakref.ref(y.array))
        return (y * y).sum()

    gt.grad(function)(x64())
    gt.jacobian(function)(x64())
    _, pull = gt.vjp(function, x64())
    gc.collect()
    assert [ref() is None for ref in seen] == [True, True, False]
    pull(gt.tensor(1.0, dtype=gt.float64))
    pull(gt.tensor(1.0, dtype=gt.float64))
    del pull
    gc.collect()
    assert seen[-1]() is None


def test_grad_attributes_are_left_alone():
    x = gt.tensor(2.0, requires_grad=True)
    gt.hvp(lambda t: t**3 * x, (x,), (x,))
    gt.jacobian(lambda t: t * x)(x)
    gt.jvp(lambda t: t * x, (x,), (x,))
    assert x.grad is None


def test_on_a_device(cupy):
    x, v = gt.tensor(X, device="cuda"), gt.tensor(V, device="cuda")
    close(gt.jacobian(ours(vector))(x), autograd.jacobian(theirs(vector))(X))
    hessian = autograd.hessian(theirs(scalar))(X)
    close(gt.hvp(ours(scalar), (x,), (v,))[0], hessian @ V)
    close(gt.jvp(ours(vector), (x,), (v,))[1], autograd.jacobian(theirs(vector))(X) @ V)


@pytest.mark.peers
def test_transforms_equal_jax():
    jax = pytest.importorskip("jax")
    with jax.enable_x64(True):
        x, v = jax.numpy.asarray(X), jax.numpy.asarray(V)
        f, g = (lambda x: vector(jax.numpy, x)), (lambda x: scalar(jax.numpy, x))
        mine_f, mine_g = ours(vector), ours(scalar)
        close(gt.jacobian(mine_f)(x64()), jax.jacobian(f)(x))
        close(gt.hessian(mine_g)(x64()), jax.hessian(g)(x))
        close(gt.jvp(mine_f, (x64(),), (x64(V),))[1], jax.jvp(f, (x,), (v,))[1])
        close(gt.jacobian(gt.hessian(mine_g))(x64()), jax.jacobian(jax.hessian(g))(x), tol=1e-9)
        close(gt.jvp(gt.grad(mine_g), (x64(),), (x64(V),))[1], jax.jvp(jax.grad(g), (x,), (v,))[1])

        def function(x, tree):
            return {"a": x * tree[0], "b": (tree[0] * tree[1]).sum()}

        tree = [3.0, np.arange(3.0)]
        found = gt.jacobian(function, (0, 1))(x64(), map_tree(x64, tree))
        expected = jax.jacobian(function, (0, 1))(x, jax.tree.map(jax.numpy.asarray, tree))
        assert jax.tree.structure(map_tree(lambda t: 0, found)) == jax.tree.structure(expected)
        for a, b in zip(leaves(found), leaves(expected), strict=True):
            close(a, b)
            assert a.shape == b.shape
