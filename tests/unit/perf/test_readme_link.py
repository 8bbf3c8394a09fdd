"""The README links one report, the newest."""

from __future__ import annotations

from pathlib import Path

from perf.readme_link import link_report

_ROOT = Path(__file__).resolve().parents[3]


def test_the_newest_report_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text((_ROOT / "README.md").read_text())
    for name in ("old", "new"):
        link_report(readme, tmp_path / name / "report.md", tmp_path / name / "peers.png", "Peers.")
    text = readme.read_text()
    assert "[![Peers.](new/peers.png)](new/report.md)" in text
    assert "old/" not in text
    assert text.count("newest report -->") == 2
