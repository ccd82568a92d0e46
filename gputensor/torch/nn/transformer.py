"""The encoder of a transformer (Vaswani et al. 2017), with PyTorch's names of parameters."""

import copy
from collections.abc import Callable
from typing import Any

from gputensor import ops
from gputensor.torch.nn.activations import FUNCTIONS
from gputensor.torch.nn.containers import ModuleList
from gputensor.torch.nn.layers import MODULES as LAYERS
from gputensor.torch.nn.module import Module

__all__ = ["MODULES"]


class TransformerEncoderLayer(Module):
    """Attention of a series to itself, and two linear layers; each added to its input.

    Parameters
    ----------
    d_model, nhead, dim_feedforward : int
    dropout : float
    activation : {"relu", "gelu"} or callable
    layer_norm_eps : float
    batch_first : bool
        Whether tensors are (n, steps, d_model), not (steps, n, d_model).
    norm_first : bool
        Whether inputs are normalized, not sums.
    bias : bool
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Callable[[Any], Any] = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if not callable(activation) and activation not in ("relu", "gelu"):
            raise ValueError(
                f"TransformerEncoderLayer: activation is {activation!r}; allowed are 'relu', 'gelu'"
            )
        attention: Any = LAYERS["MultiheadAttention"]
        linear: Any = LAYERS["Linear"]
        norm: Any = LAYERS["LayerNorm"]
        drop: Any = LAYERS["Dropout"]
        self.self_attn = attention(d_model, nhead, dropout, bias, batch_first=batch_first)
        self.linear1 = linear(d_model, dim_feedforward, bias)
        self.dropout = drop(dropout)
        self.linear2 = linear(dim_feedforward, d_model, bias)
        self.norm_first = norm_first
        self.norm1, self.norm2 = (norm(d_model, layer_norm_eps, bias=bias) for _ in range(2))
        self.dropout1, self.dropout2 = drop(dropout), drop(dropout)
        self.activation = activation if callable(activation) else FUNCTIONS[activation]

    def forward(
        self,
        src: Any,
        src_mask: Any = None,
        src_key_padding_mask: Any = None,
        is_causal: bool = False,
    ) -> Any:
        """Tensor of the shape of `src`; masks of bools say what does not count."""

        def attend(x: Any) -> Any:
            found, _ = self.self_attn(
                x,
                x,
                x,
                attn_mask=src_mask,
                key_padding_mask=src_key_padding_mask,
                need_weights=False,
            )
            return self.dropout1(found)

        def feed(x: Any) -> Any:
            return self.dropout2(self.linear2(self.dropout(self.activation(self.linear1(x)))))

        if self.norm_first:
            x = ops.add(src, attend(self.norm1(src)))
            return ops.add(x, feed(self.norm2(x)))
        x = self.norm1(ops.add(src, attend(src)))
        return self.norm2(ops.add(x, feed(x)))


class TransformerEncoder(Module):
    """Several copies of a layer, one after the other.

    Parameters
    ----------
    encoder_layer : TransformerEncoderLayer
    num_layers : int
    norm : Module, optional
        Of the result.
    """

    def __init__(
        self,
        encoder_layer: Any,
        num_layers: int,
        norm: Any = None,
        enable_nested_tensor: bool = True,
        mask_check: bool = True,
    ) -> None:
        super().__init__()
        self.layers = ModuleList(copy.deepcopy(encoder_layer) for _ in range(num_layers))
        self.num_layers, self.norm = num_layers, norm

    def forward(
        self,
        src: Any,
        mask: Any = None,
        src_key_padding_mask: Any = None,
        is_causal: bool | None = None,
    ) -> Any:
        """Tensor of the shape of `src`."""
        for layer in self.layers:
            src = layer(src, mask, src_key_padding_mask)
        return src if self.norm is None else self.norm(src)


MODULES: dict[str, type[Module]] = {
    c.__name__: c for c in (TransformerEncoderLayer, TransformerEncoder)
}
