"""The benchmarks: that they run, what they report, what they refuse; not how quick anything is."""

import importlib.util
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import gputensor as gt
from gputensor import backend, cli
from gputensor.benchmarks import (
    common,
    epilogue,
    graph,
    kernels,
    matmul,
    mnist,
    overhead,
    small,
    training,
)
from gputensor.tree import leaves

CPU = backend.device("cpu")
NUMBERS = {"median", "low", "high", "gputensor/this"}
in_one_order = pytest.mark.parametrize("cupy", ["forward"], indirect=True)


def there_are(module):
    return common.choose_peers(None, module.PEERS, CPU)


def flat(results):
    """Value and gradients, as each library returns them."""
    total, *gradients = results
    return [
        part.detach() if hasattr(part, "detach") else part for part in (total, *leaves(gradients))
    ]


def check(table, unit=None):
    for row in table.values():
        assert NUMBERS | ({unit} if unit else set()) == set(row)
        assert 0 < row["low"] <= row["median"] <= row["high"]
    assert table["gputensor"]["gputensor/this"] == 1


@pytest.mark.parametrize(("module", "unit"), [(kernels, "GB/s"), (matmul, "GFLOP/s")])
def test_every_case_runs_in_every_form(module, unit, capsys):
    peers = there_are(module)
    report = module.run(CPU, peers, repeats=2, shrink=2000)
    printed = capsys.readouterr().out
    assert unit in printed
    rows = report.record["results"]
    assert len(rows) == sum(len(case.shapes) for case in module.CASES)
    for name, row in rows.items():
        assert name in printed
        check(row["contestants"], unit)
        assert "NumPy" in row["contestants"]
        case = max((c for c in module.CASES if name.startswith(c.name)), key=lambda c: len(c.name))
        assert ("PyTorch" in row["contestants"]) == bool("torch" in peers and case.torch)
    for column in ("gputensor", "quartiles", "NumPy", "ratio"):
        assert column in printed
    assert ("of copy" in printed) == (module is kernels)


@pytest.mark.slow
@in_one_order
def test_cuda_cases_run(cupy, capsys):
    where = backend.device("cuda")
    with where, backend.on_device_of(where):
        report = kernels.run(where, ["numpy"], repeats=2, shrink=1_000_000)
    rows = report.record["results"]
    assert all(any(name.startswith(c.name) for name in rows) for c in kernels.CASES)
    for row in rows.values():
        check(row["contestants"], "GB/s")
        assert "CuPy" in row["contestants"]
        assert row["host µs"] > 0
    assert {"gpu", "CUDA driver", "CUDA runtime"} <= set(report.record["machine"])
    assert "launches" in capsys.readouterr().out


@pytest.mark.slow
@in_one_order
def test_epilogues(cupy, capsys):
    where = backend.device("cuda")
    with where, backend.on_device_of(where):
        report = epilogue.run(where, [], repeats=2, shrink=256)
    rows = report.record["results"]
    dtypes = len(epilogue.DTYPES) - (importlib.util.find_spec("ml_dtypes") is None)
    assert len(rows) == dtypes * len(epilogue.CASES) * len(epilogue.SHAPES)
    printed = capsys.readouterr().out
    for name, row in rows.items():
        assert name in printed
        check(row["contestants"])
        assert row["chosen"] in ("epilogue", "kernel")
        assert ("epilogue" in row["contestants"]) != ("refused" in row)


def test_epilogues_need_cuda(capsys):
    with pytest.raises(SystemExit) as done:
        cli.main(["bench", "epilogue", "--device", "cpu"])
    assert done.value.code == 2
    assert "bench epilogue needs a CUDA device, and cpu is none" in capsys.readouterr().err


def test_only_the_peers_that_were_asked_for_take_part():
    for row in kernels.run(CPU, [], repeats=2, shrink=100_000).record["results"].values():
        assert list(row["contestants"]) == ["gputensor"]
    assert list(overhead.run(CPU, ["numpy"], 2, 200).record["results"]) == [
        "gputensor",
        "NumPy, forward only",
    ]


