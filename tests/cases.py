"""Operations with inputs to check them with: the tables that tests of all operations go through.

Entries of a table are a function and what it is called with. `CHECKS` has all of them, as
parameters of a test: the name of the operation, the function, and arrays.
"""

import math

import numpy as np
import pytest

import gputensor as gt
from checks import cplx_by, real_by
from gputensor import fft, keras, linalg
from gputensor.ops import products, windows
from gputensor.ops.linalg import determinants

# Real numbers: arrays


def array(*shape, low=-2.0, high=2.0):
    return _uniform.uniform(low, high, shape)


_uniform = np.random.default_rng(7)
cubed = gt.custom_vjp(lambda x: x**3)
cubed.defvjp(lambda x: (x**3, x), lambda x, g: (g * 3 * gt.conj(x * x),))

# For each primitive with a gradient: functions and inputs to check it with.
X, Y, POSITIVE, UNIT = (
    array(3, 4),
    array(3, 4),
    array(3, 4, low=0.3),
    array(3, 4, low=-0.9, high=0.9),
)
MASK = X > 0
ZEROS = array(3, 4) * np.array([[1, 0, 1, 1], [0, 1, 0, 1], [1, 1, 1, 1]])
LABELS = np.array([0, 3, 1])
REAL = {
    "add": [(gt.add, X, Y), (gt.add, X, array(4)), (lambda x: x + 2.5, X)],
    "subtract": [(gt.subtract, X, array(3, 1)), (lambda x: 1.5 - x, X)],
    "multiply": [(gt.multiply, X, Y), (gt.multiply, X, array(1, 4)), (lambda x: 3 * x, X)],
    "divide": [(gt.divide, X, POSITIVE), (lambda x: 2 / x, POSITIVE)],
    "pow": [(gt.pow, POSITIVE, Y), (lambda y: 2.0**y, Y), (lambda x: x**0, X)],
    "pow_number": [(lambda x: x**3, X), (lambda x: x**0.5, POSITIVE), (lambda x: x**-2, POSITIVE)],
    "negative": [(gt.negative, X)],
    "positive": [(gt.positive, X)],
    "abs": [(gt.abs, X)],
    "fabs": [(gt.fabs, X)],
    "real": [(gt.real, X)],
    "imag": [(gt.imag, X)],
    "conj": [(gt.conj, X)],
    "square": [(gt.square, X)],
    "sqrt": [(gt.sqrt, POSITIVE)],
    "reciprocal": [(gt.reciprocal, POSITIVE)],
    "sign": [(gt.sign, X)],
    "floor": [(gt.floor, X)],
    "ceil": [(gt.ceil, X)],
    "trunc": [(gt.trunc, X)],
    "round": [(gt.round, X)],
    "rint": [(gt.rint, X)],
    "floor_divide": [(gt.floor_divide, X, POSITIVE)],
    "remainder": [(gt.remainder, X, POSITIVE)],
    "exp": [(gt.exp, X)],
    "expm1": [(gt.expm1, X)],
    "log": [(gt.log, POSITIVE)],
    "log1p": [(gt.log1p, POSITIVE)],
    "log2": [(gt.log2, POSITIVE)],
    "log10": [(gt.log10, POSITIVE)],
    "sin": [(gt.sin, X)],
    "cos": [(gt.cos, X)],
    "tan": [(gt.tan, UNIT)],
    "asin": [(gt.asin, UNIT)],
    "acos": [(gt.acos, UNIT)],
    "atan": [(gt.atan, X)],
    "sinh": [(gt.sinh, X)],
    "cosh": [(gt.cosh, X)],
    "erf": [(gt.erf, X)],
    "tanh": [(gt.tanh, X)],
    "asinh": [(gt.asinh, X)],
    "acosh": [(gt.acosh, POSITIVE + 1)],
    "atanh": [(gt.atanh, UNIT)],
    "atan2": [(gt.atan2, X, array(4)), (lambda x: gt.atan2(1.5, x), X)],
    "hypot": [(gt.hypot, X, Y)],
    "cbrt": [(gt.cbrt, POSITIVE), (gt.cbrt, -POSITIVE)],
    "exp2": [(gt.exp2, X)],
    "logaddexp": [(gt.logaddexp, X, array(3, 1)), (lambda x: gt.logaddexp(x, 0.5), X)],
    "softplus": [(gt.softplus, X)],
    "sinc": [(gt.sinc, X), (gt.sinc, np.array([0.0, 0.02, -0.07, 0.079, 0.081]))],
    "copysign": [(gt.copysign, X, Y)],
    "nan_to_num": [(gt.nan_to_num, X)],
    "erfc": [(gt.erfc, X)],
    "erfinv": [(gt.erfinv, UNIT)],
    "gammaln": [(gt.gammaln, POSITIVE), (gt.gammaln, -0.5 + UNIT / 4)],
    "digamma": [(gt.digamma, POSITIVE)],
    "polygamma": [(lambda x: gt.polygamma(1, x), POSITIVE + 1)],
    "sigmoid": [(gt.sigmoid, X)],
    "relu": [(gt.relu, X)],
    "maximum": [(gt.maximum, X, Y), (lambda x: gt.maximum(x, 0.1), X)],
    "minimum": [(gt.minimum, X, array(4))],
    "clip": [(lambda x: gt.clip(x, -1, 1), X), (lambda x: gt.clip(x, max=0.5), X)],
    "where": [(lambda x, y: gt.where(gt.asarray(MASK), x, y), X, array(4))],
    "sum": [(gt.sum, X), (lambda x: gt.sum(x, axis=0), X)],
    "mean": [(gt.mean, X), (lambda x: gt.mean(x, axis=(0, -1), keepdims=True), array(2, 3, 2))],
    "max": [(gt.max, X), (lambda x: gt.max(x, axis=1), X)],
    "min": [(gt.min, X), (lambda x: gt.min(x, axis=0, keepdims=True), X)],
    "prod": [
        (gt.prod, X),
        (lambda x: gt.prod(x, axis=(0, -1), keepdims=True), array(2, 3, 2)),
        (lambda x: gt.prod(x, axis=1), ZEROS),
    ],
    "cumulative_sum": [
        (lambda x: gt.cumulative_sum(x, axis=1), X),
        (lambda x: gt.cumulative_sum(x, axis=0, include_initial=True), X),
        (gt.cumsum, X),
    ],
    "cumulative_prod": [
        (lambda x: gt.cumulative_prod(x, axis=-1), array(2, 7)),
        (lambda x: gt.cumulative_prod(x, axis=1, include_initial=True), ZEROS),
        (gt.cumprod, X),
    ],
    "sort": [
        (gt.sort, X),
        (lambda x: gt.sort(x, axis=0, descending=True), X),
        (lambda x: gt.topk(x, 2).values, X),
        (lambda x: gt.quantile(x, [0.3, 0.8], axis=1), X),
    ],
    "flip": [(gt.flip, X), (lambda x: gt.flip(x, axis=(0, -1)), array(2, 3, 2))],
    "roll": [
        (lambda x: gt.roll(x, 5), X),
        (lambda x: gt.roll(x, (1, -2), axis=(0, 1)), X),
    ],
    "repeat": [
        (lambda x: gt.repeat(x, 2), X),
        (lambda x: gt.repeat(x, 3, axis=-2), X),
        (lambda x: gt.repeat(x, [0, 2, 1], axis=0), X),
    ],
    "tile": [(lambda x: gt.tile(x, (2, 1, 3)), X), (lambda x: gt.tile(x, 2), X)],
    "pad": [
        (lambda x: gt.pad(x, ((1, 0), (0, 2)), constant_values=3.0), X),
        *((lambda x, m=m: gt.pad(x, 2, m), X) for m in ("edge", "reflect", "symmetric", "wrap")),
    ],
    "convolve": [
        (lambda x, y, mode=mode: gt.convolve(x, y, mode), array(n), array(m))
        for mode in ("full", "same", "valid")
        for n, m in ((5, 3), (2, 4))
    ],
    "astype": [(lambda x: gt.astype(x, gt.float64), X)],
    "tril": [(gt.tril, X), (lambda x: gt.tril(x, k=1), array(2, 3, 3))],
    "triu": [(gt.triu, X), (lambda x: gt.triu(x, k=-1), array(2, 3, 3))],
    "reshape": [(lambda x: gt.reshape(x, (2, -1)), X)],
    "permute_dims": [(lambda x: gt.permute_dims(x, (2, 0, 1)), array(2, 3, 4)), (lambda x: x.T, X)],
    "broadcast_to": [(lambda x: gt.broadcast_to(x, (2, 3, 4)), X)],
    "concat": [(lambda x, y: gt.concat([x, y, x], axis=1), X, array(3, 2))],
    "getitem": [
        (lambda x: x[1], X),
        (lambda x: x[:, ::-2], X),
        (lambda x: x[..., None], X),
        (lambda x: x[[0, 2, 0]], X),
        (lambda x: x[gt.tensor([[0, 1], [2, 0]]), 1], X),
        (lambda x: x[gt.asarray(MASK)], X),
        (lambda x: gt.take(x, gt.tensor([1, 1, 0]), axis=-1), X),
        (lambda x: gt.take_along_axis(x, gt.tensor([[1, 1, 0, 2]]), axis=0), X),
        (lambda x: gt.stack(gt.unstack(x, axis=1)[1:]), X),
        (lambda x: gt.concat(gt.split(x, (1, 3), axis=1)[::2], axis=1), X),
        (lambda x: gt.diff(x, n=2, prepend=0.5), X),
    ],
    "index_add": [
        (lambda x: gt.segment_sum(x, [1, 0, 1]), X),
        (lambda x: gt.bincount([0, 2, 2], x), array(3)),
        (lambda v: gt.index_add((4,), gt.tensor([1, 3, 1]), v), array(3)),
    ],
    "index_set": [
        (lambda x, v: gt.index_set(x, (slice(None), 1), v), X, array(3)),
        (lambda x, v: gt.index_set(x, ([0, 2, 0], [1, 1, 1]), v), X, array(1, 3)),
        (lambda x, v: gt.index_set(x, gt.asarray(MASK), v), X, array(1)),
    ],
    "index_put": [(lambda v: gt.index_put((4,), slice(1, 4), v), array(3))],
    "matmul": [
        (gt.matmul, X, array(4, 2)),
        (gt.matmul, array(4), array(4)),
        (gt.matmul, array(4), array(4, 3)),
        (gt.matmul, X, array(4)),
        (gt.matmul, array(2, 3, 4), array(4, 2)),
        (gt.matmul, array(2, 3, 4), array(2, 4, 2)),
        (gt.matmul, array(4), array(2, 4, 3)),
        (gt.matmul, array(2, 1, 3, 4), array(5, 4, 2)),
        (gt.matmul, array(2, 3, 4), array(4)),
    ],
    "narrow_matmul": [
        (products._narrow_matmul, X, array(4, 2)),
        (products._narrow_matmul, array(4), array(2, 4, 3)),
    ],
    "einsum": [
        (lambda x, y: gt.einsum("ij,kj->ik", x, y), X, array(2, 4)),
        (lambda x: gt.einsum("ij->", x), X),
        (lambda x: gt.einsum("ii->i", x), array(3, 3)),
        (lambda x: gt.einsum("ii", x), array(3, 3)),
        (lambda x, y: gt.einsum("i,j", x, y), array(3), array(2)),
        (lambda x, y: gt.einsum("...ij,...jk", x, y), array(2, 3, 4), array(4, 2)),
        (lambda x, y: gt.einsum("ij,k->j", x, y), X, array(2)),
        (lambda x, y, z: gt.einsum("ab,bc,cd->ad", x, y, z), X, array(4, 2), array(2, 3)),
    ],
    "logsumexp": [(gt.logsumexp, X), (lambda x: gt.logsumexp(x, axis=0, keepdims=True), X)],
    "softmax": [
        (gt.softmax, X),
        (lambda x: gt.softmax(x, axis=1), array(2, 3, 4)),
        (gt.log_softmax, X),
        (lambda x: gt.log_softmax(x, axis=-2), array(2, 3, 4)),
    ],
    "row_layer_norm": [
        (gt.nn.functional.layer_norm, X, array(4), array(4)),
        (gt.nn.functional.layer_norm, array(2, 1, 4), array(4), array(4)),
    ],
    "row_rms_norm": [(gt.nn.functional.rms_norm, array(2, 3, 4), array(4))],
    "gelu": [(gt.nn.functional.gelu, X), (gt.nn.functional.gelu, array(2, 1, 3))],
    "conv2d": [
        (gt.nn.functional.conv2d, array(2, 3, 5, 4), array(2, 3, 3, 2), array(2)),
        (
            lambda x, w: gt.nn.functional.conv2d(x, w, stride=(2, 1), padding=1, dilation=(1, 2)),
            *(array(2, 2, 6, 5), array(3, 2, 2, 2)),
        ),
    ],
    "conv_transpose2d": [
        (gt.nn.functional.conv_transpose2d, array(2, 3, 3, 2), array(3, 2, 2, 3), array(2)),
        (
            lambda x, w: gt.nn.functional.conv_transpose2d(x, w, stride=2, padding=1),
            *(array(2, 2, 3, 4), array(2, 1, 3, 3)),
        ),
    ],
    "dense": [
        (lambda x, w, b: gt.nn.functional.dense(x, w, b, "relu"), X, array(4, 5), array(5)),
        (lambda x, w, b: gt.nn.functional.dense(x, w, b), X, array(4, 5), array(5)),
        (
            lambda x, w, b: gt.nn.functional.dense(x, w, b, "tanh"),
            array(2, 3, 4),
            array(4, 2),
            array(2),
        ),
        (lambda x, w, b: gt.nn.functional.dense(x, w, b, "softmax"), X, array(4, 5), array(5)),
    ],
    "bias_activation": [
        (lambda x, w, b: gt.nn.functional.dense(x, w, b, "gelu"), X, array(4, 5), array(5)),
        (lambda x, w, b: gt.nn.functional.dense(x, w, b, "silu"), X, array(4, 5), array(5)),
        *(
            (lambda z, b, kind=kind: gt.kernels.bias_activation(z, b, kind=kind), X, array(4))
            for kind in ("relu", "tanh", "gelu", "silu")
        ),
    ],
    "cross_entropy": [
        (lambda x: gt.nn.functional.cross_entropy(x, gt.asarray(LABELS)), X),
        (lambda x: gt.nn.functional.cross_entropy(x, gt.asarray(POSITIVE), reduction="none"), X),
        (
            lambda x: gt.nn.functional.cross_entropy(
                x, gt.asarray(LABELS), label_smoothing=0.2, reduction="sum"
            ),
            X,
        ),
    ],
    "unfold": [
        (lambda x, w: windows.convolve(x, w, padding="same"), array(2, 4, 3, 2), array(3, 2, 2, 3)),
        (
            lambda x, w: windows.convolve(x, w, stride=(2, 1), dilation=(1, 2), groups=2),
            array(2, 5, 4, 2),
            array(2, 2, 1, 4),
        ),
        (lambda x: windows.average_pool(x, (2, 2), (1, 1), "same"), array(2, 4, 3, 2)),
    ],
    "fold": [
        (
            lambda x, w: windows.convolve_transposed(x, w, stride=(2, 1), padding=((1, 0), (0, 1))),
            array(2, 3, 4, 2),
            array(3, 2, 3, 2),
        ),
    ],
    "max_pool": [
        (lambda x: windows.largest_pool(x, (2, 2), (2, 2)), array(2, 4, 5, 2)),
        (lambda x: windows.largest_pool(x, (3, 2), (1, 2), "same"), array(2, 4, 5, 2)),
    ],
    "batch_norm": [
        (lambda x, w, b: gt.nn.functional.batch_norm(x, w, b)[0], X, array(4), array(4)),
        (
            lambda x, w, b: gt.nn.functional.batch_norm(x, w, b, axis=-1, eps=0.1)[0],
            array(2, 3, 4),
            array(4),
            array(4),
        ),
    ],
    "binary_cross_entropy": [
        (
            gt.nn.functional.binary_cross_entropy,
            0.1 + 0.8 / (1 + np.exp(X)),
            0.1 + 0.8 / (1 + np.exp(-X)),
        ),
    ],
    "clipped_binary_cross_entropy": [
        (
            lambda p, t: keras.losses.binary_crossentropy(t, p),
            0.1 + 0.8 / (1 + np.exp(X)),
            0.1 + 0.8 / (1 + np.exp(-X)),
        ),
    ],
    "binary_cross_entropy_with_logits": [
        (gt.nn.functional.binary_cross_entropy_with_logits, X, POSITIVE),
    ],
    "var": [
        (lambda x: gt.var(x), X),
        (lambda x: gt.var(x, axis=0, correction=1), X),
        (lambda x: gt.var(x, axis=-1, keepdims=True) * x, X),
    ],
    "std": [
        (gt.std, X),
        (lambda x: gt.std(x.reshape(1, *x.shape), axis=(1, 2), correction=0.5), X),
        (lambda x: gt.std(x, axis=0, correction=1, keepdims=True) * x, X),
    ],
    "identity": [],
    "checkpoint": [
        (lambda x, y: gt.checkpoint(lambda a, b: gt.tanh(a @ b) * 2, x, y), X, array(4, 2)),
    ],
    "custom_vjp": [(cubed, X)],
    # See test_distributions.py: they have no third derivative.
    "gamma_sample": [],
    "gamma_slope": [],
    "to": [(lambda x: x.to("cpu") * 2, X)],
}


