"""Pages that are made of what is elsewhere: docstrings, tables of names, measurements."""

import importlib
import json
import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE.parent / "benchmarks" / "results"

# Pages of the reference: file, title, what it is about, and its parts. A part is a heading, a
# module and names of it; without these all public ones are meant. A table's name stands for the
# names in it: all, or those "of" the functions that a module of the package defines.
REFERENCE: list[tuple[str, str, str, list[tuple[str, str, str]]]] = [
    (
        "arrays",
        "Arrays",
        "Functions of the namespace ``gt``, by the chapters of the Python Array API standard. "
        "Where a docstring says nothing else, all that has a gradient has one.",
        [
            (title, f"gputensor.ops.{module}", "")
            for title, module in {
                "Making tensors": "creation",
                "Types of elements": "data_type",
                "Arithmetic and functions of elements": "elementwise",
                "Special functions": "special",
                "Comparisons, logic, choices": "choices",
                "Sums, means, extrema": "statistical",
                "Any, all, differences, closeness": "utility",
                "Shapes": "manipulation",
                "Pieces": "pieces",
                "Numerics": "numeric",
                "Indexing": "indexing",
                "Products": "products",
                "Searching": "searching",
                "Sorting": "sorting",
                "Sets": "sets",
                "What the namespace is able to": "inspection",
            }.items()
        ]
        + [("Softmax", "gputensor", "log_softmax logsumexp softmax")],
    ),
    ("tensor", "Tensor", "", [("The class", "gputensor", "Tensor")]),
    (
        "gradients",
        "Gradients",
        "Derivatives as functions, and what says what the tape records.",
        [
            (
                "Transforms",
                "gputensor",
                "grad value_and_grad vjp jvp jacobian hessian hvp custom_vjp checkpoint",
            ),
            ("Modes", "gputensor", "no_grad enable_grad detect_anomaly"),
            ("Checks", "gputensor", "gradcheck gradgradcheck"),
            ("Minimizing", "gputensor.optimize", ""),
        ],
    ),
    (
        "devices",
        "Devices, precision, capture",
        "",
        [
            ("Devices and memory", "gputensor", "Device device cuda_status synchronize"),
            ("Memory", "gputensor", "memory_summary"),
            (
                "Settings",
                "gputensor",
                "autocast matmul_precision set_default_dtype sync_debug use_deterministic",
            ),
            ("Captured functions", "gputensor", "capture explain"),
            ("What explain gives", "gputensor.graph.explain", "Explanation Part"),
        ],
    ),
    ("linalg", "Linear algebra", "", [("gt.linalg", "gputensor.linalg", "")]),
    ("fft", "Fourier transforms", "", [("gt.fft", "gputensor.fft", "")]),
    (
        "random",
        "Random numbers",
        "",
        [
            ("gt.random", "gputensor.random", "Generator default_rng manual_seed"),
        ],
    ),
    ("special", "SciPy's special functions", "", [("gt.special", "gputensor.special", "")]),
    ("nn", "Layers", "", [("gt.nn", "gputensor.nn", "")]),
    (
        "functional",
        "Functions of neural networks",
        "",
        [("gt.nn.functional", "gputensor.nn.functional", "")],
    ),
    (
        "optim",
        "Optimizers",
        "",
        [("gt.optim", "gputensor.optim", ""), ("Schedules", "gputensor.optim.schedules", "")],
    ),
    (
        "kernels",
        "Kernels",
        "",
        [("gt.kernel and gt.kernels", "gputensor.kernels", "")],
    ),
    (
        "distributed",
        "Several processes",
        "",
        [("gt.distributed", "gputensor.distributed", "")],
    ),
    (
        "saving",
        "Saving, checkpoints",
        "",
        [
            ("Files", "gputensor", "save load"),
            ("Checkpoints", "gputensor.checkpoints", ""),
        ],
    ),
    ("plot", "Pictures", "", [("gt.plot", "gputensor.plot", "")]),
    (
        "exchange",
        "PyTorch's weights, ONNX",
        "",
        [
            ("Weights of PyTorch's", "gputensor.exchange", ""),
            ("ONNX", "gputensor.onnx", ""),
        ],
    ),
    ("errors", "Errors", "", [("gt.errors", "gputensor.errors", "")]),
    (
        "keras_models",
        "Keras: models and callbacks",
        "",
        [
            ("Models", "gputensor.keras.models", "Model Sequential"),
            ("Callbacks", "gputensor.keras.callbacks", ""),
            ("Saving", "gputensor.keras.saving", ""),
        ],
    ),
    ("keras_layers", "Keras: layers", "", [("Layers", "gputensor.keras.layers", "")]),
    (
        "keras_training",
        "Keras: optimizers, losses, metrics",
        "",
        [
            ("Optimizers", "gputensor.keras.optimizers", ""),
            ("Schedules", "gputensor.keras.optimizers.schedules", ""),
            ("Losses", "gputensor.keras.losses", ""),
            ("Metrics", "gputensor.keras.metrics", ""),
        ],
    ),
    (
        "keras_rest",
        "Keras: activations, initializers, regularizers, tools",
        "",
        [
            ("Activations", "gputensor.keras.activations", ""),
            ("Initializers", "gputensor.keras.initializers", ""),
            ("Regularizers", "gputensor.keras.regularizers", ""),
            ("Tools", "gputensor.keras.utils", ""),
        ],
    ),
    (
        "torch",
        "PyTorch's names: tensors",
        "What differs from PyTorch is told on :doc:`a page of its own <../../torch>`. Where a "
        "docstring is that of the function of ``gt`` behind it, ``axis`` is ``dim``, and "
        "``keepdims`` is ``keepdim``.",
        [
            ("Tensors, places", "gputensor.torch", "Tensor Size device Generator"),
            *(
                (title, "gputensor.torch", f"_FUNCTIONS of {module}")
                for title, module in {
                    "Making tensors": "creation",
                    "Functions of elements": "elementwise",
                    "Sums, extrema, orders": "reductions",
                    "Shapes, pieces": "shaping",
                    "Products": "products",
                }.items()
            ),
            (
                "Types of elements",
                "gputensor.torch",
                "can_cast get_default_dtype is_complex is_floating_point promote_types result_type "
                "set_default_dtype FloatTensor DoubleTensor HalfTensor ByteTensor CharTensor "
                "ShortTensor IntTensor LongTensor BoolTensor ComplexFloatTensor "
                "ComplexDoubleTensor",
            ),
            (
                "Modes, settings",
                "gputensor.torch",
                "no_grad enable_grad inference_mode is_grad_enabled set_grad_enabled autocast "
                "get_default_device set_default_device get_num_threads set_num_threads "
                "set_printoptions use_deterministic_algorithms compile",
            ),
            ("Tensors as arguments", "gputensor.torch", "is_tensor numel clone detach save load"),
            ("Linear algebra", "gputensor.torch.linalg", ""),
            ("Gradients", "gputensor.torch.autograd", "Function Variable backward grad gradcheck"),
            ("Distributions", "gputensor.torch.distributions", ""),
        ],
    ),
    (
        "torch_nn",
        "PyTorch's names: layers",
        "",
        [
            ("Modules", "gputensor.torch.nn", ""),
            ("Functions", "gputensor.torch.nn.functional", "FUNCTIONS"),
            ("Initial values", "gputensor.torch.nn.init", ""),
            ("Gradients, series", "gputensor.torch.nn.utils", ""),
        ],
    ),
    (
        "torch_training",
        "PyTorch's names: optimizers, data",
        "",
        [
            ("Optimizers", "gputensor.torch.optim", "_DEFAULTS LBFGS"),
            ("Schedulers", "gputensor.torch.optim.lr_scheduler", ""),
            ("Data", "gputensor.torch.utils.data", ""),
            ("Checkpoints", "gputensor.torch.utils.checkpoint", ""),
            ("Event files", "gputensor.torch.utils.tensorboard", ""),
        ],
    ),
    (
        "torchvision",
        "torchvision's names",
        "",
        [
            ("Data sets", "gputensor.torchvision.datasets", ""),
            ("Transforms", "gputensor.torchvision.transforms", ""),
            ("Transforms as functions", "gputensor.torchvision.functional", ""),
            ("Models", "gputensor.torchvision.models", ""),
            ("Pictures", "gputensor.torchvision.utils", ""),
        ],
    ),
]

