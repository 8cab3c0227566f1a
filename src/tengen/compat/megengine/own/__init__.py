"""What MegEngine has in its modules and tengen has not: one module here for each, whose `__all__` counts.

`package` stands for `megengine` itself, as a name of it is also one of its modules: `tensor`.
"""
