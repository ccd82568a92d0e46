"""Changes in place: values as NumPy's, gradients right or refused, saved values watched."""

import gc
import operator
import weakref
from pathlib import Path

import numpy as np
import pytest
from hypothesis import event, given, reject, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import gputensor as gt
from checks import double_leaf as leaf
from gputensor import autograd

GraphError = gt.errors.GraphError
SHAPE = (2, 3)


# A program is a list of steps on a list of arrays that all have one shape. It runs alike on NumPy
# arrays, with what is a view there, and on tensors.
KEYS = [(0,), (1, slice(None)), (slice(None), slice(1, 3)), (..., -1), (slice(None, None, -1),)]
MASK = np.array([[True, False, True], [False, False, True]])
COPYING = [([1, 0],), MASK, ([0, 0], [2, 2])]
INPLACE = [operator.iadd, operator.isub, operator.imul]


def key_for(x, key):
    """The key with its arrays where `x` is."""
    if isinstance(key, tuple):
        return tuple(key_for(x, k) for k in key)
    there = isinstance(x, gt.Tensor) and isinstance(key, np.ndarray)
    return gt.tensor(key, device=x.device) if there else key


def flipped(x):
    return gt.flip(x, axis=1) if isinstance(x, gt.Tensor) else np.flip(x, axis=1)


VIEWS = [
    lambda x: x.reshape(3, 2),
    lambda x: x.T,
    lambda x: x.reshape(6)[::-1].reshape(2, 3),
    lambda x: x[:, ::-1][0],
    flipped,
]
indices = st.integers(0, 3)
STEPS = st.one_of(
    st.tuples(st.just("new"), indices, indices, st.sampled_from([operator.add, operator.mul])),
    st.tuples(st.just("tanh"), indices),
    st.tuples(st.just("inplace"), indices, indices, st.sampled_from(INPLACE)),
    st.tuples(st.just("number"), indices, st.sampled_from(INPLACE)),
    st.tuples(st.just("set"), indices, indices, st.sampled_from(KEYS + COPYING)),
    st.tuples(st.just("item"), indices, indices, st.sampled_from(KEYS), st.sampled_from(INPLACE)),
    st.tuples(st.just("shift"), indices, st.sampled_from([0, 1])),
    st.tuples(st.just("view"), indices, st.sampled_from(range(len(VIEWS)))),
    st.tuples(st.just("keep"), indices, st.sampled_from(KEYS)),
)


def perform(step, env, kept, tanh):
    """One step. `env` is what steps choose from, `kept` holds views that stay in use."""
    kind, i, *rest = step
    if kind == "new":
        env.append(rest[1](env[i], env[rest[0]]))
    elif kind == "tanh":
        env.append(tanh(env[i]))
    elif kind == "inplace":
        env[i] = rest[1](env[i], env[rest[0]])
    elif kind == "number":
        env[i] = rest[0](env[i], 0.5)
    elif kind == "set":
        j, key = rest
        key = key_for(env[i], key)
        env[i][key] = env[j][key] * 2
    elif kind == "item":
        j, key, function = rest
        env[i][key] = function(env[i][key], env[j][key])
    elif kind == "shift":
        env[i][1 - rest[0]] = env[i][rest[0]]
    elif kind == "view":
        part = VIEWS[rest[0]](env[i])
        part *= 1.5
    elif kind == "keep":
        kept.append(env[i][rest[0]])
    del env[:-4]  # the latest four


def beginning(x, y):
    across = (x.reshape(3, 2) * y.reshape(3, 2)).T  # the first axis varies fastest
    return [x * 1, y * 1, across, (x + y).reshape(6)[::-1].reshape(2, 3)]


def outcome(env, kept, total):
    return total([total(x * (k + 1)) for k, x in enumerate(env + kept)])


def on_numpy(program, x, y):
    env, kept = beginning(x, y), []
    for step in program:
        perform(step, env, kept, np.tanh)
    return [np.array(x) for x in env + kept], outcome(env, kept, np.sum)


