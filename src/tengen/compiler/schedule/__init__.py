"""From Programs to Plans.

`partition` decides what becomes one kernel (`groups`) and what is stored (`results`); `driver` goes through the groups, with `steps`: buffers and
launches; `parts` cuts reductions, `writes` is Scatter, Place and Concat. `nests/` turns a map or
a reduction into one loop nest, `contractions/` a sum of products into launches, `convolutions/` a convolution into contractions; `memory/` places
what lies between.
"""
