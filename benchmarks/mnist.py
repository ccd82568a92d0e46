"""Training on MNIST: seconds per epoch side by side, accuracy, memory."""

import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import gputensor as gt
from gputensor import backend
from gputensor.backend import Device
from gputensor.benchmarks import common
from gputensor.benchmarks.common import Call, Report
from gputensor.datasets import mnist
from gputensor.graph import branches
from gputensor.keras.layers import Dense, Rescaling
from gputensor.keras.models import Sequential

REPEATS = 7


class Sizes(NamedTuple):
    """Units of the hidden layer, rows of a batch."""

    hidden: int
    batch: int

    @property
    def title(self) -> str:
        return f"One epoch of MNIST, 784-{self.hidden}-10, batch {self.batch}"

    def floor(self) -> dict[str, float]:
        """What a step has to compute and to move at least.

        Three products a layer, but none for the gradient of the input; Adam reads four arrays of
        the parameters' size and writes three.
        """
        weights = 784 * self.hidden, self.hidden * 10
        parameters = sum(weights) + self.hidden + 10
        return {
            "FLOP": 2 * self.batch * (2 * weights[0] + 3 * weights[1]),
            "bytes": 4 * 7 * parameters + self.batch * 784,
        }


USUAL = Sizes(512, 256)


def model(seed: int = 0, sizes: Sizes = USUAL) -> Sequential:
    gt.manual_seed(seed)
    layers = [
        Rescaling(1 / 255, input_shape=(784,)),
        Dense(sizes.hidden, "relu"),
        Dense(10, "softmax"),
    ]
    built = Sequential(layers)
    built.compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
    return built


def load(path: Path | None) -> tuple[Any, ...]:
    (x, y), (x_test, y_test) = mnist.load_data(path)
    return x.reshape(-1, 784), y.astype(np.int64), x_test.reshape(-1, 784), y_test.astype(np.int64)


def gputensor_epoch(x: Any, y: Any, where: Device, sizes: Sizes) -> Call:
    return _gputensor_epoch(x, y, sizes, "auto")


def eager_epoch(x: Any, y: Any, where: Device, sizes: Sizes) -> Call:
    return _gputensor_epoch(x, y, sizes, False)


def _gputensor_epoch(x: Any, y: Any, sizes: Sizes, capture: Any) -> Call:
    network = model(sizes=sizes)
    x, y = gt.asarray(x), gt.asarray(y)
    return lambda: network.fit(x, y, batch_size=sizes.batch, verbose=0, capture=capture)


def chain_epoch(x: Any, y: Any, where: Device, sizes: Sizes) -> Call:
    """Without products side by side, see :mod:`gputensor.graph.branches`."""
    epoch = gputensor_epoch(x, y, where, sizes)

    def chain() -> None:
        with branches.in_one_chain():
            epoch()

    return chain


def pytorch_epoch(x: Any, y: Any, where: Device, sizes: Sizes) -> Call:
    return _pytorch_epoch(x, y, where, sizes, lambda function: function)


def compiled_epoch(x: Any, y: Any, where: Device, sizes: Sizes) -> Call:
    import torch

    compiled = functools.partial(torch.compile, mode="reduce-overhead")
    return _pytorch_epoch(x, y, where, sizes, compiled)


