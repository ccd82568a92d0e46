"""Layers that prepare images, categories and texts."""

import json
import os

import numpy as np
import pytest

import gputensor as gt
from gputensor import keras
from gputensor.errors import ShapeError
from gputensor.keras import layers as L

RNG = np.random.default_rng(7)
IMAGES = RNG.random((4, 8, 6, 3)).astype(np.float32)
WORDS = np.array([["cat", "dog"], ["dog", "bird"], ["dog", "cat"]])


@pytest.fixture
def theirs():
    os.environ.setdefault("KERAS_BACKEND", "torch")
    pytest.importorskip("torch")
    found = pytest.importorskip("keras")
    if found.backend.backend() != "torch":
        pytest.skip("Keras does not run on PyTorch here")
    return found


MAPS = np.stack(
    [
        [0.91, 0.2, 0.47, -0.1, 1.13, -0.73, 0, 0],
        [1, 0, -2.4, 0, 1, 3.25, 0, 0],
        [-1, 0, 5.2, 0, 0.53, 1.1, 0, 0],
        [1.73, 0.3, -4.07, 0.4, 1.91, -6.03, 0, 0],
    ]
).astype(np.float32)


@pytest.mark.peers
@pytest.mark.parametrize("edge", ["constant", "nearest", "reflect", "wrap"])
@pytest.mark.parametrize("kind", ["bilinear", "nearest"])
def test_images_are_seen_through_maps_as_in_keras(theirs, kind, edge):
    options = {"interpolation": kind, "fill_mode": edge, "fill_value": 0.5}
    expected = theirs.ops.image.affine_transform(IMAGES, MAPS, **options)
    found = keras.ops.image.affine_transform(IMAGES, MAPS, **options).numpy()
    expected = theirs.ops.convert_to_numpy(expected)
    # A place halfway between two elements may be rounded either way.
    assert np.isclose(found, expected, atol=1e-4).mean() > 0.98


@pytest.mark.peers
def test_functions_of_images_are_keras(theirs):
    calls = [
        ("rgb_to_grayscale", {}),
        (
            "pad_images",
            {"top_padding": 1, "target_height": 12, "left_padding": 2, "right_padding": 0},
        ),
        (
            "crop_images",
            {"top_cropping": 1, "bottom_cropping": 2, "left_cropping": 1, "target_width": 3},
        ),
        ("resize", {"size": (5, 9), "pad_to_aspect_ratio": True, "fill_value": 0.5}),
        ("resize", {"size": (16, 3), "crop_to_aspect_ratio": True}),
        ("extract_patches", {"size": 2}),
        ("extract_patches", {"size": (3, 2), "strides": (2, 1)}),
        ("extract_patches", {"size": 2, "strides": 1, "dilation_rate": 2}),
        ("extract_patches", {"size": 3, "strides": 2, "padding": "same"}),
    ]
    for name, options in calls:
        for x in (IMAGES, IMAGES[0]):
            expected = getattr(theirs.ops.image, name)(x, **options)
            found = getattr(keras.ops.image, name)(x, **options)
            np.testing.assert_allclose(
                found.numpy(), theirs.ops.convert_to_numpy(expected), atol=1e-5, err_msg=name
            )
    whole = (IMAGES * 255).astype(np.uint8)
    expected = theirs.ops.convert_to_numpy(theirs.ops.image.resize(whole, (5, 9)))
    found = keras.ops.image.resize(whole, (5, 9)).numpy()
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - expected).max() <= 1


def test_functions_of_images_stand_between_layers():
    x = keras.Input((8, 6, 3))
    model = keras.Model(x, keras.ops.image.extract_patches(keras.ops.image.resize(x, (4, 6)), 2))
    assert model.output_shape == (2, 3, 12)
    expected = keras.ops.image.resize(IMAGES, (4, 6)).numpy()[:, :2, 2:4].reshape(4, 12)
    np.testing.assert_array_equal(model.predict(IMAGES, verbose=0)[:, 0, 1], expected)


