"""Every exception that gputensor raises.

Each one is also the built-in exception that NumPy code would expect in its place, so
``except ValueError`` keeps working, and ``except gt.errors.GPUTensorError`` catches them all.
"""

import numpy as np

__all__ = [
    "AnomalyError",
    "CaptureError",
    "CheckpointError",
    "CompileError",
    "DTypeError",
    "DatasetError",
    "DeviceError",
    "DeviceMismatchError",
    "DistributedError",
    "GPUTensorError",
    "GradcheckError",
    "GraphError",
    "ImplicitTransferError",
    "IndexTypeError",
    "LabelError",
    "LaunchError",
    "LinAlgError",
    "OperandError",
    "OutOfMemoryError",
    "OutOfRangeError",
    "ParityError",
    "ShapeError",
    "SyncError",
]


class GPUTensorError(Exception):
    """Base class of gputensor's own exceptions.

    Examples
    --------
    >>> issubclass(gt.errors.ShapeError, gt.errors.GPUTensorError)
    True
    """


class DistributedError(GPUTensorError, RuntimeError):
    """Processes that cannot be brought together, or that do not do the same.

    Examples
    --------
    >>> issubclass(gt.errors.DistributedError, RuntimeError)
    True
    """


class ShapeError(GPUTensorError, ValueError):
    """Operands whose shapes or axes do not fit the operation.

    Examples
    --------
    >>> issubclass(gt.errors.ShapeError, ValueError)
    True
    """


class AxisError(ShapeError, IndexError):
    """An axis that the operand does not have, or an index that is not of its shape.

    Examples
    --------
    >>> gt.sum(gt.ones((2, 3)), axis=2)
    Traceback (most recent call last):
        ...
    gputensor.errors.AxisError: sum: axis 2 is out of range for shape (2, 3); allowed ...
    """


class DTypeError(GPUTensorError, TypeError):
    """An operand whose dtype the operation does not take.

    Examples
    --------
    >>> issubclass(gt.errors.DTypeError, TypeError)
    True
    """


class IndexTypeError(DTypeError, IndexError):
    """An index array whose dtype is not that of indices.

    Examples
    --------
    >>> gt.take(gt.ones(3), gt.tensor([0.5]))
    Traceback (most recent call last):
        ...
    gputensor.errors.IndexTypeError: take: indices must be integers, got float32; convert ...
    """


class OperandError(GPUTensorError, TypeError):
    """An operand that is no tensor, array or number.

    Examples
    --------
    >>> gt.exp("1")
    Traceback (most recent call last):
        ...
    gputensor.errors.OperandError: exp: operands are tensors, NumPy or CuPy arrays and ...
    """


class LinAlgError(GPUTensorError, np.linalg.LinAlgError):
    """A matrix that an operation of linear algebra has no result for; a ValueError too.

    Examples
    --------
    >>> gt.linalg.inv(gt.zeros((2, 2)))
    Traceback (most recent call last):
        ...
    gputensor.errors.LinAlgError: linalg.inv: the matrix is singular; for the closest ...
    """


class LabelError(GPUTensorError, ValueError):
    """A class label outside ``0 <= label < classes``.

    Examples
    --------
    >>> gt.nn.functional.cross_entropy(gt.zeros((2, 3)), gt.tensor([0, 3]))
    Traceback (most recent call last):
        ...
    gputensor.errors.LabelError: cross-entropy: row 1 has label 3; labels must be in the ...
    """


class OutOfRangeError(GPUTensorError, IndexError):
    """An index outside the axis that it is for.

    Examples
    --------
    >>> issubclass(gt.errors.OutOfRangeError, IndexError)
    True
    """


class DeviceError(GPUTensorError, RuntimeError):
    """A device that is not there, or a name that is not a device's.

    Examples
    --------
    >>> issubclass(gt.errors.DeviceError, RuntimeError)
    True
    """


class DeviceMismatchError(GPUTensorError, ValueError):
    """Operands of one operation that live on different devices.

    Examples
    --------
    >>> issubclass(gt.errors.DeviceMismatchError, ValueError)
    True
    """


class ImplicitTransferError(GPUTensorError, TypeError):
    """Code that would have copied a CUDA tensor to the host without saying so.

    Examples
    --------
    >>> issubclass(gt.errors.ImplicitTransferError, TypeError)
    True
    """


class GraphError(GPUTensorError, RuntimeError):
    """A backward pass that the tape cannot carry out.

    Examples
    --------
    >>> gt.ones(2).sum().backward()
    Traceback (most recent call last):
        ...
    gputensor.errors.GraphError: backward: this tensor was computed from nothing that ...
    """


class AnomalyError(GPUTensorError, FloatingPointError):
    """A gradient that became NaN or infinite inside :func:`gputensor.detect_anomaly`.

    Examples
    --------
    >>> x = gt.tensor([0.0], requires_grad=True)
    >>> with gt.detect_anomaly():
    ...     gt.sqrt(x).sum().backward()
    Traceback (most recent call last):
        ...
    gputensor.errors.AnomalyError: backward: the gradient of operand 0 of sqrt is infinite ...
    """


class GradcheckError(GPUTensorError, AssertionError):
    """An analytical gradient that disagrees with finite differences.

    Examples
    --------
    >>> @gt.custom_vjp
    ... def square(x):
    ...     return x * x
    >>> square.defvjp(lambda x: (x * x, x), lambda x, g: (g * x,))  # which lacks a 2
    >>> gt.gradcheck(square, gt.tensor([3.0], dtype="float64", requires_grad=True))
    Traceback (most recent call last):
        ...
    gputensor.errors.GradcheckError: ...
    """


class CaptureError(GPUTensorError, RuntimeError):
    """A function with an operation that cannot be part of a CUDA graph.

    Examples
    --------
    >>> issubclass(gt.errors.CaptureError, RuntimeError)
    True
    """


class SyncError(GPUTensorError, RuntimeError):
    """The host was about to wait for a device, under ``gt.sync_debug("error")``.

    Examples
    --------
    >>> issubclass(gt.errors.SyncError, RuntimeError)
    True
    """


class CompileError(GPUTensorError, RuntimeError):
    """CUDA C++ source that the compiler does not take.

    Examples
    --------
    >>> issubclass(gt.errors.CompileError, RuntimeError)
    True
    """


class LaunchError(GPUTensorError, TypeError):
    """Arguments of a launch that do not fit the kernel's parameters.

    Examples
    --------
    >>> issubclass(gt.errors.LaunchError, TypeError)
    True
    """


class OutOfMemoryError(GPUTensorError, MemoryError):
    """Memory of a device that does not suffice.

    Examples
    --------
    >>> issubclass(gt.errors.OutOfMemoryError, MemoryError)
    True
    """


class ParityError(GPUTensorError, AssertionError):
    """Implementations of one kernel that give different results.

    Examples
    --------
    >>> issubclass(gt.errors.ParityError, AssertionError)
    True
    """


class CheckpointError(GPUTensorError, ValueError):
    """A checkpoint that is damaged, is none, or is of something else.

    Examples
    --------
    >>> issubclass(gt.errors.CheckpointError, ValueError)
    True
    """


class DatasetError(GPUTensorError, RuntimeError):
    """A data set that could not be found, read or verified.

    Examples
    --------
    >>> issubclass(gt.errors.DatasetError, RuntimeError)
    True
    """
