"""From Programs to Plans: `partition` (what becomes one kernel), `loops` and `lower` (one group, one loop nest),
`contraction`, `memory`, `driver`.
"""
