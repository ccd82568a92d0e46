"""Passes and groups, on graphs made by hand: what each leaves, in its order, to the operand."""

import functools
import types

import numpy as np
import pytest

import gputensor as gt
from gputensor import kernels
from gputensor.graph import fuse, ir, passes
from gputensor.graph.interpret import Memory, interpret
from gputensor.graph.ir import Graph, Node, Value, dense_strides

pytestmark = pytest.mark.cpu

CPU = gt.device("cpu")
PLACE = ((lambda: None).__code__, 0)


class Made:
    """A graph that is made node by node."""

    def __init__(self):
        self.graph = Graph(CPU)

    def memory(self, kind, shape=(4,), dtype="f", fill=3.0):
        """What is there when the graph begins."""
        owner = np.full(shape, fill, dtype) if kind == "outside" else None
        made = Value(
            self.graph.buffer(kind, np.empty(shape, dtype).nbytes, owner),
            *(0, 0, shape, np.empty(shape, dtype).strides, np.dtype(dtype)),
        )
        if kind == "argument":
            self.graph.arguments.append(made)
        return made

    def add(self, op, *args, into=None, shape=(4,), dtype="f", kind="map", **kwargs):
        """A node, and what it gives: into new memory, or into that of a value."""
        raises = kwargs.pop("raises", False)
        if into is None:
            into = self.memory("temporary", shape, dtype)
        into.buffer.version += 1
        out = into._replace(version=into.buffer.version)
        node = Node(kind, op, args, kwargs, (out,), PLACE, raises)
        node.result = out
        self.graph.nodes.append(node)
        return out

    def give(self, *values):
        self.graph.result = values
        ir.verify(self.graph)
        return self.graph


def text(graph):
    """A graph in words."""

    def word(leaf):
        if type(leaf) is not Value:
            return str(leaf)
        part = "" if leaf.whole() else f"[{leaf.offset // leaf.dtype.itemsize}:]"
        return f"{leaf.buffer.kind[0]}{leaf.buffer.number}.{leaf.version}{part}"

    return [f"{word(n.outputs[0])} = {n.name}({', '.join(map(word, n.args))})" for n in graph.nodes]


def run(graph):
    memory = Memory(CPU)
    for i, value in enumerate(graph.arguments):
        rng = np.random.default_rng(i)
        memory.put(value.buffer, (rng.random(value.shape) * 9).astype(value.dtype))
    for buffer in graph.buffers:
        if buffer.kind == "outside":
            memory.put(buffer, buffer.owner.copy())
    found = interpret(graph, memory)
    written = [v for n in graph.nodes for v in n.outputs if v.buffer.kind != "temporary"]
    outside = map(memory.array, written)
    return [a.tobytes() for a in (*found, *outside)]


def after(graph, *chosen):
    """The graph after passes, which have changed no result."""
    before = run(graph)
    for one in chosen:
        one(graph)
    ir.verify(graph)
    assert run(graph)[: len(graph.result)] == before[: len(graph.result)]
    return text(graph)


def part(value, start, length):
    return value._replace(offset=start * value.dtype.itemsize, shape=(length,))


# Copies


def test_maps_read_what_was_copied():
    for op, args in (("copy", ("C",)), ("astype", (np.dtype("f"), "K")), ("assign", ())):
        made = Made()
        x = made.memory("argument")
        y = made.add(op, x, *args)
        z = made.add("add", y, made.add("exp", y))
        assert after(made.give(z), passes.copies)[1:] == [
            "t2.1 = exp(a0.0)",
            "t3.1 = add(a0.0, t2.1)",
        ]


def test_what_was_broadcast_is_read_where_it_lies():
    made = Made()
    row, x = made.memory("argument"), made.memory("argument", (3, 4))
    spread = made.add("broadcast_to", row, shape=(3, 4))
    graph = made.give(made.add("add", spread, x, shape=(3, 4)))
    assert after(graph, passes.copies)[1] == "t3.1 = add(a0.0[0:], a1.0)"
    assert graph.nodes[1].args[0].strides == (0, 4)


def test_copies_of_another_dtype_stay():
    made = Made()
    x = made.memory("argument", dtype="d")
    y = made.add("astype", x, np.dtype("f"), "K")
    assert after(made.give(made.add("exp", y)), passes.copies)[1] == "t2.1 = exp(t1.1)"


def test_a_copy_is_read_once_its_source_is_written_over():
    made = Made()
    x = made.memory("outside")
    y = made.add("copy", x, "C")
    a = made.add("exp", y)
    made.add("assign", 1.0, into=x)
    b = made.add("exp", y)
    assert after(made.give(a, b), passes.copies)[1:] == [
        "t2.1 = exp(o0.0)",
        "o0.1 = assign(1.0)",
        "t3.1 = exp(t1.1)",
    ]


