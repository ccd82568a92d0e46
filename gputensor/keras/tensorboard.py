"""The callback that writes what TensorBoard shows."""

import time
from pathlib import Path
from typing import Any

from gputensor import backend
from gputensor.event_files import EventFile
from gputensor.training.callbacks import Callback

__all__ = ["TensorBoard"]


class TensorBoard(Callback):
    """Write measures, and histograms of weights, to event files, which TensorBoard shows.

    Parameters
    ----------
    log_dir : path-like
        Training is in its folder ``train``, validation in ``validation``.
    histogram_freq : int
        Epochs from one histogram of each weight to the next; none if it is 0.
    update_freq : "epoch", "batch" or int
        Measures are written after each epoch, and after so many batches, too.
    write_steps_per_second : bool
    write_graph : bool
        Says nothing: ``gputensor.plot.layers`` draws models.

    Examples
    --------
    >>> callback = keras.callbacks.TensorBoard("logs")
    >>> callback.log_dir
    'logs'
    """

    writes_files = True
    _kept = ("_batches",)

    def __init__(
        self,
        log_dir: Any = "logs",
        histogram_freq: int = 0,
        write_graph: bool = True,
        write_images: bool = False,
        write_steps_per_second: bool = False,
        update_freq: str | int = "epoch",
        profile_batch: Any = 0,
        embeddings_freq: int = 0,
        embeddings_metadata: Any = None,
    ) -> None:
        super().__init__()
        if write_images or embeddings_freq or embeddings_metadata is not None or profile_batch:
            raise ValueError(
                "TensorBoard: write_images, embeddings_freq and profile_batch are not supported; "
                "leave them away"
            )
        if update_freq not in ("epoch", "batch") and not isinstance(update_freq, int):
            raise ValueError(
                f"TensorBoard: update_freq is {update_freq!r}; allowed are 'epoch', 'batch' and "
                "ints"
            )
        self.log_dir = str(log_dir)
        self.histogram_freq = histogram_freq
        self.write_steps_per_second = write_steps_per_second
        self.update_freq = 1 if update_freq == "batch" else update_freq
        self._files: dict[str, EventFile] = {}
        self._batches = 0
        if self.update_freq != "epoch":  # measures of batches are read for this alone
            self.on_train_batch_end = self._batch  # type: ignore[method-assign]

    def _file(self, part: str) -> EventFile:
        if part not in self._files:
            self._files[part] = EventFile(Path(self.log_dir) / part, ".v2")
        return self._files[part]

    def on_train_begin(self, logs: Any = None) -> None:
        """Begin with new files."""
        self._batches = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Take the time."""
        self._began = time.perf_counter(), self._steps()

    def _steps(self) -> int:
        return int(self.model.optimizer.iterations)

    def _batch(self, batch: int, logs: Any = None) -> None:
        """Write the measures of a batch."""
        if self._batches % int(self.update_freq) == 0:
            for name, value in (logs or {}).items():
                self._file("train").scalar(f"batch_{name}", float(value), self._batches)
        self._batches += 1

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Write the measures of an epoch."""
        train = self._file("train")
        for name, value in (logs or {}).items():
            if name.startswith("val_"):
                self._file("validation").scalar(f"epoch_{name[4:]}", float(value), epoch)
            else:
                train.scalar(f"epoch_{name}", float(value), epoch)
        if "learning_rate" not in (logs or {}):
            train.scalar("epoch_learning_rate", float(self.model.optimizer.learning_rate), epoch)
        if self.write_steps_per_second:
            began, steps = self._began
            pace = (self._steps() - steps) / (time.perf_counter() - began)
            train.scalar("epoch_steps_per_second", pace, epoch)
        if self.histogram_freq and epoch % self.histogram_freq == 0:
            for layer in self.model.layers:
                for name, weight in layer.named_parameters():
                    values = backend.to_host(weight.array)
                    train.histogram(f"{layer.name}/{name}/histogram", values, epoch)
        for file in self._files.values():
            file.flush()

    def on_test_end(self, logs: Any = None) -> None:
        """Write the measures of an evaluation by the number of steps."""
        steps = 0 if getattr(self.model, "optimizer", None) is None else self._steps()
        for name, value in (logs or {}).items():
            tag = f"evaluation_{name}_vs_iterations"
            self._file("validation").scalar(tag, float(value), steps)

    def on_train_end(self, logs: Any = None) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()
        self._files = {}
