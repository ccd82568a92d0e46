"""Activations and losses as modules: a function with its options kept."""

from collections.abc import Callable
from inspect import Parameter, Signature
from typing import Any

from gputensor.autograd import Tensor
from gputensor.backend import Device
from gputensor.nn import functional
from gputensor.nn.modules import Module
from gputensor.ops.creation import full, parameter
from gputensor.ops.nn import log_softmax, softmax

__all__ = [
    "CELU",
    "ELU",
    "GELU",
    "GLU",
    "SELU",
    "BCELoss",
    "BCEWithLogitsLoss",
    "CosineEmbeddingLoss",
    "CrossEntropyLoss",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "HingeEmbeddingLoss",
    "HuberLoss",
    "Identity",
    "KLDivLoss",
    "L1Loss",
    "LeakyReLU",
    "LogSigmoid",
    "LogSoftmax",
    "MSELoss",
    "MarginRankingLoss",
    "Mish",
    "MultiMarginLoss",
    "NLLLoss",
    "PReLU",
    "PoissonNLLLoss",
    "ReLU",
    "ReLU6",
    "SiLU",
    "Sigmoid",
    "SmoothL1Loss",
    "SoftMarginLoss",
    "Softmax",
    "Softplus",
    "Softsign",
    "Tanh",
    "Tanhshrink",
    "Threshold",
    "TripletMarginLoss",
]


