"""NumPy's protocols, copies and pickles of tensors, and other libraries."""

import copy
import importlib
import inspect
import pickle
import subprocess
import sys

import numpy as np
import pytest

import gputensor as gt
from checks import leaf
from gputensor import interop, ops
from gputensor.keras.layers import Dense
from gputensor.keras.models import Sequential

RNG = np.random.default_rng(5)
A = RNG.uniform(0.5, 2, (3, 4))
B = RNG.uniform(0.5, 2, (3, 4))


CALLS = {
    "sin": lambda x, y, b: np.sin(x),
    "arctan2": lambda x, y, b: np.arctan2(x, y),
    "power": lambda x, y, b: np.power(x, y),
    "absolute": lambda x, y, b: np.abs(x - 1),
    "rint": lambda x, y, b: np.rint(x) + x,
    "array times tensor": lambda x, y, b: b * x,
    "array less tensor": lambda x, y, b: b - x,
    "array over tensor": lambda x, y, b: b / x,
    "array to tensor": lambda x, y, b: b**x,
    "number times tensor": lambda x, y, b: np.float64(2) * x,
    "scalar to tensor": lambda x, y, b: np.float64(2) ** x,
    "array at tensor": lambda x, y, b: b.T @ x,
    "matmul": lambda x, y, b: np.matmul(x, y.T),
    "dot": lambda x, y, b: np.dot(x, y.T) + np.dot(x, 2.0)[:, :3],
    "sum": lambda x, y, b: np.sum(x, axis=0),
    "sum by position": lambda x, y, b: np.sum(x, 0, None, None, True),
    "mean": lambda x, y, b: np.mean(x, axis=(0, 1), keepdims=True),
    "std": lambda x, y, b: np.std(x, axis=1, ddof=1),
    "var": lambda x, y, b: np.var(x, correction=0.5),
    "max": lambda x, y, b: np.max(x, 1),
    "clip": lambda x, y, b: np.clip(x, 0.7, 1.5) + np.clip(x, a_min=None, a_max=1),
    "concatenate": lambda x, y, b: np.concatenate((x, b, y), axis=1),
    "concatenate by position": lambda x, y, b: np.concatenate([b, x], 1),
    "concatenate flat": lambda x, y, b: np.concatenate([x, y], axis=None),
    "stack": lambda x, y, b: np.stack([x, y], axis=-1),
    "reshape": lambda x, y, b: np.reshape(x, (4, 3)),
    "transpose": lambda x, y, b: np.transpose(x) + np.transpose(y, (1, 0)),
    "permute_dims": lambda x, y, b: np.permute_dims(x, (1, 0)),
    "ravel": lambda x, y, b: np.ravel(x),
    "expand_dims": lambda x, y, b: np.expand_dims(x, 1),
    "squeeze": lambda x, y, b: np.squeeze(x[:, None]),
    "broadcast_to": lambda x, y, b: np.broadcast_to(x, (2, 3, 4)),
    "where": lambda x, y, b: np.where(x > 1, x, y),
    "take": lambda x, y, b: np.take(x, [2, 0], axis=1) + np.take(x, [2, 11]),
    "einsum": lambda x, y, b: np.einsum("ij,kj->ik", x, y),
    "round": lambda x, y, b: np.round(x) + x,
    "copy": lambda x, y, b: np.copy(x),
    "add.reduce": lambda x, y, b: np.add.reduce(x),
    "maximum.reduce": lambda x, y, b: np.maximum.reduce(x, axis=1, keepdims=True),
    "minimum.reduce": lambda x, y, b: np.minimum.reduce(x, None),
    "multiply.outer": lambda x, y, b: np.multiply.outer(x, y[0]),
    "subtract.outer": lambda x, y, b: np.subtract.outer(b, x),
    "tril": lambda x, y, b: np.tril(x),
    "norm": lambda x, y, b: np.linalg.norm(x, axis=1),
    "cumsum": lambda x, y, b: np.cumsum(x, axis=1),
    "prod": lambda x, y, b: np.prod(x, axis=0),
    "sort": lambda x, y, b: np.sort(x),
    "moveaxis": lambda x, y, b: np.moveaxis(x, 0, 1),
    "add.accumulate": lambda x, y, b: np.add.accumulate(x),
}


