"""Writes checkpoints until it is killed: ``python writing_run.py FOLDER``."""

import sys

import numpy as np

import gputensor as gt
from gputensor.checkpoints import file

if __name__ == "__main__":
    checkpoints, plain = gt.checkpoints.Checkpointer(sys.argv[1]), file.write

    def told(*args):
        print("writing", flush=True)
        plain(*args)
        print("written", flush=True)

    file.write = told
    found = checkpoints.restore()
    step = found.step if found else 0
    while True:
        step += 1
        checkpoints.save(step, array=np.full((2048, 1024), step, np.float32), number=step)
