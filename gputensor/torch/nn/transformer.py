"""The encoder of a transformer (Vaswani et al. 2017), with PyTorch's names of parameters."""

import copy
import math
from collections.abc import Callable
from typing import Any

from gputensor import ops
from gputensor.torch.nn.activations import FUNCTIONS
from gputensor.torch.nn.containers import ModuleList
from gputensor.torch.nn.init import xavier_uniform_
from gputensor.torch.nn.layers import MODULES as LAYERS
from gputensor.torch.nn.module import Module
from gputensor.torch.tensor import as_device, ours

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

    Examples
    --------
    >>> layer = torch.nn.TransformerEncoderLayer(d_model=8, nhead=2, batch_first=True)
    >>> layer(torch.ones(4, 5, 8)).shape
    torch.Size([4, 5, 8])
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
                is_causal=is_causal,
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

    Examples
    --------
    >>> layer = torch.nn.TransformerEncoderLayer(d_model=8, nhead=2, batch_first=True)
    >>> torch.nn.TransformerEncoder(layer, num_layers=2)(torch.ones(4, 5, 8)).shape
    torch.Size([4, 5, 8])
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
            src = layer(src, mask, src_key_padding_mask, bool(is_causal))
        return src if self.norm is None else self.norm(src)


class TransformerDecoderLayer(TransformerEncoderLayer):
    """An encoder's layer with attention to what the encoder gave in its middle.

    Parameters are those of :class:`TransformerEncoderLayer`.

    Examples
    --------
    >>> layer = torch.nn.TransformerDecoderLayer(d_model=8, nhead=2, batch_first=True)
    >>> layer(torch.ones(4, 5, 8), torch.ones(4, 7, 8)).shape
    torch.Size([4, 5, 8])
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
        rest: Any = (activation, layer_norm_eps, batch_first, norm_first, bias)
        super().__init__(d_model, nhead, dim_feedforward, dropout, *rest)
        attention: Any = LAYERS["MultiheadAttention"]
        norm: Any = LAYERS["LayerNorm"]
        drop: Any = LAYERS["Dropout"]
        self.multihead_attn = attention(d_model, nhead, dropout, bias, batch_first=batch_first)
        self.norm3 = norm(d_model, layer_norm_eps, bias=bias)
        self.dropout3 = drop(dropout)
        for name in ("linear1", "dropout", "linear2", "norm1", "norm2", "norm3"):
            vars(self)[name] = vars(self).pop(name)  # in PyTorch's order of the state

    def forward(
        self,
        tgt: Any,
        memory: Any,
        tgt_mask: Any = None,
        memory_mask: Any = None,
        tgt_key_padding_mask: Any = None,
        memory_key_padding_mask: Any = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Any:
        """Tensor of the shape of `tgt`; masks of bools say what does not count."""

        def attend(x: Any) -> Any:
            options = {"attn_mask": tgt_mask, "key_padding_mask": tgt_key_padding_mask}
            hint = {"need_weights": False, "is_causal": tgt_is_causal}
            return self.dropout1(self.self_attn(x, x, x, **hint, **options)[0])

        def look(x: Any) -> Any:
            options = {"attn_mask": memory_mask, "key_padding_mask": memory_key_padding_mask}
            hint = {"need_weights": False, "is_causal": memory_is_causal}
            found = self.multihead_attn(x, memory, memory, **hint, **options)
            return self.dropout2(found[0])

        def feed(x: Any) -> Any:
            return self.dropout3(self.linear2(self.dropout(self.activation(self.linear1(x)))))

        x = tgt
        for part, norm in ((attend, self.norm1), (look, self.norm2), (feed, self.norm3)):
            x = ops.add(x, part(norm(x))) if self.norm_first else norm(ops.add(x, part(x)))
        return x


class TransformerDecoder(Module):
    """Several copies of a decoder's layer, one after the other.

    Parameters
    ----------
    decoder_layer : TransformerDecoderLayer
    num_layers : int
    norm : Module, optional
        Of the result.

    Examples
    --------
    >>> layer = torch.nn.TransformerDecoderLayer(d_model=8, nhead=2, batch_first=True)
    >>> torch.nn.TransformerDecoder(layer, 2)(torch.ones(4, 5, 8), torch.ones(4, 7, 8)).shape
    torch.Size([4, 5, 8])
    """

    def __init__(self, decoder_layer: Any, num_layers: int, norm: Any = None) -> None:
        super().__init__()
        self.layers = ModuleList(copy.deepcopy(decoder_layer) for _ in range(num_layers))
        self.num_layers, self.norm = num_layers, norm

    def forward(self, tgt: Any, memory: Any, *masks: Any, **options: Any) -> Any:
        """Tensor of the shape of `tgt`; masks are those of a layer."""
        for layer in self.layers:
            tgt = layer(tgt, memory, *masks, **options)
        return tgt if self.norm is None else self.norm(tgt)


class Transformer(Module):
    """An encoder of a series, and a decoder of another that looks at it (Vaswani et al. 2017).

    Parameters
    ----------
    d_model, nhead : int
    num_encoder_layers, num_decoder_layers : int
    dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first, bias
        As of :class:`TransformerEncoderLayer`.
    custom_encoder, custom_decoder : Module, optional
        Instead of those that are made.

    Examples
    --------
    >>> layers = {"num_encoder_layers": 1, "num_decoder_layers": 1}
    >>> model = torch.nn.Transformer(d_model=8, nhead=2, **layers)
    >>> model(torch.ones(5, 4, 8), torch.ones(7, 4, 8)).shape
    torch.Size([7, 4, 8])
    """

    def __init__(
        self,
        d_model: int = 512,
        nhead: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Callable[[Any], Any] = "relu",
        custom_encoder: Any = None,
        custom_decoder: Any = None,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
    ) -> None:
        super().__init__()
        options: Any = (activation, layer_norm_eps, batch_first, norm_first, bias)
        sizes = (d_model, nhead, dim_feedforward, dropout)
        norm: Any = LAYERS["LayerNorm"]
        self.encoder = custom_encoder or TransformerEncoder(
            TransformerEncoderLayer(*sizes, *options),
            num_encoder_layers,
            norm(d_model, layer_norm_eps, bias=bias),
        )
        self.decoder = custom_decoder or TransformerDecoder(
            TransformerDecoderLayer(*sizes, *options),
            num_decoder_layers,
            norm(d_model, layer_norm_eps, bias=bias),
        )
        for p in self.parameters():
            if p.dim() > 1:
                xavier_uniform_(p)
        self.d_model, self.nhead, self.batch_first = d_model, nhead, batch_first

    @staticmethod
    def generate_square_subsequent_mask(sz: int, device: Any = None, dtype: Any = None) -> Any:
        """What is added to scores (sz, sz): minus infinity where a source comes later."""
        later = ops.arange(sz)[:, None] < ops.arange(sz)[None, :]
        return ours(
            ops.where(later, -math.inf, ops.zeros((), dtype=dtype, device=as_device(device)))
        )

    def forward(
        self,
        src: Any,
        tgt: Any,
        src_mask: Any = None,
        tgt_mask: Any = None,
        memory_mask: Any = None,
        src_key_padding_mask: Any = None,
        tgt_key_padding_mask: Any = None,
        memory_key_padding_mask: Any = None,
        src_is_causal: bool | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Any:
        """Tensor of the shape of `tgt`; masks of bools say what does not count."""
        memory = self.encoder(src, src_mask, src_key_padding_mask, src_is_causal)
        masks = (tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask)
        return self.decoder(tgt, memory, *masks, tgt_is_causal, memory_is_causal)


MODULES: dict[str, type[Module]] = {
    c.__name__: c
    for c in (
        *(TransformerEncoderLayer, TransformerEncoder, TransformerDecoderLayer),
        *(TransformerDecoder, Transformer),
    )
}
