"""What people write who come from elsewhere, and what they are told."""

import contextlib
import importlib
import re
import warnings

import numpy as np
import pytest

import gputensor as gt
from gputensor import keras, words
from gputensor.keras.layers import Dense
from gputensor.keras.models import Sequential

X = np.zeros((8, 4), np.float32)
Y = np.zeros(8, np.int64)


@pytest.fixture
def names():
    """What the mistakes below are about."""
    model = Sequential([Dense(3, activation="relu", input_shape=(4,)), Dense(2, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    return {
        "gt": gt,
        "np": np,
        "keras": keras,
        "Dense": Dense,
        "Sequential": Sequential,
        "x": gt.tensor([[1.0, 2.0], [3.0, 4.0]]),
        "w": gt.tensor([1.0, 2.0], requires_grad=True),
        "net": gt.nn.Sequential(gt.nn.Dense(4, 3), gt.nn.Dense(3, 2)),
        "model": model,
        "X": X,
        "Y": Y,
    }


# What was written, the error, and what it must say: above all what to write.
MISTAKES = [
    ("gt.cat([x, x])", AttributeError, "write gt.concat"),
    ("gt.concatenate([x, x])", AttributeError, "write gt.concat"),
    ("gt.array([1.0])", AttributeError, "gt.tensor (a copy) or gt.asarray"),
    ("gt.arctan2(x, x)", AttributeError, "write gt.atan2"),
    ("gt.zeros((2, 3), dtype=gt.float)", AttributeError, "gt.float32"),
    ("gt.randn(2, 3)", AttributeError, "default_generator.standard_normal(shape)"),
    ("gt.random.normal(0, 1, (2,))", AttributeError, "default_generator.normal(loc, scale, shape)"),
    ("gt.random.PRNGKey(0)", AttributeError, "gt.random.default_rng(seed)"),
    ("gt.jit(lambda x: x)", AttributeError, "write gt.capture"),
    ("gt.Linear(2, 3)", AttributeError, "write gt.nn.Linear"),
    ("gt.nn.Parameter(x)", AttributeError, "gt.tensor(data, requires_grad=True)"),
    ("gt.nn.Conv2D(3, 8, 3)", AttributeError, "gt.nn.Conv2d, or gputensor.keras.layers.Conv2D"),
    ("gt.optim.lr_scheduler", AttributeError, "gt.optim.schedules"),
    ("x.clone()", AttributeError, "gt.asarray(x, copy=True)"),
    ("x.view(4)", AttributeError, "x.reshape(shape)"),
    ("x.unsqueeze(0)", AttributeError, "gt.expand_dims(x, axis)"),
    ("x.float()", AttributeError, "x.astype(gt.float32)"),
    ("x.cuda()", AttributeError, 'x.to("cuda")'),
    ("x.add_(1)", AttributeError, "x += y"),
    ("x.sum(dim=1)", TypeError, "the name of dim= is axis="),
    ("gt.mean(x, keepdim=True)", TypeError, "the name of keepdim= is keepdims="),
    ("gt.concat([x, x], dim=0)", TypeError, "the name of dim= is axis="),
    ("gt.nn.functional.softmax(x, dim=1)", TypeError, "the name of dim= is axis="),
    ("gt.linalg.norm(x, dim=0)", TypeError, "the name of dim= is axis="),
    ("gt.fft.fft(x, dim=0)", TypeError, "the name of dim= is axis="),
    ("x.std(ddof=1)", TypeError, "the name of ddof= is correction="),
    ("gt.std(x, unbiased=False)", TypeError, "the name of unbiased= is correction="),
    ("gt.sum(x, axes=0)", TypeError, "the name of axes= is axis="),
    ("gt.zeros(2, 3)", TypeError, "write zeros((2, 3))"),
    ("gt.ones((2,), requires_grad=True)", TypeError, "x.requires_grad = True"),
    ("gt.exp(x, out=x)", TypeError, "exp"),
    ("gt.sum(x, out=x)", TypeError, "y[...] = gt.sum(...)"),
    ("gt.sum(x, along=0)", TypeError, "it has x, axis, dtype, keepdims"),
    ("gt.transpose(x, 0, 1)", TypeError, "takes x, axes by position; it was given 3"),
    ("gt.grad(w.sum(), w)", TypeError, "write loss.backward(), and read x.grad"),
    ("gt.grad(gt.sum, w)", TypeError, "write gt.grad(f)(x)"),
    ("gt.vjp(w.sum())", TypeError, "write gt.vjp(f, x)"),
    ("gt.grad(lambda t: t)(w)", gt.errors.GraphError, "for example with .sum()"),
    ("gt.tensor([1, 2], requires_grad=True)", gt.errors.DTypeError, "x.astype(gt.float32)"),
    ("x.sum().backward()", gt.errors.GraphError, "make an input with requires_grad=True"),
    ("np.asarray(w)", gt.errors.GraphError, "x.detach().numpy()"),
    ("w.numpy()", gt.errors.GraphError, "x.detach().numpy()"),
    ("x @ gt.zeros((3, 2))", gt.errors.ShapeError, "do not fit: "),
    ("gt.device('gpu')", gt.errors.DeviceError, "allowed are auto, cpu, cuda and cuda:N"),
    ("gt.optim.Adam(net)", TypeError, "write model.parameters()"),
    ("gt.optim.Adam(net.parameters)", TypeError, "call it, as in model.parameters()"),
    ("gt.optim.Adam(net.parameters(), learning_rate=0.1)", TypeError, "the name is lr="),
    ("gt.nn.Sequential(gt.nn.ReLU)", TypeError, "layer 0 is a type, not a Module"),
    ("net(gt.zeros((2, 9)))", gt.errors.ShapeError, "x must have shape (..., inputs)"),
    ("gt.nn.Dense(3, 2, activation='rleu')", ValueError, "allowed are None, 'gelu'"),
    (
        "gt.nn.functional.cross_entropy(x, gt.tensor([0.0, 1.0]))",
        gt.errors.DTypeError,
        "class labels must be integers, not float32",
    ),
    (
        "gt.nn.functional.cross_entropy(x, gt.tensor([0, 5])).item()",
        gt.errors.LabelError,
        "row 1 has label 5; labels must be in the range 0 to 1",
    ),
    ("Sequential([Dense])", TypeError, "a layer must be of gputensor.keras.layers, got the class"),
    ("model.compile('adma', 'mse')", ValueError, "allowed are 'sgd'"),
    (
        "model.compile(gt.optim.Adam, 'mse')",
        TypeError,
        "optimizer=gputensor.keras.optimizers.Adam(...)",
    ),
    ("[model.compile('adam'), model.fit(X, Y)]", gt.errors.GraphError, "give a loss, such as"),
    ("model.compile('adam', 'mse', metrics='mae')", TypeError, "write metrics=['mae']"),
    ("model.fit(X)", TypeError, "y is missing; the loss compares the outputs with it"),
    ("model.fit(X, None)", TypeError, "y is missing; the loss compares the outputs with it"),
    ("model.fit(X, Y[:7])", gt.errors.ShapeError, "y has shape (7,); x has 8 samples, so must y"),
    ("model.fit(X, np.array(['cat'] * 8))", gt.errors.DTypeError, "np.unique(words, return_inv"),
    ("model.fit('data.csv', Y)", gt.errors.DTypeError, "it must hold numbers"),
    ("gt.save('net.safetensors', net.state_dict())", TypeError, "gt.save(net.state_dict(), 'net"),
    ("model.fit(X, np.eye(2)[Y])", gt.errors.ShapeError, "use categorical_crossentropy"),
    ("model.fit(X, Y, validation_data=X)", TypeError, "must be (x, y), (x, y, weights)"),
    ("model.fit(X, Y, validation_data=(X,))", TypeError, "got a tuple of 1"),
    (
        "model.fit(X, Y, validation_data=(X, Y[:7]))",
        gt.errors.ShapeError,
        "validation_data: y has shape (7,)",
    ),
    (
        "model.fit(X, Y, validation_data=(X[:, :3], Y))",
        gt.errors.ShapeError,
        "validation_data: x has shape (8, 3)",
    ),
    ("model.fit(X, Y, epochs=0)", ValueError, "it must be a positive int"),
    ("model.fit(X, Y, epoch=3)", TypeError, "epoch"),
    ("model.evaluate(X[:, :3], Y)", gt.errors.ShapeError, "the model takes samples of (4,)"),
    ("model.save('m.txt')", ValueError, "for example m.keras"),
    ("x.to(gt.float64)", gt.errors.DTypeError, "write x.astype(dtype('float64'))"),
    ("x.device.type", AttributeError, "write device.kind"),
    ("x.flip(0)", AttributeError, "write gt.flip(x, ...)"),
    ("x.H", AttributeError, "write gt.conj(x).mT"),
    ("x.block_until_ready()", AttributeError, "write gt.synchronize()"),
    ("gt.stack(x, x)", TypeError, "arrays are one argument; write stack([x, y])"),
    ("gt.concat(x, x)", TypeError, "arrays are one argument; write concat([x, y])"),
    ("gt.where(x > 1)", TypeError, "for places write gt.nonzero(condition)"),
    ("gt.vmap(lambda x: x)", AttributeError, "functions take axes in front"),
    ("gt.is_tensor(x)", AttributeError, "isinstance(x, gt.Tensor)"),
    ("gt.asnumpy(x)", AttributeError, "write x.numpy()"),
    ("gt.ElementwiseKernel('x', 'y', 'y = x')", AttributeError, "write gt.kernel"),
    ("gt.loadtxt('data.csv')", AttributeError, "gt.asarray(np.loadtxt(file))"),
    ("gt.set_printoptions(precision=2)", AttributeError, "np.set_printoptions, which counts here"),
    ("gt.nn.ModuleList([])", AttributeError, "a list as an attribute"),
    ("gt.optim.LBFGS([w])", AttributeError, "gt.optimize.minimize(method='L-BFGS')"),
    ("gt.random.fold_in(0, 1)", AttributeError, "gt.random.default_rng(seed)"),
    ("gt.grad(gt.sin)(w)", gt.errors.GraphError, "write gt.jacobian or gt.vjp"),
    ("gt.capture(3)", TypeError, "function must be callable, got int"),
    ("gt.nn.Sequential([net])", TypeError, "write Sequential(*layers)"),
    ("gt.nn.Conv2d(1, 2, 3)(gt.zeros((1, 9, 9, 1)))", gt.errors.ShapeError, "(n, channels, height"),
    ("net([[1.0, 2.0, 3.0, 4.0]])", TypeError, "x is a list; write gt.asarray(x"),
    ("net.cuda()", AttributeError, "write module.to('cuda')"),
    ("net.fit(X, Y)", AttributeError, "gputensor.keras.models"),
    ("net.half()", AttributeError, "gt.autocast('float16')"),
    ("Sequential(Dense(3))", TypeError, "write Sequential([...]) with a list"),
    ("Sequential([Dense(3), Dense])", TypeError, "got the class Dense; write Dense(...)"),
    ("model.fit((X, Y))", TypeError, "y is missing; write fit(x, y)"),
    ("model.fit(X, Y, class_weight={'a': 1})", TypeError, "must be the numbers of the classes"),
    (
        "model.fit(X, np.array(['cat'] * 8, dtype=object))",
        gt.errors.DTypeError,
        "np.unique(words, return_inverse=",
    ),
]


@pytest.mark.parametrize(("code", "kind", "text"), MISTAKES, ids=[m[0] for m in MISTAKES])
def test_a_mistake_is_told_what_to_write(names, code, kind, text):
    with pytest.raises(kind, match=re.escape(text)) as caught:
        eval(code, names)
    assert str(caught.value)[-1:] not in " ;,:"


def test_an_error_inside_a_function_is_not_taken_for_a_wrong_call():
    with pytest.raises(TypeError, match="axis must be an int"):
        gt.concat([gt.ones(2)], axis="first")


def test_names_that_are_missing_are_missing():
    for thing in (gt, gt.nn, gt.optim, gt.random, gt.tensor(1.0)):
        assert not hasattr(thing, "no_such_name")
        assert getattr(thing, "no_such_name", 3) == 3


@pytest.mark.parametrize("module", words.MODULES)
def test_what_is_written_instead_is_there(module):
    for ours in words.MODULES[module].values():
        for path in re.findall(r"\b(?:gt|gputensor)\.[\w.]*\w", ours):
            names = {"gt": gt, "gputensor": importlib.import_module("gputensor")}
            with contextlib.suppress(ImportError):  # of a path that ends in a name
                importlib.import_module(re.sub(r"^gt\b", "gputensor", path).rpartition(".")[0])
            eval(path, names)


def test_no_attribute_that_is_there_is_called_foreign():
    for names in words.TENSOR.values():
        assert not [name for name in names.split() if hasattr(gt.Tensor, name)]
    assert not [name for name in words.MODULE if hasattr(gt.nn.Module, name)]
    for name in words.TENSOR["gt.NAME(x, ...)"].split():
        assert callable(getattr(gt, name))


@pytest.mark.parametrize("module", words.MODULES)
def test_no_name_that_is_there_is_called_foreign(module):
    there = eval(module, {"gputensor": gt})
    assert not words.MODULES[module].keys() & set(there.__all__)


def test_every_word_for_a_keyword_is_somebodys():
    ours = {
        key
        for module in (gt, gt.nn.functional, gt.linalg, gt.optim)
        for name in module.__all__
        for key in _parameters(getattr(module, name))
    }
    assert {word for offered in words.KEYWORDS.values() for word in offered} <= ours


def _parameters(function):
    import inspect

    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        return ()


def test_float64_data_in_a_float32_model_are_told():
    layer = gt.nn.Dense(4, 2)
    with pytest.warns(UserWarning, match=re.escape("write x.astype(gt.float32)")):
        layer(gt.zeros((2, 4), dtype=gt.float64))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer(gt.zeros((2, 4)))


def test_functions_that_teach_are_the_ones_of_their_modules():
    import pickle

    assert pickle.loads(pickle.dumps(gt.sum)) is gt.sum
    assert gt.sum is gt.ops.statistical.sum
    assert gt.sum.__doc__.startswith("Sum of the elements")


@pytest.mark.parametrize("dtype", ["float64", "int64", "int32"])
def test_a_net_that_becomes_float64_is_said(names, dtype):
    x = gt.ones((2, 4), dtype=getattr(gt, dtype))
    with pytest.warns(UserWarning, match=rf"x is {dtype} and the weight float32.*x.astype\("):
        assert names["net"](x).dtype == gt.float64
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for quiet in ("float32", "int16", "uint8"):
            assert names["net"](gt.ones((2, 4), dtype=getattr(gt, quiet))).dtype == gt.float32


def test_fit_takes_float64_data_as_float32(names):
    model = names["model"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(X.astype(np.float64), Y, epochs=1, verbose=0)
    assert {w.dtype for w in model.weights} == {gt.float32}
    assert model.predict(X.astype(np.float64)).dtype == np.float32


def compiled(loss, *layers):
    made = Sequential([keras.Input((4,)), *layers])
    made.compile("adam", loss)
    return made


LOSSES = keras.losses


# A model and labels that train, and to nothing good; and what is said.
BAD = [
    ("sparse_categorical_crossentropy", Dense(2), Y, "write activation='softmax', or loss="),
    ("sparse_categorical_crossentropy", Dense(2, "relu"), Y, "has activation='relu'; write"),
    ("binary_crossentropy", Dense(1), Y, "BinaryCrossentropy(from_logits=True)"),
    (
        LOSSES.SparseCategoricalCrossentropy(from_logits=True),
        Dense(2, "softmax"),
        Y,
        "takes logits",
    ),
    (LOSSES.BinaryCrossentropy(from_logits=True), Dense(1, "sigmoid"), Y, "takes logits"),
    ("binary_crossentropy", Dense(1, "softmax"), Y, "softmax of one unit is always 1; write"),
    ("binary_crossentropy", Dense(1, "sigmoid"), Y - 1, "takes labels 0 and 1, or probabilities"),
]


@pytest.mark.parametrize(("loss", "layer", "y", "text"), BAD)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_what_trains_to_nothing_good_is_said(loss, layer, y, text):
    with pytest.warns(UserWarning, match=re.escape(text)):
        compiled(loss, layer).fit(X, y, verbose=0)


@pytest.mark.parametrize(
    ("loss", "layer"),
    [
        ("sparse_categorical_crossentropy", Dense(2, "softmax")),
        ("binary_crossentropy", Dense(1, "sigmoid")),
        (LOSSES.SparseCategoricalCrossentropy(from_logits=True), Dense(2)),
        (LOSSES.BinaryCrossentropy(from_logits=True), Dense(1)),
        ("mse", Dense(1)),
        ("mse", Dense(1, "relu")),
    ],
)
def test_what_trains_well_is_not_warned_of(loss, layer):
    made = compiled(loss, layer)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made.fit(X, Y, verbose=0)


@pytest.mark.parametrize("name", ["x", "y"])
def test_a_loss_that_is_nan_names_the_data(name):
    data = {"x": X.copy(), "y": Y.astype(np.float32)}
    data[name][3] = np.nan
    with pytest.warns(
        UserWarning, match=rf"the loss is NaN; {name} has NaN or infinity, first in row 3"
    ):
        compiled("mse", Dense(1)).fit(**data, verbose=0)


def test_a_loss_that_is_nan_of_good_data_says_what_to_try():
    x = np.full((8, 4), 1e30, np.float32)
    with pytest.warns(UserWarning, match=r"the data have none, so it arises in training"):
        compiled("mse", Dense(1)).fit(x, Y, epochs=3, verbose=0)


def test_more_steps_than_batches_are_said(names):
    with pytest.warns(UserWarning, match="8 samples are 1 batches of 32: an epoch ends there"):
        names["model"].fit(X, Y, steps_per_epoch=2, verbose=0)


def test_data_in_the_place_of_the_batch_size_is_named_with_its_dtype(names):
    fit = names["model"].fit
    with pytest.raises(ValueError, match=r"batch_size is array of float32 and shape \(8, 4\)"):
        fit(X, Y, X)
    said = r"is \(array of float32 and shape \(8, 4\), array of int64 and shape \(8,\)\)"
    with pytest.raises(ValueError, match=said):
        fit(X, Y, (X, Y))
    with pytest.raises(ValueError, match=r"batch_size is Tensor of float32 and shape \(2, 2\)"):
        fit(X, Y, names["x"])
    with pytest.raises(ValueError, match=r"batch_size is <class 'numpy.float32'>; it must"):
        fit(X, Y, np.float32)
