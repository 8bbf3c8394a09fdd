"""Every link between the project's documents leads to a file, and to a heading where it names one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.unit.test_layout import ROOT, tracked

_FENCES = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def anchors(document: Path) -> set[str]:
    """Those of its headings, as GitHub and the site make them."""
    titles = re.findall(r"^#+ (.*)$", _FENCES.sub("", document.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", sorted(tracked("*.md")), ids=str)
def test_links_lead_somewhere(document: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", _FENCES.sub("", (ROOT / document).read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        linked = (ROOT / document).parent / name if name else ROOT / document
        if not linked.exists() or (
            anchor and anchor not in anchors(linked / "README.md" if linked.is_dir() else linked)
        ):
            broken.append(target)
    assert broken == []


def test_anchors_are_those_of_headings_and_not_of_comments_in_code(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text("# The `/v1/models` route\n```bash\n# no heading\n```\n## Errors\n")
    assert anchors(document) == {"the-v1models-route", "errors"}
