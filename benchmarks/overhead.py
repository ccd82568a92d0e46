"""Cost of the tape: thirty small operations forward and backward, side by side in one run."""

import argparse

import numpy as np

import common
import gputensor as gt

TITLE = "30 operations on 8 floats, forward and backward"
CALLS = 200


def cases() -> dict[str, object]:
    rng = np.random.default_rng(0)
    w, b, x = (rng.standard_normal(8).astype(np.float32) for _ in range(3))
    found = {}

    tensors = [gt.tensor(a, requires_grad=True) for a in (w, b, x)]

    def ours() -> None:
        for _ in range(CALLS):
            z = tensors[2]
            for _ in range(10):
                z = gt.tanh(z * tensors[0] + tensors[1])
            z.sum().backward()

    found["gputensor"] = ours
    try:
        import torch
    except ImportError:
        print("PyTorch is not installed: left out")
    else:
        peers = [torch.tensor(a, requires_grad=True) for a in (w, b, x)]

        def pytorch() -> None:
            for _ in range(CALLS):
                z = peers[2]
                for _ in range(10):
                    z = torch.tanh(z * peers[0] + peers[1])
                z.sum().backward()

        found["PyTorch eager"] = pytorch
    try:
        import autograd
        import autograd.numpy as anp
    except ImportError:
        print("HIPS autograd is not installed: left out")
    else:

        def function(w, b, x):
            for _ in range(10):
                x = anp.tanh(x * w + b)
            return anp.sum(x)

        gradient = autograd.grad(function, (0, 1, 2))

        def hips() -> None:
            for _ in range(CALLS):
                gradient(w, b, x)

        found["HIPS autograd"] = hips

    def plain() -> None:
        for _ in range(CALLS):
            z = x
            for _ in range(10):
                z = np.tanh(z * w + b)
            z.sum()

    found["NumPy, forward only"] = plain
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=25)
    args = parser.parse_args()
    table = common.summary(common.interleaved(cases(), args.repeats), scale=1e6 / CALLS)
    common.print_table(TITLE, "µs", table)
    record = {"title": TITLE, "unit": "µs", "machine": common.machine(), "results": table}
    common.write("overhead", record, table, "µs")


if __name__ == "__main__":
    main()
