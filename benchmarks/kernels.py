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
IMAGES = 60_000


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
