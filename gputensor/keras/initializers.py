"""First values of weights, by Keras's names and formulas.

An initializer is called with a shape, and a dtype, and returns a tensor. Of a convolution's kernel
(height, width, channels, filters) the window counts for both numbers of connections.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gputensor import random
from gputensor.autograd import Tensor
from gputensor.keras.naming import lacking
from gputensor.ops.choices import where
from gputensor.ops.creation import asarray, eye, full
from gputensor.ops.elementwise import sign
from gputensor.ops.linalg import qr
from gputensor.ops.manipulation import reshape
from gputensor.shown import Shown

__all__ = [
    "Constant",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Identity",
    "Initializer",
    "LecunNormal",
    "LecunUniform",
    "Ones",
    "Orthogonal",
    "RandomNormal",
    "RandomUniform",
    "TruncatedNormal",
    "VarianceScaling",
    "Zeros",
    "deserialize",
    "get",
    "serialize",
]

# Standard deviation of a standard normal number that is drawn again beyond 2.
_TRUNCATED = 0.87962566103423978


class Initializer(Shown):
    """Base class: ``__call__(shape, dtype)``.

    Examples
    --------
    >>> isinstance(keras.initializers.Zeros(), keras.initializers.Initializer)
    True
    """

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Tensor:
        """Tensor of that shape."""
        raise NotImplementedError(f"{type(self).__name__} defines no __call__(self, shape, dtype)")

    def get_config(self) -> dict[str, Any]:
        """What the constructor takes."""
        return {k: v for k, v in vars(self).items() if not k.startswith("_")}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Initializer":
        """The initializer of :meth:`get_config`."""
        return cls(**config)


class Constant(Initializer):
    """All of one value.

    Examples
    --------
    >>> keras.initializers.Constant(3.0)((2,))
    tensor([3., 3.], dtype=float32)
    """

    def __init__(self, value: Any = 0.0) -> None:
        self.value = value

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Tensor:
        """Tensor of that shape."""
        if isinstance(self.value, (int, float)):
            return full(tuple(shape), float(self.value), dtype=dtype)
        return asarray(np.broadcast_to(self.value, shape).copy(), dtype=dtype)


class Zeros(Constant):
    """All 0.

    Examples
    --------
    >>> keras.initializers.Zeros()((2,))
    tensor([0., 0.], dtype=float32)
    """

    def __init__(self) -> None:
        super().__init__(0.0)

    def get_config(self) -> dict[str, Any]:
        """Nothing."""
        return {}


class Ones(Zeros):
    """All 1.

    Examples
    --------
    >>> keras.initializers.Ones()((2,))
    tensor([1., 1.], dtype=float32)
    """

    def __init__(self) -> None:
        Constant.__init__(self, 1.0)


class Identity(Initializer):
    """A matrix with `gain` on its diagonal.

    Examples
    --------
    >>> keras.initializers.Identity()((2, 2))
    tensor([[1., 0.],
            [0., 1.]], dtype=float32)
    """

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = gain

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Tensor:
        """Tensor of that shape."""
        return eye(*shape, dtype=dtype) * self.gain


class _Random(Initializer):
    """With `seed` the same numbers at every call, else the next ones of gputensor's generator."""

    seed: int | None

    @property
    def _generator(self) -> random.Generator:
        return random.default_generator if self.seed is None else random.Generator(self.seed)


class RandomNormal(_Random):
    """Normal numbers of `mean` and standard deviation `stddev`.

    Examples
    --------
    >>> keras.initializers.RandomNormal(seed=1)((2, 3)).shape
    (2, 3)
    """

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None) -> None:
        self.mean = mean
        self.stddev = stddev
        self.seed = seed

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Tensor:
        """Tensor of that shape."""
        return self._generator.normal(self.mean, self.stddev, tuple(shape), dtype=dtype)


