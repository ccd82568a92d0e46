"""Options of functions that are given as tensors: numbers, or refused."""

import numpy as np
import pytest

import gputensor as gt
from gputensor.errors import GraphError

A = np.arange(1.0, 13).reshape(3, 4) / 7
S = np.array([[3.0, 1, 0], [1, 4, 1], [0, 1, 5]])
V = np.array([0.5, 2.0, 1.0])
I = np.array([2, 0, 1])  # noqa: E741
CUBE = np.arange(24.0).reshape(2, 3, 4)
F = gt.nn.functional
linalg, fft = gt.linalg, gt.fft


def t(values):
    return gt.tensor(values)


def pair(x):
    return [t(x), t(x)]


# Functions, what they are called with, and their options by name or, in a tuple, by position.
CALLS = [
    (gt.all, [A], {"axis": 1, "keepdims": True}),
    (gt.any, [A], {"axis": 1, "keepdims": True}),
    (gt.arange, [], (1, 10, 2)),
    (gt.arange, [], (1.0, 10.0, 2.5)),
    (gt.argmax, [A], {"axis": 1, "keepdims": True}),
    (gt.argmin, [A], {"axis": 1, "keepdims": True}),
    (gt.argsort, [A], {"axis": 0, "descending": True, "stable": True}),
    (gt.sort, [A], {"axis": 0, "descending": True, "stable": True}),
    (gt.bincount, [I], {"minlength": 5}),
    (gt.broadcast_to, [V], ((2, 3),)),
    (gt.convolve, [V, V], {"mode": "same"}),
    (gt.count_nonzero, [A], {"axis": 1, "keepdims": True}),
    (gt.cumprod, [A], {"axis": 1}),
    (gt.cumsum, [A], {"axis": 1}),
    (gt.cumulative_prod, [A], {"axis": 1, "include_initial": True}),
    (gt.cumulative_sum, [A], {"axis": 1, "include_initial": True}),
    (gt.diag, [V], {"k": 1}),
    (gt.diag, [A], {"k": 1}),
    (gt.diagonal, [CUBE], {"offset": 1, "axis1": 1, "axis2": 2}),
    (gt.diff, [A], {"axis": 0, "n": 2}),
    (gt.zeros, [], ((2, 3),)),
    (gt.ones, [], ((2, 3),)),
    (gt.full, [], ((2, 3), 2)),
    (gt.expand_dims, [A], {"axis": 1}),
    (gt.eye, [], (3, 4)),
    (gt.eye, [3], {"k": 1}),
    (gt.flip, [A], {"axis": 1}),
    (gt.linspace, [0.0, 1.0], {"num": 5, "endpoint": False}),
    (gt.log_softmax, [A], {"axis": 0}),
    (gt.softmax, [A], {"axis": 0}),
    (gt.logsumexp, [A], {"axis": 0, "keepdims": True}),
    (gt.max, [A], {"axis": 1, "keepdims": True}),
    (gt.min, [A], {"axis": 1, "keepdims": True}),
    (gt.mean, [A], {"axis": 1, "keepdims": True}),
    (gt.median, [A], {"axis": 1, "keepdims": True}),
    (gt.moveaxis, [CUBE], (0, 2)),
    (gt.nan_to_num, [[np.nan, np.inf, -np.inf]], {"nan": 1.5, "posinf": 2.5, "neginf": 3.5}),
    (gt.pad, [A, 1], {"constant_values": 2.5}),
    (gt.pad, [A], (((1, 2), (0, 1)),)),
    (gt.permute_dims, [A], ((1, 0),)),
    (gt.transpose, [A], ((1, 0),)),
    (lambda n: gt.polygamma(n, t(A)), [], (1,)),
    (gt.prod, [A], {"axis": 1, "keepdims": True}),
    (gt.sum, [A], {"axis": 1, "keepdims": True}),
    (gt.quantile, [A], (0.3,)),
    (gt.quantile, [A, 0.5], {"axis": 1, "keepdims": True}),
    (gt.repeat, [A, 2], {"axis": 1}),
    (gt.repeat, [A], (2,)),
    (gt.reshape, [A], ((4, 3),)),
    (gt.roll, [A], (1,)),
    (gt.roll, [A, 1], {"axis": 1}),
    (gt.segment_sum, [V, I], {"num_segments": 4}),
    (gt.split, [A], (2, 1)),
    (gt.squeeze, [A[None]], {"axis": 0}),
    (gt.std, [A], {"axis": 1, "correction": 1.5, "keepdims": True}),
    (gt.var, [A], {"axis": 1, "correction": 1.5, "keepdims": True}),
    (gt.var, [A], {"correction": 1}),
    (gt.swapaxes, [CUBE], (0, 2)),
    (gt.take, [A, I], {"axis": 0}),
    (gt.take_along_axis, [A, [[0, 1, 2, 0]]], {"axis": 0}),
    (gt.tensordot, [A, A.T], {"axes": 1}),
    (gt.tile, [A], ((2, 1),)),
    (gt.tile, [A], (2,)),
    (gt.topk, [A], (2, 1)),
    (gt.trace, [S], {"offset": 1, "axis1": 0, "axis2": 1}),
    (gt.tril, [S], {"k": 1}),
    (gt.triu, [S], {"k": 1}),
    (gt.unstack, [A], {"axis": 1}),
    (gt.vecdot, [A, A], {"axis": 0}),
    (lambda axis: gt.concat(pair(A), axis=axis), [], {"axis": 1}),
    (lambda axis: gt.stack(pair(A), axis=axis), [], {"axis": 1}),
    (linalg.cholesky, [S], {"upper": True}),
    (linalg.cross, [V, V], {"axis": -1}),
    (linalg.diagonal, [S], {"offset": 1}),
    (linalg.lstsq, [S, V], {"rcond": 1e-5}),
    (linalg.matrix_norm, [S], {"keepdims": True, "ord": 1}),
    (linalg.matrix_power, [S], (2,)),
    (linalg.matrix_rank, [S], {"rtol": 0.3}),
    (linalg.pinv, [S], {"rtol": 0.3}),
    (linalg.norm, [A], {"ord": 1, "axis": 1, "keepdims": True}),
    (linalg.norm, [V], (3,)),
    (linalg.solve_triangular, [S, V], {"trans": 1, "lower": True, "unit_diagonal": True}),
    (linalg.svd, [A], {"full_matrices": False}),
    (linalg.trace, [S], {"offset": 1}),
    (linalg.vector_norm, [A], {"axis": 1, "keepdims": True, "ord": 2.5}),
    (fft.fft, [A], {"n": 3, "axis": 0}),
    (fft.fftn, [A], {"s": (2, 3), "axes": (0, 1)}),
    (fft.rfft, [A], {"n": 3, "axis": 0}),
    (fft.fftfreq, [4], {"d": 0.5}),
    (fft.rfftfreq, [], (4,)),
    (fft.fftshift, [A], {"axes": 1}),
    (F.dropout, [A], {"p": 0.0, "training": True}),
    (F.cross_entropy, [A, I], {"label_smoothing": 0.1}),
    (F.layer_norm, [A, np.ones(4), np.zeros(4)], {"eps": 1e-3}),
    (F.rms_norm, [A, np.ones(4)], {"eps": 1e-3}),
]


