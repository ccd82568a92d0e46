"""Optimizers with Keras's names, defaults and formulas; ``compile`` binds them to parameters.

They are the rules of :mod:`gputensor.optim`, in Keras's form: velocity takes in the learning rate,
epsilon is the paper's "epsilon hat" or stands below the root, weight decay is decoupled, and steps
are counted for all parameters together.
"""

import warnings
from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np

from gputensor import optim
from gputensor.autograd import Tensor, wrap
from gputensor.keras import schedules
from gputensor.keras.naming import lacking
from gputensor.optim import keras_form
from gputensor.optim.groups import Group, checked_rate, right_name
from gputensor.shown import call_text
from gputensor.watched import Watched

__all__ = [
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Ftrl",
    "Lamb",
    "Lion",
    "Muon",
    "Nadam",
    "Optimizer",
    "RMSprop",
    "deserialize",
    "get",
    "schedules",
    "serialize",
]

_COMMON: dict[str, Any] = {
    "weight_decay": None,
    "clipnorm": None,
    "clipvalue": None,
    "global_clipnorm": None,
    "use_ema": False,
    "ema_momentum": 0.99,
    "ema_overwrite_frequency": None,
    "loss_scale_factor": None,
    "gradient_accumulation_steps": None,
}


class Number(float):
    """A setting of an optimizer, as a number that may be assigned to."""

    _owner: "Optimizer"
    _name: str

    def assign(self, value: Any) -> None:
        """Set it."""
        setattr(self._owner, self._name, value)

    def numpy(self) -> "np.floating[Any]":
        """The number, of NumPy's."""
        return np.float32(self)


