"""State dicts of PyTorch, in and out: both sides compute the same with them."""

import numpy as np
import pytest

import gputensor as gt
from gputensor import exchange, keras
from gputensor.errors import DTypeError, ShapeError
from gputensor.keras import layers as L

RNG = np.random.default_rng(8)


def numbers(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def stirred(model):
    """Weights that are no zeros and ones."""
    for w in model.weights:
        w.array[...] += gt.asarray(0.1 * np.abs(numbers(*w.shape))).array
    return model


class Steps:
    """A recurrent module of PyTorch's that gives its steps alone."""

    def __new__(cls, torch, module):
        class Whole(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = module

            def forward(self, x):
                return self.inner(x)[0]

        return Whole()


def pairs(torch):
    """Our layers, PyTorch's module, PyTorch's names, and the shape of a sample."""
    t = torch.nn
    return {
        "dense": (
            [L.Dense(3, "relu"), L.Dense(2)],
            t.Sequential(t.Linear(4, 3), t.ReLU(), t.Linear(3, 2)),
            ["0", "2"],
            (4,),
        ),
        "conv": (
            [
                L.Conv2D(6, 3, groups=2),
                L.ReLU(),
                L.MaxPooling2D(2),
                L.Dropout(0.5),
                L.Flatten(),
                L.Dense(2),
            ],
            t.Sequential(
                t.Conv2d(4, 6, 3, groups=2),
                t.ReLU(),
                t.MaxPool2d(2),
                t.Dropout(),
                t.Flatten(),
                t.Linear(6 * 3 * 3, 2),
            ),
            None,
            (8, 9, 4),
        ),
        "depthwise": (
            [L.DepthwiseConv2D((2, 3), depth_multiplier=2)],
            t.Sequential(t.Conv2d(4, 8, (2, 3), groups=4)),
            None,
            (6, 7, 4),
        ),
        "transposed": (
            [L.Conv2DTranspose(5, 3, 2)],
            t.Sequential(t.ConvTranspose2d(4, 5, 3, 2)),
            None,
            (6, 7, 4),
        ),
        "norms": (
            [
                L.Conv2D(4, 1),
                L.BatchNormalization(epsilon=1e-5),
                L.GroupNormalization(2, epsilon=1e-5),
            ],
            t.Sequential(t.Conv2d(4, 4, 1), t.BatchNorm2d(4), t.GroupNorm(2, 4)),
            None,
            (6, 7, 4),
        ),
        "sequences": (
            [L.Conv1D(5, 3, dilation_rate=2)],
            t.Sequential(t.Conv1d(4, 5, 3, dilation=2)),
            None,
            (9, 4),
        ),
        "layer norm": (
            [L.Dense(6), L.LayerNormalization(epsilon=1e-5)],
            t.Sequential(t.Linear(4, 6), t.LayerNorm(6)),
            None,
            (4,),
        ),
    }


@pytest.mark.peers
@pytest.mark.parametrize(
    "name", ["dense", "conv", "depthwise", "transposed", "norms", "sequences", "layer norm"]
)
def test_both_sides_compute_the_same(tmp_path, name):
    torch = pytest.importorskip("torch")
    files = pytest.importorskip("safetensors.torch")
    ours, theirs, names, shape = pairs(torch)[name]
    model = stirred(keras.Sequential([keras.Input(shape), *ours]))
    theirs.eval()
    x = numbers(3, *shape)
    order = [0, len(shape), *range(1, len(shape))]

    def compare(model):
        given = torch.from_numpy(np.ascontiguousarray(x.transpose(order)))
        expected = theirs(given).detach().numpy()
        found = model.predict(x, verbose=0)
        if found.ndim > 2:
            found = found.transpose([0, found.ndim - 1, *range(1, found.ndim - 1)])
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)

    titles = names or [n for n, m in theirs.named_children() if list(m.parameters())]
    exchange.save(model, tmp_path / "ours.safetensors", titles)
    theirs.load_state_dict(files.load_file(tmp_path / "ours.safetensors"), strict=False)
    compare(model)
    for p in theirs.parameters():
        p.data += 0.1 * torch.randn(p.shape)
    files.save_file(theirs.state_dict(), tmp_path / "theirs.safetensors")
    other = stirred(keras.Sequential([keras.Input(shape), *pairs(torch)[name][0]]))
    exchange.load(other, tmp_path / "theirs.safetensors")
    compare(other)


def images(torch):
    """Layers between an image and a Dense layer, and PyTorch's, for images of 6 x 6 x 2."""
    t = torch.nn
    begin = L.Conv2D(4, 3), t.Conv2d(2, 4, 3)
    flat = L.Flatten(), t.Flatten()
    return {
        "padding": [begin, (L.ZeroPadding2D(1), t.ZeroPad2d(1)), flat],
        "cropping": [begin, (L.Cropping2D(1), t.ZeroPad2d(-1)), flat],
        "larger": [begin, (L.UpSampling2D(2), t.Upsample(scale_factor=2)), flat],
        "groups": [begin, (L.GroupNormalization(2, epsilon=1e-5), t.GroupNorm(2, 4)), flat],
        "PReLU": [begin, (L.PReLU(shared_axes=[1, 2]), t.PReLU(4)), flat],
        "ELU": [begin, (L.ELU(), t.ELU()), flat],
        "dropout": [begin, (L.SpatialDropout2D(0.5), t.Dropout2d()), flat],
        "adaptive": [begin, (L.AdaptiveAveragePooling2D(2), t.AdaptiveAvgPool2d(2)), flat],
        "reshape": [begin, (L.Reshape((-1,)), t.Flatten())],
        "norm behind": [begin, flat, (L.BatchNormalization(epsilon=1e-5), t.BatchNorm1d(64))],
        "layer norm behind": [begin, flat, (L.LayerNormalization(epsilon=1e-5), t.LayerNorm(64))],
        "layer norm": [
            begin,
            (L.LayerNormalization(axis=[1, 2, 3], epsilon=1e-5), t.LayerNorm((4, 4, 4))),
            flat,
        ],
        "separable": [
            (L.SeparableConv2D(4, 3, depth_multiplier=2), t.Conv2d(2, 4, 3, groups=2, bias=False)),
            (L.Identity(), t.Conv2d(4, 4, 1)),
            flat,
        ],
        "a model within": [
            (
                keras.Sequential([keras.Input((6, 6, 2)), L.Conv2D(4, 3), L.ReLU()]),
                t.Sequential(t.Conv2d(2, 4, 3), t.ReLU()),
            ),
            flat,
        ],
        "and back": [
            begin,
            flat,
            (L.Dense(48), t.Linear(64, 48)),
            (L.BatchNormalization(epsilon=1e-5), t.BatchNorm1d(48)),
            (L.ReLU(), t.ReLU()),
            (L.Reshape((4, 4, 3)), t.Unflatten(1, (3, 4, 4))),
            (L.Conv2DTranspose(2, 3), t.ConvTranspose2d(3, 2, 3)),
            flat,
        ],
    }


@pytest.mark.peers
@pytest.mark.parametrize(
    "name",
    [
        "padding",
        "cropping",
        "larger",
        "groups",
        "PReLU",
        "ELU",
        "dropout",
        "adaptive",
        "reshape",
        "norm behind",
        "layer norm behind",
        "layer norm",
        "separable",
        "a model within",
        "and back",
    ],
)
def test_flattened_images_have_their_numbers_in_order(name):
    torch = pytest.importorskip("torch")
    ours, theirs = zip(*images(torch)[name], strict=True)
    theirs = torch.nn.Sequential(*theirs, torch.nn.LazyLinear(3)).eval()
    x = numbers(3, 6, 6, 2)
    images_first = torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
    theirs(images_first)  # finds the size
    for value in theirs.state_dict().values():
        if value.dtype.is_floating_point:
            value += 0.3 * torch.rand(value.shape)
    model = keras.Sequential([keras.Input((6, 6, 2)), *ours, L.Dense(3)])
    exchange.from_torch(model, theirs.state_dict())
    expected = theirs(images_first).detach().numpy()
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, rtol=1e-4, atol=1e-4)
    back = exchange.to_torch(model).values()
    floats = [v for v in theirs.state_dict().values() if v.dtype.is_floating_point]
    for found, value in zip(back, floats, strict=True):
        np.testing.assert_array_equal(found, value.numpy())


