"""What the documentation says is so: code of pages and docstrings runs, and tables hold."""

import contextlib
import doctest
import importlib
import importlib.util
import inspect
import io
import itertools
import json
import linecache
import math
import os
import re
from pathlib import Path

import numpy as np
import pytest

import gputensor as gt
import gputensor.keras
import gputensor.torch as torch
from gputensor import cli, torchvision
from gputensor.datasets import mnist

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
pytestmark = pytest.mark.cpu  # outputs name the device


def _generate():
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generate = _generate()

# ---------------------------------------------------------------- examples

_NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d+\.\d*|\.\d+|\d+)(?:[eE][-+]?\d+)?(?![\w])")


class Checker(doctest.OutputChecker):
    """Equal texts but for spaces and for the last digits of numbers."""

    def check_output(self, want, got, flags):
        if super().check_output(want, got, flags):
            return True
        if _NUMBER.sub("#", "".join(want.split())) != _NUMBER.sub("#", "".join(got.split())):
            return False
        pairs = zip(_NUMBER.findall(want), _NUMBER.findall(got), strict=True)
        return all(math.isclose(float(w), float(g), rel_tol=2e-4, abs_tol=1e-6) for w, g in pairs)


FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def run_examples(text, names, name, line=0):
    """Run what is written as a dialogue with Python."""
    test = doctest.DocTestParser().get_doctest(text, names, name, name, line)
    told = io.StringIO()
    runner = doctest.DocTestRunner(Checker(), verbose=False, optionflags=FLAGS)
    runner.run(test, out=told.write, clear_globs=False)
    assert not runner.failures, told.getvalue()
    names.update(test.globs)
    return len(test.examples)


# ---------------------------------------------------------------- pages


def pages():
    made = {"_build", "generated"}
    docs = [f for f in sorted(DOCS.rglob("*.md")) if not made & set(f.relative_to(DOCS).parts)]
    found = [ROOT / "README.md", *docs]
    return {str(file.relative_to(ROOT)): file for file in found}


PAGES = pages()
# Pages that only say where to go, or are text of a file that is checked elsewhere.
WITHOUT_CODE = {
    *("docs/index.md", "docs/contributing.md", "docs/changelog.md", "docs/zh/index.md"),
    *("docs/tutorials/index.md", "docs/howto/index.md", "docs/explanations/index.md"),
}
_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(file):
    """Code of a page, each with what it must print, if that is there: a block of text behind it."""
    text = file.read_text("utf-8")
    found = list(_FENCE.finditer(text))
    for match, after in itertools.zip_longest(found, found[1:]):
        if match[1] != "python":
            continue
        wanted = None
        if (
            after is not None
            and after[1] == "text"
            and not text[match.end() : after.start()].strip()
        ):
            wanted = after[2]
        yield match[2], wanted, text.count("\n", 0, match.start()) + 1


COMMANDS = sorted(
    {
        line.partition(" && ")[0].partition("   #")[0].strip()
        for file in PAGES.values()
        for language, text in _FENCE.findall(file.read_text("utf-8"))
        if language == "sh"
        for part in text.splitlines()
        for line in part.split(" && ")
        if line.startswith(("gputensor ", "python -m gputensor "))
    }
)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_of_the_pages_is_one_that_there_is(command):
    words = command.removeprefix("python -m ").split()[1:]
    if words == ["--version"]:
        return
    given = cli._parsers()[0].parse_args(words)
    assert given.command in cli._COMMANDS


def test_the_page_of_the_command_line_has_all_commands():
    told = {command.split()[1] for command in COMMANDS if command.startswith("gputensor ")}
    assert told == set(cli._COMMANDS) | {"--version"}


def pictures(count, seed=0):
    """Images of ten places that are inked, as MNIST has them."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, count)
    images = rng.integers(0, 60, (count, 28, 28), dtype=np.uint8)
    images[np.arange(count), 2 * labels + 3, 10:18] = 255
    return images, labels


@pytest.fixture
def small_mnist(monkeypatch):
    """Data of MNIST's form, as no test fetches the real ones."""
    monkeypatch.setattr(mnist, "load_data", lambda *_: (pictures(600), pictures(200, 1)))