def test_the_first_of_several_writes_to_the_source_counts():
    made = Made()
    x = made.memory("outside")
    y = made.add("copy", x, "C")
    made.add("assign", 1.0, into=x)
    a = made.add("exp", y)
    made.add("assign", 2.0, into=x)
    assert after(made.give(a), passes.copies)[2] == "t2.1 = exp(t1.1)"


def test_calls_without_results_read_copies_too():
    made = Made()
    x = made.add("exp", made.memory("argument"))
    y = made.add("copy", x, "C")
    made.graph.nodes.append(Node("call", "shape", (y,), {}, (), PLACE))
    graph = made.give(x)
    passes.copies(graph)
    assert graph.nodes[-1].args == (x,)


def test_what_writes_over_the_source_reads_the_copy():
    made = Made()
    x = made.memory("outside")
    y = made.add("copy", x, "C")
    made.add("negative", y, into=x)
    assert after(made.give(made.add("exp", x._replace(version=1))), passes.copies)[1] == (
        "o0.1 = negative(t1.1)"
    )


def test_what_writes_elsewhere_into_the_source_may_read_it():
    made = Made()
    x = made.memory("outside", (8,))
    y = made.add("copy", part(x, 0, 4), "C")
    made.add("negative", y, into=part(x, 4, 4))
    assert after(made.give(y), passes.copies)[1] == "o0.1[4:] = negative(o0.0[0:])"


def test_the_last_writer_before_the_copy_does_not_matter():
    made = Made()
    x = made.memory("outside")
    made.add("assign", 2.0, into=x)
    y = made.add("copy", x._replace(version=1), "C")
    assert after(made.give(made.add("exp", y)), passes.copies)[2] == "t2.1 = exp(o0.1)"


def test_copies_of_several_writes_or_of_a_part_stay():
    made = Made()
    x = made.memory("argument")
    y = made.memory("temporary", (8,))
    made.add("copy", x, "C", into=part(y, 0, 4))
    made.add("copy", x, "C", into=part(y, 4, 4))
    z = made.add("exp", y._replace(version=2), shape=(8,))
    assert after(made.give(z), passes.copies)[2] == "t2.1 = exp(t1.2)"
    made = Made()
    y = made.memory("temporary", (8,))
    made.add("copy", made.memory("argument"), "C", into=part(y, 0, 4))
    z = made.add("exp", part(y, 0, 4)._replace(version=1))
    assert after(made.give(z), passes.copies)[1] == "t2.1 = exp(t0.1[0:])"


def test_numbers_that_fill_an_array_are_read_as_numbers_of_its_dtype():
    made = Made()
    x = made.memory("argument", dtype="B")
    two = made.add("assign", 2.7, dtype="B")
    made_of_part = made.add("add", part(two, 1, 2), part(x, 0, 2), shape=(2,), dtype="B")
    graph = made.give(made.add("add", two, x, dtype="B"), made_of_part)
    after(graph, passes.copies)
    for node in graph.nodes[1:]:
        assert node.args[0] == 2
        assert type(node.args[0]) is np.uint8


def test_an_assigned_object_that_is_no_number_stays():
    made = Made()
    x = made.add("assign", [1.0, 2.0, 3.0, 4.0])
    assert after(made.give(made.add("exp", x)), passes.copies)[1] == "t1.1 = exp(t0.1)"


def test_calls_read_copies_that_do_not_lie_as_their_source_does():
    for kind, wanted in (("argument", "t2.1"), ("temporary", "t1.1")):
        made = Made()
        x = made.memory("argument")
        source = x if kind == "argument" else made.add("exp", x)
        y = made.add("copy", source, "C")
        number = y.buffer.number
        found = after(made.give(made.add("sum", y, kind="call", shape=())), passes.copies)[-1]
        assert found.endswith(f"sum(t{number}.1)" if kind == "argument" else f"sum({wanted})")
    made = Made()
    x = made.add("exp", made.memory("argument", (8,)), shape=(8,))
    for piece in (part(x, 4, 4), part(x, 0, 4)):
        y = made.add("copy", piece, "C")
        made.add("sum", y, kind="call", shape=())
    graph = made.give(*(n.outputs[0] for n in made.graph.nodes if n.name == "sum"))
    assert [t.split("= ")[1] for t in after(graph, passes.copies) if "sum" in t] == [
        "sum(t2.1)",
        "sum(t1.1[0:])",
    ]


