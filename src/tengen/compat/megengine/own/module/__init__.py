"""Parts of `megengine.module`."""

__all__: list[str] = []
