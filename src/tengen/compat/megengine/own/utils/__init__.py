"""Parts of `megengine.utils`."""

__all__: list[str] = []
