"""The device of a session: the CPU; with ``-m gpu`` CUDA, by every test that can run there.

With ``GPUTENSOR_TEST_STANDIN=1`` as well, the stand-in plays the GPU: a rehearsal without one.
"""

import importlib
import os
from pathlib import Path

import numpy as np
import pytest

import standin
from gputensor import backend, blas, config, epilogue
from gputensor.graph import cuda, draws
from gputensor.kernels import flags, scratch, source


# Tests change the environment.
config.kernels_setting = config.kernels_setting.__wrapped__
config.kernels_setting.cache_clear = lambda: None
backend._LIBRARIES.add("standin")  # no user's code, where lines of it are named
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


def pytest_configure(config):
    if on_gpu(config) and REHEARSAL:
        if standin.host_compiler() is None:
            raise pytest.UsageError("the stand-in needs a C++ compiler, and there is none")
        # In subprocesses `import cupy` finds the stand-in there.
        paths = [str(Path(__file__).parent / "standin" / "site"), os.environ.get("PYTHONPATH")]
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        standin.install(devices=2)
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


def forget_cupy():
    """Drop what gputensor remembers of the CuPy it saw."""
    for cached in (backend.cuda_status, backend._configured_device, source._multiprocessors):
        cached.cache_clear()
    for kind in [k for k in backend.NAMESPACES if k is not np.ndarray]:
        del backend.NAMESPACES[kind]
    for flag in flags._FLAGS:
        flag.arrays.clear()
    scratch._zeros.clear()
    for made in source._SOURCES:
        made._entries.clear()
    blas._handles.clear()
    epilogue.choices.clear()
    cuda._lanes.by_device.clear()
    draws._states.by_generator.clear()
    backend.DEFERRED_CHECKS.clear()


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
