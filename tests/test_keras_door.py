"""Layers by finite differences; losses, metrics and helpers of the Keras door at their edges."""

from pathlib import Path

import numpy as np
import pytest

import gputensor as gt
from checks import normal_by
from gputensor import keras
from gputensor.keras import backend as K
from gputensor.keras import layers as L
from gputensor.nn import functional as F

RNG = np.random.default_rng(0)
numbers = normal_by(RNG, np.float64)


IMAGES, STEPS, ROWS = numbers(2, 5, 4, 2), numbers(2, 4, 3), numbers(4, 3)
LAYERS = [
    (lambda: L.Dense(2, activation="selu"), ROWS),
    (lambda: L.PReLU(alpha_initializer="uniform"), ROWS),
    (lambda: L.Softmax(axis=1), STEPS),
    (lambda: L.Conv2D(3, 2, strides=2, padding="same", activation="tanh"), IMAGES),
    (lambda: L.Conv2D(2, 2, groups=2, dilation_rate=2), IMAGES),
    (lambda: L.Conv1D(2, 2, padding="causal", activation="softplus"), STEPS),
    (lambda: L.Conv2DTranspose(2, 3, strides=2, padding="same"), IMAGES),
    (lambda: L.Conv1DTranspose(2, 2, strides=2), STEPS),
    (lambda: L.DepthwiseConv2D(2, depth_multiplier=2), IMAGES),
    (lambda: L.SeparableConv2D(3, 2), IMAGES),
    (lambda: L.MaxPooling2D(2, strides=1), IMAGES),
    (lambda: L.AveragePooling2D(2, strides=1, padding="same"), IMAGES),
    (lambda: L.GlobalMaxPooling2D(), IMAGES),
    (lambda: L.UpSampling2D(2), IMAGES),
    (lambda: L.ZeroPadding2D(1), IMAGES),
    (lambda: L.Cropping2D(1), IMAGES),
    (lambda: L.BatchNormalization(), IMAGES),
    (lambda: L.LayerNormalization(axis=[1, 2]), STEPS),
    (lambda: L.GroupNormalization(groups=2), IMAGES),
    (lambda: L.RMSNormalization(), STEPS),
    (lambda: L.UnitNormalization(), STEPS),
    (lambda: L.SimpleRNN(2, return_sequences=True), STEPS),
    (lambda: L.LSTM(2), STEPS),
    (lambda: L.GRU(2, reset_after=False), STEPS),
    (lambda: L.GRU(2), STEPS),
    (lambda: L.Bidirectional(L.LSTM(2)), STEPS),
    (lambda: L.TimeDistributed(L.Dense(2)), STEPS),
    (lambda: L.MultiHeadAttention(2, 2), STEPS),
    (lambda: L.AdditiveAttention(), STEPS),
]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("make", "x"), LAYERS)
def test_gradients_of_a_layer_by_finite_differences(make, x, training):
    with gt.set_default_dtype(gt.float64):
        layer = make()
        x = gt.tensor(x, requires_grad=True)
        several = isinstance(layer, (L.MultiHeadAttention, L.AdditiveAttention))

        def call(x, *_):
            if isinstance(layer, L.MultiHeadAttention):
                return layer(x, x, training=training, use_causal_mask=True)
            return layer([x, x] if several else x, training=training)

        call(x)
        for w in layer.trainable_weights:
            w.array[...] += gt.asarray(0.1 * numbers(*w.shape)).array
        gt.gradcheck(call, x, *layer.trainable_weights)


def test_a_step_of_a_layer_is_the_same_captured():
    x = gt.tensor(numbers(4, 6, 6, 2).astype("f4"))
    model = keras.Sequential(
        [L.Conv2D(3, 3, activation="relu"), L.BatchNormalization(), L.MaxPooling2D(), L.Flatten()]
    )
    model.add(L.Dense(2))
    y = numbers(4, 2).astype("f4")
    model(x)
    start = model.get_weights()
    found = []
    for capture in (False, True):
        model.set_weights(start)
        model.compile("sgd", "mse")
        model.fit(x, y, batch_size=2, epochs=4, shuffle=False, verbose=0, capture=capture)
        found.append(model.get_weights())
    for a, b in zip(*found, strict=True):
        if x.device.kind == "cpu":
            np.testing.assert_array_equal(a, b)
        else:  # sums over rows are taken in another order
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert (found[0][4] != start[4]).any()  # the running mean


# Shapes and values of losses and metrics


@pytest.mark.parametrize("name", ["mean_squared_error", "mean_absolute_error", "huber"])
def test_columns_and_rows_of_numbers_are_the_same_targets(name):
    function = getattr(keras.losses, name)
    for y, p in (([0.0, 1.0, 2.0], [[0.0], [1.0], [2.0]]), ([[0.0], [1.0]], [0.0, 1.0])):
        assert function(y, p).numpy().sum() == 0
    with pytest.raises(gt.errors.ShapeError, match=r"\(3,\), y_pred \(3, 2\)"):
        function([0.0, 1.0, 2.0], np.zeros((3, 2)))


