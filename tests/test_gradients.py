"""Gradients of every operation: by finite differences, of two orders, with their dtypes."""

import subprocess
import sys

import numpy as np

import gputensor as gt
from cases import LINALG, REAL, TRANSFORMS, every_case
from checks import leaf


def test_every_differentiable_primitive_has_a_case():
    # In a process of its own, where no test has declared kernels of its own.
    code = (
        "import gputensor; from gputensor.autograd import PRIMITIVES;"
        "print(*(name for name, p in PRIMITIVES.items() if p.vjp is not None))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    primitives = set(done.stdout.split())
    assert set(REAL) <= primitives <= {*REAL, *LINALG, *TRANSFORMS}


@every_case
def test_gradient_equals_finite_differences(name, function, arrays):
    assert gt.gradcheck(function, *map(leaf, arrays))


@every_case
def test_second_derivative_equals_finite_differences(name, function, arrays):
    argnums = tuple(range(len(arrays)))

    def gradients(*args):
        parts = gt.grad(lambda *a: gt.sum(gt.square(gt.abs(function(*a) + 1))), argnums)(*args)
        return gt.concat([gt.reshape(p, (-1,)) for p in parts])

    bounds = {"atol": 1e-3, "rtol": 1e-3} if name in LINALG else {"atol": 1e-4}
    assert gt.gradcheck(gradients, *map(leaf, arrays), eps=1e-5, **bounds)


@every_case
def test_gradient_has_shape_and_dtype_of_its_tensor(name, function, arrays):
    narrow = {"f": np.float32, "c": np.complex64}
    tensors = [leaf(x.astype(narrow[x.dtype.kind])) for x in arrays]
    out = function(*tensors)
    if out.requires_grad:
        gt.sum(gt.abs(out)).backward()
        assert [t.grad.shape for t in tensors] == [t.shape for t in tensors]
        assert [t.grad.dtype for t in tensors] == [t.dtype for t in tensors]
