"""Training by several processes: two and four with MPI do what one does."""

import os
import re
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

import gputensor as gt
from distributed_cases import CASES
from gputensor.distributed import gradients, group, watch
from gputensor.distributed.group import Group

HERE = Path(__file__).parent
MPIEXEC = shutil.which("mpiexec", path=Path(sys.executable).parent) or shutil.which("mpiexec")


def lacking():
    """Why there is no MPI; nothing if there is."""
    if MPIEXEC is None:
        return "no mpiexec: pip install mpi4py mpich"
    done = subprocess.run(
        [sys.executable, "-c", "from mpi4py import MPI"],
        capture_output=True,
        text=True,
        check=False,
    )
    return f"mpi4py: {done.stderr.strip().splitlines()[-1]}" if done.returncode else ""


@pytest.fixture(scope="session")
def mpi():
    if reason := lacking():
        if os.environ.get("GPUTENSOR_MPI") == "required":
            pytest.fail(reason)
        pytest.skip(reason)


needs_mpi = pytest.mark.usefixtures("mpi")
pytestmark = [pytest.mark.cpu]


def environment():
    return os.environ | {"OMP_NUM_THREADS": "1", "GPUTENSOR_THREADS": "1"}


def start(size, *command, seconds=120, **variables):
    """Run a program in so many processes; what it did, and for how long."""
    program = [sys.executable, *map(str, command)]
    if size > 1:
        program = [MPIEXEC, "-n", str(size), *program]
    began = time.monotonic()
    done = subprocess.run(
        program,
        capture_output=True,
        text=True,
        env=environment() | variables,
        timeout=seconds,
        check=False,
    )
    return done, time.monotonic() - began


def script(tmp_path, text):
    path = tmp_path / "script.py"
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return path


# What one process does, two and four do


class Found:
    """Results of all cases by several processes, which run once in a session."""

    def __init__(self, folder, *names, **variables):
        self._folder = folder
        self._ran = set()
        self._names = names
        self._variables = variables

    def of(self, size, again=False):
        folder = self._folder / ("again" if again else "first")
        if (size, again) not in self._ran:
            folder.mkdir(exist_ok=True)
            command = HERE / "distributed_cases.py", folder, *self._names
            done, _ = start(size, *command, seconds=300, **self._variables)
            assert done.returncode == 0, done.stdout + done.stderr
            self._ran.add((size, again))
        return folder

    def __call__(self, name, size, again=False):
        """Results of each rank."""
        folder = self.of(size, again)
        return [dict(np.load(folder / f"{name}.{size}.{rank}.npz")) for rank in range(size)]


@pytest.fixture(scope="session")
def found(mpi, tmp_path_factory):
    return Found(tmp_path_factory.mktemp("cases"))


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("name", CASES)
def test_ranks_end_with_what_one_process_ends_with(name, size, found):
    (alone,) = found(name, 1)
    for mine in found(name, size):
        assert mine.keys() == alone.keys()
        for key in mine.keys() - {k for k in mine if k.startswith(("own", "ranks"))}:
            np.testing.assert_allclose(
                mine[key], alone[key], rtol=2e-4, atol=2e-6, err_msg=f"{name}, {key}"
            )


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("name", CASES)
def test_ranks_have_equal_bits(name, size, found):
    first, *others = found(name, size)
    for other in others:
        for key in first.keys() - {k for k in first if k.startswith("own")}:
            np.testing.assert_array_equal(
                first[key], other[key], err_msg=f"{name}, {key}", strict=True
            )


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("name", CASES)
def test_runs_have_equal_bits(name, size, found):
    for one, two in zip(found(name, size), found(name, size, again=True), strict=True):
        for key in one:
            np.testing.assert_array_equal(one[key], two[key], err_msg=f"{name}, {key}", strict=True)


@pytest.mark.parametrize("size", [2, 4])
def test_a_captured_step_has_the_bits_of_a_plain_one(size, found):
    for one, two in zip(found("captured", size), found("eager", size), strict=True):
        for key in one:
            np.testing.assert_array_equal(one[key], two[key], err_msg=key, strict=True)


@pytest.mark.parametrize("size", [2, 4])
def test_random_numbers_within_fit_differ_from_rank_to_rank(size, found):
    noise = np.array([mine["own noise"] for mine in found("random_numbers", size)])
    assert len(np.unique(noise[:, -1])) == size


