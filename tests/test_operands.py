"""What operations take: lists, numbers, subclasses of NumPy's array; and how they refuse."""

import operator
import subprocess
import sys
import threading
import tomllib
from pathlib import Path

import numpy as np
import pytest

import gputensor as gt
from gputensor import ops

x = gt.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])


@pytest.mark.parametrize(
    "result",
    [
        lambda: x * [1.0, 2.0, 3.0],
        lambda: x @ [[1.0], [2.0], [3.0]],
        lambda: gt.einsum("ij,j->i", x, [1.0, 2.0, 3.0]),
        lambda: gt.where(x > 2, 1.0, 0.0),
        lambda: gt.where(x > 2, 1.0, 0),
        lambda: gt.exp([0.0, 1.0]),
        lambda: gt.exp(1.0),
        lambda: gt.add(1.0, 2.0),
        lambda: gt.stack([1.0, 2.0]),
        lambda: gt.concat([[1.0, 2.0], [3.0]]),
        lambda: gt.full(2, 0.5),
    ],
)
def test_floats_of_python_are_float32(result):
    assert result().dtype == gt.float32


def test_a_chosen_dtype_is_not_reached_through_float32():
    assert gt.tensor([0.1], dtype=gt.float64).item() == 0.1
    assert gt.tensor(16_777_217.0, dtype=gt.int64).item() == 16_777_217


def test_complex_numbers_of_python_are_complex64():
    assert gt.tensor([1j]).dtype == gt.full(2, 1j).dtype == gt.complex64
    assert gt.full(2, 1j).tolist() == [1j, 1j]


def test_nested_lists_have_axes():
    rows = [[1.0, 2.0], [3.0, 5.0]]
    assert gt.transpose(rows).tolist() == [[1, 3], [2, 5]]
    assert gt.expand_dims(rows, 1).shape == (2, 1, 2)
    assert gt.argmax(rows, axis=0).tolist() == [1, 1]
    assert gt.stack([rows, rows]).shape == gt.zeros_like([rows, rows]).shape == (2, 2, 2)


def test_a_list_of_tensors_does_not_lose_their_gradients():
    y = gt.tensor(1.0, requires_grad=True)
    with pytest.raises(gt.errors.GraphError, match=r"gt\.stack"):
        gt.add([y, y], 1)
    for make in (gt.tensor, gt.asarray):
        with pytest.raises(gt.errors.GraphError, match=r"gt\.stack"):
            make([y, 2.0])
        with gt.no_grad():
            assert make([y, 2.0]).tolist() == [1, 2]


@pytest.mark.cpu
def test_a_memory_map_is_an_array(tmp_path):
    values = np.memmap(tmp_path / "values", np.float64, "w+", shape=(2, 2))
    values[...] = [[1.0, 2.0], [3.0, 4.0]]
    for found in (gt.asarray(values) * values, gt.ones((2, 2)) * values * values):
        assert type(found.array) is np.ndarray
        assert found.tolist() == [[1, 4], [9, 16]]


def test_bits_of_integers_and_of_bools():
    a, b = gt.tensor([6, -1]), gt.tensor([3, 1])
    for function in (operator.and_, operator.or_, operator.xor, operator.lshift, operator.rshift):
        expected = function(np.array([6, -1]), np.array([3, 1]))
        assert function(a, b).tolist() == expected.tolist()
        assert function(a, 2).tolist() == function(np.array([6, -1]), 2).tolist()
    assert (1 & a).tolist() == [0, 1]
    assert (~a).tolist() == [-7, 0]
    yes, no = gt.tensor([True]), gt.tensor([False])
    assert ((yes & ~no) | no).tolist() == (yes ^ no).tolist() == [True]
    with pytest.raises(gt.errors.DTypeError, match=r"bitwise_and does not take .* float32"):
        x & x
    with pytest.raises(gt.errors.DTypeError, match=r"bitwise_invert does not take .* float32"):
        operator.invert(x)


