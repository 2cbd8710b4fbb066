"""Packages with the interface of torchvision and timm, for environments without them, written into a folder."""

from pathlib import Path

TORCHVISION = """
from types import SimpleNamespace
from torch import nn
from . import segmentation

NAMES = ["tinynet", "tinynet_large"]


class Weights:
    url = "https://example.invalid/tinynet-0a1b2c3d.pth"
    meta = {"categories": ["cat", "dog", "owl"]}

    @staticmethod
    def transforms():
        return SimpleNamespace(
            crop_size=[24], resize_size=[32], mean=[0.5, 0.4, 0.3], std=[0.2, 0.2, 0.2],
            interpolation=SimpleNamespace(value="bicubic"),
        )


class Tiny(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        self.head = nn.Linear(4, num_classes)
        nn.init.zeros_(self.head.weight)

    def forward(self, x):
        return self.head(self.body(x).flatten(1))


def list_models(module):
    return NAMES if module.__name__ == __name__ else module.NAMES


def get_model_weights(name):
    return SimpleNamespace(DEFAULT=Weights)


def get_model(name, weights=None, num_classes=3):
    if weights:
        raise OSError("<urlopen error [Errno -3] Temporary failure in name resolution>")
    return Tiny(num_classes)
"""
TIMM = """
from types import SimpleNamespace
import torchvision.models as other
from . import data

CONFIG = {"input_size": (3, 24, 32), "crop_pct": 0.8, "interpolation": "bilinear", "mean": (0.5,) * 3, "std": (0.25,) * 3}


def is_model(name):
    return name in list_models()


def list_models():
    return ["tiny_vit"]


def list_pretrained():
    return ["tiny_vit.toy_in1k"]


def get_pretrained_cfg(name):
    return SimpleNamespace(to_dict=lambda: CONFIG)


def create_model(name, pretrained):
    return other.get_model(name, weights="DEFAULT" if pretrained else None)
"""
FILES = {
    "torchvision/__init__.py": "",
    "torchvision/models/__init__.py": TORCHVISION,
    "torchvision/models/segmentation.py": 'NAMES = ["tiny_segments"]\n',
    "torchvision-9.1.dist-info/METADATA": "Metadata-Version: 2.1\nName: torchvision\nVersion: 9.1\n",
    "timm/__init__.py": TIMM,
    "timm/data.py": "def resolve_data_config(args, pretrained_cfg):\n    return pretrained_cfg\n",
    "timm-9.2.dist-info/METADATA": "Metadata-Version: 2.1\nName: timm\nVersion: 9.2\n",
}


def write(folder: Path) -> Path:
    """Write the packages into `folder`, which then belongs on the path of modules."""
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder
