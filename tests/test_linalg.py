"""gt.linalg: values, gradients of two orders, stacks, empty matrices, bad input."""

import importlib
import inspect
import itertools
import math

import array_api_strict
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import gputensor as gt
from cases import LINALG, LINALG_CHECKS, adjoint, hermitian, positive
from checks import cplx_by, leaf, real_by
from gputensor import linalg

RNG = np.random.default_rng(5)
DTYPES = ["float32", "float64", "complex64", "complex128"]


real, cplx = real_by(RNG), cplx_by(RNG)


SINGULAR = np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [0.5, -1.0, 2.0]])
# Singular in any arithmetic. Of the other a fused multiply-add leaves a pivot that is not quite 0.
NO_ROW = np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0], [0.5, -1.0, 2.0]])


@pytest.mark.parametrize("extension", ["linalg", "fft"])
def test_names_and_signatures_are_the_standards(extension):
    theirs, mine = getattr(array_api_strict, extension), getattr(gt, extension)
    for name in theirs.__all__:
        wanted, found = (
            [
                # The names of positional operands are anybody's; what needs a name in the standard
                # may go without in NumPy, and here.
                (p.kind == p.POSITIONAL_ONLY, p.kind == p.POSITIONAL_ONLY or p.name, p.default)
                for p in inspect.signature(getattr(place, name)).parameters.values()
            ]
            for place in (theirs, mine)
        )
        assert found == wanted, name


def test_every_function_has_a_case():
    assert set(linalg.__all__) - set(LINALG) == {"matmul", "matrix_rank", "matrix_transpose"}


@pytest.mark.parametrize(("name", "function", "inputs"), LINALG_CHECKS)
def test_directional_derivative_equals_finite_differences(name, function, inputs):
    tangents = [np.roll(x, 1) * 0.5 for x in inputs]
    _, found = gt.jvp(function, tuple(inputs), tuple(tangents))
    ends = [
        function(*(gt.asarray(x + s * t) for x, t in zip(inputs, tangents, strict=True)))
        for s in (1e-6, -1e-6)
    ]
    np.testing.assert_allclose(found.numpy(), (ends[0] - ends[1]).numpy() / 2e-6, atol=1e-6)


# Values, by a second implementation

MATRIX = {
    "det": {},
    "inv": {},
    "slogdet": {},
    "svdvals": {},
    "pinv": {},
    "matrix_rank": {},
    "trace": {"offset": [0, 1]},
    "diagonal": {"offset": [0, -1, 5]},
    "matrix_norm": {
        "ord": ["fro", "nuc", 1, 2, math.inf, -1, -2, -math.inf],
        "keepdims": [True, False],
    },
    "vector_norm": {
        "ord": [2, 1, 0, 3, math.inf, -math.inf],
        "axis": [None, -1, (0, 1)],
        "keepdims": [True, False],
    },
}
SQUARE = {"det", "inv", "slogdet"}


def options(name):
    keys = MATRIX[name]
    return [dict(zip(keys, values, strict=True)) for values in itertools.product(*keys.values())]


@pytest.mark.parametrize("name", MATRIX)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("stack", [(), (2,), (0,)])
def test_values_equal_array_api_strict(name, dtype, stack):
    x = cplx(*stack, 3, 3) if name in SQUARE else cplx(*stack, 3, 4)
    x = (x if dtype.startswith("c") else x.real).astype(dtype)
    for chosen in options(name):
        if name == "vector_norm" and 0 in stack and chosen["ord"] < 0 and chosen["axis"] != -1:
            continue  # the smallest of no elements
        found = getattr(gt.linalg, name)(gt.asarray(x), **chosen)
        expected = getattr(array_api_strict.linalg, name)(array_api_strict.asarray(x), **chosen)
        if not isinstance(expected, tuple):
            found, expected = (found,), (expected,)
        for a, b in zip(found, expected, strict=True):
            b = np.asarray(b)
            assert (a.dtype, a.shape) == (b.dtype, b.shape)
            np.testing.assert_allclose(
                a.numpy(),
                b,
                rtol=2e-4 if "4" in dtype[-1] or "32" in dtype else 1e-8,
                atol=1e-4 if dtype in ("float32", "complex64") else 1e-12,
            )