def test_calls_named_as_copies_are_none():
    made = Made()
    x = made.memory("argument")
    y = made.add("copy", x, kind="call")
    assert after(made.give(made.add("exp", y)), passes.copies)[1] == "t2.1 = exp(t1.1)"


def test_copies_into_memory_from_outside_stay():
    made = Made()
    x, y = made.memory("argument"), made.memory("outside")
    made.add("copy", x, "C", into=y)
    z = made.add("exp", y._replace(version=1))
    assert after(made.give(z), passes.copies)[1] == "t2.1 = exp(o1.1)"


def test_copies_into_memory_that_overlaps_itself_stay():
    made = Made()
    x = made.memory("argument", (2, 2))
    y = made.memory("temporary", (2, 2))._replace(strides=(4, 4))
    y = made.add("copy", x, "C", into=y)
    z = made.add("exp", y, shape=(2, 2))
    assert after(made.give(z), passes.copies)[1].startswith("t2.1 = exp(t1.1")


# Constants


def test_maps_of_numbers_are_computed():
    made = Made()
    y = made.add("divide", 1, 2)
    z = made.add("add", np.float32(1), 2.5, dtype="d")
    after(graph := made.give(y, z), passes.constants)
    assert [(n.op, *n.args) for n in graph.nodes] == [("assign", 0.5), ("assign", 3.5)]
    assert [type(n.args[0]) for n in graph.nodes] == [np.float32, np.float64]


def test_maps_of_arrays_or_with_options_are_not_computed():
    made = Made()
    x = made.memory("argument")
    y = made.add("add", x, 1)
    z = made.add("exp", 1.0, where=True)
    found = after(made.give(y, z), passes.constants)
    assert found == ["t1.1 = add(a0.0, 1)", "t2.1 = exp(1.0)"]


def arange(made, **options):
    return made.add("arange", 4, kind="call", dtype="l", **options)


def test_calls_without_operands_are_made_once():
    made = Made()
    x = made.memory("argument", dtype="l")
    y = arange(made)
    z = made.add("add", x, y, dtype="l")
    graph = made.give(z)
    assert after(graph, passes.constants) == ["t2.1 = add(a0.0, o1.0)"]
    np.testing.assert_array_equal(y.buffer.owner, np.arange(4))
    assert y.buffer.version == 0


def test_a_call_of_a_function_or_with_an_operand_is_no_constant():
    made = Made()
    x = made.memory("argument")
    y = made.add(np.negative, x, kind="call")
    z = made.add("negative", x, kind="call")
    w = made.add(lambda: np.zeros(4, "f"), kind="call")
    out = made.add("add", made.add("add", y, z), w)
    assert len(after(made.give(out), passes.constants)) == 5


def test_what_is_assigned_is_no_constant():
    made = Made()
    x = made.add("assign", [1.0, 2.0, 3.0, 4.0])
    assert len(after(made.give(x), passes.constants)) == 1


def test_constants_that_are_returned_written_or_that_raise_stay():
    made = Made()
    assert after(made.give(arange(made)), passes.constants) == ["t0.1 = arange(4)"]
    made = Made()
    y = arange(made, raises=True)
    assert len(after(made.give(made.add("negative", y, dtype="l")), passes.constants)) == 2
    made = Made()
    y = arange(made)
    z = made.add("negative", y, dtype="l")
    made.add("assign", 1, into=y, dtype="l")
    assert len(after(made.give(z), passes.constants)) == 3


def test_constants_that_lie_in_memory_otherwise_stay():
    made = Made()
    y = made.add("full", (2, 2), 1.5, kind="call", dtype="d", shape=(2, 2), order="F")
    z = made.add("negative", y, dtype="d", shape=(2, 2))
    assert after(made.give(z), passes.constants)[1] == "t1.1 = negative(t0.1)"
    made = Made()
    y = made.add("squeeze", ((1.0, 2.0),), kind="call", dtype="d", shape=(2,))
    z = made.add("negative", y, dtype="d", shape=(2,))
    assert after(made.give(z), passes.constants)[1] == "t1.1 = negative(t0.1)"  # a view


# Units


