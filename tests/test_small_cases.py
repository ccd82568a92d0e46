"""Few and small cases of each kernel, for tools that slow a GPU down: compute-sanitizer."""

import numpy as np
import pytest

import kernel_cases
from gputensor import kernels

# The order of threads is what test_kernel_cases is about.
pytestmark = pytest.mark.parametrize("cupy", ["forward"], indirect=True)


@pytest.fixture
def found(cupy):
    return kernel_cases.small_cases(cupy)


def test_each_kernel_and_branch_has_a_small_case(cupy, found):
    """The kernels of an instantiation, and its template arguments, are all among them."""

    def entries(cases):
        with kernel_cases.launches_recorded() as seen:
            for case in cases:
                kernel_cases.run(case, cupy.asarray)
        return {entry for _, entry in seen}

    every = entries(
        case
        for columns in (5, 33, 257, 2049, 4, 4 * 33, 4 * 257, 4 * 2049)
        for case in kernel_cases.cases(3, columns)
    )
    reached = {a for entry in entries(found) for a in kernel_cases._arguments(entry)}
    assert {a for entry in every for a in kernel_cases._arguments(entry)} <= reached
    assert {case.kernel for case in found} >= {
        k for k in vars(kernels).values() if isinstance(k, kernels.Kernel)
    }
    assert max(np.size(a) for case in found for a in case.operands) < 100_000


def test_small_cases_equal_the_reference(cupy, found):
    for case in found:
        result = kernel_cases.run(case, cupy.asarray, "cuda")
        kernel_cases.compare(case, result, kernel_cases.expected(case))
