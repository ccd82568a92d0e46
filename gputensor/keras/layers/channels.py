"""Layers of samples with channels, which may stand before the other axes or behind them."""

from typing import Any

from gputensor.autograd import Tensor
from gputensor.keras.layers.base import Layer
from gputensor.keras.masks import mask_of, set_mask
from gputensor.ops.manipulation import moveaxis

__all__ = ["Channeled", "channels_last"]


def channels_last(name: str, data_format: str | None) -> None:
    """Refuse channels first."""
    if data_format not in (None, "channels_last"):
        raise ValueError(
            f"{name}: data_format is {data_format!r}; only 'channels_last' is supported"
        )


class Channeled(Layer):
    """A layer whose ``call`` is written for channels in the last axis.

    Channels in front are moved there, and back if the result has as many axes.
    """

    data_format = "channels_last"

    def _set_format(self, data_format: str | None) -> None:
        """Take a setting of the constructor; None stands for channels last."""
        if data_format not in (None, "channels_last", "channels_first"):
            raise ValueError(
                f"{type(self).__name__}: data_format is {data_format!r}; allowed are "
                "'channels_last' and 'channels_first'"
            )
        if data_format is not None:
            self.data_format = data_format

    def _channels_last(self, input_shape: Any) -> tuple[Any, ...]:
        """A shape with the channels in the last axis."""
        if self.data_format == "channels_last" or len(input_shape) < 3:
            return tuple(input_shape)
        return (input_shape[0], *input_shape[2:], input_shape[1])

    def _called(self, args: Any, kwargs: Any) -> Any:
        if self.data_format == "channels_last" or args[0].ndim < 3:
            return super()._called(args, kwargs)
        x, *rest = args
        moved = moveaxis(x, 1, -1)
        set_mask(moved, mask_of(x))
        out: Tensor = super()._called((moved, *rest), kwargs)
        if out.ndim != x.ndim:
            return out
        back = moveaxis(out, -1, 1)
        set_mask(back, mask_of(out))
        return back
