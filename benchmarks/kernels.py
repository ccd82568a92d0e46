"""Each fused kernel against its plain form and PyTorch's own: µs, GB/s, share of a memory copy."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from gputensor import kernels
from gputensor.backend import Device, namespace
from gputensor.benchmarks import common
from gputensor.benchmarks.common import Call, Case, Random, Report

PEERS = ("numpy", "torch")
REPEATS = 15

MATRICES = ((256, 512), (4096, 1024)), ((1 << 16, 1024),)
VECTORS = ((407_050,), (25_000_000,)), ((1 << 26,),)
BATCH = ((256, 784),), ()
WORDS = ((1_000_000,),), ((1 << 26,),)
TABLES = ((4096, 256),), ((1 << 18, 256),)
IMAGES = 60_000
ROWS = 10_000


def _adam(p: Any, g: Any, m: Any, v: Any) -> Call:
    xp = namespace(p)
    scratch = xp.ones(1, np.int64), xp.zeros(1, np.uint32)
    numbers = {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}
    return lambda: kernels.adam_step.raw(p, g, m, v, *scratch, **numbers)


def _torch_step(optimizer: Any, p: Any, g: Any, state: dict[str, Any]) -> Call:
    p.grad = g
    optimizer.state[p] = state
    return lambda: optimizer.step()


def _torch_adam(torch: Any, p: Any, g: Any, m: Any, v: Any) -> Call:
    steps = torch.ones((), device=p.device)
    state = {"step": steps, "exp_avg": m, "exp_avg_sq": v}
    return _torch_step(torch.optim.Adam([p.requires_grad_()], fused=True), p, g, state)


def _torch_sgd(torch: Any, p: Any, g: Any, u: Any) -> Call:
    optimizer = torch.optim.SGD([p.requires_grad_()], lr=1e-3, momentum=0.9, fused=True)
    return _torch_step(optimizer, p, g, {"momentum_buffer": u})


def _torch_cross_entropy(torch: Any, logits: Any, labels: Any) -> Call:
    loss = torch.nn.functional.cross_entropy
    logits.requires_grad_()
    return lambda: torch.autograd.grad(loss(logits, labels, reduction="sum"), logits)


def _torch_bias_relu_backward(torch: Any, g: Any, out: Any, bias: Any) -> Call:
    threshold_backward = torch.ops.aten.threshold_backward

    def call() -> tuple[Any, Any]:
        masked = threshold_backward(g, out, 0)
        return masked, masked.sum(0)

    return call


def _draw_images(random: Random, rows: int, columns: int) -> dict[str, Any]:
    images = random.integers(256, (IMAGES, columns), np.uint8)
    return {"data": images, "batches": random.integers(IMAGES, (64, rows))}


def _gather(data: Any, batches: Any) -> Call:
    turn = itertools.cycle(batches)
    gather = kernels.gather_scale.raw
    return lambda: gather(data, next(turn), dtype=np.float32, scale=1 / 255)


def _torch_gather(torch: Any, data: Any, batches: Any) -> Call:
    turn = itertools.cycle(batches)
    return lambda: data[next(turn)].float().mul_(1 / 255)


def _draw_norm(random: Random, rows: int, columns: int) -> dict[str, Any]:
    vectors = {"weight": random.normal(columns), "bias": random.normal(columns)}
    return {"x": random.normal(rows, columns), **vectors}


def _torch_layer_norm_backward(torch: Any, g: Any, x: Any, weight: Any, bias: Any) -> Call:
    backward = torch.ops.aten.native_layer_norm_backward
    _, mean, scale = torch.ops.aten.native_layer_norm(x, weight.shape, weight, bias, 1e-5)
    wanted = [True, True, True]
    return lambda: backward(g, x, weight.shape, mean, scale, weight, bias, wanted)


def _draw_table(random: Random, places: int, columns: int) -> dict[str, Any]:
    index = random.integers(ROWS, places)
    return {
        "weight": random.normal(ROWS, columns),
        "g": random.normal(places, columns),
        "index": index,
    }


# A kernel is an entry here: name, shapes, shapes on CUDA only, bytes per element, inputs, forms.
CASES = (
    Case(
        "bias+ReLU forward",
        *MATRICES,
        8,
        # In place, so the bias is above zero, lest the data become zeros.
        lambda random, r, c: {"z": random.normal(r, c), "bias": abs(random.normal(c))},
        lambda z, bias: lambda: kernels.bias_activation.raw(z, bias, kind="relu", out=z),
        lambda torch, z, bias: lambda: torch.relu_(z.add_(bias)),
    ),
    Case(
        "bias+ReLU backward",
        *MATRICES,
        12,
        lambda random, r, c: {
            "g": random.normal(r, c),
            "out": (out := random.normal(r, c)) * (out > 0),
            "bias": random.normal(c),
        },
        lambda g, out, bias: (
            lambda: kernels.bias_activation_backward.raw(g, out, bias, kind="relu")
        ),
        _torch_bias_relu_backward,
    ),
    Case(
        "softmax cross-entropy",
        *MATRICES,
        8,
        lambda random, r, c: {"logits": random.normal(r, c), "labels": random.integers(c, r)},
        lambda logits, labels: lambda: kernels.softmax_cross_entropy.raw(logits, labels),
        _torch_cross_entropy,
    ),
    Case(
        "bias+GELU forward",
        *MATRICES,
        8,
        lambda random, r, c: {"z": random.normal(r, c), "bias": random.normal(c)},
        lambda z, bias: lambda: kernels.bias_activation.raw(z, bias, kind="gelu"),
        lambda torch, z, bias: lambda: torch.nn.functional.gelu(z + bias),
    ),
    Case(
        "softmax",
        *MATRICES,
        8,
        lambda random, r, c: {"x": random.normal(r, c)},
        lambda x: lambda: kernels.row_softmax.raw(x),
        lambda torch, x: lambda: torch.softmax(x, 1),
    ),
    Case(
        "softmax backward",
        *MATRICES,
        12,
        lambda random, r, c: {"g": random.normal(r, c), "out": abs(random.normal(r, c))},
        lambda g, out: lambda: kernels.row_softmax_backward.raw(g, out),
        lambda torch, g, out: (
            lambda: torch.ops.aten._softmax_backward_data(g, out, 1, torch.float32)
        ),
    ),
    Case(
        "layer_norm forward",
        *MATRICES,
        8,
        _draw_norm,
        lambda x, weight, bias: lambda: kernels.row_layer_norm.raw(x, weight, bias, eps=1e-5),
        lambda torch, x, weight, bias: (
            lambda: torch.nn.functional.layer_norm(x, weight.shape, weight, bias)
        ),
    ),
    Case(
        "layer_norm backward",
        *MATRICES,
        12,
        lambda random, r, c: {"g": random.normal(r, c), **_draw_norm(random, r, c)},
        lambda g, x, weight, bias: (
            lambda: kernels.row_norm_backward.raw(g, x, weight, eps=1e-5, center=True)
        ),
        _torch_layer_norm_backward,
    ),
    Case(
        "rms_norm forward",
        *MATRICES,
        8,
        lambda random, r, c: {"x": random.normal(r, c), "weight": random.normal(c)},
        lambda x, weight: lambda: kernels.row_rms_norm.raw(x, weight, eps=1e-5),
        lambda torch, x, weight: (
            lambda: torch.nn.functional.rms_norm(x, weight.shape, weight, 1e-5)
        ),
    ),
    Case(
        "mean and variance of rows",
        *MATRICES,
        4,
        lambda random, r, c: {"x": random.normal(r, c)},
        lambda x: lambda: kernels.row_moments.raw(x),
        lambda torch, x: lambda: torch.var_mean(x, 1, correction=0),
    ),
    Case(
        "embedding",
        *TABLES,
        8,
        _draw_table,
        lambda weight, g, index: lambda: kernels.embedding.raw(weight, index),
        lambda torch, weight, g, index: lambda: torch.nn.functional.embedding(index, weight),
    ),
    Case(
        "embedding backward",
        *TABLES,
        8,
        _draw_table,
        lambda weight, g, index: lambda: kernels.embedding_backward.raw(g, index, rows=len(weight)),
        lambda torch, weight, g, index: (
            lambda: torch.ops.aten.embedding_dense_backward(g, index, len(weight), -1, False)
        ),
    ),
    Case(
        "gradient norm",
        *VECTORS,
        4,
        lambda random, n: {"g": random.normal(n)},
        lambda g: lambda: kernels.squared_norm.raw(g),
        lambda torch, g: lambda: torch.linalg.vector_norm(g),
    ),
    Case(
        "gradient unscaling",
        *VECTORS,
        8,
        lambda random, n: {
            "g": random.normal(n),
            "scale": random.integers(2, 1).astype(np.float32),
            "found": random.integers(2, 1, np.uint32),
        },
        lambda g, scale, found: lambda: kernels.unscale.raw(g, scale, found),
    ),
    Case(
        "Adam",
        *VECTORS,
        28,
        lambda random, n: {k: random.normal(n) for k in "pgm"} | {"v": abs(random.normal(n))},
        _adam,
        _torch_adam,
    ),
    Case(
        "SGD with momentum",
        *VECTORS,
        20,
        lambda random, n: {k: random.normal(n) for k in "pgu"},
        lambda p, g, u: lambda: kernels.sgd_step.raw(p, g, u, lr=1e-3, momentum=0.9),
        _torch_sgd,
    ),
    Case(f"gather+scale from {IMAGES:,}", *BATCH, 5, _draw_images, _gather, _torch_gather),
    Case(
        "random bits",
        *WORDS,
        4,
        lambda random, n: {"out": random.integers(256, n, np.uint32)},
        lambda out: lambda: kernels.random_bits.raw(out, key=1, offset=2),
    ),
    Case(
        "random uniform",
        *WORDS,
        4,
        lambda random, n: {"out": random.normal(n)},
        lambda out: lambda: kernels.random_uniform.raw(out, key=1, offset=2),
        lambda torch, out: lambda: out.uniform_(),
    ),
    Case(
        "dropout",
        *WORDS,
        8,
        lambda random, n: {"x": random.normal(n)},
        lambda x: lambda: kernels.dropout.raw(x, p=0.1, key=1, offset=2),
        lambda torch, x: lambda: torch.nn.functional.dropout(x, 0.1),
    ),
)


def run(where: Device, peers: Sequence[str], repeats: int = REPEATS, shrink: int = 1) -> Report:
    """Time the kernels; see :func:`common.compare`."""
    return common.compare("Fused kernels", CASES, "GB/s", where, peers, repeats, shrink)


if __name__ == "__main__":
    common.script("kernels")
