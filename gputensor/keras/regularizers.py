"""Penalties on weights, which are added to the loss."""

from typing import Any

from gputensor.autograd import Tensor
from gputensor.errors import ShapeError
from gputensor.nn.functional import normalize
from gputensor.ops.creation import eye
from gputensor.ops.elementwise import abs as absolute
from gputensor.ops.elementwise import add, multiply, square
from gputensor.ops.manipulation import permute_dims
from gputensor.ops.statistical import sum as total
from gputensor.shown import Shown

__all__ = [
    "L1",
    "L1L2",
    "L2",
    "OrthogonalRegularizer",
    "Regularizer",
    "deserialize",
    "get",
    "l1",
    "l1_l2",
    "l2",
    "orthogonal_regularizer",
    "serialize",
]


class Regularizer(Shown):
    """Base class: called with a weight it gives a penalty, a tensor of shape ().

    Examples
    --------
    >>> isinstance(keras.regularizers.L2(), keras.regularizers.Regularizer)
    True
    """

    def __call__(self, x: Tensor) -> Tensor:
        """The penalty."""
        raise NotImplementedError(f"{type(self).__name__} defines no __call__(self, x)")

    def get_config(self) -> dict[str, Any]:
        """What the constructor takes."""
        return dict(vars(self))


class L1L2(Regularizer):
    """``l1 * sum(|x|) + l2 * sum(x**2)``.

    Examples
    --------
    >>> keras.regularizers.L1L2(0.1, 0.1)(gt.tensor([1.0, -2.0]))
    tensor(0.8, dtype=float32)
    """

    def __init__(self, l1: float = 0.0, l2: float = 0.0) -> None:
        for name, value in (("l1", l1), ("l2", l2)):
            if not isinstance(value, (int, float)) or not value >= 0:
                raise ValueError(
                    f"{type(self).__name__}: {name} is {value!r}; it must be 0 or more"
                )
        self.l1 = float(l1)
        self.l2 = float(l2)

    def __call__(self, x: Tensor) -> Tensor:
        """The penalty."""
        parts = []
        if self.l1:
            parts.append(self.l1 * total(absolute(x)))
        if self.l2:
            parts.append(self.l2 * total(square(x)))
        if not parts:
            return multiply(0, total(x))
        return parts[0] if len(parts) == 1 else add(*parts)


class L1(L1L2):
    """``l1 * sum(|x|)``.

    Examples
    --------
    >>> keras.regularizers.L1(0.1)(gt.tensor([1.0, -2.0]))
    tensor(0.3, dtype=float32)
    """

    def __init__(self, l1: float = 0.01) -> None:
        super().__init__(l1=l1)

    def get_config(self) -> dict[str, Any]:
        """The factor."""
        return {"l1": self.l1}


class L2(L1L2):
    """``l2 * sum(x**2)``.

    Examples
    --------
    >>> keras.regularizers.L2(0.1)(gt.tensor([1.0, -2.0]))
    tensor(0.5, dtype=float32)
    """

    def __init__(self, l2: float = 0.01) -> None:
        super().__init__(l2=l2)

    def get_config(self) -> dict[str, Any]:
        """The factor."""
        return {"l2": self.l2}


class OrthogonalRegularizer(Regularizer):
    """Half the mean size of cosines between rows of a matrix, or columns, times `factor`.

    Examples
    --------
    >>> keras.regularizers.OrthogonalRegularizer(1.0)(gt.tensor([[1.0, 0.0], [1.0, 1.0]]))
    tensor(0.70710677, dtype=float32)
    """

    def __init__(self, factor: float = 0.01, mode: str = "rows") -> None:
        if mode not in ("rows", "columns"):
            raise ValueError(
                f"OrthogonalRegularizer: mode is {mode!r}; allowed are 'rows' and 'columns'"
            )
        self.factor = float(factor)
        self.mode = mode

    def __call__(self, x: Tensor) -> Tensor:
        """The penalty."""
        if x.ndim != 2:
            raise ShapeError(f"OrthogonalRegularizer: x has shape {x.shape}; it must be a matrix")
        unit = normalize(x if self.mode == "rows" else permute_dims(x, (1, 0)), axis=1, eps=1e-6)
        n = unit.shape[0]
        apart = 1 - eye(n, dtype=x.dtype, device=x.device)
        cosines = absolute(unit @ permute_dims(unit, (1, 0)) * apart)
        return total(cosines) * (self.factor / (n * (n - 1)))


l1, l2, orthogonal_regularizer = L1, L2, OrthogonalRegularizer


def l1_l2(l1: float = 0.01, l2: float = 0.01) -> L1L2:
    """:class:`L1L2` with the defaults of this spelling.

    Examples
    --------
    >>> keras.regularizers.l1_l2(0.1, 0.1)(gt.tensor([1.0, -2.0]))
    tensor(0.8, dtype=float32)
    """
    return L1L2(l1, l2)


_NAMES: dict[str, Any] = {
    "l1": L1,
    "l2": L2,
    "l1_l2": L1L2,
    "orthogonal_regularizer": OrthogonalRegularizer,
    **{kind.__name__: kind for kind in (L1, L2, L1L2, OrthogonalRegularizer)},
}


def get(identifier: Any) -> Any:
    """The regularizer of a name or a config, the function given, or None.

    Examples
    --------
    >>> keras.regularizers.get("l2")(gt.tensor([1.0]))
    tensor(0.01, dtype=float32)
    """
    if identifier is None:
        return None
    if isinstance(identifier, dict):
        return _NAMES[identifier["class_name"]](**(identifier.get("config") or {}))
    if isinstance(identifier, str):
        if identifier not in _NAMES:
            raise ValueError(f"regularizer {identifier!r} is unknown; allowed are {list(_NAMES)}")
        return _NAMES[identifier]()
    if isinstance(identifier, type):
        return identifier()
    if not callable(identifier):
        raise TypeError(f"a regularizer must be a name or a function, got {identifier!r}")
    return identifier


deserialize = get


def serialize(regularizer: Any) -> Any:
    """As Keras writes it into a saved model.

    Examples
    --------
    >>> keras.regularizers.serialize(keras.regularizers.L2(0.1))["config"]
    {'l2': 0.1}
    """
    return {
        "module": "keras.regularizers",
        "class_name": type(regularizer).__name__,
        "config": regularizer.get_config(),
        "registered_name": None,
    }
