"""Writes what was measured: `results.json` for programs, `results.md` and `results.png` for people."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from .cases import FORMS
from .requirements import REQUIREMENTS, Requirement, share

Row = dict[str, Any]
QUIET = 0.1  # cores that other processes may take


def write(folder: Path, results: dict[str, Any]) -> None:
    """Write the three files into `folder`, which is made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "results.md").write_text(markdown(results), encoding="utf-8")
    picture(results["cases"], folder / "results.png")


# -- text ----------------------------------------------------------------------------------------------------------


def markdown(results: dict[str, Any]) -> str:
    """The report: machine, requirements, groups, failures, all rows."""
    rows, machine = results["cases"], results["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    lines = [
        "# Benchmarks",
        "",
        f"{versions}; float32, {results['options']['threads']} threads; {results['date']}.",
        "",
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}, Python {machine['python']}. "
        f"Peak {machine['peak'] / 1e9:.0f} GFLOP/s, copy {machine['bandwidth'] / 1e9:.1f} GB/s (read and written).",
        "",
        "Ratios are tengen's time over the peer's: the median of turns (quartiles), and that of the fastest turns; below 1 tengen "
        "is faster. The limit is the time that the peak allows for a case's arithmetic, or the copy bandwidth for its memory, "
        "whichever is longer, both the best that was seen during the run; above 100 % can be what fits into caches, and 3 × 3 convolutions "
        "by tiles, which multiply less than the arithmetic that is counted.",
        *disturbance(rows),
    ]
    sections = [requirements(rows), groups(rows), failures(results["failures"]), table(rows)]
    return "\n".join([*lines, *(line for section in sections for line in section)]) + "\n"


def disturbance(rows: Sequence[Row]) -> list[str]:
    """A warning if other processes were at work, which frameworks bear unequally."""
    taken = [row["other_cores"] for row in rows if row.get("other_cores") is not None]
    if not taken or statistics.median(taken) < QUIET:
        return []
    return [
        "",
        f"**Not a quiet machine**: other processes took {statistics.median(taken):.1f} cores (median over cases, at most "
        f"{max(taken):.1f}). Medians and ratios then say little, above all where threads wait for one another; those of the "
        "fastest turns are less wrong.",
    ]


def requirements(rows: Sequence[Row]) -> list[str]:
    lines = ["", "## Requirements", "", "| | measured | required | aim | |", "|---|---|---|---|---|"]
    for wanted in REQUIREMENTS:
        reading = wanted.reading(rows)
        if reading is not None:
            sign = "≥" if not wanted.holds(0, wanted.required) else "≤"
            lines.append(
                f"| {wanted.title} | {reading:.3g} | {sign} {wanted.required:g} | {wanted.aim:g} | {verdict(wanted, reading)} |"
            )
    return lines if len(lines) > 5 else []


def verdict(wanted: Requirement, reading: float) -> str:
    if wanted.what is share and reading > 1.02:
        return "**peak too low**"  # nothing exceeds the real one: it was measured while others were at work
    if wanted.holds(reading, wanted.aim):
        return "meets the aim"
    return "met" if wanted.holds(reading, wanted.required) else "**missed**"


def group_of(row: Row) -> str:
    """The rows that are put together: the part of the name before the last slash; convolutions also by form."""
    head, _, tail = row["name"].rpartition("/")
    if not head.startswith("conv/"):
        return head
    (form,) = (form for form in FORMS if tail.endswith(form))
    return f"{head} {'depthwise ' * ('depthwise' in tail)}{form}"


