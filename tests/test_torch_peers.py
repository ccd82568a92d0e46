"""The door with PyTorch's names beside PyTorch: values, gradients, shapes, dtypes and errors."""

import numpy as np
import pytest

import gputensor.torch as ours

pytestmark = [pytest.mark.peers, pytest.mark.cpu]
theirs = pytest.importorskip("torch")

RNG = np.random.default_rng(7)
A = RNG.standard_normal((3, 4)).astype(np.float32)
B = RNG.standard_normal((3, 4)).astype(np.float32)
ROW = RNG.standard_normal(4).astype(np.float32)
SQUARE = RNG.standard_normal((4, 4)).astype(np.float32)
CUBE = RNG.standard_normal((2, 3, 4)).astype(np.float32)
POSITIVE = (np.abs(A) + 0.5).astype(np.float32)
UNIT = RNG.uniform(0.05, 0.95, (3, 4)).astype(np.float32)
INTS = RNG.integers(-5, 6, (3, 4))
PLACES = RNG.integers(0, 3, (3, 4))
LABELS = np.array([0, 3, 1])
BOOLS = A > 0
WIDE = A.astype(np.float64)


def _tensors(library, arrays):
    made = []
    for a in arrays:
        t = library.tensor(a)
        if a.dtype.kind == "f":
            t.requires_grad_(True)
        made.append(t)
    return made


def _parts(result):
    if isinstance(result, (tuple, list)):
        return [part for r in result for part in _parts(r)]
    return [result]


def _name(dtype):
    return str(dtype).removeprefix("torch.")


def _compare(function, arrays, rtol=2e-5, atol=2e-6):
    seen = []
    for library in (theirs, ours):
        tensors = _tensors(library, arrays)
        parts = _parts(function(library, *tensors))
        total = 0
        for i, part in enumerate(parts):
            if isinstance(part, library.Tensor) and part.is_floating_point() and part.requires_grad:
                weights = np.cos(np.arange(part.numel()) + i).reshape(tuple(part.shape))
                total = total + (part * library.tensor(weights).to(part.dtype)).sum()
        if isinstance(total, library.Tensor):
            total.backward()
        seen.append((parts, tensors))
    (wanted, their_tensors), (found, our_tensors) = seen
    assert len(found) == len(wanted)
    for f, w in zip(found, wanted, strict=True):
        if not isinstance(w, theirs.Tensor):
            assert f == w or str(f).replace("torch.", "") == str(w).replace("torch.", "")
            continue
        assert isinstance(f, ours.Tensor)
        assert _name(f.dtype) == _name(w.dtype)
        assert tuple(f.shape) == tuple(w.shape)
        np.testing.assert_allclose(
            f.detach().numpy(), w.detach().numpy(), rtol=rtol, atol=atol, equal_nan=True
        )
    for f, w in zip(our_tensors, their_tensors, strict=True):
        assert (f.grad is None) == (w.grad is None)
        if w.grad is not None:
            assert isinstance(f.grad, ours.Tensor)
            np.testing.assert_allclose(f.grad.numpy(), w.grad.numpy(), rtol=1e-4, atol=1e-5)


UNARY = [
    *[
        "abs",
        "absolute",
        "neg",
        "negative",
        "exp",
        "exp2",
        "expm1",
        "sin",
        "cos",
        "tan",
        "asin",
        "acos",
        "atan",
        "sinh",
        "cosh",
        "tanh",
        "asinh",
        "atanh",
        "sigmoid",
        "erf",
        "erfc",
        "floor",
        "ceil",
        "round",
        "trunc",
        "frac",
        "sign",
        "square",
        "relu",
        "isnan",
        "isinf",
        "isfinite",
        "reciprocal",
        "deg2rad",
        "rad2deg",
        "positive",
        "nan_to_num",
        "signbit",
    ]
]
OF_POSITIVE = ["log", "log2", "log10", "log1p", "sqrt", "rsqrt", "lgamma", "digamma", "acosh"]
BINARY = [
    *[
        "add",
        "sub",
        "mul",
        "div",
        "true_divide",
        "subtract",
        "multiply",
        "divide",
        "pow",
        "maximum",
        "minimum",
        "atan2",
        "hypot",
        "logaddexp",
        "eq",
        "ne",
        "lt",
        "le",
        "gt",
        "ge",
        "fmod",
        "remainder",
        "floor_divide",
        "isclose",
        "copysign",
    ]
]
REDUCTIONS = [
    *[
        "sum",
        "mean",
        "prod",
        "max",
        "min",
        "std",
        "var",
        "median",
        "amax",
        "amin",
        "argmax",
        "argmin",
        "any",
        "all",
        "norm",
        "logsumexp",
        "cumsum",
        "cumprod",
        "softmax",
        "log_softmax",
        "sort",
        "argsort",
        "nansum",
        "count_nonzero",
    ]
]


