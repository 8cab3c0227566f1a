"""Parts of `megengine.core.ops`."""

__all__: list[str] = []
