"""Models in files: ``.keras`` and ``.h5`` as Keras writes them, and ``.safetensors``.

A ``.keras`` file is a zip archive of ``config.json`` and ``model.weights.h5``; it and ``.h5`` need
h5py (``pip install h5py``), ``.safetensors`` needs nothing more. None holds code, and
nothing in a file is executed.
"""

import contextlib
import io
import itertools
import json
import os
import time
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gputensor import backend, files, tensor_files
from gputensor.autograd import Tensor
from gputensor.errors import ShapeError
from gputensor.keras import configuration, losses, metrics, optimizers
from gputensor.keras.configuration import (
    CustomObjectScope,
    custom_object_scope,
    get_custom_objects,
    registered,
)
from gputensor.keras.layers.base import Layer
from gputensor.keras.models import Model, Sequential
from gputensor.keras.naming import snake_case
from gputensor.ops.data_type import bfloat16

__all__ = [
    "CustomObjectScope",
    "custom_object_scope",
    "get_custom_objects",
    "load_model",
    "load_weights",
    "register_keras_serializable",
    "save_model",
    "save_weights",
]

register_keras_serializable = registered
_VERSION = "3.15.1"  # of the Keras whose form this is


def _h5py() -> Any:
    try:
        import h5py
    except ImportError:
        raise ImportError(
            "files of Keras need h5py: pip install h5py; a name that ends in "
            ".safetensors needs nothing"
        ) from None
    return h5py


# Where weights are


def _class_name(layer: Any) -> str:
    if type(layer) is Model and layer._graph is not None:
        return "functional"
    return snake_case(type(layer).__name__)


def _numbered(parts: Any) -> Iterator[tuple[str, Any]]:
    """Layers of a list by Keras's names in files: those of their classes."""
    counts: dict[str, int] = {}
    for part in parts:
        name = _class_name(part)
        count = counts.get(name, 0)
        counts[name] = count + 1
        yield (f"{name}_{count}" if count else name), part


def _inside(layer: Any) -> Iterator[tuple[str, Any]]:
    """Layers inside, by their path in a file."""
    if isinstance(layer, Sequential) or (isinstance(layer, Model) and layer._graph is not None):
        yield from ((f"layers/{name}", part) for name, part in _numbered(layer.layers))
        return
    for name, value in vars(layer).items():
        if isinstance(value, Layer):
            yield name, value
        elif isinstance(value, (list, tuple)):
            held = [v for v in value if isinstance(v, Layer)]
            yield from ((f"{name}/{key}", part) for key, part in _numbered(held))


def _own_weights(layer: Layer) -> list[Tensor]:
    inside = {id(w) for _, child in _inside(layer) for w in child.weights}
    own = [w for w in layer.weights if id(w) not in inside]
    return own if not isinstance(layer, Model) else [w for w in layer._own() if id(w) not in inside]


def _places(layer: Layer, path: str = "") -> Iterator[tuple[str, Layer]]:
    """A layer and all inside, by path; a layer that is in several places once."""
    seen: set[int] = set()

    def walk(layer: Layer, path: str) -> Iterator[tuple[str, Layer]]:
        if id(layer) in seen:
            return
        seen.add(id(layer))
        yield path, layer
        for name, child in _inside(layer):
            yield from walk(child, f"{path}/{name}" if path else name)

    return walk(layer, path)


def _write(group: Any, model: Layer, state: bool = True) -> None:
    for path, layer in _places(model):
        variables = group.create_group(f"{path}/vars" if path else "vars")
        if not path:
            variables.attrs["name"] = layer.name
        for i, w in enumerate(_own_weights(layer)):
            _put(variables, str(i), backend.to_host(w.array))
    if state:
        _write_state(group, model)


def _put(group: Any, name: str, value: Any) -> None:
    dataset = group.create_dataset(name, data=value)
    if value.dtype.name == "bfloat16":  # which HDF5 has not; these are Keras's words for it
        dataset.attrs["dtype"] = "bfloat16"


