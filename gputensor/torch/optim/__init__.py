"""``torch.optim``: the engine's optimizers with PyTorch's arguments."""

import inspect
from typing import Any

from gputensor import optim as engine
from gputensor.torch.optim import lr_scheduler
from gputensor.torch.optim.lbfgs import LBFGS

__all__ = ["LBFGS", "Optimizer", "lr_scheduler"]

Optimizer = engine.Optimizer

# How PyTorch computes a step, which changes no result here.
_WITHOUT_MEANING = ("foreach", "fused", "capturable", "differentiable")


_ADAM = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8}


def _optimizer(name: str, defaults: dict[str, Any]) -> Any:
    """The engine's optimizer with PyTorch's order of arguments and defaults."""
    base: Any = getattr(engine, name)
    known = inspect.signature(base.__init__).parameters

    def start(self: Any, params: Any, *args: Any, **options: Any) -> None:
        given = dict(zip(defaults, args, strict=False)) | options
        for key in _WITHOUT_MEANING:
            given.pop(key, None)
        if unknown := given.keys() - defaults.keys():
            raise TypeError(f"{name}: {min(unknown)}= is unknown; allowed are {list(defaults)}")
        settings = defaults | given
        for key in list(settings):
            if key != "lr" and key not in known:
                if settings[key] != defaults[key]:
                    raise ValueError(f"{name}: {key}={settings[key]} is not there yet")
                del settings[key]
        base.__init__(self, params, **settings)

    return type(base)(
        name,
        (base,),
        {"__init__": start, "__doc__": base.__doc__, "__module__": "gputensor.torch.optim"},
    )


_DEFAULTS: dict[str, dict[str, Any]] = {
    "SGD": {
        "lr": 1e-3,
        "momentum": 0.0,
        "dampening": 0.0,
        "weight_decay": 0.0,
        "nesterov": False,
        "maximize": False,
    },
    "Adam": {**_ADAM, "weight_decay": 0.0, "amsgrad": False, "maximize": False},
    "AdamW": {**_ADAM, "weight_decay": 1e-2, "amsgrad": False, "maximize": False},
    "RMSprop": {
        "lr": 1e-2,
        "alpha": 0.99,
        "eps": 1e-8,
        "weight_decay": 0.0,
        "momentum": 0.0,
        "centered": False,
        "maximize": False,
    },
    "Adagrad": {
        "lr": 1e-2,
        "lr_decay": 0.0,
        "weight_decay": 0.0,
        "initial_accumulator_value": 0.0,
        "eps": 1e-10,
        "maximize": False,
    },
    "Adadelta": {"lr": 1.0, "rho": 0.9, "eps": 1e-6, "weight_decay": 0.0, "maximize": False},
    "NAdam": {
        **_ADAM,
        "lr": 2e-3,
        "weight_decay": 0.0,
        "momentum_decay": 4e-3,
        "decoupled_weight_decay": False,
        "maximize": False,
    },
}
_OPTIMIZERS = {name: _optimizer(name, defaults) for name, defaults in _DEFAULTS.items()}
globals().update(_OPTIMIZERS)
