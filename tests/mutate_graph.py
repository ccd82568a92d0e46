"""Mutants of the passes over a graph and of its groups: small changes that tests must notice.

    python tests/mutate_graph.py [--only passes.py fuse.py] [--list] [--every N]

Each mutant runs in a process of its own, where the functions of the module get the changed code, by
tests of ``test_passes.py`` and ``test_graph.py``, until one fails or its time is over. Those that
survive are printed, with the reason if :data:`EQUIVALENT` has one: then they change no result.
"""

import argparse
import ast
import copy
import functools
import importlib
import os
import re
import signal
import sys
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
TIMEOUT = 60  # seconds for a mutant
TESTS = re.compile("_pass|_group|random_programs")  # of test_graph.py; all of test_passes.py
# Survivors that change no result: file, line of code, what was changed, and why.
EQUIVALENT = [
    (".*", r"strict=True", "True to False", "the lengths are equal"),
    ("fuse.py", r"if lead >= 0 else steps", "GtE to Gt|0 to 1", "of no more axes both are all"),
    ("passes.py", r"v in outs|len\(outs\)", "any to all", "what makes arrays gives one"),
    ("passes.py", r"if w > i", "Gt to GtE", "a copy does not write to its source"),
]

_COMPARISONS = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_OPERATORS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.BitOr: ast.BitAnd}
_NAMES = {"min": "max", "max": "min", "any": "all", "all": "any"}


class Mutant(NamedTuple):
    """A module with one change."""

    file: str
    line: int
    what: str
    tree: ast.Module


def mutants_of(file: str, text: str) -> Iterator[Mutant]:
    """All mutants of a module."""
    whole = ast.parse(text)
    annotations = {
        id(part)
        for node in ast.walk(whole)
        for note in (getattr(node, "annotation", None), getattr(node, "returns", None))
        if note is not None
        for part in ast.walk(note)
    }
    for i, node in enumerate(ast.walk(whole)):
        if id(node) in annotations or not hasattr(node, "lineno"):
            continue
        for what, change in _changes(node):
            tree = copy.deepcopy(whole)
            twin = next(n for j, n in enumerate(ast.walk(tree)) if j == i)
            change(twin)
            before, after = ast.unparse(whole), ast.unparse(ast.fix_missing_locations(tree))
            if before != after:
                yield Mutant(file, getattr(node, "lineno", 0), what, tree)


def _changes(node: ast.AST) -> Iterator[tuple[str, Any]]:
    """What can be changed in a node of the syntax tree, and how."""
    if isinstance(node, ast.Compare):
        for k, op in enumerate(node.ops):
            new = _COMPARISONS[type(op)]
            yield (
                f"{type(op).__name__} to {new.__name__}",
                lambda n, k=k, new=new: n.ops.__setitem__(k, new()),
            )
    if isinstance(node, ast.BoolOp):
        for k in range(len(node.values)):
            yield f"operand {k} dropped", lambda n, k=k: n.values.pop(k)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub)):
        yield "sign dropped", lambda n: setattr(n, "operand", ast.UnaryOp(n.op, n.operand))
    if isinstance(node, (ast.BinOp, ast.AugAssign)) and type(node.op) in _OPERATORS:
        new = _OPERATORS[type(node.op)]
        yield (
            f"{type(node.op).__name__} to {new.__name__}",
            lambda n, new=new: setattr(n, "op", new()),
        )
    if isinstance(node, ast.Constant) and type(node.value) in (int, bool):
        new = not node.value if type(node.value) is bool else node.value + 1
        yield f"{node.value} to {new}", lambda n, new=new: setattr(n, "value", new)
    if isinstance(node, (ast.If, ast.IfExp, ast.While)):
        yield "condition negated", lambda n: setattr(n, "test", ast.UnaryOp(ast.Not(), n.test))
    if isinstance(node, ast.Name) and node.id in _NAMES:
        yield f"{node.id} to {_NAMES[node.id]}", lambda n: setattr(n, "id", _NAMES[n.id])
    for field in ("body", "orelse"):
        statements = getattr(node, field, None)
        if isinstance(statements, list) and not isinstance(node, ast.Module):
            for k, statement in enumerate(statements):
                if isinstance(statement, (ast.AugAssign, ast.Continue, ast.Break)) or (
                    isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call)
                ):
                    yield (
                        f"`{ast.unparse(statement)}` dropped",
                        lambda n, field=field, k=k: getattr(n, field).__setitem__(k, ast.Pass()),
                    )


# Running them


