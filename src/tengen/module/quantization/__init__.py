"""What quantised layers are made of: observers, fake quantisation, and how they are configured. Users have it as `tengen.quantization`."""