def test_methods_take_axes_without_a_name():
    assert x.sum(0).tolist() == [5, 7, 9]
    assert x.max(1).tolist() == [3, 6]
    assert x.mean((0, 1), keepdims=True).shape == (1, 1)
    assert x.argmax(1).tolist() == x.argmax(axis=np.int64(1)).tolist() == [2, 2]
    assert x.permute_dims(1, 0).shape == x.permute_dims((1, 0)).shape == (3, 2)
    assert x.transpose().shape == x.transpose(1, 0).shape == x.transpose((1, 0)).shape == (3, 2)
    assert x.reshape(np.int64(6)).shape == (6,)


def test_a_tensor_of_one_element_formats_as_its_number():
    assert f"{gt.tensor(1.23456):.2f}" == "1.23"
    assert f"{gt.tensor([7]):3d}" == "  7"
    assert f"{x}" == str(x)
    with pytest.raises(gt.errors.ShapeError, match="only one element"):
        f"{x:.2f}"


def test_gradients_of_scalars_accumulate():
    y = gt.tensor(3.0, requires_grad=True)
    for total in (6, 12, 18):
        (y * y).backward()
        assert y.grad.item() == total
        assert y.grad.shape == ()
        assert y.grad.device == y.device


def test_no_grad_nests_in_itself_and_serves_several_threads():
    y, off, found = gt.tensor(1.0, requires_grad=True), gt.no_grad(), []
    with off, off:
        pass
    assert (y * 2).requires_grad
    entered, leave = threading.Event(), threading.Event()

    def work():
        with gt.enable_grad(), off:
            entered.set()
            leave.wait(10)
        found.append((y * 2).requires_grad)

    thread = threading.Thread(target=work)
    thread.start()
    entered.wait(10)
    with gt.no_grad():
        with off:
            leave.set()
            thread.join()
        assert not (y * 2).requires_grad
    assert found == [True]


def test_no_grad_decorates_without_parentheses():
    @gt.no_grad
    def double(t):
        """Twice."""
        return t * 2

    assert double.__doc__ == "Twice."
    assert not double(gt.tensor(1.0, requires_grad=True)).requires_grad


def test_no_grad_refuses_bodies_that_run_later():
    with pytest.raises(
        TypeError, match=r"no_grad: batches is a generator or coroutine.*`with gt\.no_grad"
    ):

        @gt.no_grad()
        def batches():
            yield 1


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda: gt.exp([[1.0], [1.0, 2.0]]), gt.errors.ShapeError, "exp: nested lists of uneven"),
        (lambda: x + np.array(["a"]), gt.errors.DTypeError, "add does not take .* <U1"),
        (lambda: gt.exp(np.array([None])), gt.errors.DTypeError, "exp does not take .* object"),
        (lambda: gt.zeros(2, dtype="flaot"), gt.errors.DTypeError, "'flaot' is not supported"),
        (lambda: x.astype("flaot"), gt.errors.DTypeError, "astype: 'flaot' is not supported"),
        (lambda: gt.tensor([2]) ** -1, gt.errors.DTypeError, r"pow: .*x\.astype"),
        (lambda: gt.reshape(x, (2.9, 3)), TypeError, r"reshape: shape must hold ints, got \(2.9"),
        (lambda: gt.reshape(x, "6"), TypeError, "reshape: shape must hold ints, got '6'"),
        (lambda: gt.broadcast_to(x, 2.5), TypeError, "broadcast_to: shape must hold ints"),
        (lambda: gt.permute_dims(x, 0.5), TypeError, "permute_dims: axes must hold ints"),
        (lambda: gt.expand_dims(x, 1.5), TypeError, "expand_dims: axis must hold ints"),
        (lambda: gt.argmax(x, axis=1.0), TypeError, "argmax: axis must be an int, got"),
        (lambda: gt.concat([x, x], axis=1.0), TypeError, "concat: axis must be an int, got 1.0"),
        (lambda: gt.concat([1.0, 2.0]), gt.errors.ShapeError, r"concat: .* use gt\.stack"),
        (lambda: gt.concat(3), TypeError, "concat: arrays must be a sequence of them, got 3"),
        (lambda: gt.stack(None), TypeError, "stack: arrays must be a sequence of them, got None"),
        (lambda: gt.stack([x], axis=5), gt.errors.ShapeError, "stack: axis 5 is out of range"),
        (lambda: gt.einsum("i!->i", x), gt.errors.ShapeError, "may hold letters, commas"),
        (lambda: gt.device("cuda:\N{SUPERSCRIPT TWO}"), gt.errors.DeviceError, "is unknown"),
        (lambda: gt.grad(gt.sin, 3)(x), ValueError, "argnums names argument 3, .* was given 1"),
        (lambda: gt.full_like(3, 1), TypeError, "full_like: x must be a tensor or an array, got"),
    ],
)
def test_errors_name_the_argument_and_what_is_allowed(call, kind, text):
    with pytest.raises(kind, match=text):
        call()