@pytest.mark.parametrize("name", CALLS)
def test_numpy_calls_give_tensors_on_the_tape(name):
    call = CALLS[name]
    other = B if gt.device() == "cpu" else gt.asarray(B)
    found = call(leaf(A), leaf(B), other)
    assert isinstance(found, gt.Tensor)
    expected = call(A, B, B)
    assert found.shape == np.shape(expected)
    assert found.dtype == np.asarray(expected).dtype
    np.testing.assert_allclose(found.detach().numpy(), expected)
    assert gt.gradcheck(lambda x: call(x, leaf(B), other), leaf(A))


def test_numpy_calls_stay_on_the_device(cupy):
    x = gt.tensor(A, device="cuda", requires_grad=True)
    mask = gt.tensor(A > 1, device="cuda")
    for call in (
        *(lambda x: np.sin(x), lambda x: np.add(x, 2.5), lambda x: np.float32(2) * x),
        *(lambda x: np.sum(x, axis=0), lambda x: np.concatenate([x, x]), np.transpose),
        *(lambda x: np.where(mask, x, 0.0), lambda x: np.multiply.outer(x, x), np.add.reduce),
    ):
        out = call(x)
        assert out.device == "cuda"
        assert out.requires_grad
    with pytest.raises(gt.errors.DeviceMismatchError, match=r"multiply.*\.to\("):
        A * x
    with pytest.raises(gt.errors.ImplicitTransferError, match=r"x\.numpy\(\)"):
        np.asarray(x.detach())
    assert np.shape(x) == (3, 4)
    assert np.allclose(x.detach(), x.detach())


def test_cupy_arrays_leave_operators_to_tensors(cupy):
    array = cupy.asarray(A)
    x = gt.tensor(B, device="cuda", requires_grad=True)
    for out in (array * x, array - x, array @ x.T, x + array):
        assert isinstance(out, gt.Tensor)
    (array * x).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), A)


def test_cupy_shares_memory(cupy):
    array = cupy.zeros((2, 3))
    x = gt.asarray(array)
    assert x.array is array
    x[0, 1] = 5
    assert array.get()[0, 1] == 5
    view = cupy.asarray(x)  # by __cuda_array_interface__
    view[1] = 7
    assert x[1].tolist() == [7, 7, 7]
    assert x.__cuda_array_interface__["shape"] == (2, 3)
    x.requires_grad = True
    with pytest.raises(gt.errors.GraphError, match=r"x\.detach\(\)"):
        cupy.asarray(x)


@pytest.mark.cpu
def test_only_cuda_tensors_have_a_cuda_array_interface():
    assert not hasattr(gt.ones(2, device="cpu"), "__cuda_array_interface__")


@pytest.mark.cpu
def test_questions_have_plain_answers():
    x, y = gt.tensor(A), gt.tensor(B)
    assert np.allclose(x, A) is True
    assert np.allclose(x, y) is False
    assert np.array_equal(x, A) is True
    assert np.shares_memory(x, x.array) is True
    assert (np.shape(x), np.ndim(x), np.size(x), np.size(x, 1)) == ((3, 4), 2, 12, 4)
    assert not np.iscomplexobj(x)
    close = np.isclose(x, [A[0], B[1], A[2]])
    assert isinstance(close, gt.Tensor)
    assert close.tolist() == [[True] * 4, [False] * 4, [True] * 4]
    assert np.equal(A, x).all().item()
    for a, b in zip(np.where(x > 1), np.where(A > 1), strict=True):
        np.testing.assert_array_equal(a.numpy(), b)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("np.gcd", lambda x: np.gcd(x.astype(gt.int64), 2)),
        ("np.divmod", lambda x: np.divmod(x, 2)),
        ("np.histogram", lambda x: np.histogram(x)),
        ("np.linalg.cond", lambda x: np.linalg.cond(x)),
        ("np.subtract.reduce", lambda x: np.subtract.reduce(x)),
        ("np.apply_along_axis", lambda x: np.apply_along_axis(np.sum, 0, x)),
        ("np.vander", lambda x: np.vander(x[0])),
        ("np.logspace", lambda x: np.logspace(0, x[0], 3)),
    ],
)
def test_what_is_unknown_is_refused(name, call):
    with pytest.raises(TypeError, match=rf"^{name} .*{name}\(x\.detach\(\)\.numpy\(\)\)"):
        call(gt.ones((3, 3)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: np.exp(x, where=np.ones(3, bool)), r"np\.exp: where=.*gt\.where"),
        (lambda x: np.exp(x, dtype="f8"), r"np\.exp: dtype=.*astype"),
        (lambda x: np.exp(x, out=np.ones(3)), r"np\.exp: out is a ndarray"),
        (lambda x: np.sum(x, out=np.ones(())), r"np\.sum: out is a ndarray"),
        (lambda x: np.add.at(x, 0, 1.0), r"np\.add\.at.*gt\.index_add"),
        (lambda x: np.add.reduceat(x, [0, 1]), r"np\.add\.reduceat cannot"),
        (lambda x: np.reshape(x, (3, 1), order="F"), r"np\.reshape: order=.*allowed are shape"),
        (lambda x: np.round(x, 2), r"np\.round: decimals="),
        (lambda x: np.var(x, where=[True, False, True]), r"np\.var: where=.*allowed are axis"),
        (lambda x: np.max(x.astype(gt.int64), initial=0.5), r"np\.max: initial is float, .* int64"),
        (lambda x: np.add.reduce(x, where=[1, 0, 1]), r"np\.add\.reduce: where must be of bools"),
        (lambda x: np.copy(x, order="Q", extra=1), r"extra"),
        (lambda x: np.copyto(np.ones(3), x), r"np\.copyto .*write y\[\.\.\.\] = x.*gt\.full"),
        (lambda x: np.put(np.ones(3), 0, x), r"np\.put .*write gt\.index_set\(y, key, x\)"),
        (lambda x: np.squeeze(x, 0, 1), r"squeeze\(\) takes"),
        (lambda x: np.take(x, [0], mode="clip"), r"np\.take: mode=.*allowed are indices, axis"),
        (lambda x: np.frompyfunc(lambda v: v, 1, 1)(x), "no counterpart"),
    ],
)
def test_options_that_cannot_be_are_refused(call, message):
    with pytest.raises(TypeError, match=message):
        call(gt.ones(3))


