"""What other libraries call otherwise, with our word: for errors, and for the documentation.

What NumPy calls otherwise is in ``gputensor.interop.NAMES``: calls of NumPy with tensors find ours
by it.
"""

import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from types import FunctionType, ModuleType
from typing import Any, NoReturn

__all__ = ["KEYWORDS", "MODULES", "TENSOR", "refuse_keywords", "taught", "teach", "unknown"]

# By module: what is no name of it, and what to write.
MODULES: dict[str, dict[str, str]] = {
    "gputensor": {
        "Dense": "gt.nn.Dense, or gputensor.keras.layers.Dense",
        "FloatTensor": "gt.tensor",
        "Linear": "gt.nn.Linear",
        "LongTensor": "gt.tensor(data, dtype=gt.int64)",
        "Parameter": "gt.tensor(data, requires_grad=True)",
        "Sequential": "gt.nn.Sequential, or gputensor.keras.models.Sequential",
        "Variable": "gt.tensor(data, requires_grad=True)",
        "addmm": "gt.matmul, and +",
        "array": "gt.tensor (a copy) or gt.asarray",
        "as_tensor": "gt.asarray",
        "bmm": "gt.matmul",
        "cat": "gt.concat",
        "chunk": "gt.split",
        "clamp": "gt.clip",
        "compile": "gt.capture",
        "constant": "gt.asarray",
        "convert_to_tensor": "gt.asarray",
        "cross_entropy": "gt.nn.functional.cross_entropy",
        "cuda": "gt.cuda_status() or gt.device('cuda')",
        "div": "gt.divide",
        "double": "gt.float64",
        "dropout": "gt.nn.functional.dropout",
        "eq": "gt.equal",
        "float": "gt.float32, or gt.float64, which is Python's float",
        "from_numpy": "gt.asarray",
        "function": "gt.capture",
        "gather": "gt.take_along_axis",
        "ge": "gt.greater_equal",
        "gelu": "gt.nn.functional.gelu",
        "half": "gt.float16",
        "int": "gt.int64",
        "jacfwd": "gt.jacobian",
        "jacrev": "gt.jacobian",
        "jit": "gt.capture",
        "le": "gt.less_equal",
        "lt": "gt.less",
        "long": "gt.int64",
        "mm": "gt.matmul",
        "mse_loss": "gt.nn.functional.mse_loss",
        "mul": "gt.multiply",
        "ne": "gt.not_equal",
        "neg": "gt.negative",
        "no_gradient": "gt.no_grad",
        "norm": "gt.linalg.norm",
        "numel": "gt.asarray(x).size",
        "one_hot": "gt.nn.functional.one_hot",
        "permute": "gt.permute_dims",
        "rand": "gt.random.default_generator.random(shape)",
        "randint": "gt.random.default_generator.integers(low, high, shape)",
        "randn": "gt.random.default_generator.standard_normal(shape)",
        "randperm": "gt.random.default_generator.permutation(n)",
        "reduce_max": "gt.max",
        "reduce_mean": "gt.mean",
        "reduce_sum": "gt.sum",
        "scatter_add": "gt.index_add",
        "seed": "gt.manual_seed",
        "stop_gradient": "x.detach()",
        "sub": "gt.subtract",
        "unbind": "gt.unstack",
        "unsqueeze": "gt.expand_dims",
    },
    "gputensor.nn": {
        "BatchNorm": "gt.nn.BatchNorm1d or gt.nn.BatchNorm2d",
        "BatchNormalization": "gt.nn.BatchNorm2d, or gputensor.keras.layers.BatchNormalization",
        "Conv1D": "gt.nn.Conv1d, or gputensor.keras.layers.Conv1D",
        "Conv2D": "gt.nn.Conv2d, or gputensor.keras.layers.Conv2D",
        "MaxPooling2D": "gt.nn.MaxPool2d, or gputensor.keras.layers.MaxPooling2D",
        "MultiHeadAttention": "gt.nn.MultiheadAttention",
        "Parameter": "gt.tensor(data, requires_grad=True)",
        "gelu": "gt.nn.functional.gelu",
        "log_softmax": "gt.log_softmax",
        "one_hot": "gt.nn.functional.one_hot",
        "relu": "gt.relu",
        "sigmoid": "gt.sigmoid",
        "softmax": "gt.softmax",
        "tanh": "gt.tanh",
        "utils": "gputensor.torch.nn.utils, or optimizer.clip_grad_norm(most)",
    },
    "gputensor.optim": {
        "Nadam": "gt.optim.NAdam",
        "adam": "gt.optim.Adam",
        "apply_updates": "optimizer.step()",
        "lr_scheduler": "gt.optim.schedules, as in gt.optim.Adam(parameters, lr=a_schedule)",
        "sgd": "gt.optim.SGD",
    },
    "gputensor.random": {
        "PRNGKey": "gt.random.default_rng(seed)",
        "bernoulli": "gt.random.default_generator.random(shape) < p",
        "choice": "gt.random.default_generator.choice(...)",
        "key": "gt.random.default_rng(seed)",
        "normal": "gt.random.default_generator.normal(loc, scale, shape)",
        "permutation": "gt.random.default_generator.permutation(n)",
        "rand": "gt.random.default_generator.random(shape)",
        "randint": "gt.random.default_generator.integers(low, high, shape)",
        "randn": "gt.random.default_generator.standard_normal(shape)",
        "random": "gt.random.default_generator.random(shape)",
        "seed": "gt.random.manual_seed",
        "shuffle": "gt.random.default_generator.permutation(x)",
        "split": "gt.random.default_rng(seed), with a seed for each",
        "standard_normal": "gt.random.default_generator.standard_normal(shape)",
        "uniform": "gt.random.default_generator.uniform(low, high, shape)",
    },
}

