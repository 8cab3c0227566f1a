"""From Programs to Plans.

`partition` decides which nodes become one kernel (`groups`) and which values are stored (`results`). `driver` goes
through the groups and fills `steps`: buffers and launches. `parts` cuts reductions; `writes` does Scatter, Place and
Concat. `nests/` turns a map or a reduction into a loop nest, `contractions/` a sum of products into launches, and
`convolutions/` a convolution into contractions. `memory/` decides where buffers lie.
"""