def test_the_gradient_of_images_seen_elsewhere_is_that_of_differences():
    x = gt.tensor(IMAGES[:2, :4, :4, :1].astype(np.float64), requires_grad=True)
    maps = gt.tensor(MAPS[:2].astype(np.float64) * 0.87 + 0.0123, requires_grad=True)
    from gputensor.ops.sampling import affine

    assert gt.gradcheck(lambda a, m: affine(a, m, edge="nearest"), x, maps)


RANDOM = [
    ("RandomFlip", {}),
    ("RandomFlip", {"mode": "vertical"}),
    ("RandomRotation", {"factor": 0.2}),
    ("RandomTranslation", {"height_factor": 0.2, "width_factor": (-0.3, 0.1)}),
    ("RandomZoom", {"height_factor": 0.3}),
    ("RandomShear", {"x_factor": 0.3, "y_factor": 0.1}),
    ("RandomContrast", {"factor": 0.5, "value_range": (0, 1)}),
    ("RandomBrightness", {"factor": 0.3, "value_range": (0, 1)}),
    ("RandomGrayscale", {}),
    ("RandomInvert", {"factor": 0.5, "value_range": (0, 1)}),
]


@pytest.mark.parametrize(("name", "options"), RANDOM)
def test_a_random_layer_acts_while_training_alone_and_follows_its_seed(name, options):
    layer = getattr(L, name)(**options, seed=3)
    found = layer(IMAGES).numpy()
    assert found.shape == IMAGES.shape
    assert not np.array_equal(found, IMAGES)
    np.testing.assert_array_equal(layer(IMAGES, training=False).numpy(), IMAGES)
    np.testing.assert_array_equal(getattr(L, name)(**options, seed=3)(IMAGES).numpy(), found)
    assert not np.array_equal(layer(IMAGES).numpy(), found)
    one = layer(IMAGES[0])
    assert one.shape == IMAGES[0].shape
    assert type(layer).from_config(layer.get_config()).get_config() == layer.get_config()
    if "value_range" in options:
        assert found.min() >= 0
        assert found.max() <= 1


def test_what_random_layers_do_has_the_sizes_that_they_were_given():
    column = np.zeros((200, 20, 20, 1), np.float32)
    column[:, 10, 10] = 1
    moved = L.RandomTranslation(0.2, (0.1, 0.1), fill_mode="constant", seed=1)(column).numpy()
    rows, columns = (moved.sum(axis=(a, 3)) @ np.arange(20) for a in (2, 1))
    np.testing.assert_allclose(columns, 12, atol=1e-4)
    assert 6 - 1e-3 <= rows.min() < 7 < 13 < rows.max() <= 14 + 1e-3
    flipped = L.RandomFlip("horizontal", seed=2)(column).numpy()
    share = (flipped[:, 10, 9, 0] == 1).mean()
    assert 0.35 < share < 0.65
    turned = L.RandomRotation((0.25, 0.25), seed=2)(IMAGES[:, :6]).numpy()
    np.testing.assert_allclose(turned, np.rot90(IMAGES[:, :6], axes=(1, 2)), atol=1e-4)
    part = L.RandomCrop(3, 2, seed=4)
    assert {part(IMAGES).numpy().tobytes() for _ in range(40)} <= {
        IMAGES[:, i : i + 3, j : j + 2].tobytes() for i in range(6) for j in range(5)
    }
    middle = part(IMAGES, training=False).numpy()
    np.testing.assert_array_equal(middle, IMAGES[:, 2:5, 2:4])


