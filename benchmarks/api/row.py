"""What a row of the API's benchmark is, as data: an expression in tengen and the same one in PyTorch."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

SIZES = ("small", "middle", "large")
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Row:
    """One thing that a user may write.

    names: public names that it stands for, the first one names the row. ours, theirs: expressions of the inputs, evaluated in the names
    of `side_tengen.py` and `side_torch.py`; an empty `theirs` has the text of `ours`. inputs: name to shapes, one for each size, split by
    "|", each with what it holds after a blank (`measure.py`, `values`); one shape is for all sizes. grad: inputs whose
    gradients the backward takes, split by blanks; "layer" are the parameters of what `setup` calls so. setup, their_setup: statements that come
    first and are not timed. tag: sets rows of one name apart. low: also in bfloat16. exact: False where the two draw or
    choose differently, so that only the count of results is compared. tolerance: in root mean squares.
    """

    names: str
    ours: str
    theirs: str
    inputs: dict[str, str] = field(default_factory=dict)
    grad: str = ""
    setup: str = ""
    their_setup: str = ""
    tag: str = ""
    low: bool = False
    exact: bool = True
    tolerance: float = 0.0

    @property
    def name(self) -> str:
        return self.names.split()[0]

    def count(self) -> int:
        """How many sizes there are."""
        return max((text.count("|") + 1 for text in self.inputs.values()), default=1)

    def sizes(self, dtype: str) -> list[tuple[str, int]]:
        """Names and numbers of the sizes for a dtype."""
        count = self.count()
        found = [(SIZES[number + (1 if count == 1 else 0)], number) for number in range(count)]
        return found if dtype == "float32" else found[-1:]

    def _given(self, number: int) -> list[str]:
        return [
            parts[number if len(parts) > 1 else 0].strip() for parts in (t.split("|") for t in self.inputs.values())
        ]

    def shapes(self, number: int) -> tuple[Shape, ...]:
        found = []
        for text in self._given(number):
            shape = text.partition(" ")[0]
            found.append(() if shape == "()" else tuple(int(extent) for extent in re.findall(r"\d+", shape)))
        return tuple(found)

    def kinds(self, number: int) -> tuple[str, ...]:
        return tuple(text.partition(" ")[2] for text in self._given(number))


def row(names: str, ours: str, theirs: str = "", grad: str = "", **more: object) -> Row:
    """A row whose inputs are the keyword arguments that are none of a row's own."""
    own = {key: more.pop(key) for key in list(more) if key in Row.__dataclass_fields__}
    return Row(names, ours, theirs or ours, {name: str(text) for name, text in more.items()}, grad, **own)  # type: ignore[arg-type]
