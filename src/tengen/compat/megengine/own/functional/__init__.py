"""Parts of `megengine.functional`."""

__all__: list[str] = []
