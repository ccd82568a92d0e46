"""Parameters belong to themselves: whoever optimizes them, and however often."""

import copy
import io
import pickle

import numpy as np
import pytest

import gputensor as gt
from gputensor import optim

RULES = {
    "SGD": lambda p: optim.SGD(p, 0.1, momentum=0.9),
    "Adam": lambda p: optim.Adam(p, 0.1),
    "AdamW": lambda p: optim.AdamW(p, 0.1),
    "RMSprop": lambda p: optim.RMSprop(p, 0.1, momentum=0.5, centered=True),
    "Adagrad": lambda p: optim.Adagrad(p, 0.1),
    "Adadelta": lambda p: optim.Adadelta(p, 0.1),
    "NAdam": lambda p: optim.NAdam(p, 0.1),
    "Lion": lambda p: optim.Lion(p, 0.1),
    "Muon": lambda p: optim.Muon(p, 0.1),
    "Adamax": lambda p: optim.Adamax(p, 0.1),
    "RAdam": lambda p: optim.RAdam(p, 0.1),
    "Rprop": lambda p: optim.Rprop(p, 0.1),
    "ASGD": lambda p: optim.ASGD(p, 0.1, t0=2),
    "SGD dampened": lambda p: optim.SGD(p, 0.1, 0.9, dampening=0.5, maximize=True),
    "Adam of the largest": lambda p: optim.Adam(p, 0.1, (0.5, 0.5), amsgrad=True, maximize=True),
}
# Those of PyTorch's that may be made of a rate alone, and take a decay.
PYTORCHS = sorted(
    name for name in RULES if name not in ("Lion", "Muon", "Rprop") and " " not in name
)


def leaf(*shape, seed=0):
    data = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return gt.tensor(data, requires_grad=True)


def train(optimizer, parameters, steps=1):
    for _ in range(steps):
        optimizer.zero_grad()
        gt.add(*((p * p).sum() for p in parameters)).backward()
        optimizer.step()


def values(*parameters):
    return [p.detach().numpy().copy() for p in parameters]


def test_two_optimizers_of_one_parameter_both_move_it():
    w = gt.tensor([1.0], requires_grad=True)
    a, b = optim.SGD([w], lr=1.0), optim.SGD([w], lr=1.0)
    w.sum().backward()
    a.step()
    assert w.tolist() == [0.0]
    b.step()
    assert w.tolist() == [-1.0]


def test_a_parameter_keeps_its_leaf_its_gradient_and_its_memory():
    w = leaf(3)
    seen = w.detach()
    (w * 2).sum().backward()
    node, gradient = w._node, w.grad.tolist()
    optimizer = optim.SGD([w], lr=1.0)
    assert w._node is node
    assert w.grad.tolist() == gradient
    optimizer.step()
    np.testing.assert_array_equal(seen.numpy(), w.detach().numpy())


@pytest.mark.cpu
def test_an_array_around_a_parameter_sees_its_steps():
    data = np.ones((2, 3), np.float32)
    w = gt.asarray(data)
    w.requires_grad = True
    optimizer = optim.SGD([w], lr=1.0)
    w.sum().backward()
    optimizer.step()
    assert data.tolist() == w.tolist() == [[0.0] * 3] * 2


@pytest.mark.parametrize("kind", RULES)
def test_a_frozen_parameter_stays_and_a_thawed_one_moves(kind):
    p, q = leaf(2, 3), leaf(3, 2, seed=1)
    optimizer = RULES[kind]([p, q])
    train(optimizer, (p, q))
    p.requires_grad = False
    before = values(p, q)
    q_alone = q.detach().numpy().copy()
    optimizer.step()  # by the gradients of before
    assert (p.detach().numpy() == before[0]).all()
    assert (q.detach().numpy() != q_alone).any()
    p.requires_grad = True
    train(optimizer, (p, q))
    assert (p.detach().numpy() != before[0]).any()