def assert_near(found, expected, dtype=np.float64):
    bound = 1e-3 if np.dtype(dtype).name in ("float32", "complex64") else 1e-9
    np.testing.assert_allclose(found.numpy(), expected, atol=bound)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3, 3), (2, 4, 3), (3, 4), (0, 3, 3), (2, 0, 3), (3, 0), (0, 0)])
def test_decompositions_multiply_back(dtype, shape):
    data = (cplx(*shape) if dtype.startswith("c") else real(*shape)).astype(dtype)
    x = gt.asarray(data)
    m, n = shape[-2:]
    k = min(m, n)
    for full in (False, True):
        u, s, vh = linalg.svd(x, full_matrices=full)
        assert s.dtype == data.real.dtype
        assert (u.shape[-1], s.shape[-1], vh.shape[-2]) == ((m, k, n) if full else (k, k, k))
        assert_near(u[..., :k] * s[..., None, :] @ vh[..., :k, :], data, dtype)
    for mode in ("reduced", "complete"):
        q, r = linalg.qr(x, mode=mode)
        assert q.shape[-1] == (m if mode == "complete" else k)
        assert_near(q @ r, data, dtype)
        assert_near(
            adjoint(q) @ q,
            np.broadcast_to(np.eye(q.shape[-1]), (*shape[:-2], *q.shape[-1:] * 2)),
            dtype,
        )
        np.testing.assert_array_equal(np.triu(r.numpy()), r.numpy())
    square = x @ adjoint(x) + gt.eye(m, dtype=dtype)
    for upper in (False, True):
        factor = linalg.cholesky(square, upper=upper)
        assert_near(
            (adjoint(factor) @ factor) if upper else factor @ adjoint(factor), square.numpy(), dtype
        )
    values, vectors = linalg.eigh(square)
    assert values.dtype == data.real.dtype
    assert_near(vectors * values[..., None, :] @ adjoint(vectors), square.numpy(), dtype)
    assert_near(linalg.eigvalsh(square), values.numpy(), dtype)


@pytest.mark.parametrize("n", [-3, -1, 0, 1, 2, 7])
@pytest.mark.parametrize("shape", [(3, 3), (2, 2, 2), (0, 2, 2), (0, 0)])
def test_matrix_power_equals_numpy(n, shape):
    x = real(*shape)
    assert_near(linalg.matrix_power(gt.asarray(x), n), np.linalg.matrix_power(x, n))


def test_matrix_power_zero_is_the_identity_of_any_matrix():
    assert linalg.matrix_power(gt.tensor([[math.nan, 1], [2, math.inf]]), 0).tolist() == [
        [1, 0],
        [0, 1],
    ]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((3, 3), (3,)),
        ((3, 3), (3, 2)),
        ((2, 3, 3), (3,)),
        ((2, 3, 3), (3, 2)),
        ((3, 3), (4, 3, 1)),
        ((2, 1, 2, 2), (3, 2, 2)),
        ((0, 2, 2), (2, 1)),
        ((0, 0), (0, 2)),
    ],
)
def test_solve_takes_stacks_that_broadcast(left, right):
    a, b = real(*left), real(*right)
    expected = array_api_strict.linalg.solve(
        array_api_strict.asarray(a), array_api_strict.asarray(b)
    )
    found = linalg.solve(gt.asarray(a), gt.asarray(b))
    assert found.shape == expected.shape
    assert_near(found, np.asarray(expected))


TRIANGLES = [
    {"lower": lower, "trans": trans, "unit_diagonal": unit_diagonal}
    for lower in (False, True)
    for trans in (0, 1, 2, "N", "T", "C")
    for unit_diagonal in (False, True)
]


def triangular_operands(n, left, right):
    shapes = {left: (2, 1, n, n), right: (3, n, 2)}
    a, b = ((cplx if "c" in d else real)(*shape).astype(d) for d, shape in shapes.items())
    return a / n + np.eye(n, dtype=left), b


@pytest.mark.parametrize("options", TRIANGLES)
@pytest.mark.parametrize(("left", "right"), [("f4", "f8"), ("c16", "f4")])
@pytest.mark.parametrize("n", [4, 130])
def test_solve_triangular_equals_scipy(n, left, right, options):
    a, b = triangular_operands(n, left, right)
    solve = importlib.import_module("scipy.linalg").solve_triangular
    expected = [[solve(m[0], c, **options) for c in b] for m in a]
    for layout in (a, np.ascontiguousarray(a.swapaxes(-1, -2)).swapaxes(-1, -2)):
        found = linalg.solve_triangular(gt.asarray(layout), gt.asarray(b), **options)
        assert found.dtype == np.result_type(left, right)
        assert_near(found, expected, np.float32)


