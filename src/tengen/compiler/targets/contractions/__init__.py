"""Contractions as LLVM IR."""
