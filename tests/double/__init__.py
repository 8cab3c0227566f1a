"""A test double of libcuda.so.1: see README.md."""
