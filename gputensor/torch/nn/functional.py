"""``torch.nn.functional``."""

from collections.abc import Callable
from typing import Any

from gputensor import linalg, ops
from gputensor.nn import functional as engine
from gputensor.nn.attention import scaled_dot_product_attention as _attention
from gputensor.torch.creation import one_hot
from gputensor.torch.nn.activations import FUNCTIONS as ACTIVATIONS
from gputensor.torch.nn.layers import dropout, dropout2d, embedding, embedding_bag, pad
from gputensor.torch.nn.losses import FUNCTIONS as LOSSES
from gputensor.torch.nn.more_layers import FUNCTIONS as MORE
from gputensor.torch.tensor import ours

__all__ = ["FUNCTIONS"]


def _door(name: str) -> Callable[..., Any]:
    """The engine's function of this name, with ``dim=`` for ``axis=``."""
    function = getattr(engine, name)

    def called(*args: Any, **options: Any) -> Any:
        if "dim" in options:
            options["axis"] = options.pop("dim")
        return ours(function(*args, **options))

    called.__name__ = called.__qualname__ = name
    called.__doc__ = function.__doc__
    return called


def scaled_dot_product_attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
) -> Any:
    """``softmax(query @ key.mT * scale) @ value``; a mask of bools says what counts.

    Examples
    --------
    >>> q = k = v = torch.ones(2, 4, 5, 8)
    >>> torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True).shape
    torch.Size([2, 4, 5, 8])
    """
    return ours(_attention(query, key, value, attn_mask, dropout_p, is_causal, scale))


def linear(input: Any, weight: Any, bias: Any = None) -> Any:
    """``input @ weight.T + bias``.

    Examples
    --------
    >>> torch.nn.functional.linear(torch.ones(2, 3), torch.ones(4, 3), torch.zeros(4)).shape
    torch.Size([2, 4])
    """
    return ours(engine.dense(input, ops.permute_dims(weight, (1, 0)), bias))


def normalize(input: Any, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Any:
    """`input` over its norm along `dim`, which is taken as `eps` at least.

    Examples
    --------
    >>> torch.nn.functional.normalize(torch.tensor([[3.0, 4.0]]))
    tensor([[0.6000, 0.8000]])
    """
    norm = linalg.vector_norm(input, ord=p, axis=dim, keepdims=True)
    return ours(ops.divide(input, ops.clip(norm, eps)))


def cosine_similarity(x1: Any, x2: Any, dim: int = 1, eps: float = 1e-8) -> Any:
    """Cosine of the angle along an axis.

    Examples
    --------
    >>> x, y = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 1.0]])
    >>> torch.nn.functional.cosine_similarity(x, y)
    tensor([0.7071])
    """
    return ours(engine.cosine_similarity(x1, x2, axis=dim, eps=eps))


def pairwise_distance(
    x1: Any, x2: Any, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Any:
    """Norm of ``x1 - x2 + eps`` along the last axis.

    Examples
    --------
    >>> x, y = torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0]])
    >>> torch.nn.functional.pairwise_distance(x, y)
    tensor([5.0000])
    """
    difference = ops.add(ops.subtract(x1, x2), eps)
    return ours(linalg.vector_norm(difference, ord=p, axis=-1, keepdims=keepdim))


def layer_norm(
    input: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Any:
    """Mean 0 and variance 1 along the last axes, then times `weight`, plus `bias`.

    Examples
    --------
    >>> torch.nn.functional.layer_norm(torch.tensor([[1.0, 3.0]]), (2,))
    tensor([[-1.0000,  1.0000]])
    """
    shape = tuple(normalized_shape)
    like = {"dtype": input.array.dtype, "device": input.device}
    n = len(input.array.shape) - len(shape)
    rows = ops.reshape(input, (*input.array.shape[:n], -1)) if len(shape) > 1 else input
    columns = rows.array.shape[-1]
    weight = ops.ones(columns, **like) if weight is None else ops.flatten(weight)
    bias = ops.zeros(columns, **like) if bias is None else ops.flatten(bias)
    return ours(ops.reshape(engine.layer_norm(rows, weight, bias, eps), input.array.shape))


FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{
        name: _door(name)
        for name in [
            "conv1d",
            "conv2d",
            "conv_transpose1d",
            "conv_transpose2d",
            "max_pool1d",
            "max_pool2d",
            "avg_pool1d",
            "avg_pool2d",
            "adaptive_avg_pool1d",
            "adaptive_avg_pool2d",
            "adaptive_max_pool2d",
            "adaptive_avg_pool3d",
            "adaptive_max_pool1d",
            "adaptive_max_pool3d",
            "conv3d",
            "conv_transpose3d",
            "max_pool3d",
            "avg_pool3d",
            "group_norm",
            "rms_norm",
        ]
    },
    **ACTIVATIONS,
    **LOSSES,
    **MORE,
    "upsample": MORE["interpolate"],
    "dropout1d": dropout2d,
    "dropout3d": dropout2d,
    **{
        f.__name__: f
        for f in (
            *(linear, dropout, dropout2d, normalize, cosine_similarity, pairwise_distance),
            *(layer_norm, pad, embedding, embedding_bag, one_hot),
            scaled_dot_product_attention,
        )
    },
}
globals().update(FUNCTIONS)
