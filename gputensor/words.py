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

__all__ = [
    "KEYWORDS",
    "MODULE",
    "MODULES",
    "TENSOR",
    "refuse_keywords",
    "taught",
    "teach",
    "unknown",
]

# By module: what is no name of it, and what to write.
MODULES: dict[str, dict[str, str]] = {
    "gputensor": {
        "DataLoader": "gputensor.torch.utils.data.DataLoader",
        "Dense": "gt.nn.Dense, or gputensor.keras.layers.Dense",
        "ElementwiseKernel": "gt.kernel",
        "FloatTensor": "gt.tensor",
        "GradientTape": "gt.value_and_grad, or x.requires_grad = True and loss.backward()",
        "Linear": "gt.nn.Linear",
        "LongTensor": "gt.tensor(data, dtype=gt.int64)",
        "Module": "gt.nn.Module",
        "Parameter": "gt.tensor(data, requires_grad=True)",
        "RawKernel": "gt.kernels.CudaSource, and gt.kernel",
        "RawModule": "gt.kernels.CudaSource, and gt.kernel",
        "Sequential": "gt.nn.Sequential, or gputensor.keras.models.Sequential",
        "Variable": "gt.tensor(data, requires_grad=True)",
        "addmm": "gt.matmul, and +",
        "array": "gt.tensor (a copy) or gt.asarray",
        "as_tensor": "gt.asarray",
        "asnumpy": "x.numpy()",
        "average": "gt.mean, or gt.sum(w * x) / gt.sum(w)",
        "block_until_ready": "gt.synchronize",
        "bmm": "gt.matmul",
        "cat": "gt.concat",
        "chunk": "gt.split",
        "clamp": "gt.clip",
        "compile": "gt.capture",
        "constant": "gt.asarray",
        "convert_to_tensor": "gt.asarray",
        "cross": "gt.linalg.cross",
        "cross_entropy": "gt.nn.functional.cross_entropy",
        "cuda": "gt.cuda_status() or gt.device('cuda')",
        "det": "gt.linalg.det",
        "device_get": "x.numpy()",
        "device_put": "x.to(device)",
        "div": "gt.divide",
        "double": "gt.float64",
        "dropout": "gt.nn.functional.dropout",
        "eigh": "gt.linalg.eigh",
        "elu": "gt.nn.functional.elu",
        "eq": "gt.equal",
        "fliplr": "gt.flip(x, axis=1)",
        "flipud": "gt.flip(x, axis=0)",
        "float": "gt.float32, or gt.float64, which is Python's float",
        "fmax": "gt.maximum, which keeps NaN",
        "fmin": "gt.minimum, which keeps NaN",
        "from_numpy": "gt.asarray",
        "function": "gt.capture",
        "fuse": "gt.capture",
        "gather": "gt.take_along_axis",
        "ge": "gt.greater_equal",
        "gelu": "gt.nn.functional.gelu",
        "genfromtxt": "gt.asarray(np.genfromtxt(file))",
        "get_array_module": "x.__array_namespace__()",
        "half": "gt.float16",
        "index_select": "gt.take(x, indices, axis)",
        "inference_mode": "gt.no_grad",
        "int": "gt.int64",
        "inverse": "gt.linalg.inv",
        "is_tensor": "isinstance(x, gt.Tensor)",
        "jacfwd": "gt.jacobian",
        "jacrev": "gt.jacobian",
        "jit": "gt.capture",
        "le": "gt.less_equal",
        "leaky_relu": "gt.nn.functional.leaky_relu",
        "loadtxt": "gt.asarray(np.loadtxt(file))",
        "logdet": "gt.linalg.slogdet(x)[1]",
        "long": "gt.int64",
        "lt": "gt.less",
        "masked_fill": "gt.where(mask, value, x)",
        "masked_select": "x[mask]",
        "mm": "gt.matmul",
        "movedim": "gt.moveaxis",
        "mse_loss": "gt.nn.functional.mse_loss",
        "mul": "gt.multiply",
        "nansum": "gt.sum(gt.where(gt.isnan(x), 0, x))",
        "ndarray": "gt.Tensor",
        "ne": "gt.not_equal",
        "neg": "gt.negative",
        "no_gradient": "gt.no_grad",
        "norm": "gt.linalg.norm",
        "numel": "gt.asarray(x).size",
        "one_hot": "gt.nn.functional.one_hot",
        "percentile": "gt.quantile, with q from 0 to 1",
        "permute": "gt.permute_dims",
        "pinv": "gt.linalg.pinv",
        "pmap": "gt.distributed",
        "qr": "gt.linalg.qr",
        "rand": "gt.random.default_generator.random(shape)",
        "randint": "gt.random.default_generator.integers(low, high, shape)",
        "randn": "gt.random.default_generator.standard_normal(shape)",
        "randperm": "gt.random.default_generator.permutation(n)",
        "reduce_max": "gt.max",
        "reduce_mean": "gt.mean",
        "reduce_sum": "gt.sum",
        "rsqrt": "1 / gt.sqrt(x)",
        "save_checkpoint": "gt.checkpoints.Checkpointer",
        "savetxt": "np.savetxt(file, x.numpy())",
        "scatter": "gt.index_set(x, key, value)",
        "scatter_add": "gt.index_add",
        "seed": "gt.manual_seed",
        "set_default_device": "with gt.device(name), or the variable GPUTENSOR_DEVICE",
        "set_grad_enabled": "gt.no_grad or gt.enable_grad",
        "set_printoptions": "np.set_printoptions, which counts here",
        "silu": "gt.nn.functional.silu",
        "slogdet": "gt.linalg.slogdet",
        "stop_gradient": "x.detach()",
        "sub": "gt.subtract",
        "svd": "gt.linalg.svd",
        "unbind": "gt.unstack",
        "unsqueeze": "gt.expand_dims",
        "vmap": "the function for an axis more: functions take axes in front",
    },
    "gputensor.nn": {
        "BatchNorm": "gt.nn.BatchNorm1d or gt.nn.BatchNorm2d",
        "BatchNormalization": "gt.nn.BatchNorm2d, or gputensor.keras.layers.BatchNormalization",
        "Conv1D": "gt.nn.Conv1d, or gputensor.keras.layers.Conv1D",
        "Conv2D": "gt.nn.Conv2d, or gputensor.keras.layers.Conv2D",
        "DataParallel": "gt.distributed",
        "Input": "gputensor.keras.Input",
        "MaxPooling2D": "gt.nn.MaxPool2d, or gputensor.keras.layers.MaxPooling2D",
        "ModuleDict": "a dict as an attribute, whose modules are found",
        "ModuleList": "a list as an attribute, whose modules are found",
        "MultiHeadAttention": "gt.nn.MultiheadAttention",
        "Parameter": "gt.tensor(data, requires_grad=True)",
        "Transformer": "gputensor.torch.nn.Transformer",
        "Upsample": "gputensor.torch.nn.Upsample",
        "gelu": "gt.nn.functional.gelu",
        "init": "gputensor.torch.nn.init, or layer.weight[...] = value",
        "log_softmax": "gt.log_softmax",
        "one_hot": "gt.nn.functional.one_hot",
        "relu": "gt.relu",
        "sigmoid": "gt.sigmoid",
        "softmax": "gt.softmax",
        "tanh": "gt.tanh",
        "utils": "gputensor.torch.nn.utils, or optimizer.clip_grad_norm(most)",
    },
    "gputensor.optim": {
        "LBFGS": "gt.optimize.minimize(method='L-BFGS')",
        "Nadam": "gt.optim.NAdam",
        "StepLR": "gt.optim.schedules",
        "adam": "gt.optim.Adam",
        "apply_updates": "optimizer.step()",
        "clip_grad_norm_": "optimizer.clip_grad_norm(most)",
        "lr_scheduler": "gt.optim.schedules, as in gt.optim.Adam(parameters, lr=a_schedule)",
        "sgd": "gt.optim.SGD",
    },
    "gputensor.random": {
        "PRNGKey": "gt.random.default_rng(seed)",
        "RandomState": "gt.random.default_rng(seed)",
        "bernoulli": "gt.random.default_generator.random(shape) < p",
        "categorical": "gt.random.default_generator.choice(n, shape, p=p)",
        "choice": "gt.random.default_generator.choice(...)",
        "fold_in": "gt.random.default_rng(seed), with a seed for each",
        "get_state": "gt.random.default_generator.state",
        "key": "gt.random.default_rng(seed)",
        "normal": "gt.random.default_generator.normal(loc, scale, shape)",
        "permutation": "gt.random.default_generator.permutation(n)",
        "rand": "gt.random.default_generator.random(shape)",
        "randint": "gt.random.default_generator.integers(low, high, shape)",
        "randn": "gt.random.default_generator.standard_normal(shape)",
        "random": "gt.random.default_generator.random(shape)",
        "seed": "gt.random.manual_seed",
        "set_state": "gt.random.default_generator.state = saved",
        "shuffle": "gt.random.default_generator.permutation(x)",
        "split": "gt.random.default_rng(seed), with a seed for each",
        "standard_normal": "gt.random.default_generator.standard_normal(shape)",
        "uniform": "gt.random.default_generator.uniform(low, high, shape)",
    },
}

