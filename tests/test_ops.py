"""Every operation: values, gradients, higher derivatives, shapes, bad input."""

import math
import warnings

import array_api_strict
import autograd.numpy as anp
import numpy as np
import pytest
from autograd import elementwise_grad
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import gputensor as gt
from cases import REAL, X
from checks import double_leaf as leaf

RNG = np.random.default_rng(7)


def array(*shape, low=-2.0, high=2.0):
    return RNG.uniform(low, high, shape)


UNARY = {
    name: REAL[name][0][1]
    for name in [
        "negative",
        "abs",
        "square",
        "sqrt",
        "exp",
        "expm1",
        "log",
        "log1p",
        "log2",
        "log10",
        "sin",
        "cos",
        "tan",
        "sinh",
        "cosh",
        "tanh",
        "reciprocal",
    ]
}


@pytest.mark.parametrize("name", UNARY)
def test_gradient_equals_autograd(name):
    x = leaf(UNARY[name])
    getattr(gt, name)(x).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), elementwise_grad(getattr(anp, name))(UNARY[name]))


FLOATS = hnp.arrays(
    np.float64,
    hnp.array_shapes(max_dims=3, min_side=0, max_side=4),
    elements=st.floats(width=32),
)
STANDARD_UNARY = [
    "abs",
    "acos",
    "asin",
    "atan",
    "ceil",
    "cos",
    "cosh",
    "exp",
    "expm1",
    "floor",
    "isfinite",
    "isinf",
    "isnan",
    "log",
    "log1p",
    "log2",
    "log10",
    "negative",
    "positive",
    "round",
    "sign",
    "sin",
    "sinh",
    "sqrt",
    "square",
    "tan",
    "tanh",
    "trunc",
]
STANDARD_BINARY = [
    "add",
    "subtract",
    "multiply",
    "divide",
    "equal",
    "not_equal",
    "less",
    "less_equal",
    "greater",
    "greater_equal",
]


# CUDA's are a few units in the last place from NumPy's, which are no nearer to the truth.
ROUNDED = {
    *("acos", "asin", "atan", "cos", "cosh", "exp", "expm1", "log", "log1p", "log2", "log10"),
    *("sin", "sinh", "tan", "tanh"),
}


@pytest.mark.parametrize("name", STANDARD_UNARY)
@settings(deadline=None, max_examples=30)
@given(x=FLOATS)
def test_values_equal_array_api_strict(name, x):
    with np.errstate(all="ignore"):
        expected = getattr(array_api_strict, name)(array_api_strict.asarray(x))
        found = getattr(gt, name)(gt.asarray(x))
    if name in ROUNDED and found.device != "cpu":
        np.testing.assert_allclose(found.numpy(), np.asarray(expected), rtol=2e-15, atol=0)
    else:
        np.testing.assert_array_equal(found.numpy(), np.asarray(expected))
    assert found.dtype == np.asarray(expected).dtype


@pytest.mark.parametrize("name", STANDARD_BINARY)
@settings(deadline=None, max_examples=30)
@given(
    shapes=hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3), data=st.data()
)
def test_broadcasting_equals_array_api_strict(name, shapes, data):
    x, y = (
        data.draw(hnp.arrays(np.float64, s, elements=st.floats(-10, 10)))
        for s in shapes.input_shapes
    )
    with np.errstate(all="ignore"):
        expected = getattr(array_api_strict, name)(
            array_api_strict.asarray(x), array_api_strict.asarray(y)
        )
        found = getattr(gt, name)(gt.asarray(x), gt.asarray(y))
    np.testing.assert_array_equal(found.numpy(), np.asarray(expected))


@settings(deadline=None, max_examples=50)
@given(
    shapes=hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3), data=st.data()
)
def test_gradients_of_broadcast_operands_are_summed(shapes, data):
    x, y = (
        leaf(data.draw(hnp.arrays(np.float64, s, elements=st.floats(-3, 3))))
        for s in shapes.input_shapes
    )
    (x * y).sum().backward()
    whole = np.broadcast_shapes(x.shape, y.shape)
    for mine, other in ((x, y), (y, x)):
        spread = np.broadcast_to(other.detach().numpy(), whole)
        extra = tuple(range(len(whole) - mine.ndim))
        kept = spread.sum(axis=extra)
        ones = tuple(i for i, n in enumerate(mine.shape) if n == 1)
        np.testing.assert_allclose(
            mine.grad.numpy(), kept.sum(axis=ones, keepdims=True), atol=1e-12
        )


