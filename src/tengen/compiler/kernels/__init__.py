"""Kernels as data: loop nests, contractions, sorts. Nothing here knows LLVM: `schedule/` makes them, `targets/` writes
their code.
"""
