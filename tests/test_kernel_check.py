"""gt.kernels.check and the commands about kernels: what is right passes, each mistake is named."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import gputensor as gt
from gputensor import cli, scaffold, standin
from gputensor.errors import (
    CompileError,
    GradcheckError,
    GraphError,
    LaunchError,
    OperandError,
    ParityError,
)
from gputensor.kernels import CudaSource, nvrtc

pytestmark = pytest.mark.cpu
EXAMPLE = runpy.run_path(str(Path(__file__).parents[1] / "examples" / "custom_kernel.py"))
RNG = np.random.default_rng(3)
A, B = RNG.normal(size=(2, 3, 7)).astype(np.float32)
TEXT = EXAMPLE["SOURCE"].text
compiled = pytest.mark.skipif(
    not nvrtc.is_installed() and os.environ.get("GPUTENSOR_NVRTC") != "required",
    reason='NVRTC is not installed: python -m pip install -e ".[nvrtc]"',
)
on_the_cpu = pytest.mark.skipif(standin.host_compiler() is None, reason="there is no C++ compiler")


def variant(text=TEXT, **options):
    options = {"cuda": EXAMPLE["launch"], "vjp": EXAMPLE["swiglu"]._vjp} | options
    return gt.kernel(source=CudaSource(text), **options)(EXAMPLE["swiglu"].reference)


def changed(old, new):
    assert old in TEXT
    return TEXT.replace(old, new, 1)


@on_the_cpu
def test_a_right_kernel_passes_on_the_cpu_in_several_orders():
    report = gt.kernels.check(EXAMPLE["swiglu"], A, B)
    said = repr(report)
    assert "arguments of the launch of swiglu<float>" in report.checked
    assert "threads forward, reverse, shuffle) against the reference" in said
    assert report.checked[-1] == "gradient against finite differences"
    if not nvrtc.is_installed():
        assert "nvidia-cuda-nvrtc" in report.unchecked[0]
    assert not gt.backend.cuda_status().available  # the stand-in is gone


def test_the_gradient_of_each_result_is_checked():
    def pair(right):
        @gt.kernel(vjp=lambda xp, g, out, x: g[0] * out[1] - right * g[1] * out[0])
        def both(xp, x):
            return xp.sin(x), xp.cos(x)

        return both

    report = gt.kernels.check(pair(1), A)
    assert report.checked == ["gradient against finite differences"]
    with pytest.raises(GradcheckError):
        gt.kernels.check(pair(2), A)


@on_the_cpu
def test_a_source_runs_on_the_cpu_where_the_cache_cannot_be_written_to(monkeypatch, tmp_path):
    file = tmp_path / "file"
    file.write_text("no folder")
    monkeypatch.setenv("GPUTENSOR_CACHE", str(file))
    text = changed("out[i] =", "out[i] = 0 +")  # which no other test has compiled
    report = gt.kernels.check(variant(text), A, B)
    assert any("on the CPU; threads" in said for said in report.checked)


def test_cases_of_our_own_kernels_pass():
    x = RNG.normal(size=(4, 6)).astype(np.float32)
    report = gt.kernels.check(gt.kernels.row_softmax, x)
    assert any(text.startswith("loop against the reference") for text in report.checked)


@on_the_cpu
@pytest.mark.parametrize(
    ("old", "new", "error", "said"),
    [
        ("* b[i];", "* b[i]", CompileError, r"does not compile\n(.*\n)*. +7 \|         out\[i\]"),
        ("exp(-a[i])", "exp(a[i])", ParityError, "differs from the reference in 21 of 21"),
        ("i < size; i", "i <= size; i", ParityError, "wrote outside of an array: argument 2"),
    ],
)
def test_a_wrong_source_is_found_without_a_gpu(old, new, error, said):
    with pytest.raises(error, match=said):
        gt.kernels.check(variant(changed(old, new)), A, B)


@on_the_cpu
def test_a_race_is_found_without_a_gpu():
    source = CudaSource(r"""
