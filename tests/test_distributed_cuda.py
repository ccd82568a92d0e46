"""NCCL on the stand-in for CuPy: what is called, in which order, and what it is captured in."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import gputensor as gt
from gputensor import backend, keras, standin
from gputensor.distributed import gradients, group, training
from gputensor.distributed.nccl import Nccl, new_id
from gputensor.distributed.watch import Watch
from gputensor.standin import nccl
from gputensor.training import sources
from test_distributed import MPIEXEC, Found, mpi  # noqa: F401

HERE = Path(__file__).parent
pytestmark = [pytest.mark.standin, pytest.mark.cpu]
CASES = [
    "adam",
    "captured",
    "clipped_by_global_norm",
    "gathered_metrics",
    "last_batch_of_one_row",
    "loss_scale",
    "momentum",
    "parameter_used_on_one_rank",
    "synchronized_batch_normalization",
    "validation",
    "values_of_all",
]
# As torchrun starts processes: NCCL is all there is. What carries the stand-in's is MPI.
ALONE = """
import os, sys
from mpi4py import MPI
rank, size = MPI.COMM_WORLD.rank, MPI.COMM_WORLD.size
for name in list(os.environ):
    if name.startswith(("PMI", "MPI_LOCAL")):
        del os.environ[name]
os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank)}
sys.path.insert(0, sys.argv[1])
import distributed_cases
distributed_cases.main(*sys.argv[2:])
import gputensor.distributed.group as found
assert found.group()._host is None
"""


@pytest.fixture(autouse=True)
def compiler():
    if standin.host_compiler() is None:
        pytest.skip("no C++ compiler to run the CUDA sources with")


@pytest.fixture
def alone(cupy, monkeypatch):
    """A group of one rank that communicates by NCCL all the same."""
    engine = Nccl(0, 1, 0, new_id())
    made = group.Group(None, engine, 0, Watch(0, 1, 60.0))
    monkeypatch.setattr(group, "_group", made)
    nccl.calls.clear()
    return made


def trained(capture):
    rng = np.random.default_rng(0)
    model = gt.nn.Sequential(gt.nn.Linear(6, 5), gt.nn.Tanh(), gt.nn.Linear(5, 3))
    optimizer = gt.optim.Adam(model.parameters(), lr=0.1)
    x, y = gt.tensor(rng.normal(size=(8, 6))), gt.tensor(rng.integers(0, 3, 8))

    def step():
        optimizer.zero_grad()
        loss = gt.nn.functional.cross_entropy(model(x), y)
        gradients.backward(group.group(), optimizer, loss, 1.0)
        optimizer.step()

    run = gt.capture(step) if capture else step
    for _ in range(4):
        run()
    return [p.detach().numpy() for p in model.parameters()]


def test_sums_go_to_a_stream_of_their_own_and_are_joined(alone, cupy, monkeypatch):
    monkeypatch.setattr(gradients, "_BUCKET", {"cpu": 64, "cuda": 64})
    trained(capture=False)
    sums = [c for c in nccl.calls if c.name == "AllReduce" and c.dtype.startswith("float")]
    pieces = len(sums) // 4
    assert pieces > 1
    assert {c.stream for c in sums} == {alone._device._stream.ptr}
    assert cupy.cuda.get_current_stream().ptr not in {c.stream for c in sums}
    assert not any(c.captured for c in sums)
    assert alone._started == alone._device._ends == []


def test_sums_are_part_of_the_captured_step(alone, cupy, monkeypatch):
    """Recorded once, in the same order; a stream that is not joined would end the capture."""
    monkeypatch.setattr(gradients, "_BUCKET", {"cpu": 64, "cuda": 64})
    gt.manual_seed(0)
    plain = trained(capture=False)
    order = [c.count for c in nccl.calls if c.dtype.startswith("float")]
    nccl.calls.clear()
    gt.manual_seed(0)
    captured = trained(capture=True)
    for one, two in zip(plain, captured, strict=True):
        np.testing.assert_array_equal(one, two)
    sums = [c for c in nccl.calls if c.dtype.startswith("float")]
    recorded = [c.count for c in sums if c.captured]
    assert recorded == order[: len(order) // 4]
    # While it is recorded, the first run of the program, and then the capture: no more calls.
    assert len(sums) == 3 * len(recorded)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int32", "int64", "complex64"])
def test_values_of_one_rank_stay(dtype, alone, cupy):
    x = cupy.arange(6).astype(dtype)
    alone.all_reduce(x)
    alone.broadcast(x)
    alone.reduce_parts(x, [0, 6])
    alone.gather_parts(x, [0, 6])
    np.testing.assert_array_equal(x.get(), np.arange(6).astype(dtype))
    host = np.arange(3.0)
    alone.all_reduce(host)
    np.testing.assert_array_equal(host, np.arange(3.0))
    assert alone.share({"a": [1]}) == {"a": [1]}


def test_an_array_on_another_device_is_refused(alone, cupy):
    with cupy.cuda.Device(1):
        x = cupy.ones(3)
        with pytest.raises(gt.errors.DistributedError, match="communicates by cuda:0"):
            alone.all_reduce(x)


def test_batches_on_a_device_are_compared_where_the_host_may_wait(alone, cupy):
    marks = {}
    for waits in (False, True):
        rows = np.arange(12, dtype=np.float32).reshape(4, 3)
        found = [training.mark_of(([gt.tensor(x)], None), waits) for x in (rows, rows + 1, rows)]
        marks[waits] = found
        assert training.mark_of([rows], waits) == training.mark_of(rows.copy(), waits) != 0
    assert marks[False] == [0, 0, 0]
    assert marks[True][0] == marks[True][2] == training.mark_of([rows]) != marks[True][1]


@pytest.mark.parametrize("streamed", [False, True])
def test_the_host_looks_at_batches_once_in_an_epoch(alone, cupy, monkeypatch, streamed):
    seen = []
    plain = sources.mark_of
    monkeypatch.setattr(
        sources, "mark_of", lambda tree, waits=False: seen.append(waits) or plain(tree, waits)
    )
    model = keras.Sequential([keras.layers.Dense(1, input_shape=(3,))])
    model.compile("sgd", "mse")
    x, y = gt.ones((12, 3)), gt.ones((12, 1))

    class Batches:
        def __iter__(self):
            return iter([(x[i : i + 4], y[i : i + 4]) for i in (0, 4, 8)])

    model.fit(*((Batches(),) if streamed else (x, y)), epochs=2, verbose=0)
    assert seen == (2 * [True, False, False] if streamed else [True])


class FoundOnStandin(Found):
    """Results of cases where the stand-in plays the devices."""

    def __init__(self, folder, code=""):
        super().__init__(folder)
        self._code = code

    def of(self, size, again=False):
        folder = self._folder / "first"
        if size not in self._ran:
            folder.mkdir(exist_ok=True)
            program = [str(HERE / "distributed_cases.py"), str(folder), *CASES]
            if self._code and size > 1:
                program = ["-c", self._code, str(HERE), str(folder), *CASES]
            start = [MPIEXEC, "-n", str(size)] if size > 1 else []
            paths = [str(HERE / "standin_site"), str(HERE.parent), os.environ.get("PYTHONPATH")]
            env = os.environ | {
                "PYTHONPATH": os.pathsep.join(filter(None, paths)),
                "GPUTENSOR_DEVICE": "cuda",
                "OMP_NUM_THREADS": "1",
                "MASTER_PORT": "29631",
            }
            done = subprocess.run(
                [*start, sys.executable, *program],
                capture_output=True,
                text=True,
                env=env,
                timeout=300,
                check=False,
            )
            assert done.returncode == 0, done.stdout + done.stderr
            self._ran.add(size)
        return folder


@pytest.fixture(scope="session")
def by_mpi_and_nccl(mpi, tmp_path_factory):  # noqa: F811
    return FoundOnStandin(tmp_path_factory.mktemp("cuda"))


@pytest.fixture(scope="session")
def by_nccl_alone(mpi, tmp_path_factory):  # noqa: F811
    return FoundOnStandin(tmp_path_factory.mktemp("nccl"), ALONE)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["by_mpi_and_nccl", "by_nccl_alone"])
@pytest.mark.parametrize("name", CASES)
def test_two_devices_end_with_what_one_ends_with(name, how, request, by_mpi_and_nccl):
    found = request.getfixturevalue(how)
    (alone,) = by_mpi_and_nccl(name, 1)
    first, second = found(name, 2)
    for key in first:
        if not key.startswith("own"):
            np.testing.assert_array_equal(first[key], second[key], err_msg=key)
        if not key.startswith(("own", "ranks")):
            np.testing.assert_allclose(first[key], alone[key], rtol=2e-4, atol=2e-6, err_msg=key)


def test_without_nccl_the_way_to_it_is_named(cupy, monkeypatch):
    monkeypatch.setattr(sys.modules["cupy.cuda.nccl"], "available", False)
    with pytest.raises(gt.errors.DistributedError, match="install nvidia-nccl-cu12"):
        new_id()


def test_a_rank_without_a_device_of_its_own_is_refused(cupy, monkeypatch):
    monkeypatch.setenv("GPUTENSOR_DEVICE", "cuda")
    with pytest.raises(gt.errors.DistributedError, match="local rank 2 has no CUDA device"):
        group._device_of(2)
    monkeypatch.setenv("GPUTENSOR_DEVICE", "cuda:1")
    assert group._device_of(7) == 1
    monkeypatch.setenv("GPUTENSOR_DEVICE", "cpu")
    assert group._device_of(7) is None
    backend.synchronize()