@pytest.mark.parametrize("name", ["sum", "mean", "max", "min", "any", "all"])
@pytest.mark.parametrize("axis", [None, 0, -1, (0, 2), ()])
@pytest.mark.parametrize("keepdims", [False, True])
def test_reductions_equal_numpy(name, axis, keepdims):
    x = array(2, 3, 4)
    found = getattr(gt, name)(gt.asarray(x), axis=axis, keepdims=keepdims)
    np.testing.assert_allclose(
        found.numpy(), getattr(np, name)(x, axis=axis, keepdims=keepdims), rtol=1e-12
    )


def test_variance_and_standard_deviation_equal_numpy():
    x = gt.asarray(X)
    np.testing.assert_allclose(x.var(axis=0).numpy(), X.var(axis=0))
    np.testing.assert_allclose(x.std(axis=1, correction=1).numpy(), X.std(axis=1, ddof=1))


@pytest.mark.parametrize("name", ["argmax", "argmin"])
@pytest.mark.parametrize("axis", [None, 0, -1])
def test_argmax_and_argmin_equal_numpy(name, axis):
    assert (
        getattr(gt, name)(gt.asarray(X), axis=axis).numpy() == getattr(np, name)(X, axis=axis)
    ).all()
    kept = getattr(gt, name)(gt.asarray(X), axis=axis, keepdims=True)
    assert kept.shape == getattr(np, name)(X, axis=axis, keepdims=True).shape


def test_ties_share_the_gradient():
    x = leaf([1.0, 3.0, 3.0])
    x.max().backward()
    assert x.grad.tolist() == [0, 0.5, 0.5]
    a, b = leaf([2.0]), leaf([2.0])
    gt.maximum(a, b).backward()
    assert (a.grad.item(), b.grad.item()) == (0.5, 0.5)


def test_relu_is_flat_at_zero():
    x = leaf([-1.0, 0.0, 2.0])
    gt.relu(x).sum().backward()
    assert x.grad.tolist() == [0, 0, 1]


@pytest.mark.parametrize("function", [gt.relu, gt.tanh, gt.max, gt.sum, gt.softmax, gt.logsumexp])
def test_nan_is_not_hidden(function):
    x = leaf([1.0, math.nan, 2.0])
    out = function(x)
    assert np.isnan(out.detach().numpy()).any()


def test_gradient_passes_where_relu_is_nan():
    x = leaf([math.nan])
    gt.relu(x).backward(gt.tensor([3.0], dtype=gt.float64))
    assert x.grad.item() == 3


def test_gradient_of_max_goes_to_the_nan():
    x = leaf([1.0, math.nan, 2.0])
    x.max().backward()
    assert x.grad.tolist() == [0, 1, 0]