class Optimizer(Watched):
    """Base class: settings under Keras's names, which may be set at any time.

    Parameters
    ----------
    learning_rate : float or Schedule
        See :mod:`gputensor.keras.optimizers.schedules`; ``lr`` in older scripts.
    weight_decay : float, optional
        Times learning rate and parameter, taken off it before the step.
    clipnorm, clipvalue, global_clipnorm : float, optional
        Largest norm of each gradient, largest element, largest norm of all together.
    use_ema : bool
        Whether an exponential moving average of the parameters is kept.
    ema_momentum : float
    ema_overwrite_frequency : int, optional
        After that many steps the parameters become the average.
    gradient_accumulation_steps : int, optional
        Parameters move at each so many steps, by the mean of the gradients.
    name : str, optional

    Attributes
    ----------
    learning_rate : float
        Of the next step.
    iterations : int
        Steps taken.

    Examples
    --------
    >>> optimizer = keras.optimizers.SGD(0.1, clipnorm=1.0)
    >>> optimizer.clipnorm
    1.0
    """

    _engine_class: ClassVar[type[keras_form.KerasForm]]
    _engine: keras_form.KerasForm | None
    _group: Group
    _steps: int
    name: str
    _defaults: ClassVar[dict[str, Any]] = {"learning_rate": 0.001}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kind = type(self).__name__
        names = [*self._defaults, *_COMMON]
        if len(args) > len(names):
            raise TypeError(f"{kind} takes at most {len(names)} arguments, got {len(args)}")
        given = dict(zip(names, args, strict=False))
        name = kwargs.pop("name", None)
        if "lr" in kwargs:
            if "learning_rate" in kwargs or "learning_rate" in given:
                raise TypeError(f"{kind}: lr and learning_rate are the same; give one of them")
            kwargs["learning_rate"] = kwargs.pop("lr")
        if kwargs.pop("decay", None) is not None:
            warnings.warn(
                f"{kind}: decay is left out, as by Keras 3; give learning_rate a schedule, such as "
                "InverseTimeDecay",
                UserWarning,
                stacklevel=3,
            )
        for key in kwargs:
            if key not in names or key in given:
                meant = right_name(key, names)
                hint = f"; the name is {meant}" if meant and key not in names else ""
                raise TypeError(f"{kind}: got an unexpected keyword argument {key!r}{hint}")
        settings = _COMMON | self._defaults | given | kwargs
        rate = settings.pop("learning_rate")
        checked_rate("learning_rate", rate)
        clips = [k for k in ("clipnorm", "clipvalue", "global_clipnorm") if settings[k] is not None]
        if len(clips) > 1:
            raise ValueError(f"{kind}: only one of {' and '.join(clips)} may be given")
        if settings.get("nesterov") and not settings.get("momentum"):
            settings["nesterov"] = False  # which is the same
        members = vars(self)
        members["_group"] = Group(self._engine_class._settings, rate, settings)
        members["_engine"] = None
        members["_steps"] = 0  # to begin with, once it is bound
        members["name"] = name or kind

    def __repr__(self) -> str:
        config = {name: value for name, value in self.get_config().items() if name != "name"}
        plain = {k: v for k, v in config.items() if v is not None and v != _COMMON.get(k)}
        return call_text(type(self).__name__, plain)

    @property
    def engine(self) -> keras_form.KerasForm:
        """The optimizer of the parameters, once there are some."""
        if self._engine is None:
            raise AttributeError("the optimizer has no parameters yet; call compile or fit")
        return self._engine

    def bind(self, parameters: Iterable[Tensor]) -> keras_form.KerasForm:
        """The optimizer of these parameters; those that it has not had yet join it."""
        if self._engine is None:
            made = object.__new__(self._engine_class)
            made._begin({name: self._group[name] for name in self._group.names()})
            self._engine = made
        engine = self._engine
        engine.join(self._group, list(parameters))
        if self._steps:
            engine.set_steps(self._steps)
            self._steps = 0
        return engine

    build = bind

    # Settings

    def __getattr__(self, name: str) -> Any:
        group = vars(self).get("_group")
        if group is not None and name in group.names() and name != "lr":
            return self._as_number(name, getattr(group, name))
        names = ["learning_rate", "iterations", *(group.names() if group is not None else ())]
        meant = right_name(name, names) if not name.startswith("_") else ""
        raise AttributeError(
            f"{type(self).__name__} has no attribute {name}"
            + (f"; the name is {meant}" if meant else "")
        )

    def __setattr__(self, name: str, value: Any) -> None:
        group = vars(self)["_group"]
        if name in group.names() and name != "lr":
            setattr(group, name, value)
            return
        ours = type(self).__module__.partition(".")[0] == "gputensor"
        if not name.startswith("_") and ours and not hasattr(self, name):
            names = ["learning_rate", "iterations", *group.names()[1:]]
            meant = right_name(name, names)
            raise AttributeError(
                f"{type(self).__name__} has no attribute {name}; "
                + (f"the name is {meant}" if meant else f"it has {', '.join(names)}")
            )
        super().__setattr__(name, value)

    def _as_number(self, name: str, value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, float):
            return value
        number = Number(value)
        number._owner, number._name = self, name
        return number

    @property
    def learning_rate(self) -> Any:
        """Learning rate of the next step."""
        rate = self._group.lr
        if callable(rate):
            steps = np.array(float(self.iterations))
            rate = float(rate(wrap(steps)).item())
        return self._as_number("learning_rate", rate)

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        self._group.lr = value

    @property
    def lr(self) -> Any:
        """``learning_rate``, as older scripts write it."""
        return self.learning_rate

    @lr.setter
    def lr(self, value: Any) -> None:
        self.learning_rate = value

    @property
    def iterations(self) -> int:
        """Steps taken; may be set."""
        return self._steps if self._engine is None else self._engine.steps

    @iterations.setter
    def iterations(self, value: int) -> None:
        if self._engine is None:
            self._steps = int(value)
        else:
            self._engine.set_steps(int(value))

    @property
    def variables(self) -> list[Tensor]:
        """State arrays."""
        parts = [] if self._engine is None else self._engine._parts
        return [t for part in parts for t in part.states.values()]

    # Steps

    def scale_loss(self, loss: Any) -> Any:
        """`loss` times `loss_scale_factor`, by which gradients are divided before a step."""
        factor = self._group.loss_scale_factor
        return loss * factor if factor else loss

    def step(self) -> None:
        """Move the parameters by their gradients."""
        self.engine.step()

    def zero_grad(self) -> None:
        """Forget the gradients."""
        self.engine.zero_grad()

    def apply(
        self, grads: Iterable[Any], trainable_variables: Iterable[Tensor] | None = None
    ) -> None:
        """Move parameters by these gradients.

        Parameters
        ----------
        grads : iterable of Tensor or None
        trainable_variables : iterable of Tensor, optional
            Their parameters; by default all that the optimizer has.
        """
        parameters = (
            [p for g in self.engine.param_groups for p in g.params]
            if trainable_variables is None
            else list(trainable_variables)
        )
        engine = self.bind(parameters)
        engine.zero_grad()
        for p, g in zip(parameters, grads, strict=True):
            p.grad = g
        engine.step()

    def apply_gradients(self, grads_and_vars: Iterable[tuple[Any, Tensor]]) -> int:
        """Move parameters by gradients, given in pairs of both; the number of steps taken."""
        grads, parameters = zip(*grads_and_vars, strict=True)
        self.apply(grads, parameters)
        return self.iterations

    def finalize_variable_values(self, parameters: Any = None) -> None:
        """Put the moving averages in the place of the parameters, where they are kept."""
        if self._engine is not None and self._group.use_ema:
            self._engine.take_averages()

    def state_dict(self) -> dict[str, Any]:
        """State of the bound optimizer."""
        return self.engine.state_dict()

    def load_state_dict(self, state: Any) -> None:
        """Copy state back."""
        self.engine.load_state_dict(state)

    def live_state(self) -> dict[str, Any]:
        """What a checkpoint has of the bound optimizer."""
        return self.engine.live_state()

    def load_live_state(self, state: Any) -> None:
        """Copy back what :meth:`live_state` gave."""
        self.engine.load_live_state(state)

    # Configuration

    def get_config(self) -> dict[str, Any]:
        """Settings by name."""
        rate: Any = self._group.lr
        config = {name: self._group[name] for name in self._group.names() if name != "lr"}
        if hasattr(rate, "get_config"):
            rate = schedules.serialize(rate)
        return {"name": self.name, "learning_rate": rate, **config}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Optimizer":
        """An optimizer of these settings."""
        config = dict(config)
        rate = config.get("learning_rate")
        if isinstance(rate, dict):
            config["learning_rate"] = schedules.deserialize(rate)
        return cls(**config)

    def __getstate__(self) -> dict[str, Any]:
        group = self._group
        return {
            "name": self.name,
            "settings": {name: group[name] for name in group.names()},
            "parameters": list(group.params),
            "state": None if self._engine is None else self._engine.state_dict(),
            "steps": self._steps,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        settings = dict(state["settings"])
        group = Group(self._engine_class._settings, settings.pop("lr"), settings)
        vars(self).update(name=state["name"], _group=group, _engine=None, _steps=state["steps"])
        if state["parameters"]:
            engine = self.bind(state["parameters"])
            engine.load_state_dict({k: v for k, v in state["state"].items() if k != "random"})


class SGD(Optimizer):
    """Gradient descent, with momentum where asked for: ``v = m v - lr g; w += v``.

    Examples
    --------
    >>> keras.optimizers.SGD(0.1, momentum=0.9)
    SGD(learning_rate=0.1, momentum=0.9, nesterov=False)
    """

    _engine_class = keras_form.SGD
    _defaults: ClassVar = {"learning_rate": 0.01, "momentum": 0.0, "nesterov": False}


class RMSprop(Optimizer):
    """RMSprop (Tieleman & Hinton 2012); epsilon stands below the root.

    Examples
    --------
    >>> keras.optimizers.RMSprop(0.01).rho
    0.9
    """

    _engine_class = keras_form.RMSprop
    _defaults: ClassVar = {
        "learning_rate": 0.001,
        "rho": 0.9,
        "momentum": 0.0,
        "epsilon": 1e-7,
        "centered": False,
    }


class Adam(Optimizer):
    """Adam (Kingma & Ba 2015); `epsilon` is the paper's epsilon hat.

    Examples
    --------
    >>> optimizer = keras.optimizers.Adam(0.01)
    >>> optimizer.learning_rate = 0.001
    >>> optimizer.beta_1
    0.9
    """

    _engine_class = keras_form.Adam
    _defaults: ClassVar = {
        "learning_rate": 0.001,
        "beta_1": 0.9,
        "beta_2": 0.999,
        "epsilon": 1e-7,
        "amsgrad": False,
    }


class AdamW(Optimizer):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019), of 0.004 by default.

    Examples
    --------
    >>> keras.optimizers.AdamW(0.01).weight_decay
    0.004
    """

    _engine_class = keras_form.Adam
    _defaults: ClassVar = {
        "learning_rate": 0.001,
        "weight_decay": 0.004,
        "beta_1": 0.9,
        "beta_2": 0.999,
        "epsilon": 1e-7,
        "amsgrad": False,
    }


class Adamax(Optimizer):
    """Adam by the largest gradient (Kingma & Ba 2015, section 7.1).

    Examples
    --------
    >>> keras.optimizers.Adamax(0.01).epsilon
    1e-07
    """

    _engine_class = keras_form.Adamax
    _defaults: ClassVar = {
        "learning_rate": 0.001,
        "beta_1": 0.9,
        "beta_2": 0.999,
        "epsilon": 1e-7,
    }


class Nadam(Optimizer):
    """Adam with Nesterov's momentum (Dozat 2016).

    Examples
    --------
    >>> keras.optimizers.Nadam(0.01).beta_2
    0.999
    """

    _engine_class = keras_form.Nadam
    _defaults: ClassVar = {
        "learning_rate": 0.001,
        "beta_1": 0.9,
        "beta_2": 0.999,
        "epsilon": 1e-7,
    }


class Adagrad(Optimizer):
    """Adagrad (Duchi, Hazan & Singer 2011); epsilon stands below the root.

    Examples
    --------
    >>> keras.optimizers.Adagrad(0.1)
    Adagrad(learning_rate=0.1, initial_accumulator_value=0.1, epsilon=1e-07)
    """

    _engine_class = keras_form.Adagrad
    _defaults: ClassVar = {
        "learning_rate": 0.001,
        "initial_accumulator_value": 0.1,
        "epsilon": 1e-7,
    }


class Adadelta(Optimizer):
    """Adadelta (Zeiler 2012).

    Examples
    --------
    >>> keras.optimizers.Adadelta(0.1)
    Adadelta(learning_rate=0.1, rho=0.95, epsilon=1e-07)
    """

    _engine_class = keras_form.Adadelta
    _defaults: ClassVar = {"learning_rate": 0.001, "rho": 0.95, "epsilon": 1e-7}


class Ftrl(Optimizer):
    """Follow the regularized leader (McMahan et al. 2013).

    Examples
    --------
    >>> keras.optimizers.Ftrl(0.01).name
    'Ftrl'
    """

    _engine_class = keras_form.Ftrl
    _defaults: ClassVar = {
        "learning_rate": 0.001,
        "learning_rate_power": -0.5,
        "initial_accumulator_value": 0.1,
        "l1_regularization_strength": 0.0,
        "l2_regularization_strength": 0.0,
        "l2_shrinkage_regularization_strength": 0.0,
        "beta": 0.0,
    }


class Lamb(Optimizer):
    """Adam's step in the length of each parameter (You et al. 2020).

    Examples
    --------
    >>> keras.optimizers.Lamb(0.01).name
    'Lamb'
    """

    _engine_class = keras_form.Lamb
    _defaults: ClassVar = {
        "learning_rate": 0.001,
        "beta_1": 0.9,
        "beta_2": 0.999,
        "epsilon": 1e-7,
    }


class Adafactor(Optimizer):
    """Means of squares by rows and columns alone (Shazeer & Stern 2018).

    The means are kept at all places that they are of: its state is as large as Adam's.
    `relative_step` changes nothing, as in Keras, where the step is bounded by ``1 / sqrt(t)``
    anyway.

    Examples
    --------
    >>> keras.optimizers.Adafactor(0.01).name
    'Adafactor'
    """

    _engine_class = keras_form.Adafactor
    _defaults: ClassVar = {
        "learning_rate": 0.001,
        "beta_2_decay": -0.8,
        "epsilon_1": 1e-30,
        "epsilon_2": 1e-3,
        "clip_threshold": 1.0,
        "relative_step": True,
    }


class Lion(Optimizer):
    """Lion (Chen et al. 2023).

    Examples
    --------
    >>> keras.optimizers.Lion(0.01).beta_1
    0.9
    """

    _engine_class = keras_form.Lion
    _defaults: ClassVar = {"learning_rate": 0.001, "beta_1": 0.9, "beta_2": 0.99}


class Muon(Optimizer):
    """Momentum made orthogonal (Jordan et al. 2024) for matrices, AdamW for all else.

    Embeddings are matrices like others here; give them to another optimizer where that matters.

    Examples
    --------
    >>> keras.optimizers.Muon(0.01).name
    'Muon'
    """

    _engine_class = keras_form.Muon
    _defaults: ClassVar = {
        "learning_rate": 0.001,
        "adam_beta_1": 0.9,
        "adam_beta_2": 0.999,
        "adam_weight_decay": 0.004,
        "epsilon": 1e-7,
        "weight_decay": 0.004,
        "muon_a": 3.4445,
        "muon_b": -4.775,
        "muon_c": 2.0315,
        "adam_lr_ratio": 1.0,
        "momentum": 0.95,
        "ns_steps": 5,
        "nesterov": True,
        "rms_rate": 0.2,
    }


_NAMES: dict[str, type[Optimizer]] = {
    kind.__name__.lower(): kind
    for kind in (
        *(SGD, RMSprop, Adam, AdamW, Adamax, Nadam, Adagrad, Adadelta, Adafactor, Ftrl, Lamb),
        *(Lion, Muon),
    )
}


def get(optimizer: Any) -> Optimizer:
    """The optimizer of a name, of a class, of a configuration, or the one given.

    Examples
    --------
    >>> keras.optimizers.get("sgd").name
    'SGD'
    """
    if isinstance(optimizer, type) and issubclass(optimizer, Optimizer):
        return optimizer()
    if isinstance(optimizer, Optimizer):
        return optimizer
    if isinstance(optimizer, str) and optimizer.lower() in _NAMES:
        return _NAMES[optimizer.lower()]()
    if isinstance(optimizer, dict) and str(optimizer.get("class_name")).lower() in _NAMES:
        return _NAMES[optimizer["class_name"].lower()].from_config(optimizer["config"])
    kind = optimizer if isinstance(optimizer, type) else type(optimizer)
    if issubclass(kind, optim.Optimizer):
        raise TypeError(
            f"optimizer is gputensor.optim.{kind.__name__}, which is for loops of one's own; write "
            f"optimizer=gputensor.keras.optimizers.{kind.__name__}(...)"
        )
    raise ValueError(
        f"optimizer {optimizer!r} is unknown; allowed are {', '.join(map(repr, _NAMES))} and the "
        "classes of gputensor.keras.optimizers"
    )


deserialize = get


def serialize(optimizer: Optimizer) -> dict[str, Any]:
    """Class and settings, as :func:`get` takes them.

    Examples
    --------
    >>> keras.optimizers.serialize(keras.optimizers.SGD(0.5))["class_name"]
    'SGD'
    """
    return {
        "module": "keras.optimizers",
        "class_name": type(optimizer).__name__,
        "config": optimizer.get_config(),
        "registered_name": None,
    }


__getattr__ = lacking(
    __name__,
    {
        "LossScaleOptimizer": "loss_scale_factor= of each optimizer, or gputensor.optim.GradScaler "
        "in a loop of your own",
        "MultiOptimizer": "one optimizer for each part of the parameters, in a loop of your own",
        "OptimizerMap": "one optimizer for each part of the parameters, in a loop of your own",
        "ScheduleFreeAdamW": "AdamW with a schedule",
        "legacy": "the optimizer itself, which takes lr= and decay by a schedule",
    },
)