# Classes that people subclass, or whose methods they call: with their methods.
WITH_MEMBERS = {
    *("Tensor", "Generator", "Kernel", "Module", "Model", "Sequential", "Layer", "Optimizer"),
    *("Callback", "GradScaler", "Metric"),
}


def write(folder: Path) -> None:
    """Write all pages; those that would be the same are left alone."""
    pages = dict(_reference())
    pages["reference/index.rst"] = _contents()
    pages["words.inc"] = words()
    pages["benchmarks.inc"] = benchmarks()
    for library, table in comparisons().items():
        pages[f"{library}.inc"] = table
    for name, text in pages.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists() or file.read_text("utf-8") != text:
            file.write_text(text, "utf-8")


# ---------------------------------------------------------------- the reference


def documented() -> Iterator[tuple[str, Any]]:
    """Every callable of the reference, by the name under which it is there."""
    for _, _, _, parts in REFERENCE:
        for _, module, names in parts:
            for name in _names(module, names):
                found = getattr(_module(module), name)
                if callable(found):
                    yield f"{_public(module)}.{name}", found


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:  # gputensor.linalg is a name in gputensor
        parent, _, last = name.rpartition(".")
        return getattr(importlib.import_module(parent), last)


def _names(module: str, names: str) -> list[str]:
    here = _module(module)
    table, _, definer = names.partition(" of ")
    if definer:
        own = vars(here)[table].items()
        chosen = {f: n for n, f in reversed(own) if f.__module__ == f"{module}.{definer}"}
        return [name for _, name in reversed(chosen.items())]  # the first name of each
    if names:
        tables = {n: t for n, t in vars(here).items() if isinstance(t, dict)}
        return [name for word in names.split() for name in tables.get(word, [word])]
    public = getattr(here, "__all__", None) or [*vars(here)]
    found = {name: getattr(here, name) for name in public}
    return [
        name
        for name, thing in found.items()
        if callable(thing) and name[:2] != "__" and not hasattr(thing, "__origin__")
    ]