def test_a_model_with_augmentation_is_trained_captured_and_predicts_without_it():
    x = RNG.random((32, 8, 8, 1)).astype(np.float32)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            L.RandomFlip(),
            L.RandomRotation(0.1),
            L.RandomZoom(0.1),
            L.RandomContrast(0.1, value_range=(0, 1)),
            L.Flatten(),
            L.Dense(1),
        ]
    )
    model.compile("adam", "mse")
    first = model.predict(x, verbose=0)
    np.testing.assert_array_equal(model.predict(x, verbose=0), first)
    history = model.fit(x, x.mean(axis=(1, 2)), epochs=4, batch_size=8, verbose=0)
    assert history.history["loss"][-1] < history.history["loss"][0]
    np.testing.assert_array_equal(model.predict(x, verbose=0), model.predict(x, verbose=0))


def test_categories_become_rows():
    one = L.CategoryEncoding(4, output_mode="one_hot")([3, 0]).numpy()
    np.testing.assert_array_equal(one, np.eye(4)[[3, 0]])
    many = L.CategoryEncoding(4)([[0, 1], [3, 3]]).numpy()
    np.testing.assert_array_equal(many, [[1, 1, 0, 0], [0, 0, 0, 1]])
    counts = L.CategoryEncoding(4, output_mode="count")
    np.testing.assert_array_equal(counts([[0, 1], [3, 3]]).numpy(), [[1, 1, 0, 0], [0, 0, 0, 2]])
    weighted = counts([[0, 1], [3, 3]], count_weights=[[0.1, 0.2], [0.3, 0.4]]).numpy()
    np.testing.assert_allclose(weighted, [[0.1, 0.2, 0, 0], [0, 0, 0, 0.7]], rtol=1e-6)
    with pytest.raises(TypeError, match="sparse is True"):
        L.CategoryEncoding(4, sparse=True)


def test_values_become_numbers_of_intervals():
    layer = L.Discretization(bin_boundaries=[0.0, 1.0, 2.0])
    assert layer(np.array([[-1.5, 1.0], [3.4, 0.5]])).tolist() == [[0, 2], [3, 1]]
    adapted = L.Discretization(num_bins=4)
    adapted.adapt(np.arange(100.0))
    found = np.bincount(adapted(np.arange(100.0)).numpy())
    assert found.tolist() == [25, 25, 25, 25]
    rows = L.Discretization([0.0], output_mode="one_hot")(np.array([-1.0, 1.0])).numpy()
    np.testing.assert_array_equal(rows, np.eye(2))


def test_words_are_looked_up_by_how_frequent_they_are():
    layer = L.StringLookup()
    layer.adapt(WORDS)
    assert layer.get_vocabulary() == ["[UNK]", "dog", "cat", "bird"]
    assert layer(WORDS).tolist() == [[2, 1], [1, 3], [1, 2]]
    assert layer([["fish"]]).tolist() == [[0]]
    back = L.StringLookup(vocabulary=layer.get_vocabulary(), invert=True)
    assert back([[1, 3, 0]]).tolist() == [["dog", "bird", "[UNK]"]]
    hot = L.StringLookup(vocabulary=["a", "b"], output_mode="multi_hot")
    assert hot([["a", "x"], ["b", "b"]]).tolist() == [[1, 1, 0], [0, 0, 1]]
    small = L.StringLookup(max_tokens=2)
    small.adapt(WORDS)
    assert small.get_vocabulary() == ["[UNK]", "dog"]
    numbers = L.IntegerLookup(vocabulary=[12, 36], mask_token=0)
    assert numbers([[0, 36, 7]]).tolist() == [[0, 3, 1]]
    strict = L.StringLookup(vocabulary=["a"], num_oov_indices=0)
    with pytest.raises(ValueError, match="'b' is not in the vocabulary"):
        strict(["b"])
    with pytest.raises(ValueError, match="has 'a' twice"):
        L.StringLookup(vocabulary=["a", "a"])


