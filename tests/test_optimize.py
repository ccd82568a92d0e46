"""minimize against scipy.optimize and against solutions that are known."""

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st

import gputensor as gt
from gputensor.optimize import minimize

RNG = np.random.default_rng(2)
SEARCHES = ["L-BFGS", "BFGS", "CG", "Newton-CG"]
METHODS = [*SEARCHES, "Adam"]


def rosenbrock(x):
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


A, B = RNG.normal(size=(60, 5)), RNG.normal(size=60)
LABELS = np.where(A @ np.array([1.0, -2, 0.5, 0, 1]) + RNG.normal(size=60) > 0, 1.0, -1.0)


def logistic(w):
    data, labels = (gt.asarray(a, device=w.device) for a in (A, LABELS))
    return gt.softplus(-labels * (data @ w)).sum() + 0.5 * (w * w).sum()


def least_squares(w):
    data, target = (gt.asarray(a, device=w.device) for a in (A, B))
    return ((data @ w - target) ** 2).sum()


PROBLEMS = {
    "rosenbrock": (rosenbrock, np.array([-1.2, 1.0, -1.2, 1.0])),
    "logistic": (logistic, np.zeros(5)),
    "least squares": (least_squares, np.zeros(5)),
}


def by_scipy(function, x0, method, tol=None):
    value = lambda x: function(gt.tensor(x)).item()  # noqa: E731
    slope = lambda x: gt.grad(function)(gt.tensor(x)).numpy()  # noqa: E731
    name = {"L-BFGS": "L-BFGS-B", "Adam": "BFGS"}.get(method, method)
    return scipy.optimize.minimize(value, x0, jac=slope, method=name, tol=tol)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", PROBLEMS)
def test_solutions_equal_scipys(name, method):
    function, x0 = PROBLEMS[name]
    if name == "rosenbrock" and method == "Adam":
        x0 = x0[:2]
    options = {"lr": 0.05} if method == "Adam" else None
    expected = by_scipy(function, x0, method)
    found = minimize(function, gt.tensor(x0), method=method, options=options)
    assert found.success
    assert found.status == 0
    solution = by_scipy(function, x0, "BFGS", tol=1e-9)
    np.testing.assert_allclose(found.x.numpy(), solution.x, atol=1e-4)
    assert found.fun == pytest.approx(solution.fun, abs=1e-7)
    assert abs(found.jac.numpy()).max() < 1e-3
    if method != "Adam":
        assert found.nfev <= 1.5 * expected.nfev + 5
        assert found.nit <= 1.5 * expected.nit + 5


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.sampled_from(SEARCHES))
def test_quadratics(seed, n, method):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(n, n))
    matrix, b = root @ root.T + np.eye(n), rng.normal(size=n)

    def quadratic(x, factor):
        m = gt.asarray(matrix, device=x.device)
        return (0.5 * (x @ (m @ x)) - x @ gt.asarray(b, device=x.device)) * factor

    options = {"gtol": 1e-8} | ({"ftol": 0} if method == "L-BFGS" else {})
    found = minimize(quadratic, gt.tensor(rng.normal(size=n)), (2.0,), method, options=options)
    np.testing.assert_allclose(found.x.numpy(), np.linalg.solve(matrix, b), atol=1e-6)


@pytest.mark.parametrize("method", SEARCHES)
def test_directions_of_negative_curvature(method):
    found = minimize(lambda x: (x**4 - x * x).sum(), gt.tensor([0.1, -0.01], "float64"), (), method)
    assert found.success
    np.testing.assert_allclose(found.x.numpy(), np.array([1, -1]) / np.sqrt(2), atol=1e-5)


def test_lists_of_numbers_are_one_tensor():
    found = minimize(rosenbrock, [-1.2, 1.0])
    assert found.success
    assert found.x.shape == (2,)
    assert found.x.dtype == gt.float32
    assert minimize(lambda x: (x - 2.0) ** 2, 0.5).x.shape == ()


def test_trees_and_single_precision():
    x0 = {"w": gt.zeros((5, 1)), "b": [gt.zeros(())]}
    data, target = gt.asarray(A, dtype=gt.float32), gt.asarray(B, dtype=gt.float32)
    found = minimize(lambda p: ((data @ p["w"] + p["b"][0])[:, 0] - target).square().mean(), x0)
    assert found.success
    assert found.x["w"].shape == found.jac["w"].shape == (5, 1)
    assert found.x["w"].dtype == gt.float32
    expected = np.linalg.lstsq(np.c_[A, np.ones(60)], B)[0]
    np.testing.assert_allclose(found.x["w"].numpy()[:, 0], expected[:5], atol=1e-3)
    assert found.x["b"][0].item() == pytest.approx(expected[5], abs=1e-3)
    assert x0["w"].tolist() == [[0]] * 5


