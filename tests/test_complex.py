"""Complex gradients: PyTorch's convention, of every operation that takes complex numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import gputensor as gt
from cases import REAL, W, Z
from cases import R as X
from checks import leaf

RNG = np.random.default_rng(11)


def values(*shape):
    """Complex numbers whose absolute values are from 0.3 to 1.3."""
    return (RNG.random(shape) + 0.3) * np.exp(2j * np.pi * RNG.random(shape))


# What has no complex form; `astype` is to a real dtype there.
REAL_ONLY = {
    *("astype", "atan2", "binary_cross_entropy_with_logits", "cbrt", "ceil", "clip", "copysign"),
    *("cross_entropy", "digamma", "erf", "erfc", "erfinv", "fabs", "floor", "floor_divide"),
    *("gammaln", "gelu", "hypot", "logaddexp", "polygamma", "remainder", "softplus", "trunc"),
}
GELU = {0, 4}  # cases of bias_activation with an error function


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", REAL)
def test_every_operation_takes_complex_numbers_or_refuses(name):
    for i, (function, *inputs) in enumerate(REAL[name]):
        turned = [np.asarray(x) * np.exp(0.5j * RNG.normal(size=np.shape(x))) for x in inputs]
        for operands in (turned, [turned[0], *inputs[1:]]):
            if name in REAL_ONLY or (name == "bias_activation" and i in GELU):
                with pytest.raises(TypeError):
                    gt.gradcheck(function, *map(leaf, operands))
            else:
                assert gt.gradcheck(function, *map(leaf, operands))


@pytest.mark.peers
@pytest.mark.parametrize(
    "name",
    [
        *("abs", "acos", "asin", "atan", "conj", "cos", "cosh", "exp", "expm1", "log", "log10"),
        *("log1p", "log2", "reciprocal", "sigmoid", "sin", "sinh", "sqrt", "square", "tan", "tanh"),
        "sign",
    ],
)
def test_gradient_equals_pytorch(name):
    torch = pytest.importorskip("torch")
    z, weights = leaf(Z), W if name != "abs" else X
    getattr(gt, name)(z).backward(gt.tensor(weights))
    theirs = torch.tensor(Z, requires_grad=True)
    out = getattr(torch, "sgn" if name == "sign" else name)(theirs)
    out.backward(torch.tensor(weights))
    np.testing.assert_allclose(z.grad.numpy(), theirs.grad.resolve_conj().numpy(), rtol=1e-10)


@pytest.mark.peers
@pytest.mark.parametrize("name", ["multiply", "divide", "pow", "matmul"])
@pytest.mark.parametrize("real", [0, 1, None])
def test_gradients_of_two_operands_equal_pytorch(name, real):
    torch = pytest.importorskip("torch")
    operands = [X if i == real else z for i, z in enumerate((Z, W))]
    if name == "matmul":
        operands[1] = operands[1].T
    mine = [leaf(a) for a in operands]
    theirs = [torch.tensor(a, requires_grad=True) for a in operands]
    out = getattr(gt, name)(*mine)
    weights = values(*out.shape)
    out.backward(gt.tensor(weights))
    cast = [t.to(torch.complex128) for t in theirs]  # its matmul takes one dtype only
    getattr(torch, name)(*cast).backward(torch.tensor(weights))
    for a, b in zip(mine, theirs, strict=True):
        assert a.grad.dtype == a.dtype
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-10)


@settings(deadline=None, max_examples=30)
@given(data=st.data(), shape=hnp.array_shapes(max_dims=2, max_side=3))
def test_gradient_of_the_squared_distance_is_twice_the_difference(data, shape):
    numbers = st.complex_numbers(max_magnitude=100)
    z, target = (data.draw(hnp.arrays(np.complex128, shape, elements=numbers)) for _ in range(2))
    x = leaf(z)
    gap = x - gt.asarray(target)
    gt.sum(gt.real(gap * gap.conj())).backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * (z - target), atol=1e-12)


@pytest.mark.parametrize(("real", "complex"), [("float32", "complex64"), ("float64", "complex128")])
def test_gradients_keep_the_dtype_of_their_tensors(real, complex):
    x, z = leaf(X.astype(real)), leaf(Z.astype(complex))
    out = gt.abs(x * z) + gt.real(z)
    assert out.dtype == real
    out.sum().backward()
    assert (x.grad.dtype, z.grad.dtype) == (real, complex)
    parts = gt.grad(lambda a, b: gt.sum(gt.abs(a * b)), (0, 1))(x, z)
    assert [p.dtype for p in parts] == [real, complex]


def test_gradient_descent_reaches_a_complex_target():
    z = leaf([3j, -1.0])
    target = gt.tensor([1 + 1j, 2 - 1j])
    for _ in range(60):
        z.grad = None
        gt.sum(gt.square(gt.abs(z - target))).backward()
        z = leaf(z.detach() - 0.2 * z.grad)
    np.testing.assert_allclose(z.detach().numpy(), target.numpy(), atol=1e-5)


def test_absolute_value_and_sign_at_zero():
    z = leaf([0j, 3 + 4j])
    assert gt.sign(z).tolist() == pytest.approx([0, 0.6 + 0.8j])
    gt.abs(z).sum().backward()
    assert z.grad.tolist() == pytest.approx([0, 0.6 + 0.8j])


def test_variance_of_complex_numbers_equals_numpy():
    assert gt.var(gt.asarray(Z)).dtype == gt.float64
    np.testing.assert_allclose(gt.var(gt.asarray(Z), axis=0).numpy(), Z.var(axis=0))
    np.testing.assert_allclose(gt.std(gt.asarray(Z), correction=1).numpy(), Z.std(ddof=1))


def test_accumulated_gradients_add_up():
    z = leaf(Z)
    for _ in range(2):
        gt.sum(gt.real(z * 1j)).backward()
    np.testing.assert_allclose(z.grad.numpy(), np.full(Z.shape, -2j))


@pytest.mark.parametrize("rows", [2, None])
def test_deterministic_indexing_adds_up(rows):
    keys = {"index": [0, 2, 0], "elements": ([0, 2, 0], [1, 1, 1])}
    found = {}
    for mode in (False, True):
        with gt.use_deterministic(mode):
            z = leaf(Z)
            index = keys["index"] if rows else keys["elements"]
            gt.sum(gt.real(z[index] * 1j)).backward()
            found[mode] = z.grad.numpy()
    assert found[True][0, 1] == -2j
    np.testing.assert_array_equal(found[True], found[False])


def test_complex_results_need_a_gradient():
    z = leaf([1j])
    with pytest.raises(gt.errors.GraphError, match="complex64 result needs `gradient`"):
        (z * 2).backward()
    with pytest.raises(gt.errors.GraphError, match="complex64 result needs `gradient`"):
        gt.grad(gt.square)(z)
    with pytest.raises(gt.errors.DTypeError, match="gradient is complex64, the tensor is float32"):
        gt.abs(z).backward(gt.tensor([1j]))
    x = leaf([1.0])
    with pytest.raises(gt.errors.DTypeError, match="grad is complex64, the tensor is float32"):
        x.grad = gt.tensor([1j])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("SGD", {"lr": 0.1}),
        ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
        ("Adam", {"lr": 0.1}),
        ("AdamW", {"lr": 0.1, "weight_decay": 0.2}),
    ],
)
@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_an_optimizer_takes_complex_numbers_as_pairs_of_real_ones(name, options, dtype):
    target = Z.astype(dtype)
    pair = gt.asarray(np.stack([target.real, target.imag]))
    z, x = leaf(W.astype(dtype)), leaf(np.stack([W.real, W.imag]).astype(target.real.dtype))
    one, two = (getattr(gt.optim, name)([p], **options) for p in (z, x))
    for _ in range(3):
        for p, loss, optimizer in (
            (z, gt.sum(gt.abs(z - gt.asarray(target)) ** 4), one),
            (x, gt.sum(gt.sum((x - pair) ** 2, axis=0) ** 2), two),
        ):
            optimizer.zero_grad()
            loss.backward()
            norm = optimizer.clip_grad_norm(5.0)
            optimizer.step()
            assert p.grad.dtype == p.dtype
            assert norm.item() > 0
    assert one.grad_norm().item() == pytest.approx(two.grad_norm().item(), rel=1e-5)
    found = z.detach().numpy()
    np.testing.assert_allclose([found.real, found.imag], x.detach().numpy(), rtol=1e-4, atol=1e-6)


def test_an_optimizer_takes_complex_and_real_parameters_together():
    parameters = [leaf(values(2, 3)), leaf(RNG.random(4)), leaf(values(5)), leaf(values(2))]
    optimizer = gt.optim.SGD(parameters, lr=0.5)
    before = parameters[2].detach().numpy().copy()
    gt.add(*(gt.sum(gt.abs(p) ** 2) for p in parameters[:2])).backward()
    gt.sum(gt.abs(parameters[3]) ** 2).backward()
    optimizer.step()
    for i in (0, 1, 3):
        np.testing.assert_allclose(parameters[i].detach().numpy(), 0, atol=1e-15)
    np.testing.assert_array_equal(parameters[2].detach().numpy(), before)


def test_a_kernel_differentiates_complex_numbers():
    @gt.kernel()
    def by_reference(xp, a, b):
        return a * a * b

    @gt.kernel(vjp=lambda xp, g, out, a, b: (2 * g * a * b, g * a * a))
    def by_rule(xp, a, b):
        return a * a * b

    for kernel in (by_reference, by_rule):
        assert gt.gradcheck(kernel, leaf(Z), leaf(W))


def test_parts_can_be_set():
    z = gt.tensor(Z)
    z.real = 2.0
    z.imag += 1
    np.testing.assert_array_equal(z.numpy(), 2 + (Z.imag + 1) * 1j)
    with gt.no_grad():
        on_tape = leaf(Z)
        on_tape.imag = 0
    np.testing.assert_array_equal(on_tape.detach().numpy(), Z.real)
    with pytest.raises(gt.errors.GraphError, match="the tape cannot follow"):
        on_tape.real = 1.0
    out = on_tape * 2
    with pytest.raises(gt.errors.GraphError, match="the tape cannot follow"):
        out.real = 1.0
    with pytest.raises(gt.errors.DTypeError):
        z.real = 1j
