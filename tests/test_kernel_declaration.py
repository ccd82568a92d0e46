"""gt.kernel: declaring, launching with checked arguments, gradients, parity, compile errors."""

import runpy
from pathlib import Path

import numpy as np
import pytest

import gputensor as gt
from gputensor import standin
from gputensor.errors import CompileError, DTypeError, LaunchError, OperandError, ParityError
from gputensor.kernels import CudaSource, Loop, c_type, split
from gputensor.kernels.source import signatures

RNG = np.random.default_rng(8)

SOURCE = r"""
// A comment with a __global__ void trap(int x) { in it.
extern "C" __global__ void scale(const float* x, float* out, float factor, long long size) {
    for (long long i = blockIdx.x * blockDim.x + threadIdx.x; i < size; i += gridDim.x * blockDim.x)
        out[i] = x[i] * factor;
}

template <typename T, int POWER>
__global__ void __launch_bounds__(256) raise(const T* __restrict__ x, T* out, int size, bool negate,
                                             unsigned char shift) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= size) return;
    T y = T(1);
    for (int k = 0; k < POWER; k++) y *= x[i];
    out[i] = (negate ? -y : y) + T(shift);
}
"""


def launch_scale(source, x, factor):
    out = type(x)(x.shape, x.dtype)
    source.launch("scale", (x, out, factor, x.size), elements=x.size)
    return out


def make_scale(**options):
    options = {"source": SOURCE, "cuda": launch_scale, "dtypes": ("float32",)} | options

    @gt.kernel(**options)
    def scale(xp, x, factor):
        """Multiply."""
        return x * factor

    return scale


def test_signatures_are_read_from_the_source():
    found = signatures(SOURCE)
    assert set(found) == {"scale", "raise"}
    assert found["raise"].template == ("T", "POWER")
    bound = found["raise"].bind(("double", "3"))
    assert [(p.name, p.pointer, p.dtype) for p in bound] == [
        ("x", True, np.float64),
        ("out", True, np.float64),
        ("size", False, np.int32),
        ("negate", False, np.bool_),
        ("shift", False, np.uint8),
    ]
    assert bound[0].declared == "const double* __restrict__"
    # Every kernel of our own is found, those of headers too, with types that are all known.
    files = [s for s in gt.kernels.source._SOURCES if s.name != "source.cu"]
    assert len(files) > 10
    for source in files:
        for signature in source.kernels.values():
            types = ["float" if len(t) < 4 and t != "N" else "1" for t in signature.template]
            for parameter in signature.bind(types):
                assert parameter.dtype is not None, (source, parameter)


def test_a_kernel_is_its_reference_on_the_cpu():
    scale = make_scale()
    assert scale.__doc__ == "Multiply."
    x = RNG.normal(size=5)
    assert scale.implementation(x) == "reference"
    y = scale(gt.asarray(x), 2.0)
    assert isinstance(y, gt.Tensor)
    np.testing.assert_array_equal(y.numpy(), x * 2)
    assert gt.gradcheck(lambda t: scale(t, 3.0), gt.tensor(x, dtype=gt.float64, requires_grad=True))


def test_python_numbers_take_the_parameters_type(cupy):
    scale = make_scale()
    x = RNG.normal(size=1000).astype(np.float32)
    y = scale(gt.asarray(x, device="cuda"), 0.1)
    np.testing.assert_array_equal(y.numpy(), x * np.float32(0.1))
    assert scale.parity(x, 0.5) == {"cuda": 0.0}
    source = CudaSource(SOURCE)
    x, out = cupy.asarray([2.0, 3.0]), cupy.empty(2)
    source.launch("raise<double, 3>", (x, out, 2, True, np.int64(7)), elements=2)
    np.testing.assert_array_equal(out.get(), [-1.0, -20.0])


