"""Datasets of images, read from local files. Images are arrays (height, width, channels), with colours in the order blue, green, red.

Those that are image files need OpenCV: `pip install tengen[vision]`.
"""

from .cifar import CIFAR10, CIFAR100
from .cityscapes import Cityscapes
from .coco import COCO, Objects365
from .folder import ImageFolder, ImageNet
from .meta_vision import VisionDataset
from .mnist import MNIST
from .voc import PascalVOC

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "COCO",
    "MNIST",
    "Cityscapes",
    "ImageFolder",
    "ImageNet",
    "Objects365",
    "PascalVOC",
    "VisionDataset",
]
