"""What a training loop measured."""

from typing import Any

from gputensor.shown import in_units, table
from gputensor.training.callbacks import Callback

__all__ = ["History"]

_ROWS = 20  # of a table in a notebook


class History(Callback):
    """What ``fit`` measured.

    Attributes
    ----------
    history : dict of list
        For each metric its value in every epoch; those of the validation as ``val_...``.
    epoch : list of int
    seconds : list of float
        Time that each epoch took, without validation.
    params : dict
        ``epochs``, ``steps`` (batches of an epoch) and ``verbose``.

    Examples
    --------
    >>> model = keras.Sequential([keras.layers.Dense(1, input_shape=(2,))])
    >>> model.compile("sgd", "mse")
    >>> history = model.fit(np.ones((4, 2)), np.ones(4), epochs=3, verbose=0)
    >>> history.epoch, list(history.history)
    ([0, 1, 2], ['loss'])
    """

    def __init__(self, params: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.history: dict[str, list[Any]] = {}
        self.epoch: list[int] = []
        self.seconds: list[float] = []
        self.params = params or {}

    def __repr__(self) -> str:
        if not self.epoch:
            return "History of no epochs"
        last = ", ".join(f"{name} {values[-1]:.4g}" for name, values in self.history.items())
        count = len(self.epoch)
        return f"History of {count} epoch{'s' * (count != 1)}; the last: {last}"

    def _repr_html_(self) -> str:
        """A row for each epoch, in a notebook; of many the first and the last ones."""
        names = list(self.history)
        rows: list[tuple[Any, ...]] = [
            (epoch + 1, *(f"{self.history[name][i]:.4g}" for name in names), in_units(seconds))
            for i, (epoch, seconds) in enumerate(zip(self.epoch, self.seconds, strict=False))
        ]
        if len(rows) > _ROWS:
            left = ("…",) * (len(names) + 2)
            rows = [*rows[: _ROWS // 2], left, *rows[-_ROWS // 2 :]]
        return table(("Epoch", *names, "Time"), rows, "History")

    def add(self, epoch: int, values: dict[str, Any]) -> None:
        """Append an epoch's values."""
        self.epoch.append(epoch)
        for name, value in values.items():
            self.history.setdefault(name, []).append(value)

    def latest(self) -> dict[str, Any]:
        """The values of the last epoch."""
        return {name: column[-1] for name, column in self.history.items() if column}
