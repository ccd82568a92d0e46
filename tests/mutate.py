"""Mutants of the CUDA sources: one-line changes that the table of cases must notice.

    python tests/mutate.py [--only rows.cuh softmax.cu] [--list] [--report tests/mutation.md]

Works on a copy of the repository in a temporary folder. Each mutant is compiled for the host and
run through `kernel_cases` on the stand-in in a process of its own, blocks and threads in all
orders, until a result is wrong, the process crashes or its time is over: then it is killed.
"""

import argparse
import collections
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT = 90  # seconds for one mutant; the unchanged source takes less than half

# Lines that are not mutated, and why.
LEFT_OUT = [
    (r"#pragma|__forceinline__|alignas", "a matter of speed"),
    (r"__threadfence\(\);$", "the stand-in has one memory, in which writes are seen at once"),
    (r"\basm\(", "not compiled for the host; test_nvrtc.py compiles it"),
]
# Survivors that change no result: file, what was mutated, line, and why.
EQUIVALENT = [
    (
        ".*",
        ".*",
        r"(columns|channels) % \(16 /|^ *done = size / N",
        "fewer packs: a matter of speed",
    ),
    (".*", "`16` to `17`", r"16 / |offset = 16", "the same packs; the same lanes in another order"),
    (".*", "`32` to `33`", r"GROUP > 32", "there is no such group"),
    (".*", ".*", r"__shared__|Pack<N, T> kept|uint32 at\[4\]|words\[N \* WORDS\]", "more room"),
    (
        ".*",
        "`==` to `!=`|negated|`0` to `1`|`32` to `33`",
        r"if \((threadIdx.x( % 32)?|group_rank<GROUP>\(\)) == 0|last_block\(ticket\) && threadIdx",
        "every thread has what one of them writes",
    ),
    (".*", "`<` to `<=`", r"first \+ chunk < ", "both branches are equal there"),
    ("clip.cuh", "`>=`", r"factor >= 1", "times 1"),
    ("clip.cuh", "`1` to `2`", r"return factor == 1", "times 1"),
    ("clip.cuh", "`1` to `2`", r": A\(1\)\) \{\}", "no element is multiplied by that"),
    ("clip.cuh", "dropped", r"last = ends", "looked up for each element: a matter of speed"),
    ("clip.cuh", "`false`|`1` to `2`", r"changed = ", "what is there is stored again"),
    ("grad_norm.cu", "dropped|`1`", r"factor == 1", "times 1"),
    ("(adam|sgd).cu", "dropped", r"if \(skips && !squared\)", "nothing is done later either"),
    ("sgd.cu", "dropped", r"within = within && velocity", "two formulas for the same"),
    ("max_pool.cu", "`-` to", r"a = kh - 1", "past a window, its largest element is found before"),
    (
        "(max_pool|unfold).cu",
        "`-` dropped|`1`",
        r"< 0 \? -1",
        "that times the stride is not below 0",
    ),
    ("philox.cu", "`>=`|`>`|`4`", r"COUNT >= 4|\? T\(most\)", "both branches are equal there"),
    ("philox.cu", ".*", r"w < 4", "no word has that number"),
    ("philox.cu", r"`\*` to `\+`", r"draw<", "words past those that are used; no guard is there"),
    ("sgd.cu", r"`\|\|`", r"aligned\(velocity\)", "fewer packs: a matter of speed"),
    ("softmax.cu", r"`\+` to `-`", r"found.add", "the place of the maximum is not used"),
    ("softmax_cross_entropy.cu", "`>`", r"smoothing > 0", "a sum that is not used"),
    ("softmax_cross_entropy.cu", "`>`", r"softmax.sum > ", "without a sum there is no place"),
    ("softmax_cross_entropy.cu", "`0`", r"bad \? 0|\(int64\*\)0\);", "not used"),
    (".*", "`0x7f", r"label = 0x7f|place = 0x7f", "no row number either"),
    (
        "layer_norm.cu",
        "`==`|`0`",
        r"KEPT == 0",
        "two formulas for the same",
    ),
    ("moments.cu", r"index \+ 1|`0`", r"pivot = values|pivot - pivot", "any finite number does"),
    ("columns.cuh", "`256`", r"i \+= 256", "no thread has a second one"),
    ("rows.cuh", "`0`|`<` to", r"KEPT > 0|k < KEPT", "the rest of the row is empty"),
    ("rows.cuh", "`<` to `<=`", r"place(s\[w\])? < place", "equal places are one place"),
    ("rows.cuh", "`0` to `1`", r"A sum = 0", "times exp(-inf)"),
    ("rows.cuh", "`<` to `<=`|`0` to `1`", r"x < A\(0\)", "the third condition is false there"),
    ("rows.cuh", r"`\+=` to", r"at\[n\]\) - A\(values.at", "0 or NaN either way"),
    ("common.cuh", "`0x40`", r"0x40u", "another NaN"),
    ("common.cuh", "`0xff8", r"0xff800000u", "a NaN that no sum gives"),
    ("layer_norm.cu", "`0x", r"__longlong_as_double", "another rounding"),
    ("layer_norm.cu", "`0` to", r"CENTER \? A", "not used without CENTER"),
    ("layer_norm.cu", "dropped", r"found\.square < infinity", "two formulas for the same"),
    ("common.cuh", "`1` to `2`", r"flag\[3\] = 1", "not 0 either"),
]
# Survivors that are wrong on a GPU, where compute-sanitizer and its racecheck see them.
UNSEEN = [
    (
        "common.cuh",
        r"`\+` to `-`|`0` to `1`",
        r"threadIdx\.x \+ threadIdx\.y",
        "blocks add up too early, which the last one makes good in the stand-in",
    ),
    ("rows.cuh", "`>` to|`128`", r"block_threads = ", "the stand-in has no launch bounds"),
    (
        "embedding.cu",
        "`>=?` to|`<` to",
        r"first > places|first >= places|first > 0|place < places",
        "reads one number before or past an array, where the stand-in's guards hold no row number",
    ),
    (
        "columns.cuh",
        "`<`|`32`",
        r"i < 32 \* N",
        "sums of the next block, which the stand-in runs later",
    ),
    (
        ".*",
        "dropped",
        r"__syncthreads\(\);",
        "the stand-in runs blocks one after another and warps in turn: no thread is a whole "
        "reduction ahead of another",
    ),
]


