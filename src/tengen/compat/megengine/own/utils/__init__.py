"""Of `megengine.utils`."""

__all__: list[str] = []
