"""The modules of tengen whose `__all__` is the public API, by what follows `tengen.` in their names."""

AREAS = """functional functional.loss functional.vision functional.distributed functional.quantized functional.debug_param
functional.external module module.init module.qat module.quantized module.external optimizer autodiff jit data data.dataset
data.transform amp distributed quantization random utils hub models""".split()
