"""Layers of samples with channels, which may stand before the other axes or behind them."""

from typing import Any

from gputensor.autograd import Tensor
from gputensor.keras.formats import checked_format
from gputensor.keras.layers.base import Layer
from gputensor.keras.masks import mask_of, set_mask
from gputensor.ops.manipulation import moveaxis

__all__ = ["Channeled"]


class Channeled(Layer):
    """A layer whose ``call`` is written for channels in the last axis.

    Channels in front are moved there, and back if the result has as many axes.
    """

    data_format = "channels_last"

    def _set_format(self, data_format: str | None) -> None:
        """Take a setting of the constructor; None stands for channels last."""
        found = checked_format(type(self).__name__, data_format)
        if data_format is not None:
            self.data_format = found

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