def test_a_foreign_ufunc_of_a_known_name_is_not_mistaken():
    impostor = np.frompyfunc(lambda x: x, 1, 1)
    assert impostor.__name__.startswith("<lambda>") or impostor.__name__
    sin = np.frompyfunc(type("sin", (), {"__call__": lambda self, v: v, "__name__": "sin"})(), 1, 1)
    with pytest.raises(TypeError, match="no counterpart"):
        sin(gt.ones(2))


def test_out_may_be_a_tensor():
    x, out = gt.tensor([1.0, 2.0]), gt.zeros(2)
    assert np.add(x, 1.0, out=out) is out
    assert out.tolist() == [2, 3]
    total = gt.zeros(())
    assert np.sum(x, out=total) is total
    assert total.item() == 3


@pytest.mark.cpu
def test_an_array_does_not_take_a_tensor_in_place():
    array = A.copy()
    with pytest.raises(TypeError, match=r"x = x \+ t"):
        array += gt.ones((3, 4), device="cpu")
    np.testing.assert_array_equal(array, A)


@pytest.mark.cpu
def test_scipy_ufuncs():
    special = importlib.import_module("scipy.special")
    x = leaf(A)
    for name in ("erf", "expit", "gammaln", "digamma"):
        out = getattr(special, name)(x)
        assert out.requires_grad
        np.testing.assert_allclose(out.detach().numpy(), getattr(special, name)(A), rtol=1e-12)
    with pytest.raises(TypeError, match=r"^scipy\.special\.j0 has no counterpart"):
        special.j0(x)


def test_refusals_say_what_to_write():
    x = leaf(A)
    with pytest.raises(TypeError, match=r"^np\.piecewise .* write gt\.select\(conditions, "):
        np.piecewise(x, [x < 1], [lambda u: -u, 1])
    with pytest.raises(TypeError, match=r"^np\.putmask has no .*; write gt\.where\(mask, x, y\)"):
        np.putmask(x, x < 1, x)


def test_ravel_is_a_view_of_what_is_in_order():
    x = gt.tensor(A)
    assert np.shares_memory(x.ravel().cpu().numpy(), x.cpu().numpy()) is (x.device == "cpu")
    np.testing.assert_array_equal(x.T.ravel().cpu().numpy(), A.T.ravel())
    assert gt.gradcheck(lambda t: t.T.ravel() * 2, leaf(A))


def test_every_name_in_the_tables_is_one_of_numpys():
    special = importlib.import_module("scipy.special")
    for name in (*interop.NAMES, *interop._REDUCTIONS, *interop._ACCUMULATIONS, *interop._OWN):
        assert hasattr(np, name) or hasattr(special, name), name
    same = [n for n in ops.__all__ if isinstance(getattr(np, n, None), np.ufunc)]
    assert len(same) > 50  # found without being listed


