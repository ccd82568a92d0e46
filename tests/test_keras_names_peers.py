"""Each name and each setting of Keras is there, or refused by an error that says what to use."""

import inspect
import os

import numpy as np
import pytest

from gputensor import keras

os.environ.setdefault("KERAS_BACKEND", "torch")
pytest.importorskip("torch")
theirs = pytest.importorskip("keras")
if theirs.backend.backend() != "torch":
    pytest.skip("Keras does not run on PyTorch here", allow_module_level=True)
pytestmark = pytest.mark.peers

PLACES = [
    *("", "layers", "losses", "metrics", "optimizers", "initializers", "regularizers"),
    *("constraints", "activations", "callbacks", "ops", "config", "tree", "datasets", "models"),
    *("utils", "random", "preprocessing.image", "preprocessing.sequence"),
]


def at(door, place):
    for name in place.split(".") if place else ():
        door = getattr(door, name)
    return door


@pytest.mark.parametrize("place", PLACES)
def test_a_name_is_there_or_its_error_says_what_to_use(place):
    for name in dir(at(theirs, place)):
        if name.startswith("_") or hasattr(at(keras, place), name):
            continue
        with pytest.raises(AttributeError, match="; use "):
            getattr(at(keras, place), name)


# What a class cannot be made without.
REQUIRED = {
    "units": 3,
    "filters": 2,
    "kernel_size": 2,
    "input_dim": 5,
    "output_dim": 3,
    "activation": "relu",
    "rate": 0.1,
    "stddev": 0.1,
    "target_shape": (2, 2),
    "dims": (2, 1),
    "n": 2,
    "scale": 0.5,
    "num_heads": 2,
    "key_dim": 2,
    "head_dim": 2,
    "num_query_heads": 2,
    "num_key_value_heads": 1,
    "output_size": 2,
    "pool_size": 2,
    "size": 2,
    "height": 4,
    "width": 4,
    "factor": 0.1,
    "height_factor": 0.1,
    "width_factor": 0.1,
    "num_tokens": 4,
    "bin_boundaries": [0.0, 1.0],
    "equation": "ab,bc->ac",
    "output_shape": 3,
    "axes": 1,
    "function": abs,
    "num_classes": 3,
    "target_class_ids": [0],
    "recall": 0.5,
    "precision": 0.5,
    "specificity": 0.5,
    "sensitivity": 0.5,
    "fn": lambda y_true, y_pred: y_pred,
    "value": 1.0,
    "initial_learning_rate": 0.1,
}
# Classes of others' layers, and those that a user derives from.
LEFT_OUT = {
    *("Layer", "Wrapper", "RNN", "StackedRNNCells", "TimeDistributed", "Bidirectional"),
    *("SpectralNormalization", "InputLayer", "Loss", "Metric", "Optimizer", "Initializer"),
    *("Regularizer", "Constraint", "Lambda", "MeanMetricWrapper", "StringLookup", "IntegerLookup"),
    *("TextVectorization", "Identity"),
}
# Settings that are not taken, even with Keras's default, and why.
EXCEPTIONS = {
    "rank": "of Keras's base classes of convolutions",
    "pool_dimensions": "of Keras's base classes of pooling",
    "pool_mode": "of Keras's base classes of pooling",
    "input_axes": "of initializers, which take the last two axes for connections",
    "output_axes": "of initializers, which take the last two axes for connections",
    "exclude_layers": "of Muon, which takes each matrix",
    "exclude_embeddings": "of Muon, which takes each matrix",
    "from_sorted_ids": "predictions are scores",
    "bounding_box_format": "of Keras's base class of images; there are no boxes",
    "cell": "of Keras's base classes of recurrent layers",
    "score_mode": "of the base class of AdditiveAttention",
    "gptq_unpacked_column_size": "of quantization",
    "bits": "of quantization",
}


def settings_of(kind):
    """Parameters of a class's constructors, up to the first that passes nothing on."""
    found = {}
    for base in kind.__mro__:
        if base is object or "__init__" not in vars(base):
            continue
        known = inspect.signature(base.__init__).parameters
        for name, p in known.items():
            if name != "self" and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL):
                found.setdefault(name, p.default)
        if not any(p.kind is p.VAR_KEYWORD for p in known.values()):
            break
    return found


CLASSES = [
    (place, name)
    for place in ("layers", "losses", "metrics", "optimizers", "regularizers", "initializers")
    for name in dir(getattr(theirs, place))
    if inspect.isclass(getattr(getattr(theirs, place), name))
    and inspect.isclass(getattr(getattr(keras, place), name, None))
    and name not in LEFT_OUT
]


