"""Newton's method without a Hessian: its products come from gt.hvp, its solve from CG.

Minimizes Rosenbrock's function by hand-written Newton steps with backtracking, beside gradient
descent, and draws both paths.
"""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import gputensor as gt


def rosenbrock(x: gt.Tensor) -> gt.Tensor:
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def newton_step(f, x: gt.Tensor, g: gt.Tensor, most: int = 50) -> gt.Tensor:
    """Solve H step = -g by conjugate gradients; end early where the curvature is not positive."""
    step, r = gt.zeros_like(x), -g
    d, rr = r, r @ r
    for i in range(most):
        (hd,) = gt.hvp(f, (x,), (d,))
        curvature = d @ hd
        if curvature.item() <= 0:
            return d if i == 0 else step
        alpha = rr / curvature
        step, r = step + alpha * d, r - alpha * hd
        before, rr = rr, r @ r
        if rr.item() < 1e-20:
            break
        d = r + rr / before * d
    return step


def descend(f, x: gt.Tensor, direction, steps: int, enough: float = 1e-8) -> list[np.ndarray]:
    """Points on the way down, each step halved until the value falls by what the slope promises."""
    path = [x.cpu().numpy().copy()]
    for _ in range(steps):
        value, g = gt.value_and_grad(f)(x)
        if gt.max(gt.abs(g)).item() < enough:
            break
        d, t = direction(f, x, g), 1.0
        while t > 1e-12 and f(x + t * d).item() > (value + 1e-4 * t * (g @ d)).item():
            t /= 2
        x = x + t * d
        path.append(x.cpu().numpy().copy())
    return path


def draw(paths: dict[str, list[np.ndarray]], file: Path) -> None:
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    u, v = np.meshgrid(np.linspace(-1.6, 1.4, 200), np.linspace(-0.6, 1.6, 200))
    heights = np.log10(100 * (v - u**2) ** 2 + (1 - u) ** 2 + 1e-3)
    left.contour(u, v, heights, 20, alpha=0.4)
    for name, path in paths.items():
        points = np.array(path)
        left.plot(points[:, 0], points[:, 1], marker=".", linewidth=1, label=name)
        values = 100 * (points[:, 1] - points[:, 0] ** 2) ** 2 + (1 - points[:, 0]) ** 2
        right.semilogy(values, label=f"{name}, {len(path) - 1} steps")
    path = np.array(paths["gradient descent"])
    longest = np.linalg.norm(np.diff(path, axis=0), axis=1).argmax()
    middle = path[longest : longest + 2].mean(axis=0)
    note = "one step: the line search tries 1 first"
    left.annotate(note, middle, (-0.8, 1.45), arrowprops={"arrowstyle": "->"}, fontsize=8)
    left.plot(1, 1, "k*", markersize=10, label="minimum")
    left.set(title="Paths over Rosenbrock's function", xlabel="first coordinate")
    left.set_ylabel("second coordinate")
    right.set(title="Value at each step", xlabel="step", ylabel="value of the function")
    right.set_ylim(bottom=1e-16)
    left.legend(loc="lower left")
    right.legend()
    right.grid(alpha=0.3)
    figure.savefig(file, dpi=120)


def main(out: Path) -> None:
    start = gt.tensor([-1.2, 1.0], dtype=gt.float64)
    downhill = descend(rosenbrock, start, lambda f, x, g: -g, steps=500)
    paths = {"gradient descent": downhill, "Newton": descend(rosenbrock, start, newton_step, 50)}
    for name, path in paths.items():
        print(f"{name}: {len(path) - 1} steps to {path[-1].tolist()}")
    draw(paths, out)
    print(f"Picture: {out}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("newton_hvp.png"))
    main(**vars(parser.parse_args()))
