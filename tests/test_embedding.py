"""Rows by number: lookup, sums towards each row, bad numbers, order of additions."""

import numpy as np
import pytest

import gputensor as gt
from gputensor import config
from gputensor.kernels import embedding, embedding_backward
from gputensor.nn import functional as F

RNG = np.random.default_rng(17)


def summed(g, index, rows):
    grad = np.zeros((rows, g.shape[1]))
    np.add.at(grad, index, g.astype(float))
    return grad


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize(("rows", "columns", "places"), [(1, 1, 1), (7, 5, 40), (50, 64, 200)])
@pytest.mark.parametrize("kernels", ["auto", "reference"])
def test_lookup_and_gradient(dtype, rows, columns, places, kernels, monkeypatch):
    monkeypatch.setenv("GPUTENSOR_KERNELS", kernels)
    weight = RNG.normal(size=(rows, columns)).astype(dtype)
    index = RNG.integers(0, rows, places)
    np.testing.assert_array_equal(embedding.raw(weight, index), weight[index])
    g = RNG.normal(size=(places, columns)).astype(dtype)
    found = embedding_backward.raw(g, index, rows=rows)
    assert found.dtype == dtype
    allowed = {"float32": 1e-5, "float64": 1e-12, "float16": 4e-3}[np.dtype(dtype).name]
    np.testing.assert_allclose(found, summed(g, index, rows), rtol=allowed, atol=allowed)


@pytest.mark.parametrize("columns", [1, 3, 8, 64, 1000])
def test_cuda_equals_the_cpu(cupy, columns):
    weight, g = (RNG.normal(size=(n, columns)).astype(np.float32) for n in (9, 300))
    index = np.minimum(RNG.integers(0, 12, 300), 8)  # one row far more often than others
    index[index == 4] = 5  # and one never
    found = embedding.raw(cupy.asarray(weight), cupy.asarray(index))
    np.testing.assert_array_equal(found.get(), weight[index])
    found = embedding_backward.raw(cupy.asarray(g), cupy.asarray(index), rows=9)
    np.testing.assert_allclose(found.get(), summed(g, index, 9), rtol=1e-5, atol=2e-5)


def test_it_is_differentiable_to_any_order():
    weight = gt.tensor(RNG.normal(size=(4, 3)), requires_grad=True)
    index = np.array([[0, 3], [3, 3]])
    assert F.embedding(index, weight).shape == (2, 2, 3)
    assert gt.gradcheck(lambda w: F.embedding(index, w) ** 2, weight)
    second = gt.grad(lambda w: gt.grad(lambda v: (F.embedding(index, v) ** 3).sum())(w).sum())
    times = np.array([1, 0, 0, 3])[:, None]
    np.testing.assert_allclose(
        second(weight.detach()).numpy(), 6 * weight.detach().numpy() * times, rtol=1e-10
    )


def test_the_layer():
    layer = gt.nn.Embedding(10, 4, generator=gt.random.Generator(1))
    out = layer(gt.asarray(np.array([1, 1, 9])))
    assert out.shape == (3, 4)
    out.sum().backward()
    np.testing.assert_array_equal(layer.weight.grad.numpy()[:, 0], [0, 2, 0, 0, 0, 0, 0, 0, 0, 1])
    assert set(layer.state_dict()) == {"weight"}
    with pytest.raises(ValueError, match="Embedding: rows is 0"):
        gt.nn.Embedding(0, 4)


@pytest.mark.parametrize("kernels", ["auto", "reference"])
@pytest.mark.parametrize("bad", [-1, 5, 2**40])
def test_a_number_out_of_range(kernels, bad, monkeypatch):
    monkeypatch.setenv("GPUTENSOR_KERNELS", kernels)
    weight = gt.ones((5, 2), device="cpu")
    with pytest.raises(IndexError, match=rf"index {bad} at place 1 .* must be 0 to 4"):
        F.embedding(np.array([0, bad, bad, 1]), weight)


@pytest.mark.parametrize("kernels", ["auto", "reference"])
def test_a_number_out_of_range_is_found_when_the_host_next_reads(cupy, kernels, monkeypatch):
    monkeypatch.setenv("GPUTENSOR_KERNELS", kernels)
    weight = gt.ones((5, 4), device="cuda")
    out = F.embedding(np.array([0, 9, 7, 1]), weight)
    F.embedding(np.array([8]), weight)  # later: the first is the one to be named
    with pytest.raises(gt.errors.OutOfRangeError, match=r"index 9 at place 1 .* has 5 rows"):
        out.numpy()
    np.testing.assert_array_equal(out.numpy()[:, 0], [1, np.nan, np.nan, 1])
    F.embedding(np.array([4]), weight).numpy()


def test_bad_arguments():
    weight = gt.ones((5, 2))
    with pytest.raises(gt.errors.DTypeError, match="index must be of integers, got float32"):
        F.embedding(gt.ones(3), weight)
    with pytest.raises(gt.errors.ShapeError, match=r"weight has shape \(5,\)"):
        F.embedding(np.array([1]), gt.ones(5))
    assert F.embedding(np.zeros((0, 2), int), weight).shape == (0, 2, 2)


KEYS = [
    np.array([-1, 0, 0, 2]),
    np.array([[1, 1], [0, -3]]),
    (np.array([0, 0, 1]), np.array([2, 2, -1])),
    (slice(None), np.array([1, 1, 3])),
    (np.array([0, 0]), slice(1, 3)),
]


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("key", KEYS, ids=str)
def test_gradients_of_integer_indices(cupy, key, deterministic):
    x = RNG.normal(size=(3, 4, 2)).astype(np.float32)
    expected = np.zeros_like(x)
    np.add.at(expected, key, np.cos(x[key]))
    t = gt.tensor(x, device="cuda", requires_grad=True)
    keys = key if isinstance(key, tuple) else (key,)
    moved = tuple(cupy.asarray(k) if isinstance(k, np.ndarray) else k for k in keys)
    with gt.use_deterministic(deterministic):
        assert config.deterministic() == deterministic
        gt.sin(t[moved if isinstance(key, tuple) else moved[0]]).sum().backward()
    np.testing.assert_allclose(t.grad.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_nothing_is_added_atomically_when_that_is_asked_for(cupy, monkeypatch):
    def refuse(*_):
        raise AssertionError("an atomic addition")

    t = gt.ones((3, 4), device="cuda")
    t.requires_grad = True
    rows = cupy.asarray(np.array([0, 0, 2]))
    monkeypatch.setattr(gt.backend.namespace(t.array), "index_add", refuse)
    with gt.use_deterministic():
        t[rows, rows].sum().backward()
    t[rows].sum().backward()
    with pytest.raises(AssertionError, match="atomic"):
        t[rows, rows].sum().backward()
    gt.use_deterministic(True)
    assert config.deterministic()
    gt.use_deterministic(False)
    assert not config.deterministic()
