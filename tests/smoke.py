"""What an installation must be able to do; its folder is the argument."""

import sys
from pathlib import Path

import numpy as np

import gputensor as gt
import gputensor.torch as torch
from gputensor import standin
from gputensor.cli import main
from gputensor.keras.layers import Dense
from gputensor.keras.models import Sequential, load_model

here = Path(gt.__file__).parent
assert str(here).startswith(sys.argv[1]), here
assert list((here / "kernels").glob("*.cu"))
assert (here / "kernels" / "common.cuh").exists()
assert (here / "py.typed").exists()

x = gt.tensor([1.0, 2.0], requires_grad=True)
(gt.sin(x) ** 2).sum().backward()
assert np.allclose(x.grad, np.sin([2.0, 4.0]))
assert float(gt.capture(lambda x: (x * x).sum())(gt.ones(3)).item()) == 3
assert torch.zeros(2, 3).size() == (2, 3)

gt.manual_seed(0)
rng = np.random.default_rng(0)
points = rng.normal(size=(128, 2)).astype("f")
labels = (points[:, 0] > 0).astype(int)
model = Sequential([Dense(8, activation="relu", input_shape=(2,)), Dense(2, "softmax")])
adam = gt.keras.optimizers.Adam(0.02)
model.compile(adam, "sparse_categorical_crossentropy", metrics=["accuracy"])
history = model.fit(points, labels, epochs=20, batch_size=16, verbose=0)
assert history.history["accuracy"][-1] > 0.8
model.save("model.safetensors")
assert np.array_equal(load_model("model.safetensors").predict(points), model.predict(points))
gt.plot.curves(history).savefig("training.png")
report = gt.kernels.check(gt.kernels.row_softmax, points)
ran = any("on the CPU; threads" in text for text in report.checked)
assert ran == (standin.host_compiler() is not None), report
assert main(["new-kernel", "mine"]) == 0
assert main(["check", "mine.py"]) == 0
print("all good", gt.__version__)