def on_tensors(program, x, y):
    env, kept = beginning(x, y), []
    for step in program:
        before = [t.detach().numpy().copy() for t in env + kept]
        tensors = env + kept
        try:
            perform(step, env, kept, gt.tanh)
        except GraphError:
            for t, values in zip(tensors, before, strict=True):  # nothing was changed
                np.testing.assert_array_equal(t.detach().numpy(), values)
            raise
    return env + kept, outcome(env, kept, lambda v: gt.sum(gt.stack(v) if type(v) is list else v))


X, Y = np.random.default_rng(0).uniform(-1, 1, (2, *SHAPE))


@settings(max_examples=200, deadline=None)
@given(st.lists(STEPS, min_size=1, max_size=7))
def test_programs_are_right_or_refused(program):
    x, y = leaf(X), leaf(Y)
    expected, total = on_numpy(program, X, Y)
    with gt.no_grad():  # off the tape nothing is refused
        for a, b in zip(on_tensors(program, x, y)[0], expected, strict=True):
            np.testing.assert_allclose(a.numpy(), b, rtol=1e-10, atol=1e-12)
    try:
        found, out = on_tensors(program, x, y)
    except GraphError:
        event("refused")
        return
    event("right")
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(out.item(), total, rtol=1e-10)
    out.backward()
    step = 1e-30  # the complex step: exact to rounding
    for which, t in enumerate((x, y)):
        grad = np.zeros(SHAPE) if t.grad is None else t.grad.numpy()
        for place in np.ndindex(SHAPE):
            arrays = [X.astype(complex), Y.astype(complex)]
            arrays[which][place] += step * 1j
            derivative = on_numpy(program, *arrays)[1].imag / step
            np.testing.assert_allclose(grad[place], derivative, rtol=1e-8, atol=1e-9)


# Programs that must not be refused.
RIGHT = {
    "chain": [("inplace", 0, 1, operator.imul), ("number", 0, operator.iadd)],
    "saved result": [("tanh", 0), ("inplace", 3, 1, operator.iadd)],
    "by itself": [("inplace", 0, 0, operator.imul), ("inplace", 0, 0, operator.iadd)],
    "rows": [("item", 0, 1, (0,), operator.iadd), ("item", 0, 1, (..., -1), operator.imul)],
    "row by row": [("shift", 2, 0), ("shift", 2, 1)],
    "fancy": [("set", 0, 1, COPYING[0]), ("set", 0, 2, COPYING[2]), ("set", 0, 3, MASK)],
    "through views": [("view", 0, k) for k in range(len(VIEWS))],
    "through views of the same strides": [("view", k, v) for v in (4, 0) for k in range(4)],
}


@pytest.mark.parametrize("name", RIGHT)
def test_common_programs_are_not_refused(name):
    x, y = leaf(X), leaf(Y)
    _, out = on_tensors(RIGHT[name], x, y)
    assert out.item() == pytest.approx(on_numpy(RIGHT[name], X, Y)[1])
    out.backward()
    moved = leaf(X + 1e-6), leaf(X - 1e-6)
    up, down = (on_tensors(RIGHT[name], m, leaf(Y))[1].item() for m in moved)
    assert x.grad.sum().item() == pytest.approx((up - down) / 2e-6, rel=1e-6)


