"""Arrays of the Python Array API standard: every dtype, index, axis and option, on both devices."""

import itertools
import math

import array_api_strict as strict
import numpy as np
import pytest

import gputensor as gt

strict.set_array_api_strict_flags(api_version="2024.12")

# Array functions do not depend on the order of blocks and threads.
on_cuda = pytest.mark.parametrize("cupy", ["forward"], indirect=True)

DTYPES = gt.__array_namespace_info__().dtypes()
KINDS = {"bool": "b", "integral": "iu", "real": "iuf", "numeric": "iufc", "any": "biufc"}
SHAPES = [(), (3,), (2, 3), (0, 2), (2, 1, 3)]


def named(kinds):
    return [name for name, dtype in DTYPES.items() if dtype.kind in kinds]


def numbers(shape, dtype, seed=0):
    """A few small numbers, some of them equal."""
    rng = np.random.default_rng([seed, *shape])
    low = 0 if np.dtype(dtype).kind in "bu" else -2
    found = rng.integers(low, 3, shape).astype(np.float64)
    if np.dtype(dtype).kind == "c":
        found = found + 1j * rng.integers(-2, 3, shape)
    return np.asarray(found).astype(dtype)


def parts_of(result):
    return list(result) if isinstance(result, (tuple, list)) else [result]


def run(call, *args):
    """What a call gives, or the built-in kind of its error."""
    try:
        with np.errstate(all="ignore"):
            return parts_of(call(*args))
    except (ValueError, IndexError) as error:
        return IndexError if isinstance(error, IndexError) else ValueError
    except OverflowError:
        return OverflowError
    except TypeError:
        return TypeError


def assert_same(found, wanted, what):
    assert isinstance(found, list) == isinstance(wanted, list), (what, found, wanted)
    if not isinstance(wanted, list):
        # An axis that is not there may be called either.
        assert found is wanted or {found, wanted} == {ValueError, IndexError}, (what, found, wanted)
        return
    assert len(found) == len(wanted), what
    for a, b in zip(found, wanted, strict=True):
        assert isinstance(a, gt.Tensor), what
        mine, theirs = a.numpy(), b.numpy() if isinstance(b, gt.Tensor) else np.asarray(b)
        assert (mine.dtype, mine.shape) == (theirs.dtype, theirs.shape), what
        np.testing.assert_allclose(mine, theirs, rtol=2e-5, atol=2e-5, err_msg=str(what))


def axes_of(shape):
    """Axes one by one, some that are not there, and pairs."""
    n = len(shape)
    if not n:  # NumPy lets it have an axis
        return [None, ()]
    return [None, *range(-n - 1, n + 1), (), *itertools.combinations(range(-n, n), 2)]


def one_axis(shape):
    return range(-len(shape), len(shape))


def over(name, *given, axes=axes_of, **options):
    """Calls of a function with each axis and each combination of options."""

    def calls(m, x):
        for axis in axes(x.shape):
            for values in itertools.product(*options.values()):
                chosen = dict(zip(options, values, strict=True))
                yield lambda a=axis, c=chosen: getattr(m, name)(x, *given, axis=a, **c)

    return calls


def each(*functions):
    """Calls of functions of the namespace and `x`."""
    return lambda m, x: (lambda f=f: f(m, x) for f in functions)


def per_axis(function):
    return lambda m, x: (lambda a=a: function(m, x, a) for a in one_axis(x.shape))


def index(m, x, axis, dtype):
    n = x.shape[axis]
    return m.asarray(np.arange(n)[::-1].astype(dtype), device=x.device)