def test_texts_become_rows_of_numbers():
    texts = ["The cat sat.", "the DOG sat, sat!", "a bird"]
    layer = L.TextVectorization()
    layer.adapt(texts)
    # Ties are in the descending order of the words, as in Keras.
    assert layer.get_vocabulary() == ["", "[UNK]", "sat", "the", "dog", "cat", "bird", "a"]
    assert layer(texts).tolist() == [[3, 5, 2, 0], [3, 4, 2, 2], [7, 6, 0, 0]]
    assert layer("the fish").tolist() == [3, 1]
    short = L.TextVectorization(max_tokens=4, output_sequence_length=2)
    short.adapt(texts)
    assert short(texts).tolist() == [[3, 1], [3, 1], [1, 1]]
    counts = L.TextVectorization(output_mode="count", vocabulary=["sat", "dog"])
    assert counts(texts).tolist() == [[2, 1, 0], [1, 2, 1], [2, 0, 0]]
    pairs = L.TextVectorization(ngrams=2, standardize=None)
    pairs.adapt(["x y x"])
    assert set(pairs.get_vocabulary()) == {"", "[UNK]", "x", "y", "x y", "y x"}
    weighed = L.TextVectorization(output_mode="tf_idf")
    weighed.adapt(texts)
    row = dict(zip(weighed.get_vocabulary(), weighed(texts)[1].tolist(), strict=True))
    assert row["sat"] == pytest.approx(2 * np.log(1 + 3 / 3), rel=1e-6)
    assert row["dog"] == pytest.approx(np.log(1 + 3 / 2), rel=1e-6)
    with pytest.raises(ValueError, match="split is 'words'"):
        L.TextVectorization(split="words")


def test_a_kernel_is_divided_by_its_largest_singular_value_while_training():
    inner = L.Dense(4, kernel_initializer="orthogonal")
    layer = L.SpectralNormalization(inner, power_iterations=30)
    x = RNG.standard_normal((5, 6)).astype(np.float32)
    layer(x)
    inner.set_weights([RNG.standard_normal((6, 4)).astype(np.float32) * 3, np.zeros(4, np.float32)])
    before = np.linalg.svd(inner.get_weights()[0], compute_uv=False)[0]
    layer(x)
    assert np.linalg.svd(inner.get_weights()[0], compute_uv=False)[0] == pytest.approx(before)
    layer(x, training=True)
    after = np.linalg.svd(inner.get_weights()[0], compute_uv=False)[0]
    assert after == pytest.approx(1, rel=1e-3)
    assert before > 2
    with pytest.raises(gt.errors.ShapeError, match="neither kernel nor embeddings"):
        L.SpectralNormalization(L.Flatten())(x)


@pytest.mark.peers
@pytest.mark.parametrize(
    "options", [{}, {"sliding_window": 2}, {"use_gate": True, "use_bias": False}]
)
@pytest.mark.parametrize("causal", [False, True])
def test_fewer_heads_of_keys_are_those_of_keras(theirs, options, causal):
    import torch

    query, value = (RNG.standard_normal((2, 6, 4)).astype(np.float32) for _ in range(2))
    for kind, sizes in (("GroupQueryAttention", (3, 4, 2)), ("MultiHeadAttention", (2, 3))):
        ours, other = (getattr(at.layers, kind)(*sizes, **options) for at in (keras, theirs))
        expected = other(torch.tensor(query), torch.tensor(value), use_causal_mask=causal)
        ours(query, value)
        ours.set_weights(other.get_weights())
        found = ours(query, value, use_causal_mask=causal)
        np.testing.assert_allclose(
            found.detach().numpy(), expected.detach().numpy(), rtol=1e-4, atol=1e-5
        )


def test_what_was_adapted_is_in_the_configuration():
    words = np.array([["a", "b c", "b"]])
    weighed = L.TextVectorization(output_mode="tf_idf")
    bins = L.Discretization(num_bins=3)
    for layer, data in (
        (L.IntegerLookup(), np.array([5, 7, 5])),
        (L.StringLookup(mask_token="a"), words),
        (L.TextVectorization(), words),
        (weighed, words),
        (bins, np.arange(9.0)),
    ):
        layer.adapt(data)
        config = json.loads(json.dumps(layer.get_config()))
        again = type(layer).from_config(config)
        found, expected = (one(data).cpu().numpy() for one in (again, layer))
        np.testing.assert_array_equal(found, expected)
        assert again.get_config() == layer.get_config()


