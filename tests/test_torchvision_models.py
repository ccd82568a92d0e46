"""Architectures of torchvision: sizes, names of the state, a step of training."""

import numpy as np
import pytest

import gputensor.torch as torch
from gputensor.torchvision import models


@pytest.mark.parametrize(
    ("name", "parameters", "entries", "last"),
    [
        ("resnet18", 11_689_512, 122, "fc.bias"),
        ("resnet34", 21_797_672, 218, "fc.bias"),
        ("resnet50", 25_557_032, 320, "fc.bias"),
    ],
)
def test_a_network_has_the_parameters_of_torchvisions(name, parameters, entries, last):
    model = getattr(models, name)()
    assert sum(p.numel() for p in model.parameters()) == parameters
    state = model.state_dict()
    assert len(state) == entries
    assert list(state)[-1] == last
    assert state["layer2.0.downsample.0.weight"].shape[1] == (256 if name == "resnet50" else 64)


def test_a_small_network_is_trained():
    torch.manual_seed(0)
    model = models.resnet18(weights=None, num_classes=4)
    x = torch.tensor(np.random.default_rng(0).normal(size=(8, 3, 32, 32)).astype(np.float32))
    y = torch.arange(8) % 4
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    losses = []
    for _ in range(4):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_trained_weights_are_refused_and_names_listed():
    with pytest.raises(ValueError, match="weights is 'DEFAULT'"):
        models.resnet18(weights="DEFAULT")
    with pytest.raises(ValueError, match="trained weights are not downloaded"):
        models.vgg11(pretrained=True)
    with pytest.raises(AttributeError, match="there are VGG, AlexNet, ResNet"):
        models.densenet121  # noqa: B018
    assert models.vgg11.__name__ == "vgg11"