def test_solve_triangular_on_cuda_equals_the_cpu(cupy):
    for options in TRIANGLES:
        for dtypes in (("f4", "f8"), ("f4", "c8"), ("c16", "f4")):
            operands = triangular_operands(3, *dtypes)
            found, expected = (
                linalg.solve_triangular(*(gt.asarray(x, device=d) for x in operands), **options)
                for d in ("cuda", "cpu")
            )
            assert found.dtype == expected.dtype
            assert_near(found.cpu(), expected.numpy(), np.float32)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize(
    "shapes", [((0, 2, 2), (2, 1)), ((0, 0), (0, 2)), ((2, 2), (2, 0)), ((0, 0), (0,))]
)
def test_solve_triangular_takes_empty_operands(cupy, device, shapes):
    a, b = (gt.ones(shape, device=device, dtype=gt.float64) for shape in shapes)
    out = linalg.solve_triangular(a, b)
    assert out.shape == np.broadcast_shapes(shapes[0][:-2], shapes[1][:-2]) + shapes[1][-2:]
    assert (out.dtype, out.device.kind) == (gt.float64, device)


def test_only_one_triangle_is_read(cupy):
    for device in ("cpu", "cuda"):
        a = gt.tensor([[2.0, math.nan], [1.0, 4.0]], device=device, requires_grad=True)
        b = gt.tensor([2.0, 5.0], device=device)
        out = linalg.solve_triangular(a, b, lower=True)
        assert out.tolist() == [1, 1]
        out.sum().backward()
        assert a.grad.tolist() == [[-0.375, 0], [-0.25, -0.25]]
        with pytest.raises(gt.errors.LinAlgError, match="solve_triangular: the matrix is singular"):
            linalg.solve_triangular(gt.tensor(np.eye(2, k=1), device=device), b)
        unread = gt.tensor([[0.0, 0.0], [1.0, math.nan]], device=device)
        out = linalg.solve_triangular(unread, b, lower=True, unit_diagonal=True)
        assert out.tolist() == [2, 3]
        bad = gt.tensor([[math.nan, 0.0], [0.0, 1.0]], device=device)
        assert np.isnan(linalg.solve_triangular(bad, b).cpu().numpy()[0])


@settings(deadline=None, max_examples=40)
@given(
    shapes=hnp.mutually_broadcastable_shapes(num_shapes=2, min_dims=1, max_dims=3, max_side=3),
    data=st.data(),
)
def test_vecdot_and_cross_equal_array_api_strict(shapes, data):
    axis = data.draw(st.integers(-min(map(len, shapes.input_shapes)), -1))
    for name, length in (("vecdot", data.draw(st.integers(0, 3))), ("cross", 3)):
        operands = []
        for shape in shapes.input_shapes:
            shape = list(shape)
            shape[axis] = length
            operands.append(RNG.integers(-4, 5, shape).astype(np.complex128) * (1 + 2j))
        expected = getattr(array_api_strict.linalg, name)(
            *map(array_api_strict.asarray, operands), axis=axis
        )
        found = getattr(linalg, name)(*map(gt.asarray, operands), axis=axis)
        np.testing.assert_array_equal(found.numpy(), np.asarray(expected))


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_tensordot_equals_numpy(data):
    shape = data.draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
    count = data.draw(st.integers(0, len(shape)))
    order = data.draw(st.permutations(range(len(shape))))[:count]
    rest = data.draw(hnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=3))
    other = (*rest, *(shape[a] for a in order))
    axes = (order, [len(rest) + i for i in range(count)])
    x, y = RNG.integers(-5, 5, shape), RNG.integers(-5, 5, other)
    found = gt.tensordot(gt.asarray(x), gt.asarray(y), axes=axes)
    np.testing.assert_array_equal(found.numpy(), np.tensordot(x, y, axes))