@pytest.mark.peers
def test_flattened_images_are_added_and_joined_in_order():
    torch = pytest.importorskip("torch")
    t = torch.nn
    x = keras.Input((6, 6, 2))
    first = L.Conv2D(3, 3, padding="same")(x)
    total = L.ReLU()(L.Add()([first, L.Conv2D(3, 3, padding="same")(first)]))
    joined = L.Concatenate()([L.Flatten()(total), L.Flatten()(L.MaxPooling2D()(total))])
    model = keras.Model(x, L.Dense(4)(joined))

    class Theirs(t.Module):
        def __init__(self):
            super().__init__()
            self.a = t.Conv2d(2, 3, 3, padding=1)
            self.b = t.Conv2d(3, 3, 3, padding=1)
            self.c = t.Linear(135, 4)

        def forward(self, x):
            a = self.a(x)
            y = torch.relu(a + self.b(a))
            return self.c(torch.cat([y.flatten(1), t.MaxPool2d(2)(y).flatten(1)], 1))

    theirs = Theirs()
    exchange.from_torch(model, theirs.state_dict())
    given = numbers(3, 6, 6, 2)
    images_first = torch.from_numpy(np.ascontiguousarray(given.transpose(0, 3, 1, 2)))
    expected = theirs(images_first).detach().numpy()
    np.testing.assert_allclose(model.predict(given, verbose=0), expected, rtol=1e-4, atol=1e-5)


