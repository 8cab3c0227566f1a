"""The whole test suite with a GPU as the default device: `make test-gpu`. See suite.py."""