def _public(module: str) -> str:
    return "gputensor" if module.startswith("gputensor.ops.") else module


def _reference() -> Iterator[tuple[str, str]]:
    begun: set[str] = set()
    for file, title, about, parts in REFERENCE:
        lines = [title, "=" * len(title), "", about, ""]
        for heading, module, names in parts:
            if len(parts) > 1:
                lines += [heading, "-" * len(heading), ""]
            place = _public(module)
            found = _names(module, names)
            kind = "currentmodule" if place in begun else "module"
            begun.add(place)
            lines += [f".. {kind}:: {place}", "", ".. autosummary::"]
            lines += ["   :nosignatures:", ""]
            lines += [f"   {name}" for name in found] + [""]
            for name in found:
                lines += _entry(place, name, getattr(_module(module), name))
        yield f"reference/{file}.rst", "\n".join(lines)


def _entry(place: str, name: str, thing: Any) -> list[str]:
    if isinstance(thing, type) and issubclass(thing, BaseException):
        return [f".. autoexception:: {place}.{name}", ""]
    if isinstance(thing, type):
        members = ["   :members:", "   :inherited-members: dict, Mapping"]
        own = members if name in WITH_MEMBERS else []
        return [f".. autoclass:: {place}.{name}", *own, ""]
    return [f".. autofunction:: {place}.{name}", ""]


def _contents() -> str:
    lines = [
        "API reference",
        "=============",
        "",
        "Made of the docstrings. ``gt`` is ``import gputensor as gt``, ``torch`` ``import "
        "gputensor.torch as torch``, ``np`` NumPy; examples are run by the tests.",
        "",
        ".. toctree::",
        "   :maxdepth: 1",
        "",
        *(f"   {file}" for file, *_ in REFERENCE),
        "",
    ]
    return "\n".join(lines)