@pytest.mark.parametrize("size", [2, 4])
def test_one_rank_prints_and_writes_files(size, found):
    lines = [int(mine["own lines"][0]) for mine in found("files_and_lines", size)]
    assert lines[0] > 5
    assert lines[1:] == [0] * (size - 1)
    files = found.of(size) / f"files{size}"
    assert sorted(p.name for p in files.iterdir()) == ["rank0.csv", "rank0.keras"]


def test_synchronized_batch_normalization_is_that_of_the_whole_batch(found):
    """And what is not synchronized is not: the test above can fail."""
    (alone,) = found("synchronized_batch_normalization", 1)
    (plain, _) = found("batch_normalization_of_each_rank", 2)
    assert any(np.abs(alone[k] - plain[f"ranks {k}"]).max() > 1e-3 for k in alone if "moving" in k)
    (alone,), (plain, _) = (found("images_of_each_rank", n) for n in (1, 2))
    assert any(np.abs(alone[k] - plain[k]).max() > 1e-3 for k in alone if "running" in k)


# State of optimizers in parts

SHARDED = [
    "accumulated",
    "adam",
    "captured",
    "clipped_by_global_norm",
    "decay_and_average",
    "eager",
    "loop_with_adam",
    "loop_with_clipping",
    "loss_scale",
    "momentum",
    "schedule",
    "state_that_is_saved_and_loaded",
]


@pytest.fixture(scope="session")
def sharded(mpi, tmp_path_factory):
    return Found(tmp_path_factory.mktemp("shards"), *SHARDED, GPUTENSOR_TEST_SHARDS="1")


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("name", SHARDED)
def test_ranks_that_keep_a_part_of_the_state_end_with_what_one_process_ends_with(
    name, size, found, sharded
):
    (alone,) = found(name, 1)
    first, *others = sharded(name, size)
    for key in alone.keys() - {k for k in alone if k.startswith(("own", "ranks"))}:
        np.testing.assert_allclose(first[key], alone[key], rtol=2e-4, atol=2e-6, err_msg=key)
        for other in others:
            np.testing.assert_array_equal(first[key], other[key], err_msg=key, strict=True)


# Without memory that the ranks share


SENT = ["adam", "loop_with_clipping", "synchronized_modules", "values_of_all"]


@pytest.mark.parametrize("shards", [False, True])
def test_ranks_that_share_no_memory_end_with_the_same_bits(shards, found, sharded, tmp_path):
    options = {"GPUTENSOR_TEST_SENT": "1"} | ({"GPUTENSOR_TEST_SHARDS": "1"} if shards else {})
    names = [n for n in SENT if n in SHARDED] if shards else SENT
    sent = Found(tmp_path, *names, **options)
    for name in names:
        near = (sharded if shards else found)(name, 2)
        for one, two in zip(sent(name, 2), near, strict=True):
            for key in one:
                np.testing.assert_array_equal(one[key], two[key], err_msg=f"{name}, {key}")


@pytest.mark.parametrize("size", [2, 4])
def test_each_rank_keeps_its_part_of_the_state(size, found, sharded):
    name = "state_that_is_saved_and_loaded"
    (alone,) = found(name, 1)
    held = [int(mine["own held"][0]) for mine in sharded(name, size)]
    assert sum(held) == int(alone["own held"][0])
    assert max(held) <= sum(held) // size + size
    assert {int(m["own held"][0]) for m in found(name, size)} == {sum(held)}  # without parts


# Alone


