"""ONNX files: onnxruntime computes what the model computes; what it cannot is refused by name."""

import inspect

import numpy as np
import pytest

import gputensor as gt
from gputensor import keras
from gputensor.keras import activations, layers
from gputensor.keras import layers as L
from gputensor.keras.models import Sequential

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

pytestmark = pytest.mark.peers
RNG = np.random.default_rng(0)


def numbers(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def compare(model, tmp_path, *given):
    from gputensor import onnx as ours

    for w in model.weights:  # biases and statistics are no zeros and ones
        w.array[...] += gt.asarray(0.1 * np.abs(numbers(*w.shape))).array.astype(w.dtype)
    ours.export(model, tmp_path / "m.onnx")
    session = runtime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    names = [i.name for i in session.get_inputs()]
    found = session.run(None, dict(zip(names, given, strict=True)))
    expected = model.predict(given[0] if len(given) == 1 else list(given), verbose=0)
    expected = expected if isinstance(expected, list) else [expected]
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


IMAGE, STEPS, VECTOR, ROOM = (8, 9, 4), (7, 4), (6,), (5, 6, 7, 2)
CASES = [
    (VECTOR, lambda: L.Dense(3)),
    (STEPS, lambda: L.Dense(3, use_bias=False)),
    (STEPS, lambda: L.EinsumDense("abc,cd->abd", (None, 5), "relu", bias_axes="d")),
    (STEPS, lambda: L.EinsumDense("...x,xy->...y", 5, bias_axes="y")),
    (IMAGE, lambda: L.Flatten()),
    (IMAGE, lambda: L.Rescaling(0.5, -1)),
    (IMAGE, lambda: L.UpSampling2D((2, 3), interpolation="bilinear")),
    (IMAGE, lambda: L.Reshape((9, -1))),
    (IMAGE, lambda: L.Permute((2, 3, 1))),
    (VECTOR, lambda: L.RepeatVector(3)),
    (VECTOR, lambda: L.Identity()),
    (VECTOR, lambda: L.ReLU()),
    (VECTOR, lambda: L.ReLU(1.0, 0.1, 0.25)),
    (VECTOR, lambda: L.ReLU(threshold=0.5)),
    (VECTOR, lambda: L.LeakyReLU(0.2)),
    (VECTOR, lambda: L.ELU(0.5)),
    (STEPS, lambda: L.Softmax(axis=1)),
    (IMAGE, lambda: L.PReLU(shared_axes=[1, 2])),
    (IMAGE, lambda: L.Conv2D(5, 3)),
    (IMAGE, lambda: L.Conv2D(6, (2, 3), (2, 1), "same", groups=2, activation="relu")),
    (IMAGE, lambda: L.Conv2D(2, 3, padding="same", dilation_rate=2, use_bias=False)),
    (STEPS, lambda: L.Conv1D(3, 3, 2, "same")),
    (STEPS, lambda: L.Conv1D(3, 3, padding="causal", dilation_rate=2)),
    (IMAGE, lambda: L.DepthwiseConv2D(3, depth_multiplier=2, activation="tanh")),
    (IMAGE, lambda: L.SeparableConv2D(5, 3, padding="same", depth_multiplier=2)),
    (IMAGE, lambda: L.Conv2DTranspose(3, 3, 2, "same")),
    (IMAGE, lambda: L.Conv2DTranspose(3, 3, 2, "valid", activation="relu")),
    (IMAGE, lambda: L.Conv2DTranspose(3, 3, 2, "same", output_padding=1)),
    (STEPS, lambda: L.Conv1DTranspose(3, 4, 3, "valid")),
    (IMAGE, lambda: L.MaxPooling2D(2)),
    (IMAGE, lambda: L.MaxPooling2D(3, 2, "same")),
    (IMAGE, lambda: L.AveragePooling2D((2, 3), 1, "same")),
    (STEPS, lambda: L.MaxPooling1D(2)),
    (STEPS, lambda: L.AveragePooling1D(2, padding="same")),
    (IMAGE, lambda: L.GlobalMaxPooling2D()),
    (IMAGE, lambda: L.GlobalAveragePooling2D(keepdims=True)),
    (STEPS, lambda: L.GlobalMaxPooling1D()),
    (STEPS, lambda: L.GlobalAveragePooling1D()),
    (IMAGE, lambda: L.ZeroPadding2D(((1, 2), (0, 3)))),
    (STEPS, lambda: L.ZeroPadding1D((2, 1))),
    (IMAGE, lambda: L.Cropping2D(((1, 2), (0, 3)))),
    (STEPS, lambda: L.Cropping1D(1)),
    (IMAGE, lambda: L.UpSampling2D((2, 3))),
    (STEPS, lambda: L.UpSampling1D(2)),
    (IMAGE, lambda: L.BatchNormalization()),
    (IMAGE, lambda: L.BatchNormalization(axis=1, scale=False, center=False)),
    (IMAGE, lambda: L.LayerNormalization()),
    (IMAGE, lambda: L.LayerNormalization(axis=[2, 3], center=False)),
    (STEPS, lambda: L.RMSNormalization()),
    (IMAGE, lambda: L.GroupNormalization(2)),
    (VECTOR, lambda: L.UnitNormalization()),
    (VECTOR, lambda: L.Normalization(mean=np.arange(6.0), variance=np.arange(1.0, 7.0))),
    (STEPS, lambda: L.Normalization(1, mean=[0.5] * 7, variance=[2.0] * 7, invert=True)),
    (IMAGE, lambda: L.Conv2D(4, 3, padding="same", data_format="channels_first")),
    (IMAGE, lambda: L.MaxPooling2D(2, data_format="channels_first")),
    (IMAGE, lambda: L.Flatten(data_format="channels_first")),
    (STEPS, lambda: L.GlobalAveragePooling1D(data_format="channels_first")),
    (STEPS, lambda: L.SimpleRNN(3)),
    (STEPS, lambda: L.SimpleRNN(3, "relu", return_sequences=True, go_backwards=True)),
    (STEPS, lambda: L.LSTM(3)),
    (STEPS, lambda: L.LSTM(3, return_sequences=True, use_bias=False)),
    (STEPS, lambda: L.GRU(3, return_sequences=True)),
    (STEPS, lambda: L.GRU(3, reset_after=False, go_backwards=True)),
    (STEPS, lambda: L.Bidirectional(L.LSTM(3, return_sequences=True))),
    (STEPS, lambda: L.Bidirectional(L.GRU(3), merge_mode="ave")),
    (STEPS, lambda: L.Bidirectional(L.SimpleRNN(3), merge_mode="mul")),
    (STEPS, lambda: L.TimeDistributed(L.Dense(3, "relu"))),
    (ROOM, lambda: L.Conv3D(3, 2, padding="same")),
    (ROOM, lambda: L.Conv3DTranspose(3, 2, 2)),
    (ROOM, lambda: L.MaxPooling3D(2)),
    (ROOM, lambda: L.AveragePooling3D(2, padding="same")),
    (ROOM, lambda: L.GlobalMaxPooling3D()),
    (ROOM, lambda: L.GlobalAveragePooling3D()),
    (ROOM, lambda: L.ZeroPadding3D(1)),
    (ROOM, lambda: L.Cropping3D(1)),
    (ROOM, lambda: L.UpSampling3D(2)),
    (ROOM, lambda: L.SpatialDropout3D(0.5)),
    (STEPS, lambda: L.DepthwiseConv1D(3, depth_multiplier=2)),
    (STEPS, lambda: L.SeparableConv1D(5, 3)),
    (IMAGE, lambda: L.RandomFlip()),
    (IMAGE, lambda: L.RandomRotation(0.1)),
    (IMAGE, lambda: L.RandomZoom(0.1)),
    (IMAGE, lambda: L.RandomTranslation(0.1, 0.1)),
    (IMAGE, lambda: L.RandomContrast(0.1)),
    (VECTOR, lambda: L.Dropout(0.5)),
    (STEPS, lambda: L.SpatialDropout1D(0.5)),
    (IMAGE, lambda: L.SpatialDropout2D(0.5)),
    (VECTOR, lambda: L.GaussianNoise(0.5)),
    (VECTOR, lambda: L.GaussianDropout(0.5)),
    (VECTOR, lambda: L.AlphaDropout(0.5)),
    (VECTOR, lambda: L.ActivityRegularization(0.5)),
]
SEVERAL = [
    L.Add,
    L.Multiply,
    L.Maximum,
    L.Minimum,
    L.Average,
    L.Concatenate,
    lambda: L.Concatenate(axis=1),
]
TWO = [
    L.Subtract,
    lambda: L.Dot(axes=2),
    lambda: L.Dot(axes=(1, 1), normalize=True),
]


@pytest.mark.parametrize(
    "case", range(len(CASES)), ids=lambda i: f"{type(CASES[i][1]()).__name__}{i}"
)
def test_each_layer_is_computed_alike(tmp_path, case):
    shape, layer = CASES[case]
    compare(Sequential([keras.Input(shape), layer()]), tmp_path, numbers(3, *shape))


@pytest.mark.parametrize("case", range(len(SEVERAL) + len(TWO)))
def test_layers_of_several_inputs(tmp_path, case):
    made = [*SEVERAL, *TWO][case]
    count = 3 if case < len(SEVERAL) else 2
    inputs = [keras.Input((5, 4)) for _ in range(count)]
    compare(keras.Model(inputs, made()(inputs)), tmp_path, *(numbers(2, 5, 4) for _ in inputs))


@pytest.mark.parametrize(
    "made",
    [
        L.Attention,
        lambda: L.Attention(use_scale=True),
        L.AdditiveAttention,
        lambda: L.MultiHeadAttention(2, 3),
        lambda: L.MultiHeadAttention(2, 3, value_dim=5, use_bias=False, output_shape=6),
    ],
)
@pytest.mark.parametrize("count", [2, 3])
def test_attention(tmp_path, made, count):
    inputs = [keras.Input((steps, 4)) for steps in (3, 5, 5)[:count]]
    layer = made()
    out = layer(*inputs) if isinstance(layer, L.MultiHeadAttention) else layer(inputs)
    compare(keras.Model(inputs, out), tmp_path, *(numbers(2, *t.shape[1:]) for t in inputs))


def test_dot_of_vectors(tmp_path):
    inputs = [keras.Input((4,)) for _ in range(2)]
    compare(keras.Model(inputs, L.Dot(1)(inputs)), tmp_path, numbers(3, 4), numbers(3, 4))


@pytest.mark.parametrize(
    "made",
    [
        lambda: L.Conv2D(3, 3, 2, "same", data_format="channels_first"),
        lambda: L.Conv2DTranspose(3, 3, 2, data_format="channels_first"),
        lambda: L.MaxPooling2D(2, data_format="channels_first"),
        lambda: L.GlobalAveragePooling2D(data_format="channels_first"),
        lambda: L.GlobalMaxPooling2D(keepdims=True, data_format="channels_first"),
        lambda: L.ZeroPadding2D(1, data_format="channels_first"),
        lambda: L.UpSampling2D(2, data_format="channels_first"),
        lambda: L.Flatten(data_format="channels_first"),
    ],
)
def test_layers_of_channels_first(tmp_path, made):
    compare(Sequential([keras.Input((4, 8, 9)), made()]), tmp_path, numbers(3, 4, 8, 9))


def test_images_of_integers(tmp_path):
    given = RNG.integers(0, 256, (3, 6, 7, 2), np.uint8)
    first = keras.Input((6, 7, 2), dtype="uint8")
    for made in ([L.Rescaling(1 / 255), L.Conv2D(3, 3)], [L.ZeroPadding2D(), L.Conv2D(3, 3)]):
        compare(Sequential([first, *made]), tmp_path, given)


def test_embedding_takes_integers(tmp_path):
    model = Sequential([keras.Input((5,), dtype="int32"), L.Embedding(7, 3), L.LSTM(2)])
    compare(model, tmp_path, RNG.integers(0, 7, (4, 5)).astype(np.int32))


KNOWN = [name for name in activations.__all__ if name not in ("get", "serialize", "deserialize")]


@pytest.mark.parametrize("name", KNOWN)
def test_each_activation_is_computed_alike(tmp_path, name):
    from gputensor import onnx as ours

    model = Sequential([keras.Input((6,)), L.Activation(name)])
    if name == "threshold":  # which has no defaults
        return
    if name in ("glu", "sparse_plus", "sparsemax"):
        with pytest.raises(TypeError, match=f"its activation '{name}' has no counterpart"):
            ours.export(model, tmp_path / "m.onnx")
        return
    compare(model, tmp_path, 3 * numbers(5, 6))


def test_models_of_several_ways_and_models_inside(tmp_path):
    inner = Sequential([keras.Input((4,)), L.Dense(5, "relu"), L.Dropout(0.2)])
    shared = L.Dense(4, "tanh")
    a, b = keras.Input((4,)), keras.Input((6, 6, 2))
    x = inner(shared(a))
    y = L.GlobalAveragePooling2D()(L.Conv2D(5, 3)(b))
    z = L.Add()([x, y]) * 2.0 - 1.0
    z = 1.0 / (abs(z) + 2.0) + (1.0 - z) ** 2
    model = keras.Model([a, b], [L.Dense(3, "softmax")(z), shared(a)])
    compare(model, tmp_path, numbers(3, 4), numbers(3, 6, 6, 2))


def test_states_are_outputs_too(tmp_path):
    x = keras.Input((5, 3))
    for kind in (L.LSTM, L.GRU):
        outputs = kind(4, return_sequences=True, return_state=True)(x)
        compare(keras.Model(x, outputs), tmp_path, numbers(2, 5, 3))


def test_a_weight_is_in_the_file_once(tmp_path):
    from gputensor import onnx as ours

    a, b, shared = keras.Input((64,)), keras.Input((64,)), L.Dense(64)
    ours.export(keras.Model([a, b], [shared(a), shared(b)]), tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").stat().st_size < 1.2 * 64 * 65 * 4


def test_what_has_no_counterpart_is_refused_by_name(tmp_path):
    from gputensor import onnx as ours

    class Own(L.Layer):
        def call(self, x):
            return x

    path = tmp_path / "m.onnx"
    for layer, words in (
        (L.Lambda(lambda x: x, name="mine"), "mine, a Lambda, cannot be exported"),
        (Own(), "a Own, cannot be exported: it has no counterpart"),
        (L.Dense(2, activation=lambda x: x * 2), "its activation .* has no counterpart"),
        (L.LSTM(2, activation="gelu"), "'gelu' has no counterpart in a recurrent operator"),
        (L.Masking(), "Masking, cannot be exported"),
        (L.LayerNormalization(axis=1), "along the last axes only"),
        (L.Embedding(4, 2, mask_zero=True), "mask_zero"),
    ):
        shape = (3,) if isinstance(layer, L.Embedding) else (3, 4)
        with pytest.raises(TypeError, match=words):
            ours.export(Sequential([keras.Input(shape), layer]), path)
    x = keras.Input((3, 4))
    causal = keras.Model(x, L.MultiHeadAttention(1, 2)(x, x, use_causal_mask=True))
    with pytest.raises(TypeError, match="use_causal_mask has no counterpart"):
        ours.export(causal, path)
    with pytest.raises(TypeError, match="must be a Sequential or functional model"):
        ours.export(gt.nn.Dense(1, 1), path)
    with pytest.raises(TypeError, match="not built yet"):
        ours.export(Sequential([L.Dense(1)]), path)
    assert not path.exists()


def test_each_layer_of_the_door_is_exported_or_refused_on_purpose():
    from gputensor import onnx as ours

    refused = {"Lambda", "Masking", "Layer", "Wrapper", "SpectralNormalization"}
    refused |= {"GroupQueryAttention", "GroupedQueryAttention", "ConvLSTM1D", "ConvLSTM2D"}
    refused |= {"CategoryEncoding", "CenterCrop", "Discretization", "Hashing", "RandomCrop"}
    refused |= {"Resizing", "IntegerLookup", "StringLookup", "TextVectorization"}
    for name, kind in vars(layers).items():
        if not inspect.isclass(kind) or not issubclass(kind, L.Layer) or name in refused:
            continue
        if name.startswith("Adaptive"):
            continue
        if name.endswith("Cell") or name in ("RNN", "StackedRNNCells"):
            continue
        assert kind in ours._LAYERS, name
