"""The walk through the house leads through rooms that there are."""

import re
from pathlib import Path

import gputensor as gt

ROOT = Path(__file__).parents[1]
WALK = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PACKAGE = Path(gt.__file__).parent


def test_files_of_the_walk_exist():
    files = set(re.findall(r"`([\w/]+\.py)`", WALK))
    assert len(files) > 20
    for file in files - {"NAME.py"}:
        places = (PACKAGE / file, ROOT / file, ROOT / "tests" / file)
        assert any(place.is_file() for place in places), file


def test_names_of_the_walk_are_in_the_file_they_are_said_to_be_in():
    for name, file in (
        ("def binary", "autograd/primitive.py"),
        ("class Node", "autograd/tape.py"),
        ("class Leaf", "autograd/tensor.py"),
        ("def propagate", "autograd/reverse.py"),
        ("def sum_to", "autograd/reverse.py"),
        ("class Tracer", "graph/tracer.py"),
        ("g * (1 - out * out)", "ops/elementwise.py"),
    ):
        assert name in (PACKAGE / file).read_text(encoding="utf-8"), name
        assert name.split()[-1].rstrip(")") in WALK


def test_the_program_of_the_walk_does_what_it_says():
    x, w = gt.ones((4, 3)), gt.tensor([[0.1, 0.2]] * 3, requires_grad=True)
    loss = gt.tanh(x @ w).sum()
    assert loss._node.parents[0].primitive.name == "tanh"
    assert loss._node.parents[0].parents[0].primitive.name == "matmul"
    loss.backward()
    assert w.grad.shape == w.shape