@pytest.mark.parametrize("method", METHODS)
def test_callbacks(method):
    seen = []
    start = gt.tensor([-1.2, 1.0])
    minimize(rosenbrock, start, method=method, callback=seen.append, options={"maxiter": 4})
    assert len(seen) == 4
    assert all(x.shape == (2,) and not x.requires_grad for x in seen)
    assert len({tuple(x.tolist()) for x in seen}) == 4
    values = []

    def stop(intermediate_result):
        values.append(intermediate_result.fun)
        if len(values) == 3:
            raise StopIteration

    found = minimize(rosenbrock, start, method=method, callback=stop)
    assert (found.status, found.nit, found.success) == (99, 3, False)
    assert found.fun == min(values)
    assert found.fun == rosenbrock(found.x).item()


@pytest.mark.parametrize("method", METHODS)
def test_ends(method):
    start = gt.tensor([-1.2, 1.0], dtype=gt.float64)
    found = minimize(rosenbrock, start, method=method, options={"maxiter": 2})
    assert (found.status, found.nit, found.success) == (1, 2, False)
    assert "maxiter" in found.message
    loose = minimize(rosenbrock, start, method=method, tol=1.0)
    assert loose.success
    assert loose.nit < (2000 if method == "Adam" else 60)
    at_once = minimize(lambda x: (x * x).sum(), gt.zeros(3), method=method)
    assert (at_once.nit, at_once.nfev, at_once.njev, at_once.fun) == (0, 1, 1, 0)
    bad = minimize(lambda x: (x * np.nan).sum(), start, method=method)
    assert (bad.status, bad.success) == (3, False)
    with np.errstate(over="ignore"):
        below = minimize(
            lambda x: -gt.exp(x.sum()), gt.zeros(2), (), method, tol=1e-9, options={"maxiter": 400}
        )
    assert below.status in (1, 3)


def test_a_value_that_rounding_hides_is_not_searched_for_ever():
    found = minimize(lambda x: (x - 1e-3).square().sum() * 1e-3 + 1e6, gt.zeros(2), method="BFGS")
    assert found.status in (0, 2)
    assert found.nfev < 100


def test_steps_into_the_undefined_are_taken_back():
    # log is not defined where the first step of length 1 leads.
    with np.errstate(all="ignore"):
        found = minimize(lambda x: (10 * x - gt.log(x)).sum(), gt.tensor([0.5, 2.0], "float64"))
    assert found.success
    np.testing.assert_allclose(found.x.numpy(), [0.1, 0.1], rtol=1e-4)


def test_results_are_as_scipys():
    found = minimize(lambda x: ((x - 3) ** 2).sum(), gt.zeros(2), method="BFGS")
    assert found["x"] is found.x
    assert {"x", "fun", "jac", "nit", "nfev", "success", "message", "status"} <= set(dir(found))
    assert "success: True" in repr(found)
    with pytest.raises(AttributeError):
        _ = found.hess


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda f: minimize(f, gt.zeros(2), method="Powell"), ValueError, "allowed are L-BFGS"),
        (lambda f: minimize(f, gt.zeros(2), options={"eps": 1}), ValueError, "it has maxiter"),
        (lambda f: minimize(f, gt.arange(2)), TypeError, "got int64"),
        (lambda f: minimize(f, [gt.zeros(2), gt.zeros(2, dtype="f8")]), TypeError, "float32, fl"),
        (lambda f: minimize(f, gt.zeros(2, dtype=gt.complex64)), TypeError, "complex64"),
        (lambda f: minimize(f, {}), TypeError, "got nothing"),
        (
            lambda f: minimize(lambda x: x, gt.zeros(2)),
            gt.errors.GraphError,
            "a gradient is that of one number",
        ),
    ],
)
def test_bad_input_is_a_clear_error(call, kind, text):
    with pytest.raises(kind, match=text):
        call(rosenbrock)


@pytest.mark.parametrize("method", METHODS)
def test_on_a_device(cupy, method):
    options = {"maxiter": 8}
    x0 = np.array([-1.2, 1.0])
    found = minimize(rosenbrock, gt.tensor(x0, device="cuda"), method=method, options=options)
    same = minimize(rosenbrock, gt.tensor(x0, device="cpu"), method=method, options=options)
    assert found.x.device == found.jac.device == "cuda:0"
    np.testing.assert_allclose(found.x.numpy(), same.x.numpy(), rtol=1e-7)
    assert (found.nit, found.nfev, found.nhev) == (same.nit, same.nfev, same.nhev)