def test_without_a_launcher_there_is_one_process(monkeypatch):
    for name in ("PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK", "RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    gt.distributed.init()
    assert (gt.distributed.rank(), gt.distributed.size(), gt.distributed.local_rank()) == (0, 1, 0)
    assert gt.distributed.is_first()
    x = gt.tensor([1.0, 2.0], requires_grad=True)
    np.testing.assert_array_equal(gt.distributed.all_reduce(x).numpy(), [1, 2])
    assert gt.distributed.all_reduce(3, "mean") == 3.0
    np.testing.assert_array_equal(gt.distributed.broadcast(x).numpy(), [1, 2])
    assert gt.distributed.broadcast("thing") == "thing"
    model = gt.nn.Linear(2, 3)
    assert gt.distributed.broadcast(model) is model
    gt.distributed.barrier()
    optimizer = gt.optim.SGD([x], lr=1.0)
    x.sum().backward()
    gt.distributed.average_gradients(optimizer)
    np.testing.assert_array_equal(x.grad.numpy(), [1, 1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gt.distributed.init(timeout=0), "timeout is 0; it must be above 0"),
        (lambda: gt.distributed.all_reduce(1, "avg"), "op is 'avg'; allowed are 'sum'"),
        (lambda: gt.distributed.all_reduce("word"), "x must be a tensor or a number, got str"),
        (lambda: gt.distributed.broadcast(1, root=1), "root is 1; there are 1 processes"),
    ],
)
def test_arguments_are_checked(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()


def test_importing_the_library_loads_no_engine():
    code = "import gputensor, sys; print({'mpi4py', 'socket'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_variables_of_torchrun_without_cuda_are_refused_with_the_way_to_mpi(tmp_path):
    path = script(tmp_path, "import gputensor as gt; gt.distributed.init()")
    env = os.environ | {"RANK": "0", "WORLD_SIZE": "2", "GPUTENSOR_DEVICE": "cpu"}
    for name in ("PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK"):
        env.pop(name, None)
    done = subprocess.run(
        [sys.executable, path], capture_output=True, text=True, env=env, check=False
    )
    assert done.returncode
    assert "no CUDA device for NCCL; on the CPU start with mpiexec" in done.stderr
    assert "pip install mpi4py mpich" in done.stderr


# Parts of rows


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("rows", [1, 2, 5, 6, 7, 8, 100, 101])
def test_parts_of_rows_are_all_rows_once(size, rows):
    groups = [Group.__new__(Group) for _ in range(size)]
    for rank, made in enumerate(groups):
        made.rank, made.size = rank, size
    parts = [made.part(rows) for made in groups]
    assert sum(part.share for part in parts) == pytest.approx(1)
    counted = [i for p in parts if p.counts for i in range(p.start, p.stop)]
    assert counted == list(range(rows))
    for part in parts:
        assert part.stop > part.start
        # A mean over a part counts by its share; a sum stands for its rows.
        whole = part.factor * part.share * (1 if rows >= size else size)
        assert whole == pytest.approx(1)


# What runs behind what


class Engine:
    """Of one rank, as if there were more."""

    rank, size, threads = 0, 1, False

    def all_reduce(self, array, op):
        pass


@pytest.mark.parametrize("clips", [False, True])
def test_sums_begin_as_soon_as_their_gradients_are_there(clips, monkeypatch):
    """And a step of parameters waits for their own sums alone, if nothing is clipped."""
    monkeypatch.setattr(gradients, "_BUCKET", {"cpu": 512})
    made = Group(Engine(), None, 0, watch.Watch(0, 1, 60.0))
    monkeypatch.setattr(group, "_group", made)
    model = gt.nn.Sequential(*(gt.nn.Linear(16, 16) for _ in range(3)))
    optimizer = gt.optim.Adam(model.parameters(), lr=0.1)
    x = gt.ones((4, 16))

    @gt.capture
    def step():
        optimizer.zero_grad()
        gradients.backward(made, optimizer, gt.tanh(model(x)).mean(), 1.0)
        if clips:
            optimizer.clip_grad_norm(1.0)
        optimizer.step()

    step()
    step()
    ((replay,),) = step._local.replays.values()
    names = [n.name for i in replay.program.items for n in getattr(i, "nodes", [i])]
    calls = [n for n in names if n in ("start", "join", "matmul", "adam_step")]
    starts = [i for i, n in enumerate(calls) if n == "start"]
    products = [i for i, n in enumerate(calls) if n == "matmul"]
    assert len(starts) == 3
    assert starts[0] < starts[1] < products[-1] < starts[2]
    ends = [n for n in calls if n in ("join", "adam_step")]
    assert ends == (["join", "adam_step"] if clips else ["join", "adam_step"] * 3)
    assert calls[-len(ends) :] == ends


# Faults


def said(count, what="all_reduce", waiting=None):
    return {"count": count, "what": what, "waiting": waiting}


@pytest.mark.parametrize(
    ("heard", "ages", "words"),
    [
        ({0: said(5, waiting=1.0), 1: said(4)}, {0: 0, 1: 0}, None),
        (
            {0: said(5, waiting=11.0), 1: said(4)},
            {0: 0, 1: 0},
            ["rank 1 did not come to operation 5"],
        ),
        ({0: said(5, waiting=9.0), 1: said(4)}, {0: 2, 1: 0}, ["rank 1 did not come"]),
        (
            {0: said(5, waiting=30.0), 1: said(4), 2: said(5, waiting=30.0), 3: said(3)},
            dict.fromkeys(range(4), 0),
            ["ranks 1, 3 did not come", "where ranks 0, 2 waited"],
        ),
        ({0: said(5, waiting=1.0), 1: said(4)}, {0: 0, 1: 11.0}, ["rank 1 did not answer"]),
        (
            {0: said(5, waiting=30.0), 1: said(5, "broadcast", 30.0)},
            {0: 0, 1: 0},
            ["disagree", "rank 1 is in broadcast"],
        ),
        (
            {0: said(6, waiting=30.0), 1: said(5, "broadcast", 30.0)},
            {0: 0, 1: 0},
            ["rank 1 did not come to operation 6", "it is in broadcast"],
        ),
        ({0: said(5, waiting=30.0), 1: said(5, waiting=30.0)}, {0: 0, 1: 0}, ["on any rank"]),
        ({0: said(5, waiting=30.0)}, {0: 0, 1: 0}, ["rank 1 did not come", "not been heard of"]),
    ],
)
def test_the_rank_that_is_missing_is_named(heard, ages, words):
    text = watch.fault(heard, ages, max(2, len(heard)), 10.0)
    assert bool(text) == (words is not None)
    for word in words or ():
        assert word in text


BEGIN = """
    import os, signal, sys, time
    import numpy as np
    import gputensor as gt
    gt.distributed.init(timeout=4)
    rank = gt.distributed.rank()
    for step in range(100):
        if step == 3 and rank == gt.distributed.size() - 1:
            {fault}
        gt.distributed.all_reduce(np.ones(1000))
    time.sleep(100)
"""


@needs_mpi
@pytest.mark.parametrize("size", [2, pytest.param(4, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("raise ValueError('no such file')", "ends with an error|no such file"),
        ("time.sleep(200)", "did not come to operation"),
        ("os.kill(os.getpid(), signal.SIGSTOP)", "did not answer"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "died"),
        ("sys.exit(0)", "did not come to operation|it has ended"),
    ],
    ids=["error", "sleep", "stop", "kill", "exit"],
)
def test_a_rank_that_fails_ends_the_job_and_is_named(fault, words, size, tmp_path):
    path = script(tmp_path, BEGIN.format(fault=fault))
    done, seconds = start(size, path)
    assert done.returncode != 0
    assert seconds < 60
    if not done.stderr and "SIGKILL" in fault:  # mpiexec was quicker to end the others
        assert "EXIT CODE: 9" in done.stdout  # and a process number, which is all it knows
        return
    for word in words.split("|"):
        assert word in done.stderr
    assert f"rank {size - 1}" in done.stderr


@needs_mpi
def test_the_first_rank_that_fails_is_named_too(tmp_path):
    text = BEGIN.replace("gt.distributed.size() - 1", "0")
    done, _ = start(2, script(tmp_path, text.format(fault="os.kill(os.getpid(), signal.SIGSTOP)")))
    assert done.returncode != 0
    assert "rank 0 does not answer" in done.stderr


@needs_mpi
def test_ranks_that_call_different_operations_are_named(tmp_path):
    path = script(
        tmp_path,
        """
        import numpy as np
        import gputensor as gt
        gt.distributed.init(timeout=6)
        if gt.distributed.is_first():
            gt.distributed.barrier()
            gt.distributed.barrier()
        else:
            gt.distributed.barrier()
            gt.distributed.broadcast(gt.ones((100_000,)), root=1)
            gt.distributed.broadcast(gt.ones((100_000,)), root=0)
        """,
    )
    done, seconds = start(2, path)
    assert done.returncode != 0
    assert seconds < 60


@needs_mpi
@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            """
            model = gt.nn.Linear(3, 4 + gt.distributed.rank())
            gt.distributed.broadcast(model)
            """,
            "the model is not the same on all ranks",
        ),
        (
            """
            x = np.ones((20, 3), np.float32)
            model = keras.Sequential([keras.layers.Dense(1, input_shape=(3,))])
            model.compile("sgd", "mse")
            stream = [(x, x[:, :1])] * (3 - gt.distributed.rank())
            model.fit(iter(stream), epochs=1, verbose=0)
            """,
            "fit: rows of batch 2 (0 where there is none): rank",
        ),
        (
            """
            x = np.ones((20, 3), np.float32)
            model = keras.Sequential([keras.layers.Dense(1, input_shape=(3,))])
            model.compile("adam" if gt.distributed.rank() else "sgd", "mse")
            model.fit(x, x[:, :1], epochs=1, verbose=0)
            """,
            "the optimizer is not the same on all ranks",
        ),
        (
            """
            rank = gt.distributed.rank()
            x = np.ones((20, 3), np.float32)
            model = keras.Sequential([keras.layers.Dense(1, input_shape=(3,))])
            model.compile("sgd", "mse")
            model.fit(x[rank:], x[rank:, :1], verbose=0)
            """,
            "('samples', 19), rank 0 has ('samples', 20)",
        ),
        (
            """
            rank = gt.distributed.rank()
            x = np.ones((20, 3), np.float32)
            model = keras.Sequential([keras.layers.Dense(1, input_shape=(3,))])
            model.compile("sgd", "mse")
            model.fit(x, x[:, :1], epochs=2 + rank, verbose=0)
            """,
            "('epochs', (0, 3)), rank 0 has ('epochs', (0, 2))",
        ),
        (
            """
            rank = gt.distributed.rank()
            x = np.ones((20, 3), np.float32)
            model = keras.Sequential([keras.layers.Dense(1, input_shape=(3,))])
            model.compile("sgd", "mse")
            model.fit(iter([(x + rank, x[:, :1])]), verbose=0)
            """,
            "fit: rows of batch 0 (0 where there is none): there are 20 on all ranks, but others",
        ),
        (
            """
            rank = gt.distributed.rank()
            x = np.ones((20, 3), np.float32)
            model = keras.Sequential([keras.layers.Dense(1, input_shape=(3,))])
            model.compile("sgd", "mse")
            model.train_on_batch(x + rank, x[:, :1])
            """,
            "train_on_batch: rows: there are 20 on all ranks, but others",
        ),
        (
            """
            rank = gt.distributed.rank()
            x = np.ones((20, 3), np.float32)
            model = keras.Sequential([keras.layers.Dense(1, input_shape=(3,))])
            model.compile("sgd", "mse")
            model.fit(x, x[:, :1] + rank, verbose=0)
            """,
            "fit is not the same on all ranks: rank 1 has ('first and last sample',",
        ),
        (
            """
            a, b = gt.nn.Linear(3, 2), gt.nn.Linear(3, 2)
            optimizer = gt.optim.SGD([*a.parameters(), *b.parameters()], lr=0.1)

            @gt.capture
            def step(x):
                optimizer.zero_grad()
                (a if gt.distributed.is_first() else b)(x).sum().backward()
                gt.distributed.average_gradients(optimizer)
                optimizer.step()

            for _ in range(3):
                step(gt.ones((4, 3)))
            """,
            "is in all_reduce (sum of gradients 8 to 16 of parameters 0) of 8 float32, and another",
        ),
        (
            """
            x = gt.ones((6,))
            x = gt.distributed.all_reduce(x, "max" if gt.distributed.is_first() else "min")
            """,
            "is in all_reduce (min) of 6 float32, and another rank in something else",
        ),
    ],
    ids=[
        *("shapes", "batches", "optimizers", "samples", "epochs", "content", "batch", "arrays"),
        *("branches", "operations"),
    ],
)
def test_what_differs_from_rank_to_rank_is_refused(text, words, tmp_path):
    head = "import numpy as np, gputensor as gt\nfrom gputensor import keras\n"
    path = script(tmp_path, "")
    path.write_text(head + "gt.distributed.init(timeout=20)\n" + textwrap.dedent(text))
    done, _ = start(2, path)
    assert done.returncode != 0
    assert words in done.stderr