# By what to write: what PyTorch calls otherwise of a tensor.
TENSOR: dict[str, str] = {
    "gt.asarray(x, copy=True)": "clone copy",
    "gt.broadcast_to(x, shape)": "expand expand_as",
    "gt.concat, gt.stack or gt.split": "chunk split unbind",
    "gt.expand_dims(x, axis)": "unsqueeze",
    "gt.linalg.vector_norm(x)": "norm",
    "gt.softmax(x, axis)": "softmax",
    "gt.log_softmax(x, axis)": "log_softmax",
    "gt.sort(x) or gt.topk(x, k)": "sort topk",
    "gt.take_along_axis(x, indices, axis)": "gather",
    "gt.tile(x, repetitions)": "repeat",
    "gt.where(mask, value, x)": "masked_fill masked_fill_",
    "gt.zeros_like(x) and its kin": "new_zeros new_ones new_full new_tensor",
    "x += y, and the other operators": "add_ sub_ mul_ div_ pow_",
    "x + y, and the other operators": "add sub mul div pow neg eq ne lt le gt ge",
    "x @ y": "mm bmm mv dot matmul",
    "x.T or x.mT": "t",
    "x.astype(gt.float32) and its kin": (
        "float double half int long short bool byte type type_as cast"
    ),
    "x.clip(min, max)": "clamp clamp_",
    "x.detach()": "data detach_",
    "x.device": "is_cuda get_device",
    "x.ndim": "dim ndimension",
    "x.numpy()": "get asnumpy",
    "x.permute_dims(axes)": "permute",
    "x.requires_grad = True": "requires_grad_",
    "x.reshape(shape)": "view view_as contiguous",
    "x.size": "numel nelement",
    'x.to("cuda")': "cuda",
    "x[...] = value": "copy_ fill_ zero_ normal_ uniform_",
    "x[key] = value, or gt.index_set(x, key, value)": "at",
}

