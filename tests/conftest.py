"""The device of a session: the CPU; with ``-m gpu`` CUDA, by every test that can run there.

With ``GPUTENSOR_TEST_STANDIN=1`` as well, the stand-in plays the GPU: a rehearsal without one.
"""

import importlib
import os
import zlib
from pathlib import Path

import hypothesis
import numpy as np
import pytest

import gputensor as gt
from gputensor import backend, config, epilogue, standin
from gputensor.kernels.checking import forget_cupy
from gputensor.training import steps

# Tests change the environment.
for name in ("device_setting", "kernels_setting"):
    uncached = getattr(config, name).__wrapped__
    uncached.cache_clear = lambda: None
    setattr(config, name, uncached)
steps._WORTH = 0  # the short trainings of tests are recorded, too
# A machine that is slow, or busy, has no fault.
hypothesis.settings.register_profile(
    "any speed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any speed")
REHEARSAL = os.environ.get("GPUTENSOR_TEST_STANDIN") == "1"


def on_gpu(config):
    """Whether the session selects ``-m gpu``, or that and more."""
    return config.option.markexpr.partition(" and ")[0].strip() == "gpu"


def pytest_addoption(parser):
    parser.addoption(
        "--no-pool",
        action="store_true",
        help="take device memory from the driver, not from CuPy's pool, which would hide "
        "accesses out of bounds from compute-sanitizer",
    )
    parser.addoption(
        "--kills", type=int, default=1, help="how often the tests of test_kills.py kill a run"
    )
    parser.addoption("--slow", action="store_true", help="run the tests marked slow, too")
    parser.addoption(
        "--ran",
        type=Path,
        metavar="FILE",
        help="add the names of the tests that run, and are not skipped, to a file",
    )


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks
def pytest_cmdline_main(config):
    """Without further words, the whole of the tests runs in a process for each core."""
    option = config.option
    if hasattr(config, "workerinput"):  # one of these processes
        return
    whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS and not option.keyword
    if whole and option.capture != "no" and getattr(option, "numprocesses", 1) is None:
        option.numprocesses, option.dist = "auto", "worksteal"


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_xdist_auto_num_workers(config):
    """A process for each core, and on a GPU for each 4 GiB of its memory."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if not on_gpu(config) or REHEARSAL or not backend.cuda_status().available:
        return cores
    free, _ = importlib.import_module("cupy").cuda.runtime.memGetInfo()
    return max(1, min(cores, free >> 32))


class Ran:
    """Writes down which tests ran."""

    def __init__(self, path):
        self.file = path.open("a", buffering=1, encoding="utf-8")

    def pytest_runtest_logreport(self, report):
        if report.when == "call" and not report.skipped:
            print(report.nodeid, file=self.file)


def pytest_configure(config):
    if config.option.ran and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Ran(config.option.ran))
    # JAX would take most of a GPU's memory from all others, and multiply float32 as TF32.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    os.environ.setdefault("JAX_DEFAULT_MATMUL_PRECISION", "highest")
    # What subprocesses find: this checkout, in a rehearsal the stand-in by `import cupy`.
    here = Path(__file__).parent
    paths = [str(here.parent), os.environ.get("PYTHONPATH")]
    if on_gpu(config) and REHEARSAL:
        if standin.host_compiler() is None:
            raise pytest.UsageError("the stand-in needs a C++ compiler, and there is none")
        paths.insert(0, str(here / "standin_site"))
        standin.install(devices=2)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    if not (on_gpu(config) and backend.cuda_status().available):
        os.environ["GPUTENSOR_DEVICE"] = "cpu"
        epilogue._forced = False  # the clock of the stand-in says nothing
        return
    if not os.environ.get("GPUTENSOR_DEVICE", "").startswith("cuda"):
        os.environ["GPUTENSOR_DEVICE"] = "cuda"
    if config.option.no_pool:
        cuda = importlib.import_module("cupy").cuda
        cuda.set_allocator(None)
        cuda.set_pinned_memory_allocator(None)


def pytest_report_header(config):
    if on_gpu(config):
        return f"CUDA: {backend.cuda_status().reason}"
    return "device of new tensors: cpu; with -m gpu it is cuda"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    if not config.option.slow:
        for item in items:
            if any(item.iter_markers("slow")):
                item.add_marker(pytest.mark.skip(reason="it is slow: --slow runs it"))
    if not on_gpu(config):
        return
    status = backend.cuda_status()
    for item in items:
        order = getattr(item, "callspec", None) and item.callspec.params.get("cupy")
        if order == "compare" or any(item.iter_markers("cpu")) or any(item.iter_markers("standin")):
            continue
        item.add_marker(pytest.mark.gpu)
        if not status.available:
            item.add_marker(pytest.mark.skip(reason=f"no CUDA device: {status.reason}"))


@pytest.fixture(autouse=True)
def numbers(request):
    """What a test draws, from its module's RNG too, depends on its name alone."""
    seed = zlib.crc32(request.node.nodeid.encode())
    gt.manual_seed(seed)
    if (rng := getattr(request.module, "RNG", None)) is not None:
        rng.bit_generator.state = np.random.default_rng(seed).bit_generator.state


@pytest.fixture(params=["auto", "reference"])
def setting(request, monkeypatch):
    """Whether fused kernels run, or their plain form."""
    monkeypatch.setenv("GPUTENSOR_KERNELS", request.param)
    return request.param


@pytest.fixture(params=["forward", "compare"])
def cupy(request, monkeypatch):
    """CuPy; where the session has no GPU its stand-in, with two orders of blocks and threads."""
    if on_gpu(request.config):
        standin.counters.reset()
        yield importlib.import_module("cupy")
        backend.DEFERRED_CHECKS.clear()
        return
    if standin.host_compiler() is None:
        pytest.skip("no C++ compiler to run the CUDA sources with")
    monkeypatch.delenv("GPUTENSOR_DEVICE")
    forget_cupy()
    with standin.installed(devices=2, order=request.param) as module:
        yield module
    forget_cupy()