class Mutant(NamedTuple):
    """A change of one line."""

    file: str
    number: int  # of the line, from 1
    what: str
    old: str
    new: str


# ---------------------------------------------------------------- making mutants

_SWAPS = {
    **{" < ": " <= ", " <= ": " < ", " > ": " >= ", " >= ": " > ", " == ": " != ", " != ": " == "},
    **{" + ": " - ", " - ": " + ", " * ": " + ", " / ": " * ", " % ": " / "},
    **{" += ": " -= ", " -= ": " += ", " *= ": " += ", " /= ": " *= "},
    **{" && ": " || ", " || ": " && ", " & ": " | ", " | ": " & ", " ^ ": " | "},
    **{" >> ": " << ", " << ": " >> ", "true": "false", "false": "true"},
    **{"atomicMin(": "atomicMax(", "atomicAdd(": "atomicMax("},
}
_SWAP = re.compile("|".join(map(re.escape, sorted(_SWAPS, key=len, reverse=True))))
_NUMBER = re.compile(r"(?<![\w.])(0x[0-9a-fA-F]+|\d+(?:\.\d+)?(?:e-?\d+)?)(?=[uUlL]*\b)(?!\w*::)")
_SHUFFLE = re.compile(r"__shfl_xor_sync\(ALL_LANES, (\w+), \w+\)")
_NEGATION = re.compile(
    r"(?<=[(&|] )!(?=[\w(])|(?<=\()!(?=[\w(])|(?<=[(=?,:] )-(?=[\w(])|(?<=\()-(?=[\w(])"
)
_NO_CODE = re.compile(r"\s*(#|//|template\b|using\b|typedef\b|struct\b|static_assert|$)")


def mutants_of(file: str, text: str) -> Iterator[Mutant]:
    """All mutants of a source."""
    lines = text.splitlines()
    seen = set()
    for number, line in enumerate(lines, 1):
        code = re.sub(r"\s*//.*$", "", line)
        if _NO_CODE.match(code) or any(re.search(p, code) for p, _ in LEFT_OUT):
            continue
        signature = re.search(r"__global__|__device__", code)
        for what, new in (*_rewritten(code, bool(signature)),):
            if (number, new) not in seen and new != code:
                seen.add((number, new))
                yield Mutant(file, number, what, code, new)


