"""Ops that run on the CPU where a GPU is asked for, because tengen has no kernel of them for GPUs yet. The list may only shrink."""

_FLOAT64 = "CPUs take this function from the C library, which a GPU does not have"

BY_CPU: dict[str, str] = {
    "argsort": "a sort needs a kernel that exchanges values between blocks",
    "sort": "a sort needs a kernel that exchanges values between blocks",
    "nonzero": "how many there are is known only when it has run",
    "attention": "the kernel that keeps no scores is written for CPUs",
    "cos of float64": _FLOAT64,
    "exp of float64": _FLOAT64,
    "exp_nonpositive of float64": _FLOAT64,
    "log of float64": _FLOAT64,
    "log1p of float64": _FLOAT64,
    "pow of float64": _FLOAT64,
    "sigmoid of float64": _FLOAT64,
    "sin of float64": _FLOAT64,
    "softplus of float64": _FLOAT64,
    "tanh of float64": _FLOAT64,
}
"""What has no kernel, and why."""
