"""What tests of many files make tensors and compare results with."""

import numpy as np

import gputensor as gt


def leaf(data, dtype=None):
    """A tensor with these values that wants a gradient."""
    return gt.tensor(data if dtype is None else np.asarray(data, dtype), requires_grad=True)


def real_by(rng):
    """A function that draws normal numbers of a shape."""

    def real(*shape):
        return rng.standard_normal(shape)

    return real


def cplx_by(rng):
    """A function that draws complex numbers of a shape."""

    def cplx(*shape):
        return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)

    return cplx