# Arguments that most functions find something among, and values of their options.
ROW, WHOLE, TRUE = A[0], RNG.integers(0, 3, (3, 4)), A > 1
ARGUMENTS = [
    *((A - 1,), (ROW,), (WHOLE,), (TRUE,), (A + 1j * B,), (A[:, :3] @ A[:, :3].T,)),
    *(
        (A - 1, B),
        (A, 1),
        (ROW, B[0]),
        (A, B[0]),
        (A, 0.5),
        (A, (12,)),
        (A, WHOLE[0]),
        (ROW, [0, 1]),
    ),
    *(([A, B],), (TRUE, A, B), (A, 0, 1), ("ij,kj->ik", A, B), (ROW, np.sort(ROW), B[0])),
    *(([TRUE], [A]), (WHOLE[0], B[0]), (A, ROW, 3)),
]
OPTIONS = {
    "axis": [0, 1, -1, None, (0, 1)],
    "axes": [(1, 0), 1],
    "casting": ["same_kind", "unsafe"],
    "copy": [True, False],
    "correction": [1],
    "ddof": [1],
    "decimals": [1],
    "dtype": ["float32", np.float32],
    "endpoint": [False],
    "equal_nan": [True],
    "fill_value": [2.5],
    "full_matrices": [False],
    "indexing": ["ij", "xy"],
    "initial": [0, 3.5, None],
    "keepdims": [True, False],
    "k": [1],
    "kind": ["stable", "quicksort"],
    "left": [0.5],
    "min": [0.7],
    "max": [1.2],
    "method": ["nearest"],
    "minlength": [10],
    "mode": ["wrap", "raise", "same", "full", "constant", "reduced"],
    "n": [2],
    "nan": [1.0],
    "norm": ["ortho"],
    "num": [4],
    "offset": [1],
    "optimize": [True],
    "ord": [1, np.inf],
    "order": ["C", "F", "A", "K"],
    "out": [None],
    "retstep": [True],
    "rtol": [0.1],
    "side": ["right"],
    "stable": [True, False],
    "subok": [True, False],
    "upper": [True],
    "where": [True, TRUE, [True, False, True, True]],
}
METHODS = ("reduce", "accumulate", "outer", "reduceat", "at")
OTHER = {
    "np.angle",  # of bools it is float16, as is atan2
    "np.argsort",  # NumPy's puts equal elements in any order
    "np.array_repr",
    "np.array_str",
    "np.empty_like",
    "np.gradient",  # which is also given coordinates that are equal; see test_edges.py
    "np.linalg.eig",  # always complex
    "np.linalg.eigvals",
    "np.linalg.lstsq",  # the rank is int64
    "np.logaddexp.reduce",  # bools become float64
    "np.unique_values",  # NumPy's are in no order
}


def parts(x):
    """Arrays in a result."""
    if isinstance(x, (tuple, list)):
        return [part for item in x for part in parts(item)]
    return [x.numpy() if isinstance(x, gt.Tensor) else np.asarray(x)]


def all_of_numpy():
    """NumPy's functions that ask tensors, and methods of ufuncs, by the names in errors."""
    found = {}
    for module in (np, np.linalg, np.fft):
        for function in map(module.__dict__.get, sorted(vars(module))):
            if not isinstance(function, np.ufunc) and not hasattr(function, "_implementation"):
                continue
            path = f"{module.__name__.replace('numpy', 'np')}.{function.__name__}"
            found[path] = function
            if isinstance(function, np.ufunc):
                found |= {f"{path}.{method}": getattr(function, method) for method in METHODS}
    return {name: function for name, function in found.items() if name not in OTHER}


NUMPY = all_of_numpy()


def options_of(name, function):
    if isinstance(function, np.ufunc):
        keys = ["where", "dtype", "casting", "order", "subok", "axis", "keepdims"]
    elif name.endswith(METHODS):
        keys = ["axis", "dtype", "keepdims", "initial", "where"]
    else:
        keys = list(inspect.signature(function).parameters)
    yield {}
    yield from ({key: value} for key in keys for value in OPTIONS.get(key, ()))
    if name.endswith(".reduce"):
        yield from ({"initial": 2, "where": TRUE, "axis": axis} for axis in (0, None))


def as_tensors(x):
    if isinstance(x, list):
        return [as_tensors(item) for item in x]
    return gt.asarray(x) if isinstance(x, np.ndarray) else x