@pytest.mark.peers
@settings(max_examples=30, deadline=None)
@given(st.data())
def test_gradients_equal_those_of_jax(data):
    jax = pytest.importorskip("jax")
    program = data.draw(
        st.lists(
            st.one_of(
                st.tuples(indices, indices, st.sampled_from(["add", "multiply", "subtract"])),
                st.tuples(indices, indices, st.sampled_from(KEYS + COPYING[:2])),
            ),
            max_size=6,
        )
    )

    def functional(x, y):
        env = [x, y, x * y, x + y]
        for i, j, what in program:
            if isinstance(what, str):
                env[i] = getattr(jax.numpy, what)(env[i], env[j])
            else:
                lists = type(what) is tuple and type(what[0]) is list
                key = tuple(map(np.asarray, what)) if lists else what
                env[i] = env[i].at[key].set(jax.numpy.sin(env[j][key]))
        return sum((x * (k + 1)).sum() for k, x in enumerate(env))

    x, y = leaf(X), leaf(Y)
    env = [x * 1, y * 1, x * y, x + y]
    change = {"add": operator.iadd, "multiply": operator.imul, "subtract": operator.isub}
    try:
        for i, j, what in program:
            if isinstance(what, str):
                env[i] = change[what](env[i], env[j])
            else:
                key = key_for(env[i], what)
                env[i][key] = gt.sin(env[j][key])
    except GraphError:
        reject()
    sum((x * (k + 1)).sum() for k, x in enumerate(env)).backward()
    with jax.enable_x64(True):
        expected = jax.grad(functional, (0, 1))(jax.numpy.asarray(X), jax.numpy.asarray(Y))
    for t, e in zip((x, y), expected, strict=True):
        np.testing.assert_allclose(t.grad.numpy(), e, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
@pytest.mark.parametrize("dtype", ["float32", "int64", "uint8"])
@pytest.mark.parametrize("name", ["iadd", "isub", "imul", "ifloordiv", "imod", "ipow", "itruediv"])
def test_operators_equal_numpy(name, dtype, shape):
    change = getattr(operator, name)
    for other in (np.full(shape, 2, dtype), 3, np.asarray(2, dtype)):
        expected = np.full(shape, 7, dtype)
        if name == "itruediv" and dtype != "float32":
            with pytest.raises(gt.errors.DTypeError, match=f"float64.*{dtype}"):
                change(gt.tensor(expected), gt.tensor(other) if hasattr(other, "shape") else other)
            continue
        x = gt.tensor(expected)
        same = change(x, gt.tensor(other) if hasattr(other, "shape") else other)
        assert same is x
        np.testing.assert_array_equal(x.numpy(), np.asarray(change(expected, other)))
        assert x.dtype == dtype


@pytest.mark.parametrize("name", ["iand", "ior", "ixor", "ilshift", "irshift"])
def test_bitwise_operators_equal_numpy(name):
    a, b = np.array([1, 6, 12]), np.array([3, 1, 2])
    x = gt.tensor(a)
    getattr(operator, name)(x, gt.tensor(b))
    assert x.tolist() == getattr(operator, name)(a, b).tolist()


def test_matrix_product_in_place():
    x, w = gt.tensor([[1.0, 2.0]]), gt.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    x @= w.detach()
    assert x.tolist() == [[7, 10]]
    x @= w
    x.sum().backward()
    assert w.grad.tolist() == [[7, 7], [10, 10]]


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_assignment_equals_numpy(data):
    shape = data.draw(hnp.array_shapes(max_dims=3, max_side=4))
    size = int(np.prod(shape))
    expected = np.arange(size, dtype=data.draw(st.sampled_from(["f4", "f8", "i8"]))).reshape(shape)
    key = data.draw(
        st.one_of(
            hnp.basic_indices(shape, allow_ellipsis=True, allow_newaxis=True),
            hnp.arrays(bool, shape),
            hnp.integer_array_indices(shape),
            st.integers(0, shape[0] - 1).map(np.int64),
        )
    )
    part = expected[key].shape
    wider = data.draw(st.sampled_from([part, (), (1, *part), part[1:]]))
    value = np.random.default_rng(0).integers(-9, 9, wider).astype(expected.dtype)
    x = gt.tensor(expected)
    wrapped = key_for(x, key)
    try:
        expected[key] = value
    except (TypeError, ValueError):  # of the shape
        if x.device != "cpu":
            reject()  # CuPy drops leading axes of length 1 that NumPy does not
        for tracked in (False, True):
            v = gt.tensor(value, requires_grad=tracked and expected.dtype.kind == "f")
            with pytest.raises(gt.errors.ShapeError):
                x[wrapped] = v
        return
    x[wrapped] = gt.tensor(value)
    np.testing.assert_array_equal(x.numpy(), expected)
    expected[key] += 1
    x[wrapped] += 1
    np.testing.assert_array_equal(x.numpy(), expected)
    if expected.dtype.kind == "f":  # and on the tape
        y = gt.tensor(expected, requires_grad=True) * 1
        v = gt.tensor(value, requires_grad=True)
        y[wrapped] = v
        expected[key] = value
        y[wrapped] *= 3
        expected[key] *= 3
        np.testing.assert_array_equal(y.detach().numpy(), expected)
        y.sum().backward()
        last = np.full(shape, -1)  # who stays
        numbers = np.arange(int(np.prod(part))).reshape(part)
        last[key] = numbers
        share = np.where(last[key] == numbers, 3.0, 0)
        while share.ndim > v.ndim:
            share = share.sum(axis=0)
        np.testing.assert_allclose(v.grad.numpy(), share.reshape(v.shape))


def test_a_view_is_assigned_elsewhere():
    x = gt.tensor([[1.0, 2.0], [3.0, 4.0]])
    first = x[0]
    x[gt.tensor([False, True])] = first
    x[[1]] += first
    assert x.tolist() == [[1, 2], [2, 4]]
    x[1] = first
    assert x.tolist() == [[1, 2], [1, 2]]


def test_other_views_are_no_parts():
    x = gt.zeros((6, 4))
    with pytest.raises(gt.errors.ShapeError):
        x[4, 2:] = x.reshape(4, 6)
    x[1, 0] = 5.0
    y = x.reshape(1, 24)
    with pytest.raises(gt.errors.ShapeError):
        x[1, 3] = y
    square = gt.arange(4).reshape(2, 2)
    square[1, 0] = square.T[1, 1]
    assert square.tolist() == [[0, 1], [3, 3]]
    cube = gt.arange(2).reshape(2, 1)
    with pytest.raises(gt.errors.ShapeError):
        cube[1, 0] = cube.T  # whose axes, (1, 0), look like the key


def test_memory_is_written_off_the_tape():
    x = gt.zeros((2, 2))
    view, memory = x[0], x.array
    x += 1
    view[1] = 5
    assert x.array is memory
    assert x.tolist() == [[1, 5], [1, 1]]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda x: operator.iadd(x, gt.tensor([1j])), "complex"),
        (lambda x: operator.iadd(gt.arange(3, dtype="uint8"), gt.arange(3)), r"int64.*uint8"),
        (lambda x: operator.iadd(gt.arange(3), 1.5), r"float64.*int64"),
        (lambda x: operator.setitem(gt.arange(3), 0, 1.5), r"float64.*int64"),
        (lambda x: operator.setitem(gt.arange(3), 0, x), r"float32.*int64"),
        (lambda x: operator.setitem(x, 0, 1j), r"complex64|complex128.*float32"),
        (lambda x: operator.ipow(gt.arange(3), -1), "pow: an integer to a negative power"),
    ],
)
@pytest.mark.parametrize("tracked", [False, True])
def test_the_dtype_must_not_change(change, text, tracked):
    x = gt.tensor([1.0, 2.0, 3.0], requires_grad=tracked) * 1
    with pytest.raises(gt.errors.DTypeError, match=text):
        change(x)
    assert x.tolist() == [1, 2, 3]