BOTH = (False, True)
CASES = {
    **{n: ("any", over(n, keepdims=BOTH)) for n in ("all", "any", "count_nonzero")},
    **{n: ("numeric", over(n, keepdims=BOTH)) for n in ("sum", "prod")},
    **{n: ("real", over(n, keepdims=BOTH)) for n in ("max", "min")},
    **{
        n: ("real", over(n, axes=lambda s: (None, *one_axis(s)), keepdims=BOTH))
        for n in ("argmax", "argmin")
    },
    **{
        n: ("numeric", over(n, axes=one_axis, include_initial=BOTH))
        for n in ("cumulative_sum", "cumulative_prod")
    },
    "sort": ("real", over("sort", axes=one_axis, descending=BOTH, stable=BOTH)),
    "argsort": ("real", over("argsort", axes=one_axis, descending=BOTH)),
    "diff": ("numeric", over("diff", axes=one_axis, n=(0, 1, 2, 4))),
    "diff with ends": (
        "numeric",
        per_axis(lambda m, x, a: m.diff(x, axis=a, prepend=x, append=m.concat([x, x], axis=a))),
    ),
    "flip": ("any", over("flip")),
    "roll": ("any", over("roll", -4, axes=lambda s: (None, *one_axis(s)))),
    "roll along several": (
        "any",
        lambda m, x: (
            lambda p=p: m.roll(x, (1, -2), axis=p)
            for p in itertools.permutations(one_axis(x.shape), 2)
        ),
    ),
    "expand_dims": ("any", over("expand_dims", axes=lambda s: range(-len(s) - 2, len(s) + 2))),
    "squeeze": ("any", over("squeeze", axes=lambda s: axes_of(s)[1:])),
    "stack": (
        "any",
        lambda m, x: (
            lambda a=a: m.stack([x, x, x], axis=a) for a in range(-x.ndim - 2, x.ndim + 2)
        ),
    ),
    "concat": (
        "any",
        lambda m, x: (lambda a=a: m.concat([x, x], axis=a) for a in (None, *one_axis(x.shape))),
    ),
    "unstack": ("any", over("unstack", axes=one_axis)),
    "moveaxis": (
        "any",
        per_axis(lambda m, x, a: parts_of(m.moveaxis(x, a, 0)) + parts_of(m.moveaxis(x, 0, a))),
    ),
    "repeat": (
        "any",
        each(
            *(lambda m, x, k=k: m.repeat(x, k) for k in (0, 1, 3)),
            lambda m, x: m.repeat(x, m.asarray([2], device=x.device)),
        ),
    ),
    "repeat each": (
        "any",
        per_axis(lambda m, x, a: m.repeat(x, index(m, x, a, "int64"), axis=a)),
    ),
    "tile": (
        "any",
        each(*(lambda m, x, r=r: m.tile(x, r) for r in [(), (2,), (0, 1), (1, 2), (2, 1, 1, 2)])),
    ),
    "reshape": (
        "any",
        lambda m, x: (
            lambda s=s, c=c: m.reshape(x, s, copy=c)
            for s in [(-1,), (3, -1), (1, *x.shape), ()]
            for c in (None, True)
        ),
    ),
    "broadcast_to": (
        "any",
        each(*(lambda m, x, s=s: m.broadcast_to(x, s) for s in [(3,), (2, 2, 3), (2, 0, 2), ()])),
    ),
    "take": (
        "any",
        lambda m, x: (
            lambda a=a, d=d: m.take(x, index(m, x, a, d), axis=a)
            for a in one_axis(x.shape)
            for d in named("iu")
        ),
    ),
    "unique_all": ("any", lambda m, x: [lambda: m.unique_all(x)]),
    "unique_counts": ("any", lambda m, x: [lambda: m.unique_counts(x)]),
    "unique_inverse": ("any", lambda m, x: [lambda: m.unique_inverse(x)]),
    "unique_values": ("any", lambda m, x: [lambda: m.unique_values(x)]),
    "nonzero": ("any", lambda m, x: [lambda: m.nonzero(x)]),
    "tril": ("any", each(*(lambda m, x, k=k: m.tril(x, k=k) for k in (-2, 0, 1)))),
    "where": (
        "any",
        each(
            lambda m, x: m.where(x == x, x, m.zeros_like(x)),
            lambda m, x: m.where(x != x, True, x) if x.dtype == m.bool else m.where(x != x, 1, x),
        ),
    ),
    "trace": (
        "numeric",
        each(*(lambda m, x, k=k: m.linalg.trace(x, offset=k) for k in (-3, -1, 0, 2))),
    ),
    "diagonal": (
        "any",
        each(*(lambda m, x, k=k: m.linalg.diagonal(x, offset=k) for k in (-9, -1, 0, 2, 9))),
    ),
    "matrix_transpose": ("any", each(lambda m, x: m.matrix_transpose(x), lambda m, x: x.mT)),
    "vecdot": ("numeric", per_axis(lambda m, x, a: m.vecdot(x, x, axis=min(a, -1)))),
    "matmul": (
        "numeric",
        each(
            lambda m, x: m.matmul(x, x),
            lambda m, x: m.matmul(x, m.matrix_transpose(x)),
            lambda m, x: m.tensordot(x, x, axes=0),
            lambda m, x: m.tensordot(x, x, axes=((-1,), (-1,))),
            lambda m, x: m.tensordot(x, x, axes=((0, 1), (0, 1))),
        ),
    ),
    "cross": ("numeric", each(lambda m, x: m.linalg.cross(x, x + x[..., :1]))),
    "outer": ("numeric", each(lambda m, x: m.linalg.outer(x, x))),
}