# Complex numbers


def values(*shape):
    """Complex numbers whose absolute values are from 0.3 to 1.3."""
    return (_phases.random(shape) + 0.3) * np.exp(2j * np.pi * _phases.random(shape))


_phases = np.random.default_rng(11)
Z, W = values(3, 4), values(3, 4)
R = _phases.uniform(0.3, 1.3, (3, 4))
COMPLEX_ZEROS = Z * np.array([[1, 0, 1, 1], [0, 1, 0, 1], [1, 1, 1, 1]])
COMPLEX = {
    "add": [(gt.add, Z, R), (lambda z: z + 2j, R)],
    "subtract": [(gt.subtract, R, Z), (lambda z: 1j - z, values(4))],
    "multiply": [(gt.multiply, Z, W), (gt.multiply, R, values(1, 4)), (lambda x: x * 2j, R)],
    "divide": [(gt.divide, Z, W), (gt.divide, R, Z), (gt.divide, Z, R)],
    "pow": [(gt.pow, Z, W), (gt.pow, R, Z), (gt.pow, -R, Z), (lambda z: z**0, Z)],
    "pow_number": [(lambda z: z**3, Z), (lambda z: z**-0.5, Z), (lambda x: x ** (1 + 2j), R)],
    "negative": [(gt.negative, Z)],
    "positive": [(gt.positive, Z)],
    "abs": [(gt.abs, Z)],
    "sign": [(gt.sign, Z), (gt.sign, Z[0, 0])],
    "real": [(gt.real, Z), (gt.real, R), (lambda z: z.real, Z)],
    "imag": [(gt.imag, Z), (gt.imag, Z[0, 0]), (lambda z: z.imag, Z)],
    "conj": [(gt.conj, Z), (lambda x: x.conj() * 1j, R)],
    "square": [(gt.square, Z)],
    "sqrt": [(gt.sqrt, Z)],
    "reciprocal": [(gt.reciprocal, Z)],
    "exp": [(gt.exp, Z)],
    "expm1": [(gt.expm1, Z)],
    "log": [(gt.log, Z)],
    "log1p": [(gt.log1p, 0.5 * Z)],
    "log2": [(gt.log2, Z)],
    "log10": [(gt.log10, Z)],
    "sin": [(gt.sin, Z)],
    "cos": [(gt.cos, Z)],
    "tan": [(gt.tan, 0.5 * Z)],
    "asin": [(gt.asin, 0.5 * Z)],
    "acos": [(gt.acos, 0.5 * Z)],
    "atan": [(gt.atan, 0.5 * Z)],
    "sinh": [(gt.sinh, Z)],
    "cosh": [(gt.cosh, Z)],
    "tanh": [(gt.tanh, Z)],
    "asinh": [(gt.asinh, 0.5 * Z)],
    "acosh": [(gt.acosh, 0.5 * Z)],
    "atanh": [(gt.atanh, 0.5 * Z)],
    "sinc": [(gt.sinc, Z), (gt.sinc, 0.05 * Z)],
    "nan_to_num": [(gt.nan_to_num, Z)],
    "atan2": [(gt.angle, Z)],
    "prod": [(gt.prod, Z), (lambda z: gt.prod(z, axis=0), COMPLEX_ZEROS)],
    "cumulative_sum": [(lambda z: gt.cumulative_sum(z, axis=0, include_initial=True), Z)],
    "cumulative_prod": [(lambda z: gt.cumulative_prod(z, axis=1), COMPLEX_ZEROS)],
    "sort": [(lambda z: gt.sort(z, axis=0, descending=True), Z)],
    "flip": [(gt.flip, Z)],
    "roll": [(lambda z: gt.roll(z, 1, axis=0), Z)],
    "tile": [(lambda z: gt.tile(z, (2, 1)), Z)],
    "repeat": [(lambda z: gt.repeat(z, 2, axis=1), Z)],
    "pad": [(lambda z: gt.pad(z, 1, constant_values=1j), Z)],
    "tril": [(lambda z: gt.tril(z) - 2j * gt.triu(z), Z)],
    "convolve": [(gt.convolve, values(4), values(3)), (gt.convolve, values(4), R[0])],
    "sigmoid": [(gt.sigmoid, Z)],
    "where": [(lambda z, x: gt.where(gt.asarray(R > 0.8), z, x), Z, R)],
    "sum": [(lambda z: gt.sum(z, axis=0), Z)],
    "mean": [(lambda z: gt.mean(z, axis=1, keepdims=True), Z)],
    "var": [(lambda z: gt.var(z, axis=0), Z), (gt.std, Z)],
    "astype": [(lambda x: gt.astype(x, gt.complex128), R)],
    "reshape": [(lambda z: gt.reshape(z, (2, -1)), Z)],
    "permute_dims": [(lambda z: z.T, Z)],
    "broadcast_to": [(lambda z: gt.broadcast_to(z, (2, 3, 4)), Z)],
    "concat": [(lambda z, x: gt.concat([z, x]), Z, R)],
    "getitem": [
        (lambda z: z[:, ::-2], Z),
        (lambda z: z[[0, 2, 0]], Z),
        (lambda z: z[1, [0, 2, 0]], Z),
    ],
    "index_add": [(lambda z: gt.index_add((4,), [0, 2, 0], z), values(3))],
    "index_put": [(lambda z: gt.index_put((4,), slice(1, 4), z), values(3))],
    "matmul": [
        (gt.matmul, Z, values(4, 2)),
        (gt.matmul, R, values(4)),
        (gt.matmul, values(4), values(4)),
        (gt.matmul, values(2, 3, 4), R.T),
    ],
    "einsum": [
        (lambda x, y: gt.einsum("ij,kj->ik", x, y), Z, R),
        (lambda x: gt.einsum("ii->i", x), values(3, 3)),
        (lambda x, y: gt.einsum("ij,k->j", x, y), R, values(2)),
    ],
    # The order is NumPy's: by real parts.
    "maximum": [(gt.maximum, Z, W), (gt.minimum, Z, R)],
    "max": [(lambda z: gt.max(z, axis=0), Z), (gt.min, Z)],
    "relu": [(gt.relu, Z)],
    "dense": [(lambda z, w, b: gt.nn.functional.dense(z, w, b, "tanh"), Z, W.T, values(3))],
    "softmax": [(gt.softmax, Z), (gt.log_softmax, Z)],
    "logsumexp": [(lambda z: gt.logsumexp(z, axis=1), Z)],
    "identity": [(lambda z: gt.grad(lambda v: gt.sum(gt.square(gt.abs(v) + 1)))(z), Z)],
    "to": [(lambda z: z.to("cpu") * 2j, Z)],
}


