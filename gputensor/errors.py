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
    """Processes that cannot be brought together, or that do not do the same."""


class ShapeError(GPUTensorError, ValueError):
    """Operands whose shapes or axes do not fit the operation.

    Examples
    --------
    >>> issubclass(gt.errors.ShapeError, ValueError)
    True
    """


class AxisError(ShapeError, IndexError):
    """An axis that the operand does not have, or an index that is not of its shape."""


class DTypeError(GPUTensorError, TypeError):
    """An operand whose dtype the operation does not take.

    Examples
    --------
    >>> issubclass(gt.errors.DTypeError, TypeError)
    True
    """


class IndexTypeError(DTypeError, IndexError):
    """An index array whose dtype is not that of indices."""


class OperandError(GPUTensorError, TypeError):
    """An operand that is no tensor, array or number."""


class LinAlgError(GPUTensorError, np.linalg.LinAlgError):
    """A matrix that an operation of linear algebra has no result for; a ValueError too."""


class LabelError(GPUTensorError, ValueError):
    """A class label outside ``0 <= label < classes``."""


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
    """Operands of one operation that live on different devices."""


class ImplicitTransferError(GPUTensorError, TypeError):
    """Code that would have copied a CUDA tensor to the host without saying so."""


class GraphError(GPUTensorError, RuntimeError):
    """A backward pass that the tape cannot carry out."""


class AnomalyError(GPUTensorError, FloatingPointError):
    """A gradient that became NaN or infinite inside :func:`gputensor.detect_anomaly`."""


class GradcheckError(GPUTensorError, AssertionError):
    """An analytical gradient that disagrees with finite differences."""


class CaptureError(GPUTensorError, RuntimeError):
    """A function with an operation that cannot be part of a CUDA graph."""


class SyncError(GPUTensorError, RuntimeError):
    """The host was about to wait for a device, under ``gt.sync_debug("error")``."""


class CompileError(GPUTensorError, RuntimeError):
    """CUDA C++ source that the compiler does not take."""


class LaunchError(GPUTensorError, TypeError):
    """Arguments of a launch that do not fit the kernel's parameters."""


class OutOfMemoryError(GPUTensorError, MemoryError):
    """Memory of a device that does not suffice."""


class ParityError(GPUTensorError, AssertionError):
    """Implementations of one kernel that give different results."""


class CheckpointError(GPUTensorError, ValueError):
    """A checkpoint that is damaged, is none, or is of something else."""


class DatasetError(GPUTensorError, RuntimeError):
    """A data set that could not be found, read or verified."""