@pytest.mark.parametrize("name", CASES)
def test_every_dtype_axis_and_option(name):
    kinds, calls = CASES[name]
    for dtype, shape in itertools.product(named(KINDS[kinds]), SHAPES):
        data = numbers(shape, dtype)
        pairs = zip(*(calls(m, m.asarray(data)) for m in (gt, strict)), strict=True)
        for i, (mine, theirs) in enumerate(pairs):
            assert_same(run(mine), run(theirs), (name, dtype, shape, i))


@pytest.mark.parametrize("name", CASES)
@on_cuda
def test_cuda_gives_the_dtypes_and_shapes_of_the_cpu(cupy, name):
    kinds, calls = CASES[name]
    for dtype, shape in itertools.product(named(KINDS[kinds]), SHAPES):
        data = numbers(shape, dtype)
        there, here = (list(calls(gt, gt.asarray(data, device=d))) for d in ("cuda", "cpu"))
        for i, (mine, wanted) in enumerate(zip(there, here, strict=True)):
            found = run(mine)
            assert_same(found, run(wanted), (name, dtype, shape, i))
            assert not isinstance(found, list) or all(t.device == "cuda" for t in found)


@pytest.mark.parametrize("name", ["sum", "prod", "cumulative_sum", "cumulative_prod", "trace"])
@pytest.mark.parametrize("dtype", named("iufc"))
def test_accumulations_take_any_dtype(name, dtype):
    for wanted in named("iufc"):
        data = numbers((2, 2), dtype)
        if np.dtype(dtype).kind == "c" != np.dtype(wanted).kind:
            continue
        if np.dtype(dtype).kind == "f" and np.dtype(wanted).kind == "u":
            data = abs(data)  # C does not define the conversion of a negative one
        options = {"axis": 0} if name != "trace" else {}
        found, theirs = (
            getattr(m if name != "trace" else m.linalg, name)(
                m.asarray(data), dtype=getattr(m, wanted), **options
            )
            for m in (gt, strict)
        )
        assert found.dtype == wanted
        np.testing.assert_allclose(found.numpy(), np.asarray(theirs))


def test_joins_promote_as_operators_do():
    for a, b in itertools.product(DTYPES, repeat=2):
        x, y = (numbers((2,), dtype) for dtype in (a, b))
        for join in (gt.concat, gt.stack):
            found = join([gt.asarray(x), gt.asarray(y)])
            assert found.dtype == np.result_type(x, y), (a, b)
            np.testing.assert_array_equal(found.numpy().reshape(-1), np.concatenate([x, y]))


# Creation


ENDS = [0, 1, -3, 2.5, 0.1, 1e-3, True]
COMPLEX_ENDS = [0, 2.5, 1j, -1 - 2j]


