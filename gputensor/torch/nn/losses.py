"""Losses, as functions and as modules, with PyTorch's arguments."""

import inspect
from collections.abc import Callable
from typing import Any

from gputensor import ops
from gputensor.autograd import Tensor as Engine
from gputensor.nn import functional as engine
from gputensor.torch.nn.module import Module
from gputensor.torch.tensor import ours

__all__ = ["FUNCTIONS", "MODULES"]


def _reduction(reduction: str, size_average: Any, reduce: Any) -> str:
    """The reduction, which old scripts give as two bools."""
    if size_average is None and reduce is None:
        return reduction
    if reduce is False:
        return "none"
    return "sum" if size_average is False else "mean"


def _loss(name: str, *options: str) -> Callable[..., Any]:
    """The engine's loss of this name, and its options, in PyTorch's order of arguments."""

    def function(
        input: Any,
        target: Any,
        *args: Any,
        size_average: Any = None,
        reduce: Any = None,
        reduction: str = "mean",
        **given: Any,
    ) -> Any:
        if len(args) > len(options):
            raise TypeError(f"{name}: it takes {2 + len(options)} arguments at most")
        given = dict(zip(options, args, strict=False)) | given
        chosen = _reduction(reduction, size_average, reduce)
        return ours(getattr(engine, name)(input, target, reduction=chosen, **given))

    function.__name__ = function.__qualname__ = name
    found = getattr(engine, name, None)
    function.__doc__ = found.__doc__ if found is not None else name
    return function


def _triple(name: str, option: str) -> Callable[..., Any]:
    """The engine's loss of three tensors."""
    inner = _loss(name, option)

    def function(first: Any, second: Any, third: Any, *args: Any, **given: Any) -> Any:
        given = dict(zip([option], args, strict=False)) | given
        chosen = _reduction(
            given.pop("reduction", "mean"),
            given.pop("size_average", None),
            given.pop("reduce", None),
        )
        return ours(getattr(engine, name)(first, second, third, reduction=chosen, **given))

    function.__name__ = function.__qualname__ = name
    function.__doc__ = inner.__doc__
    return function