@pytest.mark.parametrize("name", ["dot", "inner", "outer", "kron"])
@pytest.mark.parametrize(
    "shapes",
    [
        ((), ()),
        ((), (2, 2)),
        ((3,), (3,)),
        ((2, 3), (3,)),
        ((2, 3), (3, 3)),
        ((3,), (2, 3, 3)),
        ((2, 0), (0, 0)),
    ],
)
def test_products_equal_numpy(name, shapes):
    x, y = (RNG.integers(-5, 5, shape) for shape in shapes)
    found = getattr(gt, name)(gt.asarray(x), gt.asarray(y))
    np.testing.assert_array_equal(found.numpy(), getattr(np, name)(x, y))


@pytest.mark.parametrize("shape", [(3, 4), (4, 3, 2), (2, 0, 3)])
@pytest.mark.parametrize("offset", [0, 1, -2, 7])
def test_diagonal_and_trace_equal_numpy(shape, offset):
    x = real(*shape)
    for axes in ((0, 1), (-1, 0)):
        for name in ("diagonal", "trace"):
            expected = getattr(np, name)(x, offset, *axes)
            np.testing.assert_allclose(
                getattr(gt, name)(gt.asarray(x), offset, *axes).numpy(), expected
            )
    row = x[0].ravel()
    np.testing.assert_array_equal(gt.diag(gt.asarray(row), offset).numpy(), np.diag(row, offset))
    assert (
        gt.trace(gt.ones((2, 2), dtype=gt.int8)).dtype == np.trace(np.ones((2, 2), np.int8)).dtype
    )


@pytest.mark.parametrize(
    ("args", "shape"),
    [
        ({}, (2, 3, 2)),
        ({"axis": 1}, (2, 3)),
        ({"ord": "nuc"}, (2, 3)),
        ({"ord": 1, "axis": (2, 0)}, (2, 3, 2)),
        ({"ord": 3}, (4,)),
        ({"axis": (1, 0), "keepdims": True}, (3, 2, 2)),
        ({"ord": -math.inf, "axis": -1}, (2, 3)),
    ],
)
def test_norm_equals_numpy(args, shape):
    x = real(*shape)
    np.testing.assert_allclose(
        linalg.norm(gt.asarray(x), **args).numpy(), np.linalg.norm(x, **args)
    )


@pytest.mark.parametrize(("m", "n", "rank"), [(5, 3, 3), (3, 5, 3), (5, 3, 2)])
@pytest.mark.parametrize("columns", [(), (2,)])
def test_lstsq_equals_numpy(m, n, rank, columns):
    a = real(m, rank) @ real(rank, n)
    b = real(m, *columns)
    expected = np.linalg.lstsq(a, b)
    found = linalg.lstsq(gt.asarray(a), gt.asarray(b))
    for x, y in zip(found, expected, strict=True):
        assert x.shape == np.shape(y)
        np.testing.assert_allclose(x.numpy(), y, atol=1e-10)


def test_tolerance_of_rank_and_pseudo_inverse():
    x = gt.asarray(np.diag([1.0, 1e-3, 1e-20]))
    assert linalg.matrix_rank(x).item() == 2
    assert linalg.matrix_rank(x, rtol=0.1).item() == 1
    stack = gt.stack([x, x])
    assert linalg.matrix_rank(stack, rtol=gt.asarray([0.1, 1e-4])).tolist() == [1, 2]
    np.testing.assert_allclose(gt.diag(linalg.pinv(x, rtol=0.1)).numpy(), [1, 0, 0])
    np.testing.assert_allclose(gt.diag(linalg.pinv(x)).numpy(), [1, 1e3, 0])


def test_autocast_computes_in_float32():
    x = gt.tensor([[4.0, 0.0], [0.0, 2.0]], dtype=gt.float16, requires_grad=True)
    with gt.autocast("float16"):
        for out in (linalg.inv(x), linalg.vector_norm(x), linalg.det(x)):
            assert out.dtype == gt.float32
        linalg.det(x).backward()
        assert gt.tensordot(gt.ones(2), gt.ones(2), axes=1).dtype == gt.float16
    assert x.grad.dtype == gt.float16
    np.testing.assert_allclose(x.grad.numpy(), [[2, 0], [0, 4]])


