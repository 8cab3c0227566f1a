"""From Programs to Plans.

`partition` (what becomes one kernel) → `driver` (group by group, with `steps`: buffers and launches) → `lower` and `loops` (one group, one loop
nest) or `relayout`, `contraction`, `convolution`, `register_tile` (sums of products) → `memory`.
"""
