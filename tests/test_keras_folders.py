"""Data sets of files in folders: which files, in which order, with which labels."""

import os

import numpy as np
import pytest

from gputensor import keras

Image = pytest.importorskip("PIL.Image")
utils = keras.utils


@pytest.fixture
def pets(tmp_path):
    """Eleven images whose pixels tell them apart."""
    number = 0
    for name, count in (("dogs", 6), ("cats", 5)):
        (tmp_path / name / "inner").mkdir(parents=True)
        for i in range(count):
            folder = tmp_path / name / ("inner" if i % 2 else "")
            pixels = np.full((6, 8, 3), 20 * number, np.uint8)
            Image.fromarray(pixels).save(folder / f"{i}.png")
            number += 1
    (tmp_path / "dogs" / "notes.txt").write_text("no image")
    return tmp_path


def gathered(data):
    xs, ys = zip(*data, strict=True)
    return np.concatenate(xs), np.concatenate(ys)


def test_images_come_with_the_numbers_of_their_folders(pets):
    data = utils.image_dataset_from_directory(pets, image_size=(3, 4), batch_size=4, shuffle=False)
    assert data.class_names == ["cats", "dogs"]
    assert len(data) == 3
    x, y = gathered(data)
    assert x.shape == (11, 3, 4, 3)
    assert x.dtype == np.float32
    assert y.tolist() == [0] * 5 + [1] * 6
    for path, image in zip(data.file_paths, x, strict=True):
        np.testing.assert_allclose(image, np.full((3, 4, 3), np.asarray(Image.open(path))[0, 0, 0]))


def test_an_epoch_has_each_file_once_in_another_order(pets):
    data = utils.image_dataset_from_directory(pets, image_size=(2, 2), batch_size=4, seed=1)
    orders = [gathered(data)[0][:, 0, 0, 0].tolist() for _ in range(3)]
    assert all(sorted(order) == [20.0 * n for n in range(11)] for order in orders)
    assert len({tuple(order) for order in orders}) > 1


@pytest.mark.parametrize(
    ("mode", "shape", "kind"),
    [("int", (4,), "i"), ("binary", (4, 1), "f"), ("categorical", (4, 2), "f")],
)
def test_labels_have_the_form_of_the_mode(pets, mode, shape, kind):
    options = {"image_size": (2, 2), "batch_size": 4, "color_mode": "grayscale"}
    x, y = utils.image_dataset_from_directory(pets, label_mode=mode, **options)[0]
    assert x.shape == (4, 2, 2, 1)
    assert y.shape == shape
    assert y.dtype.kind == kind
    plain = utils.image_dataset_from_directory(pets, label_mode=None, **options)[0]
    assert plain.shape == (4, 2, 2, 1)


def test_parts_for_training_and_validation_are_together_the_whole(pets):
    options = {"validation_split": 0.3, "seed": 5, "image_size": (2, 2)}
    parts = [
        set(utils.image_dataset_from_directory(pets, subset=subset, **options).file_paths)
        for subset in ("training", "validation")
    ]
    assert [len(part) for part in parts] == [8, 3]
    assert not parts[0] & parts[1]
    both = utils.image_dataset_from_directory(pets, subset="both", **options)
    assert [set(part.file_paths) for part in both] == parts


def test_views_of_a_data_set_give_its_batches(pets):
    data = utils.image_dataset_from_directory(pets, image_size=(2, 2), batch_size=4, shuffle=False)
    halves = data.cache().map(lambda x, y: (x / 2, y)).prefetch(3)
    np.testing.assert_allclose(gathered(halves)[0], gathered(data)[0] / 2)
    assert [len(data.take(2)), len(data.skip(2)), len(data.take(-1))] == [2, 1, 3]
    np.testing.assert_allclose(gathered(data.skip(2))[0], gathered(data)[0][8:])


def test_a_model_is_trained_on_the_images_of_a_folder(pets):
    data = utils.image_dataset_from_directory(pets, image_size=(4, 4), batch_size=4, seed=0)
    layers = [keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), keras.layers.Dense(2)]
    model = keras.Sequential(layers)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"])
    history = model.fit(data, validation_data=data, epochs=2, verbose=0).history
    assert np.isfinite(history["val_loss"]).all()


def test_texts_end_behind_so_many_characters(tmp_path):
    for name in ("bad", "good"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text(f"a {name} film")
    data = utils.text_dataset_from_directory(tmp_path, batch_size=2, max_length=6, shuffle=False)
    x, y = data[0]
    assert x.tolist() == ["a bad ", "a good"]
    assert y.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"label_mode": "ints"}, "label_mode"),
        ({"validation_split": 0.5}, "subset"),
        ({"validation_split": 0.5, "subset": "training"}, "seed"),
        ({"class_names": ["birds"]}, "birds"),
        ({"labels": [0, 1]}, "2 labels and 11 files"),
        ({"color_mode": "cmyk"}, "color_mode"),
    ],
)
def test_what_does_not_fit_is_told(pets, options, text):
    with pytest.raises(ValueError, match=text):
        utils.image_dataset_from_directory(pets, **options)[0]
    with pytest.raises(ValueError, match="no directory"):
        utils.image_dataset_from_directory(pets / "nowhere")


@pytest.mark.peers
def test_files_and_labels_are_keras_own_in_its_order(pets):
    os.environ.setdefault("KERAS_BACKEND", "torch")
    pytest.importorskip("torch")
    pytest.importorskip("keras")
    listing = pytest.importorskip("keras.src.utils.dataset_utils")
    for shuffle in (False, True):
        paths, labels, names = listing.index_directory(
            str(pets), "inferred", (".png",), shuffle=shuffle, seed=7, verbose=False
        )
        data = utils.image_dataset_from_directory(pets, shuffle=shuffle, seed=7, batch_size=None)
        assert data.file_paths == [str(path) for path in paths]
        assert data.class_names == list(names)
        assert data._labels.tolist() == np.asarray(labels).tolist()
        kept, _ = listing.get_training_or_validation_split(paths, labels, 0.3, "training")
        options = {"validation_split": 0.3, "subset": "training", "shuffle": shuffle, "seed": 7}
        part = utils.image_dataset_from_directory(pets, **options)
        assert part.file_paths == [str(path) for path in kept]


@pytest.mark.peers
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"target_size": (7, 9)},
        {"target_size": (7, 9), "interpolation": "bilinear", "color_mode": "grayscale"},
        {"target_size": (16, 5), "keep_aspect_ratio": True, "interpolation": "lanczos"},
    ],
)
def test_an_image_is_loaded_as_by_keras(tmp_path, options):
    os.environ.setdefault("KERAS_BACKEND", "torch")
    pytest.importorskip("torch")
    theirs = pytest.importorskip("keras")
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    utils.save_img(tmp_path / "a.png", pixels, scale=False)
    found, wanted = (
        np.asarray(library.utils.load_img(tmp_path / "a.png", **options))
        for library in (keras, theirs)
    )
    np.testing.assert_array_equal(found, wanted)
    resized, expected = (
        library.preprocessing.image.smart_resize(pixels.astype("float32"), (7, 9))
        for library in (keras, theirs)
    )
    np.testing.assert_allclose(resized, expected, rtol=1e-4, atol=1e-3)
