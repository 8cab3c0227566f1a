"""One dimension of a convolution: which places of its result meet which taps of the window, as loops of a contraction.

Forward, each line of outputs is one phase. By data there is a phase for each remainder of a position by the stride: the
inputs of a phase see only every step-th tap.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from math import gcd, prod
from typing import NamedTuple

from ...geometry import ConvShape
from ..contractions.problem import ONCE, ContractionLoop
from . import borders
from .borders import Cut, Line

Pair = tuple[int, int]

MANY_PHASES = 16
"""From this many phases in a dimension of a gradient by data on, equal neighbours become one loop, because each phase
is planned on its own."""
READ_AGAIN, MORE_WORK = 128, 1.25
"""See `zeros_pay`."""
PART_START = 1 << 14
"""What the beginning of a part costs, in multiply-adds."""


class Phase(NamedTuple):
    """The rows of a line lie at first, first + step, ... of the result. Its steps are the taps first_tap + t *
    tap_step.

    run: how many phases it stands for. Each is one place of the result, and one tap if there are any, further on than
    the phase before.
    """

    line: Line
    first: int
    step: int
    first_tap: int
    tap_step: int
    run: int = 1

    def goes_on(self, later: Phase) -> bool:
        """Whether `later` may join the run."""
        moved = self._replace(first=later.first, first_tap=self.first_tap + (self.run if self.line.taps else 0))
        return later.first == self.first + self.run and moved._replace(run=1) == later


class Span(NamedTuple):
    """Rows that see the same steps, as loops. offsets: of A, B and C. run: the loop over phases, if there are several."""

    rows: ContractionLoop
    taps: ContractionLoop
    offsets: tuple[int, int, int]
    run: ContractionLoop = ONCE


@lru_cache(256)  # asked for by each way to compute the same convolution
def phase(s: ConvShape, dim: int) -> Phase:
    """Outputs and taps of the forward convolution over the input."""
    return Phase(
        Line(s.size[dim], -s.padding[dim], s.out[dim], s.stride[dim], s.kernel[dim], s.dilation[dim]), 0, 1, 0, 1
    )


def turned(phase: Phase) -> Phase:
    """The line with rows and steps exchanged."""
    size, base, rows, row_step, taps, tap_step = phase.line
    return phase._replace(line=Line(size, base, taps, tap_step, rows, row_step))


def phases(s: ConvShape, dim: int) -> list[Phase]:
    """Inputs and taps of the gradient by data over dy: one line for each remainder of the position by the stride. If
    there are many, similar neighbours become one line."""
    size, out, kernel = s.size[dim], s.out[dim], s.kernel[dim]
    stride, padding, dilation = s.stride[dim], s.padding[dim], s.dilation[dim]
    step = stride // gcd(stride, dilation)
    taps = {(r * dilation - padding) % stride: r for r in reversed(range(min(step, kernel)))}
    phases: list[Phase] = []
    for first, run in _remainders(taps, stride, size):
        rows = len(range(first, size, stride))
        tap = taps.get(first)
        if tap is None:  # no tap meets these inputs
            phases.append(Phase(Line(out, 0, rows, 1, 0, 1), first, stride, 0, 0, run))
            continue
        source = (first + padding - tap * dilation) // stride
        line = Line(out, source, rows, 1, len(range(tap, kernel, step)), -(step * dilation // stride))
        phases.append(Phase(line, first, stride, tap, step))
    # a nest has room for the loops of two dimensions, or of groups
    few = len(phases) <= MANY_PHASES or s.groups > 1 or dim < len(s.size) - 2
    return phases if few else joined(phases)


def joined(phases: Sequence[Phase]) -> list[Phase]:
    """These phases, with similar neighbours as runs."""
    found = [*phases[:1]]
    for phase in phases[1:]:
        if found[-1].goes_on(phase):
            found[-1] = found[-1]._replace(run=found[-1].run + 1)
        else:
            found.append(phase)
    return found


def _remainders(taps: Collection[int], stride: int, size: int) -> Iterator[tuple[int, int]]:
    """The phases of positions below `size` by the stride, in order: each phase that a tap meets, and between them runs
    (first, count) of phases that none meets and that have the same number of positions. If there are few, these come
    one by one.
    """
    most = min(stride, size)
    stops = sorted({*(t for t in taps if t < most), *(t + 1 for t in taps if t < most), size % stride, most} - {0})
    start = 0
    for stop in (stop for stop in stops if stop <= most):
        if start in taps or most <= MANY_PHASES:
            yield from ((first, 1) for first in range(start, stop))
        else:
            yield start, stop - start
        start = stop


def margins(phases: Sequence[Phase], in_place: bool) -> Pair:
    """How many zeros must stand before and after the source so that no line sees outside it; none if lines are cut."""
    if in_place:
        return 0, 0
    before, after = zip(*[phase.line.margins for phase in phases], strict=True)
    return max(before), max(after)


def may_pad(s: ConvShape, phases: Sequence[Sequence[Phase]], channels: int) -> bool:
    """Whether zeros may be put around what the phases of all dimensions read, which has this many channels."""
    padded = s.n * channels
    for lines in phases:
        padded *= sum(margins(lines, False)) + max([phase.line.size for phase in lines])
    return borders.may_pad(padded, s.n * (s.ic * prod(s.size) + s.oc * prod(s.out)))


def spans(phases: Sequence[Phase], margins: Pair, a: int, b: int, c: int) -> list[Span]:
    """The cuts of all lines as loops over operands that move by a, b and c for one position, tap and result."""
    spans = []
    for phase in phases:
        line = phase.line.within(*margins) if any(margins) else phase.line
        spans += [_span(phase, line, cut, a, b, c) for cut in line.cuts()]
    return spans


def uncut(phase: Phase, a: int, b: int, c: int) -> Span:
    """A line as loops that may leave the source."""
    return _span(phase, phase.line, Cut(0, phase.line.rows, 0, phase.line.taps), a, b, c)


def _span(phase: Phase, line: Line, cut: Cut, a: int, b: int, c: int) -> Span:
    source = line.position(cut.row, cut.tap) if cut.taps else 0
    tap, result = phase.first_tap + cut.tap * phase.tap_step, phase.first + cut.row * phase.step
    rows = ContractionLoop(cut.rows, line.row_step * a, 0, phase.step * c)
    taps = ContractionLoop(cut.taps, line.tap_step * a, phase.tap_step * b)
    run = ContractionLoop(phase.run, b=b if line.taps else 0, c=c)
    return Span(rows, taps, (source * a, tap * b, result * c), run)


def zeros_pay(phases: Sequence[Sequence[Phase]], spans: Sequence[Sequence[Span]], weights: int, image: int) -> bool:
    """Whether an image with zeros around it costs less than parts at borders, if the weights come from beyond the level-2 cache.

    Each part reads the weights of its taps. A copy pays off if that is READ_AGAIN weights more for each number of the image, and the
    zeros do not make the work more than MORE_WORK times as much. weights, image: how many numbers they have.
    """
    taps, seen, met, multiplied = 1, 1, 1, 1
    for lines, cuts in zip(phases, spans, strict=True):
        taps *= sum(phase.line.taps for phase in lines)
        seen *= sum(span.taps.extent for span in cuts)
        met *= sum(phase.line.meetings for phase in lines)
        multiplied *= sum(phase.line.rows * phase.line.taps for phase in lines)
    return multiplied <= MORE_WORK * met and (seen - taps) * weights > READ_AGAIN * image * taps


def cuts_pay(
    phases: Sequence[Sequence[Phase]], zeros: Sequence[Pair], images: int, tile: int, work: int, limit: int
) -> bool:
    """Whether parts at borders cost less than these zeros around images that are copied anyway.

    tile: rows of a register tile, of which the last one of a part is half empty. work: multiply-adds of a row and a tap. limit: the
    most parts.
    """
    parts, met, multiplied, taps = 1, 1, 1, 1
    for lines, (before, after) in zip(phases, zeros, strict=True):
        inside, everywhere, most = 0, 0, 0
        for line, *_ in lines:
            inside += line.meetings
            everywhere += line.rows * line.taps
            most = line.taps if line.taps > most else most
        parts, taps = parts * (len(lines) + before + after), taps * most
        met, multiplied = met * inside, multiplied * everywhere
    saved, lost = images * (multiplied - met) * work, parts * (PART_START + tile // 2 * taps * work)
    return saved > lost and parts <= limit


def parts(spans: Sequence[Sequence[Span]], size: Sequence[int], steps: Sequence[int]) -> Iterator[tuple[Span, ...]]:
    """All combinations of a span of each dimension.

    If several phases of a dimension see nothing, the dimensions after it do not matter: these phases are one span, over
    a result of this size that moves by `steps`.
    """
    if not spans:
        yield ()
        return
    first, *others = spans
    for span in first:
        if span.taps.extent or span.run.extent == 1:
            yield from [(span, *rest) for rest in parts(others, size[1:], steps[1:])]
        else:
            whole = zip(size[1:], steps[1:], strict=True)
            yield span, *[Span(ContractionLoop(extent, c=c), ContractionLoop(0), (0, 0, 0)) for extent, c in whole]
