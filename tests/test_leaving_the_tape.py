"""A tensor on the tape becomes no Python number, and no part of a NumPy array, unseen."""

import array
import cmath
import importlib
import math
import warnings

import numpy as np
import pytest

import gputensor as gt
from gputensor.errors import GraphError

NUMBERS = {
    "float": float,
    "int": int,
    "complex": complex,
    "math.exp": math.exp,
    "math.floor": math.floor,
    "math.fsum": lambda x: math.fsum([x]),
    "cmath.exp": cmath.exp,
    "np.float64": np.float64,
    "array.array": lambda x: array.array("d", [x]),
    "%f": lambda x: "%f".__mod__(x),
    "z[0] = x, integers": lambda x: np.zeros(2, int).__setitem__(0, x),
    "z[0] = x, complex": lambda x: np.zeros(2, complex).__setitem__(0, x),
}
ELEMENTS = {
    "z[0] = x": lambda x: np.zeros(2).__setitem__(0, x),
    "z[0] = x, float32": lambda x: np.zeros(2, np.float32).__setitem__(0, x),
    "z.fill": lambda x: np.zeros(2).fill(x),
    "np.fromiter": lambda x: np.fromiter([x], float),
}
ARRAYS = {
    "np.array": np.array,
    "np.asarray": np.asarray,
    "np.array of a list": lambda x: np.array([x, x]),
    "np.array of lists": lambda x: np.array([[1.0, x], [x, 1.0]]),
    "np.full": lambda x: np.full(3, x),
    "np.float32": np.float32,
    "z[1:] = x": lambda x: np.zeros(3).__setitem__(slice(1, None), x),
    "np.frombuffer": lambda x: np.frombuffer(np.asarray(x)),
}
TRANSFORMS = {
    "grad": lambda f, x: gt.grad(f)(x),
    "value_and_grad": lambda f, x: gt.value_and_grad(f)(x),
    "vjp": lambda f, x: gt.vjp(f, x),
    "jvp": lambda f, x: gt.jvp(f, (x,), (x,)),
    "jacobian": lambda f, x: gt.jacobian(f)(x),
    "hessian": lambda f, x: gt.hessian(f)(x),
    "hvp": lambda f, x: gt.hvp(f, (x,), (x,)),
    "checkpoint": lambda f, x: gt.grad(lambda x: gt.checkpoint(f, x))(x),
    "minimize": lambda f, x: gt.optimize.minimize(f, x),
}


@pytest.mark.parametrize("use", NUMBERS.values(), ids=NUMBERS)
def test_no_number_is_made_inside_a_transform(use):
    with pytest.raises(
        GraphError, match=r"gt\.stack.*z\[key\] = x.*gt\.exp.*gt\.where.*x\.(item|detach)"
    ):
        gt.grad(lambda x: x * use(x * 1))(2.0)


@pytest.mark.cpu
@pytest.mark.parametrize("use", ARRAYS.values(), ids=ARRAYS)
def test_no_array_is_made_of_a_tensor_on_the_tape(use):
    message = r"gt\.stack\(\[x, y\]\) for np\.array.*gt\.full.*x\.detach\(\)\.numpy\(\)"
    with pytest.raises(GraphError, match=message):
        gt.grad(lambda x: x * use(x * 1))(2.0)
    with pytest.raises(GraphError, match=message):
        use(gt.tensor(2.0, requires_grad=True))


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
def test_every_transform_refuses(transform):
    with pytest.raises(GraphError, match="float: this tensor requires a gradient"):
        transform(lambda x: x * float(x), gt.tensor(2.0))


@pytest.mark.parametrize("use", ELEMENTS.values(), ids=ELEMENTS)
def test_an_element_of_an_array_is_not_set(use):
    # NumPy puts an error of its own over ours, which it names as the cause.
    with pytest.raises(ValueError, match="setting an array element") as info:
        gt.grad(lambda x: x * use(x))(2.0)
    assert isinstance(info.value.__cause__, GraphError)
    assert "z[key] = x" in str(info.value.__cause__)