# Matrices: shapes, for real and for complex numbers


def adjoint(x):
    return gt.conj(gt.matrix_transpose(x))


def hermitian(x):
    return x + adjoint(x)


def positive(x):
    return x @ adjoint(x) + 2 * gt.eye(x.shape[-2], dtype=x.dtype, device=x.device)


def phaseless(x):
    """What does not depend on the phases of the columns of `x`."""
    weights = WEIGHTS[: x.shape[-2]].astype(np.result_type(x.dtype, np.complex64))
    return gt.square(gt.abs(gt.asarray(weights, device=x.device) @ x))


def spectrum(values):
    """What does not depend on the order of eigenvalues."""
    return gt.abs(gt.sum(values**3, axis=-1)) + gt.real(gt.sum(gt.exp(values), axis=-1))


_rng = np.random.default_rng(5)
real, cplx = real_by(_rng), cplx_by(_rng)
WEIGHTS = cplx(5)
LINALG = {
    "cholesky": [
        (lambda x: linalg.cholesky(positive(x)), (3, 4)),
        (lambda x: linalg.cholesky(positive(x), upper=True), (2, 3, 3)),
    ],
    "cofactors": [(determinants._cofactors, (2, 3, 3)), (determinants._cofactors, (1, 1))],
    "cofactors_slope": [(determinants._cofactors_slope, (2, 3, 3), (2, 3, 3))],
    "cross": [
        (linalg.cross, (2, 3), (3,)),
        (lambda x, y: linalg.cross(x, y, axis=-2), (2, 3, 2), (3, 1)),
    ],
    "det": [(linalg.det, (3, 3)), (linalg.det, (2, 2, 2))],
    "diagonal": [
        (linalg.diagonal, (3, 4)),
        (lambda x: linalg.diagonal(x, offset=-1), (2, 3, 2)),
        (lambda x: gt.diagonal(x, 1, 2, 0), (3, 2, 4)),
        (lambda x: gt.diag(x, -1), (3,)),
        (lambda x: gt.diag(x, 1), (3, 3)),
    ],
    "trace": [(linalg.trace, (2, 3, 3)), (lambda x: gt.trace(x, 1), (3, 4))],
    "eigh": [
        (lambda x: linalg.eigh(hermitian(x)).eigenvalues, (3, 3)),
        (lambda x: phaseless(linalg.eigh(hermitian(x)).eigenvectors), (2, 3, 3)),
        (
            lambda x: (lambda w, v: gt.real(v * gt.exp(w)[..., None, :] @ adjoint(v)))(
                *linalg.eigh(hermitian(x) * 0.2)
            ),
            (3, 3),
        ),
    ],
    "eigvalsh": [(lambda x: linalg.eigvalsh(hermitian(x)), (2, 3, 3))],
    "eig": [
        (lambda x: spectrum(linalg.eigvals(x)), (3, 3)),
        (lambda x: gt.abs(linalg.eig(x).eigenvectors) ** 2 @ gt.ones(3), (2, 3, 3)),
        (
            lambda x: (lambda w, v: gt.real(v * gt.exp(w * 0.2)[..., None, :] @ linalg.inv(v)))(
                *linalg.eig(x)
            ),
            (3, 3),
        ),
    ],
    "eigvals": [(lambda x: spectrum(linalg.eigvals(x)), (2, 3, 3))],
    "expm": [(linalg.expm, (3, 3)), (lambda x: linalg.expm(x * 3), (2, 2, 2))],
    "inv": [(linalg.inv, (3, 3)), (linalg.inv, (2, 2, 2))],
    "lstsq": [
        (lambda a, b: linalg.lstsq(a, b).x, (4, 2), (4,)),
        (lambda a, b: linalg.lstsq(a, b).residuals, (4, 2), (4, 3)),
        (lambda a, b: linalg.lstsq(a, b).x, (2, 4), (2, 2)),
    ],
    "matrix_norm": [
        (lambda x, ord=ord: linalg.matrix_norm(x, ord=ord), (3, 4))
        for ord in ("fro", "nuc", 1, 2, math.inf, -1, -2, -math.inf)
    ],
    "matrix_power": [(lambda x, n=n: linalg.matrix_power(x, n), (3, 3)) for n in (-2, 1, 2, 5)],
    "norm": [
        (lambda x: linalg.norm(x), (3, 4)),
        (lambda x: linalg.norm(x, axis=0), (3, 4)),
        (lambda x: linalg.norm(x, 1, axis=(0, 2), keepdims=True), (3, 2, 4)),
    ],
    "output": [(lambda x: linalg.eigh(hermitian(x))[0], (2, 2))],
    "outer": [(linalg.outer, (3,), (2,)), (gt.outer, (2, 2), (3,))],
    "pinv": [(linalg.pinv, (4, 2)), (linalg.pinv, (2, 2, 3)), (linalg.pinv, (3, 3))],
    "qr": [
        (lambda x: phaseless(linalg.qr(x).Q), (4, 3)),
        (lambda x: gt.abs(linalg.qr(x).R) ** 2, (2, 3, 3)),
        (lambda x: gt.abs(linalg.qr(x).R) ** 2, (2, 4)),
        (lambda x: gt.abs(linalg.qr(x, mode="complete").R[:2]) ** 2, (4, 2)),
        (lambda x: (lambda q, r: gt.real(q @ (r * r.conj())))(*linalg.qr(x)), (3, 2)),
        (lambda x: (lambda q, r: phaseless(q) @ gt.abs(r))(*linalg.qr(x)), (2, 3)),
    ],
    "slogdet": [
        (lambda x: linalg.slogdet(x).logabsdet, (2, 3, 3)),
        (lambda x: linalg.slogdet(x).sign, (3, 3)),
        (lambda x: (lambda s, v: s * gt.exp(v))(*linalg.slogdet(x)), (3, 3)),
    ],
    "solve": [
        (linalg.solve, (3, 3), (3, 2)),
        (linalg.solve, (3, 3), (3,)),
        (linalg.solve, (2, 1, 2, 2), (3, 2, 1)),
    ],
    "solve_triangular": [
        (linalg.solve_triangular, (3, 3), (3,)),
        (lambda a, b: linalg.solve_triangular(a, b, lower=True), (2, 1, 2, 2), (3, 2, 1)),
        (lambda a, b: linalg.solve_triangular(a, b, trans="T", lower=True), (3, 3), (2, 3, 2)),
        (lambda a, b: linalg.solve_triangular(a, b, trans="C", unit_diagonal=True), (3, 3), (3, 1)),
        (lambda a, b: linalg.solve_triangular(a, b, lower=True, unit_diagonal=True), (3, 3), (3,)),
    ],
    "svd": [
        (lambda x: linalg.svd(x).S, (3, 2)),
        (lambda x: phaseless(linalg.svd(x, full_matrices=False).U), (4, 3)),
        (lambda x: phaseless(linalg.svd(x, full_matrices=False).U), (2, 3)),
        (lambda x: phaseless(linalg.svd(x, full_matrices=False).Vh.mT), (2, 4)),
        (lambda x: phaseless(linalg.svd(x).Vh.mT), (2, 3, 3)),
        (
            lambda x: (lambda u, s, vh: gt.real(u * gt.sin(s)[..., None, :] @ vh))(
                *linalg.svd(x, full_matrices=False)
            ),
            (3, 4),
        ),
    ],
    "svdvals": [(linalg.svdvals, (3, 4)), (linalg.svdvals, (2, 3, 2))],
    "tensordot": [
        (lambda x, y: gt.tensordot(x, y, axes=1), (2, 3), (3, 4)),
        (lambda x, y: gt.tensordot(x, y, axes=((0, -1), (2, 1))), (2, 3, 2), (3, 2, 2)),
        (lambda x, y: gt.tensordot(x, y, axes=0), (2,), (3,)),
        (gt.dot, (2, 3), (2, 3, 2)),
        (gt.inner, (2, 3), (2, 3)),
        (gt.kron, (2, 3), (2,)),
    ],
    "vecdot": [
        (gt.vecdot, (2, 3), (3,)),
        (lambda x, y: gt.vecdot(x, y, axis=-2), (2, 3, 2), (3, 1)),
    ],
    "vector_norm": [
        (lambda x, ord=ord: linalg.vector_norm(x, axis=-1, ord=ord), (2, 3))
        for ord in (1, 2, 3.5, -1, 0.5, math.inf, -math.inf)
    ]
    + [(lambda x: linalg.vector_norm(x, axis=(0, 2), keepdims=True), (2, 3, 2))],
}