def _rewritten(code: str, signature: bool) -> Iterator[tuple[str, str]]:
    if not signature:
        for match in _SWAP.finditer(code):
            swapped = _SWAPS[match[0]]
            new = code[: match.start()] + swapped + code[match.end() :]
            yield f"`{match[0].strip()}` to `{swapped.strip()}`", new
        for match in _NEGATION.finditer(code):
            yield f"`{match[0]}` dropped", code[: match.start()] + code[match.end() :]
        for match in re.finditer(r"\bif (?:constexpr )?\(", code):
            end = _closing(code, match.end())
            if end:
                new = f"{code[: match.end()]}!({code[match.end() : end]}){code[end:]}"
                yield "condition negated", new
        for match in _SHUFFLE.finditer(code):
            yield "shuffle dropped", code[: match.start()] + match[1] + code[match.end() :]
        for match in re.finditer(r"(?<=\w)\[([^\[\]]+)\](?!\s*[;=]?\s*\{)", code):
            if not re.match(r"\s*(__shared__|[\w<>:]+ \w+\[)", code):
                yield "index + 1", code[: match.start(1)] + f"{match[1]} + 1" + code[match.end(1) :]
        if _deletable(code):
            yield "statement dropped", ""
    body = code.index("{") if signature and "{" in code else 0
    if not signature or body:
        for match in _NUMBER.finditer(code, body):
            base = 16 if match[1].startswith("0x") else 10
            value = float(match[1]) + 1 if re.search(r"[.e]", match[1]) and base == 10 else None
            new = (
                repr(value)
                if value is not None
                else hex(int(match[1], 16) + 1)
                if base == 16
                else (str(int(match[1]) + 1))
            )
            yield f"`{match[1]}` to `{new}`", code[: match.start(1)] + new + code[match.end(1) :]


def _closing(code: str, start: int) -> int | None:
    """Place of the parenthesis that closes the one before `start`."""
    depth = 1
    for i in range(start, len(code)):
        depth += {"(": 1, ")": -1}.get(code[i], 0)
        if not depth:
            return i
    return None


def _deletable(code: str) -> bool:
    """Whether a line is a statement without which the source still compiles."""
    text = code.strip()
    if (
        not text.endswith(";")
        or text.count("(") != text.count(")")
        or text.count("{") != text.count("}")
    ):
        return False
    if re.match(r"(return\b.|constexpr|static|__shared__|asm)", text):
        return False
    if re.match(r"(if|for) \(", text):
        return True
    plain = re.sub(r"\[[^\]]*\]|\([^()]*\)|<[^<>]*>", "", text)
    left = re.split(r" [-+*/^|&]?= ", plain)[0]
    assigns = left != plain
    return (
        " " not in left.strip()
        if assigns
        else bool(re.match(r"[\w:.<>, \-]+\(.*\);|[\w.]+\+\+;|return;", text))
    )


# ---------------------------------------------------------------- running them


def stage_copy(folder: Path) -> Path:
    """Copy of what is imported, laid out as it is installed."""
    copy = folder / "copy"
    ignore = shutil.ignore_patterns("__pycache__", "*.nbi", "*.nbc")
    shutil.copytree(ROOT / "gputensor", copy / "gputensor", ignore=ignore)
    shutil.copytree(ROOT / "kernels", copy / "gputensor" / "kernels", ignore=ignore)
    shutil.copytree(ROOT / "tests", copy / "tests", ignore=ignore)
    return copy


class Stage(NamedTuple):
    """Cases of one source, with what they must give, and the kernels that they launch."""

    source: Any
    name: str
    entries: tuple[str, ...]
    checks: list[Callable[[Any], None]]


