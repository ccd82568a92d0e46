"""Pictures of training, models and kernels: each function makes a figure of matplotlib's.

``figure.savefig("name.png")`` writes it; in a notebook it is shown as it is. Data are tensors or
arrays, on any device. :func:`tape` and :func:`program` make drawings instead, texts of SVG.
"""

import functools
import io
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gputensor import backend
from gputensor.autograd import Tensor, no_grad
from gputensor.drawing import Drawing, program, tape
from gputensor.errors import ShapeError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "Drawing",
    "activations",
    "boundary",
    "confusion",
    "curves",
    "histograms",
    "landscape",
    "layers",
    "program",
    "roofline",
    "snapshot",
    "tape",
    "wrong",
]

_LARGEST = 20  # classes whose numbers are written into the confusion matrix


@functools.cache
def _kind() -> Any:
    """Class of the figures, which a notebook shows whether pyplot is imported there or not."""
    from matplotlib.figure import Figure

    class Picture(Figure):
        def _repr_png_(self) -> bytes:
            file = io.BytesIO()
            self.savefig(file, format="png", dpi=90)
            return file.getvalue()

    return Picture


def _figure(width: float, height: float) -> "Figure":
    made: Figure = _kind()(figsize=(width, height), layout="constrained")
    return made


def _host(x: Any) -> "np.ndarray[Any, Any]":
    """Values as an array on the host."""
    array = x.array if isinstance(x, Tensor) else x
    found = backend.to_host(array) if backend.is_array(array) else np.asarray(array)
    return found


def _same_length(function: str, **given: Any) -> None:
    lengths = {name: len(x) for name, x in given.items()}
    if len(set(lengths.values())) > 1:
        raise ShapeError(f"{function}: there must be one of each for a sample, got {lengths}")


# ---------------------------------------------------------------- training