def _array(dataset: Any) -> Any:
    found = np.asarray(dataset)
    return found.view(bfloat16("load")) if dataset.attrs.get("dtype") == "bfloat16" else found


def _write_state(group: Any, model: Any) -> None:
    """The state of the optimizer, by number."""
    state = _state_to_write(model)
    if state:
        variables = group.create_group("optimizer/vars")
        for i, value in enumerate(state):
            _put(variables, str(i), value)


def _read_state(group: Any) -> list[Any]:
    """The state of an optimizer from where we, or Keras, write it to."""
    if (held := group.get("optimizer/vars")) is not None:
        return [_array(held[str(i)]) for i in range(len(held))]
    held = group.get("optimizer_weights")
    names = () if held is None else held.attrs.get("weight_names", ())
    return [_array(held[_text(name)]) for name in names]


def _state_to_write(model: Any) -> list[Any]:
    """Values of what Keras's optimizer has, in its order; none, with a warning, if not known."""
    state = _optimizer_state(model)
    optimizer: Any = getattr(model, "optimizer", None)
    if state is None and optimizer is not None and optimizer.iterations:
        warnings.warn(
            f"the state of the optimizer, {type(optimizer).__name__}, is not in the file: training "
            "goes on from a new one after loading",
            stacklevel=5,
        )
    return [np.asarray(value) for _, value in state or ()]


# Slots of optimizers, in Keras's order: those of an inner list stand together for each weight.
_SLOTS: dict[str, list[list[str]]] = {
    "SGD": [["velocity"]],
    "RMSprop": [["square"], ["velocity"], ["mean"]],
    "Adam": [["mean", "square"], ["largest"]],
    "AdamW": [["mean", "square"], ["largest"]],
    "Adamax": [["mean", "largest"]],
    "Nadam": [["mean", "square"]],
    "Adagrad": [["sum"]],
    "Adadelta": [["square", "moved"]],
    "Adafactor": [],  # of shapes of their own: _factored
    "Ftrl": [["sum", "linear"]],
    "Lamb": [["mean", "square"]],
    "Lion": [["mean"]],
    "Muon": [["mean", "square"]],
}


def _optimizer_state(model: Any) -> list[tuple[str, Any]] | None:
    """Names here and values of what Keras's optimizer has; None if there is nothing to tell."""
    optimizer: Any = getattr(model, "optimizer", None)
    slots = None if optimizer is None else _SLOTS.get(type(optimizer).__name__)
    if slots is None or optimizer._engine is None:
        return None
    state = optimizer.engine.state_dict()
    numbers = {id(p): i for i, p in enumerate(optimizer.engine.param_groups[0].params)}
    order = [numbers[id(w)] for w in model.trainable_weights if id(w) in numbers]
    if len(order) != len(model.trainable_weights):
        return None
    steps, every = optimizer.iterations, optimizer._group.gradient_accumulation_steps
    if every:  # Keras counts batches, those that wait for a step, too
        steps = steps * every + int(state[f"{order[0]}.gathered"][0])
    found = [("step", np.array(steps, np.int64))]
    if "lr" in state:
        found.append(("lr", np.array(state["lr"], np.float32)))
    for names in [["average"], ["accumulated"], *slots]:
        for i in order:
            keys = [f"{i}.{name}" for name in names]
            found += [(key, _sign(optimizer, key) * state[key]) for key in keys if key in state]
    if type(optimizer).__name__ == "Adafactor":
        found += [pair for i in order for pair in _factored(i, state)]
    if type(optimizer).__name__ == "Nadam":
        found.append(("product", np.array(state[f"{order[0]}.product"][0], np.float32)))
    return found


