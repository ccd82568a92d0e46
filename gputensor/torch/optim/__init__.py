"""``torch.optim``: the engine's optimizers with PyTorch's arguments."""

import itertools
from typing import Any

from gputensor import optim as engine
from gputensor.torch.optim import lr_scheduler
from gputensor.torch.optim.lbfgs import LBFGS

__all__ = ["LBFGS", "Optimizer", "lr_scheduler"]

Optimizer = engine.Optimizer

# How PyTorch computes a step, which changes no result.
_WITHOUT_MEANING = ("foreach", "fused", "capturable")


class _State(dict[str, Any]):
    """An optimizer's state, which PyTorch's ``["param_groups"]`` may be asked for, too."""

    def __init__(self, values: dict[str, Any], groups: Any) -> None:
        super().__init__(values)
        number = itertools.count()
        self._groups = [
            {name: group[name] for name in group.names()}
            | {"params": [next(number) for _ in group.params]}
            for group in groups
        ]

    def __missing__(self, key: str) -> Any:
        if key == "param_groups":
            return self._groups
        if key == "state":
            raise KeyError("state: arrays are under names such as '0.velocity' here")
        raise KeyError(key)


_ADAM = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8}


def _optimizer(name: str, defaults: dict[str, Any]) -> Any:
    """The engine's optimizer with PyTorch's order of arguments and defaults."""
    base: Any = getattr(engine, name)

    def start(self: Any, params: Any, *args: Any, **options: Any) -> None:
        given = dict(zip(defaults, args, strict=False)) | options
        for key in _WITHOUT_MEANING:
            given.pop(key, None)
        if given.pop("differentiable", False):
            raise ValueError(
                f"{name}: differentiable=True is not there: no gradient passes through a step; "
                "write the update as operations on tensors instead"
            )
        if unknown := given.keys() - defaults.keys():
            raise TypeError(f"{name}: {min(unknown)}= is unknown; allowed are {list(defaults)}")
        base.__init__(self, params, **(defaults | given))

    def state_dict(self: Any) -> dict[str, Any]:
        return _State(base.state_dict(self), self.param_groups)

    state_dict.__doc__ = base.state_dict.__doc__
    members = {"__init__": start, "state_dict": state_dict, "__doc__": base.__doc__}
    members["__module__"] = "gputensor.torch.optim"
    return type(base)(name, (base,), members)


_DEFAULTS: dict[str, dict[str, Any]] = {
    "SGD": {
        "lr": 1e-3,
        "momentum": 0.0,
        "dampening": 0.0,
        "weight_decay": 0.0,
        "nesterov": False,
        "maximize": False,
    },
    "Adam": {
        **_ADAM,
        "weight_decay": 0.0,
        "amsgrad": False,
        "maximize": False,
        "decoupled_weight_decay": False,
    },
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
    "Adamax": {**_ADAM, "lr": 2e-3, "weight_decay": 0.0, "maximize": False},
    "RAdam": {
        **_ADAM,
        "weight_decay": 0.0,
        "decoupled_weight_decay": False,
        "maximize": False,
    },
    "Rprop": {"lr": 1e-2, "etas": (0.5, 1.2), "step_sizes": (1e-6, 50), "maximize": False},
    "ASGD": {
        "lr": 1e-2,
        "lambd": 1e-4,
        "alpha": 0.75,
        "t0": 1e6,
        "weight_decay": 0.0,
        "maximize": False,
    },
    "Muon": {
        "lr": 1e-3,
        "weight_decay": 0.1,
        "momentum": 0.95,
        "nesterov": True,
        "ns_coefficients": (3.4445, -4.775, 2.0315),
        "eps": 1e-7,
        "ns_steps": 5,
        "adjust_lr_fn": None,
    },
}
_OPTIMIZERS = {name: _optimizer(name, defaults) for name, defaults in _DEFAULTS.items()}
globals().update(_OPTIMIZERS)
