"""Transforms: what is done to samples before they become a batch."""

from .meta_transform import PseudoTransform, Transform

__all__ = ["PseudoTransform", "Transform"]