class Bench:
    """Runs mutants of the sources in the copy that this process was started in."""

    def __init__(self, copy: Path) -> None:
        # Imported here: the copy's, not the repository's.
        import gputensor
        from gputensor import standin
        from gputensor.standin import host_module

        assert Path(gputensor.__file__).is_relative_to(copy), gputensor.__file__
        self.kernels = copy / "gputensor" / "kernels"
        kept = [f for f in host_module._FLAGS if f not in ("-g", "-O1")]
        # A pack at an odd address is an error on a GPU alone; here it traps.
        traps = ("-fsanitize=alignment", "-fsanitize-undefined-trap-on-error")
        host_module._FLAGS = (*kept, "-O0", *traps)
        header = copy / "gputensor" / "standin" / "cuda_host.h"
        made = [host_module.host_compiler(), *host_module._FLAGS, "-x", "c++-header", str(header)]
        subprocess.run([*made, "-o", f"{header}.gch"], check=True)
        self.cupy = standin.install(devices=2, order="compare")
        self.stages = self._stages()

    def _stages(self) -> dict[str, list[Stage]]:
        """By source: the smallest cases first, as most mutants fall there."""
        from kernel_cases import DTYPES, SHAPES, cases, launches_recorded, misaligned, only, run

        def plain(array: Any) -> Any:
            return self.cupy.asarray(array)

        def odd(array: Any) -> Any:
            return misaligned(self.cupy, array)

        narrow = [d for name, d in DTYPES.items() if name != "float32"]
        # Name, cases, what makes the function that places operands, and whether on few blocks.
        plan: list[tuple[str, list[Any], Callable[[], Any], bool]] = [
            ("first", [*cases(3, 5), *cases(7, 128)], lambda: plain, False),
            (
                "special",
                [c for columns in (10, 128) for c in cases(9, columns, special=True)],
                lambda: plain,
                False,
            ),
            ("shapes", [c for s in SHAPES for c in cases(*s)], lambda: plain, False),
            ("misaligned", list(cases(9, 64)), lambda: odd, False),
            *(
                (
                    f"operand {i} misaligned",
                    _of_arrays(cases(9, 64), i),
                    _alone(only, i, odd, plain),
                    False,
                )
                for i in range(4)
            ),
            ("few blocks", [*cases(40, 64), *cases(300, 7)], lambda: plain, True),
            (
                "dtypes",
                [c for d in narrow for s in ((3, 5), (9, 64)) for c in cases(*s, d)],
                lambda: plain,
                False,
            ),
            (
                "special dtypes",
                [c for d in narrow for c in cases(9, 16, d, special=True)],
                lambda: plain,
                False,
            ),
        ]
        found: dict[str, list[Stage]] = collections.defaultdict(list)
        for name, listed, place, few in plan:
            groups: dict[Any, tuple[dict[str, None], list[Any]]] = {}
            for case in listed:
                with launches_recorded() as seen:
                    run(case, place())
                for launch in seen.values():
                    group = groups.setdefault(launch.source, ({}, []))
                    group[0][launch.entry] = None
                for source in {launch.source for launch in seen.values()}:
                    groups[source][1].append(_check(case, place, few))
            for source, (entries, checks) in groups.items():
                found[source.name].append(Stage(source, name, tuple(entries), checks))
        for name, tests in _tests().items():
            found[name].append(Stage(found[name][0].source, "tests", (), tests))
        return found

    def users(self, file: str) -> list[str]:
        """Sources that a file is part of, the smallest first."""
        if file.endswith(".cu"):
            return [file]
        texts = {f.name: f.read_text() for f in self.kernels.glob("*.cu*")}
        part = {file}
        for _ in texts:
            part |= {n for n, t in texts.items() if any(f'#include "{p}"' in t for p in part)}
        return sorted((n for n in part if n.endswith(".cu")), key=lambda n: len(texts[n]))

    def judge(self, mutant: Mutant | None, users: list[str]) -> str:
        """What kills a mutant, or "survived", in a process of its own."""
        path = self.kernels / (mutant.file if mutant else users[0])
        text = path.read_text()
        if mutant:
            lines = text.splitlines()
            lines[mutant.number - 1] = mutant.new
            path.write_text("\n".join(lines) + "\n")
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.setsid()
            os.close(reader)
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
            os.write(writer, self._run(users).encode()[:300])
            os._exit(0)
        os.close(writer)
        try:
            end = time.monotonic() + TIMEOUT
            while time.monotonic() < end:
                done, status = os.waitpid(child, os.WNOHANG)
                if done:
                    said = os.read(reader, 1000).decode(errors="replace")
                    return said or f"crash, signal {os.WTERMSIG(status)}"
                time.sleep(0.01)
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return "time over"
        finally:
            os.close(reader)
            path.write_text(text)

    def _run(self, users: list[str]) -> str:
        from gputensor.errors import CompileError

        for name in users:
            for stage in self.stages[name]:
                stage.source.__dict__.pop("text", None)
                stage.source.__dict__.pop("kernels", None)
                stage.source._entries.clear()
                try:
                    self._build(stage)
                    for check in stage.checks:
                        check(self.cupy)
                except (CompileError, CompileFailure):
                    return "does not compile"
                except BaseException as error:
                    words = " ".join(str(error).split())
                    kind = "wrong result" if isinstance(error, AssertionError) else words[:120]
                    return f"{name}, {stage.name}: {kind}"
        return "survived"

    def _build(self, stage: Stage) -> None:
        """Compile all kernels of a stage at once."""
        source = stage.source
        if not stage.entries:
            return
        templates = tuple(e for e in stage.entries if "<" in e)
        module = self.cupy.RawModule(
            code=source.text, options=source.options, name_expressions=templates or None
        )
        try:
            module.compile()
        except Exception as error:
            raise CompileFailure(str(error)) from None
        with mock.patch.object(self.cupy, "RawModule", return_value=module):
            for entry in stage.entries:
                source._entry(entry)


