"""Steps of small networks beside PyTorch: convolutional, autoencoders, a transformer."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

import gputensor as gt
from gputensor.backend import Device
from gputensor.benchmarks import common
from gputensor.benchmarks.common import Call, Report

PEERS = ("torch",)
REPEATS = 15
STEPS = 8
CHARACTERS = 64


class Task(NamedTuple):
    """A network and the batch of a step.

    Attributes
    ----------
    network : callable
        ``network(nn)`` makes it with the layers of a library, which have the same names in both.
    data : callable
        ``data(rng)`` draws inputs and targets.
    loss : callable
        ``loss(functional, output, target)``.
    """

    network: Callable[[Any], Any]
    data: Callable[[np.random.Generator], tuple[Any, Any]]
    loss: Callable[[Any, Any, Any], Any]


def convolutional(nn: Any) -> Any:
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(9216, 128), nn.ReLU(), nn.Linear(128, 10)),
    )


def dense_autoencoder(nn: Any) -> Any:
    return nn.Sequential(
        *(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 32), nn.ReLU()),
        *(nn.Linear(32, 128), nn.ReLU(), nn.Linear(128, 784), nn.Sigmoid()),
    )


def convolutional_autoencoder(nn: Any) -> Any:
    down = {"stride": 2, "padding": 1}
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, **down), nn.ReLU(), nn.Conv2d(16, 32, 3, **down), nn.ReLU()),
        *(nn.ConvTranspose2d(32, 16, 4, **down), nn.ReLU()),
        *(nn.ConvTranspose2d(16, 1, 4, **down), nn.Sigmoid()),
    )


def transformer(nn: Any, width: int = 128, heads: int = 4, context: int = 64) -> Any:
    """Two layers over characters, each of which sees those before it (Vaswani et al. 2017)."""
    ours = nn is gt.nn
    if ours:
        attend, array = nn.attention.scaled_dot_product_attention, gt.arange(context)
    else:
        import torch

        attend, array = nn.functional.scaled_dot_product_attention, torch.arange(context)

    class Block(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
            self.project, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.grow, self.shrink = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

        def forward(self, x: Any) -> Any:
            n = x.shape[0]
            parts = self.project(self.before(x)).reshape(n, context, 3, heads, width // heads)
            order = (2, 0, 3, 1, 4)
            parts = gt.unstack(gt.permute_dims(parts, order)) if ours else parts.permute(order)
            query, key, value = parts
            seen = attend(query, key, value, is_causal=True)
            seen = gt.permute_dims(seen, (0, 2, 1, 3)) if ours else seen.transpose(1, 2)
            x = x + self.out(seen.reshape(n, context, width))
            return x + self.shrink(nn.functional.gelu(self.grow(self.between(x))))

    class Characters(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.characters = nn.Embedding(CHARACTERS, width)
            self.places = nn.Embedding(context, width)
            self.blocks = nn.Sequential(Block(), Block())
            self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, CHARACTERS)

        def forward(self, x: Any) -> Any:
            x = self.characters(x) + self.places(array)
            return self.head(self.norm(self.blocks(x))).reshape(-1, CHARACTERS)

    return Characters()


def images(batch: int, flat: bool = False) -> Callable[[np.random.Generator], Any]:
    """Digits' shapes and sparsity, with labels."""

    def draw(rng: np.random.Generator) -> tuple[Any, Any]:
        x = np.maximum(rng.random((batch, 1, 28, 28), np.float32) * 5 - 4, 0)
        return x.reshape(batch, 784) if flat else x, rng.integers(0, 10, batch)

    return draw


def copies(batch: int, flat: bool) -> Callable[[np.random.Generator], Any]:
    """Images that are their own targets."""

    def draw(rng: np.random.Generator) -> tuple[Any, Any]:
        x, _ = images(batch, flat)(rng)
        return x, x.copy()

    return draw