class TruncatedNormal(RandomNormal):
    """Normal numbers, drawn again where they are more than two standard deviations away.

    Examples
    --------
    >>> keras.initializers.TruncatedNormal(seed=1)((2, 3)).shape
    (2, 3)
    """

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Tensor:
        """Tensor of that shape."""
        drawn = truncated(self._generator, shape, dtype)
        return self.mean + self.stddev * drawn


def truncated(generator: random.Generator, shape: Sequence[int], dtype: Any) -> Tensor:
    """Standard normal numbers between -2 and 2, by the inverse of their distribution."""
    from scipy.special import ndtri

    low, high = 0.022750131948179195, 0.9772498680518208  # of -2 and 2
    drawn = generator.uniform(low, high, tuple(shape), dtype=dtype)
    values = ndtri(drawn.numpy().astype(np.float64)).clip(-2, 2).astype(drawn.dtype)
    return asarray(values, device=drawn.device)


class RandomUniform(_Random):
    """Numbers evenly distributed from `minval` to `maxval`.

    Examples
    --------
    >>> keras.initializers.RandomUniform(seed=1)((2, 3)).shape
    (2, 3)
    """

    def __init__(
        self, minval: float = -0.05, maxval: float = 0.05, seed: int | None = None
    ) -> None:
        self.minval = minval
        self.maxval = maxval
        self.seed = seed

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Tensor:
        """Tensor of that shape."""
        return self._generator.uniform(self.minval, self.maxval, tuple(shape), dtype=dtype)


class VarianceScaling(_Random):
    """Numbers of variance ``scale / connections`` (He et al. 2015).

    Parameters
    ----------
    scale : float
    mode : {"fan_in", "fan_out", "fan_avg"}
    distribution : {"truncated_normal", "untruncated_normal", "uniform"}
    seed : int, optional

    Examples
    --------
    >>> keras.initializers.VarianceScaling(2.0)((2, 3)).shape
    (2, 3)
    """

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: int | None = None,
    ) -> None:
        self.scale = scale
        self.mode = mode
        self.distribution = distribution
        self.seed = seed

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Tensor:
        """Tensor of that shape."""
        window = math.prod(shape[:-2])
        fan_in = shape[-2] * window if len(shape) > 1 else shape[0] if shape else 1
        fan_out = shape[-1] * window if shape else 1
        connections = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}
        variance = self.scale / max(1.0, connections[self.mode])
        generator, shape = self._generator, tuple(shape)
        if self.distribution == "uniform":
            limit = math.sqrt(3 * variance)
            return generator.uniform(-limit, limit, shape, dtype=dtype)
        if self.distribution == "untruncated_normal":
            return generator.normal(0.0, math.sqrt(variance), shape, dtype=dtype)
        return math.sqrt(variance) / _TRUNCATED * truncated(generator, shape, dtype)


class _Preset(VarianceScaling):
    _options: tuple[float, str, str]

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(*self._options, seed)

    def get_config(self) -> dict[str, Any]:
        """The seed."""
        return {"seed": self.seed}


class GlorotUniform(_Preset):
    """``U(-l, l)``, ``l = sqrt(6 / (fan_in + fan_out))`` (Glorot & Bengio 2010).

    Examples
    --------
    >>> keras.initializers.GlorotUniform()((2, 3)).shape
    (2, 3)
    """

    _options = (1.0, "fan_avg", "uniform")


class GlorotNormal(_Preset):
    """Truncated normal of variance ``2 / (fan_in + fan_out)`` (Glorot & Bengio 2010).

    Examples
    --------
    >>> keras.initializers.GlorotNormal()((2, 3)).shape
    (2, 3)
    """

    _options = (1.0, "fan_avg", "truncated_normal")


class HeNormal(_Preset):
    """Truncated normal of variance ``2 / fan_in`` (He et al. 2015).

    Examples
    --------
    >>> keras.initializers.HeNormal()((2, 3)).shape
    (2, 3)
    """

    _options = (2.0, "fan_in", "truncated_normal")


class HeUniform(_Preset):
    """``U(-l, l)``, ``l = sqrt(6 / fan_in)`` (He et al. 2015).

    Examples
    --------
    >>> keras.initializers.HeUniform()((2, 3)).shape
    (2, 3)
    """

    _options = (2.0, "fan_in", "uniform")