@needs_mpi
def test_a_job_that_ends_leaves_nothing_behind(tmp_path):
    """Its exit status is 0, and the watch says nothing, also if ranks end at different times."""
    path = script(
        tmp_path,
        """
        import time
        import gputensor as gt
        gt.distributed.init(timeout=2)
        gt.distributed.barrier()
        time.sleep(4 * gt.distributed.rank())
        print(gt.distributed.rank())
        """,
    )
    done, _ = start(2, path)
    assert (done.returncode, sorted(done.stdout.split()), done.stderr) == (0, ["0", "1"], "")


@needs_mpi
def test_a_checkpoint_from_within_an_epoch_is_refused_before_anything_changes(tmp_path):
    path = script(
        tmp_path,
        """
        import sys
        import numpy as np, gputensor as gt
        from gputensor import keras
        gt.distributed.init(timeout=20)
        x = np.random.default_rng(0).normal(size=(64, 3)).astype("f")
        model = keras.Sequential([keras.layers.Dense(1, input_shape=(3,))])
        model.compile("adam", "mse")
        before = model.get_weights()[0].copy()

        class Stop(keras.callbacks.Callback):
            def on_train_batch_end(self, batch, logs=None):
                if batch == 5 and gt.distributed.size() == 1:
                    raise RuntimeError("enough")

        saver = gt.checkpoints.Checkpointer(sys.argv[1], every=2)
        try:
            model.fit(x, x[:, :1], batch_size=4, verbose=0, callbacks=[Stop()], resume=saver)
        except gt.errors.CheckpointError as error:
            print(error, np.array_equal(before, model.get_weights()[0]))
        except RuntimeError:
            pass
        """,
    )
    folder = tmp_path / "run"
    start(1, path, folder)
    done, _ = start(2, path, folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("is from within an epoch of 1 processes, here are 2") == 2
    assert done.stdout.count("the end of an epoch True") == 2


# The launcher


LAUNCH = [sys.executable, "-m", "gputensor", "launch"]


def launched(*arguments, seconds=300, **variables):
    env = environment() | variables
    return subprocess.run(
        [*LAUNCH, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=env,
        timeout=seconds,
        check=False,
    )


@needs_mpi
def test_launch_starts_processes_with_the_arguments_of_the_script(tmp_path):
    path = script(
        tmp_path,
        """
        import sys
        import gputensor as gt
        gt.distributed.init()
        total = gt.distributed.all_reduce(gt.distributed.rank())
        if gt.distributed.is_first():
            print(gt.distributed.size(), total, sys.argv[1:])
        """,
    )
    done = launched("-n", 3, path, "--epochs", 4, "-n", 7)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "3 3 ['--epochs', '4', '-n', '7']"


@needs_mpi
@pytest.mark.parametrize(
    ("shards", "batches"), [(False, ""), (True, ""), (False, "1"), (True, "1")]
)
def test_launch_starts_again_after_an_error_and_goes_on_from_the_last_checkpoint(
    shards, batches, tmp_path
):
    """With the bits of a run that was not interrupted, dropout and all; within an epoch, too."""
    path = script(
        tmp_path,
        """
        import os, signal, sys
        import numpy as np
        import gputensor as gt
        from gputensor import keras
        gt.distributed.init(timeout=20, shard_state=sys.argv[2] == "True")
        gt.manual_seed(1)
        folder, batches, deadly = sys.argv[1], sys.argv[3], sys.argv[4:]

        class Kill(keras.callbacks.Callback):
            def on_epoch_begin(self, epoch, logs=None):
                again = os.environ["GPUTENSOR_RESTART"] != "0"
                self.now = [str(epoch)] == deadly and not again and gt.distributed.rank()
                if self.now and not batches:
                    os.kill(os.getpid(), signal.SIGKILL)

        class KillLater(Kill):
            first = None

            def on_train_batch_begin(self, batch, logs=None):
                self.first = batch if self.first is None else self.first

            def on_train_batch_end(self, batch, logs=None):
                if batch == 3:
                    saver.wait()  # all have done so before one dies
                if self.now and batch == 4:
                    os.kill(os.getpid(), signal.SIGKILL)

        x = np.random.default_rng(0).normal(size=(66, 4)).astype(np.float32)
        model = keras.Sequential(
            [keras.Input((4,)), keras.layers.Dropout(0.2), keras.layers.Dense(2)]
        )
        model.compile("adam", "mse", metrics=["mae", keras.metrics.R2Score(name="r2")])
        options = {"epochs": 4, "batch_size": 16, "verbose": 0}
        saver = gt.checkpoints.Checkpointer(folder, every=3 if batches else None)
        kill = KillLater() if batches else Kill()
        history = model.fit(x, x[:, :2], resume=saver, callbacks=[kill], **options)
        if gt.distributed.is_first():
            np.savez(folder + ".npz", **model.state_dict(), **history.history)
            print("first batch", getattr(kill, "first", None))
        """,
    )
    for name, deadly in (("whole", ()), ("broken", ("2",))):
        more = path, tmp_path / name, shards, batches, *deadly
        done = launched("-n", 2, "--restarts", 1, *more)
        assert done.returncode == 0, done.stderr
        assert ("they start again, 1 of 1" in done.stderr) == bool(deadly)
        first = done.stdout.partition("first batch ")[2].strip()
        # A checkpoint waits for the one before, and so comes after two batches or a little later.
        assert not batches or first in (("2", "3", "4") if deadly else ("0",))
    whole, broken = (dict(np.load(tmp_path / f"{n}.npz")) for n in ("whole", "broken"))
    assert whole.keys() == broken.keys()
    for key in whole:
        np.testing.assert_array_equal(whole[key], broken[key])


@needs_mpi
def test_launch_gives_up_after_so_many_starts(tmp_path):
    path = script(tmp_path, "import sys; print('start', flush=True); sys.exit(5)")
    done = launched("-n", 1, "--restarts", 2, path)
    assert done.returncode == 5
    assert done.stdout.split() == ["start"] * 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-n", "0", __file__), "'0' is not a number from 1 on"),
        (("-n", "2", "no/such.py"), "there is no script no/such.py"),
        ((__file__,), "the following arguments are required: -n"),
    ],
)
def test_launch_checks_its_arguments(arguments, message):
    done = launched(*arguments)
    assert done.returncode == 2
    assert message in done.stderr


