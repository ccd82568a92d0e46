"""Complex gradients: PyTorch's convention, of every operation that takes complex numbers."""

import numpy as np
import pytest
import test_linalg
import test_ops
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import gputensor as gt

RNG = np.random.default_rng(11)


def values(*shape):
    """Complex numbers whose absolute values are from 0.3 to 1.3."""
    return (RNG.random(shape) + 0.3) * np.exp(2j * np.pi * RNG.random(shape))


def leaf(data):
    return gt.tensor(data, requires_grad=True)


Z, W, X = values(3, 4), values(3, 4), RNG.uniform(0.3, 1.3, (3, 4))
ZEROS = Z * np.array([[1, 0, 1, 1], [0, 1, 0, 1], [1, 1, 1, 1]])
CASES = {
    "add": [(gt.add, Z, X), (lambda z: z + 2j, X)],
    "subtract": [(gt.subtract, X, Z), (lambda z: 1j - z, values(4))],
    "multiply": [(gt.multiply, Z, W), (gt.multiply, X, values(1, 4)), (lambda x: x * 2j, X)],
    "divide": [(gt.divide, Z, W), (gt.divide, X, Z), (gt.divide, Z, X)],
    "pow": [(gt.pow, Z, W), (gt.pow, X, Z), (gt.pow, -X, Z), (lambda z: z**0, Z)],
    "pow_number": [(lambda z: z**3, Z), (lambda z: z**-0.5, Z), (lambda x: x ** (1 + 2j), X)],
    "negative": [(gt.negative, Z)],
    "positive": [(gt.positive, Z)],
    "abs": [(gt.abs, Z)],
    "sign": [(gt.sign, Z), (gt.sign, Z[0, 0])],
    "real": [(gt.real, Z), (gt.real, X), (lambda z: z.real, Z)],
    "imag": [(gt.imag, Z), (gt.imag, Z[0, 0]), (lambda z: z.imag, Z)],
    "conj": [(gt.conj, Z), (lambda x: x.conj() * 1j, X)],
    "square": [(gt.square, Z)],
    "sqrt": [(gt.sqrt, Z)],
    "reciprocal": [(gt.reciprocal, Z)],
    "exp": [(gt.exp, Z)],
    "expm1": [(gt.expm1, Z)],
    "log": [(gt.log, Z)],
    "log1p": [(gt.log1p, 0.5 * Z)],
    "log2": [(gt.log2, Z)],
    "log10": [(gt.log10, Z)],
    "sin": [(gt.sin, Z)],
    "cos": [(gt.cos, Z)],
    "tan": [(gt.tan, 0.5 * Z)],
    "asin": [(gt.asin, 0.5 * Z)],
    "acos": [(gt.acos, 0.5 * Z)],
    "atan": [(gt.atan, 0.5 * Z)],
    "sinh": [(gt.sinh, Z)],
    "cosh": [(gt.cosh, Z)],
    "tanh": [(gt.tanh, Z)],
    "asinh": [(gt.asinh, 0.5 * Z)],
    "acosh": [(gt.acosh, 0.5 * Z)],
    "atanh": [(gt.atanh, 0.5 * Z)],
    "sinc": [(gt.sinc, Z), (gt.sinc, 0.05 * Z)],
    "nan_to_num": [(gt.nan_to_num, Z)],
    "atan2": [(gt.angle, Z)],
    "prod": [(gt.prod, Z), (lambda z: gt.prod(z, axis=0), ZEROS)],
    "cumulative_sum": [(lambda z: gt.cumulative_sum(z, axis=0, include_initial=True), Z)],
    "cumulative_prod": [(lambda z: gt.cumulative_prod(z, axis=1), ZEROS)],
    "sort": [(lambda z: gt.sort(z, axis=0, descending=True), Z)],
    "flip": [(gt.flip, Z)],
    "roll": [(lambda z: gt.roll(z, 1, axis=0), Z)],
    "tile": [(lambda z: gt.tile(z, (2, 1)), Z)],
    "repeat": [(lambda z: gt.repeat(z, 2, axis=1), Z)],
    "pad": [(lambda z: gt.pad(z, 1, constant_values=1j), Z)],
    "tril": [(lambda z: gt.tril(z) - 2j * gt.triu(z), Z)],
    "convolve": [(gt.convolve, values(4), values(3)), (gt.convolve, values(4), X[0])],
    "sigmoid": [(gt.sigmoid, Z)],
    "where": [(lambda z, x: gt.where(gt.asarray(X > 0.8), z, x), Z, X)],
    "sum": [(lambda z: gt.sum(z, axis=0), Z)],
    "mean": [(lambda z: gt.mean(z, axis=1, keepdims=True), Z)],
    "var": [(lambda z: gt.var(z, axis=0), Z), (gt.std, Z)],
    "astype": [(lambda x: gt.astype(x, gt.complex128), X)],
    "reshape": [(lambda z: gt.reshape(z, (2, -1)), Z)],
    "permute_dims": [(lambda z: z.T, Z)],
    "broadcast_to": [(lambda z: gt.broadcast_to(z, (2, 3, 4)), Z)],
    "concat": [(lambda z, x: gt.concat([z, x]), Z, X)],
    "getitem": [
        (lambda z: z[:, ::-2], Z),
        (lambda z: z[[0, 2, 0]], Z),
        (lambda z: z[1, [0, 2, 0]], Z),
    ],
    "index_add": [(lambda z: gt.index_add((4,), [0, 2, 0], z), values(3))],
    "index_put": [(lambda z: gt.index_put((4,), slice(1, 4), z), values(3))],
    "matmul": [
        (gt.matmul, Z, values(4, 2)),
        (gt.matmul, X, values(4)),
        (gt.matmul, values(4), values(4)),
        (gt.matmul, values(2, 3, 4), X.T),
    ],
    "einsum": [
        (lambda x, y: gt.einsum("ij,kj->ik", x, y), Z, X),
        (lambda x: gt.einsum("ii->i", x), values(3, 3)),
        (lambda x, y: gt.einsum("ij,k->j", x, y), X, values(2)),
    ],
    # The order is NumPy's: by real parts.
    "maximum": [(gt.maximum, Z, W), (gt.minimum, Z, X)],
    "max": [(lambda z: gt.max(z, axis=0), Z), (gt.min, Z)],
    "relu": [(gt.relu, Z)],
    "dense": [(lambda z, w, b: gt.nn.functional.dense(z, w, b, "tanh"), Z, W.T, values(3))],
    "softmax": [(gt.softmax, Z), (gt.log_softmax, Z)],
    "logsumexp": [(lambda z: gt.logsumexp(z, axis=1), Z)],
    "identity": [(lambda z: gt.grad(lambda v: gt.sum(gt.square(gt.abs(v) + 1)))(z), Z)],
    "to": [(lambda z: z.to("cpu") * 2j, Z)],
}
CHECKS = [
    pytest.param(function, inputs, id=f"{name}-{i}")
    for name, cases in CASES.items()
    for i, (function, *inputs) in enumerate(cases)
]


@pytest.mark.parametrize(("function", "inputs"), CHECKS)
def test_gradient_equals_finite_differences(function, inputs):
    assert gt.gradcheck(function, *map(leaf, inputs))


@pytest.mark.parametrize(("function", "inputs"), CHECKS)
def test_second_derivative_equals_finite_differences(function, inputs):
    gradients = test_linalg.gradients_of(function, len(inputs))
    assert gt.gradcheck(gradients, *map(leaf, inputs), eps=1e-5, atol=1e-4)


# What has no complex form; `astype` is to a real dtype there.
REAL_ONLY = {
    *("astype", "atan2", "binary_cross_entropy_with_logits", "cbrt", "ceil", "clip", "copysign"),
    *("cross_entropy", "digamma", "erf", "erfc", "erfinv", "fabs", "floor", "floor_divide"),
    *("gammaln", "hypot", "logaddexp", "polygamma", "remainder", "softplus", "trunc"),
}
GELU = {0, 4}  # cases of bias_activation with an error function


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", test_ops.CASES)
def test_every_operation_takes_complex_numbers_or_refuses(name):
    for i, (function, *inputs) in enumerate(test_ops.CASES[name]):
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
