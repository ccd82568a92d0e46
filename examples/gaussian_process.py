"""A Gaussian process whose hyperparameters maximize the log marginal likelihood.

Monthly values of a slow trend, a yearly wave and noise are explained as a sum of three processes
(Rasmussen & Williams 2006, chapters 2 and 5). The gradient goes through the Cholesky factor of the
covariance matrix; Adam moves the logarithms of the hyperparameters.
"""

import argparse
import math
from pathlib import Path

import matplotlib as mpl
import numpy as np

import gputensor as gt

NAMES = ("trend", "its length", "wave", "its period", "its roughness", "noise")
START = (1.0, 3.0, 1.0, 1.1, 1.0, 0.5)


def covariance(a: gt.Tensor, b: gt.Tensor, logs: gt.Tensor) -> gt.Tensor:
    """Covariance of the values at times `a` and `b`, without noise."""
    trend, length, wave, period, rough, _ = gt.exp(logs)
    gap = gt.expand_dims(a, -1) - b
    slow = trend**2 * gt.exp(-0.5 * (gap / length) ** 2)
    return slow + wave**2 * gt.exp(-2 * (rough * gt.sin(math.pi * gap / period)) ** 2)


def factor(x: gt.Tensor, logs: gt.Tensor) -> gt.Tensor:
    """Cholesky factor of the covariance of noisy values at times `x`."""
    noise = gt.exp(2 * logs[-1]) * gt.eye(len(x), dtype=x.dtype, device=x.device)
    return gt.linalg.cholesky(covariance(x, x, logs) + noise)


def log_likelihood(x: gt.Tensor, y: gt.Tensor, logs: gt.Tensor) -> gt.Tensor:
    lower = factor(x, logs)
    white = gt.linalg.solve(lower, y)
    logdet = gt.sum(gt.log(gt.linalg.diagonal(lower)))
    return -0.5 * gt.vecdot(white, white) - logdet - 0.5 * len(x) * math.log(2 * math.pi)


def predict(x: gt.Tensor, y: gt.Tensor, at: gt.Tensor, logs: gt.Tensor) -> tuple:
    """Mean and standard deviation of the values at times `at`, given those at `x`."""
    lower = factor(x, logs)
    spread = gt.linalg.solve(lower, covariance(x, at, logs))
    mean = gt.linalg.solve(lower, y) @ spread
    variance = gt.linalg.diagonal(covariance(at, at, logs)) - gt.sum(spread**2, axis=0)
    return mean.cpu().numpy(), gt.sqrt(variance + gt.exp(2 * logs[-1])).cpu().numpy()


def draw(time: np.ndarray, values: np.ndarray, known: int, fits: dict, file: Path) -> None:
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(12, 3.5), sharey=True, layout="constrained")
    for place, (title, (mean, deviation)) in zip(axes, fits.items(), strict=True):
        place.fill_between(time, mean - 2 * deviation, mean + 2 * deviation, alpha=0.25)
        place.plot(time, mean, label="mean")
        place.plot(time[:known], values[:known], "k.", label="known")
        place.plot(time[known:], values[known:], ".", color="crimson", label="held out")
        place.set(title=f"{title} the fit: mean and two standard deviations", xlabel="years")
        place.legend(loc="lower left")
    axes[0].set_ylabel("value")
    figure.savefig(file, dpi=120)
    print(f"Picture: {file}")


def main(steps: int, out: Path, months: int = 120) -> None:
    time = gt.arange(months, dtype=gt.float64) / 12
    wave = gt.sin(2 * math.pi * time) + 0.4 * gt.cos(4 * math.pi * time)
    noise = gt.manual_seed(0).normal(scale=0.2, shape=months, dtype=gt.float64)
    values = wave + 0.4 * gt.sin(0.8 * time) + noise
    known = months * 2 // 3
    x, y = time[:known], values[:known]
    logs = gt.tensor(np.log(START), requires_grad=True)
    optimizer = gt.optim.Adam([logs], lr=gt.optim.schedules.cosine_decay(0.05, steps))
    fits = {"before": predict(x, y, time, logs.detach())}
    for step in range(steps):
        loss = -log_likelihood(x, y, logs)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 50 == 0 or step == steps - 1:
            print(f"step {step + 1}: log marginal likelihood {-loss.item():.2f}")
    fits["after"] = predict(x, y, time, logs.detach())
    for name, first, last in zip(NAMES, START, gt.exp(logs.detach()).tolist(), strict=True):
        print(f"{name}: {first} -> {last:.3f}")
    host = values.cpu().numpy()
    before, after = (np.sqrt(np.mean((m - host)[known:] ** 2)) for m, _ in fits.values())
    print(f"error of the forecast: {before:.3f} before the fit, {after:.3f} after")
    draw(time.cpu().numpy(), host, known, fits, out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path("gaussian_process.png"))
    main(**vars(parser.parse_args()))
