"""``gt.save`` and ``gt.load``: nested dicts of tensors and numbers, as one safetensors file.

Nothing in a file is executed. Tensors are stored as in any safetensors file, named by their path in
the object; the metadata holds the structure around them as JSON.
"""

import json
import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

from gputensor import ops, tensor_files
from gputensor.backend import Device

__all__ = ["load", "save"]


def save(obj: Any, f: Any) -> None:
    """Store tensors, numbers, texts, and dicts, lists and tuples of them, in a file.

    Parameters
    ----------
    obj : object
        Such as a ``state_dict()``, or a dict of several with an epoch and a loss.
    f : path or file that bytes are written to

    Raises
    ------
    TypeError
        If there is something else in it, such as a module: save its ``state_dict()``.

    Examples
    --------
    >>> gt.save({"w": gt.ones(2), "epoch": 3}, "state.safetensors")
    >>> gt.load("state.safetensors")["epoch"]
    3
    """
    if not hasattr(f, "write") and not isinstance(f, (str, os.PathLike)):
        raise TypeError(
            f"save: f is a {type(f).__name__}; it must be a path, or a file that is open for "
            "writing, as in gt.save(net.state_dict(), 'net.safetensors')"
        )
    arrays: dict[str, Any] = {}
    metadata = {"gputensor": json.dumps(tensor_files.plan("save", obj, "", arrays))}
    if hasattr(f, "write"):
        f.write(tensor_files.dumps(arrays, metadata))
    else:
        tensor_files.write(Path(f), arrays, metadata)


def load(f: Any, device: str | Device | None = None) -> Any:
    """What :func:`save` stored, or the tensors of any safetensors file by name.

    Parameters
    ----------
    f : path or file that bytes are read from
    device : str or Device, optional
        Where tensors are put; by default that of new ones.

    Returns
    -------
    object
        Of dicts, lists, tuples, numbers and tensors. Dicts keep their order.

    Raises
    ------
    ValueError
        If it is another file, such as one of PyTorch's own.

    Examples
    --------
    >>> gt.save([gt.ones(2)], "state.safetensors")
    >>> gt.load("state.safetensors")
    [tensor([1., 1.], dtype=float32)]
    """
    content = f.read() if hasattr(f, "read") else Path(f).read_bytes()
    try:
        arrays, metadata = tensor_files.loads(content)
    except ValueError as error:
        raise ValueError(
            f"load: {error}; a file of PyTorch's own torch.save holds pickled code, which is not "
            "executed here: write it with safetensors.torch.save_file there"
        ) from None
    plan = json.loads(metadata.get("gputensor", "null"))

    def tensor(array: Any) -> Any:
        return ops.asarray(array, device=device)

    if plan is None and arrays:
        return OrderedDict((name, tensor(array)) for name, array in arrays.items())
    return tensor_files.built(plan, arrays, tensor, OrderedDict)
