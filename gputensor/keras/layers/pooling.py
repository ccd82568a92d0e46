"""Pooling, padding, cutting and enlarging of images (n, height, width, channels) and sequences."""

from typing import Any

from gputensor.autograd import Tensor
from gputensor.keras.layers.channels import Channeled
from gputensor.keras.layers.convolution import sizes_of, two, with_height, without_height
from gputensor.ops import volumes, windows
from gputensor.ops.data_type import astype
from gputensor.ops.manipulation import expand_dims
from gputensor.ops.pieces import pad, repeat
from gputensor.ops.resizing import adaptive, resized
from gputensor.ops.statistical import max as largest
from gputensor.ops.statistical import mean
from gputensor.ops.statistical import sum as total
from gputensor.shown import retold

__all__ = [
    "AdaptiveAveragePooling1D",
    "AdaptiveAveragePooling2D",
    "AdaptiveAveragePooling3D",
    "AdaptiveMaxPooling1D",
    "AdaptiveMaxPooling2D",
    "AdaptiveMaxPooling3D",
    "AveragePooling1D",
    "AveragePooling2D",
    "AveragePooling3D",
    "AvgPool1D",
    "AvgPool2D",
    "AvgPool3D",
    "Cropping1D",
    "Cropping2D",
    "Cropping3D",
    "GlobalAveragePooling1D",
    "GlobalAveragePooling2D",
    "GlobalAveragePooling3D",
    "GlobalAvgPool1D",
    "GlobalAvgPool2D",
    "GlobalAvgPool3D",
    "GlobalMaxPool1D",
    "GlobalMaxPool2D",
    "GlobalMaxPool3D",
    "GlobalMaxPooling1D",
    "GlobalMaxPooling2D",
    "GlobalMaxPooling3D",
    "MaxPool1D",
    "MaxPool2D",
    "MaxPool3D",
    "MaxPooling1D",
    "MaxPooling2D",
    "MaxPooling3D",
    "UpSampling1D",
    "UpSampling2D",
    "UpSampling3D",
    "ZeroPadding1D",
    "ZeroPadding2D",
    "ZeroPadding3D",
]


