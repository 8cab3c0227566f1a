"""Machine code: `host` is the machine and its LLVM, `nest` and `contraction` write the two kinds of kernel as LLVM IR."""
