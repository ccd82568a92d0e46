"""No setting without effect: each parameter of a public function is read, or says why it is not."""

import ast
from pathlib import Path

import numpy as np
import pytest

import gputensor as gt
from gputensor import keras, torch, torchvision

pytestmark = pytest.mark.cpu

HERE = Path(gt.__file__).parent
# What the answer does not depend on here, by the parameter's name; many say how, not what.
SAYS_NOTHING = {
    "name": "weights and generators have the names of their attributes",
    "non_blocking": "copies wait where they must",
    "memory_format": "the order in memory",
    "pin_memory": "the memory that is copied from",
    "unroll": "how steps are run",
    "use_cudnn": "how steps are run",
    "progress": "whether there is a bar",
    "steps_per_execution": "how steps are run; documented",
    "jit_compile": "how steps are run; documented",
    "auto_scale_loss": "how steps are run; documented",
    "safe_mode": "nothing in a file is executed; documented",
    "weights_only": "there is nothing else; documented",
    "free_memory": "memory is free where nothing holds it",
    "enable_nested_tensor": "how it is computed",
    "mask_check": "how it is computed",
    "only_inputs": "PyTorch ignores it as well",
    "warn_only": "all is deterministic",
    "cache_enabled": "how casts are kept",
    "output_shape": "a Lambda's is found by running it",
    "sorted": "results are sorted always",
    "stable": "sorting is stable always",
    "validate_args": "numbers on the device are not looked at",
    "volatile": "PyTorch ignores it as well",
    "num_parallel_calls": "how batches are made",
    "buffer_size": "how batches are made",
    "sparse": "gradients are dense, with the same values; documented",
    "norm_type": "of max_norm, which is refused",
}
FUNCTIONS = {
    ("keras/losses.py", "__init__", "dtype"): "losses have the dtype of predictions",
    ("keras/gathering.py", "__init__", "dtype"): "sums are float64",
    ("keras/gathering.py", "add_weight", "dtype"): "sums are float64",
    ("keras/counts.py", "__init__", "dtype"): "sums are float64",
    ("keras/layers/text.py", "__init__", "vocabulary_dtype"): "words are str and int",
    ("keras/layers/text.py", "adapt", "batch_size"): "the whole is read at once",
    ("keras/layers/text.py", "__call__", "training"): "words are the same in both",
    ("keras/layers/text.py", "__call__", "kwargs"): "what layers are called with, as of all",
    ("keras/layers/preprocessing.py", "__init__", "epsilon"): "documented: quantiles are exact",
    ("keras/layers/base.py", "build", "input_shape"): "for subclasses",
    ("keras/layers/core.py", "build", "input_shape"): "nothing to build",
    ("keras/layers/attention.py", "build", "input_shape"): "nothing to build",
    ("keras/utils.py", "plot_model", "options"): "the graph is not drawn",
    ("keras/optimizers.py", "finalize_variable_values", "parameters"): "it has its own",
    ("torch/__init__.py", "compile", "options"): "how it is computed",
    ("keras/folders.py", "cache", "filename"): "files are read again; documented",
    ("keras/tensorboard.py", "__init__", "write_graph"): "documented: models are drawn elsewhere",
    ("torch/utils/checkpoint.py", "checkpoint", "use_reentrant"): "documented",
    ("torch/utils/checkpoint.py", "checkpoint", "determinism_check"): "documented",
    ("torch/utils/checkpoint.py", "checkpoint", "preserve_rng_state"): "numbers are kept always",
    ("torch/utils/tensorboard.py", "__init__", "max_queue"): "all is written at once; documented",
    ("torch/utils/tensorboard.py", "__init__", "flush_secs"): "all is written at once; documented",
    ("torch/utils/tensorboard.py", "add_scalar", "new_style"): "TensorBoard shows both alike",
    (
        "torch/utils/tensorboard.py",
        "add_scalar",
        "double_precision",
    ): "the file's numbers are float32",
    ("torch/creation.py", "__init__", "device"): "documented: numbers are drawn where needed",
    ("torch/places.py", "__init__", "device"): "scales are where gradients are",
    ("torch/nn/module.py", "load_state_dict", "assign"): "values are the same",
    ("torch/nn/layers.py", "__init__", "device_ids"): "documented: there is one device",
    ("torch/nn/layers.py", "__init__", "output_device"): "documented: there is one device",
    ("torch/nn/init.py", "eye_", "source"): "no random numbers",
    ("torch/nn/init.py", "dirac_", "source"): "no random numbers",
    ("torch/nn/activations.py", "softplus", "threshold"): "equal within rounding",
    ("torch/nn/more_layers.py", "instance_norm", "momentum"): "running means are refused",
    ("torch/serialization.py", "load", "options"): "of pickle, which is not used",
    ("nn/norm.py", "__init__", "momentum"): "running means are refused",
    ("nn/elementwise.py", "__init__", "args"): "Identity takes all, as in PyTorch",
    ("nn/elementwise.py", "__init__", "kwargs"): "Identity takes all, as in PyTorch",
    ("nn/elementwise.py", "__init__", "inplace"): "the engine's tensors are not overwritten",
    ("torchvision/datasets.py", "__init__", "download"): "they are fetched where they are needed",
    ("torchvision/transforms.py", "__init__", "inplace"): "the result is the same",
    ("ops/__init__.py", "_array_namespace", "x"): "",
}
LOADER = {
    # How processes load, and there are none.
    *("pin_memory", "timeout", "worker_init_fn", "multiprocessing_context", "prefetch_factor"),
    *("persistent_workers", "pin_memory_device"),
}
DOORS = ["keras", "torch", "torchvision", "nn", "optim", "training", "checkpoints", "datasets"]
# Methods that others call with all that there may be.
PROTOCOL = {
    "begin_epoch",
    "compute_mask",
    "compute_output_shape",
    "step",
    "batches",
    "__exit__",
    "__get__",
}


