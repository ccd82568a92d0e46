"""States of the generators that programs share: gputensor's, NumPy's and Python's."""

from typing import Any

import numpy as np

from gputensor.random import default_generator

__all__ = ["set_shared_state", "shared_state"]


def shared_state() -> dict[str, Any]:
    """States of the three, as numbers, texts and arrays."""
    import random

    version, words, gauss = random.getstate()
    kind, keys, at, has_gauss, cached = np.random.get_state()  # noqa: NPY002
    return {
        "gputensor": np.array(default_generator.state, np.uint64),
        "numpy": {
            "kind": str(kind),
            "keys": np.array(keys),
            "rest": (int(at), int(has_gauss), float(cached)),
        },
        "python": {"version": version, "words": np.array(words, np.uint32), "gauss": gauss},
    }


def set_shared_state(state: dict[str, Any]) -> None:
    """Go on from states that :func:`shared_state` gave."""
    import random

    own, numpy, python = state["gputensor"], state["numpy"], state["python"]
    default_generator.state = int(own[0]), int(own[1])
    np.random.set_state((numpy["kind"], numpy["keys"], *numpy["rest"]))  # noqa: NPY002
    words = tuple(int(w) for w in python["words"])
    random.setstate((python["version"], words, python["gauss"]))