def test_processes_side_by_side_end_together(tmp_path):
    """Without MPI: one that fails ends the others, at once."""
    path = script(
        tmp_path,
        """
        import os, sys, time
        os.write(1, f"{os.environ['RANK']} {os.environ['WORLD_SIZE']}\\n".encode())
        if os.environ["RANK"] == "1":
            sys.exit(3)
        time.sleep(600 if len(sys.argv) > 1 else 0)
        """,
    )
    began = time.monotonic()
    code = f"""
from gputensor.backend import devices
from gputensor.distributed import launch
launch.backend.cuda_status = lambda: devices.CudaStatus(True, "", 4)
launch.backend.default_device = lambda: devices.Device("cuda")
launch._mpiexec = lambda: None
raise SystemExit(launch.launch(3, [{str(path)!r}, "wait"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=False
    )
    assert done.returncode == 3, done.stderr
    assert sorted(done.stdout.split("\n")) == ["", "0 3", "1 3", "2 3"]
    assert time.monotonic() - began < 120


@needs_mpi
def test_a_norm_of_each_gradient_is_refused_where_the_state_is_in_parts(tmp_path):
    path = script(
        tmp_path,
        """
        import numpy as np, gputensor as gt
        from gputensor import keras
        gt.distributed.init(timeout=20, shard_state=True)
        x = np.ones((20, 3), np.float32)
        model = keras.Sequential([keras.layers.Dense(1, input_shape=(3,))])
        model.compile(keras.optimizers.SGD(0.1, clipnorm=1.0), "mse")
        model.fit(x, x[:, :1], epochs=1, verbose=0)
        """,
    )
    done, _ = start(2, path)
    assert done.returncode != 0
    assert "clipnorm, the norm of each parameter's gradient, is not possible" in done.stderr


@needs_mpi
@pytest.mark.parametrize("options", [(), ("--shard-state",)])
def test_the_example_learns_and_ends_with_the_same_weights_on_all(options):
    done = launched(
        "-n", 2, HERE.parent / "examples" / "data_parallel.py", "--epochs", 15, *options
    )
    assert done.returncode == 0, done.stderr
    assert "the same on all: True" in done.stdout
    assert float(re.search(r"2 processes, accuracy (\S+)", done.stdout)[1]) > 0.8
    assert done.stdout.count("Epoch 15/15") == 1


def test_scripts_for_clusters_are_well_formed():
    examples = HERE.parent / "examples"
    compile((examples / "ray_train.py").read_text(encoding="utf-8"), "ray_train.py", "exec")
    done = subprocess.run(
        ["bash", "-n", examples / "slurm.sbatch"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
