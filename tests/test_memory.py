"""The report on memory, and what is said when there is none left."""

import gc
import subprocess
import sys

import numpy as np
import pytest

import gputensor as gt
from gputensor import autograd, backend
from gputensor.random import Generator

MIB = 1 << 20
HUGE = (1 << 22, 1 << 22)  # 64 TiB of float32


def held(summary, nbytes):
    return [a for a in summary.largest if a.nbytes == nbytes]


@pytest.mark.cpu
def test_tensors_come_and_go():
    gc.collect()  # cycles that other tests left
    before = gt.memory_summary("cpu").tensors
    x = gt.ones((7, MIB))
    found = gt.memory_summary("cpu")
    assert found.tensors - before == 28 * MIB
    (entry,) = held(found, 28 * MIB)
    assert (entry.shape, entry.dtype, entry.purpose) == ((7, MIB), "float32", "tensor")
    views = [x[1:], x.T, x.detach()]
    assert gt.memory_summary("cpu").tensors == found.tensors  # shared memory counts once
    del x, views, entry
    assert gt.memory_summary("cpu").tensors == before


@pytest.mark.cpu
def test_what_the_tape_holds():
    x = gt.tensor(np.ones((5, MIB), np.float32))
    x.requires_grad = True
    before = gt.memory_summary("cpu")
    y = gt.exp(gt.sin(x)).sum()  # keeps the exponential; x is a tensor's anyhow
    found = gt.memory_summary("cpu")
    assert found.tape - before.tape == 20 * MIB
    assert "saved by exp for its gradient" in {a.purpose for a in held(found, 20 * MIB)}
    y.backward()
    after = gt.memory_summary("cpu")
    assert after.tape == before.tape
    assert {a.purpose for a in held(after, 20 * MIB)} >= {"tensor", "gradient"}


@pytest.mark.cpu
def test_what_optimizers_hold():
    parts = [gt.tensor(np.ones(n * MIB, np.float32), requires_grad=True) for n in (1, 2)]
    optimizer = gt.optim.Adam(parts)
    purposes = {a.purpose for a in held(gt.memory_summary("cpu"), 12 * MIB)}
    assert purposes == {
        f"{what} of an optimizer" for what in ("parameters", "gradients", "mean", "square")
    }
    del optimizer


