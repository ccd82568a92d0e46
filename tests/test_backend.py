"""Devices: probing, choosing, refusing. What is said of CUDA here holds where there is none."""

import builtins
import importlib.util
import threading

import numpy as np
import pytest

import gputensor as gt
from gputensor import backend
from gputensor.backend import devices, modes


def without_cuda(test):
    there = backend.cuda_status().available
    skip = pytest.mark.skipif(there, reason="this machine has a usable CUDA device")
    return pytest.mark.cpu(skip(test))


@pytest.fixture
def fresh_probe():
    backend.cuda_status.cache_clear()
    devices._configured_device.cache_clear()
    yield
    backend.cuda_status.cache_clear()
    devices._configured_device.cache_clear()


def test_probe_says_that_cupy_is_missing(monkeypatch, fresh_probe):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    status = gt.cuda_status()
    assert not status.available
    assert status.reason == "CuPy is not installed"


def test_probe_never_raises(monkeypatch, fresh_probe):
    true_import = builtins.__import__

    def broken(name, *args):
        if name == "cupy":
            raise OSError("libcuda.so.1: cannot open shared object file")
        return true_import(name, *args)

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(builtins, "__import__", broken)
    status = gt.cuda_status()
    assert not status.available
    assert "libcuda.so.1" in status.reason


@without_cuda
def test_auto_is_the_cpu_without_cuda():
    assert gt.device("auto") == "cpu"


@without_cuda
@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:3"])
def test_cuda_without_cuda_is_an_error_that_says_what_to_install(name):
    with pytest.raises(gt.errors.DeviceError, match=r"not available: .*pip install 'cupy-cuda13x'"):
        gt.ones(2, device=name)


@without_cuda
def test_environment_never_falls_back_silently(monkeypatch):
    monkeypatch.setenv("GPUTENSOR_DEVICE", "cuda")
    with pytest.raises(gt.errors.DeviceError, match="not available"):
        gt.ones(2)
    monkeypatch.setenv("GPUTENSOR_DEVICE", "cpu")
    assert gt.ones(2).device == "cpu"


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cpu:0", "", "cuda:-1", 3])
def test_unknown_device_names_what_is_allowed(name):
    with pytest.raises(gt.errors.DeviceError, match="allowed are auto, cpu, cuda and cuda:N"):
        gt.device(name)


def test_device_context_is_per_thread_and_nests():
    found = []
    with gt.device("cpu") as outer:
        with gt.device("cpu"):
            assert gt.device() == "cpu"
        assert gt.device() is outer
        thread = threading.Thread(target=lambda: found.append(modes.local.devices))
        thread.start()
        thread.join()
    assert found == [[]]
    assert modes.local.devices == []


def test_device_equals_its_name():
    cpu, second = gt.Device("cpu"), gt.Device("cuda", 1)
    assert cpu == "cpu"
    assert gt.Device("cuda") == "cuda" == gt.Device("cuda", 0)
    assert second == "cuda:1"
    assert second != "cuda"
    assert len({cpu, gt.Device("cpu"), second}) == 2
    assert repr(second) == "device('cuda:1')"


def test_cpu_tensor_stays_itself_on_its_device():
    x = gt.ones(2, device="cpu")
    assert x.to("cpu") is x
    assert x.cpu() is x
    gt.synchronize()


def test_numpy_shares_memory_on_the_cpu():
    x = gt.ones(2, device="cpu")
    assert np.shares_memory(x.numpy(), x.array)
    assert np.asarray(x) is not None
    assert np.array(x, copy=True).tolist() == [1, 1]


@pytest.mark.parametrize("value", ["0", "-2", "two"])
def test_bad_thread_count(monkeypatch, value):
    monkeypatch.setenv("GPUTENSOR_THREADS", value)
    with pytest.raises(ValueError, match="GPUTENSOR_THREADS"):
        gt.config.cpu_threads()