@pytest.mark.parametrize(
    ("op", "args", "dtype", "is_copy"),
    [
        ("multiply", ("x", 1), "f", True),
        ("multiply", (1.0, "x"), "f", True),
        ("multiply", ("x", np.float32(1)), "f", True),
        ("multiply", ("x", np.float64(1)), "d", True),
        ("divide", ("x", 1), "d", True),
        ("divide", (1, "x"), "f", False),
        ("multiply", ("x", 2), "f", False),
        ("add", ("x", 1), "f", False),
        ("multiply", ("x", 1), "l", False),
        ("multiply", ("x", "x"), "f", False),
        ("negative", ("x",), "f", False),
        ("multiply", ("x", "y"), "f", False),
    ],
)
def test_products_with_one_are_copies(op, args, dtype, is_copy):
    made = Made()
    names = {"x": made.memory("argument", dtype=dtype), "y": made.memory("argument", dtype=dtype)}
    given = [names[a] if isinstance(a, str) else a for a in args]
    graph = made.give(made.add(op, *given, dtype=dtype))
    after(graph, passes.units)
    assert graph.nodes[0].op == ("broadcast_to" if is_copy else op)
    if is_copy:
        assert graph.nodes[0].args == (names["x"],)


def test_products_with_one_of_another_dtype_are_none():
    made = Made()
    x = made.memory("argument")
    wide = made.add("multiply", x, np.float64(1), dtype="d")
    other = made.add("multiply", x, 1, dtype="d")
    options = made.add("multiply", x, 1, where=True)
    call = made.add("multiply", x, 1, kind="call")
    graph = made.give(wide, other, options, call)
    after(graph, passes.units)
    assert {n.op for n in graph.nodes} == {"multiply"}


def test_arrays_are_no_unit():
    made = Made()
    y = made.add("multiply", made.memory("argument"), np.ones(4, "f"))
    assert after(made.give(y), passes.units)[0].startswith("t1.1 = multiply")


# What is computed twice


def test_what_is_computed_twice_is_computed_once():
    for kind, op in (("map", "exp"), ("call", "exp"), ("reduce", "sum")):
        made = Made()
        x = made.memory("argument")
        shape = () if kind == "reduce" else (4,)
        y, z = (made.add(op, x, kind=kind, shape=shape) for _ in range(2))
        found = after(made.give(made.add("add", y, z, shape=shape)), passes.repeated)
        assert found == [f"t1.1 = {op}(a0.0)", "t3.1 = add(t1.1, t1.1)"]


def test_what_is_computed_from_other_values_is_another_thing():
    made = Made()
    x = made.memory("argument")
    values = [
        made.add("add", x, 1),
        made.add("add", x, 1.0),
        made.add("add", x, True),
        made.add("add", x, np.float32(1)),
        made.add("add", x, 1, dtype="d"),
        made.add("add", x, 1, where=True),
        made.add("subtract", x, 1),
        made.add("add", part(x, 0, 2), 1, shape=(2,)),
        made.add("add", part(x, 2, 2), 1, shape=(2,)),
        made.add("add", 1, x),
        made.add("assign", 1.0),
        made.add("assign", 1.0, shape=(3,)),
    ]
    roots = [made.add("negative", v, shape=v.shape, dtype=v.dtype) for v in values]
    assert len(after(made.give(*roots), passes.repeated)) == 24


def test_the_version_of_an_operand_counts():
    made = Made()
    x = made.memory("outside")
    y = made.add("exp", x)
    made.add("assign", 1.0, into=x)
    z = made.add("exp", x._replace(version=1))
    assert len(after(made.give(made.add("add", y, z)), passes.repeated)) == 4


def test_results_that_are_returned_written_or_that_raise_are_computed_each():
    made = Made()
    x = made.memory("argument")
    assert len(after(made.give(made.add("exp", x), made.add("exp", x)), passes.repeated)) == 2
    made = Made()
    x = made.memory("argument")
    y, z = made.add("exp", x), made.add("exp", x)
    a = made.add("negative", z)
    made.add("assign", 1.0, into=z)
    assert len(after(made.give(made.add("add", y, a)), passes.repeated)) == 5
    made = Made()
    x = made.memory("argument")
    y, z = (made.add("exp", x, kind="call", raises=True) for _ in range(2))
    assert len(after(made.give(made.add("add", y, z)), passes.repeated)) == 3
    made = Made()
    x = made.memory("argument")
    for _ in range(2):
        made.add("exp", x, into=made.memory("outside"))
    assert len(after(made.give(x), passes.repeated)) == 2


def test_functions_and_kernels_may_have_effects():
    for kind, op in (("call", np.exp), ("kernel", "exp")):
        made = Made()
        x = made.memory("argument")
        y, z = (made.add(op, x, kind=kind) for _ in range(2))
        graph = made.give(made.add("add", y, z))
        passes.repeated(graph)
        assert len(graph.nodes) == 3