def _factored(i: int, state: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Means of Adafactor by rows, by columns, and of each place, which Keras has side by side.

    Here those by rows and columns have the parameter's shape. What has no name here is left out
    by who reads it.
    """
    if (square := state.get(f"{i}.square")) is not None:
        yield from [("", np.zeros((), square.dtype))] * 2
        yield f"{i}.square", square
        return
    rows, columns = state[f"{i}.rows"], state[f"{i}.columns"]
    yield f"{i}.rows", rows[..., 0]
    yield f"{i}.columns", columns[..., 0, :]
    mean = rows.mean(axis=-2, keepdims=True)
    yield "", np.divide(rows, mean, out=np.zeros_like(rows), where=mean != 0) * columns


def _sign(optimizer: Any, key: str) -> int:
    """Of a state array: what is taken off a parameter here is added to it there by SGD."""
    return -1 if type(optimizer).__name__ == "SGD" and key.endswith(".velocity") else 1


def _read_optimizer(values: list[Any], model: Any, source: str) -> None:
    """Take over the state of an optimizer, if there is one that fits."""
    if not values or getattr(model, "optimizer", None) is None:
        return
    if model.parameters():
        model._bind()
    mine = _optimizer_state(model)
    if mine is None or [v.shape for _, v in mine] != [v.shape for v in values]:
        warnings.warn(
            f"{source}: the state of its optimizer is not taken over, it does not fit that of "
            f"{type(model.optimizer).__name__}",
            stacklevel=3,
        )
        return
    engine = model.optimizer.engine
    state = engine.state_dict()
    for (key, _), value in zip(mine, values, strict=True):
        if key == "step":
            if every := model.optimizer._group.gradient_accumulation_steps:
                value, waiting = np.divmod(value, every)
                state |= {k: waiting.reshape(1) for k in state if k.endswith(".gathered")}
            state |= {k: value.reshape(1) for k in state if k.endswith(".step")}
        elif key == "product":
            state |= {k: value.reshape(1) for k in state if k.endswith(".product")}
        elif key == "lr":  # a float32 there
            state[key] = state[key] if np.float32(state[key]) == value else value
        elif key.endswith((".rows", ".columns")):
            axis = -1 if key.endswith(".rows") else -2
            state[key] = np.broadcast_to(np.expand_dims(value, axis), state[key].shape)
        elif key:
            state[key] = _sign(model.optimizer, key) * value
    del state["random"]
    engine.load_state_dict(state)


def _read(group: Any, model: Layer, source: str) -> None:
    found: list[tuple[Layer, list[Any]]] = []
    for path, layer in _places(model):
        own = _own_weights(layer)
        if not own:
            continue
        place = f"{path}/vars" if path else "vars"
        held = group.get(place)
        count = 0 if held is None else len(held)
        if count != len(own):
            raise ShapeError(
                f"{source}: {place} has {count} weights, the layer {layer.name} {len(own)}"
            )
        found.append((layer, [_array(held[str(i)]) for i in range(count)]))
    _check_rest(group, model, source)
    _assign(found, source)
    _read_optimizer(_read_state(group), model, source)


def _check_rest(group: Any, model: Layer, source: str) -> None:
    """Refuse a file with weights of layers that the model has not."""
    known = {path for path, _ in _places(model)}
    left = []

    def look(name: str, held: Any) -> None:
        path, _, _ = name.rpartition("/vars/")
        generator = path.endswith("seed_generator")  # of Keras's, which are no weights
        if path.startswith("layers/") and hasattr(held, "shape") and not generator:
            left.extend([path] if path not in known else [])

    group.visititems(look)
    if left:
        raise ShapeError(
            f"{source}: it has weights of {left[0]}, and {model.name} has no such layer"
        )


def _assign(found: list[tuple[Layer, list[Any]]], source: str) -> None:
    """Give all layers their weights; nothing is changed if one does not fit."""
    for layer, values in found:
        for w, value in zip(_own_weights(layer), values, strict=True):
            if w.shape != value.shape:
                raise ShapeError(
                    f"{source}: a weight of {layer.name} has shape {value.shape}, the layer's has "
                    f"{w.shape}"
                )
    for layer, values in found:
        state = dict(zip(map(id, _own_weights(layer)), values, strict=True))
        layer.set_weights([state.get(id(w), w) for w in layer.weights])


def _write_safetensors(
    file: Path, model: Layer, metadata: dict[str, str], state: bool = True
) -> None:
    arrays = {
        f"{path}/{i}".lstrip("/"): backend.to_host(w.array)
        for path, layer in _places(model)
        for i, w in enumerate(_own_weights(layer))
    }
    if state:
        arrays |= {f"optimizer/vars/{i}": value for i, value in enumerate(_state_to_write(model))}
    tensor_files.write(file, arrays, metadata)


def _assign_safetensors(arrays: dict[str, Any], model: Layer, source: str) -> None:
    found = []
    weights = [key for key in arrays if not _of_optimizer(key)]
    for path, layer in _places(model):
        keys = [f"{path}/{i}".lstrip("/") for i in range(len(_own_weights(layer)))]
        if missing := [key for key in keys if key not in arrays]:
            raise ShapeError(f"{source}: it lacks {missing[0]}, a weight of {layer.name}")
        if keys:
            found.append((layer, [arrays[key] for key in keys]))
    known = sum(len(values) for _, values in found)
    if len(weights) != known:
        raise ShapeError(f"{source}: it has {len(weights)} weights, and {model.name} has {known}")
    _assign(found, source)


def _state_of_safetensors(arrays: dict[str, Any]) -> list[Any]:
    keys = (f"optimizer/vars/{i}" for i in itertools.count())
    return [arrays[key] for key in itertools.takewhile(arrays.__contains__, keys)]


def _of_optimizer(key: str) -> bool:
    return key.startswith("optimizer/")


# How a model was compiled


def _compiled(model: Any) -> dict[str, Any] | None:
    """What ``compile`` was told; None, with a warning, where part of it cannot be in a file."""
    if model.optimizer is None or model._measures is None:
        return None
    loss, weights, chosen, weighted = model._choice
    given = {"loss": loss, "metrics": chosen, "weighted_metrics": weighted}
    try:
        found = {key: _written(tree, key == "loss") for key, tree in given.items()}
        settings = model.optimizer.get_config()
        rate = configuration._plain(settings["learning_rate"])
    except TypeError as error:
        warnings.warn(
            f"how the model was compiled is not in the file, call compile after loading: {error}",
            stacklevel=4,
        )
        return None
    settings = {k: v for k, v in settings.items() if _is_plain(v)} | {"learning_rate": rate}
    found["optimizer"] = optimizers.serialize(model.optimizer) | {"config": settings}
    if weighted is None:
        del found["weighted_metrics"]
    return found if weights is None else found | {"loss_weights": weights}


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float, str))


def _written(tree: Any, is_loss: bool) -> Any:
    """Losses or metrics as Keras writes them: by name, or by class and settings.

    Raises
    ------
    TypeError
        If one is the user's own: its code cannot be in a file.
    """
    if tree is None:
        return None
    if isinstance(tree, (list, tuple)):
        return [_written(one, is_loss) for one in tree]
    if isinstance(tree, dict) and "class_name" not in tree:
        return {k: _written(one, is_loss) for k, one in tree.items()}
    if isinstance(tree, str):
        return losses.get(tree).name if is_loss else tree
    one = losses.get(tree) if is_loss else metrics.get(tree)[1]
    if type(one) in losses._FUNCTIONS.values():
        return losses.serialize(one) | {"config": configuration._plain(one.get_config())}
    if type(one) in metrics._CLASSES.values():
        return metrics.serialize(one) | {"config": configuration._plain(one.get_config())}
    functions = {f.__name__: f for f in losses._FUNCTIONS} | metrics._FUNCTIONS
    for name, function in functions.items():
        if function is one:
            return name
    raise TypeError(f"{tree!r} is not one of keras.losses and keras.metrics")


def _read_tree(tree: Any, get: Any) -> Any:
    """What :func:`_written` wrote, or Keras; configurations as objects."""
    if isinstance(tree, list):
        return [_read_tree(one, get) for one in tree]
    if isinstance(tree, dict) and "class_name" not in tree:
        return {k: _read_tree(one, get) for k, one in tree.items()}
    if isinstance(tree, dict):
        # Of a function Keras writes the name alone.
        return tree["config"] if tree["class_name"] == "function" else get(tree)
    return tree


def _compile(model: Any, config: Any) -> None:
    """Compile as a file says, where that is known here; else say that it was not."""
    if not config or not isinstance(config, dict) or not config.get("optimizer"):
        return
    given = config["optimizer"]
    try:
        if isinstance(given, dict):
            kind = getattr(optimizers, given["class_name"])
            known = {*kind._defaults, *optimizers._COMMON}
            settings = {k: v for k, v in given["config"].items() if k in known and v is not None}
            given = kind.from_config(settings)
        wanted = {
            key: _read_tree(config[key], lambda one: metrics.get(one)[1])
            for key in ("loss_weights", "metrics", "weighted_metrics")
            if config.get(key)
        }
        model.compile(given, _read_tree(config.get("loss"), losses.get), **wanted)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        warnings.warn(
            f"the model is not compiled as it was, call compile yourself: {error}", stacklevel=3
        )


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Name the file in errors of the packages that read it."""
    try:
        yield
    except (zipfile.BadZipFile, OSError) as error:
        raise ValueError(f"{path}: it is damaged, or no model of Keras: {error}") from error


# Doors


def save_model(
    model: Any,
    filepath: Any,
    overwrite: bool = True,
    include_optimizer: bool = True,
    zipped: bool | None = None,
) -> None:
    """Write a model: architecture, weights and how it was compiled.

    Parameters
    ----------
    model : Model
    filepath : path-like
        Ends in ``.keras``, ``.h5`` or ``.safetensors``.
    overwrite : bool
        Whether a file that is there may be replaced.
    include_optimizer : bool
        Whether the file says how the model was compiled.
    zipped : bool, optional
        False, for a folder, is refused.

    Examples
    --------
    >>> model = keras.Sequential([keras.layers.Dense(1, input_shape=(2,))])
    >>> keras.saving.save_model(model, "model.keras")
    """
    path = Path(os.path.expanduser(filepath))
    if zipped is False:
        raise ValueError("save: zipped is False; a model is one file, not a folder")
    _check_new(path, overwrite)
    if not model.built:
        raise ValueError(f"save: {model.name} is not built yet; call it, or build(input_shape)")
    config = configuration.serialize(model)
    if include_optimizer and (compiled := _compiled(model)) is not None:
        config["compile_config"] = compiled
    if path.suffix == ".safetensors":
        metadata = {"format": "gputensor.keras", "config": json.dumps(config)}
        _write_safetensors(path, model, metadata, include_optimizer)
    elif path.suffix == ".keras":
        stream = io.BytesIO()
        with _h5py().File(stream, "w") as file:
            _write(file, model, include_optimizer)
        date = time.strftime("%Y-%m-%d@%H:%M:%S")
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            metadata = {"keras_version": _VERSION, "date_saved": date}
            archive.writestr("metadata.json", json.dumps(metadata))
            archive.writestr("config.json", json.dumps(config))
            archive.writestr("model.weights.h5", stream.getvalue())
        files.write(path, out.getvalue())
    elif path.suffix in (".h5", ".hdf5"):
        stream = io.BytesIO()
        with _h5py().File(stream, "w") as file:
            file.attrs["keras_version"] = _VERSION
            file.attrs["backend"] = "gputensor"
            file.attrs["model_config"] = json.dumps(config)
            _write_old(file.create_group("model_weights"), model)
            # Keras cannot train what it has loaded with a state from this kind of file, so that
            # the state is not in the place where Keras looks for it.
            if include_optimizer:
                _write_state(file, model)
        files.write(path, stream.getvalue())
    else:
        raise ValueError(
            f"save: {filepath} must end in .keras, .h5 or .safetensors; for example "
            f"{path.with_suffix('.keras')}"
        )


def _check_new(path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} is there already; overwrite=True replaces it")


def _write_old(group: Any, model: Any) -> None:
    """Weights of each layer by number, as Keras 2 wrote them."""
    group.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
    group.attrs["keras_version"] = _VERSION
    for layer in model.layers:
        part = group.create_group(layer.name)
        weights = layer.weights
        names = [f"{layer.name}/{i}" for i in range(len(weights))]
        part.attrs["weight_names"] = [name.encode() for name in names]
        for name, w in zip(names, weights, strict=True):
            _put(part, name, backend.to_host(w.array))


def _text(x: Any) -> str:
    return x.decode() if isinstance(x, bytes) else str(x)


def _read_old(group: Any, model: Any, source: str) -> None:
    names = [_text(n) for n in group.attrs["layer_names"]]
    held = [n for n in names if len(group[n].attrs.get("weight_names", ()))]
    mine = [layer for layer in model.layers if layer.weights]
    if len(held) != len(mine):
        raise ShapeError(f"{source}: {len(held)} layers have weights, of the model {len(mine)}")
    found = []
    for name, layer in zip(held, mine, strict=True):
        part = group[name]
        values = [_array(part[_text(w)]) for w in part.attrs["weight_names"]]
        theirs, ours = [v.shape for v in values], [w.shape for w in layer.weights]
        if theirs != ours:
            raise ShapeError(
                f"{source}: the weights of {name} have the shapes {theirs}, those of the layer "
                f"{layer.name} {ours}"
            )
        found.append((layer, values))
    for layer, values in found:
        layer.set_weights(values)


def load_model(
    filepath: Any,
    custom_objects: Mapping[str, Any] | None = None,
    compile: bool = True,
    safe_mode: bool = True,
) -> Any:
    """The model of a file.

    Parameters
    ----------
    filepath : path-like
        Of Keras 3 or of :func:`save_model`: ``.keras``, ``.h5`` or ``.safetensors``.
    custom_objects : dict, optional
        Classes of layers of the user's, by name.
    compile : bool
        Whether to compile it as it was.
    safe_mode : bool
        Without effect: nothing in a file is executed either way.

    Returns
    -------
    Model

    Raises
    ------
    ValueError
        If the file is none of these, is damaged, or holds a layer that is not known.

    Examples
    --------
    >>> model = keras.Sequential([keras.layers.Dense(1, input_shape=(2,))])
    >>> model.save("model.keras")
    >>> keras.saving.load_model("model.keras").count_params()
    3
    """
    path = Path(os.path.expanduser(filepath))
    if not path.exists():
        raise FileNotFoundError(f"load_model: there is no file {path}")
    with _readable(path):
        return _loaded(path, custom_objects, compile)


def _loaded(path: Path, custom_objects: Mapping[str, Any] | None, compile: bool) -> Any:
    if path.suffix == ".safetensors":
        arrays, metadata = tensor_files.read(path)
        if "config" not in metadata:
            raise ValueError(f"{path}: it holds weights and no model; use load_weights")
        config = json.loads(metadata["config"])
        model = configuration.deserialize(config, custom_objects)
        _assign_safetensors(arrays, model, str(path))
        state, compiled = _state_of_safetensors(arrays), config.get("compile_config")
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            config = json.loads(archive.read("config.json"))
            raw = io.BytesIO(archive.read("model.weights.h5"))
        model = _built(configuration.deserialize(config, custom_objects), config)
        if compile:
            _compile(model, config.get("compile_config"))
        with _h5py().File(raw, "r") as file:
            _read(file, model, str(path))
        return model
    else:
        with _h5py().File(path, "r") as file:
            if "model_config" not in file.attrs:
                raise ValueError(f"{path}: it holds weights and no model; use load_weights")
            config = json.loads(file.attrs["model_config"])
            model = _built(configuration.deserialize(config, custom_objects), config)
            _read_old(file["model_weights"], model, str(path))
            state, compiled = _read_state(file), config.get("compile_config")
            if compiled is None and (old := file.attrs.get("training_config")):
                compiled = json.loads(_text(old))
                compiled["optimizer"] = compiled.get("optimizer_config")
    if compile:
        _compile(model, compiled)
        _read_optimizer(state, model, str(path))
    return model


def _built(model: Any, config: Mapping[str, Any]) -> Any:
    shape = (config.get("build_config") or {}).get("input_shape")
    if not model.built and shape:
        model._build(tuple(shape))
    return model


def save_weights(model: Any, filepath: Any, overwrite: bool = True) -> None:
    """Write a model's weights alone: to ``.weights.h5`` as Keras, or to ``.safetensors``.

    Examples
    --------
    >>> model = keras.Sequential([keras.layers.Dense(1, input_shape=(2,))])
    >>> keras.saving.save_weights(model, "model.weights.h5")
    """
    path = Path(os.path.expanduser(filepath))
    _check_new(path, overwrite)
    if path.suffix == ".safetensors":
        _write_safetensors(path, model, {"format": "gputensor.keras"})
        return
    if path.suffix not in (".h5", ".hdf5"):
        raise ValueError(f"save_weights: {filepath} must end in .weights.h5 or .safetensors")
    stream = io.BytesIO()
    with _h5py().File(stream, "w") as file:
        if path.name.endswith(".weights.h5"):
            _write(file, model)
        else:
            _write_old(file, model)
    files.write(path, stream.getvalue())


def load_weights(
    model: Any, filepath: Any, skip_mismatch: bool = False, by_name: bool = False
) -> None:
    """Read weights into a model of the same architecture; nothing is changed if they do not fit.

    `skip_mismatch` and `by_name`, which leave layers out, are refused.

    Examples
    --------
    >>> model = keras.Sequential([keras.layers.Dense(1, input_shape=(2,))])
    >>> model.save_weights("model.weights.h5")
    >>> model.load_weights("model.weights.h5")
    """
    path = Path(os.path.expanduser(filepath))
    for name, value in (("skip_mismatch", skip_mismatch), ("by_name", by_name)):
        if value:
            raise ValueError(
                f"load_weights: {name} is {value!r}; all weights must fit. Read the file with "
                "load_model, and give layers that are alike each other's weights: "
                "layer.set_weights(other.get_weights())"
            )
    if not path.exists():
        raise FileNotFoundError(f"load_weights: there is no file {path}")
    if not model.built:
        raise ValueError(
            f"load_weights: {model.name} is not built yet; call it, or build(input_shape)"
        )
    if path.suffix == ".safetensors":
        arrays = tensor_files.read(path)[0]
        _assign_safetensors(arrays, model, str(path))
        _read_optimizer(_state_of_safetensors(arrays), model, str(path))
        return
    source: Any = path
    with _readable(path), contextlib.ExitStack() as stack:
        if zipfile.is_zipfile(path):
            archive = stack.enter_context(zipfile.ZipFile(path))
            source = io.BytesIO(archive.read("model.weights.h5"))
        file = stack.enter_context(_h5py().File(source, "r"))
        if "layer_names" in file.attrs:
            _read_old(file, model, str(path))
        elif "model_weights" in file:
            _read_old(file["model_weights"], model, str(path))
        else:
            _read(file, model, str(path))