DTYPES = [
    "bool",
    "int8",
    "int32",
    "int64",
    "uint8",
    "uint32",
    "float16",
    "float32",
    "float64",
    "complex64",
    "complex128",
]


@pytest.mark.cpu
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("symbol", ["iadd", "isub", "imul", "itruediv", "ifloordiv", "ixor"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_results_are_cast_by_numpys_rule(symbol, dtype):
    function = getattr(operator, symbol)
    others = [np.array([1, 2, 1], other) for other in DTYPES]
    for y in (*others, 2, 2.5, np.float64(2), np.int64(2)):
        array = np.array([5, 3, 1], dtype)
        x, memory = gt.asarray(array.copy()), gt.asarray(array.copy())
        memory = x.array
        try:
            wanted = function(array.copy(), y)
        except TypeError:
            with pytest.raises(TypeError):
                function(x, gt.asarray(y) if isinstance(y, np.ndarray) else y)
            assert x.tolist() == array.tolist()
            continue
        x = function(x, gt.asarray(y) if isinstance(y, np.ndarray) else y)
        assert x.array is memory
        assert x.dtype == dtype
        np.testing.assert_array_equal(x.numpy(), wanted)


def test_gradients_of_results_that_are_cast():
    w, wide = gt.tensor([1.0, 2.0], requires_grad=True), gt.tensor([3.0, 4.0], dtype=gt.float64)
    wide.requires_grad = True
    x = w * 1
    x *= wide
    assert x.dtype == gt.float32
    x.sum().backward()
    assert (w.grad.tolist(), w.grad.dtype) == ([3, 4], gt.float32)
    assert (wide.grad.tolist(), wide.grad.dtype) == ([1, 2], gt.float64)


@pytest.mark.parametrize("tracked", [False, True])
def test_the_shape_must_not_change(tracked):
    x = gt.tensor([1.0, 2.0, 3.0], requires_grad=tracked) * 1
    with pytest.raises(gt.errors.ShapeError, match=r"\+=: the result has shape \(2, 3\)"):
        x += gt.ones((2, 3))
    with pytest.raises(gt.errors.ShapeError, match="broadcast"):
        x[:2] = gt.ones(3)
    assert x.tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    "change",
    [
        lambda w: operator.iadd(w, 1),
        lambda w: operator.setitem(w, 0, 9.0),
        lambda w: operator.imul(w[0], 2),
        lambda w: operator.imul(w.reshape(1, 2), 2),
        lambda w: operator.setitem(w.reshape(1, 2), 0, 9.0),
    ],
)
def test_a_leaf_is_changed_inside_no_grad_only(change):
    w = leaf([1.0, 2.0])
    with pytest.raises(GraphError, match="no_grad"):
        change(w)
    assert w.tolist() == [1, 2]
    with gt.no_grad():
        change(w)
    assert w.tolist() != [1, 2]
    assert w.requires_grad


@pytest.mark.parametrize(
    "share",
    [lambda x: x.detach(), lambda x: x.array[:1], lambda x: x.array, lambda x: gt.tanh(x * x)],
)
def test_shared_memory_is_refused_on_the_tape(share):
    x = leaf([1.0, 2.0]) * 1
    other = share(x)
    with pytest.raises(GraphError, match=r"\*=: the memory of the result of multiply"):
        x *= 2
    assert x.tolist() == [1, 2]
    del other
    x *= 2
    assert x.tolist() == [2, 4]


def test_views_that_are_in_use_follow():
    def program(w, one):
        x = one(w, w)
        rows = [x[0], x[1]]
        for row in x:
            row += w
        rows[0] *= rows[1]
        x[0][1] += w[2]
        column = x.T[1]
        x.T[0] += w[1] * 2
        flat = x.reshape(-1)
        flat[::2] *= w
        rows[1] -= column.sum()
        return [x, *rows, row, column, flat]

    w = leaf([1.0, 2.0, 3.0])
    found = program(w, lambda a, b: gt.stack([a, b * a]))
    expected = program(np.array([1.0, 2, 3]), lambda a, b: np.stack([a, b * a]))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b)
    sum(t.sum() for t in found).backward()
    for i in range(3):
        moved = np.array([1, 2, 3], complex)
        moved[i] += 1e-30j
        out = sum(t.sum() for t in program(moved, lambda a, b: np.stack([a, b * a])))
        assert w.grad[i].item() == pytest.approx(out.imag / 1e-30)