def test_calls_of_several_results_or_none_are_computed_each():
    made = Made()
    x = made.memory("argument")
    parts = []
    for _ in range(2):
        parts.append(made.add("modf", x, kind="call"))
        whole = made.memory("temporary")
        whole.buffer.version = 1
        parts.append(whole._replace(version=1))
        made.graph.nodes[-1].outputs = tuple(parts[-2:])
    out = made.add("add", made.add("add", *parts[:2]), made.add("add", *parts[2:]))
    made.graph.nodes.append(Node("call", "shape", (x,), {}, (), PLACE))
    graph = made.give(out)
    passes.repeated(graph)
    assert [n.name for n in graph.nodes] == ["modf", "modf", "add", "add", "add", "shape"]


def test_parts_of_what_was_computed_twice_are_read_of_the_first():
    made = Made()
    x = made.memory("argument")
    y, z = made.add("exp", x), made.add("exp", x)
    out = made.add("add", part(z, 2, 2), part(y, 0, 2), shape=(2,))
    assert after(made.give(out), passes.repeated)[1] == "t3.1 = add(t1.1[2:], t1.1[0:])"


# Clipped gradients


class Stepped(Made):
    """Gradients that are clipped, and parameters that are moved."""

    def __init__(self):
        super().__init__()
        self.p, self.g = self.memory("outside", fill=2.0), self.memory("outside", fill=3.0)
        self.squared = self.memory("outside", (), "d", fill=16.0)

    def kernel(self, kernel, *args, writes, **kwargs):
        op = functools.partial(kernel.run)
        op.name, op.kernel = kernel.name, kernel
        out = self.add(op, *args, into=writes, kind="kernel", **kwargs)
        node = self.graph.nodes[-1]
        node.writes, node.result = 1, None
        return out

    def clip(self, g, squared=None):
        squared = self.squared if squared is None else squared
        return self.kernel(kernels.clip_norm, g, squared, most=1.0, writes=g)

    def step(self, g, p=None, **kwargs):
        p = self.p if p is None else p
        return self.kernel(kernels.sgd_step, p, g, None, lr=0.5, writes=p, **kwargs)

    def left(self):
        """Names of the nodes after the pass, which has changed nothing outside."""
        self.give()
        before = self.outside()
        passes.clips(self.graph)
        ir.verify(self.graph)
        assert self.outside() == before
        return [n.name for n in self.graph.nodes]

    def outside(self):
        memory, arrays = Memory(CPU), []
        for buffer in self.graph.buffers:
            if buffer.kind == "outside":
                arrays.append(buffer.owner.copy())
                memory.put(buffer, arrays[-1])
        interpret(self.graph, memory)
        return [a.tobytes() for a in arrays]


def test_a_step_clips_its_gradients_itself():
    made = Stepped()
    made.step(made.clip(made.g))
    assert made.left() == ["sgd_step"]
    (node,) = made.graph.nodes
    assert node.outputs == tuple(v._replace(version=1) for v in (made.p, made.g))
    assert (node.writes, node.kwargs["most"]) == (2, 1.0)
    assert node.kwargs["squared"].same_place(made.squared)
    assert node.kwargs["clipped"].same_place(made.g)
    assert node.args[1].version == 0


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_each_step_clips_what_is_its_own(order):
    made = Stepped()
    halves = part(made.g, 0, 2), part(made.g, 2, 2)
    clipped = [made.clip(half) for half in halves]
    for i in order:
        made.step(clipped[i], part(made.p, 2 * i, 2))
    made.add("negative", made.g._replace(version=2))
    assert made.left() == ["sgd_step", "sgd_step", "negative"]


def test_clipped_gradients_that_another_reads_or_writes_before_are_clipped_before():
    made = Stepped()
    g = made.clip(made.g)
    made.add("negative", g)
    made.step(g)
    assert made.left() == ["clip_norm", "negative", "sgd_step"]
    made = Stepped()
    made.step(made.add("negative", made.clip(made.g), into=made.g))
    assert made.left() == ["clip_norm", "negative", "sgd_step"]
    made = Stepped()  # what reads them after the step reads the same
    g = made.clip(made.g)
    made.step(g)
    made.add("negative", g, into=made.memory("outside"))
    assert made.left() == ["sgd_step", "negative"]


def test_a_part_of_what_was_clipped_is_clipped_before():
    made = Stepped()
    half = part(made.clip(made.g), 0, 2)
    made.step(half, part(made.p, 0, 2))
    assert made.left() == ["clip_norm", "sgd_step"]