def test_labels_in_a_column_are_labels():
    p = np.array([[0.1, 0.9], [0.8, 0.2]])
    for y in ([1, 0], [[1], [0]]):
        assert keras.metrics.accuracy(np.array(y), p).tolist() == [True, True]
        each = keras.losses.sparse_categorical_crossentropy(np.array(y), p).numpy()
        np.testing.assert_allclose(each, -np.log([0.9, 0.8]), rtol=1e-6)


def test_numbers_of_a_regression_have_no_accuracy():
    assert not keras.metrics.accuracy(np.array([0.7, 1.3]), np.array([[0.7], [1.2]])).numpy().any()
    assert keras.metrics.accuracy(np.array([0, 1]), np.array([[0.3], [0.8]])).tolist() == [1, 1]


def test_a_loss_of_the_other_order_of_arguments_is_refused():
    model = keras.Sequential([L.Dense(1, input_shape=(2,))])
    for loss in (F.binary_cross_entropy_with_logits, F.mse_loss, F.cross_entropy):
        with pytest.raises(TypeError, match="takes the prediction first"):
            model.compile("sgd", loss)


def test_a_loss_of_the_users_for_each_output_is_a_mean():
    x, y = numbers(10, 3).astype("f4"), numbers(10, 2).astype("f4")
    model = keras.Sequential([L.Dense(2, input_shape=(3,))])
    model.compile("sgd", lambda y, p: (p - y) ** 2)
    expected = np.mean((model.predict(x, verbose=0) - y) ** 2)
    assert model.evaluate(x, y, verbose=0) == pytest.approx(expected, rel=1e-5)


def test_logits_far_out_keep_their_losses():
    assert F.cross_entropy(np.full((1, 2), 1e8, "f4"), [0]).item() == pytest.approx(np.log(2))
    big = F.cross_entropy(np.full((1, 3), 2e38, "f4"), [0], label_smoothing=0.1)
    assert big.item() == pytest.approx(np.log(3))
    logits = gt.tensor([10.0, np.inf, -np.inf])
    each = F.binary_cross_entropy_with_logits(logits, [1.0, 0.0, 0.0], reduction="none").numpy()
    assert each[0] == pytest.approx(4.5398899e-5, rel=1e-5)
    assert each[1] == np.inf
    assert each[2] == 0


def test_rows_that_do_not_count():
    x = gt.tensor(numbers(4, 3), requires_grad=True)
    F.cross_entropy(x, [0, -1, 2, -1], ignore_index=-1).backward()
    assert not x.grad.numpy()[[1, 3]].any()
    half = F.cross_entropy(x.detach()[[0, 2]], [0, 2]).item()
    assert F.cross_entropy(x, [0, -1, 2, -1], ignore_index=-1).item() == pytest.approx(half)
    with pytest.raises(gt.errors.LabelError):
        F.nll_loss(gt.zeros((2, 3)), [0, 3], ignore_index=1).item()


def test_rows_that_do_not_count_are_left_out_on_the_device_and_in_captured_functions():
    x = gt.tensor(numbers(4, 3), requires_grad=True)
    labels = gt.asarray(np.array([0, -100, 2, -100]))
    half = F.cross_entropy(x.detach()[[0, 2]], [0, 2]).item()

    def step():
        x.grad = None
        loss = F.cross_entropy(x, labels, ignore_index=-100)
        loss.backward()
        return loss

    captured = gt.capture(step)
    for _ in range(3):
        assert captured().item() == pytest.approx(half, rel=1e-5)
        assert not x.grad.numpy()[[1, 3]].any()
        assert x.grad.numpy()[[0, 2]].all()
    assert step().item() == pytest.approx(half, rel=1e-5)
    labels[1] = 1  # which the graph sees
    assert captured().item() != pytest.approx(half, rel=1e-5)


def test_confusion():
    found = keras.metrics.confusion_matrix([0, 1, 1, 2], [0, 1, 2, 2])
    assert found.tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 1]]


# Layers at their edges


def test_settings_without_effect_are_refused():
    with pytest.raises(TypeError, match="lora_rank is 4; that is not supported"):
        L.Dense(3, lora_rank=4)
    with pytest.raises(ValueError, match="constraint 'max' is unknown"):
        L.Dense(3, kernel_constraint="max")
    with pytest.raises(TypeError, match="unexpected keyword argument 'kernel_constraint'"):
        L.Flatten(kernel_constraint="max_norm")
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'unit'.*units"):
        L.Dense(3, unit=2)
    with pytest.raises(ValueError, match="only 'channels_last'"):
        L.ConvLSTM2D(3, 3, data_format="channels_first")
    with pytest.raises(ValueError, match="data_format is 'first'; allowed are 'channels_last' and"):
        L.Conv2D(3, 3, data_format="first")
    with pytest.raises(gt.errors.ShapeError, match="must have 4 axes"):
        L.Conv2D(3, 3)(numbers(2, 5, 5))
    with pytest.raises(gt.errors.ShapeError, match="is larger than images"):
        L.Conv2D(3, 7)(IMAGES)