def test_integers_are_taken_as_float64():
    x = gt.tensor([[2, 1], [1, 3]])
    for name in ("inv", "det", "cholesky", "svdvals", "matrix_norm", "vector_norm", "pinv"):
        assert getattr(linalg, name)(x).dtype == gt.float64
    assert linalg.solve(x, [1, 2]).dtype == gt.float64
    assert linalg.inv([[2.0, 0.0], [0.0, 4.0]]).tolist() == [[0.5, 0], [0, 0.25]]


# Gradients at the edges


def test_gradient_of_the_determinant_of_a_singular_matrix():
    assert gt.gradcheck(linalg.det, leaf(SINGULAR))
    assert gt.gradcheck(linalg.det, leaf(SINGULAR + 1j * SINGULAR))
    zero = leaf(np.zeros((2, 2)))
    linalg.det(zero).backward()
    np.testing.assert_array_equal(zero.grad.numpy(), np.zeros((2, 2)))


def of_rank(rank, n=4, make=real):
    return make(n, rank) @ make(rank, n)


@pytest.mark.parametrize("make", [real, cplx])
@pytest.mark.parametrize("rank", [4, 3, 2, 1, 0])
def test_derivatives_of_the_determinant_of_any_rank(make, rank):
    x = leaf(of_rank(rank, make=make))
    slopes = gt.grad(lambda v: gt.real(linalg.det(v)))
    assert gt.gradcheck(lambda v: gt.real(linalg.det(v)), x)
    assert gt.gradcheck(slopes, x)


def test_stacks_of_regular_and_singular_matrices(cupy):
    data = np.stack([of_rank(rank) for rank in (3, 4, 2, 3)]).reshape(2, 2, 4, 4)
    weights = real(*data.shape)
    for device in ("cpu", "cuda"):
        with gt.device(device):

            def slope(v):
                return gt.sum(
                    gt.grad(lambda u: gt.sum(linalg.det(u) ** 2))(v) * gt.asarray(weights)
                )

            found = gt.grad(slope)(gt.asarray(data)).cpu().numpy()
            for i in np.ndindex(2, 2):

                def alone(v, i=i):
                    part = gt.grad(lambda u: linalg.det(u) ** 2)(v)
                    return gt.sum(part * gt.asarray(weights[i]))

                expected = gt.grad(alone)(gt.asarray(data[i])).cpu().numpy()
                np.testing.assert_allclose(found[i], expected, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("make", [real, cplx])
@pytest.mark.parametrize("rank", [3, 2])
def test_derivatives_do_not_jump_where_singular_begins(make, rank):
    """Both formulas give the same for matrices that are as close to singular as either takes."""
    u, _, vh = np.linalg.svd(make(4, 4))
    found = []

    def slopes(v):
        return gt.grad(lambda t: gt.real(linalg.det(t)))(v)

    for small in (0.9e-8, 2e-8):
        s = np.array([2.0, 1.0, 0.5 if rank == 3 else small, small])
        x = leaf(u * s @ vh)
        found.append(
            (
                slopes(x).detach().numpy(),
                gt.grad(lambda v: gt.abs(slopes(v)[0, 1]) ** 2)(x).detach().numpy(),
            )
        )
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_the_determinant_of_a_huge_matrix_has_no_finite_gradient():
    with np.errstate(over="ignore", invalid="ignore"):
        x = leaf(1e3 * real(150, 150))
        linalg.det(x).backward()
    assert not np.isfinite(x.grad.numpy()).any()


def test_norm_is_flat_at_zero():
    for ord in (1, 2, 3):
        x = leaf(np.zeros(3))
        linalg.vector_norm(x, ord=ord).backward()
        assert x.grad.tolist() == [0, 0, 0]


def test_eigenvalues_may_be_equal():
    x = leaf(np.eye(3))
    linalg.eigh(x).eigenvalues.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.eye(3), atol=1e-15)
    s = leaf(np.eye(3))
    linalg.svd(s).S.sum().backward()
    np.testing.assert_allclose(s.grad.numpy(), np.eye(3), atol=1e-15)


@pytest.mark.filterwarnings("ignore:(divide by zero|invalid value)")
def test_gradients_of_arbitrary_eigenvectors_are_not_finite():
    x = leaf(np.eye(3))
    (linalg.eigh(x).eigenvectors * gt.asarray(real(3, 3))).sum().backward()
    assert not np.isfinite(x.grad.numpy()).all()


