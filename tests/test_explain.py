"""gt.explain: the parts of a program, their lines and bytes, what is not captured and why."""

import numpy as np
import pytest
from test_graph_cuda import CUDA, chain, device, numbers, on_device, training

import gputensor as gt
from gputensor import standin

__all__ = ["device"]


def mixed(x, y):
    z = gt.tanh(x * 2 + y)
    return (z @ y.T).sum(axis=0) - 0.5


@pytest.mark.cpu
def test_on_the_cpu_parts_are_loops_and_calls():
    x, y = (gt.asarray(numbers(i, 4, 5)) for i in range(2))
    found = gt.explain(mixed)(x, y)
    assert found.reason is None
    assert [part.kind for part in found.parts] == ["loops", "call", "loops", "loops"]
    first = found.parts[0]
    assert (first.read, first.written) == (2 * 80, 80)
    assert [place.operations for place in first.places] == [("multiply", "add", "tanh")]
    assert first.places[0].source == "z = gt.tanh(x * 2 + y)"
    assert [(value, line.rpartition(": ")[2]) for value, line in found.constants] == [
        (2, "z = gt.tanh(x * 2 + y)"),
        (0.5, "return (z @ y.T).sum(axis=0) - 0.5"),
    ]
    assert "def program(" in found.source
    np.testing.assert_array_equal(found.result.numpy(), mixed(x, y).numpy())


@pytest.mark.cpu
def test_what_is_written_over_is_read_before():
    total = gt.zeros(5)

    def f(x):
        total.__iadd__(x)
        gt.kernels.sgd_step.raw(total.array, x.array, None, lr=0.1)

    (add, step) = gt.explain(f)(gt.ones(5)).parts
    assert (add.read, add.written) == (2 * 20, 20)
    assert (step.read, step.written) == (2 * 20, 20)


@pytest.mark.cpu
def test_what_is_not_captured_is_said_with_its_line():
    found = gt.explain(lambda x: x * x.sum().item())(gt.ones(3))
    assert "x.sum().item()" in found.reason
    assert "test_explain.py:" in str(found)
    assert found.parts == []


@pytest.mark.cpu
def test_a_function_is_called_once_and_a_recording_used_again():
    calls = []

    @gt.capture
    def f(x):
        calls.append(1)
        return x + 1

    for _ in range(3):
        found = gt.explain(f)(gt.ones(3))
        assert [part.name for part in found.parts] == ["add"]
    assert len(calls) == 1


def test_a_kernel_is_shown_with_its_lines_and_source(device):
    tensors = on_device(*(numbers(i, 8) for i in range(3)))
    found = gt.explain(chain)(*tensors)
    (part,) = found.parts
    assert part.kind == "generated"
    assert part.name in found.source
    assert "__global__" in found.source
    assert (part.read, part.written) == (3 * 32, 3 * 32 + 4)
    forward = part.places[0]
    assert forward.source == "z = gt.tanh(z * leaves[0] + leaves[1])"
    assert len(forward.operations) == 30
    assert "multiply 10 times, add 10 times, tanh 10 times" in str(found)


@pytest.mark.standin
def test_its_kernels_and_bytes_are_what_is_launched(device):
    tensors = on_device(*(numbers(i, 8) for i in range(3)))
    run = gt.capture(chain)
    for _ in range(3):
        run(*tensors)
    found = gt.explain(run)(*tensors)
    counters = standin.counters
    (replay,) = next(iter(run._local.replays.values()))
    captured = replay.program._graphs[1].graph
    counters.reset()
    captured.launch(device.cuda.get_current_stream())
    assert counters.kernels == found.launches
    assert counters.bytes_moved == sum(part.read + part.written for part in found.parts)


@pytest.mark.standin
def test_the_kernels_of_a_training_step_are_what_is_launched(device):
    step, state = training(device)
    run = gt.capture(step, device="cuda")
    run()
    before = state()
    found = gt.explain(run)()  # before anything was replayed
    for a, b in zip(state(), before, strict=True):
        np.testing.assert_array_equal(a, b)  # it only looks
    for _ in range(2):
        run()
    standin.counters.reset()
    run()
    launched = standin.counters.kernels
    own = {name: n for name, n in launched.items() if name in found.launches}
    assert own == found.launches
    others = {name: n for name, n in launched.items() if name not in own}
    assert others == {"cublas_gemm": 5, "cupy_add": 1}
    calls = [part.name for part in found.parts if not part.launches]
    assert sorted(calls) == ["matmul", "matmul", "product_with_epilogue"]
    text = str(found)
    assert "adam_step" in text
    assert "optimizer.step()" in text


def test_what_a_cuda_graph_cannot_hold_is_said_with_its_line(device):
    found = gt.explain(lambda x: gt.sort(x) * 2)(gt.tensor([2.0, 1.0], device="cuda"))
    assert "gt.sort(x)" in found.reason
    assert found.parts == []
    assert CUDA.kind == "cuda"


def test_a_program_that_was_looked_at_before_it_ran_is_right(device):
    x = gt.tensor(numbers(0, 300, 64), device="cuda")
    run = gt.capture(lambda x: (x.sum(axis=0), (x * x).sum()), device="cuda")
    expected = [t.numpy().tobytes() for t in run(x)]
    gt.explain(run)(x)
    for _ in range(3):
        assert [t.numpy().tobytes() for t in run(x)] == expected