def options():
    for function, args, given in CALLS:
        keys = range(len(given)) if isinstance(given, tuple) else given
        for key in keys:
            if not isinstance(given[key], str):
                name = getattr(function, "__name__", "")
                yield pytest.param(function, args, given, key, id=f"{name}-{key}-{given[key]}")


def called(function, args, given, key=None, value=None):
    operands = [t(a) if isinstance(a, (np.ndarray, list)) else a for a in args]
    if isinstance(given, tuple):
        listed = [value if k == key else v for k, v in enumerate(given)]
        return function(*operands, *listed)
    return function(*operands, **given | ({} if key is None else {key: value}))


def parts(x):
    return [part for item in x for part in parts(item)] if isinstance(x, (tuple, list)) else [x]


def assert_same(found, wanted):
    for a, b in zip(parts(found), parts(wanted), strict=True):
        assert isinstance(a.array, type(b.array))
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        np.testing.assert_array_equal(a.detach().cpu().numpy(), b.detach().cpu().numpy())


def of_tensors(value):
    return tuple(map(of_tensors, value)) if isinstance(value, tuple) else gt.tensor(value)


@pytest.mark.parametrize(("function", "args", "given", "key"), [*options()])
def test_an_option_may_be_a_tensor_or_numpys_number(function, args, given, key):
    value = given[key]
    wanted = called(function, args, given)
    as_float = isinstance(value, float)
    others = [np.float64(value)] if as_float else [np.asarray(value)]
    if isinstance(value, bool):
        others = [np.bool_(value)]
    if isinstance(value, tuple):
        others.append(of_tensors(value))
    for other in (gt.tensor(value, dtype="float64" if as_float else None), *others):
        assert_same(called(function, args, given, key, other), wanted)