def test_a_frozen_parameter_may_be_given():
    p, q = leaf(2), gt.ones(2)
    p.requires_grad = False
    optimizer = optim.Adam([p, q], 0.1)
    optimizer.step()
    for t in (p, q):
        t.requires_grad = True
    train(optimizer, (p, q))
    assert q.tolist() != [1, 1]


def test_groups_have_settings_of_their_own():
    p, q, r = leaf(2), leaf(2), leaf(2)
    optimizer = optim.SGD([{"params": [p]}, {"params": q, "lr": 0.25}], lr=1.0)
    optimizer.add_param_group({"params": [r], "momentum": 0.5})
    for t in (p, q, r):
        t.sum().backward()
    before = values(p, q, r)
    optimizer.step()
    moved = [b - a for b, a in zip(before, values(p, q, r), strict=True)]
    np.testing.assert_allclose(moved, [[1, 1], [0.25, 0.25], [1, 1]], rtol=1e-6)
    for group in optimizer.param_groups:
        group["lr"] *= 0.5
    assert [g["lr"] for g in optimizer.param_groups] == [0.5, 0.125, 0.5]
    assert optimizer.lr == 0.5
    optimizer.step()
    moved = [b - a for b, a in zip(before, values(p, q, r), strict=True)]
    np.testing.assert_allclose(moved, [[1.5] * 2, [0.375] * 2, [1.75] * 2], rtol=1e-6)


def test_settings_that_do_not_exist_are_named():
    optimizer = optim.SGD([leaf(2)], 0.1)
    with pytest.raises(AttributeError, match="the name is lr"):
        optimizer.learning_rate = 0.1
    with pytest.raises(AttributeError, match="the name is momentum"):
        optimizer.param_groups[0]["momentun"] = 0.1
    with pytest.raises(AttributeError, match="the name is lr"):
        optimizer.learning_rate  # noqa: B018
    with pytest.raises(ValueError, match="momentum is 2"):
        optimizer.momentum = 2
    with pytest.raises(TypeError, match="no setting learning_rate; the name is lr"):
        optimizer.add_param_group({"params": leaf(2), "learning_rate": 1})


@pytest.mark.parametrize("kind", RULES)
@pytest.mark.parametrize("again", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_of_a_module_and_its_optimizer_go_on_together(kind, again):
    module = gt.nn.Sequential(gt.nn.Dense(2, 3, bias=False), gt.nn.Dense(3, 2, bias=False))
    optimizer = RULES[kind](module.parameters())
    train(optimizer, module.parameters(), 3)
    other, steps = again((module, optimizer))
    train(optimizer, module.parameters(), 3)
    train(steps, other.parameters(), 3)
    for p, q in zip(module.parameters(), other.parameters(), strict=True):
        assert p is not q
        np.testing.assert_array_equal(p.detach().numpy(), q.detach().numpy())


@pytest.mark.parametrize("kind", RULES)
def test_state_goes_through_a_file_of_numpys(kind):
    found = []
    for part in (False, True):
        p, q = leaf(2, 3), leaf(3, 2, seed=1)
        optimizer = RULES[kind]([p, q])
        train(optimizer, (p, q), 3)
        if part:
            p.requires_grad = False
            file = io.BytesIO()
            np.savez(file, **optimizer.state_dict())
            file.seek(0)
            values_then = values(p, q)
            p, q = (gt.tensor(v, requires_grad=True) for v in values_then)
            optimizer = RULES[kind]([p, q])
            optimizer.load_state_dict(np.load(file))
        train(optimizer, (p, q), 3)
        found.append(values(p, q))
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)


def test_random_numbers_go_on_where_the_state_was_taken():
    optimizer = optim.SGD([leaf(2)], 0.1)
    state = optimizer.state_dict()
    first = gt.random.default_generator.uniform(shape=3).tolist()
    optimizer.load_state_dict(state)
    assert gt.random.default_generator.uniform(shape=3).tolist() == first


