"""Logistic regression on polynomial features, fitted by L-BFGS, and a picture of its result."""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import gputensor as gt
from gputensor.optimize import OptimizeResult, minimize

DEGREE = 2


def rings(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Points in a disk (class 0) and in a ring around it that overlaps (class 1)."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    radius = np.abs(rng.normal(np.where(labels, 1.6, 0.0), 0.6))
    angle = rng.uniform(0, 2 * np.pi, count)
    return np.stack([radius * np.cos(angle), 0.7 * radius * np.sin(angle)], axis=1), labels


def features(points: gt.Tensor) -> gt.Tensor:
    """All products of powers of the two coordinates up to DEGREE, the constant too."""
    u, v = points[:, 0], points[:, 1]
    powers = [(i, j) for i in range(DEGREE + 1) for j in range(DEGREE + 1 - i)]
    return gt.stack([u**i * v**j for i, j in powers], axis=1)


def fit(points: gt.Tensor, labels: gt.Tensor, penalty: float = 1e-3) -> tuple[OptimizeResult, list]:
    x, sign = features(points), 2.0 * labels.astype(gt.float64) - 1

    def loss(w: gt.Tensor) -> gt.Tensor:
        return gt.softplus(-sign * (x @ w)).mean() + penalty * (w @ w)

    start = gt.zeros(x.shape[1], dtype=gt.float64)
    losses = [loss(start).item()]
    result = minimize(loss, start, callback=lambda w: losses.append(loss(w).item()))
    return result, losses


def draw(points, labels, w: gt.Tensor, losses: list[float], file: Path) -> None:
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    u, v = np.meshgrid(np.linspace(-3.5, 3.5, 150), np.linspace(-2.5, 2.5, 150))
    grid = gt.asarray(np.stack([u.ravel(), v.ravel()], axis=1), device=w.device)
    chance = gt.sigmoid(features(grid) @ w).cpu().numpy().reshape(u.shape)
    shades = left.contourf(u, v, chance, 20, cmap="coolwarm", vmin=0, vmax=1, alpha=0.6)
    left.contour(u, v, chance, [0.5], colors="black")
    for k, (name, color) in enumerate([("inner", "tab:blue"), ("outer", "tab:red")]):
        at = points[labels == k]
        left.scatter(*at.T, color=color, s=8, edgecolors="black", linewidths=0.2, label=name)
    left.legend(title="class", loc="upper right")
    left.set(title="Points and fit; the line is one half", aspect="equal")
    left.set(xlabel="first coordinate", ylabel="second coordinate")
    figure.colorbar(shades, ax=left, label="probability of the outer class")
    right.plot(losses, marker=".")
    right.set(title="Loss by L-BFGS iteration", xlabel="iteration", ylabel="loss")
    right.grid(alpha=0.3)
    figure.savefig(file, dpi=120)


def main(points: int, out: Path) -> None:
    places, labels = rings(points)
    result, losses = fit(gt.asarray(places), gt.asarray(labels))
    right = (features(gt.asarray(places)) @ result.x > 0) == (gt.asarray(labels) == 1)
    print(f"{result.message} after {result.nit} iterations: loss {result.fun:.4f}")
    print(f"accuracy on the data: {right.astype(gt.float64).mean().item():.1%}")
    draw(places, labels, result.x, losses, out)
    print(f"Picture: {out}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=600)
    parser.add_argument("--out", type=Path, default=Path("logistic_regression.png"))
    main(**vars(parser.parse_args()))