def by_group(rows: Iterable[Row]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(group_of(row), []).append(row)
    return groups


def groups(rows: Sequence[Row]) -> list[str]:
    head = "| group | cases | ratio to PyTorch: geometric mean | worst | of the limit: geometric mean |"
    lines = ["", "## Groups", "", head, "|---|---|---|---|---|"]
    for name, members in by_group(rows).items():
        ratios = [row["ratios"]["PyTorch"]["median"] for row in members if "PyTorch" in row["ratios"]]
        shares = [share for row in members if (share := row["frameworks"]["tengen"].get("share_of_limit"))]
        mean = f"{statistics.geometric_mean(ratios):.2f} | {max(ratios):.2f}" if ratios else "| "
        lines.append(
            f"| {name} | {len(members)} | {mean} | {f'{statistics.geometric_mean(shares):.0%}' if shares else ''} |"
        )
    return lines


def failures(failed: Sequence[Row]) -> list[str]:
    if not failed:
        return []
    cells = [f"| {row['name']} | {row['error'].replace('|', '¦')} |" for row in failed]
    return ["", "## Failures", "", "| case | |", "|---|---|", *cells]


def table(rows: Sequence[Row]) -> list[str]:
    peers = list(dict.fromkeys(name for row in rows for name in row["frameworks"] if name != "tengen"))
    head = "".join(f" {peer} | ratio | fastest |" for peer in peers)
    lines = ["", "## All cases", "", f"| case | tengen |{head} of the limit |", "|---" * (3 + 3 * len(peers)) + "|"]
    for row in rows:
        taken = row["frameworks"]
        cells = [row["name"], duration(taken["tengen"]["median"])]
        for peer in peers:
            cells += _peer_cells(row, peer) if peer in taken else ["", "", ""]
        share = taken["tengen"].get("share_of_limit")
        lines.append("| " + " | ".join([*cells, f"{share:.0%}" if share else ""]) + " |")
    return lines


def _peer_cells(row: Row, peer: str) -> list[str]:
    taken, ratio = row["frameworks"][peer], row["ratios"][peer]
    spread = f"{ratio['median']:.2f} ({ratio['lower_quartile']:.2f}–{ratio['upper_quartile']:.2f})"
    setting = "" if taken["setting"] in ("eager", "") else f" ({taken['setting']})"
    fastest = row["frameworks"]["tengen"]["fastest"] / taken["fastest"]
    return [duration(taken["median"]) + setting, spread, f"{fastest:.2f}"]


def duration(seconds: float) -> str:
    """Seconds with three digits and a unit."""
    exponent = min(3, max(0, math.ceil(-math.log10(seconds) / 3))) if seconds > 0 else 3
    return f"{seconds * 1000**exponent:.3g} {('s', 'ms', 'µs', 'ns')[exponent]}"


# -- picture -------------------------------------------------------------------------------------------------------


def picture(rows: Sequence[Row], path: Path) -> None:
    """Ratios to PyTorch and shares of the limit; a line for each case, or for each group of convolutions."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    lines: dict[str, list[Row]] = {}
    for row in rows:
        name = group_of(row) if row["name"].startswith("conv/") else row["name"]
        lines.setdefault(name, []).append(row)
    figure, (left, right) = pyplot.subplots(
        1, 2, figsize=(12, 1.5 + 0.2 * len(lines)), sharey=True, layout="constrained"
    )
    for height, members in enumerate(lines.values()):
        for row in members:
            if "PyTorch" in row["ratios"]:
                middle = row["ratios"]["PyTorch"]["median"]
                left.plot(middle, height, "o", color="tab:green" if middle <= 1 else "tab:red", markersize=4, alpha=0.7)
            for framework, colour in (("PyTorch", "tab:orange"), ("tengen", "tab:blue")):
                share = row["frameworks"].get(framework, {}).get("share_of_limit")
                if share:
                    right.plot(share, height, "o", color=colour, markersize=4, alpha=0.7)
    left.axvline(1, color="black", linewidth=0.8)
    left.set(xscale="log", xlabel="time of tengen / time of PyTorch", yticks=range(len(lines)), yticklabels=list(lines))
    right.axvline(1, color="black", linewidth=0.8)
    right.set(xlim=(0, None), xlabel="share of the limit: tengen (blue), PyTorch (orange)")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.tick_params(labelsize=7)
    left.invert_yaxis()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
