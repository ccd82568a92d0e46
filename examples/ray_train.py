"""Ray Train starts the processes, and starts them again; gputensor trains in them.

    pip install "ray[train]" && python examples/ray_train.py

Each worker has a GPU, and NCCL carries the gradients. It needs a CUDA device for each worker.
"""

import os
import socket

from ray import train
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.collective import broadcast_from_rank_zero
from ray.train.data_parallel_trainer import DataParallelTrainer


def address() -> tuple[str, int]:
    """Where the first worker can be reached."""
    with socket.create_server(("", 0)) as free:
        return socket.gethostbyname(socket.gethostname()), free.getsockname()[1]


def work() -> None:
    """Train, as a worker."""
    here = train.get_context()
    host, port = broadcast_from_rank_zero(address())
    os.environ |= {
        "RANK": str(here.get_world_rank()),
        "WORLD_SIZE": str(here.get_world_size()),
        "LOCAL_RANK": "0",  # Ray shows each worker its own device only
        "MASTER_ADDR": host,
        "GPUTENSOR_MASTER_PORT": str(port),
    }
    import numpy as np

    import gputensor as gt
    from gputensor import keras

    gt.distributed.init()
    x = np.random.default_rng(0).normal(size=(10_000, 20)).astype(np.float32)
    model = keras.Sequential([keras.Input((20,)), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    history = model.fit(x, x.sum(1, keepdims=True), epochs=5, batch_size=1024)
    train.report({"loss": history.history["loss"][-1]})


if __name__ == "__main__":
    trainer = DataParallelTrainer(
        work,
        scaling_config=ScalingConfig(num_workers=2, use_gpu=True),
        run_config=RunConfig(failure_config=FailureConfig(max_failures=3)),
    )
    print(trainer.fit().metrics)
