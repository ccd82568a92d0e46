"""Layers that change images at random: beside SciPy's interpolation, and while training alone."""

import numpy as np
import pytest
from scipy import ndimage

import gputensor as gt
from gputensor import keras
from gputensor.keras import layers

RNG = np.random.default_rng(0)
SMOOTH = RNG.random((3, 12, 10, 2)).astype(np.float32)
MODES = {
    "reflect": "reflect",
    "wrap": "grid-wrap",
    "nearest": "nearest",
    "constant": "grid-constant",
}
# What each draws for its images is one number, so that the result is known.
FIXED = {
    "RandomTranslation": ({"height_factor": (0.25, 0.25), "width_factor": (-0.13, -0.13)}),
    "RandomRotation": ({"factor": (0.07, 0.07)}),
    "RandomZoom": ({"height_factor": (0.21, 0.21), "width_factor": (-0.11, -0.11)}),
}


def places(name, high, wide):
    """Rows and columns that the pixels of the result come from."""
    y, x = np.mgrid[:high, :wide].astype(np.float64)
    a, b = (high - 1) / 2, (wide - 1) / 2
    if name == "RandomTranslation":
        return y - 0.25 * high, x + 0.13 * wide
    if name == "RandomZoom":
        return (y - a) * 1.21 + a, (x - b) * 0.89 + b
    c, s = np.cos(2 * np.pi * 0.07), np.sin(2 * np.pi * 0.07)
    return c * (y - a) + s * (x - b) + a, c * (x - b) - s * (y - a) + b


@pytest.mark.parametrize("fill", MODES)
@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("name", FIXED)
def test_images_are_moved_as_scipy_moves_them(name, order, fill):
    interpolation = ("nearest", "bilinear")[order]
    layer = getattr(layers, name)(
        **FIXED[name], fill_mode=fill, interpolation=interpolation, fill_value=0.5
    )
    found = layer(gt.asarray(SMOOTH), training=True).numpy()
    at = places(name, *SMOOTH.shape[1:3])
    for image, result in zip(SMOOTH, found, strict=True):
        for channel in range(2):
            wanted = ndimage.map_coordinates(
                image[..., channel], at, order=order, mode=MODES[fill], cval=0.5
            )
            if fill == "constant":  # there SciPy interpolates with what is outside, too
                inside = [(p >= 0) & (p <= n - 1) for p, n in zip(at, wanted.shape, strict=True)]
                kept = inside[0] & inside[1]
                np.testing.assert_allclose(result[kept, channel], wanted[kept], atol=1e-5)
            else:
                np.testing.assert_allclose(result[..., channel], wanted, atol=1e-5)


def test_a_flip_is_one_of_the_mirrored_images():
    layer = layers.RandomFlip(seed=3)
    x = np.repeat(SMOOTH[:1], 64, axis=0)
    found = layer(gt.asarray(x), training=True).numpy()
    kinds = [x[0], x[0][::-1], x[0][:, ::-1], x[0][::-1, ::-1]]
    counts = [sum(np.array_equal(f, kind) for f in found) for kind in kinds]
    assert sum(counts) == 64
    assert min(counts) > 4
    alone = layers.RandomFlip("horizontal", seed=3)(gt.asarray(x), training=True).numpy()
    assert all(np.array_equal(f, x[0]) or np.array_equal(f, kinds[2]) for f in alone)


def test_a_crop_is_a_part_and_without_training_the_middle():
    layer = layers.RandomCrop(5, 4, seed=0)
    found = layer(gt.asarray(SMOOTH), training=True).numpy()
    parts = (SMOOTH[:, i : i + 5, j : j + 4] for i in range(8) for j in range(7))
    assert any(np.array_equal(found, p) for p in parts)
    middle = layer(gt.asarray(SMOOTH), training=False).numpy()
    np.testing.assert_array_equal(middle, SMOOTH[:, 3:8, 3:7])
    assert layer.compute_output_shape((None, 12, 10, 2)) == (None, 5, 4, 2)


@pytest.mark.parametrize(
    "layer",
    [
        layers.RandomFlip(),
        layers.RandomTranslation(0.2, 0.2),
        layers.RandomRotation(0.1),
        layers.RandomZoom(0.1),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_images_are_changed_each_in_its_own_way_while_training_alone(layer):
    x = gt.asarray(np.repeat(SMOOTH[:1], 8, axis=0))
    assert np.array_equal(layer(x, training=False).numpy(), x.numpy())
    found = layer(x, training=True).numpy()
    assert len({f.tobytes() for f in found}) > 1
    assert not np.array_equal(layer(x, training=True).numpy(), found)
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()


def test_captured_and_eager_training_with_augmentation_give_the_same_bits():
    y = np.arange(3)
    weights = []
    for capture in (True, False):
        keras.utils.set_random_seed(1)
        model = keras.Sequential(
            [
                keras.Input((12, 10, 2)),
                layers.RandomFlip(),
                layers.RandomTranslation(0.1, 0.1),
                layers.RandomRotation(0.1, fill_mode="constant"),
                layers.Flatten(),
                layers.Dense(3),
            ]
        )
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("adam", loss)
        model.fit(SMOOTH, y, epochs=4, batch_size=3, verbose=0, capture=capture)
        weights.append(model.get_weights())
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: layers.RandomFlip("sideways"), "mode is 'sideways'; allowed are 'horizontal'"),
        (lambda: layers.RandomRotation(0.1, fill_mode="mirror"), "fill_mode is 'mirror'; allowed"),
        (lambda: layers.RandomZoom(0.1, interpolation="cubic"), "interpolation is 'cubic'"),
        (lambda: layers.RandomTranslation((0.3, 0.1), 0), "height_factor is .* two from"),
        (lambda: layers.RandomFlip()(gt.ones((3, 4)), training=True), "must be .n, height"),
    ],
)
def test_what_cannot_be_is_said(make, text):
    with pytest.raises(ValueError, match=text):
        make()