def test_an_adapted_vocabulary_comes_back_from_a_file(tmp_path):
    lookup = L.IntegerLookup()
    lookup.adapt(np.array([5, 7, 5]))
    model = keras.Sequential([L.Input((1,), dtype="int64"), lookup, L.Embedding(4, 2)])
    model.save(tmp_path / "m.safetensors")
    for again in (
        keras.models.load_model(tmp_path / "m.safetensors"),
        keras.models.clone_model(model),
    ):
        assert again.layers[0].get_vocabulary() == [-1, 5, 7]


DATA = RNG.normal(3, 2, (40, 5)).astype(np.float32)


def normalizing(door, adapted=True):
    first = door.layers.Normalization()
    if adapted:
        first.adapt(DATA)
    return door.Sequential([door.layers.Input((5,)), first, door.layers.Dense(3)])


@pytest.mark.parametrize("ending", [".keras", ".h5", ".safetensors"])
def test_an_adapted_normalization_comes_back_from_a_file(tmp_path, ending):
    if ending != ".safetensors":
        pytest.importorskip("h5py")
    model = normalizing(keras)
    model.save(tmp_path / f"m{ending}")
    again = keras.models.load_model(tmp_path / f"m{ending}")
    np.testing.assert_array_equal(
        again.predict(DATA, verbose=0), model.predict(DATA, verbose=0), strict=True
    )
    np.testing.assert_allclose(again.layers[0].mean.cpu().numpy()[0], DATA.mean(axis=0), rtol=1e-5)


@pytest.mark.peers
def test_keras_and_ours_read_each_others_adapted_normalization(tmp_path, theirs):
    for one, other in ((keras, theirs), (theirs, keras)):
        model = normalizing(one)
        model.save(tmp_path / "m.keras")
        model.save_weights(tmp_path / "m.weights.h5")
        filled = normalizing(other, adapted=False)
        filled.load_weights(tmp_path / "m.weights.h5")
        for again in (other.models.load_model(tmp_path / "m.keras"), filled):
            np.testing.assert_allclose(
                again.predict(DATA, verbose=0), model.predict(DATA, verbose=0), rtol=1e-5, atol=1e-6
            )


@pytest.mark.peers
@pytest.mark.parametrize("axis", [-1, 1, None, (1, 2), (0,)])
def test_normalization_keeps_the_axes_that_keras_keeps(theirs, axis):
    x = DATA.reshape(4, 5, 10)
    mine, their = keras.layers.Normalization(axis=axis), theirs.layers.Normalization(axis=axis)
    for layer in (mine, their):
        layer.adapt(x)
    assert mine.mean.shape == tuple(their.mean.shape)
    np.testing.assert_allclose(
        mine(x).cpu().numpy(), theirs.ops.convert_to_numpy(their(x)), rtol=1e-5, atol=1e-6
    )


def test_normalization_adapts_to_batches_and_refuses_other_shapes():
    layer = L.Normalization()
    layer.adapt((x, None) for x in (DATA[:30], DATA[30:]))
    np.testing.assert_allclose(layer.variance.cpu().numpy()[0], DATA.var(axis=0), rtol=1e-5)
    with pytest.raises(ShapeError, match=r"data of shape \(40, 3\)"):
        layer.adapt(DATA[:, :3])
    with pytest.raises(ValueError, match="the data set has no batches"):
        L.Normalization().adapt([])
    with pytest.raises(ShapeError, match="axis is 2, the input has 2 axes"):
        L.Normalization(axis=2).adapt(DATA)
