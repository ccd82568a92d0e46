"""The tape: accumulation, freeing, modes, deep graphs, transforms."""

import gc
import threading
import tracemalloc
import weakref

import numpy as np
import pytest

import gputensor as gt


def leaf(*values):
    return gt.tensor(list(values), requires_grad=True)


def test_gradients_accumulate():
    x = leaf(1.0, 2.0)
    (x * 3).sum().backward()
    (x * 4).sum().backward()
    assert x.grad.tolist() == [7, 7]
    x.grad = None
    assert x.grad is None


def test_a_value_used_twice_gets_both_gradients():
    x = leaf(3.0)
    y = x * x
    (y + y * x).sum().backward()
    assert x.grad.tolist() == [2 * 3 + 3 * 9]


def test_gradients_of_two_leaves_do_not_share_memory():
    x, y = leaf(1.0, 2.0), leaf(3.0, 4.0)
    (x + y).backward(gt.ones(2))
    x.grad.array[0] = 100
    assert y.grad.tolist() == [1, 1]


def test_the_given_gradient_is_not_kept():
    x, g = leaf(1.0, 2.0), gt.ones(2)
    (x + 0.0).backward(g)
    x.grad.array[0] = 100
    assert g.tolist() == [1, 1]


def test_second_backward_says_retain_graph():
    x = leaf(1.0)
    y = x * x
    y.backward()
    with pytest.raises(gt.errors.GraphError, match="retain_graph=True"):
        y.backward()


def test_retain_graph_allows_a_second_backward():
    x = leaf(3.0)
    y = x * x
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.tolist() == [12]


def test_saved_values_are_freed_after_backward():
    x = leaf(1.0, 2.0)
    y = gt.exp(x)
    saved = weakref.ref(y.array.base if y.array.base is not None else y)
    out = (y * y).sum()
    del y
    out.backward()
    gc.collect()
    assert saved() is None
    assert out._node.saved is None


def test_a_graph_is_freed_without_the_garbage_collector():
    gc.disable()
    try:
        x = leaf(1.0, 2.0)
        y = x * 2
        seen = weakref.ref(y)
        z = (y + 1).sum()
        z.backward()
        del y, z
        assert seen() is None
    finally:
        gc.enable()


def test_additions_keep_no_operand_alive():
    x = leaf(1.0, 2.0)
    y = x * 2
    seen = weakref.ref(y)
    z = y + 1
    del y
    assert seen() is None
    z.sum().backward()
    assert x.grad.tolist() == [2, 2]


@pytest.mark.parametrize("depth", [10_000])
def test_deep_graphs(depth):
    x = leaf(1.0)
    y = x
    for _ in range(depth):
        y = y + x
    y.backward()
    assert x.grad.item() == depth + 1
    del y  # freeing a long chain must not recurse either


def test_backward_of_several_elements_needs_a_gradient():
    with pytest.raises(gt.errors.GraphError, match="needs `gradient`"):
        (leaf(1.0, 2.0) * 2).backward()
    with pytest.raises(gt.errors.ShapeError, match=r"\(3,\)"):
        (leaf(1.0, 2.0) * 2).backward(gt.ones(3))
    with pytest.raises(TypeError, match="gradient must be a Tensor"):
        (leaf(1.0, 2.0) * 2).backward(np.ones(2))


def test_backward_without_a_graph_is_an_error():
    with pytest.raises(gt.errors.GraphError, match="requires_grad=True"):
        (gt.ones(1) * 2).backward()


def test_no_grad_as_context_and_decorator():
    x = leaf(1.0)
    with gt.no_grad():
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad

    @gt.no_grad()
    def double(t):
        return t * 2

    assert not double(x).requires_grad
    assert (x * 2).requires_grad


def test_no_grad_is_left_after_an_error():
    def fail():
        with gt.no_grad():
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert (leaf(1.0) * 2).requires_grad


def test_no_grad_holds_in_its_thread_only():
    x = leaf(1.0)
    found = []
    with gt.no_grad():
        thread = threading.Thread(target=lambda: found.append((x * 2).requires_grad))
        thread.start()
        thread.join()
    assert found == [True]


def test_threads_have_graphs_of_their_own():
    leaves = [leaf(float(i)) for i in range(8)]

    def work(x):
        for _ in range(50):
            (gt.tanh(x * x) + x).sum().backward()

    threads = [threading.Thread(target=work, args=(x,)) for x in leaves]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for x in leaves:
        v = x.item()
        expected = 50 * ((1 - np.tanh(v * v) ** 2) * 2 * v + 1)
        np.testing.assert_allclose(x.grad.item(), expected, rtol=1e-4)