def test_results_share_a_node_and_may_be_used_apart():
    data = real(3, 3)
    found = []
    for uses in ("eigenvalues", "eigenvectors", "both"):
        x = leaf(data)
        w, v = linalg.eigh(x + x.mT)
        parts = {"eigenvalues": (w**2).sum(), "eigenvectors": (v**4).sum()}
        total = parts[uses] if uses in parts else parts["eigenvalues"] + parts["eigenvectors"]
        total.backward()
        found.append(x.grad.numpy())
    np.testing.assert_allclose(found[0] + found[1], found[2], atol=1e-12)


def test_a_second_pass_through_several_results_needs_retain_graph():
    x = leaf(real(3, 3))
    w, v = linalg.eigh(x + x.mT)
    w.sum().backward(retain_graph=True)
    (v**4).sum().backward()
    with pytest.raises(gt.errors.GraphError, match="freed"):
        w.sum().backward()
    with gt.no_grad():
        assert not linalg.eigh(x).eigenvalues.requires_grad


@pytest.mark.peers
@pytest.mark.parametrize("make", [real, cplx])
@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("inv", (3, 3)),
        ("det", (2, 3, 3)),
        ("pinv", (4, 2)),
        ("pinv", (2, 4)),
        ("cholesky", (3, 3)),
        ("eigvalsh", (3, 3)),
        ("svdvals", (3, 2)),
        ("matrix_norm", (3, 2)),
        ("vector_norm", (3, 2)),
    ],
)
def test_gradient_equals_pytorch(name, shape, make):
    torch = pytest.importorskip("torch")
    data = make(*shape)
    prepare = name in ("cholesky", "eigvalsh")
    x, theirs = leaf(data), torch.tensor(data, requires_grad=True)
    out = getattr(linalg, name)(positive(x) if prepare else x)
    eye = 2 * torch.eye(shape[-2], dtype=theirs.dtype)
    other = getattr(torch.linalg, name)(theirs @ theirs.mH + eye if prepare else theirs)
    weights = (cplx if out.dtype.kind == "c" else real)(*out.shape)
    out.backward(gt.asarray(weights))
    other.backward(torch.tensor(weights))
    np.testing.assert_allclose(
        x.grad.numpy(), theirs.grad.resolve_conj().numpy(), rtol=1e-7, atol=1e-10
    )


@pytest.mark.peers
@pytest.mark.parametrize("make", [real, cplx])
@pytest.mark.parametrize("name", ["eigh", "svd", "qr", "slogdet"])
def test_gradient_of_several_results_equals_pytorch(name, make):
    torch = pytest.importorskip("torch")
    data = make(4, 3) if name in ("svd", "qr") else make(3, 3)
    given = {"full_matrices": False} if name == "svd" else {}
    x, theirs = leaf(data), torch.tensor(data, requires_grad=True)
    mine = getattr(linalg, name)(hermitian(x) if name == "eigh" else x, **given)
    others = getattr(torch.linalg, name)(theirs + theirs.mH if name == "eigh" else theirs, **given)
    weights = [RNG.random(a.shape) for a in mine]
    sum(
        (gt.abs(a) ** 2 * gt.asarray(w)).sum() for a, w in zip(mine, weights, strict=True)
    ).backward()
    sum(
        (b.abs() ** 2 * torch.tensor(w)).sum() for b, w in zip(others, weights, strict=True)
    ).backward()
    np.testing.assert_allclose(
        x.grad.numpy(), theirs.grad.resolve_conj().numpy(), rtol=1e-7, atol=1e-10
    )


