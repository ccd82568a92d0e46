"""Random programs: captured ones do what plain ones do, to the bit, and what JAX does.

They broadcast, reduce, take views, assign items, on the tape and off it, with arguments of other
layouts, dtypes and aliases from call to call. Others train: they draw numbers, share parameters,
and step optimizers, while the host changes rates and gradients in between.
"""

import functools
import random

import numpy as np
import pytest
from test_graph_cuda import device  # noqa: F401 (a fixture)

import gputensor as gt
from gputensor.errors import GPUTensorError

SHAPES = [(5,), (1,), (0,), (3, 4), (4, 1), (1, 6), (2, 3, 5), (7, 0), (), (33, 17), (129,)]
DTYPES = ["float32", "float64", "float16", "int32", "bool", "complex64", "uint8"]


def put(x, key, value):
    """`x` with items set: in place, or as JAX has it."""
    if hasattr(x, "at"):
        return x.at[key].set(value)
    x[key] = value
    return x


def in_place(x, y):
    if hasattr(x, "at"):
        return x + y
    x += y
    return x


def along(x, q):
    return {"axis": q % x.ndim} if x.ndim else {}


# Of a namespace, two arrays and a number.
SMOOTH = [
    lambda xp, x, y, q: x + y,
    lambda xp, x, y, q: x * y,
    lambda xp, x, y, q: x - y,
    lambda xp, x, y, q: x / (xp.abs(y) + 1),
    lambda xp, x, y, q: xp.tanh(x),
    lambda xp, x, y, q: xp.exp(-xp.abs(x)),
    lambda xp, x, y, q: xp.sqrt(xp.abs(x) + 0.5),
    lambda xp, x, y, q: xp.where(x > y, x, y * 2),
    lambda xp, x, y, q: xp.sum(x, keepdims=bool(q & 1), **along(x, q)),
    lambda xp, x, y, q: xp.mean(x),
    lambda xp, x, y, q: xp.cumulative_sum(x, **along(x, q)) if x.ndim else x,
    lambda xp, x, y, q: xp.broadcast_to(xp.sum(x), x.shape),
    lambda xp, x, y, q: xp.flip(x),
    lambda xp, x, y, q: x.reshape((-1,)),
    lambda xp, x, y, q: xp.permute_dims(x, tuple(range(x.ndim))[::-1]),
    lambda xp, x, y, q: x[q % max(1, len(x)) :] if x.ndim else x,
    lambda xp, x, y, q: x[..., ::-2] if x.ndim else x,
    lambda xp, x, y, q: xp.stack([x, x * 2]),
    lambda xp, x, y, q: xp.concat([x, x]) if x.ndim else x,
    lambda xp, x, y, q: x @ x.T if x.ndim == 2 else x * 3,
    lambda xp, x, y, q: xp.roll(x, q % 7),
    lambda xp, x, y, q: xp.expand_dims(x, axis=q % (x.ndim + 1)),
    lambda xp, x, y, q: put(x * 1, q % len(x), 3) if x.ndim and len(x) else x,
    lambda xp, x, y, q: put(x * 1, slice(1, None), x[:-1]) if x.ndim else x,
    lambda xp, x, y, q: in_place(in_place(xp.zeros_like(x), x), x),
    lambda xp, x, y, q: in_place(x * 1, 1),
]
OTHERS = [
    lambda xp, x, y, q: xp.max(x, **along(x, q)),
    lambda xp, x, y, q: xp.clip(x, -0.5, 0.5),
    lambda xp, x, y, q: x ** (q % 5),
    lambda xp, x, y, q: xp.prod(x, **along(x, q)),
    lambda xp, x, y, q: xp.sign(x),
    lambda xp, x, y, q: xp.astype(xp.astype(x, xp.float32), x.dtype),
    lambda xp, x, y, q: put(put(x * 1, slice(None, None, 2), 1), ..., y),
]


