"""``keras.config``: settings of Keras that have a meaning here."""

from typing import Any

from gputensor.keras import backend as _backend
from gputensor.keras.backend import epsilon, floatx, image_data_format, set_floatx
from gputensor.keras.naming import lacking

__all__ = [
    "backend",
    "disable_flash_attention",
    "disable_interactive_logging",
    "disable_traceback_filtering",
    "dtype_policy",
    "enable_flash_attention",
    "enable_interactive_logging",
    "enable_traceback_filtering",
    "epsilon",
    "floatx",
    "image_data_format",
    "is_flash_attention_enabled",
    "is_traceback_filtering_enabled",
    "set_floatx",
    "set_image_data_format",
]


def backend() -> str:
    """The name of what computes."""
    return "gputensor"


def dtype_policy() -> str:
    """The dtype of weights and of computations."""
    return str(floatx())


def set_image_data_format(data_format: str) -> None:
    """Channels are last; anything else is refused."""
    _backend.set_image_data_format(data_format)


def _nothing() -> None:
    """Nothing: results are the same."""


enable_flash_attention = disable_flash_attention = _nothing
enable_interactive_logging = disable_interactive_logging = _nothing
enable_traceback_filtering = disable_traceback_filtering = _nothing


def is_flash_attention_enabled() -> bool | None:
    """None: it is not a setting here."""
    return None


def is_traceback_filtering_enabled() -> bool:
    """False: tracebacks are whole."""
    return False


__getattr__: Any = lacking(
    __name__,
    {
        "set_backend": "gputensor.device and GPUTENSOR_DEVICE: there is one backend",
        "set_epsilon": "epsilon= of each layer and optimizer",
        "set_dtype_policy": 'gputensor.autocast("bfloat16"), or dtype= of layers',
        "enable_unsafe_deserialization": "a class of layer: code in files is never run",
        "set_max_epochs": "epochs= of fit",
        "set_max_steps_per_epoch": "steps_per_epoch= of fit",
        "max_epochs": "epochs= of fit",
        "max_steps_per_epoch": "steps_per_epoch= of fit",
        "is_interactive_logging_enabled": "verbose= of fit",
        "is_nnx_enabled": "nothing: it is a setting of JAX's",
    },
)