class CompileFailure(Exception):
    """A mutant that the compiler does not take."""


def _alone(only: Any, number: int, odd: Any, plain: Any) -> Callable[[], Any]:
    return lambda: only(number, odd, plain)


def _of_arrays(cases: Iterator[Any], number: int) -> list[Any]:
    """Those with more than that many arrays."""
    return [c for c in cases if sum(hasattr(a, "dtype") for a in c.operands) > number]


def _check(case: Any, place: Callable[[], Any], few: bool) -> Callable[[Any], None]:
    """A case that is run and compared; on a device with room for one block only, if `few`."""
    from gputensor.kernels import source
    from kernel_cases import compare, expected, run

    wanted = expected(case)

    def check(_cupy: Any) -> None:
        blocks = 1 if few else source._BLOCKS_PER_MULTIPROCESSOR
        count = 1 if few else source._multiprocessors(0)
        with (
            mock.patch.object(source, "_BLOCKS_PER_MULTIPROCESSOR", blocks),
            mock.patch.object(source, "_multiprocessors", return_value=count),
        ):
            found = run(case, place())
        compare(case, found, wanted)

    return check


def _tests() -> dict[str, list[Callable[[Any], None]]]:
    """Tests of the suite on what the table cannot hold."""
    import test_clipping
    import test_embedding
    import test_kernel_cases
    import test_moments
    import test_row_kernels

    import test_device

    def bad_index(cupy: Any) -> None:
        test_embedding.test_a_number_out_of_range_is_found_when_the_host_next_reads(
            cupy, "auto", mock.Mock()
        )

    def subnormal(cupy: Any) -> None:
        test_kernel_cases.test_means_below_the_normal_numbers_become_zero(cupy, "float32")

    def far_apart(cupy: Any) -> None:
        for columns in (2, 5, 64, 1030):
            test_moments.test_differences_too_large_for_a_dtype_make_a_variance_infinite(
                cupy, "cuda", columns
            )

    def far_from_zero(cupy: Any) -> None:
        test_moments.test_moments_of_numbers_far_from_zero("auto", cupy)

    def sixteen_bits(cupy: Any) -> None:
        for dtype in ("float16", "bfloat16"):
            test_kernel_cases.test_16_bits_are_rounded_to_even(cupy, dtype)

    def order(cupy: Any) -> None:
        for dtype in ("f4", "f2"):
            test_clipping.test_a_norm_on_cuda_is_added_up_in_an_order_of_its_own(cupy, dtype)
        test_clipping.test_a_parameters_norm_on_cuda_depends_on_its_size_alone(cupy, "f4")

    return {
        "grad_norm.cu": [order],
        "gather_scale.cu": [sixteen_bits, test_kernel_cases.test_quotients_beyond_32_bits],
        "bias_activation.cu": [test_kernel_cases.test_relu_of_minus_zero_is_zero],
        "moments.cu": [far_apart, far_from_zero],
        "max_pool.cu": [test_kernel_cases.test_the_first_of_two_zeros_is_the_largest],
        "adam.cu": [subnormal],
        "sgd.cu": [subnormal],
        "embedding.cu": [
            bad_index,
            test_kernel_cases.test_the_first_of_many_bad_numbers_is_named,
            test_kernel_cases.test_gradients_of_rows_that_are_not_there_are_left_out,
        ],
        "softmax_cross_entropy.cu": [
            test_device.test_a_bad_label_is_found_when_the_host_next_reads,
            test_row_kernels.test_wide_rows_name_the_first_bad_label,
        ],
    }


