"""Attention."""

from typing import Any, ClassVar

import numpy as np

from gputensor.autograd import Tensor
from gputensor.errors import ShapeError
from gputensor.keras.layers.base import Layer, positive
from gputensor.keras.layers.regularization import generator_of
from gputensor.keras.masks import mask_of
from gputensor.nn import functional
from gputensor.nn.attention import attention_and_weights
from gputensor.ops.choices import logical_and, where
from gputensor.ops.creation import arange, asarray
from gputensor.ops.elementwise import abs as absolute
from gputensor.ops.elementwise import sigmoid
from gputensor.ops.manipulation import expand_dims, permute_dims, reshape
from gputensor.ops.pieces import repeat

__all__ = [
    "AdditiveAttention",
    "Attention",
    "GroupQueryAttention",
    "GroupedQueryAttention",
    "MultiHeadAttention",
]


def _added(seen: Tensor, dtype: Any) -> Tensor:
    """What is added to scores so that targets see those sources alone.

    Large numbers, not infinity: a target that sees nothing is no NaN.
    """
    return where(seen, 0.0, -65504.0 if dtype == np.float16 else -1e9).astype(dtype)


class _Projection(Layer):
    """A product with a weight (features, heads, length) and a bias (heads, length)."""

    _constrained: ClassVar = {"kernel": "kernel", "bias": "bias"}

    def __init__(self, shape: Any, bias: Any, options: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.shapes = (tuple(shape), None if bias is None else tuple(bias))
        self.options = options
        self.kernel: Any = None
        self.bias: Any = None

    def build(self, input_shape: Any) -> None:
        """Draw the weights."""
        shape, bias = self.shapes
        kinds = self.options
        self.kernel = self.add_weight(
            shape, kinds["kernel_initializer"], regularizer=kinds["kernel_regularizer"]
        )
        if bias is not None:
            self.bias = self.add_weight(
                bias, kinds["bias_initializer"], regularizer=kinds["bias_regularizer"]
            )
        self.built = True


class _Split(_Projection):
    """(n, places, features) to (n, heads, places, length)."""

    def call(self, x: Tensor) -> Tensor:
        """One matrix for each head."""
        features, heads, length = self.kernel.shape
        weight = reshape(self.kernel, (features, heads * length))
        bias = None if self.bias is None else reshape(self.bias, (heads * length,))
        y = functional.dense(x, weight, bias)
        return permute_dims(reshape(y, (*x.shape[:-1], heads, length)), (0, 2, 1, 3))


class _Joined(_Projection):
    """(n, heads, places, length) to (n, places, features)."""

    def call(self, x: Tensor) -> Tensor:
        """The heads as one."""
        heads, length, features = self.kernel.shape
        n, _, places, _ = x.shape
        rows = reshape(permute_dims(x, (0, 2, 1, 3)), (n, places, heads * length))
        return functional.dense(rows, reshape(self.kernel, (heads * length, features)), self.bias)


class MultiHeadAttention(Layer):
    """Attention in several heads (Vaswani et al. 2017).

    Parameters
    ----------
    num_heads, key_dim : int
        Number of heads and the length of each one's queries and keys.
    value_dim : int, optional
        Length of values, by default `key_dim`.
    dropout : float
    use_bias : bool
    output_shape : int, optional
        Length of the result, by default that of the query.
    flash_attention : bool, optional
        How Keras computes; the result is the same, and nothing else is done here.
    kernel_initializer, bias_initializer : str or Initializer
    kernel_regularizer, bias_regularizer : str or Regularizer, optional
    kernel_constraint, bias_constraint : str or Constraint, optional
    seed : int or keras.random.SeedGenerator, optional
        Where the layer's own random numbers begin.

    Examples
    --------
    >>> q = np.ones((2, 5, 4))
    >>> keras.layers.MultiHeadAttention(2, 8)(q, q).shape
    (2, 5, 4)
    """

    def __init__(
        self,
        num_heads: int,
        key_dim: int,
        value_dim: int | None = None,
        dropout: float = 0.0,
        use_bias: bool = True,
        output_shape: Any = None,
        attention_axes: Any = None,
        flash_attention: Any = None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        use_gate: bool = False,
        sliding_window: int | None = None,
        seed: Any = None,
        **kwargs: Any,
    ) -> None:
        name = type(self).__name__
        if flash_attention not in (None, True, False):
            raise ValueError(f"{name}: flash_attention is {flash_attention!r}; it must be a bool")
        limits = {key: kwargs.pop(key, None) for key in ("kernel_constraint", "bias_constraint")}
        super().__init__(**kwargs)
        if attention_axes not in (None, 1, [1], (1,)):
            raise ValueError(f"{name}: attention_axes is {attention_axes}; only the steps' axis is")
        self.num_heads = positive(name, num_heads=num_heads)
        self.key_dim = positive(name, key_dim=key_dim)
        self.value_dim = self.key_dim if value_dim is None else positive(name, value_dim=value_dim)
        self.dropout = dropout
        self.use_bias = use_bias
        self.seed = seed
        self._generator = generator_of(seed)
        self.use_gate = bool(use_gate)
        self.sliding_window = (
            None if sliding_window is None else positive(name, sliding_window=sliding_window)
        )
        self.length = output_shape[-1] if isinstance(output_shape, (list, tuple)) else output_shape
        self.options = {
            "kernel_initializer": kernel_initializer,
            "bias_initializer": bias_initializer,
            "kernel_regularizer": kernel_regularizer,
            "bias_regularizer": bias_regularizer,
        }
        self.limits = {key: limit for key, limit in limits.items() if limit is not None}

    def _build(self, input_shape: Any) -> None:
        """Wait for the lengths of all inputs: they are seen in the first call."""

    @property
    def _sources(self) -> int:
        """Number of heads of keys and values."""
        count: int = self.num_heads
        return count

    def _made(self, query: int, value: int, key: int) -> None:
        heads, others = self.num_heads, self._sources
        gate = [("gate", _Split, (query, heads, self.value_dim))] if self.use_gate else []
        shapes: list[Any] = [
            ("query", _Split, (query, heads, self.key_dim)),
            ("key", _Split, (key, others, self.key_dim)),
            *gate,
            ("value", _Split, (value, others, self.value_dim)),
            ("output", _Joined, (heads, self.value_dim, self.length or query)),
        ]
        for name, kind, shape in shapes:
            bias: Any = (shape[-1],) if kind is _Joined else shape[1:]
            bias = bias if self.use_bias else None
            layer = kind(shape, bias, self.options, name=name, **self.limits)
            layer._build(None)
            setattr(self, f"{name}_dense", layer)
        super()._build(None)

    query_dense: Layer
    key_dense: Layer
    value_dense: Layer
    output_dense: Layer
    gate_dense: Layer

    def call(
        self,
        query: Tensor,
        value: Tensor,
        key: Tensor | None = None,
        query_mask: Any = None,
        value_mask: Any = None,
        key_mask: Any = None,
        attention_mask: Any = None,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
        mask: Any = None,
    ) -> Any:
        """Attention of each query to the values.

        Parameters
        ----------
        query : Tensor of shape (n, targets, features)
        value, key : Tensor of shape (n, sources, features)
            `key` is `value` by default.
        query_mask, value_mask, key_mask : Tensor of bool of shape (n, places), optional
        attention_mask : Tensor of bool of shape (n, targets, sources) or (n, heads, ...), optional
            Whether a target sees a source.
        return_attention_scores : bool
        use_causal_mask : bool
            Whether a target sees the sources up to its own place alone.

        Returns
        -------
        Tensor of shape (n, targets, features); with the weights (n, heads, targets, sources)
        """
        key = value if key is None else key
        if query.ndim != 3:
            raise ShapeError(
                f"MultiHeadAttention: query has shape {query.shape}; it must be (n, places, "
                "features)"
            )
        if not self.built:
            self._made(query.shape[-1], value.shape[-1], key.shape[-1])
        q, k, v = self.query_dense(query), self.key_dense(key), self.value_dense(value)
        each = self.num_heads // self._sources
        if each > 1:
            k, v = repeat(k, each, axis=1), repeat(v, each, axis=1)
        seen: Any = None
        masks = []
        if self.sliding_window is not None:
            rows, columns = (arange(n, device=q.device) for n in (q.shape[2], k.shape[2]))
            apart = absolute(expand_dims(rows, axis=-1) - columns)
            masks.append(reshape(apart < self.sliding_window, (1, 1, *apart.shape)))
        if attention_mask is not None:
            given = asarray(attention_mask).astype(bool)
            masks.append(expand_dims(given, axis=-3) if given.ndim < 4 else given)
        query_mask = mask if query_mask is None else query_mask
        # Each tensor may bring a mask along, as padding's.
        query_mask = mask_of(query) if query_mask is None else query_mask
        value_mask = mask_of(value) if value_mask is None else value_mask
        if key_mask is None and key is not value:
            key_mask = mask_of(key)
        if query_mask is not None:
            masks.append(reshape(asarray(query_mask).astype(bool), (query.shape[0], 1, -1, 1)))
        sources = [asarray(m).astype(bool) for m in (value_mask, key_mask) if m is not None]
        masks += [reshape(m, (query.shape[0], 1, 1, -1)) for m in sources]
        for part in masks:
            seen = part if seen is None else logical_and(seen, part)
        if seen is not None:
            seen = _added(seen, q.dtype)
        found, weights = attention_and_weights(
            q,
            k,
            v,
            seen,
            causal=use_causal_mask,
            dropout=self.dropout,
            training=self.training,
            generator=self._generator,
        )
        if self.use_gate:
            found = found * sigmoid(self.gate_dense(query))
        out = self.output_dense(found)
        return (out, weights) if return_attention_scores else out


class GroupQueryAttention(MultiHeadAttention):
    """:class:`MultiHeadAttention` with fewer heads of keys and values (Ainslie et al. 2023).

    Parameters
    ----------
    head_dim : int
        Length of each head's queries, keys and values.
    num_query_heads, num_key_value_heads : int
        The first is a multiple of the second.
    dropout, use_bias, sliding_window, use_gate, ... : as of :class:`MultiHeadAttention`

    Examples
    --------
    >>> q = np.ones((2, 5, 8))
    >>> keras.layers.GroupQueryAttention(4, 4, 2)(q, q).shape
    (2, 5, 8)
    """

    def __init__(
        self,
        head_dim: int,
        num_query_heads: int,
        num_key_value_heads: int,
        dropout: float = 0.0,
        use_bias: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_query_heads, head_dim, None, dropout, use_bias, **kwargs)
        self.num_key_value_heads = positive(
            "GroupQueryAttention", num_key_value_heads=num_key_value_heads
        )
        if self.num_heads % self.num_key_value_heads:
            raise ValueError(
                f"GroupQueryAttention: num_query_heads {num_query_heads} is no multiple of "
                f"num_key_value_heads {num_key_value_heads}"
            )

    def get_config(self) -> dict[str, Any]:
        """As of every layer; values are as wide as heads."""
        return {k: v for k, v in super().get_config().items() if k != "value_dim"}

    @property
    def _sources(self) -> int:
        count: int = self.num_key_value_heads
        return count


GroupedQueryAttention = GroupQueryAttention


class Attention(Layer):
    """``softmax(query @ key.mT) @ value`` of a list [query, value] or [query, value, key].

    Parameters
    ----------
    use_scale : bool
        Whether the scores are multiplied by a parameter, 1 at first.
    score_mode : {"dot"}
    dropout : float

    Examples
    --------
    >>> q = np.ones((2, 5, 4))
    >>> keras.layers.Attention()([q, q]).shape
    (2, 5, 4)
    """

    def __init__(
        self,
        use_scale: bool = False,
        score_mode: str = "dot",
        dropout: float = 0.0,
        seed: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if score_mode != "dot":
            raise ValueError(f"Attention: score_mode is {score_mode!r}; only 'dot' is there")
        self.use_scale = use_scale
        self.dropout = dropout
        self.seed = seed
        self._generator = generator_of(seed)
        self.scale: Any = None

    def build(self, input_shape: Any) -> None:
        """Make the scale."""
        if self.use_scale:
            self.scale = self.add_weight((), "ones")
        self.built = True

    def _masks(self, inputs: Any, mask: Any, dtype: Any) -> tuple[Any, Any]:
        """Which targets count, and what is added to scores: by masks given, or the tensors' own."""
        if not isinstance(mask, (list, tuple)):
            mask = [mask_of(x) for x in inputs]
        target, source = (None if m is None else asarray(m).astype(bool) for m in mask[:2])
        return (
            None if target is None else expand_dims(target, axis=-1),
            None if source is None else _added(expand_dims(source, axis=-2), dtype),
        )

    def call(
        self,
        inputs: Any,
        mask: Any = None,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
    ) -> Any:
        """Of shape (n, targets, columns)."""
        query, value, *rest = inputs
        key = rest[0] if rest else value
        if self.scale is not None:
            query = query * self.scale
        targets, seen = self._masks(inputs, mask, query.dtype)
        found, weights = attention_and_weights(
            query,
            key,
            value,
            seen,
            causal=use_causal_mask,
            dropout=self.dropout,
            training=self.training,
            scale=1.0,
            generator=self._generator,
        )
        if targets is not None:
            found = where(targets, found, 0.0)
        return (found, weights) if return_attention_scores else found


class AdditiveAttention(Attention):
    """Attention with scores ``sum(scale * tanh(query + key))`` (Bahdanau et al. 2015).

    Examples
    --------
    >>> q = np.ones((2, 5, 4))
    >>> keras.layers.AdditiveAttention()([q, q]).shape
    (2, 5, 4)
    """

    def __init__(self, use_scale: bool = True, dropout: float = 0.0, **kwargs: Any) -> None:
        super().__init__(use_scale, "dot", dropout, **kwargs)

    def build(self, input_shape: Any) -> None:
        """Draw the scale."""
        if self.use_scale:
            self.scale = self.add_weight((input_shape[0][-1],), "glorot_uniform")
        self.built = True

    def call(self, inputs: Any, mask: Any = None, return_attention_scores: bool = False) -> Any:  # type: ignore[override]
        """Of shape (n, targets, columns)."""
        query, value, *rest = inputs
        key = rest[0] if rest else value
        sums = functional.tanh(expand_dims(query, axis=-2) + expand_dims(key, axis=-3))
        scores = (sums if self.scale is None else sums * self.scale).sum(axis=-1)
        targets, seen = self._masks(inputs, mask, scores.dtype)
        weights = functional.softmax(scores if seen is None else scores + seen)
        weights = functional.dropout(weights, self.dropout, self.training, self._generator)
        found = weights @ value
        if targets is not None:
            found = where(targets, found, 0.0)
        return (found, weights) if return_attention_scores else found
