"""Elementwise operations on large arrays of the CPU: the bits are those of small ones."""

import threading
import warnings

import numpy as np
import pytest

import gputensor as gt
from cases import every_case
from checks import leaf
from gputensor.autograd import PRIMITIVES, primitive, reverse
from gputensor.graph import large, loops

pytestmark = pytest.mark.cpu


@pytest.fixture(autouse=True)
def all_are_large(monkeypatch):
    if not large._usable():
        pytest.skip("there is no pool of threads on this system")
    sizes(monkeypatch, 1)


def sizes(monkeypatch, n):
    monkeypatch.setattr(primitive, "LARGE", n)
    monkeypatch.setattr(reverse, "LARGE", n)


def programs(name):
    """Programs of an operation and of its rules."""
    found = PRIMITIVES[name]
    step = found.rules_of[np.ndarray].step
    kept = [*found.bound.large._programs.made.values(), *step._programs.made.values()]
    return [p for p in kept if callable(p)]


def outcome(function, arrays):
    tensors = [leaf(a) for a in arrays]
    out = function(*tensors)
    results = [out.detach().numpy()]
    if out.requires_grad:
        gt.sum(gt.abs(out)).backward()
        results += [t.grad.numpy() for t in tensors]
    return results


def assert_same_bits(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        assert one.strides == other.strides
        assert one.tobytes() == other.tobytes()


@every_case
@pytest.mark.parametrize("narrow", [False, True])
def test_bits_are_those_of_small_arrays(name, function, arrays, narrow, monkeypatch):
    if narrow:
        arrays = [x.astype({"f": np.float32, "c": np.complex64}[x.dtype.kind]) for x in arrays]
    rounds = [outcome(function, arrays) for _ in range(3)]  # a program is there from the second on
    sizes(monkeypatch, 1 << 60)
    expected = outcome(function, arrays)
    for found in rounds:
        assert_same_bits(found, expected)


def test_operations_become_programs():
    x, w = leaf(np.linspace(-1, 1, 24, dtype="f").reshape(4, 6)), leaf(np.float32(0.5))
    before = {name: len(programs(name)) for name in ("tanh", "multiply", "add")}
    for _ in range(3):
        gt.tanh(x * w + x).sum().backward()
    assert all(len(programs(name)) > n for name, n in before.items())


def test_one_array_may_be_both_operands():
    x = leaf(np.arange(1.0, 9.0))
    for _ in range(4):
        x.grad = None
        ((x * x) / (x + x)).sum().backward()
        np.testing.assert_array_equal(x.grad.numpy(), 0.5)


def test_arrays_may_share_their_memory():
    whole = np.arange(1.0, 9.0)
    for _ in range(4):
        x, y = leaf(whole), leaf(whole)
        x.array = y.array = whole
        first, second = x[:4], y[4:]
        ((first * second) / (first + second)).sum().backward()
        expected = whole[4:] ** 2 / (whole[:4] + whole[4:]) ** 2
        np.testing.assert_allclose(x.grad.numpy()[:4], expected)


def test_arrays_with_gaps_are_computed_too():
    whole = np.arange(40.0).reshape(5, 8)
    for _ in range(3):
        x, y = leaf(whole), leaf(whole.T.copy())
        out = gt.exp(x[:, ::2] / 40) * y.T[:, ::2]
        out.sum().backward()
        np.testing.assert_array_equal(
            out.detach().numpy(), np.exp(whole[:, ::2] / 40) * whole[:, ::2]
        )


def test_numpy_says_where_a_result_is_not_finite():
    x = leaf(np.array([1.0, 0.0, -1.0]))
    one = gt.ones(3, dtype="float64")
    for k in range(4):
        line = "divide" if k % 2 else "log"
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            result = one / x if k % 2 else gt.log(x)
        assert any(line in str(w.message) for w in said)
        assert not np.isfinite(result.detach().numpy()).all()
        with np.errstate(all="raise"), pytest.raises(FloatingPointError):
            one / x
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("error")
            one / x


def counted(monkeypatch, function):
    """How many programs give up in five calls, once they are there."""
    raised = []
    run = large._Programs.run

    def counting(self, program, arrays):
        try:
            return run(self, program, arrays)
        except large._Exceptions:
            raised.append(1)
            raise

    for _ in range(3):
        function()
    with monkeypatch.context() as patch:
        patch.setattr(large._Programs, "run", counting)
        for _ in range(5):
            function()
    return len(raised)


def test_what_numpy_says_nothing_of_is_computed_once(monkeypatch):
    tiny = gt.full((8,), 1e-30, dtype="float32")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert counted(monkeypatch, lambda: tiny * tiny) == 0
        with np.errstate(all="ignore"):
            assert counted(monkeypatch, lambda: gt.ones(8) / (tiny * tiny)) == 0
    with np.errstate(under="warn"), pytest.warns(RuntimeWarning, match="underflow"):
        tiny * tiny
    with np.errstate(under="raise"), pytest.raises(FloatingPointError, match="underflow"):
        tiny * tiny


def test_gradients_that_are_not_finite_are_said_as_well():
    for _ in range(4):
        x = leaf(np.array([1.0, 0.0]))
        with np.errstate(all="ignore"):
            gt.sqrt(x).sum().backward()
        np.testing.assert_array_equal(x.grad.numpy(), [0.5, np.inf])
        y = leaf(np.array([1.0, 0.0]))
        with pytest.warns(RuntimeWarning, match="divide"):
            gt.sqrt(y).sum().backward()


def test_threads_have_programs_of_their_own():
    failed = []

    def work(k):
        x = leaf(np.linspace(0, k, 5000))
        for _ in range(60):
            x.grad = None
            (gt.sin(x) * x).sum().backward()
            right = np.cos(x.detach().numpy()) * x.detach().numpy() + np.sin(x.detach().numpy())
            if not np.allclose(x.grad.numpy(), right, rtol=1e-12):
                failed.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failed


def test_a_signals_handler_may_compute_in_the_middle_of_it(monkeypatch):
    x, y = (leaf(np.linspace(k, k + 1, 1013)) for k in range(2))
    run = loops.driver()
    came = []

    def driver(*args):
        if came:
            came.pop()()
        return run(*args)

    def gradient(t):
        t.grad = None
        (gt.exp(t) * t).sum().backward()
        return t.grad.numpy().tobytes()

    monkeypatch.setattr(loops, "driver", lambda: driver)
    right = [[gradient(t) for t in (x, y)] for _ in range(4)][-1]
    found = []
    for _ in range(3):
        came.append(lambda: found.append(gradient(y)))
        assert gradient(x) == right[0]
    assert found == 3 * right[1:]


def test_changing_shapes_do_not_pile_up():
    for n in range(1, 600):
        x = leaf(np.ones(n))
        for _ in range(2):
            (x * x).sum().backward()
    assert len(PRIMITIVES["multiply"].bound.large._programs.made) <= large._MOST


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "complex64", "int32", "bool"])
def test_dtypes(dtype, monkeypatch):
    x = np.array([0, 1, 1, 0, 1, 0], dtype)
    kinds = "+-*" if dtype != "bool" else "+*"
    functions = {"+": gt.add, "-": gt.subtract, "*": gt.multiply}
    found = []
    for k in range(4):
        sizes(monkeypatch, 1 if k < 3 else 1 << 60)
        t = gt.asarray(x)
        found.append([functions[kind](t, t).numpy() for kind in kinds])
    for one in found[:3]:
        assert_same_bits(one, found[3])
