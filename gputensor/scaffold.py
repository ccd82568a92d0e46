"""``gputensor new-kernel``: the files of a kernel of one's own, to begin with."""

import keyword
from pathlib import Path

__all__ = ["new_kernel"]

_PYTHON = '''\
"""NAME: the square of each element, until it is something better."""

from pathlib import Path

import numpy as np

import gputensor as gt
from gputensor.backend import namespace
from gputensor.kernels import CudaSource, c_type

SOURCE = CudaSource(Path(__file__).with_suffix(".cu"))


def launch_backward(source, g, x):
    dx = namespace(x).empty_like(x)
    source.launch(f"NAME_backward<{c_type(x.dtype)}>", (g, x, dx, x.size), elements=x.size)
    return dx


@gt.kernel(source=SOURCE, cuda=launch_backward)
def NAME_backward(xp, g, x):
    return 2 * g * x


def launch(source, x):
    out = namespace(x).empty_like(x)
    source.launch(f"NAME<{c_type(x.dtype)}>", (x, out, x.size), elements=x.size)
    return out


# The reference is the mathematics: what runs on the CPU, and what the CUDA source is compared with.
@gt.kernel(source=SOURCE, cuda=launch, vjp=lambda xp, g, out, x: NAME_backward.raw(g, x))
def NAME(xp, x):
    return x * x


# What `python -m gputensor check FILE` calls the kernels with: small arrays, of odd sizes.
_g, _x = np.random.default_rng(0).normal(size=(2, 5, 33)).astype(np.float32)
CASES = [(NAME, (_x,)), (NAME_backward, (_g, _x))]
'''

_CUDA = """\
#include "common.cuh"

template <typename T>
__global__ void NAME(const T* x, T* out, long long size) {
    for (int64 i = first_index(); i < size; i += grid_stride())
        out[i] = x[i] * x[i];
}

template <typename T>
__global__ void NAME_backward(const T* g, const T* x, T* dx, long long size) {
    for (int64 i = first_index(); i < size; i += grid_stride())
        dx[i] = 2 * g[i] * x[i];
}
"""

_TEST = '''\
"""NAME agrees with its mathematics in all ways that this machine can check."""

import numpy as np
import pytest
from NAME import CASES, NAME

import gputensor as gt


@pytest.mark.parametrize(("kernel", "arrays"), CASES, ids=lambda value: getattr(value, "name", ""))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_it_agrees_with_its_reference(kernel, arrays, dtype):
    print(gt.kernels.check(kernel, *(a.astype(dtype) for a in arrays)))


def test_it_is_the_square():
    x = gt.tensor([-1.0, 0.0, 3.0], requires_grad=True)
    y = NAME(x)
    y.sum().backward()
    np.testing.assert_array_equal(y.detach().numpy(), [1, 0, 9])
    np.testing.assert_array_equal(x.grad.numpy(), [-2, 0, 6])
'''

_BENCH = '''\
"""How quick NAME is beside its plain form, as a share of a memory copy."""

from NAME import NAME

from gputensor import backend
from gputensor.benchmarks.common import Case, compare

CASE = Case(
    "NAME",
    ((256, 512), (4096, 1024)),
    ((65536, 1024),),  # on CUDA only
    8,  # bytes read and written for each element of float32
    lambda random, rows, columns: {"x": random.normal(rows, columns)},
    lambda x: lambda: NAME.raw(x),
    lambda torch, x: lambda: x * x,
)

if __name__ == "__main__":
    where = backend.default_device()
    with where, backend.on_device_of(where):
        compare("NAME", [CASE], "GB/s", where, ["numpy"], repeats=7)
'''

_FILES = {"NAME.py": _PYTHON, "NAME.cu": _CUDA, "test_NAME.py": _TEST, "bench_NAME.py": _BENCH}


def new_kernel(name: str, folder: Path) -> list[Path]:
    """Write a kernel's two files, its test and its benchmark.

    Parameters
    ----------
    name : str
        A name in Python and C++.
    folder : Path
        Where to write them; it is made if need be.

    Returns
    -------
    list of Path

    Raises
    ------
    ValueError
        If it is no such name.
    FileExistsError
        If one of the files is there; nothing is written then.
    """
    if not name.isidentifier() or not name.isascii() or keyword.iskeyword(name):
        raise ValueError(
            f"{name!r} is no name of a function; letters, digits and _ make one, as in my_kernel"
        )
    texts = {folder / file.replace("NAME", name): text for file, text in _FILES.items()}
    for file in texts:
        if file.exists():
            raise FileExistsError(f"{file} is there already, and is left as it is")
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in texts.items():
        file.write_text(text.replace("NAME", name), encoding="utf-8")
    return list(texts)