@pytest.mark.parametrize(("place", "name"), CLASSES)
def test_a_class_takes_each_setting_of_keras_at_its_default(place, name):
    settings = settings_of(getattr(getattr(theirs, place), name))
    given = {
        key: REQUIRED.get(key) if default is inspect.Parameter.empty else default
        for key, default in settings.items()
        if key not in EXCEPTIONS or (key == "score_mode" and name == "Attention")
    }
    if name == "ActivityRegularization":
        del given["activity_regularizer"]  # which it is itself
    if name not in ("RandomRotation", "RandomContrast", "RandomBrightness") and place == "layers":
        given.pop("factor", None)  # of Keras's base class of images
    if name == "Discretization":
        given["bin_boundaries"] = [0.0, 1.0]
    if name == "CategoryEncoding":
        given["num_tokens"] = 4
    made = getattr(getattr(keras, place), name)(**given)
    assert made is not None


REFUSED = [
    ("Dense", {"units": 2}, "lora_rank", 4),
    ("Dense", {"units": 2}, "lora_alpha", 4),
    ("Embedding", {"input_dim": 2, "output_dim": 2}, "lora_rank", 4),
    ("Conv2D", {"filters": 2, "kernel_size": 2}, "lora_rank", 4),
    ("Dense", {"units": 2}, "weights", [np.ones((2, 2))]),
    ("BatchNormalization", {}, "renorm", True),
    ("InputLayer", {"shape": (3,)}, "sparse", True),
    ("InputLayer", {"shape": (3,)}, "ragged", True),
    ("CategoryEncoding", {"num_tokens": 2}, "sparse", True),
]


@pytest.mark.parametrize(("name", "options", "setting", "value"), REFUSED)
def test_a_setting_without_effect_is_refused_by_name_with_what_to_do(name, options, setting, value):
    refused = rf"(?s){setting} is .*; that is not supported here, leave it"
    with pytest.raises(TypeError, match=refused):
        getattr(keras.layers, name)(**options, **{setting: value})
    assert getattr(keras.layers, name)(**options, **{setting: None}) is not None


def test_an_input_has_its_number_of_samples():
    x, y = (door.Input((3,), batch_size=4) for door in (theirs, keras))
    assert y.shape == tuple(x.shape) == (4, 3)
    model = keras.Model(y, keras.layers.Dense(2)(y))
    assert model.output.shape == (4, 2)
    assert model(np.ones((4, 3), np.float32)).shape == (4, 2)
    with pytest.raises(ValueError, match="batch_size is 0"):
        keras.Input((3,), batch_size=0)


def test_without_autocast_arrays_keep_their_dtype():
    x = np.ones((2, 3))
    for autocast, expected in ((True, "float32"), (False, "float64")):
        ours, other = (d.layers.Identity(autocast=autocast) for d in (keras, theirs))
        assert str(ours(x).dtype) == expected
        if not autocast:
            assert theirs.backend.standardize_dtype(other(x).dtype) == expected


ROWS = np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32)
CALLS = [
    *((name, (ROWS, 1, True), {}) for name in ("sum", "max", "min", "mean", "std", "var", "prod")),
    *((name, (ROWS, 0, True), {}) for name in ("amax", "argmax", "all", "any", "logsumexp")),
    *((name, (), {"x1": ROWS, "x2": 2 * ROWS}) for name in ("add", "maximum", "subtract", "less")),
    ("max", (ROWS,), {"axis": 1, "initial": 0.5}),
    ("clip", (ROWS,), {"x_min": -0.5, "x_max": 0.5}),
    ("gelu", (ROWS,), {}),
    ("gelu", (ROWS,), {"approximate": False}),
    ("normalize", (ROWS,), {}),
    ("normalize", (ROWS, 0, 1), {}),
    ("round", (ROWS,), {"decimals": 2}),
    ("squeeze", (ROWS[None, :, None],), {}),
    ("linspace", (0.0, 1.0), {"num": 7, "endpoint": False}),
    ("eye", (3, 4), {"k": 1}),
    ("arange", (1, 9, 2, "int32"), {}),
    ("full", ((2, 3), 4.0, "float32"), {}),
    ("where", (ROWS > 0,), {"x1": ROWS, "x2": 0 * ROWS}),
    ("tile", (ROWS,), {"repeats": (2, 1)}),
    ("reshape", (ROWS,), {"newshape": (6, 4)}),
    ("split", (ROWS,), {"indices_or_sections": 2, "axis": 1}),
    ("pad", (ROWS, ((1, 0), (0, 2)), "constant", 3.0), {}),
    ("triu", (ROWS, 1), {}),
    ("flipud", (ROWS,), {}),
    ("fliplr", (ROWS,), {}),
    ("append", (ROWS, ROWS), {"axis": 1}),
    ("slice_update", (ROWS, (1, 2), 7 * np.ones((2, 3), np.float32)), {}),
    ("max_pool", (ROWS.reshape(1, 4, 3, 2), 2), {"strides": 1, "padding": "same"}),
    ("average_pool", (ROWS.reshape(1, 4, 6), 2), {}),
    ("conv", (ROWS.reshape(1, 4, 3, 2), np.ones((2, 2, 2, 3), np.float32)), {"padding": "same"}),
    ("conv", (ROWS.reshape(2, 4, 3), np.ones((2, 3, 5), np.float32)), {"strides": 2}),
    ("det", (ROWS[:, :4],), {}),
    ("inv", (ROWS[:, :4],), {}),
]