@pytest.mark.cpu
def test_numbers_of_the_host():
    code = (
        "import gputensor as gt, numpy as np; a = gt.memory_summary('cpu'); x = np.ones(1 << 26);"
        "b = gt.memory_summary('cpu'); del x; c = gt.memory_summary('cpu');"
        "assert b.in_use - a.in_use > 5e8 > abs(c.in_use - a.in_use), (a, b, c);"
        "assert c.peak >= 0.99 * b.in_use, (b, c);"
        "assert 0 < b.free < b.total and b.reserved is None; print(b)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if sys.platform != "linux":
        pytest.skip("the numbers are those of Linux")
    assert done.returncode == 0, done.stderr
    assert "Memory of cpu\n  in use" in done.stdout
    assert "reserved" not in done.stdout


def test_numbers_of_a_device(cupy):
    pool = cupy.get_default_memory_pool()
    before = gt.memory_summary("cuda")
    x = gt.ones(3 * MIB, device="cuda")
    found = gt.memory_summary("cuda")
    assert found.in_use - before.in_use == 12 * MIB
    assert found.tensors - before.tensors == 12 * MIB
    assert found.reserved == pool.total_bytes() == found.peak
    assert found.free < found.total
    assert [a.purpose for a in held(found, 12 * MIB)] == ["tensor"]
    text = str(found)
    assert text.startswith("Memory of cuda:0\n")
    assert "12.0 MiB  float32 (3145728,), tensor" in text
    del x
    after = gt.memory_summary("cuda")
    assert (after.in_use, after.reserved) == (before.in_use, found.reserved)
    assert gt.memory_summary("cpu").device == "cpu"


@pytest.mark.standin
def test_the_hosts_report_does_not_look_at_the_device(cupy, monkeypatch):
    x = gt.ones(3, device="cuda")

    def is_array(array):
        assert isinstance(array, np.ndarray)
        return True

    monkeypatch.setattr(backend, "is_array", is_array)
    assert gt.memory_summary("cpu").tensors >= 0
    assert x.device == "cuda"


def want_of_memory(message, call):
    with pytest.raises(gt.errors.OutOfMemoryError, match=message) as caught:
        call()
    assert isinstance(caught.value, MemoryError)
    return str(caught.value)


@pytest.mark.cpu
def test_an_operation_without_memory_names_what_holds_it():
    x = gt.ones((3, MIB), device="cpu")
    column, row = gt.ones((HUGE[0], 1), device="cpu"), gt.ones((1, HUGE[1]), device="cpu")
    for name, call in (
        *(("add", lambda: column + row), ("matmul", lambda: column @ row)),
        *(("multiply", lambda: column * row.numpy()), ("zeros", lambda: gt.zeros(HUGE))),
        ("broadcast_to", lambda: gt.broadcast_to(column, HUGE)),
        ("normal", lambda: Generator(1).normal(shape=HUGE)),
        ("tensor", lambda: gt.tensor(np.broadcast_to(np.float32(1), HUGE))),
    ):
        text = want_of_memory(f"^{name} on cpu: Unable to allocate 64.0 TiB.*; tensors hold", call)
        assert "are free. Take smaller batches" in text
        assert "16.0 MiB  float32" in text
        assert "12.0 MiB  float32 (3, 1048576), tensor" in text
    del x


@pytest.mark.cpu
def test_advice_for_a_full_tape():
    x = gt.tensor(np.ones(MIB, np.float32), requires_grad=True)
    y = x
    for _ in range(40):
        y = gt.exp(y * 0)
    text = want_of_memory("^outer", lambda: _no_memory(y))
    assert "waits for a backward pass" in text
    assert "gt.no_grad()" in text


def _no_memory(y):
    def fail(xp, x):
        raise MemoryError

    operation = autograd.Primitive("outer", fail)
    del autograd.PRIMITIVES["outer"]
    return operation.unary()(y)


def test_a_backward_pass_without_memory_names_the_operation():
    def fail(xp, g, _out, _x):
        raise MemoryError("Unable to allocate 9 TiB")

    operation = autograd.Primitive("greedy", lambda xp, x: x * 1, (fail,)).unary()
    del autograd.PRIMITIVES["greedy"]
    x = gt.ones(3)
    x.requires_grad = True
    loss = gt.exp(operation(x * 2)).sum()
    want_of_memory(r"^greedy backward on .*Unable to allocate 9 TiB; ", loss.backward)


@pytest.mark.standin  # whose pool can be limited without harm
def test_a_device_without_memory(cupy):
    pool = cupy.get_default_memory_pool()
    x = gt.ones(MIB, device="cuda")
    weight = gt.nn.Dense(1024, 512, device="cuda").weight
    gc.collect()
    pool.free_all_blocks()
    pool.set_limit(size=pool.total_bytes() + 2 * MIB)
    try:
        for name, call in (
            *(("add", lambda: x + 1), ("zeros", lambda: gt.zeros(MIB, device="cuda"))),
            ("tensor", lambda: gt.tensor(np.ones(MIB, np.float32), device="cuda")),
            ("to", lambda: gt.ones(MIB, device="cpu").to("cuda")),
            ("Adam", lambda: gt.optim.Adam([weight])),
        ):
            text = want_of_memory(rf"^{name} on cuda:0: Out of memory allocating", call)
            assert "4.0 MiB  float32 (1048576,), tensor" in text
        gc.collect()  # the errors hold what was made before them
        assert (x[:3] + 1).tolist() == [2, 2, 2]
    finally:
        pool.set_limit(size=0)
