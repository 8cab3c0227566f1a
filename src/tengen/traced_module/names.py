"""Names of nodes: unique in a graph."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

_NUMBERED = re.compile(r"(.*?)_(\d+)$")


class NameSpace:
    """The names in one graph, and the node of each."""

    def __init__(self, name: str, qualname: str):
        self.name, self.qualname = name, qualname
        self._nodes: dict[str, Any] = {}

    @property
    def used_names(self) -> dict[str, Any]:
        """The names, with their nodes."""
        return self._nodes

    def create_unique_name(self, name: str, node: Any = None) -> str:
        """Give `node` this name, with the next free number if another node has it; returns the name."""
        name = re.sub(r"\W", "_", name)
        if not name or name[0].isdigit():
            name = f"_{name}"
        match = _NUMBERED.match(name)
        base, number = (match[1], int(match[2])) if match and match[1] else (name, 0)
        while name in self._nodes:
            number += 1
            name = f"{base}_{number}"
        self._nodes[name] = node
        return name

    def rename(self, node: Any, name: str) -> None:
        """Give a node another name. Raises ValueError if a node has it."""
        if self._nodes.get(name, node) is not node:
            raise ValueError(f"the name {name} is in use: another node of graph {self.name} has it")
        self.unassociate_name_with_obj(node)
        self._nodes[name] = node

    def unassociate_name_with_obj(self, node: Any) -> None:
        """Release the name of a node."""
        name = node._name
        if self._nodes.get(name) is node:
            del self._nodes[name]

    def keep(self, nodes: Iterable[Any]) -> None:
        """Release all names except those of these nodes."""
        self._nodes = {node._name: node for node in nodes}
