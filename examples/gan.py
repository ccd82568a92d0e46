"""A generative adversarial network (Goodfellow et al. 2014) that learns to draw digits.

A PyTorch script: its first four import lines alone are gputensor's.
"""

import argparse
from pathlib import Path

import gputensor.torch as torch
import gputensor.torch.nn as nn
from gputensor.torch.utils.data import DataLoader, Subset
from gputensor.torchvision import datasets, transforms

NOISE = 64


def generator() -> nn.Module:
    return nn.Sequential(
        *(nn.Linear(NOISE, 256), nn.LeakyReLU(0.2)),
        *(nn.Linear(256, 512), nn.LeakyReLU(0.2)),
        *(nn.Linear(512, 784), nn.Tanh()),
    )


def discriminator() -> nn.Module:
    return nn.Sequential(
        *(nn.Linear(784, 512), nn.LeakyReLU(0.2), nn.Dropout(0.3)),
        *(nn.Linear(512, 256), nn.LeakyReLU(0.2), nn.Dropout(0.3)),
        nn.Linear(256, 1),
    )


def draw(samples, losses, file: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.2))
    for cell, sample in zip(left.subplots(6, 8).ravel(), samples, strict=True):
        cell.imshow(sample.reshape(28, 28), cmap="gray_r", vmin=-1, vmax=1)
        cell.axis("off")
    left.suptitle("Drawn by the generator, each from 64 random numbers")
    axes = right.subplots()
    epochs = range(1, len(losses) + 1)
    for values, label in zip(
        zip(*losses, strict=True), ("discriminator", "generator"), strict=True
    ):
        axes.plot(epochs, values, marker="o", label=label)
    axes.set(title="Losses", xlabel="epoch", ylabel="mean binary cross-entropy (nats)")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(file, dpi=120)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--epochs", type=int, default=20)
    options.add_argument("--images", type=int, default=60_000, help="how many to train on")
    options.add_argument("--out", type=Path, default=Path("gan.png"))
    args = options.parse_args()

    torch.manual_seed(0)
    scaling = transforms.Compose([transforms.ToTensor(), transforms.Normalize(0.5, 0.5)])
    digits = datasets.MNIST("data", train=True, download=True, transform=scaling)
    loader = DataLoader(Subset(digits, range(args.images)), batch_size=128, shuffle=True)

    draws, judges = generator(), discriminator()
    draw_step = torch.optim.Adam(draws.parameters(), lr=0.0002, betas=(0.5, 0.999))
    judge_step = torch.optim.Adam(judges.parameters(), lr=0.0002, betas=(0.5, 0.999))
    loss_of = nn.BCEWithLogitsLoss()

    losses = []
    for epoch in range(args.epochs):
        total = torch.zeros(2)
        for images, _ in loader:
            real = images.view(len(images), 784)
            ones, zeros = torch.ones(len(real), 1), torch.zeros(len(real), 1)

            fake = draws(torch.randn(len(real), NOISE))
            judged = loss_of(judges(real), ones) + loss_of(judges(fake.detach()), zeros)
            judge_step.zero_grad()
            judged.backward()
            judge_step.step()

            drawn = loss_of(judges(fake), ones)
            draw_step.zero_grad()
            drawn.backward()
            draw_step.step()
            total += torch.stack([judged.detach() / 2, drawn.detach()])
        losses.append((total / len(loader)).tolist())
        print(
            f"epoch {epoch + 1}: discriminator {losses[-1][0]:.3f}, generator {losses[-1][1]:.3f}"
        )

    with torch.no_grad():
        samples = draws(torch.randn(48, NOISE)).cpu().numpy()
    draw(samples, losses, args.out)
    print(f"Picture: {args.out}")


if __name__ == "__main__":
    main()
