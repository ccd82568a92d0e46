"""Every kernel that can be launched compiles for every architecture, and fits its block."""

import functools
import os
from pathlib import Path

import pytest

import nvrtc

pytestmark = pytest.mark.cpu
FOLDER = Path(__file__).parent.parent / "kernels"


@functools.cache
def launches():
    return nvrtc.launches()


def test_launch_code_reaches_every_kernel():
    reached = {}
    for launch in launches():
        reached.setdefault(launch.source, set()).add(launch.entry.partition("<")[0])
    for source, names in reached.items():
        assert set(source.kernels) == names, source
    assert {source.name for source in reached} == {f.name for f in FOLDER.glob("*.cu")}


@pytest.mark.slow
@pytest.mark.skipif(
    not nvrtc.is_installed() and os.environ.get("GPUTENSOR_NVRTC") != "required",
    reason='NVRTC is not installed: python -m pip install -e ".[nvrtc]"',
)
@pytest.mark.parametrize("arch", nvrtc.ARCHITECTURES)
def test_kernels_compile_and_fit(arch):
    usages = nvrtc.compile_all(launches(), [arch])
    assert len(usages) == len(launches())
    assert all(u.registers > 0 for u in usages)
    assert not [u for u in usages if u.spilled or u.stack]
    assert not [u for u in usages if not u.fits]
