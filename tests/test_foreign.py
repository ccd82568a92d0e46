"""Operands that are not gputensor's: operators leave them to the other object, or refuse them."""

import datetime
import operator
import warnings
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

import gputensor as gt
from gputensor.errors import OperandError
from gputensor.keras.layers import Dense
from gputensor.keras.models import Sequential

ARITHMETIC = {
    name: getattr(operator, name)
    for name in (
        *("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul"),
        *("and_", "or_", "xor", "lshift", "rshift"),
    )
}
COMPARISONS = {name: getattr(operator, name) for name in ["eq", "ne", "lt", "le", "gt", "ge"]}
IN_PLACE = {f"i{name.strip('_')}": getattr(operator, f"i{name.strip('_')}") for name in ARITHMETIC}
ELEMENTWISE = [name for name in COMPARISONS | ARITHMETIC if name != "matmul"]
MIRRORED = {"lt": "gt", "le": "ge", "gt": "lt", "ge": "le"}


def integers():
    return gt.tensor([3, 5])


class Reflecting:
    """Answers every operator by its name."""


def _answer(name):
    return lambda self, other: (name, other)


for _name in ARITHMETIC:
    setattr(Reflecting, f"__r{_name.strip('_')}__", _answer(_name))
    setattr(Reflecting, f"__{_name.strip('_')}__", _answer(f"left {_name}"))
for _name in COMPARISONS:
    setattr(Reflecting, f"__{_name}__", _answer(_name))
Reflecting.__hash__ = object.__hash__


@pytest.mark.parametrize("name", ARITHMETIC)
def test_what_operators_do_not_know_is_asked(name):
    x, other = integers(), Reflecting()
    found, given = ARITHMETIC[name](x, other)
    assert found == name
    assert given is x
    assert ARITHMETIC[name](other, x)[0] == f"left {name}"
    found, given = IN_PLACE[f"i{name.strip('_')}"](x, other)
    assert found == name
    assert given is x


@pytest.mark.parametrize("name", COMPARISONS)
def test_what_comparisons_do_not_know_is_asked(name):
    x = integers()
    found, given = COMPARISONS[name](x, Reflecting())
    assert found == MIRRORED.get(name, name)
    assert given is x


FOREIGN = {
    "object": object(),
    "str": "text",
    "bytes": b"text",
    "None": None,
    "Fraction": Fraction(1, 2),
    "Decimal": Decimal("0.5"),
    "dict": {},
    "set": {1},
    "date": datetime.date(2024, 1, 1),
    "time": datetime.timedelta(1),
    "function": len,
    "range": range(2),
}


# Fractions have a power of their own, and sequences are repeated, or formatted.
KNOWN = {("pow", "Fraction"), ("mul", "str"), ("mul", "bytes"), ("mod", "str"), ("mod", "bytes")}


@pytest.mark.parametrize("other", FOREIGN.values(), ids=FOREIGN)
@pytest.mark.parametrize("name", ARITHMETIC)
def test_what_nobody_knows_is_pythons_type_error(name, other):
    if (name, type(other).__name__) in KNOWN:
        return
    for x in (integers(), gt.tensor([1.0, 2.0], requires_grad=True)):
        with pytest.raises(TypeError, match="unsupported operand"):
            ARITHMETIC[name](x, other)
        with pytest.raises(TypeError, match=r"unsupported operand|can only|must be|can't"):
            ARITHMETIC[name](other, x)
        before = x.tolist()
        with pytest.raises(TypeError, match="unsupported operand"):
            IN_PLACE[f"i{name.strip('_')}"](x, other)
        assert x.tolist() == before


def test_fractions_are_powers():
    found = gt.tensor([4.0, 9.0]) ** Fraction(1, 2)
    assert found.tolist() == [2, 3]