# By what to write: what PyTorch calls otherwise of a tensor.
TENSOR: dict[str, str] = {
    "gt.NAME(x, ...)": (
        "count_nonzero cosh diagonal diff flip floor interp isfinite isnan kron median moveaxis "
        "nonzero outer pad quantile roll round swapaxes take tile trace tril triu"
    ),
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
    "gt.conj(x).mT": "H",
    "gt.linalg.det(x) and its kin": "det inverse pinv svd qr slogdet",
    "gt.synchronize()": "block_until_ready",
    "x itself, which knows its operation: print(x)": "grad_fn is_leaf retain_grad",
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

# What PyTorch and Keras call otherwise of a module.
MODULE: dict[str, str] = {
    "add": "gputensor.keras.models.Sequential, or gt.nn.Sequential(*layers)",
    "bfloat16": "gt.autocast('bfloat16') around the training",
    "compile": "gputensor.keras.models, or a loop as in examples/train_loop.py",
    "cpu": "module.to('cpu')",
    "cuda": "module.to('cuda')",
    "double": "dtype=gt.float64 for each layer",
    "evaluate": "gputensor.keras.models, or a loop as in examples/train_loop.py",
    "fit": "gputensor.keras.models, or a loop as in examples/train_loop.py",
    "float": "dtype=gt.float32 for each layer",
    "get_weights": "module.state_dict()",
    "half": "gt.autocast('float16') around the training",
    "predict": "module(x), after module.eval()",
    "save": "gt.save(module.state_dict(), file)",
    "set_weights": "module.load_state_dict(state)",
    "summary": "print(module)",
    "trainable_variables": "module.parameters()",
    "variables": "module.parameters()",
    "weights": "module.parameters()",
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
    if name == "where" and len(args) == 1 and not kwargs:
        return TypeError("where takes condition, x and y; for places write gt.nonzero(condition)")
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