def program(seed, operations, shapes):
    """A function of a namespace and three arrays, and their shape."""
    rng = random.Random(seed)
    numbers = [[rng.randrange(64) for _ in range(3)] for _ in range(rng.randint(2, 14))]
    chosen = [(rng.choice(operations), *three) for three in numbers]

    def function(xp, *arrays):
        pool = list(arrays)
        for operation, i, j, q in chosen:
            x, y = pool[i % len(pool)], pool[j % len(pool)]
            try:
                z = operation(xp, x, y, q)
            except (GPUTensorError, TypeError, ValueError, IndexError, ZeroDivisionError):
                continue  # it does not fit
            if z.size < 1e5:
                pool.append(z)
        return pool[-2:]

    return function, rng.choice(shapes)


def with_gradients(function, *arrays):
    leaves = [a.detach() * 1 for a in arrays]
    for leaf in leaves:
        leaf.requires_grad = leaf.dtype.kind in "fc"
    out = function(gt, *leaves)
    if out[-1].requires_grad and out[-1].dtype.kind == "f":
        gt.sum(out[-1]).backward()
    return [*(t.detach() for t in out), *(t.grad for t in leaves)]


def bits(results):
    """All of some results; NaN of any sign."""
    found = []
    for t in results:
        array = None if t is None else t.detach().cpu().numpy()
        if array is not None and array.dtype.kind in "fc":
            array = np.where(np.isnan(array), array.dtype.type(np.nan), array)
        found.append(array if array is None else (array.dtype, array.shape, array.tobytes()))
    return found


def arguments(shape, dtypes, call, seed, where):
    """Those of a call; there may be one twice, and others in Fortran's order."""
    rng = np.random.default_rng([seed, call])
    arrays = [(rng.standard_normal(shape) * 3).astype(dtype) for dtype in dtypes]
    if call == 3:
        arrays = [np.asfortranarray(a) for a in arrays]
    tensors = [gt.asarray(a, device=where) for a in arrays]
    if call == 2:
        tensors[1] = tensors[0]
    return tensors


def compare(seed, where, calls=5):
    function, shape = program(seed, SMOOTH + OTHERS, SHAPES)
    rng = random.Random(-seed)
    dtypes = [rng.choice(DTYPES[: rng.choice([1, 2, len(DTYPES)])]) for _ in range(3)]
    plain = functools.partial(function, gt)
    if rng.random() < 0.6:
        plain = functools.partial(with_gradients, function)
    run = gt.capture(lambda *tensors: plain(*tensors))
    for call in range(calls):
        with np.errstate(all="ignore"):
            expected = bits(plain(*arguments(shape, dtypes, call, seed, where)))
            found = bits(run(*arguments(shape, dtypes, call, seed, where)))
        assert found == expected, (seed, call)
    return run.reason is None


@pytest.mark.cpu
@pytest.mark.parametrize("first", range(0, 400, 50))
def test_captured_programs_do_what_plain_ones_do(first):
    with gt.device("cpu"):
        captured = [compare(seed, "cpu") for seed in range(first, first + 50)]
    assert sum(captured) > 25


@pytest.mark.standin
@pytest.mark.parametrize("seed", range(6))
def test_captured_programs_do_what_plain_ones_do_on_cuda(device, seed):  # noqa: F811
    compare(seed, "cuda", calls=4)


@pytest.mark.cpu
@pytest.mark.peers
def test_captured_programs_do_what_jax_does():
    jax = pytest.importorskip("jax")
    for seed in range(8):
        function, shape = program(seed, SMOOTH, [s for s in SHAPES if s != (0,) and 0 not in s])
        plain = functools.partial(with_gradients, function)
        run = gt.capture(lambda *tensors, plain=plain: plain(*tensors))
        with jax.enable_x64(True), np.errstate(all="ignore"), gt.device("cpu"):
            for call in range(2):
                tensors = arguments(shape, ["float64"] * 3, 0, (seed, call), "cpu")
                *out, dx, dy, dz = run(*tensors)
                arrays = [jax.numpy.asarray(t.numpy()) for t in tensors]
                expected = function(jax.numpy, *arrays)
                slopes = jax.grad(
                    lambda *xs, f=function: f(jax.numpy, *xs)[-1].sum(), argnums=(0, 1, 2)
                )(*arrays)
                found = [*out, *(gt.zeros(shape) if d is None else d for d in (dx, dy, dz))]
                for a, b in zip(found, [*expected, *slopes], strict=True):
                    a, b = np.asarray(a), np.asarray(b)
                    assert a.shape == b.shape
                    scale = max(1, np.max(np.abs(b), initial=0, where=np.isfinite(b)))
                    np.testing.assert_allclose(a, b, rtol=0, atol=1e-9 * scale, err_msg=str(seed))


