"""Networks that others have published: weights from a URL, and functions of a repository's `hubconf.py`.

    @hub.pretrained("https://example.org/resnet18_78a63ca6.pkl")
    def resnet18(**options): ...

    net = resnet18(pretrained=True)
    net = hub.load("./my_models", "resnet18", pretrained=True)

The network is used only by these functions, for what is not there yet. Weights are files of data: reading one runs no code. `hubconf.py` is a
program, which runs when it is loaded.
"""

from .repository import RepositoryError, help, import_module, list, load
from .weights import load_serialized_obj_from_url, pretrained

__all__ = [
    "RepositoryError",
    "help",
    "import_module",
    "list",
    "load",
    "load_serialized_obj_from_url",
    "pretrained",
]
