"""``torchvision.models``: architectures with weights drawn anew; none are downloaded."""

from collections.abc import Callable
from typing import Any

import gputensor.torch as torch
import gputensor.torch.nn as nn

__all__ = [
    "VGG",
    "AlexNet",
    "ResNet",
    "alexnet",
    "resnet18",
    "resnet34",
    "resnet50",
    "vgg11",
    "vgg11_bn",
    "vgg13",
    "vgg13_bn",
    "vgg16",
    "vgg16_bn",
    "vgg19",
    "vgg19_bn",
]

_nn: Any = nn
_torch: Any = torch


def _refuse_weights(name: str, weights: Any, pretrained: Any) -> None:
    if weights is not None or pretrained:
        raise ValueError(
            f"{name}: weights is {pretrained if weights is None else weights!r}; trained weights "
            "are not downloaded here: leave it None, and load your own with load_state_dict"
        )


class _Basic(nn.Module):
    """Two convolutions beside what comes in (He et al. 2016)."""

    expansion = 1

    def __init__(self, channels: int, planes: int, stride: int, downsample: Any) -> None:
        super().__init__()
        self.conv1 = _nn.Conv2d(channels, planes, 3, stride, 1, bias=False)
        self.bn1 = _nn.BatchNorm2d(planes)
        self.relu = _nn.ReLU(inplace=True)
        self.conv2 = _nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = _nn.BatchNorm2d(planes)
        self.downsample = downsample

    def forward(self, x: Any) -> Any:
        """Tensor (n, planes, ...)."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class _Bottleneck(nn.Module):
    """Three convolutions, the middle one narrow, beside what comes in (He et al. 2016)."""

    expansion = 4

    def __init__(self, channels: int, planes: int, stride: int, downsample: Any) -> None:
        super().__init__()
        self.conv1 = _nn.Conv2d(channels, planes, 1, bias=False)
        self.bn1 = _nn.BatchNorm2d(planes)
        self.conv2 = _nn.Conv2d(planes, planes, 3, stride, 1, bias=False)
        self.bn2 = _nn.BatchNorm2d(planes)
        self.conv3 = _nn.Conv2d(planes, planes * 4, 1, bias=False)
        self.bn3 = _nn.BatchNorm2d(planes * 4)
        self.relu = _nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x: Any) -> Any:
        """Tensor (n, 4 * planes, ...)."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """Residual network (He et al. 2016).

    Parameters
    ----------
    block : class
    layers : sequence of 4 ints
        Number of blocks at each size.
    num_classes : int

    Examples
    --------
    >>> net = torchvision.models.resnet18(num_classes=10).eval()
    >>> net(torch.zeros(1, 3, 32, 32)).shape
    torch.Size([1, 10])
    """

    def __init__(self, block: Any, layers: Any, num_classes: int = 1000) -> None:
        super().__init__()
        self.inplanes = 64
        self.conv1 = _nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = _nn.BatchNorm2d(64)
        self.relu = _nn.ReLU(inplace=True)
        self.maxpool = _nn.MaxPool2d(3, 2, 1)
        self.layer1 = self._stage(block, 64, layers[0], 1)
        self.layer2 = self._stage(block, 128, layers[1], 2)
        self.layer3 = self._stage(block, 256, layers[2], 2)
        self.layer4 = self._stage(block, 512, layers[3], 2)
        self.avgpool = _nn.AdaptiveAvgPool2d((1, 1))
        self.fc = _nn.Linear(512 * block.expansion, num_classes)
        for module in self.modules():
            if isinstance(module, _nn.Conv2d):
                _nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def _stage(self, block: Any, planes: int, count: int, stride: int) -> Any:
        wide = planes * block.expansion
        shortcut = None
        if stride != 1 or self.inplanes != wide:
            shortcut = _nn.Sequential(
                _nn.Conv2d(self.inplanes, wide, 1, stride, bias=False), _nn.BatchNorm2d(wide)
            )
        first = block(self.inplanes, planes, stride, shortcut)
        self.inplanes = wide
        return _nn.Sequential(first, *(block(wide, planes, 1, None) for _ in range(count - 1)))

    def forward(self, x: Any) -> Any:
        """Logits (n, num_classes) of images (n, 3, height, width)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
        return self.fc(_torch.flatten(self.avgpool(x), 1))


def _resnet(name: str, block: Any, layers: tuple[int, ...]) -> Callable[..., ResNet]:
    def make(*, weights: Any = None, progress: bool = True, **options: Any) -> ResNet:
        _refuse_weights(name, weights, options.pop("pretrained", False))
        return ResNet(block, layers, **options)

    make.__name__ = make.__qualname__ = name
    make.__doc__ = (
        f":class:`ResNet` with {layers} blocks; ``weights`` must be None.\n\n    Examples\n"
        f"    --------\n    >>> net = torchvision.models.{name}(num_classes=10)\n"
        f"    >>> net.fc.weight.shape\n    torch.Size([10, {512 * block.expansion}])"
    )
    return make


resnet18 = _resnet("resnet18", _Basic, (2, 2, 2, 2))
resnet34 = _resnet("resnet34", _Basic, (3, 4, 6, 3))
resnet50 = _resnet("resnet50", _Bottleneck, (3, 4, 6, 3))