def test_detach_shares_memory_and_leaves_the_tape():
    x = leaf(1.0)
    d = (x * 2).detach()
    assert not d.requires_grad
    assert np.shares_memory(x.detach().array, x.array)


def test_integer_results_are_off_the_tape():
    x = leaf(1.0, 2.0)
    assert not (x > 1).requires_grad
    assert not gt.argmax(x).requires_grad
    assert not x.astype(gt.int32).requires_grad


def test_gradient_is_cast_to_the_leafs_dtype():
    x = gt.tensor([1.0], dtype=gt.float16, requires_grad=True)
    (x.astype(gt.float64) * 3).sum().backward()
    assert x.grad.dtype == gt.float16


def test_mixed_dtypes():
    x = leaf(1.0, 2.0)
    (x * gt.asarray(np.array([2.0, 3.0]))).sum().backward()
    assert x.grad.dtype == gt.float32
    assert x.grad.tolist() == [2, 3]


def test_requires_grad_setter():
    x = gt.ones(2)
    x.requires_grad = True
    assert x.requires_grad
    y = x * 2
    with pytest.raises(gt.errors.GraphError, match="detach"):
        y.requires_grad = False
    x.requires_grad = False
    assert not (x * 2).requires_grad


def test_grad_setter_checks():
    x = leaf(1.0, 2.0)
    with pytest.raises(gt.errors.ShapeError):
        x.grad = gt.ones(3)
    with pytest.raises(TypeError):
        x.grad = 1.0
    x.grad = gt.ones(2, dtype=gt.float64)
    assert x.grad.dtype == gt.float32
    with pytest.raises(gt.errors.GraphError):
        (x * 2).grad = gt.ones(2)


def test_numpy_of_a_tracked_tensor_is_an_error():
    x = gt.tensor([1.0], requires_grad=True, device="cpu")
    with pytest.raises(gt.errors.GraphError, match="detach"):
        x.numpy()
    with pytest.raises(gt.errors.GraphError, match="detach"):
        np.asarray(x)
    assert np.asarray(x.detach()).tolist() == [1]


def test_tensor_is_made_by_functions_only():
    with pytest.raises(TypeError, match=r"gt\.tensor"):
        gt.Tensor([1.0])


def test_value_and_grad():
    value, (dx, dy) = gt.value_and_grad(lambda x, y: (x * y).sum(), (0, 1))(leaf(2.0), leaf(5.0))
    assert (value.item(), dx.item(), dy.item()) == (10, 5, 2)


def test_gradients_are_on_the_tape_if_an_argument_is():
    for tracked in (False, True):
        x = gt.tensor(2.0, requires_grad=tracked)
        value, gradient = gt.value_and_grad(lambda t: t * t)(x)
        assert value.requires_grad == gradient.requires_grad == tracked


def test_grad_leaves_grad_attributes_alone():
    x = leaf(2.0)
    gt.grad(lambda t: (t * x).sum())(gt.tensor([3.0]))
    assert x.grad is None


def test_derivatives_of_any_order():
    f = gt.sin
    for expected in (np.cos(0.5), -np.sin(0.5), -np.cos(0.5), np.sin(0.5)):
        f = gt.grad(f)
        assert f(gt.tensor(0.5, dtype=gt.float64)).item() == pytest.approx(expected)


def test_grad_of_what_does_not_depend_is_zero():
    assert gt.grad(lambda x: gt.ones(()))(gt.tensor(1.0)).item() == 0


def test_grad_refuses_integers_and_vectors():
    with pytest.raises(gt.errors.DTypeError, match="argument 0 is int64"):
        gt.grad(lambda x: x)(gt.tensor(1))
    with pytest.raises(gt.errors.GraphError, match="a gradient is that of one number"):
        gt.grad(lambda x: x * 2)(gt.ones(2))


def test_gradcheck_finds_a_wrong_gradient():
    def detached(x):
        return x * x.detach()  # the tape sees half of the derivative

    with pytest.raises(gt.errors.GradcheckError, match="element"):
        gt.gradcheck(detached, gt.tensor([1.0], dtype=gt.float64, requires_grad=True))
    with pytest.raises(gt.errors.DTypeError, match="float64"):
        gt.gradcheck(gt.exp, leaf(1.0))