def test_views_that_are_gone_are_forgotten():
    x = gt.zeros(4)
    kept = [x[i] for i in range(4)]
    for _ in range(1000):
        x[1:]
    assert len(x._views) <= 2 * len(kept) + 33
    x += gt.tensor(np.arange(4), dtype=gt.float32, requires_grad=True)
    assert [v.item() for v in kept] == [0, 1, 2, 3]
    assert all(v.requires_grad for v in kept)


def test_memory_of_the_user_is_refused_on_the_tape():
    data = np.zeros(2)
    x = gt.asarray(data, device="cpu")
    with pytest.raises(GraphError, match="this tensor is also that of another"):
        x += gt.tensor([1.0, 2.0], dtype=gt.float64, device="cpu", requires_grad=True)
    x += 1
    assert data.tolist() == [1, 1]
    foreign = gt.asarray(np.frombuffer(bytearray(16), dtype=np.float64), device="cpu")
    with pytest.raises(GraphError, match="also that of"):
        foreign += leaf([1.0, 2.0]).cpu()


def test_a_buffer_takes_gradients():
    w, buffer = leaf([0.5, 0.25]), gt.zeros((3, 2), dtype=gt.float64)
    memory = id(buffer.array)
    h = w * 1
    for t in range(3):
        h = gt.tanh(h * w)
        buffer[t] = h
    assert id(buffer.array) == memory  # not copied at each step
    buffer.sum().backward()

    def functional(w):
        rows, h = [], w
        for _ in range(3):
            h = gt.tanh(h * w)
            rows.append(h)
        return gt.stack(rows).sum()

    np.testing.assert_allclose(w.grad.numpy(), gt.grad(functional)(w.detach()).numpy())


