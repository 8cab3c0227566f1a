"""What MegEngine has in its modules and tengen does not: one module here for each of them. Only names in `__all__`
count.

`package` stands for `megengine` itself, because one of its names, `tensor`, is also one of its modules.
"""
