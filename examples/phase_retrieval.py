"""Phase retrieval: a complex image from the magnitudes of Fourier transforms, without the phases.

A detector counts light, and so loses its phase. As in coded diffraction (Candès, Li and
Soltanolkotabi 2015) the image is seen several times, each through a mask that turns every pixel by
a known angle. Gradient descent moves a complex image of noise until its magnitudes are the measured
ones.
"""

import argparse
from pathlib import Path

import matplotlib as mpl
import numpy as np

import gputensor as gt


def picture(n: int) -> gt.Tensor:
    """A coin behind a lens: brightness is the absolute value, thickness of the glass the phase."""
    y, x = np.mgrid[-1 : 1 : n * 1j, -1 : 1 : n * 1j]
    bright = 0.1 + 0.5 * (np.hypot(x, y) < 0.85) * (1 + 0.4 * np.cos(20 * (x + y)))
    for center_x, center_y, radius in ((-0.35, -0.3, 0.2), (0.35, -0.3, 0.2), (0, 0.35, 0.3)):
        bright[np.hypot(x - center_x, y - center_y) < radius] = 1
    thickness = 2.5 * np.exp(-3 * ((x - 0.2) ** 2 + y**2)) + 1.5 * x
    return gt.asarray((bright * np.exp(1j * thickness)).astype(np.complex64))


def magnitudes(image: gt.Tensor, masks: gt.Tensor) -> gt.Tensor:
    """What the detector sees through each mask."""
    return gt.abs(gt.fft.fftn(image * masks, axes=(-2, -1), norm="ortho"))


def aligned(image: gt.Tensor, truth: gt.Tensor) -> gt.Tensor:
    """The image, turned by the one phase that no measurement can tell."""
    return image * gt.sign(gt.sum(truth * image.conj()))


def retrieve(truth: gt.Tensor, masks: int, steps: int) -> tuple[gt.Tensor, list[float]]:
    """The image found, and its relative error after every step."""
    generator = gt.manual_seed(0)
    turns = gt.exp(2j * np.pi * generator.random((masks, *truth.shape)))
    measured = magnitudes(truth, turns)
    start = generator.normal(shape=(2, *truth.shape))
    image = gt.tensor(start[0] + 1j * start[1], requires_grad=True)
    optimizer = gt.optim.SGD([image], lr=1.0, momentum=0.8)
    errors = []
    for step in range(steps):
        loss = gt.sum((magnitudes(image, turns) - measured) ** 2) / masks
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found = aligned(image.detach(), truth)
        errors.append(float(gt.linalg.norm(found - truth) / gt.linalg.norm(truth)))
        if step % 50 == 49 or step == steps - 1:
            print(f"step {step + 1}: loss {loss.item():.1e}, relative error {errors[-1]:.1e}")
    return found, errors


def draw(truth: gt.Tensor, found: gt.Tensor, errors: list[float], file: Path) -> None:
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 4, figsize=(12, 3.2), layout="constrained")
    spectrum = gt.log10(gt.abs(gt.fft.fftshift(gt.fft.fftn(truth))))
    panels = {"log of the magnitudes, no mask": spectrum, "brightness found": gt.abs(found)}
    for place, (title, data) in zip(axes, panels.items(), strict=False):
        place.imshow(data.cpu().numpy(), cmap="gray")
        place.set_title(title)
    axes[2].imshow(np.angle(found.cpu().numpy()), cmap="twilight", vmin=-np.pi, vmax=np.pi)
    axes[2].set_title("phase found")
    axes[3].semilogy(errors)
    axes[3].set(title="relative error of the image", xlabel="step", ylabel="relative error")
    for place in axes[:3]:
        place.axis("off")
    figure.savefig(file, dpi=120)
    print(f"Picture: {file}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=128, help="rows and columns of the image")
    parser.add_argument("--masks", type=int, default=8)
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--out", type=Path, default=Path("phase_retrieval.png"))
    args = parser.parse_args()
    image = picture(args.size)
    draw(image, *retrieve(image, args.masks, args.steps), args.out)