def test_infinite_gradient_of_sqrt_at_zero_stays():
    x = leaf([0.0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gt.sqrt(x).backward()
    assert x.grad.item() == math.inf


@pytest.mark.filterwarnings("ignore:divide by zero encountered in log:RuntimeWarning")
def test_power_at_zero():
    x, y = leaf([0.0, 0.0]), leaf([0.0, 2.0])
    (x**y).sum().backward()
    assert x.grad.tolist() == [0, 0]
    assert y.grad.tolist()[1] == 0


@pytest.mark.filterwarnings("ignore:divide by zero encountered in log:RuntimeWarning")
@pytest.mark.parametrize("x", [-800.0, 800.0, -math.inf, math.inf])
def test_sigmoid_and_logsumexp_do_not_overflow(x):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert gt.sigmoid(gt.tensor(x)).item() == (x > 0)
    assert gt.logsumexp(gt.tensor([x, x / 2 if math.isfinite(x) else x])).item() == max(
        x, x / 2 if math.isfinite(x) else x
    )


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (
            lambda x: x + gt.ones(5),
            gt.errors.ShapeError,
            r"add: operands of shape \(3, 4\), \(5,\)",
        ),
        (lambda x: x @ gt.ones((3, 2)), gt.errors.ShapeError, "matmul"),
        (lambda x: gt.sum(x, axis=2), gt.errors.ShapeError, "sum: axis 2 is out of range"),
        (lambda x: gt.mean(x, axis=(0, 0)), gt.errors.ShapeError, "names an axis twice"),
        (lambda x: gt.reshape(x, (5, 5)), gt.errors.ShapeError, "reshape"),
        (lambda x: gt.permute_dims(x, (0,)), gt.errors.ShapeError, "must name each axis"),
        (lambda x: gt.expand_dims(x, 5), gt.errors.ShapeError, "axis 5 is out of range"),
        (lambda x: gt.squeeze(x, 0), gt.errors.ShapeError, "does not have length 1"),
        (lambda x: gt.concat([]), gt.errors.ShapeError, "empty"),
        (lambda x: gt.concat([x, gt.ones((2, 2))]), gt.errors.ShapeError, "concat"),
        (lambda x: gt.stack([x, gt.ones(2)]), gt.errors.ShapeError, "one shape"),
        (lambda x: x[5], IndexError, "out of bounds"),
        (lambda x: x[gt.ones(3)], gt.errors.DTypeError, "integers or bool"),
        (lambda x: gt.max(gt.zeros((0, 3)), axis=0), gt.errors.ShapeError, "zero elements"),
        (lambda x: gt.argmax(gt.zeros(0)), gt.errors.ShapeError, "zero elements"),
        (lambda x: gt.einsum("ij,jk", x), gt.errors.ShapeError, "names 2 operands, 1 were given"),
        (lambda x: gt.einsum("ijk->i", x), gt.errors.ShapeError, "do not fit an operand"),
        (lambda x: gt.einsum("ij->ijk", x), gt.errors.ShapeError, "must name letters"),
        (lambda x: gt.einsum("ij,jk->ik", x, gt.ones((3, 2))), gt.errors.ShapeError, "einsum"),
        (lambda x: gt.clip(x, 2, 1), ValueError, "min is 2, above max 1"),
        (lambda x: x + "a", TypeError, "unsupported operand"),
        (lambda x: gt.add(x, "a"), TypeError, "not str"),
        (lambda x: gt.exp(None), TypeError, "not NoneType"),
        (lambda x: gt.ones((2, 3, 4)).T, gt.errors.ShapeError, r"\.mT"),
        (lambda x: gt.astype(x, "U3"), gt.errors.DTypeError, "not supported"),
        (lambda x: gt.arange(0, 3, 0), ValueError, "step is 0"),
        (lambda x: gt.zeros((-1, 2)), gt.errors.ShapeError, r"\(-1, 2\) has a negative"),
        (lambda x: gt.full((2, -3), 1.0), gt.errors.ShapeError, "full: shape .* negative"),
        (lambda x: gt.tensor([[1, 2], [3]]), gt.errors.ShapeError, "uneven"),
        (lambda x: gt.tensor(["a"]), gt.errors.DTypeError, "not supported"),
        (lambda x: gt.tensor([1], requires_grad=True), gt.errors.DTypeError, "floating point"),
        (lambda x: bool(x), gt.errors.ShapeError, "ambiguous"),
        (lambda x: x.item(), gt.errors.ShapeError, "only one element"),
    ],
)
def test_bad_input_is_a_clear_error(call, kind, text):
    with pytest.raises(kind, match=text):
        call(gt.ones((3, 4)))


def test_zero_size_arrays_work():
    x = gt.zeros((0, 3), dtype=gt.float64)
    x.requires_grad = True
    out = (gt.exp(x) @ gt.ones((3, 2), dtype=gt.float64)).sum()
    out.backward()
    assert out.item() == 0
    assert x.grad.shape == (0, 3)


@pytest.mark.parametrize("view", [lambda a: a[::-1], lambda a: a[:, ::2], lambda a: a.T])
def test_strided_and_read_only_arrays_work(view):
    values = view(array(4, 4)).copy().astype(np.float64)
    strided = view(array(4, 4))
    strided[...] = values
    strided.flags.writeable = False
    x = gt.asarray(strided)
    np.testing.assert_array_equal((x * 2 + gt.abs(x)).numpy(), values * 2 + np.abs(values))


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        (1.5, "float32"),
        ([1.0, 2], "float32"),
        (3, "int64"),
        ([True], "bool"),
        (np.zeros(2), "float64"),
        ([np.float64(1)], "float64"),
        (np.zeros(2, np.float16), "float16"),
        (np.zeros(2, np.uint8), "uint8"),
        ([], "float32"),
    ],
)
def test_dtype_of_new_tensors(data, dtype):
    assert gt.tensor(data).dtype == dtype


def test_python_numbers_do_not_change_the_dtype():
    x = gt.ones(2, dtype=gt.float16)
    assert (x * 2 + 1.5).dtype == (2 / x).dtype == (x**2).dtype == gt.float16


def test_tensor_copies_and_asarray_shares():
    data = np.ones(3)
    copied, shared = gt.tensor(data), gt.asarray(data, device="cpu")
    data[0] = 5
    assert copied.tolist() == [1, 1, 1]
    assert shared.tolist() == [5, 1, 1]
    with pytest.raises(ValueError, match="copy=False"):
        gt.asarray([1.0], copy=False)