def _put_in(module: types.ModuleType, tree: ast.Module) -> None:
    """Give the functions of a module, which others have by name, the code of a mutant."""
    names: dict[str, Any] = {"__name__": module.__name__}
    exec(compile(tree, str(module.__file__), "exec"), names)
    for name, new in names.items():
        old = vars(module).get(name)
        if isinstance(new, types.FunctionType) and isinstance(old, types.FunctionType):
            old.__code__, old.__defaults__ = new.__code__, new.__defaults__
        elif isinstance(new, type) and new.__module__ == module.__name__:
            for key, method in vars(new).items():
                if isinstance(method, types.FunctionType):
                    vars(old)[key].__code__ = method.__code__
        elif name[0] == "_" and name[1] != "_" and isinstance(new, (set, int)):
            setattr(module, name, new)


def _calls(file: str) -> list[Any]:
    """Tests of a file that are about passes and groups, as functions of nothing."""
    found = []
    for name, test in vars(importlib.import_module(file)).items():
        if not name.startswith("test_") or not (file == "test_passes" or TESTS.search(name)):
            continue
        calls: list[dict[str, Any]] = [{}]
        for mark in getattr(test, "pytestmark", []):
            if mark.name != "parametrize":
                continue
            names = mark.args[0]
            names = names.split(",") if isinstance(names, str) else names
            rows = [v if len(names) > 1 else (v,) for v in mark.args[1]]
            calls = [c | dict(zip(names, r, strict=True)) for c in calls for r in rows]
        found += [functools.partial(test, **c) for c in calls]
    return found


def judge(mutant: Mutant | None, module: types.ModuleType, calls: list[Any]) -> str:
    """What kills a mutant, or "survived"; in a process of its own."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        os.write(writer, _run(mutant, module, calls).encode()[:900])
        os._exit(0)
    os.close(writer)
    try:
        end = time.monotonic() + TIMEOUT
        while time.monotonic() < end:
            if os.waitpid(child, os.WNOHANG)[0]:
                return os.read(reader, 1000).decode() or "a crash"
            time.sleep(0.01)
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return "time over"
    finally:
        os.close(reader)


def _run(mutant: Mutant | None, module: types.ModuleType, calls: list[Any]) -> str:
    if mutant:
        try:
            _put_in(module, mutant.tree)
        except Exception as error:
            return f"import: {error}"
    for call in calls:
        try:
            call()
        except BaseException as error:
            function = getattr(call, "func", call)
            return f"{function.__name__}: {type(error).__name__}"
    return "survived"


def _reason(mutant: Mutant, code: str) -> str:
    """Why a survivor is none, if that is known."""
    for file, line, what, reason in EQUIVALENT:
        if (
            re.fullmatch(file, mutant.file)
            and re.search(line, code)
            and re.search(what, mutant.what)
        ):
            return reason
    return ""


def main() -> None:
    """Judge all mutants; the exit status says whether one survives."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", metavar="FILE", default=["passes.py", "fuse.py"])
    parser.add_argument("--list", action="store_true", help="print the mutants, run none")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="each Nth alone")
    parser.add_argument("--lines", type=int, nargs=2, default=(0, 1 << 30), metavar="LINE")
    options = parser.parse_args()
    os.environ["GPUTENSOR_DEVICE"] = "cpu"
    sys.path[:0] = [str(HERE.parent), str(HERE)]
    hypothesis = importlib.import_module("hypothesis")
    every = hypothesis.HealthCheck
    hypothesis.settings.register_profile(
        "mutants", deadline=None, derandomize=True, database=None, suppress_health_check=list(every)
    )
    hypothesis.settings.load_profile("mutants")
    calls = [*_calls("test_passes"), *_calls("test_graph")]
    survivors = 0
    for file in options.only:
        module = importlib.import_module(f"gputensor.graph.{file.removesuffix('.py')}")
        text = Path(str(module.__file__)).read_text(encoding="utf-8")
        lines = text.splitlines()
        low, high = options.lines
        mutants = [m for m in mutants_of(file, text) if low <= m.line <= high][:: options.every]
        if not options.list:
            found = judge(None, module, calls)
            print(f"{file}, unchanged: {found}", flush=True)
            if found != "survived":
                sys.exit(1)
        for mutant in mutants:
            code = lines[mutant.line - 1]
            said = "" if options.list else judge(mutant, module, calls)
            if said == "survived":
                reason = _reason(mutant, code)
                said = f"equivalent, {reason}" if reason else "SURVIVED"
                survivors += not reason
            print(f"{file}:{mutant.line}: {mutant.what}: {said}\n    {code.strip()}", flush=True)
        print(f"{file}: {len(mutants)} mutants")
    sys.exit(bool(survivors))


if __name__ == "__main__":
    main()