def linspaces(kinds):
    ends = COMPLEX_ENDS if kinds == "c" else ENDS
    for start, stop in itertools.product(ends, ends):
        for num, endpoint in itertools.product((0, 1, 2, 7), BOTH):
            yield start, stop, num, endpoint


@pytest.mark.parametrize("dtype", [None, *named("fc")])
def test_linspace_equals_array_api_strict_and_is_cut_from_a_longer_one(dtype):
    kinds = "c" if dtype and dtype.startswith("complex") else "f"
    for start, stop, num, endpoint in linspaces(kinds):
        mine = {"dtype": dtype and getattr(gt, dtype)}
        found = gt.linspace(start, stop, num, endpoint=endpoint, **mine)
        wanted = strict.linspace(start, stop, num, endpoint=endpoint)
        assert (found.dtype, found.shape) == (dtype or gt.float32, (num,))
        rtol = 1e-6 if found.dtype in (gt.float32, gt.complex64) else 1e-15
        np.testing.assert_allclose(found.numpy(), np.asarray(wanted), rtol=rtol, atol=rtol)
        if not endpoint:
            longer = gt.linspace(start, stop, num + 1, **mine)
            np.testing.assert_array_equal(found.numpy(), longer.numpy()[:-1])
        elif num > 1:
            assert found[-1].item() == gt.asarray(stop, dtype=found.dtype).item()


@on_cuda
def test_linspace_of_complex_numbers_on_cuda(cupy):
    for start, stop, num, endpoint in linspaces("c"):
        found, wanted = (
            gt.linspace(start, stop, num, endpoint=endpoint, device=d) for d in ("cuda", "cpu")
        )
        assert found.device == "cuda"
        assert_same([found], [wanted], (start, stop, num, endpoint))


INFERRED = [
    (True, "bool"),
    (1, "int64"),
    (1.0, "float32"),
    (1j, "complex64"),
    ([True, 1], "int64"),
    ([True, 1.0], "float32"),
    ([1, 2.0, 3j], "complex64"),
    ([], "float32"),
    ([[True], [False]], "bool"),
    ((1, 2), "int64"),
    (range(2), "int64"),
    (2**63, "uint64"),
    (np.float64(1), "float64"),
    (np.ones(2, np.int8), "int8"),
]


@pytest.mark.parametrize(("data", "dtype"), INFERRED)
def test_python_data_have_the_default_dtypes(data, dtype):
    assert gt.asarray(data).dtype == dtype
    if np.ndim(data) == 0:
        assert gt.full((2,), data).dtype == dtype
    fits = np.asarray(data)
    for other in named("biufc"):
        if fits.dtype.kind == "c" != np.dtype(other).kind:
            continue
        if fits.dtype != "uint64" or other == "uint64" or other in named("fc"):
            assert gt.asarray(data, dtype=getattr(gt, other)).dtype == other


@pytest.mark.parametrize(
    "make",
    [
        lambda value, dtype: gt.asarray(value, dtype=dtype),
        lambda value, dtype: gt.asarray([value], dtype=dtype),
        lambda value, dtype: gt.full(2, value, dtype=dtype),
        lambda value, dtype: gt.full_like(gt.ones(2, dtype=dtype), value),
    ],
)
def test_numbers_that_do_not_fit_are_refused(make):
    for value, dtype in [(300, gt.int8), (-1, gt.uint8), (2**64, gt.uint64), (-129, gt.int8)]:
        with pytest.raises(OverflowError):
            make(value, dtype)
    for dtype in (gt.float32, gt.float64, gt.int16):
        with pytest.raises(TypeError):
            make(1j, dtype)


def test_complex_numbers_do_not_lose_their_imaginary_parts():
    z, raw = gt.ones(2, dtype=gt.complex64), np.ones(2, np.complex64)
    for name, call in [
        ("full", lambda d: gt.full((), 1j, dtype=d)),
        ("linspace", lambda d: gt.linspace(0, 1j, 3, dtype=d)),
        ("astype", lambda d: gt.astype(z, d)),
        ("astype", lambda d: z.astype(d)),
        ("astype", lambda d: gt.asarray(z, dtype=d)),
        ("dtype", lambda d: gt.asarray(raw, dtype=d)),
        ("dtype", lambda d: gt.tensor(raw, dtype=d)),
    ]:
        for dtype in (gt.float32, gt.float64, gt.int8):
            with pytest.raises(gt.errors.DTypeError, match=f"^{name}: complex .* become {dtype};"):
                call(dtype)
        assert call(gt.bool).any()
        assert call(gt.complex128).dtype == gt.complex128


