"""``python -m gputensor``: what this installation consists of, and how quick it is."""

import argparse
import importlib
import importlib.metadata
import importlib.util
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

import gputensor
from gputensor import backend, config

__all__ = ["main"]


def _version(module: str) -> str:
    """Version of an installed package, by the name that it is imported by."""
    if importlib.util.find_spec(module) is None:
        return "not installed"
    names = importlib.metadata.packages_distributions().get(module, [])
    return ", ".join(f"{importlib.metadata.version(n)} ({n})" for n in sorted(set(names)))


def _blas() -> str:
    build = np.show_config(mode="dicts") or {}
    blas = build.get("Build Dependencies", {}).get("blas", {})
    return f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip()


def _findings() -> Iterator[tuple[str, str]]:
    yield "gputensor", gputensor.__version__
    yield "Python", f"{platform.python_version()}, {platform.platform()}"
    yield "NumPy", f"{np.__version__}, BLAS {_blas()}"
    for name, module in (("Numba", "numba"), ("CuPy", "cupy")):
        yield name, _version(module)
    status = backend.cuda_status()
    yield "CUDA", status.reason
    if status.available:
        import cupy  # type: ignore[import-not-found, unused-ignore]

        runtime = cupy.cuda.runtime
        yield "driver, runtime", f"{runtime.driverGetVersion()}, {runtime.runtimeGetVersion()}"
        for i in range(status.devices):
            found = cupy.cuda.Device(i)
            name = runtime.getDeviceProperties(i)["name"].decode()
            free, total = found.mem_info
            yield (
                f"cuda:{i}",
                f"{name}, compute capability {found.compute_capability}, "
                f"{free / 2**30:.1f} of {total / 2**30:.1f} GiB free",
            )
    try:
        yield "new tensors go to", str(backend.default_device())
    except gputensor.errors.DeviceError as error:
        yield "new tensors go to", f"nowhere: {error}"
    yield "CPU threads of a kernel", str(config.cpu_threads())
    yield "cache", str(config.cache_dir())
    for name, value in sorted(os.environ.items()):
        if name.startswith("GPUTENSOR_"):
            yield name, value


def doctor() -> None:
    """Print what was found, a line each."""
    for name, text in _findings():
        print(f"{name + ':':25}{text}")


_BENCHMARKS = {
    "epilogue": "products with cublasLt's epilogues against a kernel after them, on CUDA",
    "graph": "thirty operations and short trainings, captured and eager",
    "kernels": "each fused kernel against plain NumPy or CuPy and PyTorch, and a memory copy",
    "matmul": "matrix products",
    "mnist": "an epoch of training",
    "overhead": "cost of the tape, with thirty small operations",
    "small": "an epoch of training a small model, with small batches",
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``python -m gputensor``.

    Parameters
    ----------
    arguments : sequence of str, optional
        Those of the command line.

    Returns
    -------
    int
        Exit status.
    """
    parser = argparse.ArgumentParser(prog="python -m gputensor", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("doctor", help="versions, devices and settings, and why CUDA is not used")
    bench_parser = commands.add_parser("bench", help="time gputensor beside its peers")
    _add_bench(bench_parser)
    launch_parser = commands.add_parser("launch", help="run a script in several processes")
    _add_launch(launch_parser)
    args = parser.parse_args(arguments)
    if args.command == "launch":
        return launch(launch_parser, args)
    if args.command == "bench":
        bench(bench_parser, args)
    else:
        doctor()
    return 0
