"""Gradients scaled down by the norm of all or of each parameter: values, bits, and launches."""

import functools
import operator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gputensor as gt
from gputensor import backend, kernels, standin
from gputensor.keras import optimizers
from gputensor.kernels.grad_norm import segments_of
from gputensor.torch.nn import utils as torch_utils

RNG = np.random.default_rng(29)
FORWARD = pytest.mark.parametrize("cupy", ["forward"], indirect=True)
SHAPES = [(4, 3), (3,), (0,), (1,), (7, 5), (2, 2, 2), (30,)]


# The kernels


def parameters_of(x, sizes):
    ends = np.cumsum(sizes)
    return [x[end - n : end] for n, end in zip(sizes, ends, strict=True)]


@pytest.mark.cpu
@given(
    sizes=st.lists(st.integers(0, 40) | st.sampled_from([65536, 65537, 200_003]), min_size=1),
    dtype=st.sampled_from(["f4", "f8"]),
)
def test_a_parameters_norm_is_the_same_alone_and_among_others(sizes, dtype):
    x = np.random.default_rng(len(sizes)).standard_normal(sum(sizes)).astype(dtype)
    if not x.size:
        return
    found = kernels.squared_norm.raw(x, segments=segments_of(sizes, x))
    alone = [kernels.squared_norm.raw(part.copy()) for part in parameters_of(x, sizes)]
    assert found.tolist() == [float(a) for a in alone]


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2"])
def test_a_parameters_norm_on_cuda_depends_on_its_size_alone(cupy, dtype):
    sizes = [5, 0, 1000, 4097, 3, 1, 70_001, 2, *[1] * 40]
    x = RNG.standard_normal(sum(sizes)).astype(dtype)
    on_device = cupy.asarray(x)
    found = kernels.squared_norm.raw(on_device, segments=segments_of(sizes, on_device))
    alone = [
        float(kernels.squared_norm.raw(cupy.asarray(part.copy()))) if part.size else 0.0
        for part in parameters_of(x, sizes)
    ]
    assert found.get().tolist() == alone
    # Neither does it depend on where the buffer begins.
    room = cupy.empty(x.size + 1, dtype)
    room[1:] = on_device
    shifted = kernels.squared_norm.raw(room[1:], segments=segments_of(sizes, on_device))
    assert shifted.get().tolist() == alone
    assert float(kernels.squared_norm.raw(room[1:])) == float(kernels.squared_norm.raw(on_device))


