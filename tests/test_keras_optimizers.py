"""Optimizers and schedules of the Keras door: settings that take effect; beside Keras itself."""

import copy
import math
import os
import pickle

import numpy as np
import pytest

import gputensor as gt
from gputensor.keras import optimizers

START = [
    np.random.default_rng(i).normal(size=s).astype(np.float32)
    for i, s in enumerate([(4, 3), (3,), (3, 5)])
]
SETTINGS = {
    "SGD": [{}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}],
    "RMSprop": [{}, {"momentum": 0.8}, {"centered": True, "epsilon": 0.1, "rho": 0.5}],
    "Adam": [{}, {"epsilon": 0.1}, {"amsgrad": True}, {"weight_decay": 0.1, "beta_1": 0.5}],
    "AdamW": [{}, {"weight_decay": 0.2, "beta_2": 0.5}],
    "Adamax": [{}, {"epsilon": 0.1, "beta_2": 0.5}],
    "Nadam": [{}, {"epsilon": 0.1, "beta_1": 0.5}],
    "Adagrad": [{}, {"initial_accumulator_value": 0.5, "epsilon": 0.1}],
    "Adadelta": [{}, {"rho": 0.5, "epsilon": 0.01}],
    "Lion": [{}, {"weight_decay": 0.1, "beta_1": 0.5}],
    "Muon": [{}, {"nesterov": False, "rms_rate": None, "momentum": 0.5}],
    "Ftrl": [
        {},
        {"learning_rate_power": -0.7, "l1_regularization_strength": 0.1, "beta": 0.1},
        {"l2_regularization_strength": 0.1, "l2_shrinkage_regularization_strength": 0.2},
    ],
    "Lamb": [{}, {"weight_decay": 0.1, "beta_1": 0.5}],
    "Adafactor": [{}, {"beta_2_decay": -0.5, "clip_threshold": 0.5, "epsilon_2": 0.1}],
}
COMMON = [
    {"clipnorm": 0.5},
    {"clipvalue": 0.1},
    {"global_clipnorm": 0.5},
    {"use_ema": True, "ema_momentum": 0.5},
    {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 3},
    {"gradient_accumulation_steps": 3},
    {"loss_scale_factor": 4.0},
]
CASES = [(name, s) for name, several in SETTINGS.items() for s in several]
CASES += [(name, s) for name in ("SGD", "Adam", "RMSprop") for s in COMMON]
CASES += [(name, s) for name in ("Adagrad", "Adamax", "Lion", "Nadam") for s in COMMON[:3]]
SCHEDULES = {
    "ExponentialDecay": [(0.1, 3, 0.5), (0.1, 3, 0.5, True)],
    "InverseTimeDecay": [(0.1, 3, 0.5), (0.1, 3, 0.5, True)],
    "PiecewiseConstantDecay": [([2, 5], [0.1, 0.05, 0.01])],
    "PolynomialDecay": [(0.1, 6, 0.01, 2.0), (0.1, 3, 0.01, 0.5, True)],
    "CosineDecay": [(0.1, 6, 0.1), (0.0, 6, 0.1, "x", 0.2, 3)],
    "CosineDecayRestarts": [(0.1, 3), (0.1, 2, 1.0, 0.5, 0.1)],
}


def gradient(p, i):
    return (p - 1) * (1 + 0.3 * math.sin(i))


def parameters():
    return [gt.tensor(v, requires_grad=True) for v in START]


def steps(optimizer, ps, count, first=0, change=None):
    for i in range(first, first + count):
        if change is not None:
            change(optimizer, i)
        optimizer.apply([gradient(p.detach(), i) for p in ps], ps)
    return [p.detach().numpy().copy() for p in ps]


def real_keras():
    os.environ.setdefault("KERAS_BACKEND", "torch")
    pytest.importorskip("torch")
    return pytest.importorskip("keras")


def reference(keras, optimizer, count=10, change=None):
    variables = [keras.Variable(v) for v in START]
    for i in range(count):
        if change is not None:
            change(optimizer, i)
        optimizer.apply([gradient(v.value.detach(), i) for v in variables], variables)
    return [keras.ops.convert_to_numpy(v) for v in variables]


def assert_close(found, expected):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=5e-5, atol=5e-6)


@pytest.mark.peers
@pytest.mark.parametrize(("name", "settings"), CASES)
def test_ten_steps_are_keras(name, settings):
    keras = real_keras()
    theirs = getattr(keras.optimizers, name)(learning_rate=0.05, **settings)
    ours = getattr(optimizers, name)(learning_rate=0.05, **settings)
    assert_close(steps(ours, parameters(), 10), reference(keras, theirs))


def changes(optimizer, i):
    if i == 3:
        optimizer.learning_rate = 0.01
    if i == 5:
        for name, value in (("beta_1", 0.5), ("epsilon", 0.01), ("clipvalue", 0.2)):
            if hasattr(optimizer, name):
                setattr(optimizer, name, value)
    if i == 6 and getattr(optimizer, "momentum", 0):
        optimizer.momentum = 0.3


@pytest.mark.peers
@pytest.mark.parametrize(("name", "settings"), CASES[:24])
def test_settings_changed_on_the_way_are_keras(name, settings):
    keras = real_keras()
    theirs = getattr(keras.optimizers, name)(learning_rate=0.05, **settings)
    ours = getattr(optimizers, name)(learning_rate=0.05, **settings)
    found = steps(ours, parameters(), 10, change=changes)
    assert_close(found, reference(keras, theirs, change=changes))