# Bad input


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda: linalg.inv(NO_ROW), gt.errors.LinAlgError, "linalg.inv: the matrix is singular"),
        (
            lambda: linalg.solve(NO_ROW, np.ones(3)),
            gt.errors.LinAlgError,
            "linalg.solve: the matrix is singular",
        ),
        (lambda: linalg.cholesky(-np.eye(2)), gt.errors.LinAlgError, "not positive definite"),
        (lambda: linalg.svd(np.full((2, 2), math.nan)), gt.errors.LinAlgError, "NaN"),
        (lambda: linalg.matrix_power(NO_ROW, -1), gt.errors.LinAlgError, "singular"),
        (
            lambda: linalg.inv(gt.ones((2, 3))),
            gt.errors.ShapeError,
            r"x must have shape \(\.\.\., n, n\), its shape is \(2, 3\)",
        ),
        (
            lambda: linalg.svd(gt.ones(3)),
            gt.errors.ShapeError,
            r"x must have shape \(\.\.\., m, n\)",
        ),
        (
            lambda: linalg.eigh(gt.ones((2, 2), dtype=gt.float16)),
            gt.errors.DTypeError,
            "eigh does not take operands of dtype float16",
        ),
        (lambda: linalg.solve(gt.eye(2), gt.ones((3, 1))), gt.errors.ShapeError, "do not fit"),
        (lambda: linalg.solve(gt.eye(2), 1.0), gt.errors.ShapeError, "do not fit"),
        (
            lambda: linalg.solve_triangular(gt.eye(2), gt.ones((3, 1))),
            gt.errors.ShapeError,
            "do not fit",
        ),
        (
            lambda: linalg.solve_triangular(
                gt.eye(2, dtype=gt.float16), gt.ones(2, dtype="float16")
            ),
            gt.errors.DTypeError,
            "solve_triangular does not take operands of dtype float16",
        ),
        (lambda: linalg.solve_triangular(gt.eye(2), gt.ones(2), trans=3), ValueError, "trans 3"),
        (
            lambda: linalg.qr(leaf(np.ones((2, 2)) * 0)).Q.sum().backward(),
            gt.errors.LinAlgError,
            "singular",
        ),
        (lambda: linalg.cross(gt.ones(2), gt.ones(2)), gt.errors.ShapeError, "length 3"),
        (lambda: linalg.outer(gt.ones((2, 2)), gt.ones(2)), gt.errors.ShapeError, "vectors"),
        (lambda: linalg.matrix_norm(gt.eye(2), ord=3), ValueError, "ord 3 is unknown"),
        (lambda: linalg.norm(gt.ones((2, 2, 2)), 2), gt.errors.ShapeError, "3 axes"),
        (lambda: linalg.qr(gt.eye(2), mode="r"), ValueError, "mode 'r' is unknown"),
        (lambda: linalg.lstsq(gt.eye(2), gt.ones(3)), gt.errors.ShapeError, "do not fit"),
        (
            lambda: gt.tensordot(gt.ones(2), gt.ones(3), axes=1),
            gt.errors.ShapeError,
            "as many and as long",
        ),
        (lambda: gt.tensordot(gt.ones(2), gt.ones(3)), gt.errors.ShapeError, "axes is 2"),
        (lambda: gt.vecdot(gt.ones(2), gt.ones(3)), gt.errors.ShapeError, "as long along axis -1"),
        (lambda: gt.diag(gt.ones((2, 2, 2))), gt.errors.ShapeError, "a vector or a matrix"),
        (lambda: gt.diagonal(gt.ones(3)), gt.errors.ShapeError, "out of range"),
        (
            lambda: linalg.svd(leaf(real(3, 2))).U.sum().backward(),
            gt.errors.GraphError,
            "full_matrices=False",
        ),
        (
            lambda: linalg.qr(leaf(real(3, 2)), mode="complete").Q.sum().backward(),
            gt.errors.GraphError,
            "reduced",
        ),
        (
            lambda: gt.grad(gt.grad(gt.grad(lambda t: linalg.det(t * gt.asarray(NO_ROW)))))(
                gt.tensor(1.0)
            ),
            gt.errors.LinAlgError,
            "singular",
        ),
        (
            lambda: linalg.slogdet(leaf(NO_ROW)).logabsdet.backward(),
            gt.errors.LinAlgError,
            "singular",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_bad_input_is_a_clear_error(call, kind, text):
    with pytest.raises(kind, match=text):
        call()


def test_a_linear_algebra_error_is_numpys():
    with pytest.raises(np.linalg.LinAlgError):
        linalg.inv(NO_ROW)
    with pytest.raises(ValueError, match="singular"):
        linalg.inv(NO_ROW)


# On CUDA, played by the stand-in


ON_CUDA = [
    "cholesky",
    "eigh",
    "inv",
    "pinv",
    "qr",
    "slogdet",
    "solve",
    "solve_triangular",
    "svd",
    "vector_norm",
    "cross",
]


@pytest.mark.parametrize("name", ON_CUDA)
@pytest.mark.parametrize("make", [real, cplx])
def test_cuda_gives_the_values_and_gradients_of_the_cpu(cupy, name, make):
    for function, *shapes in LINALG[name]:
        data = [make(*shape) for shape in shapes]
        found = {}
        for device in ("cpu", "cuda"):
            with gt.device(device):
                inputs = [gt.tensor(x, device=device, requires_grad=True) for x in data]
                out = function(*inputs)
                gt.sum(gt.square(gt.abs(out))).backward()
                assert out.device.kind == device
            found[device] = [x.detach().cpu().numpy() for x in (out, *(x.grad for x in inputs))]
        for a, b in zip(*found.values(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", ["cholesky", "eigh", "inv", "pinv", "qr", "svd"])
def test_second_derivatives_on_cuda_equal_those_of_the_cpu(cupy, name):
    function, shape = LINALG[name][-1]
    data = cplx(*shape)

    def slope(x):
        return gt.sum(gt.abs(gt.grad(lambda v: gt.sum(gt.abs(function(v)) ** 2))(x)) ** 2)

    found = []
    for device in ("cpu", "cuda"):
        with gt.device(device):
            found.append(gt.grad(slope)(gt.tensor(data)).cpu().numpy())
    np.testing.assert_allclose(found[0], found[1], rtol=1e-8, atol=1e-9)


def test_cuda_raises_linear_algebra_errors(cupy):
    x = gt.tensor(NO_ROW, device="cuda")
    with pytest.raises(gt.errors.LinAlgError, match="singular"):
        linalg.inv(x)
    with gt.sync_debug("error"), pytest.raises(gt.errors.SyncError, match="eigh"):
        linalg.eigh(x)


@pytest.mark.parametrize("subscripts", ["ii->i", "ij->i", "ii", "ij->"])
def test_einsum_is_differentiated_twice_away_from_the_default_device(cupy, subscripts):
    def slope(x):
        return gt.sum(gt.grad(lambda v: gt.sum(gt.einsum(subscripts, v) ** 3))(x) ** 2)

    data = real(3, 3)
    with gt.device("cpu"):
        found = gt.grad(slope)(gt.tensor(data, device="cuda"))
        assert found.device == "cuda:0"
        np.testing.assert_allclose(found.cpu().numpy(), gt.grad(slope)(gt.tensor(data)).numpy())


SECOND_DEVICE = {
    "cholesky": lambda x: linalg.cholesky(x @ adjoint(x)),
    "qr": lambda x: linalg.qr(x).R,
    "eigh": lambda x: linalg.eigh(hermitian(x)).eigenvectors,
    "svd": lambda x: linalg.svd(x).U,
    "diag": gt.diag,
    "rfft": lambda x: gt.fft.rfft(gt.real(x)),
    "irfft": gt.fft.irfft,
}


@pytest.mark.parametrize("name", SECOND_DEVICE)
def test_rules_compute_on_the_device_of_the_gradient(cupy, name):
    if cupy.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("there is one device only")

    def slope(x):
        out = gt.grad(lambda v: gt.sum(gt.abs(SECOND_DEVICE[name](v)) ** 3))(x)
        return gt.sum(gt.abs(out) ** 2)

    x = gt.tensor(cplx(3, 3), device="cuda:1")
    assert gt.grad(slope)(x).device == "cuda:1"
    assert gt.grad(slope)(gt.diag(x[0])).device == gt.diag(x).device == "cuda:1"


@pytest.mark.parametrize(
    "name", ["cross", "diagonal", "inv", "outer", "tensordot", "trace", "vecdot", "vector_norm"]
)
def test_what_needs_no_decomposition_is_captured(cupy, name):
    function, *shapes = LINALG[name][0]
    leaves = [gt.tensor(cplx(*shape), device="cuda", requires_grad=True) for shape in shapes]

    @gt.capture
    def step():
        for x in leaves:
            x.grad = None
        loss = gt.sum(gt.abs(function(*leaves)))
        loss.backward()
        return loss

    first = step().item()
    if name == "inv":
        for _ in range(3):
            assert step().item() == first  # run as it is
        assert "linalg.inv makes the host wait" in step.reason
    else:
        assert [step().item() for _ in range(2)] == [first] * 2
