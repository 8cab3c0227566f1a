"""Ops that run on the CPU where a GPU is asked for, because tengen has no kernel of them for GPUs yet. The list may only shrink."""

BY_CPU: dict[str, str] = {}
"""What has no kernel, and why."""
