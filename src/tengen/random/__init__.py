"""Random tensors from one generator that all of tengen shares; `seed` sets it, `RNG` makes another."""

from .rng import RNG, default_generator

__all__ = ["RNG", "beta", "gamma", "normal", "permutation", "poisson", "seed", "shuffle", "uniform"]

seed = default_generator().seed
uniform = default_generator().uniform
normal = default_generator().normal
gamma = default_generator().gamma
beta = default_generator().beta
poisson = default_generator().poisson
permutation = default_generator().permutation
shuffle = default_generator().shuffle