def sum_in_order(x):
    """Of squares: blocks of 256 threads take packs of 16 bytes in turn, up to 1024 of them."""
    blocks = min(-(-x.nbytes // 4096), 1024)
    width, threads = 16 // x.itemsize, blocks * 256
    squares = np.concatenate([x.astype(float) ** 2, np.zeros(-x.size % (threads * width))])
    whole = x.size // width * width
    rest, squares[whole : x.size] = squares[whole : x.size].copy(), 0
    by_thread = np.zeros(threads)
    for turn in squares.reshape(-1, threads, width):
        for k in range(width):
            by_thread += turn[:, k]
    by_thread[: rest.size] += rest
    parts = np.array([sum_of_block(part) for part in by_thread.reshape(-1, 256)])
    parts = np.concatenate([parts, np.zeros(-blocks % 256)]).reshape(-1, 256)
    return sum_of_block(np.add.reduce(parts, axis=0))


def sum_of_block(values):
    """In warps neighbours, then neighbours of those, and the warps one after the other."""
    values = values.reshape(8, 32)
    while values.shape[1] > 1:
        half = values.shape[1] // 2
        values = values[:, :half] + values[:, half:]
    return functools.reduce(operator.add, values[:, 0])


@pytest.mark.parametrize("dtype", ["f4", "f2"])  # whose squares are exact in float64
def test_a_norm_on_cuda_is_added_up_in_an_order_of_its_own(cupy, dtype):
    sizes = [1, 5, 3000, 4096 // np.dtype(dtype).itemsize * 300 + 7]
    x = RNG.standard_normal(sum(sizes)).astype(dtype)
    found = kernels.squared_norm.raw(cupy.asarray(x), segments=segments_of(sizes, cupy.asarray(x)))
    assert found.get().tolist() == [sum_in_order(part) for part in parameters_of(x, sizes)]


def test_each_parameter_is_scaled_by_its_own_norm(setting, cupy):
    sizes = [3, 0, 200_000, 1, 6]
    x = RNG.standard_normal(sum(sizes)).astype("f")
    x[-1], x[-7] = np.nan, np.inf
    for place in (np.array, cupy.asarray):
        mine = place(x)
        table = segments_of(sizes, mine)
        with np.errstate(invalid="ignore"):
            norms = kernels.squared_norm.raw(mine, segments=table)
            assert (norms.shape, norms.dtype) == ((5,), np.float64)
            kernels.clip_norm.raw(mine, norms, most=2.5, segments=table)
        for part, old in zip(
            parameters_of(gt.asarray(mine).numpy(), sizes), parameters_of(x, sizes), strict=True
        ):
            norm = np.sqrt((old.astype(float) ** 2).sum())
            if np.isfinite(norm):
                expected = old.astype(float) * min(1, 2.5 / (norm + 1e-6))
                np.testing.assert_allclose(part, expected, rtol=1e-6)
            else:
                assert np.isnan(part).all()


# Optimizers


def gradient_parts(ps):
    """A loss of which each parameter's gradient has a size of its own."""
    parts = (((p - 0.5) * (p - 0.5)).sum() * (0.3 * (i + 1)) for i, p in enumerate(ps))
    return functools.reduce(operator.add, parts)


KINDS = {
    "each": {"clipnorm": 0.3},
    "all": {"global_clipnorm": 0.3},
    "value": {"clipvalue": 0.1},
}
MORE = {
    "plain": {},
    "gathered": {"gradient_accumulation_steps": 2},
    "averaged": {"use_ema": True, "weight_decay": 0.1},
}


def keras_optimizer(name, **settings):
    return lambda ps: getattr(optimizers, name)(0.05, **settings).bind(ps)


class Run:
    """Steps of an optimizer, and what is left of them."""

    def __init__(
        self, make, device, captured, before=None, dtype="float32", frozen=(), scaler=None, steps=5
    ):
        self.ps = [
            gt.tensor(
                np.random.default_rng(i).normal(size=s),
                dtype=dtype,
                device=device,
                requires_grad=True,
            )
            for i, s in enumerate(SHAPES)
        ]
        self.optimizer = make(self.ps)
        for i in frozen:
            self.ps[i].requires_grad = False
        self.before, self.scaler = before, scaler
        factors = [gt.tensor(f, dtype=dtype, device=device) for f in self.factors(steps)]
        step = gt.capture(self.step, device=device) if captured else self.step
        for factor in factors:
            standin.counters.reset()
            step(factor)
        assert not captured or step.reason is None
        self.names = {name.partition("<")[0] for name in standin.counters.kernels}

    @staticmethod
    def factors(steps):
        return [1.0] * steps

    def step(self, factor):
        self.optimizer.zero_grad()
        moving = [p for p in self.ps if p.requires_grad and p.array.size]
        loss = gradient_parts([p * factor for p in moving])
        if self.scaler is None:
            loss.backward()
            if self.before is not None:
                self.before(self.optimizer, self.ps)
            self.optimizer.step()
            return
        self.scaler.scale(loss).backward()
        self.scaler.unscale(self.optimizer)
        if self.before is not None:
            self.before(self.optimizer, self.ps)
        self.scaler.step(self.optimizer)
        self.scaler.update()

    @property
    def state(self):
        found = {f"p{i}": p.detach().numpy() for i, p in enumerate(self.ps)}
        found |= {f"g{i}": p.grad.numpy() for i, p in enumerate(self.ps) if p.grad is not None}
        state = self.optimizer.state_dict()
        return found | {k: np.asarray(v) for k, v in state.items() if k != "random"}


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name], err_msg=name)


def both_ways(make, device, **options):
    """A captured run, after it is compared with an eager one."""
    eager, captured = (Run(make, device, c, **options) for c in (False, True))
    assert_same(eager.state, captured.state)
    return captured


@FORWARD
@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("more", MORE.values(), ids=MORE)
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("name", ["Adam", "SGD", "RMSprop"])
def test_captured_clipping_has_the_bits_of_eager_clipping(cupy, name, kind, more, device):
    both_ways(keras_optimizer(name, **kind, **more), device)


@FORWARD
@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize(
    "name", ["Adagrad", "Adadelta", "Adamax", "Nadam", "Lion", "Ftrl", "Lamb", "Adafactor"]
)
def test_captured_clipping_before_a_formula_has_the_bits_of_eager_clipping(cupy, name, device):
    both_ways(keras_optimizer(name, clipnorm=0.3), device)


@FORWARD
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_gradients_are_clipped_to_what_numpy_finds(cupy, device):
    for name in ("Adam", "SGD", "RMSprop"):
        for captured in (False, True):
            run = Run(keras_optimizer(name, clipnorm=0.3), device, captured, steps=1)
            for i, p in enumerate(run.ps):
                if not p.array.size:
                    continue
                start = np.random.default_rng(i).normal(size=SHAPES[i]).astype("f")
                place = [j for j, s in enumerate(SHAPES) if 0 not in s].index(i)
                g = (start - 0.5) * 0.6 * (place + 1)
                g = g * min(1, 0.3 / np.sqrt((g * g).sum()))
                np.testing.assert_allclose(p.grad.numpy(), g, rtol=1e-5)


CALLS = {
    "optimizer": lambda optimizer, ps: optimizer.clip_grad_norm(0.3),
    "function": lambda optimizer, ps: torch_utils.clip_grad_norm_(ps, 0.3),
}


@FORWARD
@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("make", [gt.optim.RMSprop, gt.optim.Lion, gt.optim.Adagrad])
def test_captured_calls_clip_before_formulas_to_the_bits_of_eager_ones(cupy, make, call, device):
    run = both_ways(make, device, before=call)
    assert run.names.isdisjoint({"clip_norm"})
    in_groups = lambda ps: make([{"params": ps[:3]}, {"params": ps[3:], "lr": 0.5}])  # noqa: E731
    both_ways(in_groups, device, before=call)


@FORWARD
@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("name", ["Adam", "RMSprop"])
def test_frozen_parameters_and_those_without_elements_are_passed_over(cupy, name, device):
    run = both_ways(keras_optimizer(name, clipnorm=0.3), device, frozen=[3])
    start = np.random.default_rng(3).normal(size=SHAPES[3]).astype("f")
    np.testing.assert_array_equal(run.ps[3].detach().numpy(), start)
    norms = [np.linalg.norm(p.grad.numpy()) for i, p in enumerate(run.ps) if i not in (2, 3)]
    assert max(norms) == pytest.approx(0.3, rel=1e-5)


@FORWARD
@pytest.mark.parametrize("name", ["Adam", "SGD", "RMSprop"])
@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_clipping_in_other_dtypes_has_the_bits_of_eager_clipping(cupy, dtype, name):
    for kind in ("each", "all"):
        both_ways(keras_optimizer(name, **KINDS[kind]), "cuda", dtype=dtype)


class Broken(Run):
    @staticmethod
    def factors(steps):
        return [1.0, np.inf, 1.0, np.nan, 1.0][:steps]


@FORWARD
@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("name", ["SGD", "RMSprop"])
@pytest.mark.parametrize("kind", ["each", "all"])
def test_steps_that_a_loss_scale_leaves_out_clip_all_the_same(cupy, kind, name, device):
    make = keras_optimizer(name, **KINDS[kind])
    found = []
    for captured in (False, True):
        with gt.device(device), np.errstate(all="ignore"):
            found.append(Broken(make, device, captured, scaler=gt.optim.GradScaler(8.0)))
    assert_same(found[0].state, found[1].state)
    assert np.isfinite(found[0].ps[0].detach().numpy()).all()


@FORWARD
@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("name", ["Adam", "SGD", "RMSprop"])
def test_a_norm_that_is_not_finite_stays_with_its_parameter(cupy, name, device):
    """It shows there, and the others are moved as without it."""
    for captured in (False, True):
        found = []
        for bad in (0.0, np.nan):

            def spoil(optimizer, ps, bad=bad):
                ps[4].grad = ps[4].grad + bad

            run = Run(keras_optimizer(name, clipnorm=0.3), device, captured, before=spoil, steps=2)
            found.append([p.detach().numpy() for p in run.ps])
        assert np.isnan(found[1][4]).all()
        for i, (a, b) in enumerate(zip(*found, strict=True)):
            if i != 4:
                np.testing.assert_array_equal(a, b)


# Launches


def launches(name, count, captured, **settings):
    """Kernels of a step of so many parameters."""
    ps = [gt.ones(3 + i % 5, device="cuda") for i in range(count)]
    for p in ps:
        p.requires_grad = True
    optimizer = keras_optimizer(name, **settings)(ps)

    def step():
        optimizer.zero_grad()
        gradient_parts(ps).backward()
        optimizer.step()

    run = gt.capture(step, device="cuda") if captured else step
    for _ in range(4):
        standin.counters.reset()
        run()
    assert not captured or run.reason is None
    return sum(standin.counters.kernels.values())


# Adam and SGD count their steps in their kernels where there is nothing beside the rule: an average
# of the parameters is.
@FORWARD
@pytest.mark.standin
@pytest.mark.parametrize("count", [2, 30])
@pytest.mark.parametrize("name", ["Adam", "SGD", "RMSprop", "Nadam"])
def test_clipping_costs_the_launch_of_the_norms_however_many_parameters_there_are(
    cupy, name, count
):
    plain = launches(name, count, True, use_ema=name in ("Adam", "SGD"))
    for kind in ("all", "each"):
        settings = KINDS[kind] | {"use_ema": name in ("Adam", "SGD")}
        assert launches(name, count, True, **settings) == plain + 1
    if name == "RMSprop":  # where it is part of the rule's kernel
        assert launches(name, count, True, **KINDS["value"]) == plain


@FORWARD
@pytest.mark.standin
@pytest.mark.parametrize("name", ["Adam", "RMSprop"])
def test_eager_clipping_by_each_norm_costs_as_much_as_by_that_of_all(cupy, name):
    for count in (2, 30):
        each, together = (launches(name, count, False, **KINDS[k]) for k in ("each", "all"))
        assert each == together == launches(name, count, False, loss_scale_factor=1.0) + 1


# What is not fused


def clipped_by(call, count=1):
    """Bits of gradients and of what is computed of them, eagerly and captured."""
    found = []
    for captured in (False, True):
        g = gt.tensor(np.linspace(-2, 2, count), dtype="f4", device="cuda")
        out = gt.zeros(count, dtype="f4", device="cuda")

        def step(g=g, out=out):
            call(g.array)
            out.array[...] = g.array * 2 + 1

        run = gt.capture(step, device="cuda") if captured else step
        for _ in range(4):
            run()
        found.append((g.numpy().tobytes(), out.numpy().tobytes()))
    assert found[0] == found[1]
    return np.frombuffer(found[0][0], "f4")


@FORWARD
def test_norms_that_are_computed_beside_the_gradients_are_read_from_memory(cupy):
    """Of as many parameters as there are elements, or of what is added up in the same kernel."""
    table = {n: gt.asarray(segments_of([1] * n, cupy.zeros(n, "f"))) for n in (1, 5)}
    twos = {n: gt.full(n, 2.0, device="cuda") for n in (1, 5)}

    def each(g):
        segments = table[g.size].array
        norms = kernels.squared_norm.raw(g, segments=segments)
        kernels.clip_norm.raw(g, norms * 4, most=1.4, segments=segments)

    def own(g):
        wide = g.astype(np.float64)
        kernels.clip_norm.raw(g, backend.namespace(g).sum(wide * wide), most=0.7)

    def of_others(g):
        wide = twos[g.size].array.astype(np.float64)
        kernels.clip_norm.raw(g, backend.namespace(g).sum(wide * wide), most=0.5)

    for count, kept in ((1, [2]), (5, [2, 1, 0, 1, 2])):
        kept = np.array(kept)
        for found, expected in (
            (clipped_by(each, count), np.where(kept, 0.7 * kept / np.maximum(1, kept), 0)),
            (clipped_by(own, count), 0.7 * kept / np.linalg.norm(kept)),
            (clipped_by(of_others, count), kept * (0.25 / count**0.5) ** 4),
        ):
            np.testing.assert_allclose(np.abs(found), expected, rtol=1e-5)


@FORWARD
def test_an_explanation_counts_the_norms_that_a_generated_kernel_reads(cupy):
    g = gt.ones(30, device="cuda")
    table = gt.asarray(segments_of([10, 20], g.array))

    def step():
        norms = kernels.squared_norm.raw(g.array, segments=table.array)
        kernels.clip_norm.raw(g.array, norms, most=0.7, segments=table.array)

    _, part = gt.explain(gt.capture(step, device="cuda"))().parts
    assert (part.name, part.kind) == ("map_clip_norm", "generated")
    assert (part.read, part.written) == (30 * 4 + 2 * 8 + 6 * 8, 30 * 4)


@FORWARD
def test_a_kernel_of_the_users_by_the_same_name_is_its_own(cupy):
    def clip_norm(xp, x, squared, *, most):
        x[...] = x * most + squared

    mine = gt.kernel(writes=("x",))(clip_norm)
    np.testing.assert_array_equal(
        clipped_by(lambda g: mine.raw(g, np.float32(1), most=0.5), 2), [1.75, 2.0 + 0.0]
    )
