"""ResNet-50 of torchvision as a sequence of layers, which a pipeline can cut. Its parameters are random."""

from __future__ import annotations

from typing import Any


def resnet50() -> Any:
    """The layers of torchvision's ResNet-50, in their order: the same arithmetic as its own forward."""
    from torch import nn
    from torchvision.models import resnet50 as whole

    net = whole()
    blocks = [block for stage in (net.layer1, net.layer2, net.layer3, net.layer4) for block in stage]
    return nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool, *blocks, net.avgpool, nn.Flatten(), net.fc)
