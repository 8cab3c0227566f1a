"""Ops that run on the CPU where a GPU is asked for, because tengen has no kernel of them for GPUs yet. The list may only shrink."""

BY_CPU: dict[str, str] = {
    "argsort": "a sort needs a kernel that exchanges values between blocks",
    "sort": "a sort needs a kernel that exchanges values between blocks",
}
"""What has no kernel, and why."""