# Training


OPTIMIZERS = [gt.optim.SGD, gt.optim.Adam, gt.optim.RMSprop, gt.optim.AdamW, gt.optim.Adagrad]


def trained(seed, captured, where, calls):
    """What functions give that share parameters, an optimizer and a generator, and what is left."""
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    n, m, k = rng.integers(1, 7, 3)
    sizes = (n, m), (m,), (m, k), (1,)
    weights = [gt.tensor(normal(*s), requires_grad=True, device=where) for s in sizes]
    own = weights if rng.random() < 0.6 else weights[:2]
    optimizer = OPTIMIZERS[rng.integers(len(OPTIMIZERS))](own, lr=0.05)
    generator = gt.random.Generator(seed)
    mean, count = gt.zeros((k,), device=where), gt.zeros((), dtype=gt.int64, device=where)
    bend = [gt.tanh, gt.sin, gt.nn.functional.relu, gt.abs][rng.integers(4)]
    noisy, adds, kind = rng.random() < 0.5, rng.random() < 0.3, rng.integers(3)

    def model(x):
        h = x @ weights[0] + weights[1]
        if noisy:
            h = h + 0.1 * generator.normal(0, 1, h.shape)
        return bend(h) @ weights[2] * weights[3]

    def step(x):
        y = model(x)
        loss = [gt.mean(y * y), gt.log(gt.sum(gt.exp(-gt.abs(y))) + 1), gt.max(y * y)][kind]
        if not adds:
            optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with gt.no_grad():
            mean.__imul__(0.9)
            mean.__iadd__(gt.mean(y.detach(), axis=0) * 0.1)
            count.__iadd__(1)
        return [loss.detach()]

    def evaluate(x):
        with gt.no_grad():
            y = model(x)
            z = gt.where(y > 0, y, y * 0.1)
            z[..., 0] = 1
            z[:1] += gt.sum(x)
            return [z, mean * 2]

    def slopes(x):
        loss = gt.exp(-gt.sum(model(x) ** 2))
        for w in weights:
            w.grad = None
        loss.backward()
        return [w.grad * 1 for w in weights]

    def draw(x):
        return [generator.uniform(0, 1, (3,)) + gt.sum(x)]

    functions = [gt.capture(f) if captured else f for f in (step, evaluate, slopes, draw)]
    for _ in range(calls):
        x = gt.asarray(normal(rng.choice([1, 3, 5]), n), device=where)
        change = rng.integers(9)
        if change == 0:
            optimizer.lr = float(rng.uniform(0.01, 0.1))
        elif change == 1:
            with gt.no_grad():
                weights[3][...] = 1.5
        elif change == 2:
            weights[0].grad = None
        elif change == 3:
            weights[0].grad = gt.ones(weights[0].shape, device=where)
        elif change == 4:
            generator.normal(0, 1, (2,))
        yield bits(functions[rng.integers(4)](x))
        yield bits([*weights, *(w.grad for w in weights), mean, count])
    if captured:
        assert all(f.reason is None for f in functions)


@pytest.mark.cpu
@pytest.mark.parametrize("seed", range(16))
def test_captured_training_does_what_plain_training_does(seed):
    with gt.device("cpu"):
        both = zip(trained(seed, True, "cpu", 30), trained(seed, False, "cpu", 30), strict=True)
        assert all(a == b for a, b in both)


@pytest.mark.standin
@pytest.mark.parametrize("seed", range(3))
def test_captured_training_does_what_plain_training_does_on_cuda(device, seed):  # noqa: F811
    both = zip(trained(seed, True, "cuda", 10), trained(seed, False, "cuda", 10), strict=True)
    assert all(a == b for a, b in both)