@pytest.mark.peers
def test_a_decay_of_older_keras_is_left_out_with_a_warning():
    for library in (real_keras().optimizers, optimizers):
        with pytest.warns(UserWarning, match="decay"):
            optimizer = library.RMSprop(0.1, decay=0.5)
        assert float(optimizer.learning_rate) == pytest.approx(0.1)
        assert optimizer.get_config()["weight_decay"] is None


@pytest.mark.peers
@pytest.mark.parametrize("name", SETTINGS)
def test_defaults_are_keras(name):
    theirs = getattr(real_keras().optimizers, name)().get_config()
    ours = getattr(optimizers, name)().get_config()
    for key, value in ours.items():
        if key != "name":
            assert value == pytest.approx(theirs[key]), key


@pytest.mark.peers
@pytest.mark.parametrize(
    ("name", "args"), [(n, a) for n, several in SCHEDULES.items() for a in several]
)
def test_schedules_are_keras(name, args):
    keras = real_keras()
    theirs = getattr(keras.optimizers.schedules, name)(*args)
    ours = getattr(optimizers.schedules, name)(*args)
    for i in range(12):
        expected = float(keras.ops.convert_to_numpy(theirs(i)))
        assert ours(gt.tensor(float(i), dtype=gt.float64)).item() == pytest.approx(expected, 1e-5)
    adams = optimizers.Adam(ours), keras.optimizers.Adam(theirs)
    assert_close(steps(adams[0], parameters(), 10), reference(keras, adams[1]))


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_counts_from_the_next_step_on_captured_or_not(name):
    found = []
    for captured in (False, True):
        ps = parameters()
        optimizer = getattr(optimizers, name)(0.05)
        engine = optimizer.bind(ps)

        def step(ps=ps, engine=engine):
            engine.zero_grad()
            gt.add(*(((p - 1) ** 2).sum() for p in ps[::2])).backward()
            engine.step()

        run = gt.capture(step) if captured else step
        for i in range(12):
            changes(optimizer, i)
            if i == 8:
                optimizer.learning_rate = 0.0 if name != "Ftrl" else 0.01  # which divides by it
                still = [p.detach().numpy().copy() for p in ps]
            run()
        found.append([p.detach().numpy() for p in ps])
        moves_on = getattr(optimizer, "momentum", 0) and name not in ("SGD", "Muon")
        if not moves_on and name != "Ftrl":
            assert all((a == b).all() for a, b in zip(found[-1][2:], still[2:], strict=True))
        assert optimizer.iterations == 12
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5 if name == "Muon" else 0)


def test_attributes_that_do_not_exist_are_named():
    adam = optimizers.Adam()
    with pytest.raises(AttributeError, match="the name is beta_1"):
        adam.beta1 = 0.5
    with pytest.raises(AttributeError, match="the name is learning_rate"):
        adam.learningrate = 0.5
    with pytest.raises(AttributeError, match="has no attribute momentum"):
        adam.momentum = 0.5
    with pytest.raises(TypeError, match="'beta1'; the name is beta_1"):
        optimizers.Adam(beta1=0.5)
    with pytest.raises(ValueError, match="only one of clipnorm and clipvalue"):
        optimizers.Adam(clipnorm=1, clipvalue=1)


def test_settings_are_numbers_that_may_be_assigned_to():
    sgd = optimizers.SGD(0.5, momentum=0.25)
    assert sgd.learning_rate == sgd.lr == 0.5
    assert sgd.learning_rate.numpy() == np.float32(0.5)
    sgd.learning_rate.assign(0.125)
    sgd.momentum.assign(0.75)
    assert (sgd.lr, sgd.momentum) == (0.125, 0.75)
    assert optimizers.SGD(optimizers.schedules.ExponentialDecay(0.5, 1, 0.5)).learning_rate == 0.5


def test_iterations_may_be_set():
    ps = parameters()
    optimizer = optimizers.Adam(optimizers.schedules.PiecewiseConstantDecay([5], [0.5, 0.0]))
    optimizer.iterations = 3
    steps(optimizer, ps, 2)
    assert optimizer.iterations == 5
    optimizer.iterations = 100
    assert optimizer.learning_rate == 0
    before = [p.detach().numpy().copy() for p in ps]
    assert_close(steps(optimizer, ps, 2), before)


@pytest.mark.parametrize("again", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_go_on_with_parameters_of_their_own(again):
    ps = parameters()
    optimizer = optimizers.Nadam(0.05)
    steps(optimizer, ps, 3)
    qs, other = again((ps, optimizer))
    assert_close(steps(other, qs, 3, 3), steps(optimizer, ps, 3, 3))


def test_configurations_give_the_same_optimizer():
    schedule = optimizers.schedules.CosineDecay(0.1, 5)
    first = optimizers.Lion(schedule, beta_1=0.5, clipnorm=1.0)
    second = optimizers.Lion.from_config(
        first.get_config()
        | {"learning_rate": {"class_name": "CosineDecay", "config": schedule.get_config()}}
    )
    assert_close(steps(first, parameters(), 5), steps(second, parameters(), 5))


def test_a_schedule_of_the_users_may_give_plain_numbers():
    class Halving(optimizers.schedules.LearningRateSchedule):
        def __call__(self, step):
            return 0.5 ** float(step)

    sgd = optimizers.SGD(Halving())
    p = gt.tensor([4.0], requires_grad=True)
    for _ in range(3):
        sgd.apply([gt.ones(1)], [p])
    assert p.item() == 4 - 1 - 0.5 - 0.25