class Identity(Module):
    """What comes goes.

    Examples
    --------
    >>> gt.nn.Identity()(gt.tensor([1.0]))
    tensor([1.], dtype=float32)
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        """`x` itself."""
        return x


def _made(name: str, members: dict[str, Any], options: dict[str, Any]) -> type[Module]:
    parameters = [
        Parameter(key, Parameter.POSITIONAL_OR_KEYWORD, default=value)
        for key, value in options.items()
    ]
    kind: Any = type(Module)
    found: type[Module] = kind(name, (Module,), members | {"__signature__": Signature(parameters)})
    return found


def _activation(
    name: str, function: Callable[..., Tensor], called: str = "", **defaults: Any
) -> type[Module]:
    """Module around a function of a tensor and of options, which are its attributes."""
    called = called or function.__name__

    def __init__(self: Any, *args: Any, inplace: bool = False, **kwargs: Any) -> None:
        Module.__init__(self)
        if len(args) > len(defaults) or not kwargs.keys() <= defaults.keys():
            allowed = ", ".join(defaults) or "none"
            raise TypeError(f"{name}: got {args} {kwargs}; its parameters are: {allowed}")
        given = dict(zip(defaults, args, strict=False)) | kwargs
        for key, value in (defaults | given).items():
            setattr(self, key, value)

    def forward(self: Any, x: Tensor) -> Tensor:
        return function(x, *(getattr(self, key) for key in defaults))

    about = f"""See :func:`gputensor.nn.functional.{called}`.

    Examples
    --------
    >>> gt.nn.{name}()(gt.tensor([-1.0, 0.5, 2.0, 3.0])).shape
    ({2 if name == "GLU" else 4},)
    """
    members = {"__init__": __init__, "forward": forward, "__doc__": about, "__module__": __name__}
    return _made(name, members, defaults)


ReLU = _activation("ReLU", functional.relu)
ReLU6 = _activation("ReLU6", functional.relu6)
Sigmoid = _activation("Sigmoid", functional.sigmoid)
Tanh = _activation("Tanh", functional.tanh)
SiLU = _activation("SiLU", functional.silu)
SELU = _activation("SELU", functional.selu)
Mish = _activation("Mish", functional.mish)
Hardsigmoid = _activation("Hardsigmoid", functional.hardsigmoid)
Hardswish = _activation("Hardswish", functional.hardswish)
LogSigmoid = _activation("LogSigmoid", functional.log_sigmoid)
Softsign = _activation("Softsign", functional.softsign)
Tanhshrink = _activation("Tanhshrink", functional.tanhshrink)
LeakyReLU = _activation("LeakyReLU", functional.leaky_relu, negative_slope=0.01)
ELU = _activation("ELU", functional.elu, alpha=1.0)
CELU = _activation("CELU", functional.celu, alpha=1.0)
GELU = _activation("GELU", functional.gelu, approximate="none")
GLU = _activation("GLU", functional.glu, dim=-1)
Hardtanh = _activation("Hardtanh", functional.hardtanh, min_val=-1.0, max_val=1.0)
Threshold = _activation("Threshold", functional.threshold, threshold=0.0, value=0.0)
Softmax = _activation(
    "Softmax", lambda x, dim: softmax(x, -1 if dim is None else dim), "softmax", dim=None
)
LogSoftmax = _activation(
    "LogSoftmax",
    lambda x, dim: log_softmax(x, -1 if dim is None else dim),
    "log_softmax",
    dim=None,
)


def _softplus(x: Tensor, beta: float, threshold: float) -> Tensor:
    return functional.softplus(x) if beta == 1 else functional.softplus(beta * x) / beta


Softplus = _activation("Softplus", _softplus, "softplus", beta=1.0, threshold=20.0)


class PReLU(Module):
    """Leaky ReLU whose slope is a parameter: see :func:`gputensor.nn.functional.prelu`.

    Parameters
    ----------
    num_parameters : int
        1, or one for each channel, the second axis.
    init : float
    dtype : floating point dtype, optional
    device : str or Device, optional

    Examples
    --------
    >>> gt.nn.PReLU()(gt.tensor([-1.0, 2.0])).detach()
    tensor([-0.25,  2.  ], dtype=float32)
    """

    def __init__(
        self,
        num_parameters: int = 1,
        init: float = 0.25,
        *,
        dtype: Any = None,
        device: str | Device | None = None,
    ) -> None:
        super().__init__()
        self.weight = parameter(full(num_parameters, init, dtype=dtype, device=device).array)

    def forward(self, x: Tensor) -> Tensor:
        """Of the shape of `x`."""
        return functional.prelu(x, self.weight)


def _loss(name: str, function: Callable[..., Tensor], **defaults: Any) -> type[Module]:
    """Module around a loss; a weight is an attribute, too."""
    options = {**defaults, "reduction": "mean"}

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        Module.__init__(self)
        if not kwargs.keys() <= options.keys() or len(args) > len(options):
            raise TypeError(
                f"{name}: got {args} {kwargs}; its parameters are: {', '.join(options)}"
            )
        if kwargs.get("reduction", "mean") not in ("mean", "sum", "none", "batchmean"):
            raise ValueError(
                f"{name}: reduction {kwargs['reduction']!r} is unknown; allowed are 'mean', 'sum' "
                "and 'none'"
            )
        for key, value in (options | dict(zip(options, args, strict=False)) | kwargs).items():
            setattr(self, key, value)

    def forward(self: Any, *operands: Tensor) -> Tensor:
        return function(*operands, **{key: getattr(self, key) for key in options})

    about = f"""See :func:`gputensor.nn.functional.{function.__name__}`.

    Examples
    --------
    >>> gt.nn.{name}(reduction="sum")
    {name}(reduction='sum')
    """
    members = {"__init__": __init__, "forward": forward, "__doc__": about, "__module__": __name__}
    return _made(name, members, options)


CrossEntropyLoss = _loss(
    "CrossEntropyLoss",
    functional.cross_entropy,
    weight=None,
    ignore_index=None,
    label_smoothing=0.0,
)
NLLLoss = _loss("NLLLoss", functional.nll_loss, weight=None, ignore_index=-100)
MSELoss = _loss("MSELoss", functional.mse_loss)
L1Loss = _loss("L1Loss", functional.l1_loss)
SmoothL1Loss = _loss("SmoothL1Loss", functional.smooth_l1_loss, beta=1.0)
HuberLoss = _loss("HuberLoss", functional.huber_loss, delta=1.0)
BCELoss = _loss("BCELoss", functional.binary_cross_entropy, weight=None)
BCEWithLogitsLoss = _loss(
    "BCEWithLogitsLoss",
    functional.binary_cross_entropy_with_logits,
    weight=None,
    pos_weight=None,
)
CosineEmbeddingLoss = _loss("CosineEmbeddingLoss", functional.cosine_embedding_loss, margin=0.0)
HingeEmbeddingLoss = _loss("HingeEmbeddingLoss", functional.hinge_embedding_loss, margin=1.0)
MarginRankingLoss = _loss("MarginRankingLoss", functional.margin_ranking_loss, margin=0.0)
MultiMarginLoss = _loss("MultiMarginLoss", functional.multi_margin_loss, margin=1.0)
SoftMarginLoss = _loss("SoftMarginLoss", functional.soft_margin_loss)
TripletMarginLoss = _loss("TripletMarginLoss", functional.triplet_margin_loss, margin=1.0)
PoissonNLLLoss = _loss("PoissonNLLLoss", functional.poisson_nll_loss, log_input=True, eps=1e-8)
KLDivLoss = _loss("KLDivLoss", functional.kl_div, log_target=False)