@pytest.mark.parametrize("name", UNARY)
@pytest.mark.parametrize("spelling", ["function", "method"])
def test_a_function_of_one_tensor_is_pytorchs(name, spelling):
    x = np.clip(A, -0.95, 0.95)

    def call(library, t):
        return getattr(library, name)(t) if spelling == "function" else getattr(t, name)()

    _compare(call, [x])


@pytest.mark.parametrize("name", OF_POSITIVE)
def test_a_function_of_positive_numbers_is_pytorchs(name):
    _compare(lambda library, t: getattr(library, name)(t), [POSITIVE + (name == "acosh")], 1e-4)


@pytest.mark.parametrize(
    "name", ["exp", "sin", "sqrt", "log", "sigmoid", "tanh", "erf", "rsqrt", "reciprocal"]
)
def test_integers_become_floats_in_functions_of_real_numbers(name):
    _compare(lambda library, t: getattr(library, name)(t), [np.abs(INTS) + 1])


@pytest.mark.parametrize("name", BINARY)
def test_a_function_of_two_tensors_is_pytorchs(name):
    def call(library, x, y):
        found = getattr(library, name)(x, y), getattr(x, name)(y)
        # A gradient that is zero everywhere is not there in gputensor.
        return [f.detach() for f in found] if name == "floor_divide" else found

    _compare(call, [POSITIVE, (np.abs(B) + 0.3).astype(np.float32)])


KINDS = {
    "float32": A,
    "float64": WIDE,
    "float16": A.astype(np.float16),
    "int64": INTS,
    "int32": INTS.astype(np.int32),
    "uint8": PLACES.astype(np.uint8),
    "bool": BOOLS,
}


@pytest.mark.parametrize("left", KINDS)
@pytest.mark.parametrize("right", KINDS)
def test_operands_of_two_dtypes_become_what_pytorch_makes_of_them(left, right):
    pairs = [(KINDS[left], KINDS[right]), (KINDS[left], KINDS[right][0, 0])]
    pairs.append((KINDS[left][0, 0], KINDS[right]))
    for x, y in pairs:
        x, y = np.asarray(x), np.asarray(y)
        for call in (
            lambda a, b: a + b,
            lambda a, b: a * b,
            lambda a, b: a / (b if _name(b.dtype) == "bool" else b + 1),
            lambda a, b: a > b,
            lambda a, b: a == b,
        ):
            with np.errstate(all="ignore"):
                wanted = call(theirs.tensor(x), theirs.tensor(y))
                found = call(ours.tensor(x), ours.tensor(y))
            assert _name(found.dtype) == _name(wanted.dtype)
            np.testing.assert_allclose(
                found.numpy().astype(float), wanted.numpy().astype(float), rtol=2e-3
            )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("number", [True, 2, 2.5, np.float64(1.5), np.int64(2), np.float32(0.5)])
def test_a_number_beside_a_tensor_changes_its_dtype_as_in_pytorch(kind, number):
    x = KINDS[kind]
    for call in (
        lambda t: t + number,
        lambda t: number * t,
        lambda t: t / number,
        lambda t: t > number,
    ):
        wanted, found = call(theirs.tensor(x)), call(ours.tensor(x))
        assert _name(found.dtype) == _name(wanted.dtype)
        np.testing.assert_allclose(
            found.numpy().astype(float), wanted.numpy().astype(float), rtol=2e-3
        )


ALONG = ("cumsum", "cumprod", "softmax", "log_softmax", "sort", "argsort")
FORMS = [  # those that PyTorch has
    *((name, None, False) for name in REDUCTIONS if name not in (*ALONG, "logsumexp")),
    *((name, dim, False) for name in REDUCTIONS for dim in (0, 1, -1)),
    *(
        (name, dim, True)
        for name in REDUCTIONS
        for dim in (0, 1, -1)
        if name not in (*ALONG, "count_nonzero")
    ),
]


