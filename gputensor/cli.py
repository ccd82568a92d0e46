"""The command ``gputensor``, and ``python -m gputensor``."""

import argparse
import importlib
import inspect
import os
import runpy
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import gputensor
from gputensor import backend, config
from gputensor.shown import in_bytes

__all__ = ["entry", "main"]


def _doctor(parser: argparse.ArgumentParser, args: argparse.Namespace) -> int:
    from gputensor.doctor import doctor

    return doctor()


_BENCHMARKS = {
    "epilogue": "products with cublasLt's epilogues against a kernel after them, on CUDA",
    "graph": "thirty operations and short trainings, captured and eager",
    "kernels": "each fused kernel against plain NumPy or CuPy and PyTorch, and a memory copy",
    "matmul": "matrix products",
    "mnist": "an epoch of training",
    "overhead": "cost of the tape, with thirty small operations",
    "small": "an epoch of training a small model, with small batches",
    "training": "steps of a convolutional net, autoencoders and a transformer",
}


def bench(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Run a benchmark; the command line that asks for what there is not ends with its usage."""
    for path in (args.json, args.plot):
        if path and not path.parent.is_dir():
            parser.error(f"there is no folder {path.parent} to write {path.name} to")
    common = importlib.import_module("gputensor.benchmarks.common")
    module = importlib.import_module(f"gputensor.benchmarks.{args.name}")
    try:
        where = backend.device(args.device)
        peers = common.choose_peers(args.compare, module.PEERS, where)
    except (gputensor.errors.DeviceError, common.PeerError) as error:
        parser.error(str(error))
    if where.kind != "cuda" and getattr(module, "CUDA_ONLY", False):
        parser.error(f"bench {args.name} needs a CUDA device, and {where} is none")
    own = {key: value for key, value in vars(args).items() if key in ("accuracy", "data")}
    beside = ", ".join(common.LABELS[p] for p in peers) or "nobody"
    print(f"bench {args.name}: {_BENCHMARKS[args.name]}; {where}, beside {beside}", file=sys.stderr)
    with where, backend.on_device_of(where):
        report = module.run(where, peers, args.repeats or module.REPEATS, **own)
    common.save(report, args.json, args.plot)


def _rounds(text: str) -> int:
    if not text.isdecimal() or int(text) < 2:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of rounds, 2 or more")
    return int(text)


def _add_bench(parser: argparse.ArgumentParser) -> None:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--compare",
        metavar="PEERS",
        help="of torch, jax, autograd, numpy (CuPy on CUDA), with commas; default: all there are",
    )
    shared.add_argument("--device", help="cpu, cuda or cuda:N; default: that of new tensors")
    shared.add_argument("--repeats", type=_rounds, help="rounds in which all take turns")
    shared.add_argument("--json", type=Path, metavar="FILE", help="where to write all figures")
    shared.add_argument("--plot", type=Path, metavar="FILE", help="where to write a chart")
    names = parser.add_subparsers(dest="name", required=True)
    parsers = {
        name: names.add_parser(name, help=text, description=text, parents=[shared])
        for name, text in _BENCHMARKS.items()
    }
    for name in ("mnist", "small"):
        parsers[name].add_argument("--data", type=Path, help="a data set of MNIST's form")
    parsers["mnist"].add_argument(
        "--accuracy", action="store_true", help="ten epochs for seeds 0, 1, 2 too"
    )


def _count(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from {least} on")
        return int(text)

    return parse


def _add_launch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-n", type=_count(1), required=True, metavar="N", help="processes")
    parser.add_argument(
        "--restarts",
        type=_count(0),
        default=0,
        metavar="N",
        help="how often all are started again after an error, to go on from the last checkpoint",
    )
    parser.add_argument("script", help="which calls gputensor.distributed.init()")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="of the script")


def launch(parser: argparse.ArgumentParser, args: argparse.Namespace) -> int:
    """Run a script in several processes."""
    from gputensor.distributed import launch

    if not Path(args.script).is_file():
        parser.error(f"there is no script {args.script}")
    try:
        return launch.launch(args.n, [args.script, *args.arguments], args.restarts)
    except gputensor.errors.DistributedError as error:
        parser.error(str(error))


_RECIPES = ("mnist", "fashion-mnist", "cifar10", "digits")


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", choices=_RECIPES, help="digits are scikit-learn's, 8 x 8 pixels")
    parser.add_argument("--model", choices=("dense", "conv"), default="dense")
    parser.add_argument("--epochs", type=_count(1), default=10, metavar="N")
    parser.add_argument("--batch-size", type=_count(1), default=256, metavar="N")
    parser.add_argument("--device", help="cpu, cuda or cuda:N; default: that of new tensors")
    parser.add_argument("--seed", type=_count(0), default=0, metavar="N")
    parser.add_argument(
        "--resume", type=Path, metavar="DIR", help="save checkpoints here, and go on from here"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="where to draw loss and accuracy")


def train(parser: argparse.ArgumentParser, args: argparse.Namespace) -> int:
    """Train a model on a data set."""
    from gputensor import recipes

    if args.plot and not args.plot.parent.is_dir():
        parser.error(f"there is no folder {args.plot.parent} to write {args.plot.name} to")
    options = {k: v for k, v in vars(args).items() if k not in ("command", "data")}
    try:
        recipes.train(args.data, **options)
    except KeyboardInterrupt:
        again = (
            "the same command goes on from there"
            if args.resume
            else "with --resume DIR checkpoints are kept, from which the same command goes on"
        )
        print(f"Interrupted; {again}.", file=sys.stderr)
        return _INTERRUPTED
    return 0


# What gputensor itself puts into its cache; nothing else is ever removed.
_CACHED = {
    "loops": ("loops",),
    "kernels": ("kernels",),
    "data": (
        *("mnist.npz", "fashion-mnist", "cifar-10-python.tar.gz", "cifar-100-python.tar.gz"),
        *("boston_housing.npz", "california_housing.npz", "imdb.npz", "imdb_word_index.json"),
        *("reuters.npz", "reuters_word_index.json", "keras"),
    ),
}


def _add_cache(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", nargs="?", choices=("list", "size", "clear"), default="list")
    parser.add_argument(
        "what", nargs="?", choices=(*_CACHED, "all"), default="all", help="default: all"
    )


def cache(parser: argparse.ArgumentParser, args: argparse.Namespace) -> int:
    """List, measure or remove what is kept for the next time."""
    from gputensor.doctor import size_of

    folder = config.cache_dir()
    kinds = list(_CACHED) if args.what == "all" else [args.what]
    places = [folder / name for kind in kinds for name in _CACHED[kind]]
    places = [place for place in places if place.exists()]
    sizes = {place: size_of(place) for place in places}
    total = in_bytes(sum(sizes.values()))
    if args.action == "size":
        print(total)
        return 0
    for place, size in sizes.items():
        if args.action == "clear":
            try:
                shutil.rmtree(place) if place.is_dir() else place.unlink()
            except OSError as error:
                parser.error(f"{place} cannot be removed: {error.strerror or error}")
        print(f"{in_bytes(size):>10}  {place}")
    verb = "removed from" if args.action == "clear" else "in"
    print(f"{total:>10}  {verb} {folder}")
    return 0


def _add_explain(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("function", metavar="FILE:FUNCTION", help="such as model.py:step")
    parser.add_argument(
        "shapes",
        nargs="*",
        metavar="SHAPE",
        help="of its arguments: 32x784, 32:int64, or () for a scalar; numbers are drawn at random",
    )
    parser.add_argument("--device", help="cpu, cuda or cuda:N; default: that of new tensors")


def _drawn(text: str) -> Any:
    """A tensor of random numbers, or of zeros and ones, from ``32x784`` or ``32:int64``."""
    shape, _, dtype = text.partition(":")
    try:
        sizes = () if shape == "()" else tuple(int(n) for n in shape.split("x"))
        kind = np.dtype(dtype or config.default_dtype())
    except (TypeError, ValueError):
        raise ValueError(
            f"{text!r} is no shape; write 32x784, 32:int64, or () for a scalar"
        ) from None
    rng = np.random.default_rng(0)
    found = rng.normal(size=sizes) if kind.kind in "fc" else rng.integers(0, 2, sizes)
    return gputensor.asarray(np.asarray(found).astype(kind))


def explain(parser: argparse.ArgumentParser, args: argparse.Namespace) -> int:
    """Print what a function of a script becomes when it is captured."""
    file, _, name = args.function.rpartition(":")
    if not Path(file).is_file():
        parser.error(f"there is no file {file or args.function!r}; write FILE:FUNCTION")
    where = backend.device(args.device)
    with where, backend.on_device_of(where):
        found = _run_file(file)
        if not callable(found.get(name)):
            there = [k for k, v in found.items() if callable(v) and k[0] != "_"]
            parser.error(f"{file} has no function {name!r}; it has {', '.join(there) or 'none'}")
        try:
            arguments = [_drawn(text) for text in args.shapes]
            inspect.signature(found[name]).bind(*arguments)
        except ValueError as error:
            parser.error(str(error))
        except TypeError as error:
            parser.error(f"{name}{inspect.signature(found[name])}: {error}; give a SHAPE for each")
        print(gputensor.explain(found[name])(*arguments))
    return 0


def _run_file(file: str) -> dict[str, Any]:
    """Names of a file, which finds what lies beside it; its errors are told from its lines on."""
    sys.path.insert(0, str(Path(file).resolve().parent))
    try:
        return runpy.run_path(file, run_name=Path(file).stem)
    except Exception as error:
        at = error.__traceback__
        while at is not None and at.tb_frame.f_code.co_filename != file:
            at = at.tb_next
        traceback.print_exception(error.with_traceback(at))
        raise SystemExit(1) from None


def _add_check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="with kernels, and CASES to call them with")
    parser.add_argument(
        "--arch",
        nargs="+",
        metavar="SM",
        help="to compile for, such as sm_90; default: sm_80 sm_90 sm_120",
    )


def _cases(found: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Kernels of a file with what to call them with."""
    if "CASES" in found:
        cases = list(found["CASES"])
        for case in cases:
            if not isinstance(case, tuple) or not 2 <= len(case) <= 3 or type(case[1]) is not tuple:
                raise ValueError(
                    "CASES is a list of (kernel, arrays) or (kernel, arrays, attrs), such as "
                    "[(scale, (x,), {'factor': 2.0})], with a tuple of arrays"
                )
        return cases
    rng = np.random.default_rng(0)
    made = [k for k in found.values() if isinstance(k, gputensor.kernels.Kernel)]
    own = [k for k in made if k.reference.__module__ == found["__name__"]]
    draw = "arrays of float32 and shape (5, 33)"
    if own:
        print(f"There are no CASES, a list of (kernel, arrays): each operand is one of {draw}.")
    return [
        (k, tuple(rng.normal(size=(5, 33)).astype(np.float32) for _ in k.operands)) for k in own
    ]


def check(parser: argparse.ArgumentParser, args: argparse.Namespace) -> int:
    """Check the kernels of a file."""
    if not Path(args.file).is_file():
        parser.error(f"there is no file {args.file}")
    found = _run_file(args.file)
    try:
        cases = _cases(found)
    except ValueError as error:
        parser.error(f"{args.file}: {error}")
    if not cases:
        parser.error(f"{args.file} makes no kernel; gputensor new-kernel NAME writes one")
    options = {"architectures": args.arch} if args.arch else {}
    failed = 0
    for kernel, arrays, *attrs in cases:
        try:
            print(gputensor.kernels.check(kernel, *arrays, **options, **dict(*attrs)))
        except gputensor.errors.GPUTensorError as error:
            failed += 1
            print(f"kernel {getattr(kernel, 'name', kernel)}\n  FAILED       {error}")
    return int(failed > 0)


def _add_new_kernel(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="of the kernel and its files")
    parser.add_argument("--folder", type=Path, default=Path(), metavar="DIR", help="default: here")


def new_kernel(parser: argparse.ArgumentParser, args: argparse.Namespace) -> int:
    """Write the files of a kernel to begin with."""
    from gputensor.scaffold import new_kernel

    try:
        written = new_kernel(args.name, args.folder)
    except (ValueError, FileExistsError) as error:
        parser.error(str(error))
    print("Written:", ", ".join(map(str, written)))
    print(f"Next: {Path(sys.executable).name} -m gputensor check {written[0]}")
    return 0


_INTERRUPTED = 130  # as a shell has it: 128 and the number of the signal

_EPILOG = """\
gputensor doctor                            what works here, and what to do about the rest
gputensor train digits --epochs 5           a first training, of a few seconds
gputensor train mnist --model conv --resume runs/a --plot training.png
gputensor new-kernel swish                  a kernel of your own; then: gputensor check swish.py
gputensor bench overhead                    cost of the tape beside that of others

Settings are environment variables: GPUTENSOR_DEVICE, GPUTENSOR_KERNELS, GPUTENSOR_CACHE,
GPUTENSOR_THREADS; `gputensor doctor` shows them.
"""

# By name: what it is for, what adds its arguments, and what runs it.
_COMMANDS: dict[str, tuple[str, Callable[..., None] | None, Callable[..., int | None]]] = {
    "doctor": ("what works here, and what mends the rest", None, _doctor),
    "train": ("train a model on a data set", _add_train, train),
    "explain": ("what a function becomes when it is captured", _add_explain, explain),
    "check": ("check the kernels of a file, with a GPU or without", _add_check, check),
    "new-kernel": ("write a kernel, its test and benchmark", _add_new_kernel, new_kernel),
    "bench": ("time gputensor beside its peers", _add_bench, bench),
    "cache": ("data sets and compiled code: list, size, clear", _add_cache, cache),
    "launch": ("run a script in several processes", _add_launch, launch),
}


def _parsers() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """The parser, and that of each command."""
    program = Path(sys.argv[0]).name
    parser = argparse.ArgumentParser(
        prog="python -m gputensor" if program in ("__main__.py", "-c", "-m") else "gputensor",
        description="Differentiable arrays over CuPy and NumPy, and training on the device.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    version = f"gputensor {gputensor.__version__}"
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    parsers = {}
    for name, (text, add, _) in _COMMANDS.items():
        parsers[name] = commands.add_parser(
            name, help=text, description=f"{text[0].upper()}{text[1:]}."
        )
        if add is not None:
            add(parsers[name])
    return parser, parsers


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    arguments : sequence of str, optional
        Those of the command line.

    Returns
    -------
    int
        Exit status: 1 after an error of gputensor's, 130 after Ctrl-C; 2 of a wrong command line.
    """
    parser, parsers = _parsers()
    args = parser.parse_args(arguments)
    if args.command is None:
        parser.print_help(sys.stderr)
        return 2
    try:
        if args.command != "doctor":  # which reports what is wrong with settings
            _check_settings(parser)
        return _COMMANDS[args.command][2](parsers[args.command], args) or 0
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return _INTERRUPTED
    except (gputensor.errors.GPUTensorError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            raise
        print(f"{parser.prog} {args.command}: {error}", file=sys.stderr)
        return 1


def _check_settings(parser: argparse.ArgumentParser) -> None:
    try:
        config.kernels_setting()
        config.cpu_threads()
    except ValueError as error:
        parser.error(str(error))


def entry() -> int:
    """Entry point of the command ``gputensor``."""
    try:
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # of the package's first lines
            signal.signal(signal.SIGINT, signal.default_int_handler)
        status = main()
        sys.stdout.flush()
    except KeyboardInterrupt:
        status = _INTERRUPTED
    except BrokenPipeError:  # whoever read along, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    return status