def test_gradients_are_clipped_before_where_the_norm_is_written_over():
    made = Stepped()
    g = made.clip(made.g)
    made.add("assign", 0.25, into=made.squared)
    made.step(g)
    assert made.left() == ["clip_norm", "assign", "sgd_step"]
    made = Stepped()  # by what writes to other memory, too
    g, other = made.clip(made.g), made.memory("outside")

    def both(x, y):
        x[...], y[...] = 1, 0.25

    both = types.SimpleNamespace(run=both, name="both")
    made.kernel(both, other, made.squared, writes=made.squared)
    made.graph.nodes[-1].outputs += (other._replace(version=1),)
    made.graph.nodes[-1].writes = 2
    made.step(g)
    assert made.left() == ["clip_norm", "both", "sgd_step"]
    made = Stepped()  # where it lies among the parameters
    norm = made.p._replace(shape=(), strides=(), dtype=np.dtype("d"))
    made.step(made.clip(made.g, norm))
    assert made.left() == ["clip_norm", "sgd_step"]


def test_what_is_clipped_twice_is_clipped_once_by_the_step():
    made = Stepped()
    made.step(made.clip(made.clip(made.g)))
    assert made.left() == ["clip_norm", "sgd_step"]


def test_clipped_gradients_that_no_step_takes_stay():
    made = Stepped()
    made.clip(made.g)
    assert made.left() == ["clip_norm"]
    made = Stepped()  # as its parameters
    made.step(made.memory("outside"), made.clip(made.g))
    assert made.left() == ["clip_norm", "sgd_step"]


# What nothing reads


def test_what_nothing_reads_is_left_out():
    made = Made()
    x = made.memory("argument")
    made.add("exp", made.add("log", x))
    y = made.add("sqrt", x)
    assert after(made.give(y), passes.unread) == ["t3.1 = sqrt(a0.0)"]


def test_writes_outside_and_errors_stay():
    made = Made()
    x, y = made.memory("argument"), made.memory("outside")
    made.add("log", x, into=y)
    made.add("exp", x, raises=True)
    assert len(after(made.give(x), passes.unread)) == 2


def test_of_several_results_one_is_enough():
    made = Made()
    x = made.memory("argument")
    first = made.add("modf", x, kind="call")
    second = made.memory("temporary")._replace(version=1)
    made.graph.nodes[-1].outputs = first, second
    made.graph.nodes.append(Node("call", "shape", (x,), {}, (), PLACE))
    graph = made.give(second)
    passes.unread(graph)
    assert [n.name for n in graph.nodes] == ["modf"]


def test_what_is_written_over_whole_is_left_out():
    made = Made()
    x = made.memory("argument")
    y = made.add("exp", x)
    z = made.add("log", x, into=y)
    assert after(made.give(z), passes.unread) == ["t1.1 = log(a0.0)"]


def test_what_is_written_over_in_part_stays():
    made = Made()
    x = made.memory("argument")
    y = made.add("exp", x)
    made.add("log", part(x, 0, 2), into=part(y, 0, 2))
    found = after(made.give(y._replace(version=2)), passes.unread)
    assert found == ["t1.1 = exp(a0.0)", "t1.2[0:] = log(a0.0[0:])"]
    # Whole, but with gaps: every second element of twice as many.
    made = Made()
    x, y = made.memory("argument"), made.memory("temporary", (4,))
    made.add("exp", x, into=y)
    gaps = y._replace(shape=(2, 2), strides=(8, 8))  # of the size of all, at two places
    made.add("assign", 1.0, into=gaps)
    assert len(after(made.give(y._replace(version=2)), passes.unread)) == 2


def test_what_a_node_reads_of_its_own_memory_is_computed():
    made = Made()
    x = made.memory("argument")
    y = made.add("exp", x)
    z = made.add("negative", y, into=y)
    assert len(after(made.give(z), passes.unread)) == 2


def test_versions_count_what_is_left():
    made = Made()
    x = made.memory("argument")
    y = made.add("exp", x)
    y = made.add("log", x, into=y)
    a = made.add("negative", y)
    y = made.add("sqrt", x, into=y)
    b = made.add("negative", y)
    graph = made.give(a, b)
    graph.kept = [y]
    assert after(graph, passes.unread) == [
        "t1.1 = log(a0.0)",
        "t2.1 = negative(t1.1)",
        "t1.2 = sqrt(a0.0)",
        "t3.1 = negative(t1.2)",
    ]
    assert graph.kept[0].version == 2


# Groups


def shapes_of(items):
    return [
        sorted(n.name for n in item.nodes) if isinstance(item, fuse.Group) else item.name
        for item in items
    ]


def is_map(node):
    return node.kind == "map"


