"""A kernel of one's own inside a captured training step: a network with SwiGLU learns a spiral."""

import argparse

import numpy as np
from custom_kernel import swiglu

import gputensor as gt


def spirals(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Points of two arms that wind about each other, and the number of the arm."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    turn = rng.uniform(0.5, 6, count)
    angle = turn + np.pi * labels
    points = turn[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1) / 6
    return (points + rng.normal(0, 0.02, points.shape)).astype(np.float32), labels


class Net(gt.nn.Module):
    """Two layers of SwiGLU (Shazeer 2020), and the scores of two classes."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate, self.value = gt.nn.Dense(2, width), gt.nn.Dense(2, width)
        self.next_gate, self.next_value = gt.nn.Dense(width, width), gt.nn.Dense(width, width)
        self.head = gt.nn.Dense(width, 2)

    def forward(self, x):
        x = swiglu(self.gate(x), self.value(x))
        x = swiglu(self.next_gate(x), self.next_value(x))
        return self.head(x)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--steps", type=int, default=120)
    args = options.parse_args()

    gt.manual_seed(0)
    points, labels = spirals(512)
    x, y = gt.asarray(points), gt.asarray(labels)
    net = Net(32)
    optimizer = gt.optim.Adam(net.parameters(), lr=0.01)

    @gt.capture
    def step(x, y):
        loss = gt.nn.functional.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    for i in range(args.steps):
        loss = step(x, y)
        if (i + 1) % 40 == 0:
            print(f"step {i + 1}  loss {loss.item():.4f}")
    test, truth = spirals(512, seed=1)
    with gt.no_grad():
        guesses = gt.argmax(net(gt.asarray(test)), axis=1).cpu().numpy()
    print(f"Accuracy on points that are new: {np.mean(guesses == truth):.1%}")
    print(f"Graphs recorded: {step.graphs}")


if __name__ == "__main__":
    main()