def parts(node):
    """Functions that users call, with the names of their parameters, and what is read in them."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef) and not child.name.startswith("__"):
            yield from parts(child)
        if not isinstance(child, ast.FunctionDef) or child.name in PROTOCOL:
            continue
        if child.name.startswith("_") and child.name not in ("__init__", "__call__"):
            continue
        if child.name.startswith("on_"):  # what a callback hears
            continue
        body = child.body[ast.get_docstring(child) is not None :]
        if not body or isinstance(body[0], (ast.Raise, ast.Pass)):
            continue
        given = child.args
        names = [a.arg for a in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
        names += [a.arg for a in (given.vararg, given.kwarg) if a is not None]
        read = {n.id for b in body for n in ast.walk(b) if isinstance(n, ast.Name)}
        yield child, [n for n in names if n not in read and n not in ("self", "cls")]


def test_each_parameter_is_read():
    ignored = set()
    for folder in DOORS:
        for file in sorted((HERE / folder).rglob("*.py")):
            where = file.relative_to(HERE).as_posix()
            for function, unread in parts(ast.parse(file.read_text(encoding="utf-8"))):
                ignored |= {(where, function.name, name) for name in unread}
    ignored = {
        one
        for one in ignored
        if one not in FUNCTIONS
        and one[2] not in SAYS_NOTHING
        and not (one[0] == "torch/utils/data/__init__.py" and one[2] in LOADER)
    }
    assert sorted(ignored) == []


# What this test found


def test_rows_of_classes_lie_along_the_axis_that_is_named():
    found = keras.ops.one_hot([1, 2, 0], 4, axis=0).numpy()
    np.testing.assert_array_equal(found, np.eye(4, dtype="f4")[[1, 2, 0]].T)


@pytest.mark.parametrize("ord", [None, "fro", "nuc", 1, 2, -2, np.inf])
def test_norms_of_matrices_are_those_of_numpy(ord):
    a = np.random.default_rng(0).normal(size=(3, 4)).astype("f4")
    np.testing.assert_allclose(
        keras.ops.norm(a, ord=ord).numpy(), np.linalg.norm(a, ord), rtol=1e-5
    )
    b = np.stack([a, 2 * a], axis=1)
    for keepdims in (False, True):
        np.testing.assert_allclose(
            keras.ops.norm(b, ord=ord, axis=(2, 0), keepdims=keepdims).numpy(),
            np.linalg.norm(b, ord, axis=(2, 0), keepdims=keepdims),
            rtol=1e-5,
        )
    for axis in (0, 1, 2):
        if ord not in ("fro", "nuc"):
            np.testing.assert_allclose(
                keras.ops.norm(b, ord=ord, axis=axis).numpy(),
                np.linalg.norm(b, ord, axis=axis),
                rtol=1e-5,
            )


def test_channels_come_first_or_last():
    x = np.random.default_rng(0).normal(size=(2, 5, 4, 3)).astype("f4")
    kernel = np.random.default_rng(1).normal(size=(2, 2, 3, 6)).astype("f4")
    for call in (
        lambda x, **options: keras.ops.max_pool(x, 2, **options),
        lambda x, **options: keras.ops.average_pool(x, 2, **options),
        lambda x, **options: keras.ops.conv(x, kernel, **options),
    ):
        found = call(np.moveaxis(x, -1, 1), data_format="channels_first").numpy()
        np.testing.assert_array_equal(np.moveaxis(found, 1, -1), call(x).numpy())
        with pytest.raises(ValueError, match="data_format is 'NCHW'; allowed are"):
            call(x, data_format="NCHW")


def test_sparse_results_are_refused():
    with pytest.raises(ValueError, match="sparse is True; there are dense tensors only"):
        keras.ops.one_hot([0], 2, sparse=True)
    with pytest.raises(ValueError, match="ragged is True; there are dense tensors only"):
        keras.ops.convert_to_tensor([[1.0]], ragged=True)


def test_outputs_of_a_binary_loss_lie_along_its_axis():
    rng = np.random.default_rng(1)
    p, t = rng.uniform(0.1, 0.9, (2, 3, 4)), rng.integers(0, 2, (2, 3, 4)).astype(float)
    each = -(t * np.log(p) + (1 - t) * np.log(1 - p))
    for axis in (-1, 1, 0):
        found = keras.losses.binary_crossentropy(t, gt.asarray(p), axis=axis).numpy()
        np.testing.assert_allclose(found, each.mean(axis), rtol=1e-6)
        right = np.where(t == 1, p, 1 - p)
        found = keras.losses.binary_focal_crossentropy(t, gt.asarray(p), axis=axis).numpy()
        np.testing.assert_allclose(found, ((1 - right) ** 2 * each).mean(axis), rtol=1e-6)


def test_axes_of_noise_are_dropped_as_a_whole():
    found = keras.random.dropout(gt.ones((64, 8)), 0.5, noise_shape=(None, 1), seed=3).numpy()
    assert {tuple(row) for row in found} == {(0.0,) * 8, (2.0,) * 8}


def test_a_weight_of_a_metric_begins_as_its_initializer_says():
    class Counted(keras.metrics.Metric):
        def __init__(self):
            super().__init__(name="counted")
            self.total = self.add_weight(shape=(2,), initializer="ones")

        def result(self):
            return self.total

    metric = Counted()
    assert metric.result().numpy().tolist() == [1, 1]
    metric.reset_state()
    assert metric.result().numpy().tolist() == [0, 0]


def test_settings_of_files_take_effect_or_are_refused(tmp_path):
    model = keras.Sequential([keras.layers.Dense(1, input_shape=(2,))])
    model.compile("adam", "mse")
    model.save(tmp_path / "m.safetensors", include_optimizer=False)
    assert keras.models.load_model(tmp_path / "m.safetensors").optimizer is None
    model.save(tmp_path / "m.safetensors")
    assert keras.models.load_model(tmp_path / "m.safetensors").optimizer is not None
    with pytest.raises(TypeError, match="save_format"):
        model.save(tmp_path / "m.safetensors", save_format="tf")
    with pytest.raises(ValueError, match="zipped is False"):
        model.save(tmp_path / "m.safetensors", zipped=False)
    for name in ("skip_mismatch", "by_name"):
        with pytest.raises(ValueError, match=f"{name} is True; all weights must fit"):
            model.load_weights(tmp_path / "m.safetensors", **{name: True})


def test_a_drawing_of_a_model_is_written_where_it_is_asked_for(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    model = keras.Sequential([keras.layers.Dense(1, input_shape=(2,))])
    keras.utils.plot_model(model, to_file=tmp_path / "m.png", show_shapes=True)
    assert (tmp_path / "m.png").read_bytes().startswith(b"\x89PNG")
    assert "dense" in capsys.readouterr().out


def test_settings_of_texts_are_refused():
    with pytest.raises(ValueError, match="encoding is 'latin-1'"):
        keras.layers.TextVectorization(encoding="latin-1")
    with pytest.raises(ValueError, match="steps is 2; the whole of data is taken"):
        keras.layers.StringLookup().adapt(["a"], steps=2)
    with pytest.raises(ValueError, match="a constraint is that of a layer's add_weight"):
        keras.backend.variable([1.0], constraint="non_neg")


@pytest.mark.parametrize(
    "call",
    [
        lambda x: torch.nn.functional.dropout(x, 0.5, inplace=True),
        lambda x: torch.nn.functional.dropout2d(x, 0.5, inplace=True),
        lambda x: torch.nn.functional.alpha_dropout(x, 0.5, training=True, inplace=True),
        lambda x: torch.nn.functional.rrelu(x, training=True, inplace=True),
        lambda x: torch.nn.Dropout(0.5, inplace=True)(x),
        lambda x: torch.nn.Dropout2d(0.5, inplace=True)(x),
        lambda x: torch.nn.RReLU(inplace=True)(x),
    ],
)
def test_in_place_is_in_place(call):
    x = -torch.ones(3, 4, 2, 2)
    y = call(x)
    assert y is x
    assert (x != -1).any()


def test_modules_and_parameters_by_each_of_their_names():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a = torch.nn.Linear(2, 2)
            self.b = self.a

    net = Net()
    assert [n for n, _ in net.named_modules()] == ["", "a"]
    assert [n for n, _ in net.named_modules(remove_duplicate=False)] == ["", "a", "b"]
    assert [n for n, _ in net.named_parameters()] == ["a.weight", "a.bias"]
    found = [n for n, _ in net.named_parameters(remove_duplicate=False)]
    assert found == ["a.weight", "a.bias", "b.weight", "b.bias"]


def test_a_hint_without_a_mask_is_refused():
    layer = torch.nn.TransformerEncoderLayer(4, 2)
    x = torch.ones(3, 1, 4)
    for call in (
        lambda: layer(x, is_causal=True),
        lambda: torch.nn.TransformerEncoder(layer, 1)(x, is_causal=True),
        lambda: torch.nn.MultiheadAttention(4, 2)(x, x, x, is_causal=True),
        lambda: torch.nn.TransformerDecoderLayer(4, 2)(x, x, tgt_is_causal=True),
        lambda: torch.nn.Transformer(4, 2, 1, 1, 8)(x, x, tgt_is_causal=True),
    ):
        with pytest.raises(ValueError, match="is_causal is True and attn_mask None"):
            call()
    mask = torch.nn.Transformer.generate_square_subsequent_mask(3)
    assert layer(x, mask, is_causal=True).shape == (3, 1, 4)


def test_schedulers_that_count_by_themselves_take_no_epoch():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    inner = [torch.optim.lr_scheduler.ConstantLR(optimizer) for _ in range(2)]
    for scheduler in (
        torch.optim.lr_scheduler.SequentialLR(optimizer, inner, [2]),
        torch.optim.lr_scheduler.ChainedScheduler(inner, optimizer),
    ):
        with pytest.raises(TypeError, match="got epoch=3"):
            scheduler.step(3)


def test_pixels_are_seen_as_the_interpolation_says():
    T = torchvision.transforms
    image = np.arange(16, dtype=np.uint8).reshape(4, 4)
    nearest = T.Resize((2, 2), T.InterpolationMode.NEAREST)
    np.testing.assert_array_equal(nearest(image), image[1::2, 1::2])
    tensor = torch.from_numpy(image[None].astype("f4"))
    np.testing.assert_array_equal(nearest(tensor).numpy(), tensor.numpy()[:, ::2, ::2])
    rough = T.Resize((2, 2), antialias=False)(tensor).numpy()
    np.testing.assert_allclose(rough[0], image.reshape(2, 2, 2, 2).mean((1, 3)))
    with pytest.raises(ValueError, match="interpolation is 3; allowed are"):
        T.Resize(2, interpolation=3)