def test_overhead(capsys):
    report = overhead.run(CPU, there_are(overhead), repeats=2, shrink=100)
    check(report.record["results"])
    assert set(report.bars) == set(report.record["results"])
    lines = capsys.readouterr().out.splitlines()
    head, row = lines[lines.index(overhead.TITLE) + 1 :][:2]
    assert head.split()[:3] == ["median,", "µs", "quartiles"]  # the unit is before the ratio
    assert row.split()[-1] == "1.00"
    assert max(len(head), len(row)) <= 88


def test_graph():
    report = graph.run(CPU, there_are(graph), repeats=2, shrink=1000)
    for table in report.record["results"].values():
        check(table)
    assert len(report.bars) == sum(map(len, report.record["results"].values()))


def test_training(monkeypatch):
    """With the smallest batches; and PyTorch trains the same networks."""
    monkeypatch.setattr(training, "STEPS", 1)
    peers = there_are(training)
    report = training.run(CPU, peers, repeats=2, shrink=64)
    assert list(report.record["results"]) == list(training.TASKS)
    for table in report.record["results"].values():
        check(table)
        assert ("PyTorch eager" in table) == ("torch" in peers)
    assert len(report.bars) == sum(map(len, report.record["results"].values()))


@pytest.mark.peers
@pytest.mark.parametrize("name", training.TASKS)
def test_networks_of_both_libraries_have_as_many_parameters(name):
    torch = pytest.importorskip("torch")
    network = training.TASKS[name][0](2).network
    counts = [sum(math.prod(p.shape) for p in network(nn).parameters()) for nn in (gt.nn, torch.nn)]
    assert counts[0] == counts[1]


@pytest.mark.parametrize("scalars", [False, True])
def test_contestants_compute_the_same(scalars):
    chain = graph.Chain(5, scalars)
    calls = graph.chain_calls(chain, CPU, there_are(graph))
    wanted, *_ = found = [[np.asarray(part) for part in flat(call())] for call in calls.values()]
    for parts in found:
        for a, b in zip(parts, wanted, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4)


def test_mnist(tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(3)
    path = tmp_path / "set.npz"
    arrays = {}
    for name, n in (("train", 512), ("test", 10)):
        arrays[f"x_{name}"] = rng.integers(0, 256, (n, 28, 28), np.uint8)
        arrays[f"y_{name}"] = rng.integers(0, 10, n, np.uint8)
    np.savez(path, **arrays)
    monkeypatch.setattr(mnist, "start_and_memory", lambda *_: {"import": 0})
    report = mnist.run(CPU, there_are(mnist), repeats=2, shrink=2, data=path)
    check(report.record["results"])
    assert {"gputensor", "NumPy by hand"} <= set(report.record["results"])
    assert "import" in capsys.readouterr().out
    report = small.run(CPU, ["numpy"], repeats=2, shrink=4, data=path)
    assert "784-64-10, batch 32" in report.record["title"]
    step = report.record["step"]
    median = report.record["results"]["gputensor"]["median"]
    assert step["µs"] == pytest.approx(median / 4 * 1e6)
    assert step["FLOP"] == 2 * 32 * (2 * 784 * 64 + 3 * 640)


def test_files_hold_the_machine_and_the_figures(tmp_path, capsys):
    figures, chart = tmp_path / "figures.json", tmp_path / "chart.png"
    options = ["--repeats", "2", "--device", "cpu", "--compare", "numpy"]
    files = ["--json", str(figures), "--plot", str(chart)]
    assert cli.main(["bench", "overhead", *options, *files]) == 0
    record = json.loads(figures.read_text())
    check(record["results"])
    assert record["machine"]["device"] == "cpu"
    assert {"cpu", "cores", "python"} <= set(record["machine"])
    assert record["machine"]["versions"]["numpy"] == np.__version__
    assert chart.read_bytes().startswith(b"\x89PNG")
    assert cli.main(["bench", "overhead", *options]) == 0
    assert "quartiles" in capsys.readouterr().out
    assert sorted(tmp_path.iterdir()) == [chart, figures]


def test_a_script_writes_its_results(tmp_path, monkeypatch):
    monkeypatch.setattr(common, "RESULTS", tmp_path / "results")
    arguments = ["--repeats", "2", "--device", "cpu", "--compare", "numpy"]
    monkeypatch.setattr(sys, "argv", ["overhead.py", *arguments])
    with pytest.raises(SystemExit) as done:
        common.script("overhead")
    assert done.value.code == 0
    names = sorted(p.name for p in (tmp_path / "results").iterdir())
    assert names == ["overhead.json", "overhead.png"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--compare", "numpy,nonesuch"], "nonesuch"),
        (["--device", "cuda:99"], "cuda:99"),
        (["--repeats", "1"], "2 or more"),
        (["--json", "no/such/folder/x.json"], "folder"),
    ],
)
def test_what_there_is_not_is_said_at_once(arguments, text, capsys):
    with pytest.raises(SystemExit) as done:
        cli.main(["bench", "kernels", *arguments])
    assert done.value.code == 2
    assert text in capsys.readouterr().err


