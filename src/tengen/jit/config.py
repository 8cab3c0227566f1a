"""Settings of traces."""

from __future__ import annotations


class SublinearMemoryConfig:
    """Trade time for memory in a trace: values that the backward needs are computed again instead of kept.

    Chen et al., Training Deep Nets with Sublinear Memory Cost, 2016. What is computed again is chosen when the trace is
    compiled.

    Args:
        thresh_nr_try, genetic_nr_iter, genetic_pool_size, num_worker: taken for the sake of programs that give them;
            the search tries a handful of plans and needs none of them.
        lb_memory_mb: how many MiB a call may take beside the tensors that are there before it; of the plans that keep
            to it the fastest is taken. 0: take as little as possible.

    Raises:
        ValueError: lb_memory_mb is negative.

    >>> from tengen.jit import trace
    >>> double = trace(lambda x: x * 2, sublinear_memory_config=SublinearMemoryConfig(lb_memory_mb=100))
    >>> double(tengen.tensor([1.0])).tolist()
    [2.0]
    """

    def __init__(
        self,
        thresh_nr_try: int = 10,
        genetic_nr_iter: int = 0,
        genetic_pool_size: int = 20,
        lb_memory_mb: int = 0,
        num_worker: int = 1,
    ):
        if lb_memory_mb < 0:
            raise ValueError(f"SublinearMemoryConfig: lb_memory_mb must be at least 0, got {lb_memory_mb}")
        self.lb_memory_mb = lb_memory_mb
        self.thresh_nr_try, self.num_worker = thresh_nr_try, num_worker
        self.genetic_nr_iter, self.genetic_pool_size = genetic_nr_iter, genetic_pool_size


class DTRConfig:
    """A limit on the memory of a trace in bytes, with the names of dynamic tensor rematerialisation.

    A trace knows all its operations beforehand, so what is computed again is planned when it is compiled and nothing is
    decided at run time.

    Kirisame et al. 2021.

    Args:
        eviction_threshold: how many bytes a call may take beside the tensors that are there before it; 0: no limit.
        evictee_minimum_size: values of fewer bytes are always kept.
        recomp_memory_factor, recomp_time_factor: taken for the sake of programs that give them; the plan with least
            work that keeps to the limit is taken.

    Raises:
        ValueError: a number of bytes is negative.

    >>> from tengen.jit import trace
    >>> double = trace(lambda x: x * 2, dtr_config=DTRConfig(eviction_threshold=100 << 20))
    >>> double(tengen.tensor([1.0])).tolist()
    [2.0]
    """

    def __init__(
        self,
        eviction_threshold: int = 0,
        evictee_minimum_size: int = 1048576,
        recomp_memory_factor: float = 1,
        recomp_time_factor: float = 1,
    ):
        if eviction_threshold < 0 or evictee_minimum_size < 0:
            raise ValueError(
                "DTRConfig: eviction_threshold and evictee_minimum_size must be at least 0, "
                f"got {eviction_threshold} and {evictee_minimum_size}"
            )
        self.eviction_threshold, self.evictee_minimum_size = eviction_threshold, evictee_minimum_size
        self.recomp_memory_factor, self.recomp_time_factor = recomp_memory_factor, recomp_time_factor


class GraphOptimizationConfig:
    """Taken for the sake of programs that give it: every pass always runs, whatever its attributes say (None: not set).

    >>> from tengen.jit import GraphOptimizationConfig
    >>> GraphOptimizationConfig().jit_fuse_reduce is None
    True
    """

    def __init__(self) -> None:
        self.jit_fuse_dimshuffle, self.jit_fuse_reduce, self.jit_config = None, None, None