def test_creation_functions():
    assert gt.arange(5).tolist() == [0, 1, 2, 3, 4]
    assert gt.arange(1.0, 2.0, 0.5).dtype == gt.float32
    assert gt.linspace(0, 1, 3).tolist() == [0, 0.5, 1]
    assert gt.eye(2, 3, k=1).tolist() == [[0, 1, 0], [0, 0, 1]]
    assert gt.full((2,), 7).dtype == gt.int64
    assert gt.ones_like(gt.zeros((2, 1), dtype=gt.float64)).dtype == gt.float64
    assert gt.empty((2, 0)).shape == (2, 0)


def test_methods_and_operators():
    x = gt.tensor([[1.0, -2.0], [3.0, 4.0]])
    assert (-x).tolist() == [[-1, 2], [-3, -4]]
    assert abs(x).sum().item() == 10
    assert (x > 0).tolist() == [[True, False], [True, True]]
    assert (~(x > 0)).any().item()
    assert (x // 2).tolist() == [[0, -1], [1, 2]]
    assert (5 % gt.tensor(3)).item() == 2
    assert (x == x).all().item()
    assert (x == None) is False  # noqa: E711
    assert [row.tolist() for row in x] == x.tolist()
    assert x.reshape(4).shape == x.reshape((4,)).shape == x.flatten().shape == (4,)
    assert len(x) == 2


def test_numpy_arrays_are_operands_of_cpu_tensors():
    ones, index = np.ones((2, 2), np.float32), np.array([1, 0, 1])
    found = []
    for place in (np.asarray, lambda a: gt.asarray(a, device="cpu")):
        x = gt.tensor([[1.0, -2.0], [3.0, 4.0]], device="cpu", requires_grad=True)
        a, i, mask = place(ones), place(index), place(ones > 0)
        parts = [
            *(a @ x, x * a, gt.where(mask, x, a), x[i, i], x[mask], gt.take(x, i, axis=1)),
            gt.index_add((2,), i[:2], x[0]),
            gt.index_put((2,), i[:2], x[1]),
            gt.nn.functional.cross_entropy(x, i[:2]),
        ]
        gt.concat([gt.reshape(part, (-1,)) for part in parts]).sum().backward()
        found.append([part.tolist() for part in [*parts, x.grad]])
    assert found[0] == found[1]
    assert found[0][0] == [[4, 2], [4, 2]]
    assert found[0][3] == [4, 1, 4]


@pytest.mark.parametrize("reduce", [gt.sum, gt.mean, gt.max, gt.min, gt.var, gt.any, gt.logsumexp])
def test_reductions_take_lists_and_integer_axes(reduce):
    values = [[1.0, 2.0, 4.0], [0.0, 1.0, 3.0]]
    expected = reduce(gt.tensor(values), axis=1)
    np.testing.assert_array_equal(reduce(values, axis=np.int64(1)).numpy(), expected.numpy())
    with pytest.raises(TypeError, match=r"axis must be an int, a tuple of ints or None, got 1\.0"):
        reduce(values, axis=1.0)
    with pytest.raises(gt.errors.ShapeError, match=r"axis 0 .* shape \(\); it has no axes"):
        reduce(gt.tensor(1.0), axis=0)


@given(st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None)
def test_einsum_is_numpys(random):
    """Of up to four operands, with diagonals, letters of one alone, and axes that broadcast."""
    sizes = {c: random.choice((0, 1, 2, 2, 3)) for c in "abcde"}
    terms = ["".join(random.choices("abcde", k=random.randint(0, 4))) for _ in range(4)]
    terms = terms[: random.randint(1, 4)]
    arrays = []
    for term in terms:
        short = random.choice(term) if term and random.random() < 0.3 else ""
        arrays.append(array(*(1 if c == short else sizes[c] for c in term)))
    letters = sorted(set("".join(terms)))
    output = "".join(random.sample(letters, random.randint(0, len(letters))))
    subscripts = ",".join(terms) + "->" + output
    expected = np.einsum(subscripts, *arrays)
    leaves = [leaf(a) for a in arrays]
    found = gt.einsum(subscripts, *leaves)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-12, atol=1e-12)
    # It is linear in each operand: the gradient times the operand gives the result.
    weights = array(*expected.shape)
    found.backward(gt.tensor(weights))
    for x, a in zip(leaves, arrays, strict=True):
        assert (x.grad.numpy() * a).sum() == pytest.approx((expected * weights).sum(), abs=1e-9)
