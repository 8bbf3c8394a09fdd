"""The README shows the newest report's main plot and links the report."""

from __future__ import annotations

import re
from pathlib import Path

_PLACE = re.compile(r"(<!-- newest report -->\n).*?(<!-- /newest report -->)", re.DOTALL)


def link_report(readme: Path, report: Path, plot: Path, caption: str) -> None:
    """Put the plot and a link between the README's marks, instead of what stands there.

    Args:
        readme: of the project.
        report, plot: files below the README's folder.
        caption: of the plot.
    """
    root = readme.parent
    lines = f"\n[![{caption}]({plot.relative_to(root)})]({report.relative_to(root)})\n\n"
    lines += f"*{caption} [The whole report]({report.relative_to(root)}).*\n"
    readme.write_text(_PLACE.sub(lambda found: found[1] + lines + found[2], readme.read_text()))