@pytest.mark.parametrize("other", FOREIGN.values(), ids=FOREIGN)
def test_what_nobody_knows_is_not_equal(other):
    x = integers()
    assert (x == other) is False
    assert (other == x) is False
    assert (x != other) is True
    for name in ("lt", "le", "gt", "ge"):
        with pytest.raises(TypeError, match="not supported between"):
            COMPARISONS[name](x, other)


@pytest.mark.parametrize("other", FOREIGN.values(), ids=FOREIGN)
def test_functions_name_what_they_take(other):
    for function in (gt.add, gt.pow, gt.matmul, gt.equal, gt.maximum, gt.logical_and):
        for args in ((integers(), other), (other, integers())):
            with pytest.raises(OperandError, match=r"operands are tensors, NumPy or CuPy arrays"):
                function(*args)


SEQUENCES = {
    "list": [3, 4],
    "tuple": (3, 4),
    "floats": [3.5, 5.0],
    "nested": [[3, 4], [4, 5]],
}


@pytest.mark.cpu
@pytest.mark.parametrize("other", SEQUENCES.values(), ids=SEQUENCES)
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_lists_and_tuples_are_elementwise(name, other):
    function = (COMPARISONS | ARITHMETIC)[name]
    array = integers().numpy()
    try:
        wanted = function(array, other), function(other, array)
    except TypeError:  # bits of floats
        with pytest.raises(TypeError):
            function(integers(), other)
        return
    found = function(integers(), other), function(other, integers())
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a.numpy(), b, rtol=1e-6)
        assert isinstance(a, gt.Tensor)


def test_a_list_of_another_length_does_not_compare():
    with pytest.raises(gt.errors.ShapeError, match="equal"):
        integers() == [1, 2, 3]  # noqa: B015


SCALARS = [
    *(np.float64(2), np.float32(2), np.int8(2), np.uint64(2), np.bool_(True), np.complex64(2)),
    *(np.float16(2), np.longlong(2)),
]


@pytest.mark.cpu
@pytest.mark.parametrize("other", SCALARS, ids=lambda x: x.dtype.name)
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_numpys_scalars_are_numbers(name, other):
    function = (COMPARISONS | ARITHMETIC)[name]
    array = np.array([3, 5], np.int16)
    try:
        wanted = function(array, other), function(other, array)
    except TypeError:
        with pytest.raises(TypeError):
            function(gt.asarray(array), other)
        return
    found = function(gt.asarray(array), other), function(other, gt.asarray(array))
    for a, b in zip(found, wanted, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a.numpy(), b, rtol=1e-3)


# ---------------------------------------------------------------- what arrays carry

UNITS = {
    "timedelta64": np.timedelta64(1, "s"),
    "datetime64": np.datetime64("2024-01-01"),
    "array of times": np.array([1, 2], "m8[s]"),
    "str_": np.str_("text"),
    "bytes_": np.bytes_(b"text"),
    "void": np.void(b"ab"),
    "array of texts": np.array(["a", "b"]),
    "array of objects": np.array([1, 2], object),
    "records": np.array([(1, 2.0)] * 2, [("a", int), ("b", float)]),
}
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # np.matrix is not to be used
    SUBCLASSES = {
        "masked": np.ma.array([1.0, 2.0], mask=[0, 1]),
        "masked without a mask": np.ma.array([1.0, 2.0]),
        "the masked constant": np.ma.masked,
        "matrix": np.matrix([[1.0, 2.0]]),
        "recarray": np.array([1.0, 2.0]).view(np.recarray),
        "own": np.array([1.0, 2.0]).view(type("Quantity", (np.ndarray,), {})),
    }