# By name of a parameter: ours. One that is none of the function's own is not offered.
KEYWORDS: dict[str, tuple[str, ...]] = {
    "a": ("x",),
    "a_max": ("max",),
    "a_min": ("min",),
    "axes": ("axis",),
    "axis": ("axes",),
    "beta_1": ("betas",),
    "beta_2": ("betas",),
    "ddof": ("correction",),
    "decay": ("weight_decay",),
    "dim": ("axis", "axes"),
    "dims": ("axes", "axis"),
    "dim0": ("axis1",),
    "dim1": ("axis2",),
    "epsilon": ("eps",),
    "fill": ("fill_value",),
    "input": ("x",),
    "keep_dims": ("keepdims",),
    "keepdim": ("keepdims",),
    "learning_rate": ("lr",),
    "newshape": ("shape",),
    "other": ("y",),
    "params": ("parameters",),
    "size": ("shape",),
    "unbiased": ("correction",),
}


class Elsewhere:
    """A method of PyTorch's: on a tensor an AttributeError that says what to write here."""

    def __init__(self, name: str, ours: str) -> None:
        self.name = name
        self.ours = ours

    def __get__(self, instance: object, owner: type) -> NoReturn:
        raise AttributeError(
            f"a tensor has no attribute {self.name!r}; write {self.ours}, or import "
            "gputensor.torch for PyTorch's names"
        )


def unknown(module: str, more: dict[str, str] | None = None) -> Callable[[str], NoReturn]:
    """A module's ``__getattr__``: an AttributeError with our word for the name, if it has one."""
    words = (more or {}) | MODULES[module]

    def getattr_(name: str) -> NoReturn:
        ours = words.get(name)
        raise AttributeError(
            f"module {module!r} has no attribute {name!r}" + (f"; write {ours}" if ours else ""),
            name=name,
            obj=sys.modules[module],
        )

    return getattr_


def _meant(name: str, known: Any) -> str:
    return next((ours for ours in KEYWORDS.get(name, ()) if ours in known), "")


def refuse_keywords(function: Callable[..., Any], name: str, given: Mapping[str, Any]) -> None:
    """Raise a TypeError with our name of the first keyword that another library calls otherwise."""
    for key in given.keys() & KEYWORDS.keys():
        known = inspect.signature(function).parameters
        if key not in known and (ours := _meant(key, known)):
            raise TypeError(f"{name} got {key}=; the name is {ours}=")


def _taught(function: Callable[..., Any], args: Any, kwargs: Any, error: TypeError) -> TypeError:
    """The error of a call whose arguments do not fit, with what to write."""
    name = function.__name__
    known = inspect.signature(function).parameters
    for key in kwargs:
        if key in known:
            continue
        if ours := _meant(key, known):
            return TypeError(f"{name}: the name of {key}= is {ours}= here")
        if key == "requires_grad":
            return TypeError(
                f"{name} takes no requires_grad; write x = gt.{name}(...), x.requires_grad = True"
            )
        if key == "out":
            return TypeError(f"{name} takes no out; write y[...] = gt.{name}(...)")
        return TypeError(f"{name} has no parameter {key}; it has {', '.join(known)}")
    first = next(iter(known))
    if first == "shape" and len(args) > 1 and all(isinstance(n, int) for n in args):
        return TypeError(f"{name}: the shape is one argument; write {name}({args})")
    kinds = [p.name for p in known.values() if p.kind is not p.KEYWORD_ONLY]
    if len(args) > len(kinds):
        named = [p.name for p in known.values() if p.kind is p.KEYWORD_ONLY]
        more = f", and by name {', '.join(named)}" if named else ""
        return TypeError(
            f"{name} takes {', '.join(kinds)} by position{more}; it was given {len(args)} arguments"
        )
    return error


def taught(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, whose TypeError of a call that does not fit says what to write."""

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except TypeError as error:
            trace = error.__traceback__
            if trace is not None and trace.tb_next is None:  # it has not begun to run
                raise _taught(function, args, kwargs, error) from None
            raise

    return called


def teach(module: ModuleType, *others: dict[str, Any]) -> None:
    """Put :func:`taught` around the functions of a module, there and where else they are named."""
    for name in module.__all__:
        function = getattr(module, name)
        if not isinstance(function, FunctionType) or "<locals>" in function.__code__.co_qualname:
            continue
        called = taught(function)
        for names in (vars(module), vars(sys.modules[function.__module__]), *others):
            if names.get(name) is function:
                names[name] = called