def test_a_recurrence_may_read_the_buffer_it_writes():
    w = leaf([0.5, 0.25])
    buffer = gt.ones((4, 2), dtype=gt.float64)
    for t in range(3):
        buffer[t + 1] = gt.tanh(buffer[t] * w)
    buffer[-1].sum().backward()
    h = v = leaf([0.5, 0.25])
    h = gt.tanh(v * 1)
    for _ in range(2):
        h = gt.tanh(h * v)
    h.sum().backward()
    np.testing.assert_allclose(w.grad.numpy(), v.grad.numpy())


CHANGES = {
    "operator": lambda x: operator.imul(x, 2),
    "item": lambda x: operator.setitem(x, 0, 9.0),
    "detached": lambda x: operator.iadd(x.detach(), 1),
    "view": lambda x: operator.setitem(x[1:], 0, 9.0),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_saved_values_that_were_changed_are_noticed(change):
    x = leaf([1.0, 2.0])
    out, other = (x * x).sum(), (x + 1).sum()
    with gt.no_grad():
        change(x)
    with pytest.raises(GraphError, match=r"multiply saved a value .* changed in place afterwards"):
        out.backward()
    other.backward()  # needs no values
    (x * x).sum().backward()  # made after the change
    assert x.grad.tolist() == (2 * x.detach() + 1).tolist()


def test_a_changed_result_is_noticed():
    x = leaf([1.0, 2.0])
    y = gt.exp(x)
    with gt.no_grad():
        y += 1
    with pytest.raises(GraphError, match="exp saved a value"):
        y.sum().backward()


def test_a_changed_index_is_noticed():
    x, index = leaf([1.0, 2.0]), gt.tensor([1, 1])
    out = x[index].sum()
    index -= 1
    with pytest.raises(GraphError, match="getitem saved a value"):
        out.backward()


@pytest.mark.parametrize("optimizer", [gt.optim.SGD, gt.optim.Adam])
def test_a_step_between_forward_and_backward_is_noticed(optimizer):
    w = gt.tensor([1.0, 2.0], requires_grad=True)
    steps = optimizer([w], lr=0.1)
    first, second = (w * w).sum(), (w * w).sum()
    first.backward()
    second.backward()  # no step yet
    steps.step()
    third = (w * w).sum()
    steps.zero_grad()
    third.backward(retain_graph=True)
    steps.step()
    with pytest.raises(GraphError, match="an optimizer's step"):
        third.backward()


def test_loaded_parameters_are_noticed():
    layer, x = gt.nn.Dense(2, 2), gt.ones((1, 2))
    out = (layer(x) ** 2).sum()
    layer.load_state_dict(layer.state_dict())
    with pytest.raises(GraphError, match="load_state_dict"):
        out.backward()


def at(comment):
    """Pattern of the place in this file of the line with a comment at its end."""
    lines = Path(__file__).read_text().splitlines()
    (number,) = (i + 1 for i, line in enumerate(lines) if line.endswith(f"# {comment}"))
    return rf"at [^ ]*test_inplace.py:{number}, in test_errors_name_the_lines: "


def test_errors_name_the_lines():
    x = gt.tensor([1.0, 2.0], requires_grad=True)  # the leaf
    squares = x * x  # the product
    with pytest.raises(GraphError, match=rf"^\+=: .*\({at('the leaf')}"):
        x += 1
    with pytest.raises(GraphError, match=rf"^x\[key\] = value: .*\({at('the leaf')}"):
        x[0] = 1.0
    with pytest.raises(GraphError, match=rf"^\*=: .*\({at('the leaf')}"):
        x[1:] *= 2.0
    layer = gt.nn.Dense(2, 2)  # the layer
    with pytest.raises(GraphError, match=rf"^-=: .*\({at('the layer')}"):
        layer.bias -= 1
    with gt.no_grad():
        x += 1  # the change
    saved = rf"multiply saved .*\({at('the product')}.*"
    with pytest.raises(GraphError, match=rf"{saved}\+= changed .*\({at('the change')}"):
        squares.sum().backward()
    results = (
        x * 2,  # by an operator
        x.mean(axis=0),  # by a method
        gt.linalg.svd(gt.stack([x, x]))[0],  # by one of several results
        layer(gt.ones((1, 2))),  # by a layer
        gt.grad(lambda t: (t**3).sum())(x),  # by a transform
    )
    comments = ("an operator", "a method", "one of several results", "a layer", "a transform")
    for t, comment in zip(results, comments, strict=True):
        held = t.detach()
        with pytest.raises(GraphError, match=rf"^/=: .*\(made {at(f'by {comment}')}"):
            t /= 2
        del held


def test_a_place_holds_no_frame():
    class Local:
        pass

    def make():
        local = Local()
        gone.append(weakref.ref(local))
        return leaf([1.0]) * 2

    gone = []
    x = make()
    assert gone[0]() is None
    assert x.requires_grad


def test_higher_derivatives_notice_too():
    x = leaf([1.0, 2.0])
    out = (x**3).sum()
    with gt.no_grad():
        x *= 2
    with pytest.raises(GraphError, match="pow_number"):
        autograd.propagate([(out._node, gt.ones((), dtype=gt.float64))], create_graph=True)


def test_second_derivatives_of_changes():
    def f(x):
        y = gt.tanh(x)
        y *= x
        y[0] += x[1] * x[2]
        y[[1, 1]] = x[:2] ** 3
        return y.sum()

    x = leaf([0.3, -0.5, 0.8])
    assert gt.gradcheck(f, x)
    assert gt.gradcheck(gt.grad(f), x)


def test_gradients_can_be_scaled_in_place():
    x = leaf([1.0, 2.0])
    (x * 3).sum().backward()
    x.grad *= 0.5
    assert x.grad.tolist() == [1.5, 1.5]
    optimizer = gt.optim.SGD([x], lr=1.0)
    optimizer.zero_grad()
    (x * 3).sum().backward()
    x.grad *= 0.5
    optimizer.step()
    assert x.tolist() == [-0.5, 0.5]


def test_nothing_is_remembered_of_memory_that_is_gone():
    x = gt.zeros(3)
    x += 1
    gc.collect()
    before = len(autograd.changes._changes)
    del x
    assert len(autograd.changes._changes) == before - 1


def test_a_view_off_the_tape_keeps_no_tape():
    x = leaf([1.0, 2.0])
    y = gt.exp(x)
    node = weakref.ref(y)
    with gt.no_grad():
        first = y[0]
        first += 1  # writes into y all the same
    assert y.tolist()[0] == first.item()
    del y
    assert node() is None
    second = gt.exp(x)
    with gt.no_grad():
        part = second[0]
    with pytest.raises(GraphError, match="also that of another tensor"):
        part += x[0]


def test_on_a_device(cupy):
    w = gt.tensor(X, requires_grad=True, device="cuda")
    y = gt.tanh(w)
    y *= w
    y[0] += w[1]
    y[[1, 1], 0] = w[0, :2]
    v = y.T
    v[0] -= 1
    y.sum().backward()
    x = leaf(X).to("cpu")
    x = gt.tensor(X, requires_grad=True, device="cpu")
    z = gt.tanh(x)
    z *= x
    z[0] += x[1]
    z[[1, 1], 0] = x[0, :2]
    z.T[0] -= 1
    z.sum().backward()
    np.testing.assert_allclose(y.detach().numpy(), z.detach().numpy(), rtol=1e-12)
    np.testing.assert_allclose(w.grad.numpy(), x.grad.numpy(), rtol=1e-12)
    memory = gt.zeros(3, device="cuda")
    view = memory[1:]
    memory += 1
    view[0] = 7
    assert memory.tolist() == [1, 7, 1]
    d = y.detach()
    with pytest.raises(GraphError, match="another tensor"):
        y += 1
    d += 1
    with pytest.raises(gt.errors.DeviceMismatchError):
        memory += gt.zeros(3, device="cpu")
