"""Of `megengine.module`."""

__all__: list[str] = []