class LecunNormal(_Preset):
    """Truncated normal of variance ``1 / fan_in`` (LeCun et al. 1998).

    Examples
    --------
    >>> keras.initializers.LecunNormal()((2, 3)).shape
    (2, 3)
    """

    _options = (1.0, "fan_in", "truncated_normal")


class LecunUniform(_Preset):
    """``U(-l, l)``, ``l = sqrt(3 / fan_in)`` (LeCun et al. 1998).

    Examples
    --------
    >>> keras.initializers.LecunUniform()((2, 3)).shape
    (2, 3)
    """

    _options = (1.0, "fan_in", "uniform")


class Orthogonal(_Random):
    """Orthogonal rows or columns, times `gain` (Saxe et al. 2013).

    Examples
    --------
    >>> keras.initializers.Orthogonal()((2, 2)).shape
    (2, 2)
    """

    def __init__(self, gain: float = 1.0, seed: int | None = None) -> None:
        self.gain = gain
        self.seed = seed

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Tensor:
        """Tensor of that shape."""
        rows, columns = math.prod(shape[:-1]), shape[-1]
        tall = (max(rows, columns), min(rows, columns))
        q, r = qr(self._generator.standard_normal(tall, dtype=dtype))
        places = eye(tall[1], dtype=r.dtype, device=r.device)
        signs = (r * places).sum(axis=0)
        q = q * where(signs == 0, 1.0, sign(signs))
        return self.gain * reshape(q.T if rows < columns else q, tuple(shape))


_CLASSES: dict[str, type[Initializer]] = {
    name: globals()[name] for name in __all__ if name[0].isupper() and name != "Initializer"
}
_NAMES: dict[str, type[Initializer]] = {
    **{
        "".join(f"_{c.lower()}" if c.isupper() else c for c in n)[1:]: k
        for n, k in _CLASSES.items()
    },
    "normal": RandomNormal,
    "uniform": RandomUniform,
    "zero": Zeros,
    "one": Ones,
}
# Function-like spellings of Keras: keras.initializers.glorot_uniform(seed=1).
globals().update(_NAMES)
IdentityInitializer, OrthogonalInitializer = Identity, Orthogonal


def get(identifier: Any) -> Any:
    """The initializer of a name, a class, a config as in a saved model, or a function.

    Examples
    --------
    >>> keras.initializers.get("zeros")((2,))
    tensor([0., 0.], dtype=float32)
    """
    if isinstance(identifier, dict):
        kind = _CLASSES.get(identifier["class_name"]) or _NAMES.get(identifier["class_name"])
        if kind is None:
            raise ValueError(f"initializer {identifier['class_name']!r} is unknown")
        options = identifier.get("config") or {}
        return kind(**{k: v for k, v in options.items() if v is not None})
    if isinstance(identifier, str):
        kind = _NAMES.get(identifier.lower()) or _CLASSES.get(identifier)
        if kind is None:
            raise ValueError(
                f"initializer {identifier!r} is unknown; allowed are "
                f"{', '.join(map(repr, _NAMES))} and functions of a shape"
            )
        return kind()
    if isinstance(identifier, type):
        return identifier()
    if not callable(identifier):
        raise TypeError(f"an initializer must be a name or a function, got {identifier!r}")
    return identifier


deserialize = get


def serialize(initializer: Initializer) -> dict[str, Any]:
    """As Keras writes it into a saved model.

    Examples
    --------
    >>> keras.initializers.serialize(keras.initializers.HeNormal(seed=1))["config"]
    {'seed': 1}
    """
    return {
        "module": "keras.initializers",
        "class_name": type(initializer).__name__,
        "config": initializer.get_config(),
        "registered_name": None,
    }


__getattr__ = lacking(
    __name__,
    dict.fromkeys(("STFT", "STFTInitializer", "stft"), "gputensor.fft for spectra of signals"),
)
