"""`python -m perf.rank_trials`: engines of several ranks beside one device, on the CPU with gloo.

`exact` compares images, alone and in mixed batches with requests that end in between; `kills` kills ranks under load;
`start` starts several engines of several ranks at once. Ends by itself; the exit status is 1 when anything is wrong.
"""

from __future__ import annotations

import argparse
import sys

from perf.environment import environment
from perf.rank_trials.endings import kill_ranks, start_together
from perf.rank_trials.exact import compare, compare_wan
from perf.rank_trials.families import CONTEXT, FAMILIES, ROWS
from perf.report import environment_text, table

PARTS = ("exact", "kills", "start")


def main(argv: list[str] | None = None) -> int:
    """Command line; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m perf.rank_trials", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], default=[], help="default: all")
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 4], help="of exact; default 2 4")
    parser.add_argument("--families", nargs="+", choices=[*FAMILIES, "wan"], default=[*FAMILIES, "wan"])
    parser.add_argument("--times", type=int, default=20, help="of kills and start; default 20")
    parser.add_argument("--engines", type=int, default=2, help="that start at once; default 2")
    arguments = parser.parse_args(argv)
    parts = arguments.parts or PARTS
    about = environment("python -m perf.rank_trials")
    paragraphs, is_right = [], True
    if "exact" in parts:
        rows = _exact(arguments.families, arguments.ranks)
        is_right &= all(row[-1] == "ok" for row in rows)
        paragraphs.append("## Images\n\n" + table(["family", "parallelism", "ranks", "found"], rows))
    if "kills" in parts:
        outcomes, wrong = kill_ranks(arguments.times, 2)
        is_right &= not wrong
        rows = [
            [str(outcomes[name]) for name in ("kills", "succeeded", "unavailable")] + ["; ".join(wrong) or "nothing"]
        ]
        paragraphs.append("## Kills\n\n" + table(["kills", "succeeded", "unavailable", "wrong"], rows))
    if "start" in parts:
        wrong = start_together(arguments.times, arguments.engines, 2)
        is_right &= not wrong
        paragraphs.append(
            f"## Start\n\n{arguments.engines} engines of 2 ranks at once, {arguments.times} times; wrong:"
            f" {'; '.join(wrong) or 'nothing'}"
        )
    print(f"# Ranks\n\n{environment_text(about, {})}\n\n" + "\n\n".join(paragraphs))
    return 0 if is_right else 1


def _exact(families: list[str], ranks: list[int]) -> list[list[str]]:
    rows = []
    for family in families:
        for parallelism in FAMILIES[family][1] if family in FAMILIES else (ROWS, CONTEXT):
            for count in ranks:
                found = compare_wan(parallelism, count) if family == "wan" else compare(family, parallelism, count)
                rows.append([family, parallelism, str(count), found])
                print(*rows[-1], file=sys.stderr, flush=True)
    return rows


if __name__ == "__main__":
    sys.exit(main())
