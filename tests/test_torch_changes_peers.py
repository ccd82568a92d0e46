"""Changes in place, and what is refused, in the door with PyTorch's names beside PyTorch."""

import operator

import numpy as np
import pytest

import gputensor.torch as ours

pytestmark = [pytest.mark.peers, pytest.mark.cpu]
theirs = pytest.importorskip("torch")

RNG = np.random.default_rng(7)
A = RNG.standard_normal((3, 4)).astype(np.float32)
B = RNG.standard_normal((3, 4)).astype(np.float32)
ROW = RNG.standard_normal(4).astype(np.float32)
IN_PLACE = {
    "add_": lambda x, y: x.add_(y).add_(1).add_(y, alpha=2),
    "sub_": lambda x, y: x.sub_(y),
    "mul_": lambda x, y: x.mul_(2).mul_(y),
    "div_": lambda x, y: x.div_(2),
    "operators": lambda x, y: _in_place(x, y),
    "zero_": lambda x, y: x.zero_(),
    "fill_": lambda x, y: x.fill_(2.5),
    "copy_": lambda x, y: x.copy_(y),
    "copy_ of integers": lambda x, y: x.copy_(y.long()),
    "clamp_": lambda x, y: x.clamp_(-0.5, 0.5),
    "relu_": lambda x, y: x.relu_(),
    "exp_": lambda x, y: x.exp_(),
    "pow_": lambda x, y: x.pow_(2),
    "neg_": lambda x, y: x.neg_().abs_().sqrt_(),
    "masked_fill_": lambda x, y: x.masked_fill_(y > 0, 1.0),
    "setitem": lambda x, y: _set(x, y),
    "addcmul_": lambda x, y: x.addcmul_(y, y, value=0.5),
    "lerp_": lambda x, y: x.lerp_(y, 0.25),
    "sigmoid_": lambda x, y: x.sigmoid_(),
    "tanh_": lambda x, y: x.tanh_(),
    "fill_diagonal_": lambda x, y: x.fill_diagonal_(7.0),
    "index_fill_": lambda x, y: x.index_fill_(0, y.long()[0].abs().clamp(max=1), 1.0),
    "view": lambda x, y: (x.view(-1).add_(1), x)[1],
    "row": lambda x, y: (x[0].zero_(), x[:, 1].fill_(3), x)[2],
}


def _in_place(x, y):
    x += y
    x -= 1
    x *= 2
    x /= 3
    x **= 2
    return x


def _set(x, y):
    x[0] = 1
    x[:, 1] = y[:, 1]
    x[1, 2] = 5.5
    x[y > 0] = 0
    return x


@pytest.mark.parametrize("name", IN_PLACE)
@pytest.mark.parametrize("recorded", [False, True])
def test_a_change_in_place_is_pytorchs(name, recorded):
    seen = []
    for library in (theirs, ours):
        x, y = library.tensor(A), library.tensor(B)
        x.requires_grad_(recorded)
        base = x * 1.5 + 0
        result = IN_PLACE[name](base, y)
        assert result is base
        if recorded and result.requires_grad:
            (result * library.tensor(ROW)).sum().backward()
        seen.append((result.detach().numpy(), None if x.grad is None else x.grad.numpy()))
    (wanted, wanted_grad), (found, found_grad) = seen
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    if wanted_grad is not None and found_grad is not None:
        np.testing.assert_allclose(found_grad, wanted_grad, rtol=1e-4, atol=1e-5)


ERRORS = {
    "a leaf is changed in place": lambda t: t.ones(2, requires_grad=True).add_(1),
    "a leaf's element is set": lambda t: t.ones(2, requires_grad=True).__setitem__(0, 1.0),
    "numpy of what requires a gradient": lambda t: t.ones(2, requires_grad=True).numpy(),
    "backward of several elements": lambda t: (t.ones(2, requires_grad=True) * 2).backward(),
    "backward without a tape": lambda t: t.ones(()).backward(),
    "backward twice": lambda t: _twice(t),
    "a mean of integers": lambda t: t.tensor([1, 2]).mean(),
    "a gradient of integers": lambda t: t.tensor([1, 2], requires_grad=True),
    "shapes that do not fit": lambda t: t.ones(2) + t.ones(3),
    "a product that does not fit": lambda t: t.ones(2, 3) @ t.ones(2, 3),
    "mm of a vector": lambda t: t.mm(t.ones(2, 3), t.ones(3)),
    "view of another size": lambda t: t.ones(2, 3).view(4),
    "item of several": lambda t: t.ones(2).item(),
    "truth of several": lambda t: bool(t.ones(2)),
    "integers in place by floats": lambda t: t.tensor([1, 2]).add_(0.5),
    "an index too large": lambda t: t.ones(2)[2],
    "a dim too large": lambda t: t.ones(2).sum(dim=1),
    "squeeze of no dim": lambda t: t.ones(2).squeeze(2),
    "cat of other shapes": lambda t: t.cat([t.ones(2, 3), t.ones(2, 2)]),
    "len of a number": lambda t: len(t.tensor(1.0)),
    "iteration of a number": lambda t: list(t.tensor(1.0)),
    "negative powers of integers": lambda t: t.tensor([2]) ** -1,
    "an unknown keyword": lambda t: t.zeros(2, shape=3),
    "clamp without bounds": lambda t: t.ones(2).clamp(),
    "expand of a long axis": lambda t: t.ones(2).expand(3),
    "logical not of a sign": lambda t: t.tensor([1.0]) & t.tensor([1.0]),
}


def _twice(t):
    y = (t.ones(2, requires_grad=True) ** 2).sum()
    y.backward()
    y.backward()


@pytest.mark.parametrize("name", ERRORS)
def test_what_pytorch_refuses_is_refused(name):
    for library in (theirs, ours):
        with pytest.raises((RuntimeError, TypeError, ValueError, IndexError)):
            ERRORS[name](library)


@pytest.mark.parametrize("symbol", ["iadd", "isub", "imul", "itruediv"])
def test_a_sum_beside_a_normalized_tensor_is_pytorchs(symbol):
    x = np.random.default_rng(0).normal(size=(4, 3, 5, 5)).astype(np.float32)
    seen = []
    for t in (theirs, ours):
        t.manual_seed(0)
        layer, inputs = t.nn.BatchNorm2d(3), t.tensor(x, requires_grad=True)
        out = layer(inputs)
        same = out
        out = getattr(operator, symbol)(out, inputs * 2 + 9)
        assert out is same
        (out**2).sum().backward()
        seen.append((out.detach().numpy(), inputs.grad.numpy(), layer.weight.grad.numpy()))
    for mine, true in zip(seen[1], seen[0], strict=True):
        np.testing.assert_allclose(mine, true, rtol=2e-3, atol=2e-3)


def test_a_part_is_changed_with_the_whole_and_a_leaf_is_not_changed_at_all():
    for t in (theirs, ours):
        x = t.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
        whole = x * 2
        row = whole[0]
        row += 1
        assert whole.tolist() == [[3.0, 5.0], [6.0, 8.0]]
        with pytest.raises(RuntimeError):
            x += 1
