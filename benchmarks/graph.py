"""Thirty operations with their gradients, eager and captured, beside PyTorch, JAX and `fit`."""

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

import gputensor as gt
from gputensor.backend import Device
from gputensor.benchmarks import common
from gputensor.benchmarks.common import Call, Report
from gputensor.benchmarks.mnist import Sizes, model

PEERS = ("torch", "jax")
REPEATS = 15
LARGE = 1_000_000
CALLS = 200
STEPS = 45


class Chain(NamedTuple):
    """``z = tanh(z * w + b)`` ten times, then the sum and the gradients of all three.

    Attributes
    ----------
    size : int
        Elements of `z`.
    scalars : bool
        Whether `w` and `b` are scalars, whose gradients are sums, and not of the size of `z`.
    """

    size: int
    scalars: bool

    def operands(self) -> list[Any]:
        """w, b and z, float32."""
        shape = () if self.scalars else (self.size,)
        rng = np.random.default_rng(0)
        return [np.asarray(rng.standard_normal(s, np.float32)) for s in (shape, shape, self.size)]


def total_of(tanh: Any) -> Any:
    """The function of w, b and z, by a library's tanh."""

    def total(w: Any, b: Any, z: Any) -> Any:
        for _ in range(10):
            z = tanh(z * w + b)
        return z.sum()

    return total


def eager_call(tanh: Any, leaves: list[Any]) -> Call:
    """Value and gradients by a tape."""
    function = total_of(tanh)

    def call() -> Any:
        total = function(*leaves)
        total.backward()
        found = total, *(leaf.grad for leaf in leaves)
        for leaf in leaves:
            leaf.grad = None
        return found

    return call


def gputensor_call(chain: Chain, where: Device) -> Call:
    operands = chain.operands()
    return eager_call(gt.tanh, [gt.tensor(a, requires_grad=True, device=where) for a in operands])


def captured_call(chain: Chain, where: Device) -> Call:
    captured = gt.capture(gt.value_and_grad(total_of(gt.tanh), (0, 1, 2)))
    operands = [gt.tensor(a, device=where) for a in chain.operands()]
    return lambda: captured(*operands)


def pytorch_call(chain: Chain, where: Device) -> Call:
    import torch

    leaves = [torch.tensor(a, device=str(where), requires_grad=True) for a in chain.operands()]
    return eager_call(torch.tanh, leaves)


def jax_call(chain: Chain) -> Call:
    import jax
    import jax.numpy as jnp

    compiled = jax.jit(jax.value_and_grad(total_of(jnp.tanh), (0, 1, 2)))
    operands = [jnp.asarray(a) for a in chain.operands()]
    return lambda: jax.block_until_ready(compiled(*operands))


def bare_calls(peers: Sequence[str]) -> dict[str, Call]:
    """A compiled function of one operation on one element: what a call costs."""
    add = gt.capture(lambda x: x + 1.0)
    one = gt.zeros(1)
    found: dict[str, Call] = {"gputensor": lambda: add(one)}
    if "jax" in peers:
        import jax
        import jax.numpy as jnp

        compiled, theirs = jax.jit(lambda x: x + 1.0), jnp.zeros(1)
        found["JAX jit"] = lambda: jax.block_until_ready(compiled(theirs))
    return found


def chain_calls(chain: Chain, where: Device, peers: Sequence[str]) -> dict[str, Call]:
    """By contestant."""
    found = {
        "gputensor": captured_call(chain, where),
        "gputensor, eager": gputensor_call(chain, where),
    }
    if "torch" in peers:
        found["PyTorch eager"] = pytorch_call(chain, where)
    if "jax" in peers:
        found["JAX jit"] = jax_call(chain)
    return found


def short_fits(sizes: Sizes, steps: int) -> dict[str, common.Timer]:
    """Seconds of a training of so few steps that a recording hardly pays, by setting."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (steps * sizes.batch, 784), np.uint8)
    y = rng.integers(0, 10, len(x))

    def timer(capture: Any) -> common.Timer:
        def fit() -> float:
            network = model(sizes=sizes)  # a new one: nothing is recorded
            began = time.perf_counter()
            network.fit(x, y, batch_size=sizes.batch, verbose=0, capture=capture)
            return time.perf_counter() - began

        return fit

    return {"gputensor": timer("auto"), "gputensor, capture=False": timer(False)}


def repeated(call: Call, count: int) -> Call:
    """A call `count` times."""

    def calls() -> None:
        for _ in range(count):
            call()

    return calls


def run(where: Device, peers: Sequence[str], repeats: int = REPEATS, shrink: int = 1) -> Report:
    """Time the contestants; `shrink` divides sizes and numbers of calls."""
    clock = common.host_clock(where)
    tables: dict[str, Any] = {}
    bars: dict[str, float] = {}

    def table(title: str, timers: dict[str, common.Timer], count: int) -> None:
        found = common.summary(common.interleaved(timers, repeats), scale=1e6 / count)
        common.print_table(title, "µs", found)
        tables[title] = found
        bars.update({f"{title}, {name}": row["median"] for name, row in found.items()})

    def timed(title: str, calls: dict[str, Call], count: int) -> None:
        several = {name: repeated(call, count) for name, call in calls.items()}
        table(title, common.timers(several, clock), count)

    few, large = max(1, CALLS // shrink), LARGE // shrink
    with gt.device(where):
        timed("One operation, one element", bare_calls(peers), few)
        for size, scalars, count in (
            *((8, False, few), (8, True, few)),
            *((large, False, 1), (large, True, 1)),
        ):
            chain = Chain(size, scalars)
            kind = "scalar w and b" if scalars else "one shape"
            title = f"30 operations and gradients, {size:,} float32, {kind}"
            timed(title, chain_calls(chain, where, peers), count)
        for sizes in (Sizes(64, 32), Sizes(512, 256)):
            steps = max(2, STEPS // shrink)
            title = f"fit of {steps} steps, 784-{sizes.hidden}-10, batch {sizes.batch}"
            table(title, short_fits(sizes, steps), steps)
    record = {"title": "Graphs", "unit": "µs", "machine": common.machine(where), "results": tables}
    return Report(record, bars, "µs")


if __name__ == "__main__":
    common.script("graph")