@pytest.mark.parametrize("page", PAGES)
def test_the_code_of_each_page_runs(page, small_mnist, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": f"page_{Path(page).stem}"}
    ran = 0
    gt.manual_seed(0)
    gputensor.keras.backend.clear_session()  # names of layers are numbered
    for code, wanted, line in blocks(PAGES[page]):
        where = f"{page}:{line}"
        ran += 1
        if code.lstrip().startswith(">>>"):
            run_examples(code, names, where)
            continue
        capsys.readouterr()
        # Lines of a page are looked up by name when errors and explanations are shown.
        linecache.cache[where] = (len(code), None, code.splitlines(True), where)
        exec(compile(code, where, "exec"), names)
        if wanted is not None:
            printed = capsys.readouterr().out
            same = Checker().check_output(wanted, printed, FLAGS)
            assert same, f"{where} says\n{wanted}\nand prints\n{printed}"
    assert ran or page in WITHOUT_CODE, f"{page} has no example"


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_links_to_is_there(page):
    file = PAGES[page]
    text = _FENCE.sub("", file.read_text("utf-8"))
    for target in re.findall(r"\]\(([^)\s#]+)[^)]*\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        place = DOCS / target.lstrip("/") if target.startswith("/") else file.parent / target
        generated = "generated/" in str(place)
        assert generated or place.exists(), f"{page} links to {target}"


def test_external_links_are_listed():
    found = set()
    for file in PAGES.values():
        text = _FENCE.sub("", file.read_text("utf-8"))
        found |= set(re.findall(r"https?://[^\s)>\"'`]+", text))
    listed = set((DOCS / "external_links.txt").read_text("utf-8").split())
    assert found == listed


# ---------------------------------------------------------------- tables for those who come from

ROWS = [
    (library, row)
    for library, table in generate.rows().items()
    for part in table["part"]
    for row in part["rows"]
]


def _raises(function):
    try:
        function()
    except Exception:
        return True
    return False


def _names_for(library, array):
    a = [[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]], [1.0, 2.0]
    x, y, v = (array(np.array(values, np.float32)) for values in a)
    return {"np": np, "gt": gt, "importlib": importlib, "raises": _raises, "x": x, "y": y, "v": v}


def _theirs(library, table):
    if library == "torch":
        torch = pytest.importorskip("torch")
        names = _names_for(library, torch.tensor)
        w = torch.tensor([1.0, 2.0], requires_grad=True)
        names |= {"torch": torch, "i": torch.tensor([1, 0]), "w": w}
    elif library == "jax":
        jax = pytest.importorskip("jax")
        names = _names_for(library, jax.numpy.asarray) | {"i": jax.numpy.array([1, 0])}
    else:
        if library == "keras":
            os.environ.setdefault("KERAS_BACKEND", "torch")
            pytest.importorskip("keras")
        names = _names_for(library, np.asarray) | {"i": np.array([1, 0])}
    exec(table["setup"], names)
    return names


def _ours():
    names = _names_for("", gt.tensor) | {"i": gt.tensor([1, 0])}
    names["w"] = gt.tensor([1.0, 2.0], requires_grad=True)
    return names


def _value(found):
    if isinstance(found, gt.Tensor):
        return found.detach().numpy()
    return np.asarray(found.detach() if hasattr(found, "detach") else found)


@pytest.mark.parametrize(("library", "row"), ROWS, ids=[f"{n}-{r['ours']}" for n, r in ROWS])
def test_our_side_of_each_row_runs(library, row):
    run = exec if row["ours"].startswith("from ") else eval
    run(row["ours"], _ours())


@pytest.mark.peers
@pytest.mark.parametrize(
    ("library", "row"),
    [(n, r) for n, r in ROWS if "theirs" in r],
    ids=[f"{n}-{r['theirs']}" for n, r in ROWS if "theirs" in r],
)
def test_both_sides_of_each_row_are_equal(library, row):
    names = _theirs(library, generate.rows()[library])
    ours = eval(row["ours"], _ours())
    theirs = eval(row["theirs"], names)
    if "check" in row:
        assert eval(row["check"], _ours() | {"ours": ours, "theirs": theirs})
        return
    np.testing.assert_allclose(_value(ours), _value(theirs), rtol=1e-5, atol=1e-6)


def test_the_table_of_words_has_every_name_that_errors_tell():
    text = generate.words()
    for module, names in gt.words.MODULES.items():
        for name in names:
            assert f"`{module.replace('gputensor', 'gt')}.{name}`" in text


def measured(file):
    """Medians of a file of results, by contestant."""
    text = (ROOT / "benchmarks" / "results" / file).read_text(encoding="utf-8")
    return {name: found["median"] for name, found in json.loads(text)["results"].items()}


def test_the_measurements_are_those_of_the_files():
    before, after = (ROOT / "README.md").read_text(encoding="utf-8").split("## Measured")
    here = after[: after.index("Test accuracy after")]
    large, small = here.split("| the same, 784-64-10")
    small, operations = small.split("| 30 operations on 8 floats")
    for text, file, unit in (
        (large, "mnist.json", "{:.2f} s"),
        (small, "small.json", "{:.2f} s"),
        (operations, "overhead.json", "{:.0f} µs"),
    ):
        found = measured(file)
        ours = found["gputensor"]
        assert f"| {unit.format(ours)} |" in text
        theirs = re.findall(r"\w: ([\d.]+ \S+) \| ([\d.]+) \|", text)
        known = [(unit.format(v), f"{ours / v:.2f}") for v in found.values()]
        assert len(theirs) > 1
        assert set(theirs) <= set(known)
    on_h200 = before[before.index("That commit on that machine") :]
    row = next(line for line in on_h200.splitlines() if "784-512-10, batch 256" in line)
    found = measured("mnist-h200.json")
    assert f"| {found['gputensor']:.3f} s |" in row
    assert f"PyTorch eager, fused Adam: {found['PyTorch eager, fused Adam']:.3f} s" in row


def test_the_measurements_name_their_machine():
    text = generate.benchmarks()
    assert text.count("\n## ") == text.count("Python 3.") - 1
    assert "NVIDIA H200" in text


# ---------------------------------------------------------------- docstrings

DOCUMENTED = dict(generate.documented())
WITH_EXAMPLES = {
    name: thing for name, thing in DOCUMENTED.items() if ">>>" in (thing.__doc__ or "")
}


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_the_examples_of_docstrings_run(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    gt.manual_seed(0)
    doors = {"keras": gputensor.keras, "torch": torch, "torchvision": torchvision}
    names = {"gt": gt, "np": np, **doors, "__name__": "example"}
    with contextlib.redirect_stderr(io.StringIO()):
        run_examples(inspect.cleandoc(WITH_EXAMPLES[name].__doc__), names, name)
    # What the examples make shows itself as what it is, not as an object at an address.
    made = [v for v in names.values() if type(v).__module__.startswith("gputensor")]
    assert not [v for v in made if " object at 0x" in repr(v)]


def test_all_callables_have_an_example():
    assert not DOCUMENTED.keys() - WITH_EXAMPLES.keys()
    assert len(DOCUMENTED) > 1500


def test_callables_without_a_docstring_are_none():
    assert not [name for name, thing in DOCUMENTED.items() if not thing.__doc__]