@pytest.mark.cpu
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NUMPY)
def test_numpys_functions_agree_or_are_refused_by_name(name, tmp_path, monkeypatch):
    """With every option."""
    monkeypatch.chdir(tmp_path)  # some write files
    function = NUMPY[name]
    for args in ARGUMENTS:
        if isinstance(args[0], list) and not hasattr(function, "_implementation"):
            continue  # ufuncs do not look into lists
        for options in options_of(name, function):
            given = copy.deepcopy(args)  # what is changed in place, or an out
            try:
                wanted = function(*given, **options)
            except Exception:  # not arguments for it
                continue
            given = tuple(map(as_tensors, copy.deepcopy(args)))
            try:
                found = function(*given, **options)
            except (TypeError, ValueError, IndexError) as error:
                refused = str(error) if type(error) is TypeError else function.__name__
            else:
                refused = ""
            if refused:
                assert function.__name__ in refused
                assert "lambda" not in refused
                continue
            for a, b in zip(parts(found), parts(wanted), strict=True):
                assert a.shape == b.shape
                if not any(type(x) in (int, float) for x in args):  # of which we make float32
                    assert a.dtype == b.dtype
                if b.dtype.kind not in "OMm":
                    np.testing.assert_allclose(a, b, 1e-6, 1e-12)


def test_most_of_numpys_functions_have_a_counterpart():
    names = [n for n, f in NUMPY.items() if hasattr(f, "_implementation")]
    known = [n for n in names if interop._OWN.get(n[3:]) or interop._function(n.split(".")[1:])]
    assert len(known) > 120


# ---------------------------------------------------------------- what reductions begin with

SOME = np.array([True, False, True, True])
REDUCED = [
    (lambda x: np.maximum.reduce(x, initial=0), np.maximum.reduce(A - 3, initial=0)),
    (lambda x: np.max(x, initial=0, axis=1), np.max(A - 3, initial=0, axis=1)),
    (lambda x: np.amin(x, initial=-2.5), np.min(A - 3, initial=-2.5)),
    (lambda x: np.add.reduce(x, initial=3), np.add.reduce(A - 3, initial=3)),
    (lambda x: np.sum(x, where=TRUE), np.sum(A - 3, where=TRUE)),
    (lambda x: np.sum(x, where=gt.asarray(TRUE), axis=0), np.sum(A - 3, where=TRUE, axis=0)),
    (lambda x: np.sum(x, where=False), 0.0),
    (lambda x: np.prod(x, where=TRUE, initial=2), np.prod(A - 3, where=TRUE, initial=2)),
    (lambda x: np.max(x, where=TRUE, initial=-9), np.max(A - 3, where=TRUE, initial=-9)),
    (lambda x: np.logaddexp.reduce(x, 1, where=SOME), np.logaddexp.reduce(A - 3, 1, where=SOME)),
    (lambda x: np.max(x[:0], initial=-1.5, axis=0), np.full(4, -1.5)),
    (lambda x: np.max(x[:0], initial=7, keepdims=True), np.full((1, 1), 7.0)),
    (lambda x: np.any(x > -2, where=TRUE, axis=1), np.any(A > 1, where=TRUE, axis=1)),
    (lambda x: np.all(x > -2, where=TRUE), True),
]


@pytest.mark.parametrize(("call", "wanted"), REDUCED)
def test_reductions_take_initial_and_where(call, wanted):
    x = leaf(A - 3)
    found = call(x)
    assert (found.dtype, found.shape) == (np.asarray(wanted).dtype, np.shape(wanted))
    np.testing.assert_allclose(found.detach().cpu().numpy(), wanted)
    if found.dtype.kind == "f" and found.requires_grad:
        assert gt.gradcheck(call, x)


def test_what_a_reduction_begins_with_gets_a_gradient():
    x, first = leaf([1.0, 2.0]), leaf(5.0)
    total = np.sum(x, initial=first) + np.max(x, initial=first)
    total.backward()
    assert (x.grad.tolist(), first.grad.item()) == ([1, 1], 2)


def test_a_masked_reduction_without_a_first_value_is_refused():
    with pytest.raises(ValueError, match=r"np\.maximum\.reduce: where= needs initial="):
        np.maximum.reduce(gt.ones(3), where=gt.tensor([True, False, True]))
    with pytest.raises(gt.errors.ShapeError, match="zero elements"):
        np.max(gt.ones((0, 3)), axis=0)


