"""Attention (Vaswani et al. 2017)."""

import math
from typing import Any

from gputensor.autograd import Tensor
from gputensor.backend import Device
from gputensor.errors import ShapeError
from gputensor.nn import functional
from gputensor.nn.modules import Linear, Module, _check_sizes
from gputensor.ops.choices import where
from gputensor.ops.creation import asarray, ones, parameter, tril, zeros
from gputensor.ops.manipulation import permute_dims
from gputensor.ops.nn import softmax
from gputensor.ops.products import matmul
from gputensor.ops.statistical import mean
from gputensor.random import Generator, default_generator

__all__ = ["MultiheadAttention", "scaled_dot_product_attention"]


def attention_and_weights(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Any = None,
    *,
    causal: bool = False,
    dropout: float = 0.0,
    training: bool = True,
    scale: float | None = None,
    generator: Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Result and weights of :func:`scaled_dot_product_attention`."""
    if query.shape[-1] != key.shape[-1] or key.shape[-2] != value.shape[-2]:
        raise ShapeError(
            f"attention: query {query.shape}, key {key.shape} and value {value.shape} do not fit"
        )
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = matmul(query * factor, key.mT)
    if causal:
        lower = tril(ones(scores.shape[-2:], dtype=bool, device=scores.device))
        scores = where(lower, scores, -math.inf)
    if mask is not None:
        mask = asarray(mask, device=scores.device)
        kept = mask.dtype.kind == "b"
        scores = where(mask, scores, -math.inf) if kept else scores + mask
    weights = softmax(scores, axis=-1)
    return matmul(functional.dropout(weights, dropout, training, generator), value), weights


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """``softmax(query @ key.mT * scale) @ value``.

    Parameters
    ----------
    query : Tensor of shape (..., targets, features)
    key : Tensor of shape (..., sources, features)
    value : Tensor of shape (..., sources, columns)
    attn_mask : Tensor that broadcasts to (..., targets, sources), optional
        Of bool: whether the source counts; else it is added to the scores.
    dropout_p : float
        Probability that a weight is left out.
    is_causal : bool
        Whether a target sees the sources up to its own place alone.
    scale : float, optional
        By default ``1 / sqrt(features)``.

    Returns
    -------
    Tensor of shape (..., targets, columns)
        A target that sees no source is NaN.

    Examples
    --------
    >>> q = gt.ones((2, 4, 5, 8))
    >>> gt.nn.scaled_dot_product_attention(q, q, q).shape
    (2, 4, 5, 8)
    """
    found, _ = attention_and_weights(
        query, key, value, attn_mask, causal=is_causal, dropout=dropout_p, scale=scale
    )
    return found


class MultiheadAttention(Module):
    """Attention in several heads, with PyTorch's names and shapes.

    Parameters
    ----------
    embed_dim, num_heads : int
        The first is cut into the second's number of parts.
    dropout : float
    bias : bool
    batch_first : bool
        Whether tensors are (n, places, features), not (places, n, features).
    dtype : floating point dtype, optional
    device : str or Device, optional

    Attributes
    ----------
    in_proj_weight : Tensor of shape (3 * embed_dim, embed_dim)
        For query, key and value.
    in_proj_bias : Tensor of shape (3 * embed_dim,)
    out_proj : Linear

    Examples
    --------
    >>> x = gt.ones((2, 5, 8))
    >>> layer = gt.nn.MultiheadAttention(8, 2, batch_first=True)
    >>> layer(x, x, x)[0].shape
    (2, 5, 8)
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        batch_first: bool = False,
        *,
        dtype: Any = None,
        device: str | Device | None = None,
    ) -> None:
        super().__init__()
        _check_sizes("MultiheadAttention", embed_dim=embed_dim, num_heads=num_heads)
        if embed_dim % num_heads:
            raise ValueError(
                f"MultiheadAttention: embed_dim {embed_dim} is no multiple of num_heads {num_heads}"
            )
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.dropout = dropout
        self.batch_first = batch_first
        limit = math.sqrt(6 / (4 * embed_dim))
        shape = (3 * embed_dim, embed_dim)
        draw = default_generator.uniform(-limit, limit, shape, dtype=dtype, device=device)
        self.in_proj_weight = parameter(draw.array)
        self.in_proj_bias = (
            parameter(zeros(3 * embed_dim, dtype=dtype, device=device).array) if bias else None
        )
        self.out_proj = Linear(embed_dim, embed_dim, bias=bias, dtype=dtype, device=device)
        if self.out_proj.bias is not None:
            self.out_proj.bias.array[...] = 0

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Any = None,
        need_weights: bool = True,
        attn_mask: Any = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Attention and its weights.

        Parameters
        ----------
        query, key, value : Tensor of shape (places, n, embed_dim), or as `batch_first` says
        key_padding_mask : Tensor of bool of shape (n, sources), optional
            True where a source does *not* count, as in PyTorch.
        need_weights : bool
        attn_mask : Tensor of shape (targets, sources) or (n * heads, targets, sources), optional
            Of bool: True where it is *not* seen; else added to the scores.
        average_attn_weights : bool
            Whether weights are the mean over the heads.
        is_causal : bool
            That `attn_mask` is causal: a hint beside the mask, as in PyTorch; alone it is refused.

        Returns
        -------
        Tensor of the shape of `query`; weights of shape (n, targets, sources), or None
        """
        if is_causal and attn_mask is None:
            raise ValueError(
                "MultiheadAttention: is_causal is True and attn_mask None; it says of what kind "
                "the mask is, as in PyTorch: give a mask, True where a source comes later"
            )
        x = [query, key, value]
        if not self.batch_first and query.ndim == 3:
            x = [permute_dims(t, (1, 0, 2)) for t in x]
        single = query.ndim == 2
        if single:
            x = [t.reshape(1, *t.shape) for t in x]
        size = self.embed_dim
        heads = []
        for i, t in enumerate(x):
            rows = slice(i * size, (i + 1) * size)
            bias = None if self.in_proj_bias is None else self.in_proj_bias[rows]
            y = functional.linear(t, self.in_proj_weight[rows], bias)
            y = y.reshape(*t.shape[:2], self.num_heads, size // self.num_heads)
            heads.append(permute_dims(y, (0, 2, 1, 3)))
        n = heads[0].shape[0]
        mask = self._mask(attn_mask, key_padding_mask, n)
        found, weights = attention_and_weights(
            heads[0], heads[1], heads[2], mask, dropout=self.dropout, training=self.training
        )
        found = permute_dims(found, (0, 2, 1, 3))
        found = self.out_proj(found.reshape(*found.shape[:2], size))
        if single:
            found = found[0]
        elif not self.batch_first:
            found = permute_dims(found, (1, 0, 2))
        if not need_weights:
            return found, None
        return found, mean(weights, axis=1) if average_attn_weights else weights

    def _mask(self, attn_mask: Any, padding: Any, n: int) -> Any:
        """What is added to scores of shape (n, heads, targets, sources)."""
        total: Any = None
        shape: Any
        device = self.in_proj_weight.device
        for given, shape in ((attn_mask, None), (padding, (n, 1, 1, -1))):
            if given is None:
                continue
            part = asarray(given, device=device)
            if shape is None and part.ndim == 3:
                shape = (n, -1, *part.shape[1:])
            if shape is not None:
                part = part.reshape(shape)
            if part.dtype.kind == "b":
                part = where(
                    part, -math.inf, zeros((), dtype=self.in_proj_weight.dtype, device=device)
                )
            total = part if total is None else total + part
        return total