@pytest.mark.parametrize(
    ("entry", "arguments", "message"),
    [
        ("missing", (), r"no kernel 'missing'; it has scale, raise"),
        ("raise", (), r"the template of raise takes 2 argument\(s\) \(T, POWER\), 0 given"),
        ("scale", ("x", "x"), r"scale takes 4 arguments \(const float\* x, .* size\), 2 given"),
        ("scale", ("f64", "x", 1.0, 4), r"scale: x is `const float\*` .* got float64 array"),
        ("scale", ("view", "x", 1.0, 4), r"not C-contiguous; give a C-contiguous float32 array"),
        ("scale", ("x", "x", "x", 4), r"factor is `float` in the source, got float32 array"),
        ("scale", ("x", "x", "word", 4), r"factor is `float` in the source, got str 'word'"),
        ("scale", ("host", "x", 1.0, 4), r"x is `const float\*` .* got NumPy float32 array"),
        ("scale", ("x", 1.5, 1.0, 4), r"out is `float\*` in the source, got float 1.5"),
        ("scale", ("x", "x", 1.0, 4.0), r"size is `long long` in the source, got float 4.0"),
        ("scale", ("x", "x", 1.0, 2**63), r"size is `long long`"),
        ("scale", ("x", "x", 1.0, -(2**63) - 1), r"size is `long long`"),
        ("scale", ("x", "x", 1.0, 2**64), r"size is `long long`"),
        ("scale", ("x", "x", 1.0, np.uint64(2**63)), r"size is `long long`"),
        ("raise<float, 2>", ("x", "x", 2**31, False, 0), r"size is `int`"),
        ("raise<float, 2>", ("x", "x", np.int64(2**40), False, 0), r"size is `int`"),
        ("raise<float, 2>", ("x", "x", 4, False, -1), r"shift is `unsigned char`"),
        ("raise<float, 2>", ("x", "x", 4, False, 256), r"shift is `unsigned char`"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(cupy, entry, arguments, message):
    x = cupy.asarray(np.arange(4, dtype=np.float32))
    values = {
        "x": x,
        "f64": cupy.zeros(4),
        "host": x.get(),
        "view": cupy.zeros((8,), np.float32)[::2],
    }
    arguments = [values.get(a, a) if isinstance(a, str) else a for a in arguments]
    standin.counters.reset()
    with pytest.raises(LaunchError, match=message):
        CudaSource(SOURCE).launch(entry, arguments, elements=4)
    assert standin.counters.launches == 0
    np.testing.assert_array_equal(x.get(), [0, 1, 2, 3])


def test_null_pointers(cupy):
    source = CudaSource(
        'extern "C" __global__ void fill(const float* x, float* out, int size) {'
        "for (int i = threadIdx.x; i < size; i += blockDim.x) out[i] = x ? x[i] : 5;}"
    )
    out = cupy.zeros(3, np.float32)
    source.launch("fill", (None, out, 3), blocks=(1,))
    np.testing.assert_array_equal(out.get(), 5)


def test_compile_errors_show_the_numbered_source(cupy):
    source = CudaSource(SOURCE.replace("T y = T(1);", "T z = T(1);"))
    with pytest.raises(CompileError) as caught:
        source.launch("raise<float, 2>", [cupy.zeros(2, np.float32)] * 2 + [2, False, 0])
    text = str(caught.value)
    assert "raise<float, 2> does not compile" in text
    assert "|     for (int k = 0; k < POWER; k++) y *= x[i];" in text
    marked = next(line for line in text.splitlines() if line.startswith(">"))
    number = int(marked.split()[1])
    assert "y" in SOURCE.splitlines()[number - 1]


def test_parity_finds_a_wrong_loop():
    @Loop
    def wrong(start, stop, x, out):
        for i in range(start, stop):
            out[i] = x[i] * (2 if i != 3 else 2.001)

    def run(x):
        out = np.empty_like(x)
        split(wrong, x.size, 2, x, out)
        return out

    @gt.kernel(loop=run)
    def double(xp, x):
        return x * 2

    x = np.arange(10, dtype=np.float32)
    with pytest.raises(
        ParityError, match=r"double, loop: result 0 .* in 1 of 10 elements; at \(3,"
    ):
        double.parity(x)
    assert double.parity(x, rtol=1e-2)["loop"] > 0
    with pytest.raises(DTypeError, match="only the reference for int64"):
        double.parity(np.arange(3))
    with pytest.raises(DTypeError, match="the reference, not the loop, would run"):
        double.parity(np.ones(0))


def test_parity_looks_at_what_is_written_in_place():
    @gt.kernel(loop=lambda x: x.fill(1))
    def clear(xp, x):
        x[...] = 0

    with pytest.raises(ParityError, match="result 0"):
        clear.parity(np.ones(3))


def test_without_a_gradient_the_reference_is_differentiated():
    def run(a, b):
        return np.sin(a) * b

    @gt.kernel(loop=run)
    def product(xp, a, b):
        return xp.sin(a) * b

    a, b = (gt.tensor(RNG.normal(size=(3, 2)), dtype=gt.float64, requires_grad=True) for _ in "ab")
    assert gt.gradcheck(product, a, b)
    assert gt.gradcheck(lambda x: gt.grad(lambda y: product(y, b.detach()).sum())(x), a)
    with gt.no_grad():
        assert not product(a, b).requires_grad
    loss = product(a, 2.0).sum()
    with gt.no_grad():  # the reference records itself all the same
        loss.backward()
    np.testing.assert_allclose(a.grad.numpy(), 2 * np.cos(a.detach().numpy()))


SINCOS = CudaSource(r"""
#include "common.cuh"

template <typename T>
__global__ void sine_and_cosine(const T* x, T* s, T* c, long long size) {
    for (int64 i = first_index(); i < size; i += grid_stride()) {
        s[i] = sin(x[i]);
        c[i] = cos(x[i]);
    }
}
""")


def sine_and_cosine(vjp=None):
    def launch(source, x):
        s, c = (gt.backend.namespace(x).empty_like(x) for _ in range(2))
        source.launch(f"sine_and_cosine<{c_type(x.dtype)}>", (x, s, c, x.size), elements=x.size)
        return s, c

    @gt.kernel(source=SINCOS, cuda=launch, vjp=vjp)
    def both(xp, x):
        return xp.sin(x), xp.cos(x)

    return both


def slope_of_both(xp, g, out, x):
    return g[0] * out[1] - g[1] * out[0]


@pytest.mark.parametrize("vjp", [None, slope_of_both])
def test_a_kernel_may_give_several_results(cupy, vjp):
    both = sine_and_cosine(vjp)
    data = np.linspace(-1, 2, 5)
    for device in ("cpu", "cuda"):
        x = gt.tensor(data, requires_grad=True, device=device)
        s, c = both(x)
        (s * c).sum().backward()
        np.testing.assert_allclose(x.grad.numpy(), np.cos(2 * data))
        for use in (lambda s, c: s, lambda s, c: 3 * c, lambda s, c: s * c):
            loss = lambda x, use=use: use(*both(x))  # noqa: E731
            assert gt.gradcheck(loss, x)
            assert gt.gradgradcheck(loss, x)
        slope = gt.capture(gt.grad(lambda x: both(x)[1].sum()))
        for _ in range(2):
            np.testing.assert_allclose(slope(x.detach()).numpy(), -np.sin(data))
    assert both.parity(data).keys() == {"cuda"}


@pytest.mark.cpu
def test_results_without_a_gradient_are_left_alone():
    @gt.kernel()
    def largest(xp, x):
        return xp.max(x, axis=1), xp.argmax(x, axis=1)

    x = gt.tensor([[1.0, 3.0], [5.0, 2.0]], requires_grad=True)
    values, places = largest(x)
    assert not places.requires_grad
    values.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [[0, 1], [1, 0]])


@pytest.mark.cpu
def test_a_kernel_without_a_result_says_that_it_is_for_arrays():
    p, g = gt.ones(2), gt.ones(2)
    with pytest.raises(OperandError, match=r"unscale: it gives no result.*write unscale\.raw"):
        gt.kernels.unscale(p, gt.ones(1), g)


def test_dtypes_that_kernels_do_not_take_go_to_the_reference(monkeypatch):
    ran = []
    scale = make_scale(loop=lambda x, factor: ran.append(1) or x * factor)
    x = np.ones((3, 3), np.float32)
    assert scale.implementation(x) == "loop"
    assert scale.implementation(x, np.float64(1)) == "loop"
    assert scale.implementation(x.astype(np.float64)) == "reference"
    assert scale.implementation(x[:, ::2]) == "reference"
    assert scale.implementation(x[:0]) == "reference"
    assert scale.implementation(x, np.ones(3)) == "reference"  # of another floating point dtype
    assert scale.implementation(x, np.ones(3, np.int64)) == "loop"
    monkeypatch.setenv("GPUTENSOR_KERNELS", "reference")
    assert scale.implementation(x) == "reference"


def test_source_and_launch_go_together():
    with pytest.raises(TypeError, match="source and cuda"):
        make_scale(cuda=None)


def test_c_types():
    for dtype, name in (("float32", "float"), ("float16", "f16"), ("int64", "long long")):
        assert c_type(np.dtype(dtype)) == name
    assert c_type(np.dtype("U3")) == "void"


EXAMPLE = Path(__file__).parent.parent / "examples" / "custom_kernel.py"


def test_the_example_of_a_kernel(cupy, capsys):
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    printed = capsys.readouterr().out
    assert "gradient against finite differences" in printed
    assert printed.count("cuda against the reference: largest error") == 2
    assert "gradient on cuda:0" in printed


def test_the_example_is_short():
    assert len(EXAMPLE.read_text().splitlines()) < 60


def test_a_declaration_without_parentheses_is_said():
    with pytest.raises(TypeError, match=r"used with parentheses: @gt.kernel\(\)"):

        @gt.kernel
        def doubled(xp, x):
            return 2 * x