# ---------------------------------------------------------------- comparisons of arrays

CLOSE = [
    *((1.0, 1.0), (1.0, 1.0 + 1e-6), (1.0, 1.1), (A, A), (A, A + 1e-9), (A, B), (A, 1.0)),
    *(([1.0, np.nan], [1.0, np.nan]), ([np.inf, -np.inf], [np.inf, np.inf]), (np.inf, 1.0)),
    *((2**60, 2**60 + 1), ([True, False], [True, True]), (np.uint8(3), np.uint8(5)), (1e-9, 0.0)),
    *((A + 1j, A + 1j), (1 + 1j, 1 - 1j), (np.zeros((0, 3)), 1.0), (np.float32(0.1), 0.1)),
]


@pytest.mark.cpu
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("x", "y"), CLOSE)
@pytest.mark.parametrize("options", [{}, {"rtol": 1e-3, "atol": 0.2}, {"equal_nan": True}])
def test_isclose_is_numpys(x, y, options):
    a, b = gt.asarray(np.asarray(x)), gt.asarray(np.asarray(y))
    wanted = np.isclose(x, y, **options)
    tolerances = {k: gt.tensor(v, dtype="float64") for k, v in options.items() if k != "equal_nan"}
    for first, second in ((a, b), (a, y), (x, b)):
        for given in (options, options | tolerances):
            for found in (np.isclose(first, second, **given), gt.isclose(first, second, **given)):
                assert isinstance(found, gt.Tensor)
                np.testing.assert_array_equal(found.numpy(), wanted)
            assert np.allclose(first, second, **given) is bool(wanted.all())
    assert gt.allclose(a, b, **options) is bool(wanted.all())
    assert bool(np.isclose(a, b).all()) is bool(np.isclose(x, y).all())
    equal_nan = options.get("equal_nan", False)
    same = np.array_equal(x, y, equal_nan=equal_nan)
    assert gt.array_equal(a, b, equal_nan=equal_nan) is same


@pytest.mark.cpu
def test_tolerances_alone_may_be_tensors():
    t = gt.tensor(1e-3)
    assert np.allclose([1.0], [1.0005], atol=t) is True
    assert np.isclose(A, A + 5e-4, rtol=0, atol=t).all()
    assert not np.allclose(A, A + 2e-3, rtol=0, atol=t)
    assert bool(np.isclose(gt.tensor(1.0), 1.0)) is True
    x = gt.tensor([1.0, 2.0], requires_grad=True)
    assert np.allclose(x, x * 1)


def test_closeness_on_the_default_device():
    x = gt.tensor([1.0, 2.0])
    assert gt.isclose(x, [1.0, 2.5]).tolist() == [True, False]
    assert gt.allclose(x, x)
    assert not gt.array_equal(x, [1.0])
    assert gt.array_equal(x, [1.0, 2.0])


# ---------------------------------------------------------------- copies


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint64", "float16", "float64", "complex64"])
@pytest.mark.parametrize("options", [{}, {"order": "C"}, {"order": "K"}, {"subok": True}])
def test_np_copy_is_a_copy_of_every_dtype(dtype, options):
    x = gt.tensor([1, 0], dtype=dtype)
    found = np.copy(x, **options)
    found[0] = found[1]
    assert (x.tolist(), found.dtype) == ([1, 0], x.dtype)
    y = leaf([1.0, 2.0])
    assert gt.grad(lambda y: np.copy(y, **options).sum())(y).tolist() == [1, 1]


@pytest.mark.cpu
@pytest.mark.parametrize("name", ["fabs", "rint", "deg2rad", "degrees"])
@pytest.mark.parametrize(
    "dtype", ["bool", "int8", "uint16", "int32", "int64", "float16", "float32"]
)
def test_functions_of_floats_have_numpys_dtypes(name, dtype):
    x = np.array([1, 0, 100], dtype)
    found, wanted = getattr(np, name)(gt.asarray(x)), getattr(np, name)(x)
    assert found.dtype == wanted.dtype
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-3)
    assert np.fabs(gt.tensor([-128], dtype="int8")).tolist() == [128]


def test_names_that_appear_later_are_found(monkeypatch):
    with pytest.raises(TypeError, match="no counterpart"):
        np.gcd(gt.ones(1), gt.ones(1))
    monkeypatch.setattr(ops, "gcd", lambda x, y, /: "found", raising=False)
    monkeypatch.setattr(ops, "__all__", [*ops.__all__, "gcd"])
    assert np.gcd(gt.ones(1), gt.ones(1)) == "found"


