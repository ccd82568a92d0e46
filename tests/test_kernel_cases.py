"""The table of cases: loops and CUDA equal the reference, special values and sizes included."""

import numpy as np
import pytest

from kernel_cases import (
    DTYPES,
    SHAPES,
    cases,
    compare,
    expected,
    kernels_without_cases,
    misaligned,
    run,
)


@pytest.mark.cpu
def test_every_kernel_has_cases():
    assert not kernels_without_cases(), "add their calls to kernel_cases.py"


def check(found, place, how):
    for case in found:
        if how == "loop" and np.dtype(case.attrs.get("dtype", np.float64)).itemsize == 2:
            continue  # gather_scale's loop makes no numbers of 16 bits
        compare(case, run(case, place, how), expected(case))


@pytest.mark.cpu
@pytest.mark.parametrize("special", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_loops_equal_the_reference(shape, dtype, special):
    check(cases(*shape, dtype, special=special), np.copy, "loop")


@pytest.mark.cpu
@pytest.mark.parametrize("shape", [(3, 5), (7, 128)])
def test_loops_take_misaligned_arrays(shape):
    check(cases(*shape), lambda a: misaligned(np, a), "loop")


@pytest.mark.parametrize("special", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_cuda_equals_the_reference(cupy, shape, special):
    check(cases(*shape, special=special), cupy.asarray, "cuda")


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
@pytest.mark.parametrize("shape", [(3, 5), (9, 64), (2, 600)])
def test_cuda_in_other_dtypes(cupy, dtype, shape):
    if dtype not in DTYPES:
        pytest.skip("ml_dtypes is not installed")
    for special in (False, True):
        check(cases(*shape, DTYPES[dtype], special=special), cupy.asarray, "cuda")


@pytest.mark.parametrize("shape", [(3, 5), (7, 128)])
def test_cuda_takes_misaligned_arrays(cupy, shape):
    check(cases(*shape), lambda a: misaligned(cupy, a), "cuda")


@pytest.mark.cpu
@pytest.mark.parametrize("dtype", DTYPES)
def test_no_rows(dtype):
    check(cases(0, 4, DTYPES[dtype]), np.copy, "reference")


def test_no_rows_on_cuda(cupy):
    check(cases(0, 4), cupy.asarray, "reference")
