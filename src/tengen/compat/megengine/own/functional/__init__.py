"""Of `megengine.functional`."""

__all__: list[str] = []
