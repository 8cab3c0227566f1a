"""stub"""


def page(language):
    return "# PyTorch names\n"