def test_a_state_that_does_not_fit_changes_nothing():
    optimizer = optim.Adam([leaf(40)], 0.1)
    train(optimizer, [*optimizer.param_groups[0].params, leaf(1)])
    before = optimizer.state_dict()
    bad = before | {"lr": 0.5, "0.square": np.ones(1)}
    with pytest.raises(gt.errors.ShapeError, match=r"0\.square has shape"):
        optimizer.load_state_dict(bad)
    with pytest.raises(KeyError, match=r"lacks 0\.mean"):
        optimizer.load_state_dict({k: v for k, v in bad.items() if k != "0.mean"})
    after = optimizer.state_dict()
    assert all(np.array_equal(before[k], after[k]) for k in before)


def test_a_tied_weight_is_moved_once():
    w = leaf(3, 3)
    optimizer = optim.SGD([w, w, copy.copy(w)], 1.0)
    before = w.detach().numpy().copy()
    w.sum().backward()
    optimizer.step()
    np.testing.assert_allclose(before - w.detach().numpy(), 1, rtol=1e-6)


def test_steps_of_a_captured_function_follow_freezing_and_new_optimizers():
    p, q = leaf(3), leaf(2)
    holder = {"optimizer": optim.Adam([p, q], 0.1)}
    twins = [gt.tensor(v, requires_grad=True) for v in values(p, q)]
    plain = {"optimizer": optim.Adam(twins, 0.1)}

    @gt.capture
    def step():
        train(holder["optimizer"], (p, q))

    for i in range(12):
        if i in (3, 6):
            p.requires_grad = twins[0].requires_grad = i == 6
        if i == 9:
            holder["optimizer"] = optim.SGD([p, q], 0.01)
            plain["optimizer"] = optim.SGD(twins, 0.01)
        step()
        train(plain["optimizer"], twins)
        for a, b in zip((p, q), twins, strict=True):
            np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-5)
    assert step.graphs


@pytest.mark.parametrize("kind", RULES)
def test_a_rule_moves_alike_in_a_captured_function(kind):
    mine = [leaf(3, 2), leaf(2, 2, seed=1)]
    twins = [gt.tensor(v, requires_grad=True) for v in values(*mine)]
    optimizer, plain = RULES[kind](mine), RULES[kind](twins)
    step = gt.capture(lambda: train(optimizer, mine))
    for _ in range(6):
        step()
        train(plain, twins)
    assert step.graphs
    for a, b in zip(values(*mine), values(*twins), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)


@pytest.mark.peers
@pytest.mark.parametrize("name", PYTORCHS)
def test_freezing_groups_and_settings_on_the_way_are_pytorchs(name):
    torch = pytest.importorskip("torch")
    start = [
        np.random.default_rng(i).normal(size=s).astype(np.float32)
        for i, s in enumerate([(3, 2), (2,), (4,)])
    ]
    ours = [gt.tensor(v, requires_grad=True) for v in start]
    theirs = [torch.tensor(v, requires_grad=True) for v in start]
    makers = [(getattr(optim, name), ours), (getattr(torch.optim, name), theirs)]
    runs = [
        make([{"params": ps[:2]}, {"params": ps[2:], "lr": 0.02, "weight_decay": 0.1}], lr=0.01)
        for make, ps in makers
    ]
    for i in range(10):
        for optimizer, ps in zip(runs, (ours, theirs), strict=True):
            optimizer.zero_grad()
            if i in (3, 6):
                ps[0].requires_grad = i == 6
            if i == 4:
                optimizer.param_groups[0]["lr"] = 0.05
            if i == 8:
                optimizer.param_groups[1]["weight_decay"] = 0.5
            loss = sum(((p - 1) ** 2).sum() * (1 + j) for j, p in enumerate(ps))
            loss.backward()
            optimizer.step()
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=2e-5, atol=2e-6)


class Nested(gt.nn.Module):
    def __init__(self):
        self.blocks = [[gt.nn.Dense(2, 2)], {"a": [gt.nn.Dropout(0.5), gt.nn.Dense(2, 1)]}]
        self.scale = gt.ones(1)
        self._seen = gt.zeros(1)
        self.parent = self
        self.register_buffer("passing", gt.zeros(2), persistent=False)

    def forward(self, x, y, *, factor=1.0, training=None):
        (first,), rest = self.blocks
        out = first(x + y)
        for module in rest["a"]:
            out = module(out)
        return out * factor * self.scale