def test_full_takes_arrays_and_tensors_of_one_element():
    assert gt.full((2, 3), np.float64(2)).dtype == gt.float64
    assert gt.full(2, [1, 2]).tolist() == [1, 2]
    assert gt.full(2, gt.ones((1, 1))).tolist() == [1, 1]
    assert gt.full(2, np.array([1, 2], np.int8)).dtype == gt.int8
    assert gt.full((), 2**64 - 1, dtype=gt.uint64).item() == 2**64 - 1


@pytest.mark.parametrize("dtype", named("biufc"))
def test_copies_are_made_as_told(dtype):
    x = gt.asarray(numbers((2, 3), dtype))
    before = x.numpy().copy()
    shared = [gt.asarray(x), gt.asarray(x, copy=False), gt.asarray(x, dtype=x.dtype)]
    copied = [gt.asarray(x, copy=True), gt.asarray(x, dtype=x.dtype, copy=True)]
    for copy in (None, False):
        shared.append(gt.from_dlpack(x, copy=copy))
        shared.append(gt.reshape(x, (3, 2), copy=copy))
    copied += [gt.from_dlpack(x, copy=True), gt.reshape(x, (3, 2), copy=True)]
    x[0, 0] = not before[0, 0] if dtype == "bool" else before[0, 0] + 1
    assert all(t.numpy().flat[0] == x[0, 0].item() for t in shared)
    assert all(t.numpy().flat[0] == before[0, 0] for t in copied)
    with pytest.raises(ValueError, match="copy=False"):
        gt.asarray(x, dtype=gt.complex64 if dtype != "complex64" else gt.complex128, copy=False)


@pytest.mark.cpu
@pytest.mark.parametrize("dtype", named("biufc"))
def test_dlpack_takes_every_request(dtype):
    x = gt.asarray(numbers((2, 2), dtype))
    for view in (
        x,
        x.T,
        x[::-1],
        x[0, 0],
        x[:0],
        gt.linalg.diagonal(x),
        gt.broadcast_to(x, (3, 2, 2)),
    ):
        for version, device, copy in itertools.product(
            (None, (0, 8), (1, 0), (2, 1)), (None, (1, 0)), (None, True, False)
        ):
            if copy is False and min(view.array.strides, default=0) < 0:
                continue  # refused
            view.__dlpack__(max_version=version, dl_device=device, copy=copy)
        np.testing.assert_array_equal(np.from_dlpack(view), view.numpy())
    assert all(type(n) is int for n in x.__dlpack_device__())


@pytest.mark.parametrize("dtype", named("biufc"))
def test_results_can_be_written_to(dtype):
    x = gt.asarray(numbers((2, 3), dtype))
    parts = [gt.real(x), gt.imag(x), gt.linalg.diagonal(x), *gt.broadcast_arrays(x, x[:1])]
    for result in (*parts, *gt.meshgrid(x[0], x[1]), x.mT, gt.flip(x), gt.astype(x, gt.bool)):
        result[...] = True
        assert (result == 1).all()


def test_a_diagonal_is_a_view_that_can_be_changed():
    x = gt.zeros((2, 3))
    gt.linalg.diagonal(x, offset=1)[:] = gt.asarray([1.0, 2.0])
    diagonal = gt.linalg.diagonal(x)
    diagonal += 5
    assert x.tolist() == [[5, 1, 0], [0, 5, 2]]


# The array object


CASTS = {"__bool__": bool, "__int__": int, "__float__": float, "__complex__": complex}
ALLOWED = {"__int__": "biuf", "__float__": "biuf", "__index__": "iu"}


