"""The dtype of what Python's floats, or nothing, decide on: gt.set_default_dtype."""

import numpy as np
import pytest

import gputensor as gt
from gputensor.keras.layers import Dense
from gputensor.keras.models import Sequential

MADE = {
    "tensor": lambda: gt.tensor([0.1, 2.0]),
    "asarray": lambda: gt.asarray(0.1),
    "list operand": lambda: gt.ones(2, dtype=gt.float16) * [0.1, 2.0],
    "numbers alone": lambda: gt.add(0.1, 0.2),
    "where": lambda: gt.where([True, False], 0.1, 0.2),
    "empty": lambda: gt.empty(2),
    "zeros": lambda: gt.zeros(2),
    "ones": lambda: gt.ones(2),
    "full": lambda: gt.full(2, 0.1),
    "arange": lambda: gt.arange(0.0, 1.0, 0.1),
    "linspace": lambda: gt.linspace(0.0, 1.0, 11),
    "eye": lambda: gt.eye(2),
    "fftfreq": lambda: gt.fft.fftfreq(10),
    "rfftfreq": lambda: gt.fft.rfftfreq(10),
    "random": lambda: gt.random.default_rng(1).random(2),
    "normal": lambda: gt.random.default_rng(1).normal(0.1, 0.2, 2),
    "exponential": lambda: gt.random.default_rng(1).exponential(0.1, 2),
    "beta": lambda: gt.random.default_rng(1).beta(0.1, 0.2, 2),
    "a list of parameters": lambda: gt.random.default_rng(1).normal([0.1, 0.2]),
    "Dense": lambda: gt.nn.Dense(2, 3).weight,
    "Dense's bias": lambda: gt.nn.Dense(2, 3).bias,
    "Embedding": lambda: gt.nn.Embedding(2, 3).weight,
    "LayerNorm": lambda: gt.nn.LayerNorm(2).weight,
    "RMSNorm": lambda: gt.nn.RMSNorm(2).weight,
    "a gradient": lambda: gt.grad(gt.sin)(0.1),
    "NumPy's function": lambda: np.add(gt.tensor(0.1), 0.1),
}


@pytest.mark.parametrize("dtype", ["float32", gt.float64, np.float64, float])
@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_what_has_no_dtype_of_its_own_gets_the_default(make, dtype):
    assert make().dtype == gt.float32
    with gt.set_default_dtype(dtype):
        assert make().dtype == np.dtype(dtype)
    assert make().dtype == gt.float32


@pytest.mark.parametrize(
    "make",
    [
        lambda: gt.tensor([1j, 0.1]),
        lambda: gt.full(2, 0.1j),
        lambda: gt.linspace(0, 1j, 3),
        lambda: gt.exp(0.1j),
        lambda: gt.fft.fft(gt.tensor([0.1, 0.2])),
    ],
)
def test_complex_numbers_follow(make):
    assert make().dtype == gt.complex64
    with gt.set_default_dtype("float64"):
        assert make().dtype == gt.complex128


def test_values_have_the_bits_of_the_default():
    with gt.set_default_dtype("float64"):
        assert gt.tensor([0.1]).tolist() == [0.1]
        assert gt.full(1, 0.1).item() == 0.1
        assert gt.exp(0.1).item() == np.exp(0.1)
        assert gt.linspace(0, 1, 11)[1].item() == 0.1
        assert (gt.arange(3) * 0.1)[1].item() == 0.1
    assert gt.tensor([0.1]).tolist() == [np.float32(0.1)]


def test_what_has_a_dtype_keeps_it():
    with gt.set_default_dtype("float64"):
        single = gt.asarray(np.ones(2, np.float32))
        assert single.dtype == (single * 0.1).dtype == gt.zeros_like(single).dtype == gt.float32
        assert gt.tensor([np.float32(1), 2.0]).dtype == gt.asarray([np.float32(1), 2.0]).dtype
        assert (
            gt.zeros(2, dtype=gt.float32).dtype == gt.nn.Dense(1, 1, dtype="float32").weight.dtype
        )
        assert gt.tensor([1, 2]).dtype == gt.arange(2).dtype == gt.full(2, 1).dtype == gt.int64
        assert gt.tensor([True]).dtype == gt.bool


def test_the_namespace_tells_the_default():
    info = gt.__array_namespace_info__()
    with gt.set_default_dtype("float64"):
        found = info.default_dtypes()
        assert found["real floating"] == gt.float64
        assert found["complex floating"] == gt.complex128
    assert info.default_dtypes()["real floating"] == gt.float32


def test_a_call_sets_it_for_good():
    try:
        gt.set_default_dtype("float64")
        assert gt.ones(1).dtype == gt.float64
    finally:
        gt.set_default_dtype("float32")
    assert gt.ones(1).dtype == gt.float32


@pytest.mark.parametrize("dtype", ["float16", gt.complex64, np.int64, None, "nonsense", 3])
def test_other_dtypes_are_refused(dtype):
    with pytest.raises(gt.errors.DTypeError, match=r"set_default_dtype: .*'float32' and 'float64'"):
        gt.set_default_dtype(dtype)
    assert gt.ones(1).dtype == gt.float32


def test_a_captured_function_follows_the_default():
    @gt.capture
    def step(x):
        return x * gt.full((), 0.1)

    x = gt.ones(2)
    for dtype in ("float32", "float64", "float32", "float64"):
        with gt.set_default_dtype(dtype):
            for _ in range(3):
                assert step(x).dtype == np.dtype(dtype)


def test_models_are_trained_in_the_default():
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((64, 3)), rng.integers(0, 2, 64)
    with gt.set_default_dtype("float64"):
        gt.manual_seed(1)
        model = Sequential([Dense(4, "tanh", input_shape=3), Dense(2, "softmax")])
        model.compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
        history = model.fit(x, y, epochs=3, batch_size=16, verbose=0)
        assert {p.dtype for p in model.parameters()} == {gt.float64}
        assert model.predict(x).dtype == np.float64
        # Rounding to float32 anywhere on the way would show.
        outputs = x
        for i, layer in enumerate(model.layers):
            weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
            outputs = outputs @ weight + bias
            outputs = np.exp(outputs) if i else np.tanh(outputs)
        expected = outputs / outputs.sum(1, keepdims=True)
        np.testing.assert_allclose(model.predict(x), expected, rtol=1e-13)
    assert history.history["loss"][-1] < history.history["loss"][0]
