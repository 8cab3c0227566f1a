"""Parts of `megengine.device`."""

__all__ = ["what_is_xpu"]


def what_is_xpu() -> str:
    """The kind of a device named "xpu": a CPU."""
    return "cpu"
