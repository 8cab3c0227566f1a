"""The value of a name that MegEngine has and tengen does not have yet."""

from __future__ import annotations

from typing import Any, NoReturn, Union

from ... import __version__


class MissingName(NotImplementedError):
    """A name of MegEngine was used that tengen does not have yet."""


class Missing:
    """It can be imported, passed on, named in annotations and derived from. Calling it or reading its value raises
    MissingName.

    Attributes are missing names too, so that `Convolution.Mode.CONVOLUTION` may appear in a signature.
    """

    def __init__(self, path: str):
        module, _, name = path.rpartition(".")
        self.__dict__.update(_path=path, __module__=module, __name__=name, __qualname__=name)

    def __getattr__(self, name: str) -> Missing:
        if name.startswith("__"):
            raise AttributeError(f"{self!r} has no attribute {name!r}")
        return Missing(f"{self._path}.{name}")

    def __repr__(self) -> str:
        return f"<{self._path}, which tengen does not have yet>"

    def __hash__(self) -> int:
        return hash(self._path)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Missing) and other._path == self._path

    def __instancecheck__(self, instance: object) -> bool:
        return False  # nothing can be made of a missing name

    def __subclasscheck__(self, kind: type) -> bool:
        return False

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type]:
        def refuse(cls: type, *_: Any, **__: Any) -> NoReturn:
            self._refuse()

        return (type(str(self.__name__), (), {"__new__": refuse, "__module__": self.__module__}),)

    def __or__(self, other: Any) -> Any:
        return Union[self, other]  # noqa: UP007 - in annotations

    def __ror__(self, other: Any) -> Any:
        return Union[other, self]  # noqa: UP007

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise MissingName(
            f"tengen {__version__} does not have {self._path} yet; "
            f"please report it in tengen's issue tracker, with the line of the program that needs it"
        )

    __call__ = __bool__ = __iter__ = __len__ = __getitem__ = __setitem__ = __enter__ = __int__ = __float__ = (
        __index__
    ) = _refuse
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __neg__ = _refuse
    __lt__ = __le__ = __gt__ = __ge__ = __contains__ = __exit__ = _refuse