def test_calls_come_as_soon_as_they_may():
    made = Made()
    x = made.memory("argument")
    a = made.add("exp", x)
    b = made.add("sort", x, kind="call")
    c = made.add("log", x)
    d = made.add("sort", c, kind="call")
    e = made.add("negative", d)
    graph = made.give(a, b, e)
    assert shapes_of(fuse.groups(graph, is_map)) == ["sort", ["exp", "log"], "sort", ["negative"]]


def test_writes_outside_wait_for_what_may_raise():
    made = Made()
    x, y = made.memory("argument"), made.memory("outside")
    made.add("exp", x, into=y)
    a = made.add("log", x)
    b = made.add("cholesky", a, kind="call", raises=True)
    made.add("sqrt", x, into=made.memory("outside"))
    graph = made.give(b)
    assert shapes_of(fuse.groups(graph, is_map)) == [["log"], "cholesky", ["exp", "sqrt"]]


def test_writes_outside_wait_for_all_that_may_raise():
    made = Made()
    x, y = made.memory("argument"), made.memory("outside")
    made.add("copyto", x, into=y, kind="call")
    a = made.add("first", x, kind="call", raises=True)
    b = made.add("second", made.add("exp", a), kind="call", raises=True)
    c = made.add("third", b, kind="call")
    graph = made.give(c)
    assert shapes_of(fuse.groups(graph, is_map)) == [
        "first",
        ["exp"],
        "second",
        "copyto",
        "third",
    ]


def test_writes_outside_come_right_after_what_may_raise():
    made = Made()
    x = made.memory("argument")
    made.add("copyto", x, into=made.memory("outside"), kind="call")
    made.add("first", x, kind="call", raises=True)
    made.add("other", x, kind="call")
    assert shapes_of(fuse.groups(made.give(x), is_map)) == ["first", "copyto", "other"]
    made = Made()
    x = made.memory("argument")
    made.add("copyto", x, into=made.memory("outside"), kind="call")
    a = made.add("other", x, kind="call")
    assert shapes_of(fuse.groups(made.give(a), is_map)) == ["copyto", "other"]
    made = Made()
    x = made.memory("argument")
    a = made.add("first", x, kind="call", raises=True)
    b = made.add("exp", a)
    made.add("log", x, into=made.memory("outside"))
    assert shapes_of(fuse.groups(made.give(b), is_map)) == ["first", ["exp", "log"]]


@pytest.mark.parametrize("length", [0, 1])
def test_what_has_no_elements_comes_after_what_makes_its_memory(length):
    made = Made()
    a = made.add("first", made.add("log", made.memory("argument")), kind="call")
    b = made.add("second", a, kind="call")
    none = made.add("third", part(a, 4 - length, length), kind="call", shape=(length,))
    c = made.add("exp", part(b, 4 - length, length), shape=(length,))
    items = fuse.groups(made.give(none, c), is_map)
    assert shapes_of(items) == [["log"], "first", "second", "third", ["exp"]]


def test_calls_wait_for_what_reads_the_memory_that_they_write_to():
    made = Made()
    x = made.memory("outside")
    a = made.add("exp", x)
    made.add("copyto", 1.0, into=x, kind="call")
    assert shapes_of(fuse.groups(made.give(a), is_map)) == [["exp"], "copyto"]


def test_maps_go_to_the_first_group_that_they_may_join():
    made = Made()
    x, y = made.memory("argument"), made.memory("argument", (3,))
    a = made.add("exp", x)
    b = made.add("exp", y, shape=(3,))
    c = made.add("log", x)
    d = made.add("log", y, shape=(3,))
    graph = made.give(a, b, c, d)
    assert shapes_of(fuse.groups(graph, is_map)) == [["exp", "log"], ["exp", "log"]]
    refused = fuse.groups(graph, is_map, lambda group, node: node.name != "log")
    assert [len(g.nodes) for g in refused] == [1, 1, 1, 1]


def test_what_needs_neighbours_comes_after_them():
    made = Made()
    x = made.memory("argument")
    a = made.add("exp", x)
    shifted = made.add("negative", part(a, 1, 2), shape=(2,))
    back = made.add("log", a._replace(strides=(-4,), offset=12))
    graph = made.give(shifted, back)
    assert [g.shape for g in fuse.groups(graph, is_map)] == [(4,), (2,), (4,)]
    made = Made()
    x = made.memory("outside")
    a = made.add("exp", x)
    made.add("assign", 1.0, into=x)  # at the place that was read
    made.add("assign", 2.0, into=part(x, 1, 3))
    graph = made.give(a)
    assert shapes_of(fuse.groups(graph, is_map)) == [["assign", "exp"], ["assign"]]


