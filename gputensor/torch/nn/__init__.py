"""``torch.nn``."""

from gputensor.torch.nn import (
    activations,
    functional,
    init,
    layers,
    lazy,
    losses,
    more_layers,
    transformer,
    utils,
)
from gputensor.torch.nn.containers import (
    ModuleDict,
    ModuleList,
    ParameterDict,
    ParameterList,
    Sequential,
)
from gputensor.torch.nn.module import Module
from gputensor.torch.tensor import Parameter

_MODULES = {
    **activations.MODULES,
    **losses.MODULES,
    **layers.MODULES,
    **lazy.MODULES,
    **more_layers.MODULES,
    **transformer.MODULES,
}
globals().update(_MODULES)

__all__ = [
    *_MODULES,
    "Module",
    "ModuleDict",
    "ModuleList",
    "Parameter",
    "ParameterDict",
    "ParameterList",
    "Sequential",
    "functional",
    "init",
    "utils",
]
