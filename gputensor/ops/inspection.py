"""What this namespace can do, as the Python Array API standard has programs ask."""

from typing import Any

import numpy as np

from gputensor import backend, config
from gputensor.backend import Device
from gputensor.ops import data_type

__all__ = ["__array_api_version__", "__array_namespace_info__"]

__array_api_version__ = "2024.12"

_DTYPES = {
    name: getattr(data_type, name)
    for name in data_type.__all__
    if isinstance(getattr(data_type, name), np.dtype)
    and name != "float16"  # which the standard does not have
}


class _Info:
    """Answers of :func:`__array_namespace_info__`."""

    def capabilities(self) -> dict[str, Any]:
        """What may depend on the library, by name.

        Returns
        -------
        dict
            ``"boolean indexing"`` and ``"data-dependent shapes"``, both true (on CUDA they wait
            for the device), and ``"max dimensions"`` on the default device.
        """
        on_cpu = backend.default_device().kind == "cpu"
        return {
            "boolean indexing": True,
            "data-dependent shapes": True,
            "max dimensions": 64 if on_cpu else 25,
        }

    def default_device(self) -> Device:
        """Device of new tensors."""
        return backend.default_device()

    def default_dtypes(self, *, device: str | Device | None = None) -> dict[str, np.dtype[Any]]:
        """Dtypes of what is made without one, by kind; the same on every device."""
        backend.device(device)
        return {
            "real floating": config.default_dtype(),
            "complex floating": config.default_complex(),
            "integral": data_type.int64,
            "indexing": data_type.int64,
        }

    def devices(self) -> list[Device]:
        """The CPU and every CUDA device."""
        cuda = [Device("cuda", i) for i in range(backend.cuda_status().devices)]
        return [Device("cpu"), *cuda]

    def dtypes(
        self,
        *,
        device: str | Device | None = None,
        kind: str | tuple[str, ...] | None = None,
    ) -> dict[str, np.dtype[Any]]:
        """The standard's dtypes by name, those of `kind` as :func:`isdtype` knows it."""
        backend.device(device)
        return {
            name: dtype
            for name, dtype in _DTYPES.items()
            if kind is None or data_type.isdtype(dtype, kind)
        }


def __array_namespace_info__() -> _Info:
    """Devices, dtypes and capabilities, with the methods that the standard names."""
    return _Info()