# ---------------------------------------------------------------- copies and pickles


@pytest.mark.parametrize("again", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_are_independent(again):
    x = gt.tensor([1.0, 2.0], requires_grad=True)
    (x * x).sum().backward()
    plain, number = gt.tensor([[1, 2]]), gt.tensor(2.5, dtype=gt.float64)
    other, *rest = again([x, x, plain, number])
    assert rest[0] is other
    assert other.requires_grad
    assert (other.tolist(), other.grad.tolist()) == ([1, 2], [2, 4])
    assert not np.shares_memory(
        gt.device("cpu") == x.device and other.array, x.detach().cpu().array
    )
    (other * 3).sum().backward()
    assert other.grad.tolist() == [5, 7]
    assert x.grad.tolist() == [2, 4]
    for a, b in zip(rest[1:], (plain, number), strict=True):
        assert not a.requires_grad
        assert (a.tolist(), a.dtype, a.device) == (b.tolist(), b.dtype, b.device)


@pytest.mark.parametrize("again", [copy.deepcopy, pickle.dumps])
def test_computed_tensors_are_not_copied_whole(again):
    x = gt.tensor([1.0], requires_grad=True)
    y = x
    for _ in range(3000):  # a deep graph would take a deep recursion
        y = y + 1
    with pytest.raises(gt.errors.GraphError, match=r"x\.detach\(\)"):
        again(y)
    assert copy.deepcopy(y.detach()).item() == 3001


def test_a_shallow_copy_is_at_the_same_place_of_the_tape():
    x = gt.tensor([1.0, 2.0], requires_grad=True)
    (copy.copy(x * 2) * copy.copy(x)).sum().backward()
    assert x.grad.tolist() == [4, 8]
    assert copy.copy(x).array is x.array


def test_modules_are_copied():
    model = gt.nn.Sequential(gt.nn.Dense(3, 4, "relu"), gt.nn.Dense(4, 2))
    optimizer = gt.optim.SGD(model.parameters(), lr=0.1)
    x = gt.ones((5, 3))
    for again in (copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))):
        other = again(model)
        before = other(x).tolist()
        assert before == model(x).tolist()
        optimizer.zero_grad()
        model(x).sum().backward()
        optimizer.step()
        assert other(x).tolist() == before != model(x).tolist()


