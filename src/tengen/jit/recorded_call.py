"""One call of a traced function, as it was recorded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from weakref import ref

from ..core import Tensor
from .effects import Effects, effects
from .names import names_of
from .recorder import Recorder


class RecordedCall:
    """One recording of the function, and what its call left behind."""

    def __init__(self, recorder: Recorder, tensors: Sequence[Tensor], call: Callable[[], Any], execute: bool = True):
        self.recorder, self.arguments = recorder, len(tensors)
        self.effects: Effects
        # with capture_as_const, the tensors under the names stay the same
        self.names = names_of(call) if recorder.without_host and not recorder.capture else []
        own = {id(handle()) for _, handle in self.names}
        self.named = [(number, ref(tensor)) for number, tensor in enumerate(tensors) if id(tensor) in own]

        def watched() -> Any:
            box = [call()]
            self.effects = effects(recorder, tensors, box)
            return box[0]

        self._result = recorder.run(tensors, watched, execute)
        self.effects.held.clear()

    def take_result(self) -> Any:
        """What the call returned; this object does not keep it."""
        result, self._result = self._result, None
        return result

    def leads_to(self, later: RecordedCall) -> bool:
        """Whether the next call did the same, and put tensors in the place of those that this one left behind."""
        return all(made() is None for made in self.effects.made) and self.recorder.is_like(later.recorder)