@pytest.mark.parametrize("name", [*CASTS, "__index__"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_numbers_of_python(name, dtype):
    x = gt.ones((), dtype=getattr(gt, dtype))
    if x.dtype.kind in ALLOWED.get(name, "biufc"):
        found = getattr(x, name)()
        assert type(found) is CASTS.get(name, int)
        assert found == 1
    else:
        with pytest.raises(TypeError):
            getattr(x, name)()
    for shape in ((0,), (2,), (2, 1)):
        with pytest.raises((TypeError, ValueError)):
            getattr(gt.ones(shape, dtype=x.dtype), name)()


def test_numbers_that_are_not_finite():
    assert [bool(gt.asarray(v)) for v in (math.nan, math.inf, -0.0, 0j, 1j)] == [1, 1, 0, 0, 1]
    assert math.isnan(float(gt.asarray(math.nan)))
    with pytest.raises(ValueError, match="NaN"):
        int(gt.asarray(math.nan))
    with pytest.raises(OverflowError):
        int(gt.asarray(-math.inf))


BEYOND = np.array([5])
PARTS = [
    *[0, -1, 9, slice(None), slice(2, 0, -1), slice(-5, 9), slice(0, 0), None, ..., np.int64(1)],
    *[np.array([1, 0]), np.array([0, 1, 1], np.int8), np.array(1), np.array([[0], [-1]])],
    *[np.array([], np.int64), np.array([1, 0], np.uint8), BEYOND, 1.0],
    *[np.array([True, False]), np.array([False, True, True]), np.array(True), np.array(False)],
    *[np.ones((2, 3), bool), np.eye(2, 3, dtype=bool), np.ones((2, 3, 4), bool)],
]
KEYS = [
    (),
    *PARTS,
    *itertools.product(PARTS, PARTS),
    *zip(PARTS, PARTS[7:], PARTS[3:], strict=False),
]


def tensors(key, device):
    if isinstance(key, tuple):
        return tuple(tensors(k, device) for k in key)
    return gt.asarray(key, device=device) if isinstance(key, np.ndarray) else key


def check_keys(device):
    """Reading and writing with keys is what it is in NumPy."""
    x = np.arange(24.0).reshape(2, 3, 4)
    for key in KEYS:
        parts = key if isinstance(key, tuple) else (key,)
        if device != "cpu" and any(part is BEYOND for part in parts):
            continue  # wraps around there
        mine = gt.tensor(x, device=device)
        try:
            wanted = np.asarray(x[key])
        except IndexError:
            with pytest.raises(IndexError):
                mine[tensors(key, device)]
            with pytest.raises(IndexError):
                mine[tensors(key, device)] = 0.0
            continue
        found = mine[tensors(key, device)]
        assert (found.device, found.dtype, found.shape) == (device, x.dtype, wanted.shape)
        np.testing.assert_array_equal(found.numpy(), wanted)
        once = len(np.unique(wanted)) == wanted.size
        for value in (7.5, np.array(7.5), np.arange(0.5, wanted.size).reshape(wanted.shape)):
            if once or np.ndim(value) == 0:
                mine, theirs = gt.tensor(x, device=device), x.copy()
                mine[tensors(key, device)] = tensors(value, device)
                theirs[key] = value
                np.testing.assert_array_equal(mine.numpy(), theirs)


def test_keys_read_and_write_as_in_numpy():
    check_keys("cpu")


@on_cuda
def test_keys_read_and_write_on_cuda(cupy):
    check_keys("cuda:0")


# Searching


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@on_cuda
def test_searchsorted_takes_numbers_and_mixes_dtypes(cupy, device):
    for a, b in itertools.product(named("iuf"), repeat=2):
        low = 0 if "u" in np.dtype(a).kind + np.dtype(b).kind else -2
        x, y = np.array([0, 1, 1, 3], a), np.array([[low, 1], [3, 4]], b)
        for side in ("left", "right"):
            wanted = np.searchsorted(x, y, side)
            here, there = gt.asarray(x, device=device), gt.asarray(y, device=device)
            assert_same([gt.searchsorted(here, there, side=side)], [wanted], (a, b))
            order = gt.asarray([3, 2, 1, 0], device=device)
            found = gt.searchsorted(here[::-1], there, side=side, sorter=order)
            assert_same([found], [wanted], (a, b))
            for number in (1, 0.5, True, 300):
                found = gt.searchsorted(here, number, side=side)
                assert found.device == device
                assert found.item() == np.searchsorted(x, number, side)
    signed = gt.asarray([-2, 1], device=device), gt.asarray([0, 2], dtype=gt.uint32, device=device)
    assert gt.searchsorted(*signed).tolist() == [1, 2]


@pytest.mark.parametrize("dtype", named("fc"))
def test_every_nan_is_a_value_of_its_own(dtype):
    nan = math.nan
    data = np.array([[nan, 1, nan, -0.0], [0.0, math.inf, 1, nan]]).astype(dtype)
    for name in ("unique_all", "unique_counts", "unique_inverse"):
        found, wanted = (getattr(m, name)(m.asarray(data)) for m in (gt, strict))
        assert found._fields == wanted._fields
        assert_same(list(found), list(wanted), name)
    assert gt.unique_values(gt.asarray(data)).shape == (6,)
    counts = gt.unique_all(gt.asarray(data)).counts
    assert counts.dtype == gt.int64
    assert counts.tolist() == [2, 2, 1, 1, 1, 1]


def test_shapes_are_not_broadcast_to_fewer_axes():
    for shape in ((), (3,)):
        with pytest.raises(gt.errors.ShapeError, match="more axes"):
            gt.broadcast_to(gt.ones((1, 3))[:, : len(shape) * 3 or 1], shape)


# Linear algebra and transforms


MATRICES = [(2, 2), (3, 2), (2, 3), (2, 3, 3), (0, 2, 2), (2, 0, 0), (0, 3), (3, 0), (2, 1, 2, 3)]
FIELDS = {
    "eigh": ("eigenvalues", "eigenvectors"),
    "qr": ("Q", "R"),
    "slogdet": ("sign", "logabsdet"),
    "svd": ("U", "S", "Vh"),
}
OF_MATRICES = {
    **{n: lambda m, x, n=n: getattr(m.linalg, n)(x) for n in ("pinv", "svdvals", "svd", "qr")},
    "qr complete": lambda m, x: m.linalg.qr(x, mode="complete"),
    "svd reduced": lambda m, x: m.linalg.svd(x, full_matrices=False),
    **{
        f"matrix_norm {order}": lambda m, x, o=order: m.linalg.matrix_norm(x, ord=o, keepdims=True)
        for order in ("fro", "nuc", None, 1, -1, 2, -2, math.inf, -math.inf)
    },
}
OF_SQUARES = {
    **{n: lambda m, x, n=n: getattr(m.linalg, n)(x) for n in ("det", "slogdet", "eigvalsh")},
    **{n: lambda m, x, n=n: getattr(m.linalg, n)(x) for n in ("cholesky", "eigh", "inv")},
    "cholesky upper": lambda m, x: m.linalg.cholesky(x, upper=True),
    **{
        f"matrix_power {n}": lambda m, x, n=n: m.linalg.matrix_power(x, n)
        for n in (-2, -1, 0, 1, 5)
    },
    "solve": lambda m, x: m.linalg.solve(x, x),
    "solve for a vector": lambda m, x: m.linalg.solve(x, m.ones(x.shape[-1], dtype=x.dtype)),
}


@pytest.mark.parametrize("name", [*OF_MATRICES, *OF_SQUARES])
@pytest.mark.parametrize("dtype", named("fc"))
def test_stacks_of_matrices(name, dtype):
    call = OF_MATRICES.get(name) or OF_SQUARES[name]
    for shape in MATRICES:
        data = numbers(shape, dtype)
        if name in OF_SQUARES:
            if shape[-1] != shape[-2]:
                with pytest.raises(ValueError, match="linalg"):
                    call(gt, gt.asarray(data))
                continue
            data = data @ np.conj(np.swapaxes(data, -1, -2)) / 4 + np.eye(shape[-1], dtype=dtype)
        results = []
        for m in (gt, strict):
            try:
                results.append(call(m, m.asarray(data)))
            except ValueError:
                results.append(ValueError)
        found, wanted = results
        if wanted is ValueError:
            assert found is ValueError
            continue
        if isinstance(wanted, tuple):
            assert found._fields == FIELDS[name.split()[0]]
            assert [getattr(found, field) for field in found._fields] == [*found]
        for a, b in zip(parts_of(found), parts_of(wanted), strict=True):
            b = np.asarray(b)
            assert (a.dtype, a.shape) == (b.dtype, b.shape), shape
            if not isinstance(wanted, tuple) or name == "slogdet":
                np.testing.assert_allclose(a.numpy(), b, rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("dtype", named("fc"))
@pytest.mark.parametrize("order", [0, 0.5, 1, 2, 2.5, 7, -0.5, -1, -2, math.inf, -math.inf])
def test_norms_of_all_orders(dtype, order):
    for shape in SHAPES:
        data = numbers(shape, dtype)
        for axis, keepdims in itertools.product(axes_of(shape), BOTH):
            options = {"axis": axis, "keepdims": keepdims, "ord": order}
            mine, theirs = (
                run(lambda m=m, x=data, o=options: m.linalg.vector_norm(m.asarray(x), **o))
                for m in (gt, strict)
            )
            assert_same(mine, theirs, (shape, options))


@pytest.mark.parametrize("axes", [1, np.int64(1), (1, 0), ((-1,), [0]), [[1], [0]]])
def test_tensordot_takes_axes_in_all_forms(axes):
    x, y = numbers((2, 3), "float64"), numbers((3, 4), "float64")
    found = gt.tensordot(gt.asarray(x), gt.asarray(y), axes=axes)
    np.testing.assert_allclose(found.numpy(), x @ y)


@pytest.mark.parametrize("axes", [1.5, (1, 0, 1), "ab", (1.0, 0)])
def test_tensordot_says_what_axes_are(axes):
    with pytest.raises(TypeError, match="tensordot: axes must"):
        gt.tensordot(gt.ones((2, 2)), gt.ones((2, 2)), axes=axes)


@pytest.mark.parametrize("name", ["fftn", "ifftn", "rfftn", "irfftn"])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
@on_cuda
def test_transforms_over_axes_in_any_order(cupy, name, device):
    for shape in ((2, 3), (3, 2, 4)):
        x = numbers(shape, "float64" if name == "rfftn" else "complex128")
        for axes in itertools.permutations(range(len(shape)), 2):
            for s in itertools.product((2, 3), repeat=2):
                found = getattr(gt.fft, name)(gt.asarray(x, device=device), s=s, axes=axes)
                assert_same([found], [getattr(np.fft, name)(x, s, axes)], (shape, axes, s))


@pytest.mark.parametrize("name", ["fft", "ifft", "rfft", "ihfft", "irfft", "hfft"])
def test_transforms_of_nothing_are_of_zeros(name):
    dtype = gt.complex64 if name in ("fft", "ifft", "irfft", "hfft") else gt.float32
    for shape in ((0,), (2, 0)):
        found = getattr(gt.fft, name)(gt.zeros(shape, dtype=dtype), n=4)
        assert found.shape == (*shape[:-1], 3 if name in ("rfft", "ihfft") else 4)
        assert not found.any()
    over = gt.fft.irfftn(gt.zeros((2, 0), dtype=gt.complex64), s=(3, 4))
    assert over.tolist() == [[0] * 4] * 3


def test_nan_as_a_complex_number_is_nan_in_both_parts():
    both = complex(gt.tensor(float("nan")))
    assert np.isnan(both.real)
    assert np.isnan(both.imag)
    assert complex(gt.tensor(complex("nan+2j"))).imag == 2
    assert complex(gt.tensor(2.0)) == 2