@pytest.mark.parametrize(
    ("function", "args", "given", "key"),
    [case for case in options() if isinstance(case.values[2][case.values[3]], float)],
)
def test_an_option_that_requires_a_gradient_is_refused(function, args, given, key):
    if function in (linalg.matrix_rank, linalg.pinv):  # flat in their tolerance
        return
    value = gt.tensor(given[key], dtype="float64", requires_grad=True)
    with pytest.raises(GraphError, match=r"this option gets none; write \w+=x\.item\(\)"):
        called(function, args, given, key, value)
    with gt.no_grad():
        assert_same(called(function, args, given, key, value), called(function, args, given))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: gt.var(t(A), correction="a"), "var: correction must be a number, got 'a'"),
        (lambda: gt.var(t(A), correction=[1, 2]), r"var: correction must be one number, .*\(2,\)"),
        (lambda: gt.var(t(A), correction=None), "var: correction must be a number, got None"),
        (lambda: linalg.vector_norm(t(V), ord="fro"), "vector_norm: ord must be a number"),
        (lambda: gt.take(t(A), I, axis=gt.tensor(0.5)), "take: axis must be an int, got tensor"),
        (lambda: gt.topk(t(V), 1.5), "topk: k must be an int, got 1.5"),
        (lambda: gt.diff(t(V), n=gt.tensor([1, 2])), "diff: n must be an int, got tensor"),
        (lambda: gt.sum(t(A), axis=gt.tensor([0, 1])), "sum: axis must be an int, a tuple of"),
        (lambda: gt.zeros(gt.tensor([2.5])), "zeros: shape must hold ints"),
    ],
)
def test_errors_name_the_option(call, text):
    with pytest.raises(TypeError, match=text):
        call()


def test_numpys_numbers_do_not_change_the_dtype():
    x = gt.tensor([1.0, 2.0, 4.0])
    for one in (np.float64(1), gt.tensor(1.0, dtype="float64"), gt.tensor(1)):
        assert gt.var(x, correction=one).dtype == gt.std(x, correction=one).dtype == gt.float32
        assert np.var(x, ddof=one).dtype == gt.float32
        assert linalg.vector_norm(x, ord=one).dtype == gt.float32


# ---------------------------------------------------------------- integers


@pytest.mark.parametrize("kind", [int, gt.asarray, np.int64, np.asarray])
def test_integers_make_a_range_of_integers(kind):
    found = gt.arange(kind(16_777_216), kind(16_777_220))
    assert found.dtype == gt.int64
    assert found.tolist() == [16_777_216 + i for i in range(4)]
    assert gt.arange(kind(4)).dtype == gt.int64
    assert gt.arange(0, kind(4), 0.5).dtype == gt.float32
    assert gt.arange(kind(4), dtype=gt.float64).dtype == gt.float64


# ---------------------------------------------------------------- ends of a line


@pytest.mark.cpu
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "complex128"])
@pytest.mark.parametrize("options", [{}, {"endpoint": False}, {"num": 1}, {"num": 0}])
def test_linspace_of_tensors_is_numpys(dtype, options):
    start, stop = np.array([0, 3], dtype), np.array(7, dtype)
    options = {"num": 5} | options
    for a, b in ((start, stop), (start, 7), (0, start), (start[0], stop)):
        wanted = np.linspace(a, b, **options)
        ends = [gt.asarray(e) if hasattr(e, "dtype") else e for e in (a, b)]
        for found in (gt.linspace(*ends, **options), np.linspace(*ends, **options)):
            assert found.dtype == (wanted.dtype if dtype != "float32" else gt.float32)
            np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-6)
    assert np.linspace(gt.asarray(start), 7, 5, axis=1).shape == (2, 5)
    assert np.linspace(gt.asarray(start), 7).shape == (50, 2)


def test_linspace_of_tensors_has_gradients():
    start = gt.tensor([0.5, 2.0], dtype="float64", requires_grad=True)
    stop = gt.tensor(3.0, dtype="float64", requires_grad=True)
    for endpoint in (True, False):
        assert gt.gradcheck(lambda a, b, e=endpoint: gt.linspace(a, b, 4, endpoint=e), start, stop)
    assert gt.linspace(start, stop, 3).device == start.device
    found = gt.linspace(gt.tensor(0), gt.tensor(10), 4, dtype=gt.int64)
    assert found.tolist() == [0, 3, 6, 10]
    with pytest.raises(gt.errors.ShapeError, match="linspace: num is -1"):
        gt.linspace(start, stop, -1)


# ---------------------------------------------------------------- random numbers

DRAWS = [
    ("normal", (0.5, 1.5), (2, 3)),
    ("uniform", (0.0, 2.0), (2, 3)),
    ("gamma", (2.0, 1.5), (2, 3)),
    ("bernoulli", (0.3,), (2, 3)),
    ("integers", (0, 10), (2, 3)),
    ("permutation", (5,), None),
    ("choice", (5,), (4,)),
]


@pytest.mark.parametrize(("name", "args", "shape"), DRAWS)
def test_options_of_random_numbers_may_be_tensors(name, args, shape):
    def draw(args, shape):
        given = {} if shape is None else {"shape": shape}
        return getattr(gt.random.Generator(0), name)(*args, **given).tolist()

    wanted = draw(args, shape)
    assert draw([gt.tensor(a) for a in args], shape) == wanted
    if shape is not None:
        assert draw(args, gt.tensor(shape)) == wanted
        assert draw(args, tuple(gt.tensor(n) for n in shape)) == wanted
        with pytest.raises(TypeError, match=f"{name}: shape must hold ints"):
            draw(args, gt.tensor([2.5]))