def test_a_peer_that_is_not_installed(monkeypatch, capsys):
    monkeypatch.setattr(
        common.importlib.util, "find_spec", lambda name: None if name == "torch" else name
    )
    with pytest.raises(common.PeerError, match=r'torch.*pip install -e "\.\[peers\]"'):
        common.choose_peers("numpy,torch", kernels.PEERS, CPU)
    assert common.choose_peers(None, kernels.PEERS, CPU) == ["numpy"]
    assert "PyTorch is left out" in capsys.readouterr().out


def test_a_peer_without_a_form_is_left_out_and_named(capsys):
    assert common.choose_peers("numpy,jax", ("numpy",), CPU) == ["numpy"]
    assert "JAX is left out" in capsys.readouterr().out


def test_zeros_are_not_timed(monkeypatch):
    with pytest.raises(ValueError, match="case: input 'b' is all zeros"):
        common.input_sets("case", lambda: {"a": np.ones(3), "b": np.zeros(3)}, 100)
    monkeypatch.setattr(common.Random, "normal", lambda self, *s: np.zeros(s, np.float32))
    with pytest.raises(ValueError, match="'z' is all zeros"):
        kernels.run(CPU, [], repeats=2, shrink=100_000)


def test_sets_of_inputs_exceed_the_cache():
    sets = common.input_sets("case", lambda: {"a": np.ones(10)}, 200)
    assert len(sets) == 3
    assert len({id(s["a"]) for s in sets}) == 3


def test_inputs_of_adam_have_moments():
    case = next(c for c in kernels.CASES if c.name == "Adam")
    inputs = case.draw(common.Random(CPU), 5)
    assert inputs["m"].all()
    assert (inputs["v"] > 0).all()


def test_the_setting_of_kernels_is_given_back(monkeypatch):
    monkeypatch.setenv("GPUTENSOR_KERNELS", "reference")
    with common.kernels_setting("auto"):
        assert common.config.kernels_setting() == "auto"
    assert common.config.kernels_setting() == "reference"


@pytest.mark.hardware
@pytest.mark.skipif(
    importlib.util.find_spec("cupy_backends") is None, reason="CuPy is not installed"
)
def test_launches_are_timed_without_a_driver():
    script = Path(common.__file__).with_name("launch.py")
    done = subprocess.run(
        [sys.executable, script, "--repeats", "1"], capture_output=True, text=True, check=True
    )
    assert re.findall(r"^(.*?) +[0-9.]+ µs$", done.stdout, re.MULTILINE)[-1] == (
        "backward, a call's share"
    )