ENTRIES = {
    "asarray": lambda x: gt.asarray(x),
    "tensor": lambda x: gt.tensor(x),
    "tensor of a list": lambda x: gt.tensor([x, x]),
    "from_dlpack": lambda x: gt.from_dlpack(x),
    "linspace": lambda x: gt.linspace(integers(), x, 3),
    "sum": lambda x: gt.sum(x),
    "exp": lambda x: gt.exp(x),
    "add": lambda x: gt.add(integers(), x),
    "stack": lambda x: gt.stack([x, x]),
    "where": lambda x: gt.where(integers() > 0, x, 0.0),
    "full": lambda x: gt.full(2, x),
    "zeros_like": lambda x: gt.zeros_like(x),
    "operator": lambda x: integers() * x,
    "reflected operator": lambda x: x * integers(),
    "==": lambda x: integers() == x,
    "+=": lambda x: operator.iadd(gt.tensor([1.0, 2.0]), x),
    "x[key] = value": lambda x: gt.tensor([1.0, 2.0]).__setitem__(..., x),
    "x[key]": lambda x: integers()[x],
    "take": lambda x: gt.take(integers(), x),
    "repeat": lambda x: gt.repeat(integers(), x),
    "quantile": lambda x: gt.quantile(integers(), x),
    "ufunc": lambda x: np.add(integers(), x),
    "ufunc, the other way": lambda x: np.add(x, integers()),
    "np function": lambda x: np.hstack([integers(), x]),
    "grad": lambda x: gt.grad(gt.sum)(x),
    "interp": lambda x: gt.interp(integers(), [1.0, 2.0], x),
    "isclose": lambda x: gt.isclose(integers(), x),
    "searchsorted": lambda x: gt.searchsorted(integers(), x),
    "cross_entropy": lambda x: gt.nn.functional.cross_entropy(gt.ones((2, 3)), x),
    "unique": lambda x: gt.unique_values(x),
    "norm": lambda x: gt.linalg.norm(x),
    "fft": lambda x: gt.fft.fftshift(x),
    "permutation": lambda x: gt.random.default_rng(0).permutation(x),
}


REFUSED = UNITS | SUBCLASSES


@pytest.mark.cpu
@pytest.mark.parametrize("value", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_masks_units_and_rules_of_their_own_are_refused(entry, value):
    with pytest.raises(TypeError):
        entry(value)


@pytest.mark.cpu
def test_the_error_says_what_to_write():
    with pytest.raises(TypeError, match=r"MaskedArray is more than .*x\.filled\(value\)"):
        gt.sum(SUBCLASSES["masked"])
    with pytest.raises(TypeError, match=r"np\.asarray\(x\)"):
        gt.sum(SUBCLASSES["matrix"])
    assert gt.sum(SUBCLASSES["masked"].filled(0)).item() == 1
    assert gt.sum(np.asarray(SUBCLASSES["matrix"])).item() == 3


@pytest.mark.cpu
@pytest.mark.parametrize("entry", ["fit", "predict", "evaluate"])
def test_keras_models_refuse_masks(entry):
    x, y = np.ma.array(np.ones((4, 3), np.float32), mask=np.eye(4, 3)), np.zeros(4, int)
    model = Sequential([Dense(2, "softmax", input_shape=(3,))])
    model.compile("sgd", "sparse_categorical_crossentropy")
    options = {} if entry == "predict" else {"y": y, "verbose": 0}
    with pytest.raises(TypeError, match="more than its elements"):
        getattr(model, entry)(x, **options)
    if entry != "predict":
        with pytest.raises(TypeError, match="more than its elements"):
            getattr(model, entry)(np.ones((4, 3)), **options | {"y": np.ma.array(y, mask=True)})


class Unit:
    """An array of another library, with rules of its own for NumPy's functions."""

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        return ("ufunc", ufunc.__name__)

    def __array_function__(self, function, types, args, options):
        return ("function", function.__name__)


class Quantity(np.ndarray):
    """The same as a subclass."""

    __array_ufunc__ = Unit.__array_ufunc__
    __array_function__ = Unit.__array_function__


@pytest.mark.parametrize("other", [Unit(), np.ones(2).view(Quantity)], ids=["class", "subclass"])
def test_rules_of_other_libraries_for_numpys_functions_are_asked(other):
    for args in ((integers(), other), (other, integers())):
        assert np.add(*args) == ("ufunc", "add")
        assert np.stack(args) == ("function", "stack")