def test_the_public_names_are_those_of_the_chapters_and_no_rooms():
    names = set(gt.__all__)
    assert len(names) == len(gt.__all__)
    assert set(ops.__all__) < names
    assert names - set(ops.__all__) > {"Tensor", "capture", "fft", "grad", "linalg", "nn", "optim"}
    assert not names & {"autograd", "backend", "blas", "graph", "interop", "ops", "transforms"}
    assert all(hasattr(gt, name) for name in names)
    with pytest.raises(AttributeError, match=r"write gt\.concat"):
        gt.cat  # noqa: B018


def test_every_package_is_installed_and_typed():
    root = Path(__file__).parents[1]
    listed = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = [file.parent.relative_to(root) for file in (root / "gputensor").rglob("__init__.py")]
    assert {".".join(folder.parts) for folder in found} <= set(listed)
    assert (root / "gputensor" / "py.typed").exists()


@pytest.mark.cpu
def test_a_script_with_types_runs():
    script = Path(__file__).parent / "typed_script.py"
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("cat", "concat"),
        ("concatenate", "concat"),
        ("array", r"tensor \(a copy\) or gt\.asarray"),
        ("amax", "max"),
        ("arctan2", "atan2"),
        ("absolute", "abs"),
        ("power", "pow"),
    ],
)
def test_names_of_other_libraries_are_told_ours(name, ours):
    with pytest.raises(AttributeError, match=rf"no attribute '{name}'; write gt\.{ours}$"):
        getattr(gt, name)
    assert not hasattr(gt, name)
    assert hasattr(gt, ours.partition(" ")[0].replace("\\", "").partition("(")[0])


def test_names_that_nobody_has_are_plainly_missing():
    with pytest.raises(AttributeError, match=r"^module 'gputensor' has no attribute 'foo'$"):
        gt.foo  # noqa: B018


@pytest.mark.parametrize(
    "call",
    [
        *(gt.sum, gt.prod, gt.mean, gt.max, gt.min, gt.std, gt.var, gt.any, gt.all, gt.argmax),
        *(gt.argmin, gt.sort, gt.argsort, gt.flip, gt.median, gt.count_nonzero, gt.softmax),
        *(gt.log_softmax, gt.logsumexp, gt.cumsum, gt.cumprod, gt.unstack, gt.expand_dims),
        lambda x, *axis, **named: gt.concat([x, x], *axis, **named),
        lambda x, *axis, **named: gt.stack([x, x], *axis, **named),
        lambda x, *axis, **named: gt.take(x, gt.tensor([1, 0]), *axis, **named),
        lambda x, *axis, **named: gt.roll(x, 1, *axis, **named),
        lambda x, *axis, **named: gt.repeat(x, 2, *axis, **named),
        lambda x, *axis, **named: gt.quantile(x, 0.25, *axis, **named),
        lambda x, *axis, **named: gt.topk(x, 2, *axis, **named).values,
    ],
)
def test_an_axis_needs_no_name(call):
    found, named = call(x, 0), call(x, axis=0)
    for a, b in zip(found, named, strict=True):
        assert a.tolist() == b.tolist()