def _classifier(features: int, num_classes: int, dropout: float) -> Any:
    return _nn.Sequential(
        _nn.Linear(features, 4096),
        _nn.ReLU(True),
        _nn.Dropout(p=dropout),
        _nn.Linear(4096, 4096),
        _nn.ReLU(True),
        _nn.Dropout(p=dropout),
        _nn.Linear(4096, num_classes),
    )


class VGG(nn.Module):
    """Convolutions of small windows (Simonyan & Zisserman 2015).

    Parameters
    ----------
    features : Module
    num_classes : int
    init_weights : bool
    dropout : float

    Examples
    --------
    >>> net = torchvision.models.vgg11(num_classes=10)  # doctest: +SKIP
    """

    def __init__(
        self,
        features: Any,
        num_classes: int = 1000,
        init_weights: bool = True,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.features = features
        self.avgpool = _nn.AdaptiveAvgPool2d((7, 7))
        self.classifier = _classifier(512 * 7 * 7, num_classes, dropout)
        for module in self.modules() if init_weights else ():
            if isinstance(module, _nn.Conv2d):
                _nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                _nn.init.zeros_(module.bias)
            elif isinstance(module, _nn.Linear):
                _nn.init.normal_(module.weight, 0, 0.01)
                _nn.init.zeros_(module.bias)

    def forward(self, x: Any) -> Any:
        """Logits (n, num_classes) of images (n, 3, height, width)."""
        return self.classifier(_torch.flatten(self.avgpool(self.features(x)), 1))


_PLANS = {
    "vgg11": (1, 1, 2, 2, 2),
    "vgg13": (2, 2, 2, 2, 2),
    "vgg16": (2, 2, 3, 3, 3),
    "vgg19": (2, 2, 4, 4, 4),
}


def _vgg(name: str) -> Callable[..., VGG]:
    plan, normalized = _PLANS[name.removesuffix("_bn")], name.endswith("_bn")

    def make(*, weights: Any = None, progress: bool = True, **options: Any) -> VGG:
        _refuse_weights(name, weights, options.pop("pretrained", False))
        layers: list[Any] = []
        channels = 3
        for count, wide in zip(plan, (64, 128, 256, 512, 512), strict=True):
            for _ in range(count):
                layers.append(_nn.Conv2d(channels, wide, 3, padding=1))
                layers += [_nn.BatchNorm2d(wide)] if normalized else []
                layers.append(_nn.ReLU(inplace=True))
                channels = wide
            layers.append(_nn.MaxPool2d(2, 2))
        return VGG(_nn.Sequential(*layers), **options)

    make.__name__ = make.__qualname__ = name
    make.__doc__ = (
        f":class:`VGG` with {plan} convolutions; ``weights`` must be None.\n\n    Examples\n"
        f"    --------\n    >>> torchvision.models.{name}(num_classes=10)  # doctest: +SKIP"
    )
    return make


vgg11, vgg13, vgg16, vgg19 = (_vgg(name) for name in _PLANS)
vgg11_bn, vgg13_bn, vgg16_bn, vgg19_bn = (_vgg(f"{name}_bn") for name in _PLANS)


class AlexNet(nn.Module):
    """Five convolutions and three linear layers (Krizhevsky 2014).

    Parameters
    ----------
    num_classes : int
    dropout : float

    Examples
    --------
    >>> sum(p.numel() for p in torchvision.models.AlexNet(num_classes=10).parameters())
    57044810
    """

    def __init__(self, num_classes: int = 1000, dropout: float = 0.5) -> None:
        super().__init__()
        sizes = ((3, 64, 11, 4, 2), (64, 192, 5, 1, 2), (192, 384, 3, 1, 1), (384, 256, 3, 1, 1))
        layers: list[Any] = []
        for i, size in enumerate((*sizes, (256, 256, 3, 1, 1))):
            layers += [_nn.Conv2d(*size), _nn.ReLU(inplace=True)]
            layers += [_nn.MaxPool2d(3, 2)] if i in (0, 1, 4) else []
        self.features = _nn.Sequential(*layers)
        self.avgpool = _nn.AdaptiveAvgPool2d((6, 6))
        self.classifier = _nn.Sequential(
            _nn.Dropout(p=dropout),
            _nn.Linear(256 * 6 * 6, 4096),
            _nn.ReLU(inplace=True),
            _nn.Dropout(p=dropout),
            _nn.Linear(4096, 4096),
            _nn.ReLU(inplace=True),
            _nn.Linear(4096, num_classes),
        )

    def forward(self, x: Any) -> Any:
        """Logits (n, num_classes) of images (n, 3, height, width)."""
        return self.classifier(_torch.flatten(self.avgpool(self.features(x)), 1))


def alexnet(*, weights: Any = None, progress: bool = True, **options: Any) -> AlexNet:
    """:class:`AlexNet`; ``weights`` must be None.

    Examples
    --------
    >>> type(torchvision.models.alexnet(num_classes=10)).__name__
    'AlexNet'
    """
    _refuse_weights("alexnet", weights, options.pop("pretrained", False))
    return AlexNet(**options)


def __getattr__(name: str) -> Any:
    raise AttributeError(
        f"module {__name__!r} has no attribute {name!r}; there are {', '.join(__all__)}", name=name
    )
