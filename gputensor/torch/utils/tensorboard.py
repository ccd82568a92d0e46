"""``torch.utils.tensorboard``: event files, which TensorBoard shows."""

import datetime
import os
import socket
from typing import Any, Self

import numpy as np

from gputensor import backend
from gputensor.autograd import Tensor as Engine
from gputensor.event_files import EventFile

__all__ = ["SummaryWriter"]


def _array(values: Any) -> Any:
    return backend.to_host(values.array) if isinstance(values, Engine) else np.asarray(values)


class SummaryWriter:
    """Writes numbers, histograms, images and texts by name and step.

    Parameters
    ----------
    log_dir : path-like, optional
        By default a folder of the time and the machine in ``runs``.
    comment : str
        End of that folder's name.
    filename_suffix : str
    max_queue, flush_secs
        When something is written, which is at once here.
    purge_step
        None: nothing that is written is taken back.

    Examples
    --------
    >>> with torch.utils.tensorboard.SummaryWriter("runs/first") as writer:  # doctest: +SKIP
    ...     writer.add_scalar("loss", 0.5, 1)
    """

    def __init__(
        self,
        log_dir: Any = None,
        comment: str = "",
        purge_step: int | None = None,
        max_queue: int = 10,
        flush_secs: int = 120,
        filename_suffix: str = "",
    ) -> None:
        if purge_step is not None:
            raise ValueError("SummaryWriter: purge_step is not supported; write to a new log_dir")
        if not log_dir:
            now = datetime.datetime.now().strftime("%b%d_%H-%M-%S")
            log_dir = os.path.join("runs", f"{now}_{socket.gethostname()}{comment}")
        self.log_dir = str(log_dir)
        self._suffix = filename_suffix
        self._file = EventFile(self.log_dir, filename_suffix)
        self._others: dict[str, EventFile] = {}

    def get_logdir(self) -> str:
        """The folder."""
        return self.log_dir

    def add_scalar(
        self,
        tag: str,
        scalar_value: Any,
        global_step: int | None = None,
        walltime: float | None = None,
        new_style: bool = False,
        double_precision: bool = False,
    ) -> None:
        """Write a number."""
        self._file.scalar(tag, float(_array(scalar_value)), global_step or 0, walltime)

    def add_scalars(
        self,
        main_tag: str,
        tag_scalar_dict: dict[str, Any],
        global_step: int | None = None,
        walltime: float | None = None,
    ) -> None:
        """Write numbers that are shown in one figure, each to a folder of its own."""
        for name, value in tag_scalar_dict.items():
            folder = os.path.join(self.log_dir, f"{main_tag}_{name}".replace("/", "_"))
            if folder not in self._others:
                self._others[folder] = EventFile(folder, self._suffix)
            number = float(_array(value))
            self._others[folder].scalar(main_tag, number, global_step or 0, walltime)

    def add_histogram(
        self,
        tag: str,
        values: Any,
        global_step: int | None = None,
        bins: Any = "tensorflow",
        walltime: float | None = None,
        max_bins: int | None = None,
    ) -> None:
        """Write how values are distributed, in 30 bins or in those that NumPy knows by `bins`."""
        if max_bins is not None:
            raise ValueError("add_histogram: max_bins is not supported; give bins a number")
        edges = 30 if isinstance(bins, str) and bins == "tensorflow" else bins
        self._file.histogram(tag, _array(values), global_step or 0, walltime, edges)

    def add_image(
        self,
        tag: str,
        img_tensor: Any,
        global_step: int | None = None,
        walltime: float | None = None,
        dataformats: str = "CHW",
    ) -> None:
        """Write an image; `dataformats` says where height, width and channels are."""
        array = _array(img_tensor)
        order = [dataformats.upper().index(axis) for axis in "HWC" if axis in dataformats.upper()]
        self._file.image(tag, array.transpose(order), global_step or 0, walltime)

    def add_images(
        self,
        tag: str,
        img_tensor: Any,
        global_step: int | None = None,
        walltime: float | None = None,
        dataformats: str = "NCHW",
    ) -> None:
        """Write images side by side."""
        array = _array(img_tensor)
        order = [dataformats.upper().index(axis) for axis in "NHWC"]
        row = np.concatenate([*array.transpose(order)], axis=1)
        self._file.image(tag, row, global_step or 0, walltime)

    def add_figure(
        self,
        tag: str,
        figure: Any,
        global_step: int | None = None,
        close: bool = True,
        walltime: float | None = None,
    ) -> None:
        """Write a figure of matplotlib's as an image."""
        figure.canvas.draw()
        pixels = np.asarray(figure.canvas.buffer_rgba())
        self._file.image(tag, pixels, global_step or 0, walltime)
        if close:
            import matplotlib.pyplot as plt

            plt.close(figure)

    def add_text(
        self,
        tag: str,
        text_string: str,
        global_step: int | None = None,
        walltime: float | None = None,
    ) -> None:
        """Write a text."""
        self._file.text(f"{tag}/text_summary", text_string, global_step or 0, walltime)

    def add_graph(self, model: Any, input_to_model: Any = None, verbose: bool = False) -> None:
        """Write nothing: ``gputensor.plot.layers`` draws models."""

    def flush(self) -> None:
        """See that all is in the files."""
        for file in (self._file, *self._others.values()):
            file.flush()

    def close(self) -> None:
        """Close the files."""
        for file in (self._file, *self._others.values()):
            file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