@pytest.mark.parametrize("again", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_of_keras_models_go_on_training(again):
    x, y = A.astype(np.float32), np.array([0, 1, 1])
    model = Sequential([Dense(5, activation="relu", input_shape=(4,)), Dense(2, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x, y, epochs=3, verbose=0)
    other = again(model)
    for m in (model, other):
        m.fit(x, y, epochs=3, shuffle=False, verbose=0)
    first, second = ([p.tolist() for p in m.parameters()] for m in (model, other))
    assert first == second
    other.fit(x, y, verbose=0)
    assert first == [p.tolist() for p in model.parameters()]
    assert first != [p.tolist() for p in other.parameters()]
    twin = again(model.optimizer)
    assert twin.state_dict()["0.mean"].tolist() == model.optimizer.state_dict()["0.mean"].tolist()


@pytest.mark.cpu
def test_bfloat16_pickles():
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    x = pickle.loads(pickle.dumps(gt.ones(3).astype(bfloat16)))
    assert (x.dtype, x.astype(gt.float32).tolist()) == (bfloat16, [1, 1, 1])


# ---------------------------------------------------------------- other libraries


@pytest.mark.cpu
def test_scipy_takes_tensors_by_the_array_api():
    code = """
import numpy as np, scipy.special, scipy.optimize, scipy.integrate
import gputensor as gt
a = np.random.default_rng(0).random((4, 5))
x = gt.tensor(a, requires_grad=True)
for f in (
    lambda x: scipy.special.logsumexp(x, axis=1),
    lambda x: scipy.special.softmax(x, axis=1),
    scipy.optimize.rosen,
    scipy.integrate.trapezoid,
):
    out = f(x)
    assert isinstance(out, gt.Tensor) and out.requires_grad, f
    np.testing.assert_allclose(out.detach().numpy(), f(a))
    assert gt.gradcheck(f, x)
"""
    environment = {"SCIPY_ARRAY_API": "1", "GPUTENSOR_DEVICE": "cpu", "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_libraries_for_numpy_take_numpy_arrays():
    x = gt.tensor(A, requires_grad=True)
    stats = importlib.import_module("scipy.stats")
    np.testing.assert_allclose(stats.zscore(x.detach().numpy()), stats.zscore(A))
    matplotlib = importlib.import_module("matplotlib.figure")
    (line,) = matplotlib.Figure().subplots().plot(x[0].detach().numpy())
    np.testing.assert_array_equal(line.get_ydata(), A[0])


@pytest.mark.peers
def test_scikit_learn_takes_numpy_arrays():
    linear_model = pytest.importorskip("sklearn.linear_model")
    fitted = linear_model.LinearRegression().fit(gt.tensor(A).numpy(), gt.tensor(B[:, 0]).numpy())
    assert fitted.predict(A).shape == (3,)


# ---------------------------------------------------------------- DLPack

BACKWARDS = {
    "flip": lambda: gt.flip(gt.tensor([[1.0, 2.0], [3.0, 4.0]])),
    "one axis": lambda: gt.flip(gt.tensor([[1.0, 2.0], [3.0, 4.0]]), axis=0),
    "slice": lambda: gt.tensor([1.0, 2.0, 3.0])[::-2],
}


@pytest.mark.parametrize("view", BACKWARDS.values(), ids=BACKWARDS)
def test_views_with_negative_strides_are_exported_as_copies(view):
    x = view()
    assert min(x.array.strides) < 0
    for found in (gt.from_dlpack(x.array), np.from_dlpack(x.cpu())):
        assert found.tolist() == x.tolist()
    assert min(np.from_dlpack(x.cpu()).strides) > 0
    with pytest.raises(BufferError, match="strides are negative"):
        x.__dlpack__(copy=False)


@pytest.mark.cpu
@pytest.mark.peers
@pytest.mark.parametrize("view", BACKWARDS.values(), ids=BACKWARDS)
def test_pytorch_takes_views_with_negative_strides(view):
    torch = pytest.importorskip("torch")
    assert torch.from_dlpack(view()).tolist() == view().tolist()


@pytest.mark.cpu
@pytest.mark.peers
@pytest.mark.parametrize("take", [gt.asarray, gt.tensor, gt.from_dlpack])
@pytest.mark.parametrize("library", ["torch", "jax.numpy"])
def test_bfloat16_of_other_libraries_is_taken(library, take):
    other = pytest.importorskip(library)
    x = take(other.ones(3, dtype=other.bfloat16) * 1.5)
    assert (x.dtype.name, x.tolist()) == ("bfloat16", [1.5] * 3)


@pytest.mark.cpu
@pytest.mark.peers
def test_memory_of_pytorchs_bfloat16_is_shared():
    torch = pytest.importorskip("torch")
    theirs = torch.ones(2, dtype=torch.bfloat16)
    ours = gt.from_dlpack(theirs)
    theirs[0] = 5
    assert ours.tolist() == [5, 1]
    with pytest.raises(BufferError, match=r"x\.detach\(\)"):
        gt.asarray(theirs.requires_grad_())
    with pytest.raises(gt.errors.DTypeError, match=r"elements of torch\.float8_e4m3fn"):
        gt.asarray(torch.ones(2, dtype=torch.float8_e4m3fn))


def test_nested_tensors_go_through_a_file_and_back(tmp_path):
    whole = {
        "model": {"w": gt.asarray(np.arange(6.0).reshape(2, 3)), "b": gt.zeros(0, dtype=gt.int32)},
        "step": 3,
        "parts": [gt.asarray(True), (1.5, None, "text", float("inf"))],
        "host": np.arange(3),
    }
    gt.save(whole, tmp_path / "all.safetensors")
    found = gt.load(tmp_path / "all.safetensors")
    np.testing.assert_array_equal(found["model"]["w"].numpy(), np.arange(6.0).reshape(2, 3))
    assert found["model"]["b"].dtype == gt.int32
    assert found["model"]["b"].shape == (0,)
    assert found["step"] == 3
    assert found["parts"][0].item() is True
    assert found["parts"][1] == (1.5, None, "text", float("inf"))
    assert isinstance(found["host"], np.ndarray)
    with pytest.raises(TypeError, match="layer is a Dense, which would have to be stored as code"):
        gt.save({"layer": gt.nn.Dense(2, 2)}, tmp_path / "no.safetensors")
    (tmp_path / "other").write_bytes(b"\x80\x02}q\x00.")
    with pytest.raises(ValueError, match="no safetensors file"):
        gt.load(tmp_path / "other")