def work(copy: Path, options: argparse.Namespace) -> None:
    """Judge all mutants, print them and write the report."""
    bench = Bench(copy)
    texts = (f for f in bench.kernels.glob("*.cu*") if f.suffix in (".cu", ".cuh"))
    files = sorted(f.name for f in texts if bench.users(f.name))  # others are for generated ones
    counts: dict[str, collections.Counter[str]] = {}
    survivors: dict[str, list[Mutant]] = collections.defaultdict(list)
    for file in options.only or files:
        users = bench.users(file)
        began = time.monotonic()
        found = bench.judge(None, users)
        print(f"{file}, unchanged: {found} in {time.monotonic() - began:.1f} s", flush=True)
        if found != "survived":
            sys.exit(1)
        counts[file] = collections.Counter()
        for mutant in mutants_of(file, (bench.kernels / file).read_text()):
            if options.match not in mutant.old:
                continue
            found = bench.judge(mutant, users)
            kind = found if found in ("survived", "does not compile") else "killed"
            if kind == "survived":
                kind, reason = _reason(mutant)
                survivors[reason].append(mutant)
                found = f"{kind}, {reason}" if reason else kind
            counts[file][kind] += 1
            print(f"{file}:{mutant.number}: {mutant.what}: {found}", flush=True)
            if kind == "survived":
                print(f"    {mutant.old.strip()}\n    {mutant.new.strip()}", flush=True)
    report = _report(counts, survivors)
    print(report)
    if options.report:
        options.report.write_text(report)


def _reason(mutant: Mutant) -> tuple[str, str]:
    """Kind of a survivor, and why it is one if that is known."""
    for kind, known in (("equivalent", EQUIVALENT), ("unseen", UNSEEN)):
        for file, what, line, reason in known:
            if (
                re.fullmatch(file, mutant.file)
                and re.search(what, mutant.what)
                and re.search(line, mutant.old)
            ):
                return kind, reason
    return "survived", ""


def _report(counts: dict[str, Any], survivors: dict[str, list[Mutant]]) -> str:
    kinds = ("killed", "equivalent", "unseen", "survived")
    lines = [
        "# Mutants of the CUDA sources",
        "",
        "Made by `python tests/mutate.py --report tests/mutation.md`: one-line changes of",
        "`kernels/` that the table of cases must notice on the stand-in. Equivalent ones give the",
        "same results; unseen ones are wrong on a GPU alone.",
        "",
        "| file | mutants | killed | equivalent | unseen | survived |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    total: collections.Counter[str] = collections.Counter()
    for file, count in counts.items():
        total.update(count)
        numbers = [sum(count[k] for k in kinds), *(count[k] for k in kinds)]
        lines.append(f"| {file} | {' | '.join(map(str, numbers))} |")
    numbers = [sum(total[k] for k in kinds), *(total[k] for k in kinds)]
    lines += [f"| all | {' | '.join(map(str, numbers))} |", ""]
    lines.append(f"{total['does not compile']} more do not compile. The survivors, by reason:")
    for reason, mutants in survivors.items():
        lines += ["", f"{reason[:1].upper()}{reason[1:] or 'Not explained'}:", ""]
        lines += [f"- {m.file}:{m.number}, {m.what}: `{m.old.strip()}`" for m in mutants]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Make the copy and start again in it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", metavar="FILE", help="these sources alone")
    parser.add_argument("--match", default="", metavar="TEXT", help="lines with that text alone")
    parser.add_argument("--list", action="store_true", help="print the mutants, run none")
    parser.add_argument("--report", type=lambda p: Path(p).resolve(), metavar="FILE")
    parser.add_argument("--copy", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.list:
        for path in sorted((ROOT / "kernels").glob("*.cu*")):
            if not options.only or path.name in options.only:
                for m in mutants_of(path.name, path.read_text()):
                    print(
                        f"{m.file}:{m.number}: {m.what}\n    {m.old.strip()}\n    {m.new.strip()}"
                    )
        return
    if options.copy:
        work(options.copy, options)
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = stage_copy(Path(folder))
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(copy), str(copy / "tests")]),
            "GPUTENSOR_CACHE": f"{folder}/cache",
        }
        command = [sys.executable, str(copy / "tests" / "mutate.py"), *sys.argv[1:]]
        with contextlib.suppress(KeyboardInterrupt):
            done = subprocess.run([*command, "--copy", str(copy)], env=environment, check=False)
            sys.exit(done.returncode)


if __name__ == "__main__":
    main()
