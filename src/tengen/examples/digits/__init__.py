"""LeNet learns to read handwritten digits: `python -m tengen.examples.digits` (`--help` for the options)."""
