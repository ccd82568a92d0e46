"""Gradients across the border: a gputensor function in a PyTorch model, and the reverse.

Arrays cross by DLPack, in the same memory. ``pip install torch`` first.
"""

import numpy as np
import torch

import gputensor as gt


def ours(t):
    """A tensor of gputensor in the memory of one of PyTorch's."""
    return gt.from_dlpack(t.detach().contiguous())


def theirs(t):
    """A tensor of PyTorch in the memory of one of gputensor's."""
    return torch.from_dlpack(gt.asarray(t).detach())


# A function of gputensor's for PyTorch


def inside_torch(function):
    """A function of gputensor tensors as one of PyTorch tensors, on PyTorch's tape."""

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *operands):
            out, ctx.pull = gt.vjp(function, *map(ours, operands))
            return theirs(out)

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, gradient):
            return tuple(map(theirs, ctx.pull(ours(gradient))))

    return Function.apply


# A module of PyTorch's for gputensor


def inside_gputensor(module, names):
    """A module of PyTorch as a function of gputensor tensors: the input, and its parameters."""

    def called(x, parameters):
        given = [theirs(t).requires_grad_() for t in (x, *parameters)]
        state = dict(zip(names, given[1:], strict=True))
        with torch.enable_grad():
            return given, torch.func.functional_call(module, state, (given[0],))

    @gt.custom_vjp
    def function(x, parameters):
        return ours(called(x, parameters)[1])

    def forward(x, parameters):
        return function(x, parameters), (x, parameters)

    def backward(saved, gradient):
        given, out = called(*saved)
        found = [ours(g) for g in torch.autograd.grad(out, given, theirs(gradient))]
        return found[0], found[1:]

    function.defvjp(forward, backward)
    return function


def blend(x, w):
    """What is computed on the other side: a smooth function of a product."""
    return gt.tanh(x @ w) * gt.exp(-(x**2).sum(axis=-1, keepdims=True))


def main() -> tuple[float, float]:
    rng = np.random.default_rng(0)
    x, w, y = (rng.normal(size=s).astype(np.float32) for s in ((64, 5), (5, 3), (64, 3)))

    # PyTorch trains; the middle of its model is gputensor's.
    crossing = inside_torch(blend)
    first, weight = torch.nn.Linear(5, 5), torch.nn.Parameter(torch.from_numpy(w.copy()))
    optimizer = torch.optim.Adam([*first.parameters(), weight], lr=0.02)
    losses = []
    for _ in range(100):
        loss = ((crossing(first(torch.from_numpy(x)), weight) - torch.from_numpy(y)) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    print(f"PyTorch with a gputensor function: loss {losses[0]:.4f} -> {losses[-1]:.4f}")

    # The gradients are those of PyTorch alone.
    hidden = first(torch.from_numpy(x))
    plain = torch.tanh(hidden @ weight) * torch.exp(-(hidden**2).sum(-1, keepdim=True))
    expected = torch.autograd.grad(((plain - torch.from_numpy(y)) ** 2).mean(), weight)[0]
    loss = ((crossing(hidden, weight) - torch.from_numpy(y)) ** 2).mean()
    found = torch.autograd.grad(loss, weight)[0]
    one = float((found - expected).abs().max())
    print(f"largest difference of a gradient from PyTorch's own: {one:.1e}")

    # gputensor trains; the middle of its model is PyTorch's.
    module = torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
    names = [name for name, _ in module.named_parameters()]
    crossing = inside_gputensor(module, names)
    parameters = [gt.tensor(p.detach().numpy(), requires_grad=True) for p in module.parameters()]
    scale = gt.tensor(1.0, requires_grad=True)
    optimizer = gt.optim.Adam([scale, *parameters], lr=0.02)
    given, wanted = gt.tensor(x, device="cpu"), gt.tensor(y, device="cpu")
    losses = []
    for _ in range(100):
        loss = ((scale * crossing(given, parameters) - wanted) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    print(f"gputensor with a PyTorch module: loss {losses[0]:.4f} -> {losses[-1]:.4f}")

    state = {n: theirs(p).requires_grad_() for n, p in zip(names, parameters, strict=True)}
    out = torch.func.functional_call(module, state, (torch.from_numpy(x),)) * float(scale.item())
    expected = torch.autograd.grad(((out - torch.from_numpy(y)) ** 2).mean(), state[names[0]])[0]
    optimizer.zero_grad()
    ((scale * crossing(given, parameters) - wanted) ** 2).mean().backward()
    two = float(np.abs(parameters[0].grad.numpy() - expected.numpy()).max())
    print(f"largest difference of a gradient from PyTorch's own: {two:.1e}")
    return one, two


if __name__ == "__main__":
    main()
