"""From Programs to Plans.

`partition` decides what becomes one kernel (`groups`); `driver` goes through the groups, with `steps`: buffers and launches. `nests/` turns a map or
a reduction into one loop nest, `contractions/` a sum of products into launches, `convolutions/` a convolution into contractions; `memory/` places
what lies between.
"""