# ---------------------------------------------------------------- tables of names


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(list(head))}"]
    lines += [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def _codes(text: str) -> str:
    """What to write, as code; where there are two ways, each."""
    return re.sub(r"(,?) or ", r"`\1 or `", f"`{text}`")


def words() -> str:
    """The names that errors tell, from :mod:`gputensor.words`."""
    from gputensor import interop
    from gputensor import words as table

    text = []
    for module, names in table.MODULES.items():
        own = {k: f"gt.{v}" for k, v in interop.NAMES.items()} if module == "gputensor" else {}
        here = module.replace("gputensor", "gt")
        rows = [
            (f"`{here}.{theirs}`", _codes(ours)) for theirs, ours in sorted((own | names).items())
        ]
        text.append(f"## Names of {here}\n\n" + _table(("Elsewhere", "Here"), rows))
    rows = [
        (f"`x.{theirs}`", _codes(o.replace("NAME", theirs)))
        for o, all_ in table.TENSOR.items()
        for theirs in all_.split()
    ]
    text.append("## Attributes of a tensor\n\n" + _table(("Elsewhere", "Here"), sorted(rows)))
    rows = [(f"`module.{theirs}`", _codes(ours)) for theirs, ours in table.MODULE.items()]
    text.append("## Attributes of a module\n\n" + _table(("Elsewhere", "Here"), rows))
    rows = [
        (f"`{theirs}=`", " or ".join(f"`{o}=`" for o in ours))
        for theirs, ours in table.KEYWORDS.items()
    ]
    text.append("## Names of parameters\n\n" + _table(("Elsewhere", "Here"), rows))
    return "\n".join(text)


def rows() -> dict[str, Any]:
    """What the pages for those who come from elsewhere compare, by library."""
    return tomllib.loads((HERE / "howto" / "rows.toml").read_text("utf-8"))


def comparisons() -> dict[str, str]:
    """Tables of :func:`rows`."""
    found = {}
    for library, table in rows().items():
        lines = []
        for part in table["part"]:
            cells = []
            for row in part["rows"]:
                theirs = f"`{row['theirs']}`" if row.get("theirs") else row.get("said", "")
                note = f"<br>{row['note']}" if "note" in row else ""
                cells.append((theirs, f"`{row['ours']}`{note}"))
            head = (table["name"], "gputensor")
            lines.append(f"## {part['title']}\n\n" + _table(head, cells))
        found[library] = "\n".join(lines)
    return found


# ---------------------------------------------------------------- measurements


def benchmarks() -> str:
    """The files of ``benchmarks/results``, each with its machine and versions."""
    text = []
    for file in sorted(RESULTS.glob("*.json")):
        found = json.loads(file.read_text("utf-8"))
        if "results" not in found:
            continue
        machine = found.get("machine", {})
        where = machine.get("gpu") or f"{machine.get('cores')} cores of an {machine.get('cpu')}"
        versions = ", ".join(f"{k} {v}" for k, v in machine.get("versions", {}).items())
        commit = f" Measured at commit {found['commit']}." if "commit" in found else ""
        text.append(f"## {found['title']} ({where})\n")
        text.append(
            f"Python {machine.get('python')}; {versions}.{commit} {found.get('note', '')}\n"
        )
        text.append(_measured(found["results"], found["unit"]))
        text.append(f"From `benchmarks/results/{file.name}`.\n")
    return "\n".join(text)


def _measured(results: dict[str, Any], unit: str) -> str:
    cases = {}
    for name, case in results.items():
        if "median" in case:
            cases.setdefault("", {})[name] = case
        else:
            cases[name] = {k: v for k, v in case.get("contestants", case).items() if _timed(v)}
    rows = []
    for case, contestants in cases.items():
        ours = next(
            (c["median"] for n, c in contestants.items() if n.startswith("gputensor")), None
        )
        for name, c in contestants.items():
            median = c["median"]
            spread = f"{c['low']:,.4g} to {c['high']:,.4g}" if "low" in c else ""
            ratio = f"{ours / median:.2f}" if ours and median else ""
            rows.append((case, name, f"{median:,.4g}", spread, ratio))
    head = ["Case", "Contestant", f"Median, {unit}", "Quartiles", "gputensor / this"]
    if set(cases) == {""}:
        head, rows = head[1:], [row[1:] for row in rows]
    return _table(head, rows)


def _timed(case: Any) -> bool:
    return isinstance(case, dict) and "median" in case