def curves(history: Any, names: Sequence[str] | None = None) -> "Figure":
    """Measures by epoch, in training and, where there are some, in validation.

    Parameters
    ----------
    history : History or dict of list
        What ``fit`` returns, or values by name; those of the validation begin with ``val_``.
    names : sequence of str, optional
        Which, each with axes of its own; by default all.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> figure = gt.plot.curves({"loss": [0.9, 0.4], "val_loss": [1.0, 0.6]})
    >>> figure.axes[0].get_title()
    'loss'
    """
    values = history if isinstance(history, Mapping) else getattr(history, "history", None)
    if not isinstance(values, Mapping):
        raise TypeError(
            f"curves: history is {history!r}; give what fit returns, or {{name: [values]}}"
        )
    if names is None:
        names = [name for name in values if not name.startswith("val_")] or list(values)
    names = [names] if isinstance(names, str) else names
    if not names or any(name not in values for name in names):
        raise ValueError(f"curves: names is {list(names)}; there are {', '.join(values) or 'none'}")
    columns = min(len(names), 3)
    rows = -(-len(names) // columns)
    figure = _figure(4.5 * columns, 3.5 * rows)
    cells = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in cells[len(names) :]:
        axes.remove()
    for axes, name in zip(cells, names, strict=False):
        epochs = np.arange(1, len(values[name]) + 1)
        size = 4 if len(epochs) <= 50 else 0  # of a marker
        axes.plot(epochs, values[name], marker="o", markersize=size, label="training")
        held = values.get(f"val_{name}")
        if held is not None:
            # Where only some epochs are validated, they are the last of each few.
            every = max(len(epochs) // max(len(held), 1), 1)
            at = np.arange(1, len(held) + 1) * every
            axes.plot(at, held, marker="s", markersize=size, label="validation")
            axes.legend()
        axes.set(title=name, xlabel="epoch", ylabel=name)
        axes.xaxis.get_major_locator().set_params(integer=True)
        if len(epochs) == 1:
            axes.set_xticks(epochs)
        axes.grid(alpha=0.3)
    return figure


def snapshot(model: Any, gradients: bool = False) -> "dict[str, np.ndarray[Any, Any]]":
    """Copies of a model's parameters by name, or of their gradients, for :func:`histograms`.

    Parameters
    ----------
    model : Module
    gradients : bool
        Parameters that have no gradient are left out.

    Examples
    --------
    >>> sorted(gt.plot.snapshot(gt.nn.Dense(3, 2)))
    ['bias', 'weight']
    """
    found = {}
    for name, p in model.named_parameters():
        value = p.grad if gradients else p
        if value is not None:
            found[name] = np.array(_host(value))
    return found


def histograms(
    snapshots: "Sequence[Mapping[str, Any]]",
    what: str = "weights",
    when: Sequence[float] | None = None,
    bins: int = 60,
) -> "Figure":
    """How the values of parameters, or of their gradients, are spread, over training.

    Parameters
    ----------
    snapshots : sequence of dict
        Values by name, one dict for each time: see :func:`snapshot`.
    what : str
        What the values are, for the title.
    when : sequence of float, optional
        The epochs of the snapshots; by default they are counted from 0.
    bins : int

    Returns
    -------
    matplotlib.figure.Figure
        For each parameter the share of its values by size (up) and time (right).

    Examples
    --------
    >>> seen = [{"w": np.arange(5.0)}, {"w": np.arange(5.0) / 2}]
    >>> gt.plot.histograms(seen).axes[0].get_title()
    'w'
    """
    listed = isinstance(snapshots, Sequence) and all(isinstance(s, Mapping) for s in snapshots)
    if not snapshots or not listed:
        raise ValueError(
            "histograms: snapshots must be a list of dicts, one or more; append "
            "gt.plot.snapshot(model) each epoch"
        )
    names = list(snapshots[0])
    times = np.arange(len(snapshots)) if when is None else np.asarray(when, float)
    columns = min(len(names), 3)
    rows = -(-len(names) // columns)
    figure = _figure(3.6 * columns + 0.8, 2.6 * rows + 0.5)
    grid = figure.subplots(rows, columns, squeeze=False)
    image: Any = None
    for axes, name in zip(grid.ravel(), names, strict=False):
        values = [_host(s[name]).ravel() for s in snapshots]
        finite = [v[np.isfinite(v)] for v in values]
        joined = np.concatenate(finite)
        low, high = (joined.min(), joined.max()) if joined.size else (0.0, 1.0)
        if low == high:
            low, high = low - 0.5, high + 0.5
        edges = np.linspace(low, high, bins + 1)
        shares = np.array([np.histogram(v, edges)[0] / max(len(v), 1) for v in finite])
        image = axes.pcolormesh(
            _edges_of(times), edges, np.sqrt(shares.T), cmap="viridis", vmin=0, vmax=1
        )
        lost = sum(len(v) - len(f) for v, f in zip(values, finite, strict=True))
        axes.set(title=name + (f" ({lost} not finite)" if lost else ""), xlabel="epoch")
        axes.set_ylabel("value")
    for axes in grid.ravel()[len(names) :]:
        axes.axis("off")
    bar = figure.colorbar(image, ax=grid, label="share of the values")
    ticks = [0, 0.01, 0.1, 0.25, 0.5, 1]
    bar.set_ticks([t**0.5 for t in ticks], labels=[f"{t:.0%}" for t in ticks])
    figure.suptitle(f"Distribution of {what} over training")
    return figure


def _edges_of(centres: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    if len(centres) == 1:
        return np.array([centres[0] - 0.5, centres[0] + 0.5])
    middles = (centres[1:] + centres[:-1]) / 2
    first, last = 2 * centres[0] - middles[0], 2 * centres[-1] - middles[-1]
    return np.concatenate([[first], middles, [last]])


# ---------------------------------------------------------------- classification


def confusion(labels: Any, predictions: Any, classes: Sequence[str] | None = None) -> "Figure":
    """Confusion matrix: how often each class was taken for each.

    Parameters
    ----------
    labels, predictions : (n,) ints
        Predictions may be probabilities or scores (n, classes), too.
    classes : sequence of str, optional
        Their names.

    Returns
    -------
    matplotlib.figure.Figure
        Rows are the labels; shades are shares of a row.

    Examples
    --------
    >>> gt.plot.confusion([0, 1, 1], [0, 1, 0]).axes[0].get_title()
    'Confusion matrix: 2 of 3 right'
    """
    true, guessed = _host(labels), _host(predictions)
    if true.dtype.kind not in "biuf" or (true.ndim > 1 and true.shape[-1] > 1):
        raise ShapeError(
            f"confusion: labels are {true.dtype} of shape {true.shape}; they must be class numbers "
            "of shape (n,), as one_hot.argmax(axis=-1) gives them"
        )
    true = true.ravel()
    scores = guessed.shape[-1] if guessed.ndim > 1 else 0
    guessed = guessed.argmax(axis=-1).ravel() if guessed.ndim > 1 else guessed
    _same_length("confusion", labels=true, predictions=guessed)
    if not len(true):
        raise ShapeError("confusion: labels is empty")
    count = max(int(true.max()) + 1, int(guessed.max()) + 1, scores, len(classes or ()))
    if classes is not None and len(classes) < count:
        raise ValueError(f"confusion: classes has {len(classes)} names, there are {count} classes")
    table = np.zeros((count, count), np.int64)
    np.add.at(table, (true.astype(np.int64), guessed.astype(np.int64)), 1)
    names = [str(i) for i in range(count)] if classes is None else list(classes)
    side = min(3.2 + 0.42 * count, 11)
    figure = _figure(side + 1, side)
    axes = figure.subplots()
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if count <= _LARGEST:
        for (i, j), n in np.ndenumerate(table):
            if n:
                color = "white" if shares[i, j] > 0.5 else "black"
                axes.text(j, i, f"{n}", ha="center", va="center", fontsize=8, color=color)
        turned = max(map(len, names)) > 3
        axes.set_xticks(range(count), names, rotation=90 if turned else 0)
        axes.set_yticks(range(count), names)
    right = int(table.trace())
    axes.set(
        title=f"Confusion matrix: {right:,} of {len(true):,} right",
        xlabel="predicted class",
        ylabel="true class",
    )
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
    return figure


def wrong(
    images: Any,
    labels: Any,
    predictions: Any,
    most: int = 24,
    classes: Sequence[str] | None = None,
) -> "Figure":
    """Samples whose prediction is wrong; the title says that they were chosen for it.

    Parameters
    ----------
    images : (n, height, width) or (n, height, width, 3) array
    labels, predictions : (n,) ints
        Predictions may be probabilities or scores (n, classes), too.
    most : int
        How many are shown, the first ones.
    classes : sequence of str, optional
        Their names.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> figure = gt.plot.wrong(np.zeros((3, 8, 8)), [0, 1, 1], [0, 1, 0])
    >>> print(figure.get_suptitle())
    The 1 wrong prediction of 3, chosen because it is wrong: predicted (true)
    """
    shown, true, guessed = _host(images), _host(labels).ravel(), _host(predictions)
    guessed = guessed.argmax(axis=-1).ravel() if guessed.ndim > 1 else guessed
    _same_length("wrong", images=shown, labels=true, predictions=guessed)
    if shown.ndim not in (3, 4):
        raise ShapeError(
            f"wrong: images has shape {shown.shape}; it must be (n, height, width) or "
            "(n, height, width, channels)"
        )
    found = np.flatnonzero(true != guessed)
    columns = 8
    rows = max(-(-min(len(found), most) // columns), 1)
    figure = _figure(9, (1.35 if classes is None else 1.6) * rows + 0.7)
    cells = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in cells:
        axes.axis("off")

    def name(i: Any) -> str:
        return str(i) if classes is None else classes[int(i)]

    for axes, i in zip(cells, found[:most], strict=False):
        axes.imshow(shown[i].squeeze(), cmap="gray_r")
        text = f"{name(guessed[i])} ({name(true[i])})"
        text = text.replace(" (", "\n(") if classes is not None else text
        axes.set_title(text, fontsize=9, color="crimson")
    first = f"The first {most} of {len(found):,}" if len(found) > most else f"The {len(found)}"
    plural = "s" * (len(found) != 1)
    why = "they are" if plural else "it is"
    text = f"{first} wrong prediction{plural} of {len(true):,}, chosen because {why} wrong"
    figure.suptitle(
        f"{text}: predicted (true)" if len(found) else f"No wrong prediction of {len(true):,}"
    )
    return figure


def boundary(
    classify: Callable[[Any], Any],
    points: Any,
    labels: Any,
    steps: int = 200,
    names: tuple[str, str] = ("first coordinate", "second coordinate"),
) -> "Figure":
    """What a classifier says of the plane, and the points that it was made for.

    Parameters
    ----------
    classify : callable
        Takes points (n, 2), gives the probability of class 1 (n,), or scores (n, classes), or the
        numbers of classes (n,).
    points : (n, 2) array
    labels : (n,) ints
    steps : int
        Places along each axis where it is asked.
    names : pair of str
        Of the axes.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> points = gt.tensor([[0.0, 1.0], [1.0, 0.0]])
    >>> figure = gt.plot.boundary(lambda p: p[:, 0] > p[:, 1], points, [0, 1], steps=20)
    >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    ['class 0', 'class 1']
    """
    places, true = _host(points), _host(labels).ravel()
    _same_length("boundary", points=places, labels=true)
    if places.ndim != 2 or places.shape[1] != 2:
        raise ShapeError(f"boundary: points has shape {places.shape}; it must be (n, 2)")
    low, high = places.min(axis=0), places.max(axis=0)
    edge = 0.08 * np.maximum(high - low, 1e-9)
    u, v = np.meshgrid(*(np.linspace(low[i] - edge[i], high[i] + edge[i], steps) for i in (0, 1)))
    grid = np.stack([u.ravel(), v.ravel()], axis=1).astype(places.dtype)
    like = points if isinstance(points, Tensor) else None
    with no_grad():
        if like is not None:
            from gputensor.ops.creation import asarray

            said = _host(classify(asarray(grid, device=like.device)))
        else:
            said = _host(classify(grid))
    if said.ndim == 0 or len(said) != len(grid):
        raise ShapeError(
            f"boundary: classify gave shape {said.shape} for {len(grid)} points; it must give "
            "(n,) or (n, classes)"
        )
    figure = _figure(6.5, 5)
    axes = figure.subplots()
    best, title = None, "Class with the largest score"
    if said.ndim == 2 and said.shape[1] > 1:
        best, count = said.argmax(axis=1), said.shape[1]
    elif said.dtype.kind in "iu":
        best, count, title = said, max(int(said.max()), int(true.max())) + 1, "Class that is given"
    elif not 0 <= said.min() <= said.max() <= 1:
        raise ValueError(
            f"boundary: classify gave numbers from {said.min():.4g} to {said.max():.4g}; (n,) must "
            "be the probability of class 1, such as gt.sigmoid(...), or a class's number, an int"
        )
    else:
        count = 2
    colors = _colors(max(count, int(true.max()) + 1))
    if best is not None:
        best = best.reshape(u.shape)
        axes.contourf(u, v, best, np.arange(count + 1) - 0.5, colors=colors, alpha=0.3)
        axes.contour(u, v, best, np.arange(1, count) - 0.5, colors="black", linewidths=0.8)
    else:
        chance = said.reshape(u.shape).astype(float)
        from matplotlib.colors import LinearSegmentedColormap

        shades = LinearSegmentedColormap.from_list("", [colors[0], "white", colors[1]])
        image = axes.contourf(u, v, chance, np.linspace(0, 1, 21), cmap=shades, alpha=0.6)
        axes.contour(u, v, chance, [0.5], colors="black", linewidths=1)
        figure.colorbar(
            image, ax=axes, label="probability of class 1", ticks=[0, 0.25, 0.5, 0.75, 1]
        )
        title = "Probability of class 1; the line is one half"
    for k in np.unique(true):
        at = places[true == k]
        axes.scatter(
            at[:, 0],
            at[:, 1],
            s=14,
            color=colors[int(k)],
            edgecolors="black",
            linewidths=0.4,
            label=f"class {k}",
        )
    axes.legend(loc="upper right")
    axes.set(title=title, xlabel=names[0], ylabel=names[1])
    return figure


def _colors(count: int) -> list[Any]:
    from matplotlib import colormaps

    return [colormaps["tab10" if count <= 10 else "tab20"](i) for i in range(count)]


# ---------------------------------------------------------------- models


def layers(model: Any) -> "Figure":
    """Number of parameters of each layer.

    Parameters
    ----------
    model : Module or keras Model

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> net = gt.nn.Sequential(gt.nn.Dense(4, 3), gt.nn.Dense(3, 2))
    >>> gt.plot.layers(net).axes[0].get_title()
    'Sequential: 23 parameters'
    """
    found = _parts(model)
    names, trained, frozen = [], [], []
    for name, layer in found:
        own = layer.parameters()
        active = sum(p.size for p in own if p.requires_grad)
        total = sum(p.size for p in own)
        names.append(f"{name} ({type(layer).__name__})")
        trained.append(active)
        frozen.append(total - active)
    figure = _figure(7, 0.42 * len(names) + 1.4)
    axes = figure.subplots()
    at = np.arange(len(names))
    axes.barh(at, trained, label="trained")
    if any(frozen):
        axes.barh(at, frozen, left=trained, label="frozen")
        axes.legend()
    for i, (a, b) in enumerate(zip(trained, frozen, strict=True)):
        axes.text(a + b, i, f" {a + b:,}", va="center", fontsize=9)
    axes.set_yticks(at, names)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    total = sum(p.size for p in model.parameters())
    axes.set(title=f"{type(model).__name__}: {total:,} parameters", xlabel="parameters")
    axes.set_ylabel("layer")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    return figure


def _parts(model: Any) -> list[tuple[str, Any]]:
    if getattr(model, "layers", None) and hasattr(model, "summary"):  # a Keras model
        return [(layer.name, layer) for layer in model.layers]
    return list(model.children()) or [(type(model).__name__, model)]


def activations(model: Any, x: Any, bins: int = 60) -> "Figure":
    """How the results of each layer are spread, for a batch.

    Parameters
    ----------
    model : Sequential, or dict of array
        Layers that follow each other, or results by name.
    x : Tensor or array
        A batch; not used with results.
    bins : int

    Returns
    -------
    matplotlib.figure.Figure
        A histogram for each layer; its title says the share of zeros, the text on the axis mean
        and deviation.

    Examples
    --------
    >>> net = gt.nn.Sequential(gt.nn.Dense(4, 3), gt.nn.ReLU())
    >>> figure = gt.plot.activations(net, gt.ones((5, 4)))
    >>> len(figure.axes)
    2
    """
    outputs: dict[str, Any] = {}
    if isinstance(model, Mapping):
        outputs = dict(model)
    else:
        if not getattr(model, "layers", None):
            raise TypeError(
                f"activations: model is a {type(model).__name__}, whose layers need not follow "
                "each other; give the results by name, as a dict"
            )
        from gputensor.ops.creation import asarray

        with no_grad():
            value = x if isinstance(x, Tensor) else asarray(x)
            for name, layer in _parts(model):
                value = layer(value)
                outputs[f"{name} ({type(layer).__name__})"] = value
    figure = _figure(7, 1.5 * len(outputs) + 0.8)
    for axes, (name, out) in zip(
        figure.subplots(len(outputs), 1, squeeze=False)[:, 0], outputs.items(), strict=True
    ):
        values = _host(out).ravel().astype(np.float64)
        finite = values[np.isfinite(values)]
        axes.hist(finite, bins=bins, weights=np.full(len(finite), 100 / max(len(values), 1)))
        zeros = f", {np.mean(values == 0):.0%} zeros" if (values == 0).any() else ""
        lost = len(values) - len(finite)
        zeros += f", {lost} not finite" if lost else ""
        axes.set_title(
            f"{name}: mean {finite.mean():.3g}, deviation {finite.std():.3g}{zeros}", fontsize=10
        )
        axes.set_ylabel("values, %", fontsize=9)
    figure.axes[-1].set_xlabel("value")
    figure.suptitle("Results of each layer, for a batch")
    return figure


def landscape(
    loss: Callable[[], Any],
    parameters: Sequence[Tensor],
    radius: float = 1.0,
    steps: int = 25,
    seed: int = 0,
) -> "Figure":
    """The loss around the parameters, along two random directions.

    In each parameter a direction is as long as the parameter itself, so that the scales of layers
    do not matter (Li et al., "Visualizing the loss landscape of neural nets", 2018; there it is so
    for each filter). The parameters are as before afterwards.

    Parameters
    ----------
    loss : callable
        Takes nothing, gives the loss with the parameters as they are.
    parameters : sequence of Tensor
    radius : float
        How far to go; 1 is as far as the parameters are from 0.
    steps : int
        Places along each direction.
    seed : int
        Of the directions.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> w = gt.tensor([1.0, 2.0], requires_grad=True)
    >>> figure = gt.plot.landscape(lambda: (w * w).sum(), [w], steps=5)
    >>> w.detach().tolist()
    [1.0, 2.0]
    """
    rng = np.random.default_rng(seed)
    kept = [np.array(_host(p)) for p in parameters]
    directions = []
    for _ in range(2):
        drawn = [rng.standard_normal(k.shape) for k in kept]
        directions.append(
            [
                d * np.linalg.norm(k) / max(np.linalg.norm(d), 1e-12)
                for d, k in zip(drawn, kept, strict=True)
            ]
        )
    along = np.linspace(-radius, radius, steps)
    values = np.empty((steps, steps))

    def put(a: float, b: float) -> None:
        for p, k, d, e in zip(parameters, kept, *directions, strict=True):
            p[...] = backend.to_device((k + a * d + b * e).astype(k.dtype), p.device)

    with no_grad():
        try:
            for i, b in enumerate(along):
                for j, a in enumerate(along):
                    put(a, b)
                    values[i, j] = _host(loss()).item()
        finally:
            put(0, 0)
    figure = _figure(6, 5)
    axes = figure.subplots()
    shown = np.where(np.isfinite(values), values, np.nan)
    image = axes.contourf(along, along, shown, 25, cmap="viridis")
    axes.contour(along, along, shown, 25, colors="white", linewidths=0.3)
    axes.plot(0, 0, "r*", markersize=12, label="the parameters")
    axes.legend(loc="upper right")
    figure.colorbar(image, ax=axes, label="loss")
    axes.set(
        title="Loss along two random directions",
        xlabel="first direction, in lengths of the parameters",
        ylabel="second direction, in lengths of the parameters",
        aspect="equal",
    )
    return figure


# ---------------------------------------------------------------- kernels


def roofline(
    kernels: Mapping[str, tuple[float, float, float]],
    peak: float,
    bandwidth: float,
    machine: str = "",
) -> "Figure":
    """Kernels under the roof of a machine (Williams, Waterman & Patterson 2009).

    Parameters
    ----------
    kernels : dict
        By name operations, bytes that are read and written, and seconds.
    peak : float
        Operations a second that the machine can do.
    bandwidth : float
        Bytes a second that it can move.
    machine : str
        Its name.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> figure = gt.plot.roofline({"add": (1e6, 12e6, 1e-3)}, peak=1e11, bandwidth=2e10)
    >>> figure.axes[0].get_ylabel()
    'performance, GFLOP/s'
    """
    if not kernels:
        raise ValueError("roofline: kernels is empty; give {name: (operations, bytes, seconds)}")
    figure = _figure(7, 4.6)
    axes = figure.subplots()
    ridge = peak / bandwidth
    found = {name: (f / b, f / s / 1e9) for name, (f, b, s) in kernels.items()}
    left = min([*(x for x, _ in found.values()), ridge]) / 4
    right = max([*(x for x, _ in found.values()), ridge]) * 4
    xs = np.geomspace(left, right, 200)
    axes.loglog(xs, np.minimum(peak, bandwidth * xs) / 1e9, "k", label="what the machine can do")
    for color, (name, (x, y)) in zip(_colors(len(found)), found.items(), strict=True):
        share = y * 1e9 / min(peak, bandwidth * x)
        axes.plot(x, y, "o", color=color, label=f"{name}: {share:.0%} of it")
    axes.axvline(ridge, color="gray", linestyle=":", linewidth=1)
    axes.set(
        title="Roofline" + (f" of {machine}" if machine else ""),
        xlabel="operations for each byte moved, FLOP/byte",
        ylabel="performance, GFLOP/s",
    )
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=9, loc="lower right")
    return figure