def test_what_the_error_says_keeps_the_gradient():
    p = gt.tensor([1.0, 2.0])

    def filled(p):
        z = gt.zeros(3)
        for i in range(3):
            z[i] = p[0] * (i + 1) ** 2 + p[1]
        return gt.sum(z * p[0])

    def joined(p):
        return gt.sum(gt.stack([p[0] * (i + 1) ** 2 + p[1] for i in range(3)]) * p[0])

    for function in (filled, joined):
        assert gt.grad(function)(p).tolist() == [34, 3]
    assert gt.grad(lambda x: gt.exp(-x) * x)(2.0).item() == pytest.approx(-math.exp(-2))
    assert gt.grad(lambda x: gt.full(3, x).sum())(2.0).item() == 3
    assert gt.grad(lambda x: gt.where(x > 1, x * 2, x))(2.0).item() == 2
    assert gt.grad(lambda x: gt.asarray(x, copy=True) * 3)(2.0).item() == 3


def test_outside_of_transforms_a_number_warns_with_the_users_line():
    w = gt.tensor(2.0, requires_grad=True)
    with pytest.warns(UserWarning, match=r"write x\.item\(\).*gt\.exp") as caught:
        assert math.exp(w * 1) == pytest.approx(math.exp(2))  # this line
    (warning,) = caught
    assert warning.filename == __file__
    with open(__file__, encoding="utf-8") as file:
        assert file.readlines()[warning.lineno - 1].endswith("# this line\n")


def test_a_loop_warns_once():
    w, total = gt.tensor(2.0, requires_grad=True), 0.0
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            total += float(w * 2)
    assert (len(caught), total) == (1, 12)


def test_a_copy_off_the_tape_is_told_of():
    w = gt.tensor(2.0, requires_grad=True)
    with pytest.warns(UserWarning, match=r"tensor: .*gt\.asarray\(x, copy=True\)"):
        assert not gt.tensor(w * 2).requires_grad
    with pytest.raises(GraphError, match=r"tensor: .*gt\.asarray\(x, copy=True\)"):
        gt.grad(lambda x: x * gt.tensor(x))(2.0)


@pytest.mark.filterwarnings("error")
def test_what_says_what_it_does_is_silent():
    def function(x):
        assert x.item() == float(x.detach()) == x.tolist() == 2
        assert f"{x:.1f}" == "2.0"
        assert str(x)
        assert gt.tensor(x.detach()).item() == gt.tensor(x, requires_grad=True).item() == 2
        with gt.no_grad():
            assert float(x) == int(x) == complex(x) == math.fabs(x) == gt.tensor(x).item() == 2
        branch = 3 if x > 1 and not x < 0 and bool(x == 2) and x else 5
        places = gt.tensor([1, 0])
        i = int(gt.argmax(gt.stack([x, x * 2])))
        return x * branch * [1, 10, 100][places[0]] * range(5)[i] * float(places[0])

    assert gt.grad(function)(2.0).item() == 30
    w = gt.tensor(2.0, requires_grad=True)
    assert function(w).item() == 60
    assert float(gt.tensor(2.0)) == int(gt.tensor([2.0])) == complex(gt.tensor(2)) == 2


@pytest.mark.filterwarnings("error")
def test_a_training_loop_that_reads_items_is_silent():
    w = gt.tensor(2.0, requires_grad=True)
    steps, losses = gt.optim.SGD([w], lr=0.1), []
    for _ in range(2):
        loss = (w - 1) ** 2
        steps.zero_grad()
        loss.backward()
        steps.step()
        losses.append(loss.item())
    assert losses == pytest.approx([1, 0.64])


@pytest.mark.cpu
def test_libraries_are_not_taken_for_the_user():
    statistics = importlib.import_module("statistics")
    w = gt.tensor([1.0, 2.0], requires_grad=True)
    with pytest.warns(UserWarning, match="float: ") as caught:
        assert statistics.fmean(w) == 1.5
    assert {c.filename for c in caught} == {statistics.__file__}


@pytest.mark.parametrize(
    "values",
    [
        lambda x: gt.unique_values(x),
        lambda x: gt.unique_all(x).values,
        lambda x: gt.unique_counts(x).values,
        lambda x: gt.unique_inverse(x).values,
    ],
)
def test_distinct_elements_stay_on_the_tape(values):
    x = gt.tensor([[3.0, 1.0], [1.0, 2.0]], requires_grad=True)
    found = values(x)
    assert found.tolist() == [1, 2, 3]
    (found * gt.tensor([1.0, 10.0, 100.0])).sum().backward()
    assert x.grad.tolist() == [[100, 1], [0, 10]]
    assert not values(x.detach()).requires_grad
