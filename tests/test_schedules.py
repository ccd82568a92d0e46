"""Learning rates on the device: numbers, schedules, and what steps make of them."""

import math

import numpy as np
import pytest

import gputensor as gt
from gputensor import keras, standin
from gputensor.kernels import adam_step, sgd_step
from gputensor.optim import schedules

RNG = np.random.default_rng(41)


def restarted(step, length=4):
    while step >= length:
        step, length = step - length, 2 * length
    return step / length


FORMULAS = {
    "exponential": (
        schedules.exponential_decay(0.1, 10, 0.5),
        lambda t: 0.1 * 0.5 ** (t / 10),
    ),
    "staircase": (
        schedules.exponential_decay(0.1, 10, 0.5, staircase=True),
        lambda t: 0.1 * 0.5 ** (t // 10),
    ),
    "cosine": (
        schedules.cosine_decay(0.1, 20, final=0.01),
        lambda t: 0.01 + 0.09 * (1 + math.cos(math.pi * min(t / 20, 1))) / 2,
    ),
    "piecewise": (
        schedules.piecewise_constant([3, 7], [0.3, 0.2, 0.1]),
        lambda t: 0.3 if t <= 3 else 0.2 if t <= 7 else 0.1,
    ),
    "warmup": (
        schedules.warmup(5, schedules.exponential_decay(0.1, 10, 0.5)),
        lambda t: 0.1 * (t + 1) / 5 if t < 5 else 0.1 * 0.5 ** ((t - 5) / 10),
    ),
    "polynomial": (
        schedules.polynomial_decay(0.1, 20, final=0.01, degree=2.0),
        lambda t: 0.01 + 0.09 * (1 - min(t / 20, 1)) ** 2,
    ),
    "restarts": (
        schedules.cosine_restarts(0.1, 4, factor=2.0),
        lambda t: 0.05 * (1 + math.cos(math.pi * restarted(t))),
    ),
    "restarts of one length": (
        schedules.cosine_restarts(0.1, 5, final=0.01),
        lambda t: 0.01 + 0.045 * (1 + math.cos(math.pi * (t % 5) / 5)),
    ),
    "warmup of a number": (schedules.warmup(4, 0.2), lambda t: 0.2 * min((t + 1) / 4, 1)),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_formulas(name):
    schedule, formula = FORMULAS[name]
    for t in (0, 1, 3, 4, 5, 7, 8, 19, 20, 33):
        step = gt.tensor(float(t), dtype=gt.float64)
        rate = schedule(step)
        assert (rate.shape, rate.dtype, rate.device) == ((), gt.float64, step.device)
        assert rate.item() == pytest.approx(formula(t), rel=1e-12)


def trained(make, device, rates=None):
    p = gt.tensor([1.0, -2.0, 3.0], device=device, requires_grad=True)
    optimizer = make([p])
    for t in range(12):
        if rates is not None:
            optimizer.lr = rates(t)
        optimizer.zero_grad()
        (p * p).sum().backward()
        optimizer.step()
    return p.detach().numpy()


@pytest.mark.parametrize("kernels", ["auto", "reference"])
@pytest.mark.parametrize("kind", [gt.optim.SGD, gt.optim.Adam, gt.optim.AdamW])
def test_a_schedule_is_a_rate_that_is_set_before_each_step(cupy, kind, kernels, monkeypatch):
    monkeypatch.setenv("GPUTENSOR_KERNELS", kernels)
    schedule, formula = FORMULAS["warmup"]
    for device in ("cpu", "cuda"):
        found = trained(lambda p: kind(p, schedule), device)
        expected = trained(lambda p: kind(p, 1.0), device, formula)
        np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.peers
def test_one_cycle_is_pytorchs():
    torch = pytest.importorskip("torch")
    p = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([p], 0.1)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=30, pct_start=0.4)
    ours = schedules.one_cycle(0.1, 30, rise=0.4)
    for t in range(30):
        rate = ours(gt.tensor(float(t), dtype=gt.float64)).item()
        assert rate == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        optimizer.step()
        if t < 29:
            theirs.step()


def test_a_schedule_needs_nothing_from_the_host(cupy):
    p = gt.ones(3, device="cuda")
    p.requires_grad = True
    optimizer = gt.optim.SGD([p], schedules.cosine_decay(0.1, 10), momentum=0.9)
    (p * p).sum().backward()
    optimizer.step()
    standin.counters.reset()
    optimizer.step()
    optimizer.lr = 0.5
    optimizer.step()
    counters = standin.counters
    assert (counters.synchronizations, counters.transfers_to_device) == (0, 0)


@pytest.mark.parametrize("kernels", ["auto", "reference"])
def test_kernels_take_the_rate_as_a_number_or_an_array(cupy, kernels, monkeypatch):
    monkeypatch.setenv("GPUTENSOR_KERNELS", kernels)
    options = {"beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "weight_decay": 0.1, "decoupled": True}
    start = RNG.normal(size=(5, 100)).astype(np.float32) ** 2
    for place in (np.array, cupy.array):
        found = []
        for rate in (0.25, place(np.float64(0.25))):
            p, g, m, v, u = (place(row) for row in start)
            count, ticket = place(np.zeros(1, np.int64)), place(np.zeros(1, np.uint32))
            adam_step.raw(p, g, m, v, count, ticket, lr=rate, **options)
            sgd_step.raw(p, g, u, lr=rate, momentum=0.9)
            found.append(gt.asarray(p).numpy())
        np.testing.assert_allclose(found[0], found[1], rtol=1e-5, atol=1e-6)


def test_state_of_an_optimizer_with_a_schedule():
    schedule, _ = FORMULAS["exponential"]
    p, q = (gt.tensor([1.0, 2.0], requires_grad=True) for _ in range(2))
    first, second = gt.optim.SGD([p], schedule), gt.optim.SGD([q], schedule)
    for _ in range(3):
        (p * 1.0).sum().backward()
        first.step()
    state = first.state_dict()
    assert "lr" not in state
    assert state["0.step"].tolist() == [3]
    second.load_state_dict(state)
    with pytest.raises(KeyError, match="must hold"):
        second.load_state_dict(state | {"lr": 0.1})


def test_keras_takes_schedules():
    model = keras.Sequential([keras.layers.Dense(1, input_shape=(2,))])
    model.compile(keras.optimizers.SGD(schedules.piecewise_constant([0], [0.1, 0.0])), "mse")
    x, y = RNG.normal(size=(64, 2)).astype(np.float32), RNG.normal(size=(64, 1)).astype(np.float32)
    before = model.state_dict()
    model.fit(x, y, batch_size=64, epochs=1, verbose=0)
    first = model.state_dict()
    assert any((first[k] != before[k]).any() for k in first)
    model.fit(x, y, batch_size=64, epochs=2, verbose=0)
    second = model.state_dict()
    assert all((second[k] == first[k]).all() for k in first)  # the rate is 0 by now


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: schedules.cosine_decay(0.1, 0), ValueError, "steps is 0"),
        (lambda: schedules.exponential_decay(-1, 1, 1), ValueError, "lr is -1"),
        (lambda: schedules.piecewise_constant([2, 1], [1, 2, 3]), ValueError, "must ascend"),
        (lambda: schedules.piecewise_constant([2], [1]), ValueError, "1 boundaries, .* 1 values"),
        (lambda: schedules.warmup(-1, 0.1), ValueError, "steps is -1"),
        (lambda: trained(lambda p: gt.optim.SGD(p, lambda t: "a"), "cpu"), TypeError, "returned"),
        (lambda: trained(lambda p: gt.optim.SGD(p, "fast"), "cpu"), TypeError, "lr must be a num"),
        (lambda: keras.optimizers.Adam(lambda t: None), TypeError, "learning_rate: a schedule"),
    ],
)
def test_bad_schedules(call, error, message):
    with pytest.raises(error, match=message):
        call()