extern "C" __global__ void total(const float* x, float* out, long long size) {
    __shared__ float last;
    if (threadIdx.x < size) last = x[threadIdx.x];
    __syncthreads();
    if (threadIdx.x == 0) out[0] = last;
}""")

    def launch(source, x):
        out = gt.backend.namespace(x).empty_like(x[:1])
        source.launch("total", (x, out, x.size), blocks=(1,))
        return out

    @gt.kernel(source=source, cuda=launch)
    def last(xp, x):
        return x[-1:]

    with pytest.raises(ParityError, match="last"):
        gt.kernels.check(last, np.arange(9, dtype=np.float32))


def test_arguments_of_a_launch_are_checked_without_compiler_or_gpu(monkeypatch):
    monkeypatch.setattr(standin, "host_compiler", lambda: None)
    monkeypatch.setattr(nvrtc, "is_installed", lambda: False)

    def launch(*arguments):
        def cuda(source, a, b):
            out = np.empty_like(a)
            given = {"a": a, "b": b, "out": out, "wide": out.astype(float), "size": a.size}
            source.launch("swiglu<float>", [given.get(n, n) for n in arguments], elements=1)
            return out

        return cuda

    for arguments, said in (
        (("a", "b", "out"), r"swiglu<float> takes 4 arguments \(const float\* a.*, 3 given"),
        (("a", "b", "wide", "size"), "out is `float\\*` in the source, got NumPy float64 array"),
        (("a", "b", "out", 1.5), "size is `long long` in the source, got float 1.5"),
    ):
        with pytest.raises(LaunchError, match=said):
            gt.kernels.check(variant(cuda=launch(*arguments)), A, B)
    report = gt.kernels.check(variant(cuda=launch("a", "b", "out", "size")), A, B)
    assert len(report.unchecked) == 2
    assert "nvidia-cuda-nvrtc" in report.unchecked[0]
    assert "takes Linux, and g++ or clang++" in report.unchecked[1]


@pytest.mark.parametrize("count", [1, 3])
def test_a_vjp_with_another_number_of_gradients_is_an_error(count):
    wrong = variant(vjp=lambda xp, g, out, a, b: (g,) * count)
    a, b = (gt.tensor(x, requires_grad=True) for x in (A, B))
    said = rf"swiglu: its vjp gave {count} gradient\(s\) for 2 operand\(s\) \(a, b\)"
    with pytest.raises(GraphError, match=said):
        wrong(a, b).sum().backward()


def test_a_wrong_vjp_is_found():
    with pytest.raises(GradcheckError):
        gt.kernels.check(variant(vjp=lambda xp, g, out, a, b: (g, g)), A, B)


def test_each_other_mistake_has_its_own_words():
    swiglu = EXAMPLE["swiglu"]
    with pytest.raises(OperandError, match=r"argument 1 is a Tensor.*write x.numpy\(\)"):
        swiglu.parity(A, gt.tensor(B))
    with pytest.raises(OperandError, match=r"no argument is a NumPy array.*\(a, b\)"):
        swiglu.parity(1.0, 2.0)
    for option in ("dtypes", "loop_dtypes", "writes"):
        with pytest.raises(TypeError, match=rf"swiglu: {option} is the string 'a'.*\('a',\)"):
            variant(**{option: "a"})
    with pytest.raises(TypeError, match=r"decorate the reference with @gt.kernel"):
        gt.kernels.check(lambda x: x, A)


@compiled
def test_registers_are_told_and_the_line_of_an_error_is_shown():
    report = gt.kernels.check(EXAMPLE["swiglu"], A, B, architectures=("sm_90",))
    (usage,) = report.usages
    assert usage.arch == "sm_90"
    assert 0 < usage.registers < 64
    assert f"compiles for sm_90: {usage.registers} registers, none spilled" in repr(report)
    with pytest.raises(CompileError, match=r"for sm_80 does not compile\n(.*\n)*>    8 \|"):
        gt.kernels.check(variant(changed("* b[i];", "* b[i]")), A, B)


# The examples


@on_the_cpu
def test_the_example_with_a_reduction_passes_and_misses_each_of_its_barriers():
    file = Path(__file__).parents[1] / "examples" / "reduction_kernel.py"
    names = runpy.run_path(str(file))
    for kernel, arrays in names["CASES"]:
        assert "against the reference" in repr(gt.kernels.check(kernel, *arrays))
    text = names["SOURCE"].text
    broken = gt.kernel(
        source=CudaSource(text.replace("        __syncthreads();\n", "")), cuda=names["launch"]
    )(names["row_length"].reference)
    with pytest.raises(ParityError, match="row_length"):
        gt.kernels.check(broken, *names["CASES"][-1][1])


def test_the_example_with_a_captured_step_learns(monkeypatch, capsys):
    folder = Path(__file__).parents[1] / "examples"
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(sys, "argv", ["captured_kernel.py"])
    runpy.run_path(str(folder / "captured_kernel.py"), run_name="__main__")
    out = capsys.readouterr().out
    assert float(out.split("new: ")[1].split("%")[0]) > 95
    assert "Graphs recorded: 1" in out


# The commands


def test_a_new_kernel_passes_its_check_and_its_tests(tmp_path, capsys):
    assert cli.main(["new-kernel", "mine", "--folder", str(tmp_path)]) == 0
    written = {"mine.py", "mine.cu", "test_mine.py", "bench_mine.py"}
    assert {file.name for file in tmp_path.iterdir()} == written
    assert cli.main(["check", str(tmp_path / "mine.py")]) == 0
    assert "kernel mine_backward\n  ok " in capsys.readouterr().out
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", "."],
        cwd=tmp_path,
        env={k: v for k, v in os.environ.items() if k != "PYTEST_ADDOPTS"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert "5 passed" in done.stdout, done.stdout
    with pytest.raises(SystemExit):
        cli.main(["new-kernel", "mine", "--folder", str(tmp_path)])
    assert "mine.py is there already" in capsys.readouterr().err
    with pytest.raises(ValueError, match="'my-kernel' is no name of a function"):
        scaffold.new_kernel("my-kernel", tmp_path)


def test_check_of_a_file_tells_of_each_kernel_and_fails(tmp_path, capsys):
    scaffold.new_kernel("bent", tmp_path)
    file, source = tmp_path / "bent.py", tmp_path / "bent.cu"
    source.write_text(source.read_text().replace("2 * g[i]", "3 * g[i]"))
    assert cli.main(["check", str(file)]) == (standin.host_compiler() is not None)
    out = capsys.readouterr().out
    assert "kernel bent\n  ok " in out
    if standin.host_compiler():
        assert "kernel bent_backward\n  FAILED       bent_backward, cuda: result 0 differs" in out


def test_check_draws_arrays_where_a_file_has_no_cases(tmp_path, capsys):
    scaffold.new_kernel("plain", tmp_path)
    file = tmp_path / "plain.py"
    file.write_text(file.read_text().partition("# What")[0])
    assert cli.main(["check", str(file)]) == 0
    assert "There are no CASES" in capsys.readouterr().out
    file.write_text("x = 1\n")
    with pytest.raises(SystemExit):
        cli.main(["check", str(file)])
    assert "makes no kernel" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text", ["x = 1 / 0\n", "x = (\n", "import gputensor as gt\ngt.exp('1')\n"]
)
def test_an_error_of_the_file_is_told_from_its_own_lines_on(text, tmp_path, capsys):
    file = tmp_path / "bent.py"
    file.write_text(text)
    with pytest.raises(SystemExit) as done:
        cli.main(["check", str(file)])
    assert done.value.code == 1
    said = capsys.readouterr().err
    assert str(file) in said
    assert "Error: " in said
    assert "cli.py" not in said
    assert "runpy" not in said


@pytest.mark.parametrize("cases", ["[CASES[0][0]]", "[(plain, _x)]", "[(plain, (_x,), {}, 1)]"])
def test_cases_of_another_form_are_an_error_of_one_line(cases, tmp_path, capsys):
    scaffold.new_kernel("plain", tmp_path)
    file = tmp_path / "plain.py"
    file.write_text(f"{file.read_text()}CASES = {cases}\n")
    with pytest.raises(SystemExit):
        cli.main(["check", str(file)])
    assert "CASES is a list of (kernel, arrays)" in capsys.readouterr().err
