"""A small transformer (Vaswani et al. 2017) that learns to write Python, character by character.

It reads modules of the standard library. A training step is captured: on CUDA it is one graph.
"""

import argparse
import importlib
from pathlib import Path

import numpy as np

import gputensor as gt
from gputensor import nn
from gputensor.nn import functional as F

MODULES = ("argparse", "random", "statistics", "textwrap", "calendar", "heapq", "csv", "string")
CONTEXT, WIDTH, HEADS, LAYERS = 64, 128, 4, 2


def read() -> tuple[gt.Tensor, list[str]]:
    """The text as numbers of characters, and the characters."""
    files = [importlib.import_module(name).__file__ for name in MODULES]
    text = "".join(Path(file).read_text(encoding="utf-8") for file in files)
    characters, numbers = np.unique(list(text), return_inverse=True)
    return gt.asarray(numbers), characters.tolist()


class Block(nn.Module):
    """Attention to what came before, then a layer for each place; both add to what passes."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.between = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.project, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.grow, self.shrink = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: gt.Tensor) -> gt.Tensor:
        n, places, _ = x.shape
        parts = self.project(self.before(x)).reshape(n, places, 3, HEADS, WIDTH // HEADS)
        query, key, value = gt.unstack(gt.permute_dims(parts, (2, 0, 3, 1, 4)))
        seen = nn.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.out(gt.permute_dims(seen, (0, 2, 1, 3)).reshape(n, places, WIDTH))
        return x + self.shrink(F.gelu(self.grow(self.between(x))))


class Transformer(nn.Module):
    """From characters (n, places) to logits of the next ones, (n, places, characters)."""

    def __init__(self, characters: int) -> None:
        super().__init__()
        self.characters = nn.Embedding(characters, WIDTH)
        self.places = nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.Sequential(*(Block() for _ in range(LAYERS)))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, characters)

    def forward(self, x: gt.Tensor) -> gt.Tensor:
        places = self.places(gt.arange(x.shape[1], device=x.device))
        return self.head(self.norm(self.blocks(self.characters(x) + places)))


def write(model: Transformer, characters: list[str], start: str, length: int) -> str:
    """`start` and what the model goes on with: each character drawn as likely as it finds it."""
    generator = gt.random.Generator(0)
    numbers = [characters.index(c) for c in start]
    with gt.no_grad():
        for _ in range(length):
            logits = model(gt.asarray([numbers[-CONTEXT:]]))[0, -1]
            numbers.append(generator.categorical(logits / 0.7).item())
    return "".join(characters[i] for i in numbers)


def draw(losses: list[float], tests: dict[int, float], chance: float, file: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(np.arange(len(losses)) + 1, losses, lw=0.7, label="training, each batch")
    axes.plot(list(tests), list(tests.values()), "o-", label="text that it never reads")
    axes.axhline(chance, color="gray", ls="--", label="by the characters' frequencies alone")
    axes.set(title="Loss of the next character", xlabel="step", ylabel="cross-entropy (nats)")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(file, dpi=120)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--steps", type=int, default=2000)
    options.add_argument("--batch-size", type=int, default=32)
    options.add_argument("--write", type=int, default=400, help="characters at the end")
    options.add_argument("--out", type=Path, default=Path("character_transformer.png"))
    args = options.parse_args()

    generator = gt.manual_seed(0)
    text, characters = read()
    cut = len(text) * 9 // 10
    shares = np.bincount(text.cpu().numpy()) / len(text)
    print(
        f"{len(text):,} characters, {len(characters)} different ones; the last tenth is for tests"
    )

    model = Transformer(len(characters))
    rate = gt.optim.schedules.warmup(100, gt.optim.schedules.cosine_decay(0.002, args.steps))
    optimizer = gt.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)

    def batch(first: int, end: int, rows: int) -> gt.Tensor:
        starts = generator.integers(first, end - CONTEXT - 1, (rows, 1))
        return text[starts + gt.arange(CONTEXT + 1)]

    def loss_of(rows: gt.Tensor) -> gt.Tensor:
        logits = model(rows[:, :-1])
        return F.cross_entropy(logits.reshape(-1, len(characters)), rows[:, 1:].reshape(-1))

    @gt.capture
    def step(rows: gt.Tensor) -> gt.Tensor:
        loss = loss_of(rows)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    losses, tests = [], {}
    for i in range(1, args.steps + 1):
        losses.append(step(batch(0, cut, args.batch_size)))
        if i % max(args.steps // 20, 1) == 0:
            with gt.no_grad():
                tests[i] = loss_of(batch(cut, len(text), 256)).item()
            print(f"step {i}: loss {losses[-1].item():.3f}, test {tests[i]:.3f}")

    print("\n" + write(model, characters, "def ", args.write) + "\n")
    chance = float(-(shares * np.log(shares)).sum())
    draw([loss.item() for loss in losses], tests, chance, args.out)
    print(f"Picture: {args.out}")


if __name__ == "__main__":
    main()
