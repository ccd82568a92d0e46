"""The same training written by hand: forward, backward, step. A subset of MNIST, for reading.

On CUDA a step is one CUDA graph, by ``gt.capture``; without it the loop does the same.
"""

import gputensor as gt
from gputensor.datasets import mnist
from gputensor.nn import functional as F


def main(samples: int = 10_000, epochs: int = 3, batch_size: int = 128) -> float:
    (x_train, y_train), (x_test, y_test) = mnist.load_data()
    x = gt.asarray(x_train[:samples].reshape(samples, 784)).astype(gt.float32) / 255
    y = gt.asarray(y_train[:samples]).astype(gt.int64)

    generator = gt.manual_seed(0)
    model = gt.nn.Sequential(gt.nn.Dense(784, 128, "relu"), gt.nn.Dense(128, 10))
    optimizer = gt.optim.Adam(model.parameters(), lr=0.001)

    @gt.capture
    def step(x: gt.Tensor, y: gt.Tensor) -> gt.Tensor:
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    for epoch in range(epochs):
        order = generator.permutation(samples)
        for start in range(0, samples, batch_size):
            rows = order[start : start + batch_size]
            loss = step(x[rows], y[rows])
        print(f"epoch {epoch + 1}: last batch's loss {loss.item():.4f}")

    with gt.no_grad():
        test = gt.asarray(x_test.reshape(-1, 784)).astype(gt.float32) / 255
        accuracy = F.accuracy(model(test), gt.asarray(y_test)).item()
    print(f"test accuracy {accuracy:.2%}")
    return float(accuracy)


if __name__ == "__main__":
    main()