def _pytorch_epoch(
    x: Any, y: Any, where: Device, sizes: Sizes, transform: Callable[[Any], Any]
) -> Call:
    import torch

    device = torch.device(str(where))
    images, labels = torch.from_numpy(x).to(device), torch.from_numpy(y).to(device)
    network = torch.nn.Sequential(
        torch.nn.Linear(784, sizes.hidden), torch.nn.ReLU(), torch.nn.Linear(sizes.hidden, 10)
    ).to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.001, fused=True)
    loss_of = torch.nn.CrossEntropyLoss()

    @transform
    def outputs(batch: Any, target: Any) -> tuple[Any, Any]:
        out = network(batch)
        return loss_of(out, target), (out.detach().argmax(1) == target).sum()

    def epoch() -> None:
        order = torch.randperm(len(x), device=device)
        total = torch.zeros((), device=device)
        correct = torch.zeros((), dtype=torch.int64, device=device)
        for rows in order.split(sizes.batch):
            batch, target = images[rows].float().mul_(1 / 255), labels[rows]
            loss, right = outputs(batch, target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(rows)
            correct += right
        total.item(), correct.item()

    return epoch


def jax_epoch(x: Any, y: Any, where: Device, sizes: Sizes) -> Call:
    return _jax_epoch(x, y, where, sizes, scan=False)


def jax_scan_epoch(x: Any, y: Any, where: Device, sizes: Sizes) -> Call:
    return _jax_epoch(x, y, where, sizes, scan=True)


def _jax_epoch(x: Any, y: Any, where: Device, sizes: Sizes, scan: bool) -> Call:
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_default_device", jax.devices("cpu" if where == "cpu" else "gpu")[0])
    images, labels = jnp.asarray(x), jnp.asarray(y, dtype=jnp.int32)
    keys = jax.random.split(jax.random.key(0), 3)
    hidden, bound = sizes.hidden, (6 / (sizes.hidden + 10)) ** 0.5
    weights = [
        jax.random.uniform(keys[0], (784, hidden), minval=-0.068, maxval=0.068),
        jnp.zeros(hidden),
        jax.random.uniform(keys[1], (hidden, 10), minval=-bound, maxval=bound),
        jnp.zeros(10),
    ]

    def loss_of(weights: Any, batch: Any, target: Any) -> Any:
        w, b, v, c = weights
        out = jax.nn.relu(batch @ w + b) @ v + c
        chosen = jnp.take_along_axis(jax.nn.log_softmax(out), target[:, None], 1)
        return -chosen.mean(), (out.argmax(1) == target).sum()

    def step(state: Any, images: Any, labels: Any, rows: Any) -> Any:
        weights, means, squares, t, total, correct = state
        batch, target = images[rows].astype(jnp.float32) / 255, labels[rows]
        (loss, right), grads = jax.value_and_grad(loss_of, has_aux=True)(weights, batch, target)
        t = t + 1
        means = [0.9 * m + 0.1 * g for m, g in zip(means, grads, strict=True)]
        squares = [0.999 * v + 0.001 * g * g for v, g in zip(squares, grads, strict=True)]
        rate, root = 0.001 / (1 - 0.9**t), 1 / jnp.sqrt(1 - 0.999**t)
        weights = [
            w - rate * m / (jnp.sqrt(v) * root + 1e-7)
            for w, m, v in zip(weights, means, squares, strict=True)
        ]
        return weights, means, squares, t, total + loss * len(rows), correct + right

    @functools.partial(jax.jit, donate_argnums=0)
    def steps(state: Any, images: Any, labels: Any, order: Any) -> Any:
        """All whole batches of an epoch in one launch."""
        batches = order[: len(order) // sizes.batch * sizes.batch].reshape(-1, sizes.batch)
        return jax.lax.scan(lambda s, rows: (step(s, images, labels, rows), None), state, batches)[
            0
        ]

    one_step = jax.jit(step, donate_argnums=0)
    zeros = [jnp.zeros_like(w) for w in weights]
    state = [weights, zeros, [jnp.zeros_like(w) for w in weights], 0.0, 0.0, 0]
    key = [keys[2]]

    def epoch() -> None:
        key[0], now = jax.random.split(key[0])
        order = jax.random.permutation(now, len(x))
        state[4:] = [0.0, 0]
        begin = len(x) // sizes.batch * sizes.batch if scan else 0
        if scan:
            state[:] = steps(tuple(state), images, labels, order)
        for start in range(begin, len(x), sizes.batch):
            state[:] = one_step(tuple(state), images, labels, order[start : start + sizes.batch])
        jax.block_until_ready(state)

    return epoch


def numpy_epoch(x: Any, y: Any, where: Device, sizes: Sizes) -> Call:
    rng = np.random.default_rng(0)
    hidden = sizes.hidden
    w, v = (
        rng.uniform(-a, a, s).astype(np.float32)
        for a, s in ((0.068, (784, hidden)), ((6 / (hidden + 10)) ** 0.5, (hidden, 10)))
    )
    weights = [w, np.zeros(hidden, np.float32), v, np.zeros(10, np.float32)]
    means, squares = ([np.zeros_like(w) for w in weights] for _ in range(2))
    count = [0]

    def epoch() -> None:
        order = rng.permutation(len(x))
        for start in range(0, len(x), sizes.batch):
            rows = order[start : start + sizes.batch]
            batch, target = x[rows].astype(np.float32) * np.float32(1 / 255), y[rows]
            w, b, v, c = weights
            h = np.maximum(batch @ w + b, 0)
            out = h @ v + c
            p = np.exp(out - out.max(1, keepdims=True))
            p /= p.sum(1, keepdims=True)
            p[np.arange(len(rows)), target] -= 1
            p /= len(rows)
            d = np.where(h > 0, p @ v.T, 0)
            count[0] += 1
            rate = np.float32(0.001 / (1 - 0.9 ** count[0]))
            root = np.float32(1 / (1 - 0.999 ** count[0]) ** 0.5)
            for q, m, s, g in zip(
                weights, means, squares, (batch.T @ d, d.sum(0), h.T @ p, p.sum(0)), strict=True
            ):
                m *= np.float32(0.9)
                m += np.float32(0.1) * g
                s *= np.float32(0.999)
                s += np.float32(0.001) * g * g
                q -= rate * m / (np.sqrt(s) * root + np.float32(1e-7))

    return epoch


def products_epoch(x: Any, y: Any, where: Device, sizes: Sizes) -> Call:
    xp = backend.namespace(where)
    normal = common.Random(where).normal
    hidden = sizes.hidden
    w, v, rows = normal(784, hidden), normal(hidden, 10), {sizes.batch, len(x) % sizes.batch} - {0}
    sets = {n: (normal(n, 784), normal(n, hidden), normal(n, 10)) for n in rows}
    outs = {n: (normal(n, hidden), normal(n, 10), normal(n, hidden)) for n in rows}
    dw, dv = xp.empty_like(w), xp.empty_like(v)

    def epoch() -> None:
        for start in range(0, len(x), sizes.batch):
            n = min(sizes.batch, len(x) - start)
            (batch, d, p), (h, out, e) = sets[n], outs[n]
            xp.matmul(batch, w, out=h)
            xp.matmul(h, v, out=out)
            xp.matmul(p, v.T, out=e)
            xp.matmul(h.T, p, out=dv)
            xp.matmul(batch.T, d, out=dw)

    return epoch


CASES: dict[str, tuple[str, Callable[[Any, Any, Device, Sizes], Call]]] = {
    "gputensor": ("", gputensor_epoch),
    "PyTorch eager, fused Adam": ("torch", pytorch_epoch),
    "JAX jit": ("jax", jax_epoch),
    "JAX, an epoch in one scan": ("jax", jax_scan_epoch),
    "NumPy by hand": ("numpy", numpy_epoch),
    "matrix products alone": ("numpy", products_epoch),
}
ON_CUDA: dict[str, tuple[str, Callable[[Any, Any, Device, Sizes], Call]]] = {
    "gputensor, all products in a chain": ("", chain_epoch),
    "gputensor, not captured": ("", eager_epoch),
    "PyTorch compiled, reduce-overhead": ("torch", compiled_epoch),
}
PEERS = ("torch", "jax", "numpy")


def in_fresh_process(code: str, **environment: str) -> str:
    command = [sys.executable, "-c", code]
    env = {**os.environ, **environment}
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has its bytecode
    return subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout


# The kernel's own peak: getrusage also counts what the parent had when it forked.
TRAIN = """
import time, pathlib
from gputensor.benchmarks import mnist as m
x, y, _, _ = m.load({path})
net = m.model()
began = time.perf_counter()
net.fit(x[:256], y[:256], batch_size=256, verbose=0)
first = time.perf_counter() - began
net.fit(x, y, batch_size=256, verbose=0)
status = pathlib.Path("/proc/self/status").read_text()
peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
print(first, peak)
"""


def start_and_memory(path: Path | None, where: Device) -> dict[str, Any]:
    """Import time, first training step without and with Numba's cache, peak memory."""
    code = "import time; t = time.perf_counter(); import gputensor; print(time.perf_counter() - t)"
    imports = [float(in_fresh_process(code)) * 1e3 for _ in range(7)]
    code = code.replace("gputensor", "numpy")
    numpy_imports = [float(in_fresh_process(code)) * 1e3 for _ in range(7)]
    given = f"pathlib.Path({str(path)!r})" if path else "None"
    code = TRAIN.format(path=given)
    with tempfile.TemporaryDirectory() as cache:
        env = {"NUMBA_CACHE_DIR": cache, "GPUTENSOR_DEVICE": str(where)}
        runs = [in_fresh_process(code, **env).split() for _ in range(2)]
    return {
        "import gputensor, ms": statistics.median(imports),
        "of which import numpy, ms": statistics.median(numpy_imports),
        "first step, empty Numba cache, s": float(runs[0][0]),
        "first step, filled Numba cache, s": float(runs[1][0]),
        "peak resident memory, MiB": max(float(r[1]) for r in runs),
    }


def accuracies(data: tuple[Any, ...]) -> dict[str, Any]:
    """Test accuracy after ten epochs for three seeds; whether a seed gives equal bits twice."""
    x, y, x_test, y_test = data
    found: dict[str, Any] = {}
    first: dict[str, Any] = {}
    for seed in (0, 1, 2, 0):
        network = model(seed)
        network.fit(x, y, batch_size=USUAL.batch, epochs=10, verbose=0)
        score = network.evaluate(x_test, y_test, return_dict=True)
        assert isinstance(score, dict)
        weights = network.state_dict()
        if f"seed {seed}" in found:
            same = all((weights[k] == first[k]).all() for k in weights)
            found["seed 0 twice gives the same bits"] = same
        else:
            found[f"seed {seed}"] = score["accuracy"]
            if seed == 0:
                first = weights
    return found


def epochs(
    where: Device, peers: Sequence[str], repeats: int, shrink: int, arrays: Any, sizes: Sizes
) -> dict[str, Any]:
    """Record of the contestants' epochs, printed."""
    x, y = (a[: len(a) // shrink] for a in arrays[:2])
    cases = CASES if where == "cpu" else CASES | ON_CUDA
    calls = {
        name: make(x, y, where, sizes)
        for name, (peer, make) in cases.items()
        if not peer or peer in peers
    }
    timers = common.timers(calls, common.host_clock(where))
    table = common.summary(common.interleaved(timers, repeats))
    common.print_table(sizes.title, "s", table)
    steps = -(-len(x) // sizes.batch)
    step = {"µs": table["gputensor"]["median"] / steps * 1e6, **sizes.floor()}
    print("  ".join(f"{name} of a step: {value:,.0f}" for name, value in step.items()))
    record = {"title": sizes.title, "unit": "s", "machine": common.machine(where)}
    return record | {"results": table, "step": step}


def report(record: dict[str, Any]) -> Report:
    """A record with its bars for a chart."""
    return Report(record, {name: row["median"] for name, row in record["results"].items()}, "s")


def run(
    where: Device,
    peers: Sequence[str],
    repeats: int = REPEATS,
    shrink: int = 1,
    data: Path | None = None,
    accuracy: bool = False,
) -> Report:
    """Time the contestants.

    Parameters
    ----------
    where, peers, repeats
        As for :func:`common.compare`.
    shrink : int
        Divides the number of images in an epoch.
    data : Path, optional
        Data set of MNIST's form.
    accuracy : bool
        Whether to train for ten epochs with seeds 0, 1 and 2, too.

    Returns
    -------
    Report
    """
    arrays = load(data)
    record = epochs(where, peers, repeats, shrink, arrays, USUAL)
    record["start"] = start_and_memory(data, where)
    if accuracy:
        record["accuracy"] = accuracies(arrays)
    print(json.dumps({k: record[k] for k in ("start", "accuracy") if k in record}, indent=2))
    return report(record)


if __name__ == "__main__":
    common.script("mnist")
