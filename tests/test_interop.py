"""NumPy's protocols, copies and pickles of tensors, and other libraries."""

import copy
import importlib
import pickle
import subprocess
import sys

import numpy as np
import pytest

import gputensor as gt
from gputensor import interop, ops
from gputensor.keras.layers import Dense
from gputensor.keras.models import Sequential

RNG = np.random.default_rng(5)
A = RNG.uniform(0.5, 2, (3, 4))
B = RNG.uniform(0.5, 2, (3, 4))


def leaf(values):
    return gt.tensor(values, requires_grad=True)


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
        ("np.linspace", lambda x: np.linspace(0, x[0], 3)),
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
        (lambda x: np.sum(x, where=[True, False, True]), r"np\.sum: where="),
        (lambda x: np.sum(x, initial=3), r"np\.sum: initial="),
        (lambda x: np.add.reduce(x, initial=3), r"np\.add\.reduce: initial="),
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


def test_every_name_in_the_tables_is_one_of_numpys():
    special = importlib.import_module("scipy.special")
    for name in (*interop._NAMES, *interop._REDUCTIONS, *interop._ACCUMULATIONS, *interop._OWN):
        assert hasattr(np, name) or hasattr(special, name), name
    same = [n for n in ops.__all__ if isinstance(getattr(np, n, None), np.ufunc)]
    assert len(same) > 50  # found without being listed


# Arguments that most functions find something among.
ARGUMENTS = [
    *((A - 1,), (A - 1, B), (A, 1), (A[0], B[0]), (A, B[0]), ([A, B],), (A, 0.5), (A, (12,))),
    *((A, RNG.integers(0, 3, 4)), (A > 1, A, B), (A, 0, 1), (A[:, :3] @ A[:, :3].T,)),
]
OTHER = {
    "broadcast_arrays",  # Python numbers become float32 tensors
    "empty_like",
    "linalg.lstsq",  # the rank is int64
}


def parts(x):
    """Arrays in a result."""
    if isinstance(x, (tuple, list)):
        return [part for item in x for part in parts(item)]
    return [x.numpy() if isinstance(x, gt.Tensor) else np.asarray(x)]


def by_name():
    """NumPy's functions that gputensor has under the same or a known name."""
    for module in (np, np.linalg, np.fft):
        for name in dir(module):
            function = getattr(module, name)
            path = [*module.__name__.split(".")[1:], name]
            if hasattr(function, "__name__") and ".".join(path) not in OTHER:
                routed = isinstance(function, np.ufunc) or hasattr(function, "_implementation")
                if routed and interop._function([*path[:-1], function.__name__]):
                    yield ".".join(path), function


@pytest.mark.cpu
@pytest.mark.filterwarnings("ignore")
def test_functions_of_one_name_agree():
    agreed = set()
    for name, function in by_name():
        for args in ARGUMENTS:
            tensors = [
                [gt.asarray(x) for x in a]
                if isinstance(a, list)
                else gt.asarray(a)
                if isinstance(a, np.ndarray)
                else a
                for a in args
            ]
            try:
                wanted = function(*args)
            except Exception:  # not arguments for it
                continue
            try:
                found = function(*tensors)
            except (TypeError, ValueError, IndexError):
                continue  # refused
            for a, b in zip(parts(found), parts(wanted), strict=True):
                assert (a.shape, a.dtype) == (b.shape, b.dtype), name
                if b.dtype.kind != "O":
                    np.testing.assert_allclose(a, b, 1e-12, 1e-12, err_msg=name)
            agreed.add(name)
    assert len(agreed) > 170


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
    with pytest.raises(TypeError, match=r"load_state_dict"):
        again(model.optimizer)


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