def text(batch: int, context: int = 64) -> Callable[[np.random.Generator], Any]:
    """Characters, and for each the one that follows."""

    def draw(rng: np.random.Generator) -> tuple[Any, Any]:
        x = rng.integers(0, CHARACTERS, (batch, context + 1))
        return x[:, :-1].copy(), x[:, 1:].reshape(-1)

    return draw


def class_loss(functional: Any, output: Any, target: Any) -> Any:
    return functional.cross_entropy(output, target)


def copy_loss(functional: Any, output: Any, target: Any) -> Any:
    return functional.mse_loss(output, target)


TASKS: dict[str, tuple[Callable[[int], Task], int]] = {
    "convolutional, batch 64": (lambda n: Task(convolutional, images(n), class_loss), 64),
    "convolutional, batch 128": (lambda n: Task(convolutional, images(n), class_loss), 128),
    "dense autoencoder, batch 128": (
        lambda n: Task(dense_autoencoder, copies(n, flat=True), copy_loss),
        128,
    ),
    "convolutional autoencoder, batch 128": (
        lambda n: Task(convolutional_autoencoder, copies(n, flat=False), copy_loss),
        128,
    ),
    "transformer, batch 32": (lambda n: Task(transformer, text(n), class_loss), 32),
}


def gputensor_call(task: Task, where: Device, capture: bool) -> Call:
    gt.manual_seed(0)
    with gt.device(where):
        network = task.network(gt.nn)
    optimizer = gt.optim.Adam(network.parameters(), lr=0.001)
    x, y = (gt.asarray(a, device=where) for a in task.data(np.random.default_rng(0)))

    def step(x: gt.Tensor, y: gt.Tensor) -> gt.Tensor:
        loss = task.loss(gt.nn.functional, network(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    chosen: Any = gt.capture(step) if capture else step
    return lambda: chosen(x, y)


def pytorch_call(task: Task, where: Device) -> Call:
    import torch

    torch.manual_seed(0)
    with torch.device(str(where)):
        network = task.network(torch.nn)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.001)
    x, y = (torch.tensor(a, device=str(where)) for a in task.data(np.random.default_rng(0)))

    def step() -> Any:
        loss = task.loss(torch.nn.functional, network(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step


def contestants(task: Task, where: Device, peers: Sequence[str]) -> dict[str, Call]:
    """By label, a call for a step."""
    found = {
        "gputensor": gputensor_call(task, where, True),
        "gputensor, not captured": gputensor_call(task, where, False),
    }
    if "torch" in peers:
        found["PyTorch eager"] = pytorch_call(task, where)
    return found


def turns(calls: dict[str, Call], clock: common.Clock, count: int) -> dict[str, common.Timer]:
    """Timers of `count` steps, after as many that are not timed.

    So the threads of the one before have gone to sleep, and its data are out of the cache.
    """

    def timer(call: Call) -> common.Timer:
        def several() -> None:
            for _ in range(count):
                call()

        def seconds() -> float:
            several()
            return clock(several) / count

        return seconds

    return {name: timer(call) for name, call in calls.items()}


def run(where: Device, peers: Sequence[str], repeats: int = REPEATS, shrink: int = 1) -> Report:
    """Time the contestants.

    Parameters
    ----------
    where, peers, repeats
        As for :func:`common.compare`.
    shrink : int
        Divides batches and the steps of a turn.

    Returns
    -------
    Report
    """
    clock = common.host_clock(where)
    results: dict[str, Any] = {}
    bars: dict[str, float] = {}
    for name, (make, batch) in TASKS.items():
        calls = contestants(make(max(2, batch // shrink)), where, peers)
        timers = turns(calls, clock, max(1, STEPS // shrink))
        results[name] = common.summary(common.interleaved(timers, repeats), scale=1e3)
        common.print_table(f"A step, {name}", "ms", results[name])
        bars |= {f"{name}, {label}": row["median"] for label, row in results[name].items()}
    record = {"title": "Training steps", "unit": "ms", "machine": common.machine(where)}
    return Report(record | {"results": results}, bars, "ms")


if __name__ == "__main__":
    common.script("training")