def test_flattened_images_whose_order_is_not_known_are_refused():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.conv, self.flat, self.dense = L.Conv2D(3, 3), L.Flatten(), L.Dense(4)

        def call(self, x):
            return self.dense(self.flat(self.conv(x)))

    model = Own()
    model(numbers(1, 6, 6, 2))
    with pytest.raises(TypeError, match="a Flatten, is called by a method of the model's own"):
        exchange.to_torch(model)
    layers = [keras.Input((6, 6, 2)), L.Conv2D(3, 3), L.Flatten(), L.RepeatVector(2), L.LSTM(3)]
    with pytest.raises(TypeError, match="a RepeatVector, gets images that were flattened"):
        exchange.to_torch(keras.Sequential(layers))


@pytest.mark.peers
def test_bidirectional_layers_are_one_module_of_pytorch():
    torch = pytest.importorskip("torch")
    theirs = torch.nn.GRU(4, 5, batch_first=True, bidirectional=True)
    layer = L.Bidirectional(L.GRU(5, return_sequences=True))
    model = keras.Sequential([keras.Input((6, 4)), layer])
    exchange.from_torch(model, theirs.state_dict())
    x = numbers(3, 6, 4)
    expected = theirs(torch.from_numpy(x))[0].detach().numpy()
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, rtol=1e-4, atol=1e-5)
    for name, value in exchange.to_torch(model, [""]).items():
        np.testing.assert_array_equal(value, theirs.state_dict()[name].numpy())


@pytest.mark.peers
def test_counts_of_batches_and_bfloat16_come_from_pytorch():
    torch = pytest.importorskip("torch")
    theirs = torch.nn.BatchNorm1d(3)
    theirs(torch.randn(8, 3))
    ours = gt.nn.BatchNorm1d(3)
    exchange.from_torch(ours, theirs.state_dict())
    assert ours.num_batches_tracked.item() == 1
    np.testing.assert_array_equal(ours.running_mean.cpu().numpy(), theirs.running_mean.numpy())
    half = torch.nn.Linear(3, 4).bfloat16()
    dense = gt.nn.Dense(3, 4)
    exchange.from_torch(dense, half.state_dict())
    found = dense.weight.detach().cpu().numpy().T
    np.testing.assert_array_equal(found, half.weight.detach().float().numpy())


