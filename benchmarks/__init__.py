"""Speed of tengen next to its peers: `python -m benchmarks --help`."""