def cross_entropy(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: Any = None,
    ignore_index: int = -100,
    reduce: Any = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Any:
    """Cross-entropy of ``softmax(input)`` along axis 1 against class numbers or probabilities.

    Parameters
    ----------
    input : Tensor of shape (n, classes, ...) or (classes,)
    target : Tensor of integers of shape (n, ...) or (), or of probabilities of the shape of `input`
    weight : Tensor of shape (classes,), optional
    ignore_index : int
        Class number that does not count.
    reduction : {"mean", "sum", "none"}
    label_smoothing : float

    Examples
    --------
    >>> logits, target = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 1])
    >>> torch.nn.functional.cross_entropy(logits, target)
    tensor(0.2201)
    """
    options: dict[str, Any] = {"label_smoothing": label_smoothing}
    if weight is not None:
        options["weight"] = weight
    if target.dtype.kind in "iu":
        options["ignore_index"] = ignore_index
    chosen = _reduction(reduction, size_average, reduce)
    return ours(engine.cross_entropy(input, target, reduction=chosen, **options))


def nll_loss(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: Any = None,
    ignore_index: int = -100,
    reduce: Any = None,
    reduction: str = "mean",
) -> Any:
    """Negative logarithm of each target's probability, of ``log_softmax``'s results.

    Examples
    --------
    >>> logp = torch.log(torch.tensor([[0.5, 0.5], [0.25, 0.75]]))
    >>> torch.nn.functional.nll_loss(logp, torch.tensor([0, 1]))
    tensor(0.4904)
    """
    chosen = _reduction(reduction, size_average, reduce)
    return ours(
        engine.nll_loss(input, target, weight=weight, ignore_index=ignore_index, reduction=chosen)
    )


def binary_cross_entropy(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Any:
    """``-t log(p) - (1 - t) log(1 - p)``, each logarithm at least -100.

    Examples
    --------
    >>> p, target = torch.tensor([0.9, 0.2]), torch.tensor([1.0, 0.0])
    >>> torch.nn.functional.binary_cross_entropy(p, target)
    tensor(0.1643)
    """
    options = {} if weight is None else {"weight": weight}
    chosen = _reduction(reduction, size_average, reduce)
    return ours(engine.binary_cross_entropy(input, target, reduction=chosen, **options))


def binary_cross_entropy_with_logits(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    pos_weight: Any = None,
) -> Any:
    """:func:`binary_cross_entropy` of ``sigmoid(input)``, without overflow.

    Examples
    --------
    >>> logits, target = torch.tensor([2.0, -1.0]), torch.tensor([1.0, 0.0])
    >>> torch.nn.functional.binary_cross_entropy_with_logits(logits, target)
    tensor(0.2201)
    """
    options = {
        k: v for k, v in {"weight": weight, "pos_weight": pos_weight}.items() if v is not None
    }
    chosen = _reduction(reduction, size_average, reduce)
    return ours(engine.binary_cross_entropy_with_logits(input, target, reduction=chosen, **options))


def kl_div(
    input: Any,
    target: Any,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Any:
    """``t * (log(t) - input)``, where `target` is t, or log(t) with `log_target`.

    ``"batchmean"`` is the sum over the length of the first axis.

    Examples
    --------
    >>> logp, target = torch.log(torch.tensor([0.5, 0.5])), torch.tensor([0.9, 0.1])
    >>> torch.nn.functional.kl_div(logp, target, reduction="sum")
    tensor(0.3681)
    """
    chosen = _reduction(reduction, size_average, reduce)
    whole = "sum" if chosen == "batchmean" else chosen
    if log_target:
        found = engine.kl_div(input, target, reduction=whole)
    else:
        some = ops.greater(target, 0)
        logarithm = ops.log(ops.where(some, target, 1.0))
        losses = ops.where(some, ops.multiply(target, ops.subtract(logarithm, input)), 0.0)
        found = {"mean": ops.mean, "sum": ops.sum, "none": lambda x: x}[whole](losses)
    return ours(ops.divide(found, len(input)) if chosen == "batchmean" else found)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{
        f.__name__: f
        for f in (
            *(cross_entropy, nll_loss, binary_cross_entropy, binary_cross_entropy_with_logits),
            kl_div,
        )
    },
    "mse_loss": _loss("mse_loss"),
    "l1_loss": _loss("l1_loss"),
    "huber_loss": _loss("huber_loss", "reduction", "delta"),
    "smooth_l1_loss": _loss("smooth_l1_loss", "reduction", "beta"),
    "soft_margin_loss": _loss("soft_margin_loss"),
    "hinge_embedding_loss": _loss("hinge_embedding_loss", "margin"),
    "multi_margin_loss": _loss("multi_margin_loss", "margin"),
    "poisson_nll_loss": _loss("poisson_nll_loss", "log_input"),
    "cosine_embedding_loss": _triple("cosine_embedding_loss", "margin"),
    "margin_ranking_loss": _triple("margin_ranking_loss", "margin"),
    "triplet_margin_loss": _triple("triplet_margin_loss", "margin"),
}


def _module(name: str, function: Callable[..., Any], arguments: str = "") -> type[Module]:
    """Module class of a loss, with its options, ``"margin=1.0"``, as attributes."""
    defaults: dict[str, Any] = {}
    for part in arguments.split():
        key, value = part.split("=")
        defaults[key] = {"None": None, "True": True, "False": False}.get(value, value)
        if value.lstrip("-").replace(".", "").isdecimal():
            defaults[key] = float(value) if "." in value else int(value)
    old = ("size_average", "reduce")

    def start(self: Any, *args: Any, reduction: str = "mean", **options: Any) -> None:
        Module.__init__(self)
        given = dict(zip(defaults, args, strict=False)) | options
        average, reduce = (given.pop(key, None) for key in old)
        if unknown := given.keys() - defaults.keys():
            raise TypeError(f"{name}: {min(unknown)}= is unknown")
        for key, value in (defaults | given).items():
            if isinstance(value, Engine):
                self.register_buffer(key, value)
            else:
                setattr(self, key, value)
        self.reduction = _reduction(reduction, average, reduce)

    def forward(self: Any, *inputs: Any) -> Any:
        return function(
            *inputs, reduction=self.reduction, **{k: getattr(self, k) for k in defaults}
        )

    members = {
        "__init__": start,
        "forward": forward,
        "__doc__": inspect.getdoc(function),
        "__module__": "gputensor.torch.nn",
    }
    return type(name, (Module,), members)


MODULES: dict[str, type[Module]] = {
    name: _module(name, FUNCTIONS[function], arguments)
    for name, function, arguments in (
        ("CrossEntropyLoss", "cross_entropy", "weight=None ignore_index=-100 label_smoothing=0.0"),
        ("NLLLoss", "nll_loss", "weight=None ignore_index=-100"),
        ("BCELoss", "binary_cross_entropy", "weight=None"),
        (
            "BCEWithLogitsLoss",
            "binary_cross_entropy_with_logits",
            "weight=None pos_weight=None",
        ),
        ("KLDivLoss", "kl_div", "log_target=False"),
        ("MSELoss", "mse_loss", ""),
        ("L1Loss", "l1_loss", ""),
        ("HuberLoss", "huber_loss", "delta=1.0"),
        ("SmoothL1Loss", "smooth_l1_loss", "beta=1.0"),
        ("SoftMarginLoss", "soft_margin_loss", ""),
        ("HingeEmbeddingLoss", "hinge_embedding_loss", "margin=1.0"),
        ("MultiMarginLoss", "multi_margin_loss", "margin=1.0"),
        ("PoissonNLLLoss", "poisson_nll_loss", "log_input=True"),
        ("CosineEmbeddingLoss", "cosine_embedding_loss", "margin=0.0"),
        ("MarginRankingLoss", "margin_ranking_loss", "margin=0.0"),
        ("TripletMarginLoss", "triplet_margin_loss", "margin=1.0"),
    )
}