@pytest.mark.peers
@pytest.mark.parametrize("name", ["SimpleRNN", "LSTM", "GRU"])
def test_recurrent_layers_have_their_gates_in_order(name):
    torch = pytest.importorskip("torch")
    module = getattr(torch.nn, name.replace("Simple", ""))(4, 5, batch_first=True)
    theirs = Steps(torch, module)
    layer = getattr(L, name)(5, return_sequences=True)
    model = stirred(keras.Sequential([keras.Input((6, 4)), layer]))
    x = numbers(3, 6, 4)
    exchange.from_torch(model, theirs.state_dict())
    expected = theirs(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, rtol=1e-4, atol=1e-5)
    stirred(model)
    state = exchange.to_torch(model, ["inner"])
    theirs.load_state_dict({k: torch.from_numpy(v) for k, v in state.items()})
    expected = theirs(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.peers
def test_modules_of_nn_and_of_the_torch_door(tmp_path):
    torch = pytest.importorskip("torch")
    import gputensor.torch as door

    theirs = torch.nn.Sequential(
        torch.nn.Linear(4, 6), torch.nn.LayerNorm(6), torch.nn.Tanh(), torch.nn.Linear(6, 2)
    )
    x = numbers(3, 4)
    expected = theirs(torch.from_numpy(x)).detach().numpy()
    ours = gt.nn.Sequential(gt.nn.Dense(4, 6), gt.nn.LayerNorm(6), gt.nn.Tanh(), gt.nn.Linear(6, 2))
    exchange.from_torch(ours, theirs.state_dict())
    with gt.no_grad():
        np.testing.assert_allclose(
            ours(gt.asarray(x)).cpu().numpy(), expected, rtol=1e-5, atol=1e-6
        )
    by_door = door.nn.Sequential(
        door.nn.Linear(4, 6), door.nn.LayerNorm(6), door.nn.Tanh(), door.nn.Linear(6, 2)
    )
    exchange.save(ours, tmp_path / "a.safetensors", ["0", "1", "3"])
    by_door.load_state_dict(door.load(tmp_path / "a.safetensors"))
    found = by_door(door.tensor(x)).detach().cpu().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    again = {k: torch.from_numpy(v) for k, v in exchange.to_torch(by_door).items()}
    assert again.keys() == theirs.state_dict().keys()
    for key, value in again.items():
        np.testing.assert_array_equal(value, theirs.state_dict()[key])


def test_there_and_back_changes_no_bit(tmp_path):
    model = stirred(
        keras.Sequential(
            [
                keras.Input((8, 8, 3)),
                L.Conv2D(4, 3),
                L.BatchNormalization(),
                L.PReLU(shared_axes=[1, 2]),
                L.MaxPooling2D(),
                L.Flatten(),
                L.Dense(5),
            ]
        )
    )
    before = [np.array(w) for w in model.get_weights()]
    exchange.save(model, tmp_path / "a.safetensors")
    stirred(model)
    exchange.load(model, tmp_path / "a.safetensors")
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_does_not_fit_is_refused_and_nothing_changed():
    model = keras.Sequential([keras.Input((4,)), L.Dense(3), L.Dense(2)])
    before = [np.array(w) for w in model.get_weights()]
    good = exchange.to_torch(model, ["a", "b"])
    for change, error, words in (
        (
            {"a.weight": numbers(4, 3)},
            ShapeError,
            r"a.weight has shape \(4, 3\); .* needs \(3, 4\)",
        ),
        ({"b.bias": None}, KeyError, "the state lacks b.bias, for the layer '1'"),
        ({"b.more": numbers(1)}, KeyError, "the model has nothing for b.more"),
        ({"c.weight": numbers(1)}, ValueError, "there are 2 layers with weights .* and 3"),
    ):
        state = {k: v for k, v in (good | change).items() if v is not None}
        with pytest.raises(error, match=words):
            exchange.from_torch(model, state)
        for a, b in zip(before, model.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
    with pytest.raises(KeyError, match="names has 'x'; the layers with weights are '0', '1'"):
        exchange.to_torch(model, {"x": "a"})
    with pytest.raises(TypeError, match="ConvLSTM1D, has no counterpart in PyTorch here"):
        exchange.to_torch(keras.Sequential([keras.Input((4, 4, 2)), L.ConvLSTM1D(2, 3)]))
    with pytest.raises(DTypeError, match=r"a.weight has elements of complex64, which float32 of"):
        exchange.from_torch(model, good | {"a.weight": np.ones((3, 4), np.complex64)})
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="has no weights yet; call the model with a batch"):
        exchange.to_torch(keras.Sequential([L.Dense(3)]))
    exchange.from_torch(model, good, {"0": "a", "1": "b"})
    assert sorted(exchange.to_torch(model, {"0": "x"})) == [
        "1.bias",
        "1.weight",
        "x.bias",
        "x.weight",
    ]


@pytest.mark.cpu
@pytest.mark.peers
def test_arrays_cross_in_the_same_memory_both_ways():
    torch = pytest.importorskip("torch")
    jax = pytest.importorskip("jax")
    room = np.zeros(64 * 64 + 16, np.float32)
    begin = -room.ctypes.data % 64 // 4  # JAX copies what is not aligned to 64 bytes
    ours = gt.asarray(room[begin : begin + 64 * 64].reshape(64, 64), device="cpu")
    theirs = torch.from_dlpack(ours)
    assert theirs.data_ptr() == ours.array.ctypes.data
    assert gt.from_dlpack(theirs).array.ctypes.data == theirs.data_ptr()
    for made in (jax.dlpack.from_dlpack(ours), jax.numpy.from_dlpack(ours)):
        assert made.unsafe_buffer_pointer() == ours.array.ctypes.data
    made = jax.numpy.ones((64, 64))
    assert gt.from_dlpack(made).array.ctypes.data == made.unsafe_buffer_pointer()
