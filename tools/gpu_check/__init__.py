"""What a real GPU is asked: whether kernels give the right bits there, and how fast they are. `command.py` is the command."""
