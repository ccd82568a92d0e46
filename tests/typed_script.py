"""What a user writes who checks types: mypy and pyright find every name, and what comes back."""

from typing import assert_type

import numpy as np

import gputensor as gt
from gputensor import keras, nn, optim
from gputensor.keras.layers import Dense, Flatten, Input, Rescaling
from gputensor.keras.losses import categorical_crossentropy
from gputensor.keras.models import History, Sequential
from gputensor.keras.optimizers import Adam
from gputensor.nn import functional as F


class Net(nn.Module):
    def __init__(self) -> None:
        self.first = nn.Dense(4, 8, "relu")
        self.last = nn.Dense(8, 2)

    def forward(self, x: gt.Tensor) -> gt.Tensor:
        return self.last(self.first(x))


@gt.no_grad()
def predict(net: Net, x: gt.Tensor) -> gt.Tensor:
    return net(x)


@gt.no_grad
def first_row(x: gt.Tensor) -> gt.Tensor:
    return x[0]


def arrays() -> gt.Tensor:
    x = gt.tensor([[1.0, 2.0, 3.0, 4.0]], dtype=gt.float32, device="cpu", requires_grad=True)
    y: gt.Tensor = gt.exp(x).sum(axis=1) + 2 * x.mean() - x[0, 1:] @ gt.ones(3)
    y = 1 / (-y / 3 ** x.sum() + (x > 1).astype(gt.float32).max(0))
    y.sum().backward()
    assert x.grad is not None
    shape: tuple[int, ...] = x.grad.numpy().shape
    bits = (~(x > 1) & (x != x)) | (x == 1) ^ (x <= 3)
    joined = gt.concat([gt.stack([x.T, +x.mT]), gt.where(x > 0, x, 0.0).reshape(1, 4, 1)])
    rows = [gt.maximum(row, gt.clip(row, 0, 1)) for row in x if bool(bits.any())]
    print(shape, joined.device == "cpu", rows, gt.einsum("ij->i", x), f"{abs(x).max():.2f}")
    f = gt.grad(lambda t: (t * t).sum())
    print(f(x), gt.value_and_grad(lambda t: t.sum())(x), gt.softmax(x, axis=1), 7 // x, 7 % x)
    z = x * 2
    z += x
    z[0, 1:] = 0.0
    z[0] *= 0.5
    handle = z.register_hook(lambda g: g * 2)
    handle.remove()
    value, pull = gt.vjp(gt.sin, x)
    print(value, pull(x), gt.jvp(gt.sin, (x,), (x,))[1], gt.jacobian(f)(x))
    print(gt.hvp(gt.sum, (x,), (x,)), gt.hessian(gt.sum)(x))
    with gt.detect_anomaly():
        print(
            gt.checkpoint(gt.sin, x),
            gt.gradgradcheck(gt.sin, gt.tensor(1.0, gt.float64, None, True)),
        )
    found = gt.optimize.minimize(lambda t: (t * t).sum(), x.detach(), options={"maxiter": 3})
    print(found.success, found.x.shape, found["nit"])
    values: gt.Tensor = gt.linalg.eigh(x.mT @ x).eigenvalues
    spectrum: gt.Tensor = gt.fft.rfft(x, norm="ortho")
    print(values, spectrum.real + spectrum.conj().imag, gt.linalg.norm(spectrum, axis=-1))
    return first_row(x.detach())


def operators(x: gt.Tensor) -> None:
    """Every operator and way to index gives a tensor, to type checkers, too."""
    for sign in (x + 1, 2 - x, x * x, 1 / x, x // 2, 7 % x, 2**x, x**0.5, -x, +x, abs(x)):
        assert_type(sign, gt.Tensor)
    assert_type(x @ x, gt.Tensor)
    assert_type([[1.0, 2.0]] @ x, gt.Tensor)
    assert_type(x == 1, gt.Tensor)
    assert_type(x != x, gt.Tensor)
    for mask in (x < 1, x <= x, x > 1.5, x >= x, ~(x < 1) & (x > 0), (x > 0) | (x < 1) ^ (x > 2)):
        assert_type(mask, gt.Tensor)
    bits = gt.asarray(6)
    assert_type(bits << 1 >> bits, gt.Tensor)
    for part in (x[0], x[-1, 1], x[:, None], x[..., 0], x[x > 1], x[gt.asarray([0, 1])]):
        assert_type(part, gt.Tensor)
    assert_type(x.sum(), gt.Tensor)
    assert_type(x.max(axis=1, keepdims=True), gt.Tensor)
    assert_type(x.reshape(-1).astype(gt.float64).tanh(), gt.Tensor)
    assert_type(x.T @ x.mT + x.permute_dims(1, 0) - x.transpose(), gt.Tensor)
    for row in x:
        assert_type(row, gt.Tensor)
    z = x * 1
    z -= 1
    z **= 2
    z[0, 0] = 3
    z[1:] @= x
    assert_type(z, gt.Tensor)
    assert_type(gt.matmul(x, x), gt.Tensor)
    assert_type(gt.exp(gt.tanh(x)), gt.Tensor)
    assert_type(x.shape, tuple[int, ...])
    assert_type(float(x[0, 0]), float)


def refused(x: gt.Tensor) -> None:
    """What is none of the public names, and wrong arguments, are errors of type checkers."""
    gt.backwards  # type: ignore[attr-defined]  # noqa: B018
    gt.exp()  # type: ignore[call-arg]
    x.sum(axes=0)  # type: ignore[call-arg]
    x.matmul(x)  # type: ignore[attr-defined]


def training() -> History:
    net, x = Net(), gt.ones((1, 4))
    optimizer = optim.Adam(net.parameters(), lr=1e-3)
    loss = F.cross_entropy(net(x), np.array([1]), label_smoothing=0.1)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    with gt.device("cpu"), gt.no_grad():
        print(predict(net, x).shape, net.state_dict()["first.weight"].shape, loss.item())
    model = Sequential([Input((4,)), Rescaling(1.0), Flatten(), Dense(2, activation="softmax")])
    model.compile(optimizer=Adam(lr=0.1), loss=categorical_crossentropy, metrics=["accuracy"])
    history = model.fit(np.ones((3, 4)), keras.utils.to_categorical([0, 1, 0]), verbose=0)
    print(model.predict(np.ones((3, 4))).shape, model.evaluate(np.ones((1, 4)), np.eye(2)[:1]))
    return history


if __name__ == "__main__":
    operators(gt.tensor([[1.0, 2.0], [3.0, 4.0]]))
    print(arrays(), training().history["loss"])
