"""Programs that show tengen at work; run one with `python -m tengen.examples.<name>`."""
