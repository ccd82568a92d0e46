"""Lines of the user's in a stack of calls."""

import linecache
import sys
import warnings
from collections.abc import Iterable
from types import CodeType, FrameType

_LIBRARIES = {
    *("contextlib", "cupy", "cupy_backends", "cupyx", "functools", "gputensor", "numpy", "nvmath"),
}


class _LibraryFiles(dict[str, bool]):
    """Whether a source file is one of those libraries', by its name."""

    def __missing__(self, file: str) -> bool:
        # Tracebacks name compiled code by its source's path in the package: cupy/cuda/memory.pyx.
        self[file] = file.partition("/")[0] in _LIBRARIES or file in [
            getattr(module, "__file__", None)
            for name, module in list(sys.modules.items())
            if name.partition(".")[0] in _LIBRARIES
            and not name.startswith("gputensor.benchmarks.")  # which only use it
        ]
        return self[file]


_library_files = _LibraryFiles()

# What the library's own computations run through; not to be told from it where Python is watched.
_TOOLS = _LIBRARIES | {"llvmlite", "numba", "scipy", "threadpoolctl"} | sys.stdlib_module_names


def is_library(frame: FrameType) -> bool:
    """Whether a frame is of a function of the library's, or of what that is made with."""
    name = frame.f_globals.get("__name__")
    if name is None:  # Numba's frames have no globals
        return _library_files[frame.f_code.co_filename]
    if name.startswith("gputensor.benchmarks."):
        return False
    root = name.partition(".")[0]
    return root in _TOOLS or root.startswith("namedtuple_")


def user_frame(frame: FrameType) -> FrameType:
    """The first frame from `frame` outwards that is the user's; the last, if none is."""
    while _library_files[frame.f_code.co_filename] and frame.f_back is not None:
        frame = frame.f_back
    return frame


def warn_user(text: str) -> None:
    """Warn of something at the user's line, once for each."""
    frame = user_frame(sys._getframe(1))
    warnings.warn_explicit(
        text,
        UserWarning,
        frame.f_code.co_filename,
        frame.f_lineno,
        registry=frame.f_globals.setdefault("__warningregistry__", {}),
    )


def place(code: CodeType, instruction: int) -> tuple[str, str, str]:
    """Where an instruction (a frame's ``f_lasti``) is: ``file:line``, function and source."""
    number: int | None = code.co_firstlineno
    for start, end, line in code.co_lines():
        if start <= instruction < end and line is not None:
            number = line
            break
    text = linecache.getline(code.co_filename, number or 0).strip()
    return f"{code.co_filename}:{number}", code.co_name, text


def user_line(frames: Iterable[FrameType] | None = None) -> str:
    """Where the user's code is, ``file:line: source``.

    Parameters
    ----------
    frames : iterable of frames, optional
        A stack, innermost frame first; by default the calling thread's.
    """
    if frames is None:
        frame = user_frame(sys._getframe(1))
    else:
        for frame in frames:  # the last one, if none is the user's
            if not _library_files[frame.f_code.co_filename]:
                break
    where, _, text = place(frame.f_code, frame.f_lasti)
    return f"{where}: {text}"