def test_modules_in_nested_containers_are_trained_saved_and_reached_by_eval():
    module = Nested()
    weights = {"blocks.0.0.weight", "blocks.0.0.bias", "blocks.1.a.1.weight", "blocks.1.a.1.bias"}
    assert {n for n, _ in module.named_parameters()} == weights
    assert module.state_dict().keys() == weights | {"scale"}
    module.eval()
    assert not module.blocks[1]["a"][0].training
    x = gt.ones((3, 2))
    np.testing.assert_allclose(
        module(x, x, factor=2.0).detach().numpy(), 2 * module(x, y=x).detach().numpy(), rtol=1e-6
    )


def test_training_is_for_one_call_where_forward_does_not_take_it():
    module = gt.nn.Sequential(gt.nn.Dropout(0.5)).eval()
    x = gt.ones(100)
    assert (module(x, training=True).numpy() == 0).any()
    assert module(x).tolist() == [1] * 100
    assert not module.training
    assert module.train()(x, training=False).tolist() == [1] * 100
    assert module.layers[0].training


def test_a_state_holds_frozen_parameters_and_is_checked_before_anything_changes():
    module, other = Nested(), Nested()
    module.blocks[0][0].weight.requires_grad = False
    state = module.state_dict()
    other.load_state_dict(state)
    assert all((state[k] == v).all() for k, v in other.state_dict().items())
    before = other.state_dict()
    for bad, error in (
        ({**state, "scale": np.zeros(3)}, gt.errors.ShapeError),
        ({k: v for k, v in state.items() if k != "scale"}, KeyError),
        ({**state, "more": np.zeros(3)}, KeyError),
    ):
        changed = {k: v + 1 if v.shape != (3,) else v for k, v in bad.items()}
        with pytest.raises(error):
            other.load_state_dict(changed)
        assert all((before[k] == v).all() for k, v in other.state_dict().items())
    names = other.load_state_dict({"scale": np.full(1, 3.0), "more": 1}, strict=False)
    assert names.unexpected_keys == ["more"]
    assert sorted(names.missing_keys) == sorted(state.keys() - {"scale"})
    assert other.scale.tolist() == [3]


def test_a_generator_of_the_modules_own_is_part_of_the_state():
    module = gt.nn.Dropout(0.5, gt.random.Generator(3))
    module(gt.ones(10))
    state = module.state_dict()
    first = module(gt.ones(10)).tolist()
    module.load_state_dict(state)
    assert module(gt.ones(10)).tolist() == first


def test_a_module_goes_to_another_dtype_and_is_trained_on():
    module = gt.nn.Dense(2, 1)
    optimizer = optim.Adam(module.parameters(), 0.1)
    train(optimizer, module.parameters(), 2)
    weight = module.weight
    assert module.to("float64") is module
    assert module.weight is weight
    assert weight.dtype == gt.float64
    before = values(weight)[0]
    train(optimizer, module.parameters(), 2)
    assert (values(weight)[0] != before).any()
    assert optimizer.state_dict()["0.step"].tolist() == [4]


def test_a_scale_of_losses_stops_at_a_smallest_one_and_says_so():
    p = leaf(2)
    optimizer, scaler = optim.SGD([p], 0.1), optim.GradScaler()
    before = p.detach().numpy().copy()

    def overflow(times):
        for _ in range(times):
            optimizer.zero_grad()
            scaler.scale((p * float("inf")).sum()).backward()
            scaler.step(optimizer)
            scaler.update()

    with pytest.warns(UserWarning, match="no step is done"):
        overflow(200)
    assert 0 < scaler.factor.item() < 1e-6
    np.testing.assert_array_equal(p.detach().numpy(), before)
    optimizer.zero_grad()
    scaler.scale(p.sum()).backward()
    scaler.step(optimizer)
    np.testing.assert_allclose(before - p.detach().numpy(), 0.1, rtol=1e-5)
