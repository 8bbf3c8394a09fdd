"""Parts are measured one by one, options reach the settings that know them, and unknown names are refused."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import pytest

from perf.parts import check_names, outcome_of, with_options
from perf.report import Section


@dataclass(frozen=True)
class Some:
    rounds: int = 5


def measured(settings: Some, more: str) -> Section:
    if not settings.rounds:
        raise OSError("no disk")
    return Section(more, settings, [], {})


def test_an_outcome_is_the_section_or_why_there_is_none() -> None:
    done = outcome_of("some", measured, Some(), "title")
    assert done.section is not None
    assert (done.part, done.section.title, done.failed) == ("some", "title", False)
    broken = outcome_of("some", measured, Some(0), "title")
    assert (broken.section, broken.error, broken.failed) == (None, "OSError: no disk", True)


def test_only_known_options_that_were_given_change_settings() -> None:
    assert with_options(Some(), {"rounds": 3, "requests": 9}) == Some(3)
    assert with_options(Some(), {"rounds": None}) == Some()
    assert with_options(Some(), {"rounds": 0}) == Some(0)


def test_unknown_names_are_listed_with_those_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    check_names(parser, "models", ["b"], {"a": 1, "b": 2})
    with pytest.raises(SystemExit, match="2"):
        check_names(parser, "models", ["z", "c", "b"], {"a": 1, "b": 2})
    assert "unknown models: c, z; there are a, b" in capsys.readouterr().err