# Fourier transforms: arrays

NORMS = ["backward", "ortho", "forward"]
ALONG = ["fft", "ifft", "rfft", "irfft", "hfft", "ihfft"]
OVER = ["fftn", "ifftn", "rfftn", "irfftn"]
TRANSFORMS = [*ALONG, *OVER, "fftshift", "ifftshift"]
OF_REAL = {"rfft", "ihfft", "rfftn"}


_rng = np.random.default_rng(3)
_signal = {True: real_by(_rng), False: cplx_by(_rng)}


def _transform(name, *shape, is_real=None, **options):
    data = _signal[name in OF_REAL if is_real is None else is_real](*shape)
    text = "-".join(["fft", name, str(shape), *map(str, options.values())])
    return pytest.param(name, lambda x: getattr(fft, name)(x, **options), [data], id=text)


# All


def _called(chapter, table):
    return [
        pytest.param(name, function, [np.asarray(x) for x in inputs], id=f"{chapter}-{name}-{i}")
        for name, calls in table.items()
        for i, (function, *inputs) in enumerate(calls)
    ]


REAL_CHECKS = _called("ops", REAL)
COMPLEX_CHECKS = _called("complex", COMPLEX)
LINALG_CHECKS = [
    pytest.param(
        name,
        function,
        [make(*shape) for shape in shapes],
        id=f"linalg-{name}-{i}-{make.__name__}",
    )
    for name, calls in LINALG.items()
    for i, (function, *shapes) in enumerate(calls)
    for make in (real, cplx)
]
FFT_CHECKS = [
    *(_transform(name, 2, 5) for name in ALONG),
    *(_transform(name, 4, 2, axis=0, norm=norm) for name in ALONG for norm in NORMS),
    *(_transform(name, 4, n=n) for name in ALONG for n in (1, 3, 6, 9)),
    *(_transform(name, 3, 4) for name in OVER),
    *(_transform(name, 3, 2, 4, axes=(2, 0), norm=norm) for name in OVER for norm in NORMS),
    *(_transform(name, 3, 4, s=(4, 3), axes=(0, 1)) for name in OVER),
    *(_transform(name, 2, 3, s=(2,)) for name in OVER),
    *(_transform(name, 4, is_real=True) for name in ("fft", "ifft", "irfft", "hfft", "fftn")),
    _transform("fftshift", 3, 4),
    _transform("ifftshift", 3, 5, axes=-1),
]
CHECKS = [*REAL_CHECKS, *COMPLEX_CHECKS, *LINALG_CHECKS, *FFT_CHECKS]
every_case = pytest.mark.parametrize(("name", "function", "arrays"), CHECKS)