@pytest.mark.parametrize(("name", "args", "options"), CALLS)
def test_an_operation_takes_keras_arguments(name, args, options):
    expected = getattr(theirs.ops, name)(*args, **options)
    found = getattr(keras.ops, name)(*args, **options)
    several = isinstance(expected, (list, tuple))
    for a, b in zip(
        found if several else [found], expected if several else [expected], strict=True
    ):
        np.testing.assert_allclose(
            keras.ops.convert_to_numpy(a), theirs.ops.convert_to_numpy(b), rtol=1e-4, atol=1e-5
        )


def test_operations_take_tensors_without_values():
    x = keras.Input((3,))
    parts = [keras.ops.mean(x, axis=-1, keepdims=True), keras.ops.softmax(x), keras.ops.gelu(x)]
    y = keras.ops.where(
        keras.ops.concatenate(parts, axis=-1) > 0, 1.0, keras.ops.cast(2, "float32")
    )
    model = keras.Model(x, y)
    assert model.predict(np.ones((2, 3), np.float32), verbose=0).tolist() == [[1.0] * 7] * 2


def test_loops_and_trees_are_keras():
    for door in (theirs, keras):
        assert int(door.ops.fori_loop(0, 4, lambda i, s: s + i, 0)) == 6
        assert [
            int(n)
            for n in door.ops.while_loop(lambda i, s: i < 3, lambda i, s: (i + 1, s + i), (0, 0))
        ] == [3, 3]
        assert int(door.ops.switch(1, [lambda x: x, lambda x: x + 1], 5)) == 6
        tree = {"b": [1, 2], "a": (3, None)}
        assert door.tree.flatten(tree) == [3, None, 1, 2]
        doubled = door.tree.map_structure(lambda n: n and 2 * n, tree)
        assert doubled == {"b": [2, 4], "a": (6, None)}
        assert door.tree.pack_sequence_as(tree, [1, 2, 3, 4]) == {"b": [3, 4], "a": (1, 2)}


def test_activations_take_tensors_without_values_and_lengths_may_be_unknown():
    shapes = []
    for door in (theirs, keras):
        x = door.Input((None, 4))
        y = door.activations.relu(door.layers.LSTM(3)(x))
        model = door.Model(x, y)
        first = door.Sequential([door.Input((None, 4)), door.layers.LSTM(2)])
        second = door.Sequential([door.layers.Dense(2)])
        second.build((None, 4))
        shapes.append([tuple(x.shape), tuple(model.output_shape)[-1], first.count_params()])
        assert second.predict(np.ones((2, 4), np.float32), verbose=0).shape == (2, 2)
        for steps in (2, 5):
            rows = np.ones((3, steps, 4), np.float32)
            assert model.predict(rows, verbose=0).shape == (3, 3)
            assert first.predict(rows, verbose=0).shape == (3, 2)
    assert shapes[0] == shapes[1]


def test_random_numbers_are_distributed_as_keras():
    n = 40_000
    for name, args in {
        "truncated_normal": (1.0, 2.0),
        "gamma": (2.5,),
        "beta": (2.0, 3.0),
        "binomial": (9.0, 0.3),
    }.items():
        ours = getattr(keras.random, name)((n,), *args, seed=3).numpy()
        wanted = theirs.ops.convert_to_numpy(getattr(theirs.random, name)((n,), *args, seed=3))
        assert ours.dtype == wanted.dtype
        assert ours.mean() == pytest.approx(wanted.mean(), abs=0.04)
        assert ours.std() == pytest.approx(wanted.std(), abs=0.04)
        assert ours.min() >= wanted.min() - 0.1
    logits = np.log(np.array([[0.2, 0.8], [0.5, 0.5], [0.9, 0.1]], "float32"))
    drawn = keras.random.categorical(logits, n, seed=1)
    reference = theirs.ops.convert_to_numpy(theirs.random.categorical(logits, n, seed=1))
    assert drawn.shape == reference.shape
    assert drawn.dtype == reference.dtype
    np.testing.assert_allclose(drawn.numpy().mean(1), [0.8, 0.5, 0.1], atol=0.02)


def test_parts_of_a_batch_are_packed_and_unpacked_as_by_keras():
    x, y, w = np.zeros(2), np.ones(2), np.full(2, 2.0)
    for args in ((x,), ([x, y],), (x, y), (x, y, w)):
        packed = [library.utils.pack_x_y_sample_weight(*args) for library in (theirs, keras)]
        assert type(packed[0]) is type(packed[1])
        found = [library.utils.unpack_x_y_sample_weight(packed[0]) for library in (theirs, keras)]
        assert [part is None for part in found[0]] == [part is None for part in found[1]]