def test_what_is_read_twice_may_be_read_together():
    made = Made()
    x = made.memory("argument")
    a = made.add("exp", x)
    b = made.add("log", x._replace(strides=(-4,), offset=12))
    assert len(fuse.groups(made.give(a, b), is_map)) == 1


def test_reductions_run_over_their_operand():
    made = Made()
    x = made.memory("argument", (3, 4))
    a = made.add("exp", x, shape=(3, 4))
    b = made.add("sum", a, kind="reduce", axis=0)
    c = made.add("negative", b)
    graph = made.give(c)
    items = fuse.groups(graph, lambda node: True)
    assert [(g.shape, [n.name for n in g.nodes]) for g in items] == [
        ((3, 4), ["exp", "sum"]),
        ((4,), ["negative"]),
    ]


def test_only_what_the_group_alone_reads_at_its_place_needs_no_memory():
    made = Made()
    x = made.memory("argument")
    alone = made.add("exp", x)
    given = made.add("negative", alone)
    called = made.add("log", x)
    call = made.add("sort", called, kind="call")
    spread = made.add("sqrt", x)
    turned = made.add("abs", spread._replace(strides=(-4,), offset=12))
    outside = made.add("square", x, into=made.memory("outside"))
    graph = made.give(given, call, made.add("add", turned, outside))
    first = fuse.groups(graph, is_map)[0]
    assert {n.name for n in first.nodes} >= {"exp", "negative", "log", "sqrt", "square"}
    assert first.inner == {alone.buffer.number}


def test_values_of_a_group_are_those_that_it_reads_and_writes():
    made = Made()
    x = made.memory("argument")
    y = made.add("exp", x)
    (group,) = fuse.groups(made.give(y), is_map)
    assert group.values() == [x, y]
    assert repr(group) == "<group of exp>"


# The elements that a group runs over


def laid(shape, strides):
    return Value(None, 0, 0, shape, strides, np.dtype("f"))


def test_axes_that_go_on_as_one_are_joined():
    dense = laid((2, 3, 4), dense_strides((2, 3, 4), 4))
    assert fuse.space((2, 3, 4), [dense]) == ((24,), [(4,)])
    assert fuse.space((2, 3, 4), [dense, dense]) == ((24,), [(4,), (4,)])
    row = laid((4,), (4,))
    assert fuse.space((2, 3, 4), [dense, row]) == ((6, 4), [(16, 4), (0, 4)])
    column = laid((2, 1, 1), (4, 4, 4))
    assert fuse.space((2, 3, 4), [dense, column]) == ((2, 12), [(48, 4), (4, 0)])
    assert fuse.space((2, 3), []) == ((6,), [])
    one = laid((1, 1), (4, 4))
    assert fuse.space((1, 1), [one]) == ((1,), [(0,)])


def test_axes_come_in_the_order_of_memory_or_in_a_given_one():
    columns = laid((3, 4), (4, 12))
    assert fuse.space((3, 4), [columns]) == ((12,), [(4,)])
    assert fuse.space((3, 4), [columns], (0, 1)) == ((3, 4), [(4, 12)])
    rows = laid((3, 4), (16, 4))
    assert fuse.space((3, 4), [rows, columns]) == ((3, 4), [(16, 4), (4, 12)])
    backwards = laid((3, 4), (4, -12))
    assert fuse.space((3, 4), [backwards]) == ((4, 3), [(-12, 4)])
    assert fuse.order_of(columns) == (1, 0)
    assert fuse.order_of(rows) == (0, 1)
    assert fuse.order_of(backwards) == (1, 0)
    assert fuse.order_of(laid((2, 1, 4), (4, 99, 8))) == (2, 0)


def test_steps_are_those_of_what_is_broadcast_or_assigned():
    assert fuse.steps_along(laid((4,), (4,)), (2, 3, 4)) == (0, 0, 4)
    assert fuse.steps_along(laid((3, 1), (4, 4)), (3, 4)) == (4, 0)
    assert fuse.steps_along(laid((1, 2, 4), (99, 16, 4)), (2, 4)) == (16, 4)
    assert fuse.steps_along(laid((1, 1, 4), (99, 99, 4)), (4,)) == (4,)


def test_what_writes_to_memory_that_stays_commits():
    made = Made()
    x = made.memory("argument")
    made.add("exp", x)
    made.add("exp", x, into=made.memory("outside"))
    made.add("exp", x, into=made.memory("state"))
    assert [fuse.commits(n) for n in made.graph.nodes] == [False, True, True]
    both = made.graph.nodes[0]
    both.outputs += made.graph.nodes[1].outputs
    assert fuse.commits(both)
