"""``torch.utils.checkpoint``: values that the backward pass computes again."""

import itertools
from collections.abc import Callable, Iterable
from typing import Any

from gputensor import function as engine
from gputensor.torch.tensor import ours

__all__ = ["checkpoint", "checkpoint_sequential"]


def checkpoint(
    function: Callable[..., Any],
    *args: Any,
    use_reentrant: bool | None = None,
    preserve_rng_state: bool = True,
    determinism_check: str = "default",
    **kwargs: Any,
) -> Any:
    """``function(*args, **kwargs)``, run once more by the backward pass: see ``gt.checkpoint``.

    `use_reentrant` and `determinism_check` say nothing; random numbers are always the same again.

    Examples
    --------
    >>> x = torch.ones(2, requires_grad=True)
    >>> torch.utils.checkpoint.checkpoint(torch.exp, x).sum().backward()
    >>> x.grad
    tensor([2.7183, 2.7183])
    """

    def called(*inputs: Any, **options: Any) -> Any:
        return function(*(ours(x) for x in inputs), **options)

    return ours(engine.checkpoint(called, *args, **kwargs))


def checkpoint_sequential(
    functions: Iterable[Callable[..., Any]], segments: int, input: Any, **options: Any
) -> Any:
    """Functions or modules one after the other, as so many checkpoints.

    Examples
    --------
    >>> model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    >>> torch.utils.checkpoint.checkpoint_sequential(model, 2, torch.ones(5, 3)).shape
    torch.Size([5, 2])
    """
    steps = list(functions)
    size = max(len(steps) // segments, 1)
    cuts = [min(i * size, len(steps)) for i in range(segments)] + [len(steps)]

    def segment(part: list[Any]) -> Callable[[Any], Any]:
        def run(x: Any) -> Any:
            for step in part:
                x = step(x)
            return x

        return run

    for start, stop in itertools.pairwise(cuts):
        input = checkpoint(segment(steps[start:stop]), input, **options)
    return input