def test_repr_says_what_matters():
    x = leaf(1.0)
    where = "" if x.device == "cpu" else f"device='{x.device}', "
    assert repr(x) == f"tensor([1.], {where}dtype=float32, requires_grad=True)"
    assert "grad_fn=multiply" in repr(leaf(1.0) * 2)


def chain_of_functions(x, w):
    for _ in range(6):
        x = gt.exp(gt.sin(x))
    return x.sum()


def chain_with_shared_operands(x, w):
    z = x
    for _ in range(6):
        z = gt.tanh(z * w + x)
    return z.sum()


@pytest.mark.cpu
@pytest.mark.parametrize(
    ("function", "leaves"), [(chain_of_functions, 0), (chain_with_shared_operands, 2)]
)
def test_a_backward_pass_needs_two_gradients_beside_what_was_saved(function, leaves):
    """And those of the leaves that are being added up, but for an element here and there."""
    size = 100_000
    x, w = (
        gt.tensor(np.linspace(0.1, 1, size), dtype="float32", requires_grad=True) for _ in range(2)
    )
    gc.collect()
    tracemalloc.start()
    try:
        out = function(x, w)
        saved = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        out.backward()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (peak - saved) / x.nbytes < 2 + leaves + 0.1


KEYS = [
    *(0, -1, slice(None), slice(1, 3), slice(None, None, -2), (slice(None), 1), (..., 2)),
    *((0, 1), (None, 2), (slice(1, None), slice(None, 0, -1)), [0, 2, 2], (np.array([1, 0]), 1)),
    np.array([True, False, True, True]),
]


def there(key):
    """A key with its arrays as tensors on the device."""
    if isinstance(key, tuple):
        return tuple(map(there, key))
    return gt.asarray(key) if isinstance(key, (list, np.ndarray)) else key


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "complex64"])
@pytest.mark.parametrize("first", range(len(KEYS)))
def test_gradients_of_parts_add_up(dtype, first):
    """However parts overlap, in whatever order they come, and beside uses of the whole."""
    x = gt.tensor(np.arange(12.0).reshape(4, 3), dtype=dtype, requires_grad=True)
    keys = KEYS[first:] + KEYS[:first]
    expected = np.full((4, 3), 2, dtype)
    for k, key in enumerate(keys):
        np.add.at(expected, key, k + 1)
    for place in (x, x * 1):  # a leaf, and what was computed
        total = gt.sum(2 * place)
        for k, key in enumerate(keys):
            total = total + gt.sum((k + 1) * place[there(key)])
        x.grad = None
        gt.real(total).backward()
        assert x.grad.dtype == x.dtype
        np.testing.assert_array_equal(x.grad.cpu().numpy(), expected)


def test_what_is_given_of_a_part_is_not_changed_by_other_parts():
    x = gt.tensor(np.arange(6.0).reshape(2, 3), requires_grad=True)
    y = x * 2
    seen = []
    y.register_hook(lambda g: seen.append(g))
    first, second = y[0], y[1]
    first.register_hook(lambda g: seen.append(g))
    (first * second + first).sum().backward(retain_graph=True)
    kept = [g.cpu().numpy().copy() for g in seen]
    grad = x.grad
    before = grad.cpu().numpy().copy()
    (first * second + first).sum().backward()
    for g, values in zip(seen, kept, strict=False):
        np.testing.assert_array_equal(g.cpu().numpy(), values)
    np.testing.assert_array_equal(grad.cpu().numpy(), before)
    np.testing.assert_array_equal(x.grad.cpu().numpy(), 2 * before)


@pytest.mark.cpu
def test_a_loop_over_parts_does_not_make_zeros_for_each(monkeypatch):
    made = []
    host = gt.backend.NAMESPACES[np.ndarray]
    index_put = host.index_put
    monkeypatch.setitem(
        vars(host), "index_put", lambda *args: (made.append(args[0]), index_put(*args))[1]
    )
    x = gt.tensor(np.ones((50, 4)), requires_grad=True)
    state = gt.zeros(4, dtype="float64")
    for row in x * 1:
        state = gt.tanh(state + row)
    state.sum().backward()
    assert made == [(50, 4)]
    assert gt.gradcheck(lambda x: sum(gt.sin(row).sum() for row in x * 1), x)


def test_derivatives_of_derivatives_pass_through_parts():
    x = gt.tensor(np.array([0.5, 1.5, 2.5]), requires_grad=True)

    def function(x):
        y = x**3
        return y[0] * y[1] + y[1:].sum() * y[-1]

    assert gt.gradgradcheck(function, x)