def test_rates_count_from_the_next_call_on():
    layer, x = L.Dropout(0.0), np.ones((50, 50), np.float32)
    assert layer(x, training=True).numpy().all()
    layer.rate = 0.5
    assert not layer(x, training=True).numpy().all()
    assert layer(x).numpy().all()


def test_units_of_any_library_and_shapes_with_samples():
    layer = L.Dense(np.int64(3), input_shape=(np.int64(4),))
    assert layer.units == 3
    model = keras.Sequential([layer, L.Dense(2)])
    model.build((None, 4))
    assert model.output_shape == (2,)
    assert keras.Sequential([L.Dense(3, input_dim=4)]).input_shape == (4,)


def test_a_stateful_layer_goes_on():
    layer = L.LSTM(3, stateful=True)
    whole = L.LSTM(3)
    x = STEPS.astype("f4")
    whole(x)
    layer(x[:, :2])
    layer.set_weights(whole.get_weights())
    layer.reset_states()
    layer(x[:, :2])
    np.testing.assert_allclose(
        layer(x[:, 2:]).detach().numpy(), whole(x).detach().numpy(), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("name", ["glorot_uniform", "he_normal", "lecun_uniform", "orthogonal"])
def test_first_weights(name):
    w = keras.initializers.get(name)((200, 100)).numpy()
    variance = {"glorot_uniform": 2 / 300, "he_normal": 2 / 200, "lecun_uniform": 1 / 200}
    if name == "orthogonal":
        np.testing.assert_allclose(w.T @ w, np.eye(100), atol=1e-4)
    else:
        assert w.var() == pytest.approx(variance[name], rel=0.05)
    seeded = keras.initializers.HeNormal(seed=1)
    np.testing.assert_array_equal(seeded((3, 2)).numpy(), seeded((3, 2)).numpy())


# Helpers


def test_sequences_of_one_length():
    pad = keras.utils.pad_sequences
    assert pad([[1], [2, 3, 4]]).tolist() == [[0, 0, 1], [2, 3, 4]]
    assert pad([[1], [2, 3, 4]], 2, padding="post").tolist() == [[1, 0], [3, 4]]
    assert pad([[1], [2, 3, 4]], 2, truncating="post", value=9).tolist() == [[9, 1], [2, 3]]
    assert pad([[[1, 2]], [[3, 4], [5, 6]]]).tolist() == [[[0, 0], [1, 2]], [[3, 4], [5, 6]]]
    with pytest.raises(ValueError, match="allowed are 'pre' and 'post'"):
        pad([[1]], padding="left")


def test_functions_of_the_back_end():
    x = gt.tensor([[1.0, 4.0], [9.0, 16.0]])
    assert K.get_value(K.sum(K.sqrt(x), axis=-1)).tolist() == [3.0, 7.0]
    assert K.int_shape(K.expand_dims(x)) == (2, 2, 1)
    assert K.mean(gt.asarray([True, False])).item() == 0.5
    v = K.variable([1.0, 2.0])
    K.set_value(v, [3.0, 4.0])
    assert K.get_value(v).tolist() == [3.0, 4.0]
    assert K.concatenate([x, x], axis=0).shape == (4, 2)
    assert K.epsilon() == 1e-7
    with pytest.raises(AttributeError, match=r"keras.ops has NumPy's functions"):
        K.nothing  # noqa: B018
    K.clear_session()
    assert L.Dense(1).name == "dense"
    assert L.Dense(1).name == "dense_1"


def test_moments_over_all_ranks_are_refused():
    with pytest.raises(ValueError, match=r"synchronized is True; .*BatchNormalization"):
        keras.ops.moments(np.ones((3, 2)), [0], synchronized=True)


def test_functions_between_symbolic_tensors_make_layers():
    x = keras.Input((3,))
    y = keras.ops.exp(x) + keras.ops.sum(x, axis=1, keepdims=True)
    a = numbers(4, 3).astype("f4")
    found = keras.Model(x, y)(a).numpy()
    np.testing.assert_allclose(found, np.exp(a) + a.sum(axis=1, keepdims=True), rtol=1e-5)


@pytest.mark.cpu
def test_a_file_is_fetched_once_and_checked(tmp_path):
    source = tmp_path / "words.txt"
    source.write_text("a b c")
    url = source.as_uri()
    digest = "0e9a8f3a7b5e2c1d"
    path = keras.utils.get_file("w.txt", url, cache_dir=tmp_path / "cache")
    source.write_text("other")
    again = keras.utils.get_file("w.txt", url, cache_dir=tmp_path / "cache")
    assert again == path
    assert Path(path).read_text() == "a b c"
    assert path.endswith("w.txt")
    with pytest.raises(gt.errors.DatasetError, match="its hash is"):
        keras.utils.get_file("v.txt", url, cache_dir=tmp_path / "cache", file_hash=digest * 4)
    with pytest.raises(ValueError, match="without folders"):
        keras.utils.get_file("../w.txt", url, cache_dir=tmp_path / "cache")