class _Pooling(Channeled):
    """What pooling shares.

    Parameters
    ----------
    pool_size : int or sequence of int
        The window.
    strides : int or sequence of int, optional
        By default `pool_size`.
    padding : {"valid", "same"}
    """

    built = True
    _axes = 2
    _average = False

    def __init__(
        self,
        pool_size: Any = 2,
        strides: Any = None,
        padding: str = "valid",
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        name = type(self).__name__
        self._set_format(data_format)
        self.pool_size = sizes_of(name, "pool_size", pool_size, self._axes)
        self.strides = sizes_of(
            name, "strides", self.pool_size if strides is None else strides, self._axes
        )
        self.padding = str(padding).lower()
        if self.padding not in ("valid", "same"):
            raise ValueError(f"{name}: padding is {padding!r}; allowed are 'valid' and 'same'")

    def call(self, x: Tensor) -> Tensor:
        """Of shape (n, ..., channels)."""
        if self._axes == 3:
            deep = volumes.average_pool if self._average else volumes.largest_pool
            return deep(x, self.pool_size, self.strides, self.padding)  # type: ignore[arg-type]
        pool = windows.average_pool if self._average else windows.largest_pool
        images = with_height(x) if self._axes == 1 else x
        y = pool(images, two(self.pool_size), two(self.strides), self.padding)
        return without_height(y) if self._axes == 1 else y


class MaxPooling2D(_Pooling):
    __doc__ = retold(
        _Pooling,
        "The largest element of each window of images.",
        ">>> keras.layers.MaxPooling2D(2)(np.ones((2, 8, 8, 3))).shape\n(2, 4, 4, 3)",
    )


class MaxPooling1D(_Pooling):
    __doc__ = retold(
        _Pooling,
        "The largest element of each window of sequences.",
        ">>> keras.layers.MaxPooling1D(2)(np.ones((2, 8, 3))).shape\n(2, 4, 3)",
    )
    _axes = 1


class AveragePooling2D(_Pooling):
    __doc__ = retold(
        _Pooling,
        "The mean of each window of images.",
        ">>> keras.layers.AveragePooling2D(2)(np.ones((2, 8, 8, 3))).shape\n(2, 4, 4, 3)",
    )
    _average = True


class AveragePooling1D(_Pooling):
    __doc__ = retold(
        _Pooling,
        "The mean of each window of sequences.",
        ">>> keras.layers.AveragePooling1D(2)(np.ones((2, 8, 3))).shape\n(2, 4, 3)",
    )
    _axes = 1
    _average = True


class MaxPooling3D(_Pooling):
    __doc__ = retold(
        _Pooling,
        "The largest element of each window of volumes.",
        ">>> keras.layers.MaxPooling3D(2)(np.ones((2, 4, 4, 4, 3))).shape\n(2, 2, 2, 2, 3)",
    )
    _axes = 3


class AveragePooling3D(_Pooling):
    __doc__ = retold(
        _Pooling,
        "The mean of each window of volumes.",
        ">>> keras.layers.AveragePooling3D(2)(np.ones((2, 4, 4, 4, 3))).shape\n(2, 2, 2, 2, 3)",
    )
    _axes = 3
    _average = True


class _AdaptivePooling(Channeled):
    """What pooling to a size shares.

    Parameters
    ----------
    output_size : int or sequence of int
        Number of windows along each axis; they cover all, and may overlap by one.
    """

    built = True
    _axes = 2
    _reduction: Any = staticmethod(mean)

    def __init__(self, output_size: Any, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        name = type(self).__name__
        self._set_format(data_format)
        self.output_size = sizes_of(name, "output_size", output_size, self._axes)

    def call(self, x: Tensor) -> Tensor:
        """Of shape (n, *output_size, channels)."""
        for axis, size in enumerate(self.output_size, start=1):
            x = adaptive(x, axis, size, type(self)._reduction)
        return x


class AdaptiveAveragePooling1D(_AdaptivePooling):
    __doc__ = retold(
        _AdaptivePooling,
        "Means of so many windows of sequences.",
        ">>> keras.layers.AdaptiveAveragePooling1D(4)(np.ones((2, 8, 3))).shape\n(2, 4, 3)",
    )
    _axes = 1


class AdaptiveAveragePooling2D(_AdaptivePooling):
    __doc__ = retold(
        _AdaptivePooling,
        "Means of so many windows of images.",
        ">>> keras.layers.AdaptiveAveragePooling2D(4)(np.ones((2, 8, 8, 3))).shape\n(2, 4, 4, 3)",
    )


class AdaptiveAveragePooling3D(_AdaptivePooling):
    __doc__ = retold(
        _AdaptivePooling,
        "Means of so many windows of volumes.",
        ">>> keras.layers.AdaptiveAveragePooling3D(2)(np.ones((2, 4, 4, 4, 3))).shape\n"
        "(2, 2, 2, 2, 3)",
    )
    _axes = 3


class AdaptiveMaxPooling1D(_AdaptivePooling):
    __doc__ = retold(
        _AdaptivePooling,
        "Largest elements of so many windows of sequences.",
        ">>> keras.layers.AdaptiveMaxPooling1D(4)(np.ones((2, 8, 3))).shape\n(2, 4, 3)",
    )
    _axes = 1
    _reduction = staticmethod(largest)


class AdaptiveMaxPooling2D(_AdaptivePooling):
    __doc__ = retold(
        _AdaptivePooling,
        "Largest elements of so many windows of images.",
        ">>> keras.layers.AdaptiveMaxPooling2D(4)(np.ones((2, 8, 8, 3))).shape\n(2, 4, 4, 3)",
    )
    _reduction = staticmethod(largest)


class AdaptiveMaxPooling3D(_AdaptivePooling):
    __doc__ = retold(
        _AdaptivePooling,
        "Largest elements of so many windows of volumes.",
        ">>> keras.layers.AdaptiveMaxPooling3D(2)(np.ones((2, 4, 4, 4, 3))).shape\n(2, 2, 2, 2, 3)",
    )
    _axes = 3
    _reduction = staticmethod(largest)


class _GlobalPooling(Channeled):
    """What global pooling shares: `keepdims` keeps axes of length 1."""

    built = True
    _axes: tuple[int, ...] = (1, 2)
    _average = False

    def __init__(
        self, data_format: str | None = None, keepdims: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self._set_format(data_format)
        self.keepdims = keepdims

    def call(self, x: Tensor) -> Tensor:
        """Of shape (n, channels)."""
        reduction = mean if self._average else largest
        found: Tensor = reduction(x, axis=self._axes, keepdims=self.keepdims)
        return found

    def compute_mask(self, x: Any, mask: Any = None) -> Any:
        """None: there are no steps left."""
        return None


class GlobalMaxPooling2D(_GlobalPooling):
    """The largest element of each channel of images.

    Examples
    --------
    >>> keras.layers.GlobalMaxPooling2D()(np.ones((2, 8, 8, 3))).shape
    (2, 3)
    """


class GlobalMaxPooling1D(_GlobalPooling):
    """The largest element of each feature of sequences.

    Examples
    --------
    >>> keras.layers.GlobalMaxPooling1D()(np.ones((2, 8, 3))).shape
    (2, 3)
    """

    _axes = (1,)


class GlobalAveragePooling2D(_GlobalPooling):
    """The mean of each channel of images.

    Examples
    --------
    >>> keras.layers.GlobalAveragePooling2D()(np.ones((2, 8, 8, 3))).shape
    (2, 3)
    """

    _average = True


class GlobalAveragePooling1D(_GlobalPooling):
    """The mean of each feature of sequences, over the steps that count.

    Examples
    --------
    >>> keras.layers.GlobalAveragePooling1D()(np.ones((2, 8, 3))).shape
    (2, 3)
    """

    _axes = (1,)
    _average = True

    def call(self, x: Tensor, mask: Any = None) -> Tensor:
        """Of shape (n, features)."""
        if mask is None:
            return super().call(x)
        counts = expand_dims(astype(mask, x.dtype), axis=-1)
        sums = total(x * counts, axis=1, keepdims=self.keepdims)
        return sums / total(counts, axis=1, keepdims=self.keepdims)


class GlobalMaxPooling3D(_GlobalPooling):
    """The largest element of each channel of volumes.

    Examples
    --------
    >>> keras.layers.GlobalMaxPooling3D()(np.ones((2, 4, 4, 4, 3))).shape
    (2, 3)
    """

    _axes = (1, 2, 3)


class GlobalAveragePooling3D(_GlobalPooling):
    """The mean of each channel of volumes.

    Examples
    --------
    >>> keras.layers.GlobalAveragePooling3D()(np.ones((2, 4, 4, 4, 3))).shape
    (2, 3)
    """

    _axes = (1, 2, 3)
    _average = True


class _Edges(Channeled):
    """What padding and cropping share: numbers for the beginning and the end of each axis."""

    built = True
    _axes = 2

    def _pairs(self, given: Any) -> list[tuple[int, int]]:
        items = [given] * self._axes if isinstance(given, int) else [*given]
        if self._axes == 1 and len(items) == 2:
            items = [tuple(items)]
        pairs = [(p, p) if isinstance(p, int) else (int(p[0]), int(p[1])) for p in items]
        if len(pairs) != self._axes or min(min(p) for p in pairs) < 0:
            raise ValueError(
                f"{type(self).__name__}: got {given!r}; it must be an int or {self._axes} of them "
                "or of pairs, not negative"
            )
        return pairs


class ZeroPadding2D(_Edges):
    """Zeros around images: `padding` is n, (height, width) or ((top, bottom), (left, right)).

    Examples
    --------
    >>> keras.layers.ZeroPadding2D(1)(np.ones((2, 8, 8, 3))).shape
    (2, 10, 10, 3)
    """

    def __init__(self, padding: Any = 1, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._set_format(data_format)
        self.padding = self._pairs(padding)

    def call(self, x: Tensor) -> Tensor:
        """Larger by the padding."""
        return pad(x, [(0, 0), *self.padding, (0, 0)])


class ZeroPadding1D(ZeroPadding2D):
    """Zeros before and after sequences: `padding` is an int or (before, after).

    Examples
    --------
    >>> keras.layers.ZeroPadding1D(1)(np.ones((2, 8, 3))).shape
    (2, 10, 3)
    """

    _axes = 1


class ZeroPadding3D(ZeroPadding2D):
    """Zeros around volumes: `padding` is an int, or for each axis an int or (before, after).

    Examples
    --------
    >>> keras.layers.ZeroPadding3D(1)(np.ones((2, 4, 4, 4, 3))).shape
    (2, 6, 6, 6, 3)
    """

    _axes = 3


class Cropping2D(_Edges):
    """Images without their edges: `cropping` is as the padding of :class:`ZeroPadding2D`.

    Examples
    --------
    >>> keras.layers.Cropping2D(1)(np.ones((2, 8, 8, 3))).shape
    (2, 6, 6, 3)
    """

    _default: Any = 0

    def __init__(self, cropping: Any = None, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._set_format(data_format)
        self.cropping = self._pairs(self._default if cropping is None else cropping)

    def call(self, x: Tensor) -> Tensor:
        """Smaller by the cropping."""
        cuts = (slice(a, n - b) for (a, b), n in zip(self.cropping, x.shape[1:-1], strict=True))
        return x[(slice(None), *cuts)]


class Cropping1D(Cropping2D):
    """Sequences without their ends: `cropping` is an int or (before, after), 1 by default.

    Examples
    --------
    >>> keras.layers.Cropping1D(1)(np.ones((2, 8, 3))).shape
    (2, 6, 3)
    """

    _axes = 1
    _default = 1


class Cropping3D(Cropping2D):
    """Volumes without their edges, 1 by default; otherwise as :class:`Cropping2D`.

    Examples
    --------
    >>> keras.layers.Cropping3D(1)(np.ones((2, 4, 4, 4, 3))).shape
    (2, 2, 2, 2, 3)
    """

    _axes = 3
    _default = 1


class UpSampling2D(Channeled):
    """Rows and columns of images repeated.

    Parameters
    ----------
    size : int or (int, int)
    interpolation : {"nearest", "bilinear", "bicubic"}

    Examples
    --------
    >>> keras.layers.UpSampling2D(2)(np.ones((2, 8, 8, 3))).shape
    (2, 16, 16, 3)
    """

    built = True
    _axes = 2

    def __init__(
        self,
        size: Any = 2,
        data_format: str | None = None,
        interpolation: str = "nearest",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        name = type(self).__name__
        self._set_format(data_format)
        if interpolation not in ("nearest", "bilinear", "bicubic") or (
            interpolation != "nearest" and self._axes != 2
        ):
            raise ValueError(
                f"{name}: interpolation is {interpolation!r}; allowed are 'nearest', and for "
                "images 'bilinear' and 'bicubic'"
            )
        self.interpolation = interpolation
        self.size = sizes_of(name, "size", size, self._axes)

    def call(self, x: Tensor) -> Tensor:
        """Larger by `size`."""
        if self.interpolation != "nearest":
            high, wide = (n * m for n, m in zip(x.shape[1:3], self.size, strict=True))
            return resized(x, (high, wide), self.interpolation)
        for axis, n in enumerate(self.size, start=1):
            x = repeat(x, n, axis=axis)
        return x


class UpSampling1D(UpSampling2D):
    """Steps of sequences repeated `size` times.

    Examples
    --------
    >>> keras.layers.UpSampling1D(2)(np.ones((2, 8, 3))).shape
    (2, 16, 3)
    """

    _axes = 1

    def __init__(self, size: int = 2, **kwargs: Any) -> None:
        super().__init__(size, **kwargs)


class UpSampling3D(UpSampling2D):
    """Planes, rows and columns of volumes repeated.

    Examples
    --------
    >>> keras.layers.UpSampling3D(2)(np.ones((2, 4, 4, 4, 3))).shape
    (2, 8, 8, 8, 3)
    """

    _axes = 3

    def __init__(self, size: Any = 2, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(size, data_format, **kwargs)


AvgPool1D, AvgPool2D, AvgPool3D = AveragePooling1D, AveragePooling2D, AveragePooling3D
MaxPool1D, MaxPool2D, MaxPool3D = MaxPooling1D, MaxPooling2D, MaxPooling3D
GlobalMaxPool1D, GlobalMaxPool2D = GlobalMaxPooling1D, GlobalMaxPooling2D
GlobalAvgPool1D, GlobalAvgPool2D = GlobalAveragePooling1D, GlobalAveragePooling2D
GlobalMaxPool3D, GlobalAvgPool3D = GlobalMaxPooling3D, GlobalAveragePooling3D