@pytest.mark.parametrize(("name", "dim", "keepdim"), FORMS)
def test_a_reduction_is_pytorchs(name, dim, keepdim):
    def call(library, t):
        options = {} if dim is None else {"dim": dim}
        if keepdim:
            options["keepdim"] = True
        return getattr(library, name)(t, **options), getattr(t, name)(**options)

    _compare(call, [A], 1e-4)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (name, kind)
        for name in ("sum", "prod", "max", "argmax", "cumsum", "any", "all")
        for kind in ("int64", "int32", "bool")
        if (name, kind) != ("argmax", "bool")  # which PyTorch does not have
    ],
)
def test_a_reduction_of_integers_has_pytorchs_dtype(name, kind):
    x = KINDS[kind]
    dims = (1,) if name == "cumsum" else ()
    _compare(lambda library, t: getattr(t, name)(*dims), [x])


METHODS = {
    "view": (lambda t, x: x.view(2, -1), [A]),
    "view of a size": (lambda t, x: x.view(x.size(0), 2, 2), [A]),
    "view_as": (lambda t, x, y: x.view_as(y), [A, A.reshape(4, 3)]),
    "reshape": (lambda t, x: (x.reshape(4, 3), x.reshape((2, 6)), t.reshape(x, (12,))), [A]),
    "flatten": (lambda t, x: (x.flatten(), t.flatten(x, 1), x.flatten(0, 1)), [CUBE]),
    "squeeze": (lambda t, x: (x[None].squeeze(), x[None].squeeze(0), x.squeeze(0)), [A]),
    "unsqueeze": (lambda t, x: (x.unsqueeze(0), x.unsqueeze(-1), t.unsqueeze(x, 1)), [A]),
    "transpose": (
        lambda t, x: (x.transpose(0, 1), x.transpose(-2, -1), t.transpose(x, 0, 2)),
        [CUBE],
    ),
    "permute": (lambda t, x: (x.permute(2, 0, 1), x.permute((1, 0, 2))), [CUBE]),
    "t": (lambda t, x: (x.t(), x.T, x.mT), [A]),
    "expand": (lambda t, x: (x.expand(3, 4), x.expand(3, -1), x[None].expand(2, 4)), [ROW]),
    "expand_as": (lambda t, x, y: x.expand_as(y), [ROW, A]),
    "repeat": (lambda t, x: (x.repeat(2, 1), x.repeat(2, 1, 3), x.repeat((1, 2))), [A]),
    "tile": (lambda t, x: (x.tile((2,)), t.tile(x, (2, 2))), [A]),
    "repeat_interleave": (
        lambda t, x: (x.repeat_interleave(2), x.repeat_interleave(2, dim=1)),
        [A],
    ),
    "cat": (lambda t, x, y: (t.cat([x, y]), t.cat((x, y), dim=1), t.cat([x, y], -1)), [A, B]),
    "cat of two dtypes": (lambda t, x, y: t.cat([x, y]), [A, INTS]),
    "stack": (lambda t, x, y: (t.stack([x, y]), t.stack((x, y), dim=-1)), [A, B]),
    "hstack": (lambda t, x, y: (t.hstack([x, y]), t.vstack((x, y))), [A, B]),
    "split": (lambda t, x: (x.split(2), t.split(x, 3, dim=1), x.split([1, 2])), [A]),
    "chunk": (lambda t, x: (x.chunk(2), x.chunk(3, dim=1), t.chunk(x, 5)), [A]),
    "unbind": (lambda t, x: (x.unbind(), x.unbind(1)), [A]),
    "narrow": (lambda t, x: (x.narrow(1, 1, 2), x.select(0, 1)), [A]),
    "index_select": (lambda t, x, i: x.index_select(0, i), [A, np.array([2, 0, 2])]),
    "gather": (lambda t, x, i: (x.gather(0, i), t.gather(x, 1, i[:, :2])), [A, PLACES]),
    "take": (lambda t, x, i: x.take(i), [A, PLACES]),
    "masked_select": (lambda t, x, m: x.masked_select(m), [A, BOOLS]),
    "masked_fill": (
        lambda t, x, m: (x.masked_fill(m, 0.5), x.masked_fill(m == 0, -1e9)),
        [A, BOOLS],
    ),
    "scatter": (lambda t, x, i: x.detach().scatter(1, i[:, :1], 9.0), [A, PLACES]),
    "scatter_": (lambda t, i: t.zeros(3, 4).scatter_(1, i.view(-1, 1), 1), [np.array([1, 0, 3])]),
    "scatter_add": (lambda t, x, i: t.zeros(3, 4).scatter_add(0, i, x), [A, PLACES]),
    "index_add": (lambda t, x, i: t.zeros(4, 4).index_add(0, i, x), [A, np.array([1, 1, 0])]),
    "index_fill": (lambda t, x, i: x.index_fill(1, i, 3.0), [A, np.array([1, 0])]),
    "where": (
        lambda t, x, y, m: (t.where(m, x, y), x.where(m, y), t.where(m, x, 0.0)),
        [A, B, BOOLS],
    ),
    "nonzero": (lambda t, m: (m.nonzero(), t.nonzero(m), t.where(m)), [BOOLS]),
    "flip": (lambda t, x: (x.flip(0), x.flip(0, 1), t.flip(x, [1])), [A]),
    "roll": (lambda t, x: (x.roll(1), x.roll(1, 0), t.roll(x, (1, 2), (0, 1))), [A]),
    "tril": (lambda t, x: (x.tril(), t.triu(x, diagonal=1), x.tril(-1)), [SQUARE]),
    "diag": (lambda t, x: (x.diag(), t.diag(x.diag()), x.diagonal(1), x.trace()), [SQUARE]),
    "diff": (lambda t, x: t.diff(x, dim=1), [A]),
    "movedim": (lambda t, x: (x.movedim(0, -1), t.swapaxes(x, 0, 1)), [CUBE]),
    "unflatten": (lambda t, x: x.unflatten(1, (2, 2)), [A]),
    "matmul": (lambda t, x, y: (x @ y.t(), t.matmul(x, y.t()), x.mm(y.t())), [A, B]),
    "matmul of vectors": (lambda t, x, v: (x @ v, x.mv(v), v.dot(v), t.matmul(v, v)), [A, ROW]),
    "bmm": (lambda t, x: t.bmm(x, x.transpose(1, 2)), [CUBE]),
    "addmm": (lambda t, x, y, v: t.addmm(v[:3], x, y.t(), beta=0.5, alpha=2), [A, B, ROW]),
    "outer": (lambda t, v: (t.outer(v, v), v.ger(v)), [ROW]),
    "einsum": (lambda t, x, y: t.einsum("ij,kj->ik", x, y), [A, B]),
    "einsum of batches": (lambda t, x: t.einsum("bij,bkj->bik", x, x), [CUBE]),
    "tensordot": (lambda t, x, y: t.tensordot(x, y, dims=([1], [1])), [A, B]),
    "cdist": (lambda t, x, y: t.cdist(x, y), [A, B]),
    "kron": (lambda t, x: t.kron(x[:2, :2], x), [A]),
    "linalg": (
        lambda t, x: (t.linalg.norm(x), t.linalg.det(x), t.linalg.inv(x), x.inverse()),
        [SQUARE],
    ),
    "linalg.norm": (lambda t, x: (t.linalg.norm(x, dim=1), t.linalg.vector_norm(x, 1, dim=0)), [A]),
    "norm": (
        lambda t, x: (x.norm(), x.norm(p=1), x.norm(2, dim=1), x.norm(dim=0, keepdim=True)),
        [A],
    ),
    "clamp": (lambda t, x: (x.clamp(-0.5, 0.5), x.clamp(min=0), x.clamp(max=0), x.clip(0, 1)), [A]),
    "clamp of tensors": (lambda t, x, y: (x.clamp(min=y), t.clamp(x, max=y)), [A, B]),
    "add alpha": (lambda t, x, y: (t.add(x, y, alpha=3), x.sub(y, alpha=2)), [A, B]),
    "div rounding": (
        lambda t, x, y: (t.div(x, y, rounding_mode="floor"), t.div(x, y, rounding_mode="trunc")),
        [INTS, np.array([3])],
    ),
    "remainder": (lambda t, x: (x % 3, x // 3, x.fmod(3), -x % 3), [INTS]),
    "pow": (lambda t, x: (x**2, x.pow(3), 2**x, t.pow(2.0, x), x**0.5), [POSITIVE]),
    "pow of integers": (lambda t, x: (x**2, x.pow(2), 2 ** x.abs()), [INTS]),
    "rsub": (lambda t, x: (1 - x, 1 / x, t.rsub(x, 1)), [POSITIVE]),
    "lerp": (
        lambda t, x, y: (t.lerp(x, y, 0.3), t.addcmul(x, x, y, value=0.5), x.addcdiv(y, y)),
        [A, B],
    ),
    "max of two": (lambda t, x, y: (t.max(x, y), x.min(y), x.max()), [A, B]),
    "max pair": (lambda t, x: (x.max(1), x.max(dim=0), x.max(1)[1], x.max(1).values), [A]),
    "topk": (lambda t, x: (x.topk(2), t.topk(x, 2, dim=0, largest=False)), [A]),
    "kthvalue": (lambda t, x: x.kthvalue(2, dim=1), [A]),
    "sort": (
        lambda t, x: (x.sort(), x.sort(dim=0, descending=True), t.sort(x, descending=True)[1]),
        [A],
    ),
    "std": (lambda t, x: (x.std(), x.std(0), x.std(1, False), x.var(unbiased=False)), [A]),
    "std of dims": (
        lambda t, x: (x.std(dim=(0, 2)), x.var((1, 2), keepdim=True), x.mean((0, 1))),
        [CUBE],
    ),
    "var_mean": (lambda t, x: (t.var_mean(x, 1), t.std_mean(x)), [A]),
    "sum of dims": (
        lambda t, x: (x.sum((0, 1)), x.sum([1, 2]), x.sum(dim=(0,), keepdim=True)),
        [CUBE],
    ),
    "axis": (
        lambda t, x: (x.sum(axis=1), t.mean(x, axis=0), x.max(axis=1)[0], x.argmax(axis=0)),
        [A],
    ),
    "median": (lambda t, x: (x.median(), x.median(0)), [A]),
    "quantile": (lambda t, x: t.quantile(x, 0.3, dim=1), [A]),
    "unique": (
        lambda t, x: (t.unique(x), t.unique(x, return_counts=True), x.unique(return_inverse=True)),
        [INTS],
    ),
    "bincount": (lambda t, x: (t.bincount(x), x.bincount(minlength=6)), [LABELS]),
    "cumsum": (lambda t, x: (x.cumsum(0), x.cumprod(dim=1)), [A]),
    "aminmax": (lambda t, x: tuple(t.aminmax(x)), [A]),
    "dist": (lambda t, x, y: t.dist(x, y), [A, B]),
    "logical": (
        lambda t, x, y: (x & y, x | y, x ^ y, ~x, t.logical_and(x, y), x.logical_not()),
        [BOOLS, BOOLS[::-1].copy()],
    ),
    "bits": (lambda t, x: (x & 3, x | 1, x << 1, x >> 1, ~x), [INTS]),
    "item": (
        lambda t, x: (x[0, 0].item(), x.sum().item() != 0, x.numel(), x.dim(), x.nelement()),
        [INTS],
    ),
    "size": (
        lambda t, x: (x.size(0), x.size(-1), list(x.size()), x.shape[1:], x.ndim, len(x)),
        [A],
    ),
    "stride": (
        lambda t, x: (x.stride(), x.t().stride(), x.is_contiguous(), x.t().is_contiguous()),
        [A],
    ),
    "casts": (
        lambda t, x: (x.double(), x.half(), x.int(), x.long(), x.bool(), x.to(t.float64), x.byte()),
        [POSITIVE],
    ),
    "type": (
        lambda t, x: (x.type(), x.type(t.DoubleTensor), x.type(t.int32), x.double().type()),
        [A],
    ),
    "type_as": (lambda t, x, y: x.type_as(y), [A, WIDE]),
    "indexing": (
        lambda t, x: (x[0], x[:, 1], x[..., -1], x[None], x[[0, 2]], x[1:, ::2], x[-1, -1]),
        [A],
    ),
    "indexing by tensors": (
        lambda t, x, i, m: (x[i], x[m], x[i, 1], x[:, i]),
        [A, np.array([2, 0]), BOOLS],
    ),
    "iteration": (lambda t, x: (*x, sum(x)), [A]),
    "equal": (
        lambda t, x, y: (t.equal(x, y), x.equal(x), t.allclose(x, x), x.eq(y).sum().item()),
        [A, B],
    ),
    "new": (
        lambda t, x: (
            x.new_zeros(2, 3),
            x.new_ones((2,)),
            x.new_full((2,), 3.0),
            x.new_tensor([1]),
        ),
        [WIDE],
    ),
    "like": (
        lambda t, x: (
            t.zeros_like(x),
            t.ones_like(x),
            t.full_like(x, 2),
            t.zeros_like(x, dtype=t.int64),
        ),
        [WIDE],
    ),
    "clone": (lambda t, x: (x.clone(), x.detach() * 2, x.contiguous(), x.t().contiguous()), [A]),
    "softmax": (lambda t, x: (x.softmax(-1), t.softmax(x, dim=0), x.log_softmax(1)), [A]),
    "meshgrid": (lambda t, x: t.meshgrid(x, x, indexing="ij"), [ROW]),
    "isclose": (lambda t, x: (t.isclose(x, x + 1e-7), x.isnan().any(), t.isfinite(x).all()), [A]),
    "logit": (lambda t, x: (t.logit(x), x.sigmoid()), [UNIT]),
    "retain_grad": (lambda t, x: (x * 2).sum().detach(), [A]),
    "data": (lambda t, x: (x.data * 2, x.data.requires_grad, x.is_leaf, x.grad_fn is None), [A]),
    "round": (lambda t, x: (t.round(x, decimals=1), x.round(), x.frac(), t.trunc(x)), [A]),
}


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_pytorchs(name):
    function, arrays = METHODS[name]
    rtol = 2e-3 if name == "casts" else 2e-4
    _compare(function, arrays, rtol, 1e-5)


CREATION = {
    "zeros": lambda t: (t.zeros(2, 3), t.zeros((2, 3)), t.zeros([2]), t.zeros(2, dtype=t.int32)),
    "ones": lambda t: (t.ones(3), t.ones(2, 1, dtype=t.float64), t.ones(t.zeros(2, 3).size())),
    "full": lambda t: (t.full((2,), 3.5), t.full((2, 2), 3), t.full([1], True)),
    "arange": lambda t: (
        t.arange(5),
        t.arange(1, 4),
        t.arange(0, 1, 0.25),
        t.arange(5.0),
        t.arange(5, 0, -2),
    ),
    "arange of dtype": lambda t: (t.arange(3, dtype=t.float32), t.arange(0, 6, 2, dtype=t.float64)),
    "linspace": lambda t: (t.linspace(0, 1, 5), t.linspace(-1, 1, steps=3)),
    "logspace": lambda t: t.logspace(0, 2, 3),
    "eye": lambda t: (t.eye(3), t.eye(2, 3)),
    "tensor": lambda t: (
        t.tensor(1),
        t.tensor(1.5),
        t.tensor([1, 2]),
        t.tensor([[1.0], [2]]),
        t.tensor([True]),
    ),
    "tensor of arrays": lambda t: (
        t.tensor(np.ones(2)),
        t.tensor(np.arange(3, dtype=np.int32)),
        t.tensor(np.float64(2)),
    ),
    "from_numpy": lambda t: (t.from_numpy(np.ones(2)), t.from_numpy(np.ones(2)).float()),
    "as_tensor": lambda t: (t.as_tensor([1, 2]), t.as_tensor(np.ones(2), dtype=t.float32)),
    "legacy": lambda t: (
        t.Tensor([1, 2]),
        t.FloatTensor([[1, 2]]),
        t.LongTensor([1, 2]),
        t.Tensor(2, 3).shape,
    ),
    "tril_indices": lambda t: t.tril_indices(3, 3),
    "one_hot": lambda t: t.nn.functional.one_hot(t.tensor([0, 2, 1]), 4),
    "cartesian_prod": lambda t: t.cartesian_prod(t.tensor([1, 2]), t.tensor([3, 4, 5])),
    "sizes": lambda t: (t.zeros(2, 3).size().numel(), str(t.zeros(2, 3).shape), t.rand(2, 3).shape),
    "random shapes": lambda t: (
        t.randn(2, 3).shape,
        t.randint(5, (2,)).dtype,
        t.randperm(4).sort()[0],
        t.rand(3).dtype,
    ),
    "finfo": lambda t: (t.finfo(t.float32).eps, t.iinfo(t.int8).max),
    "promotion": lambda t: (
        str(t.promote_types(t.int64, t.float16)),
        str(t.result_type(t.ones(2), 1.0)),
    ),
}


@pytest.mark.parametrize("name", CREATION)
def test_a_tensor_is_made_as_in_pytorch(name):
    _compare(CREATION[name], [])


DISTRIBUTIONS = [
    ("Normal", {"loc": A, "scale": POSITIVE}, B),
    ("Normal", {"loc": 1.0, "scale": POSITIVE}, B),
    ("Uniform", {"low": A, "high": A + POSITIVE}, A + 0.25),
    ("Bernoulli", {"probs": UNIT}, BOOLS.astype(np.float32)),
    ("Bernoulli", {"logits": A}, BOOLS.astype(np.float32)),
    ("Categorical", {"probs": UNIT}, LABELS),
    ("Categorical", {"logits": A}, LABELS),
    ("Categorical", {"logits": A}, np.stack([LABELS, LABELS[::-1]])),
]


@pytest.mark.parametrize(("name", "parameters", "value"), DISTRIBUTIONS)
def test_a_distribution_is_pytorchs(name, parameters, value):
    found = []
    for library in (ours, theirs):
        given = {
            k: v if isinstance(v, float) else library.tensor(v, requires_grad=True)
            for k, v in parameters.items()
        }
        made = getattr(library.distributions, name)(**given)
        results = [made.log_prob(library.tensor(value)), made.entropy()]
        sum(r.sum() for r in results).backward()
        tensors = [v for v in given.values() if not isinstance(v, float)]
        found.append([t.detach().numpy() for t in results] + [t.grad.numpy() for t in tensors])
        drawn = made.sample((500,))
        assert tuple(drawn.shape) == (500, *made.batch_shape)
        assert not drawn.requires_grad
        if name != "Categorical":
            spread = 5 * made.variance.detach().numpy() ** 0.5 / 500**0.5
            assert (np.abs(drawn.numpy().mean(0) - made.mean.detach().numpy()) < spread).all()
        else:
            share = (drawn == 0).float().mean(0).numpy()
            assert np.abs(share - made.probs.detach().numpy()[..., 0]).max() < 0.12
        assert tuple(made.sample().shape) == tuple(made.batch_shape)
    for mine, their in zip(*found, strict=True):
        np.testing.assert_allclose(mine, their, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        ("Normal", {"loc": A, "scale": POSITIVE}, {"loc": B, "scale": 1.5}),
        ("Categorical", {"logits": A}, {"probs": UNIT}),
        ("Bernoulli", {"probs": UNIT}, {"logits": A}),
    ],
)
def test_divergences_are_pytorchs(name, one, other):
    found = []
    for library in (ours, theirs):
        p, q = (
            getattr(library.distributions, name)(
                **{k: v if isinstance(v, float) else library.tensor(v) for k, v in given.items()}
            )
            for given in (one, other)
        )
        found.append(library.distributions.kl_divergence(p, q).numpy())
    np.testing.assert_allclose(*found, rtol=1e-4, atol=1e-5)


def test_a_gradient_goes_through_samples_of_a_normal_distribution():
    from gputensor.torch.distributions.normal import Normal

    scale = ours.ones(3, requires_grad=True)
    ours.manual_seed(0)
    drawn = Normal(ours.zeros(3), scale).rsample((4,))
    drawn.sum().backward()
    np.testing.assert_allclose(scale.grad.numpy(), drawn.detach().numpy().sum(0), rtol=1e-5)
    with pytest.raises(NotImplementedError, match="use sample"):
        ours.distributions.Categorical(ours.ones(3)).rsample()
    with pytest.raises(ValueError, match="either probs or logits"):
        ours.distributions.Bernoulli()
    with pytest.raises(NotImplementedError, match="not of Normal and Uniform"):
        ours.distributions.kl_divergence(Normal(0.0, 1.0), ours.distributions.Uniform(0.0, 1.0))
