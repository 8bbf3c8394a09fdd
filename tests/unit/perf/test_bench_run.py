"""A part of the bench that fails, hangs or has no time left says so and harms nobody."""

from __future__ import annotations

import pytest

from perf.bench_parts import LIMIT_S, QUICK_LIMIT_S, Part, parts
from perf.bench_run import last_words, run_part


def run(*command: str, timeout_s: float = 60) -> str:
    return run_part(Part("trial", "trial", command, 60), [], timeout_s).fault


def test_a_part_that_ends_well_has_no_fault() -> None:
    assert run("json.tool", "--help") == ""


def test_a_part_that_fails_tells_its_last_words() -> None:
    assert "exit status 2" in run("json.tool", "no-such-file.json")
    assert "no-such-file.json" in run("json.tool", "no-such-file.json")


def test_a_part_that_hangs_is_ended() -> None:
    assert "ended after 2 s" in run("http.server", "--bind", "127.0.0.1", "0", timeout_s=2)


def test_a_part_without_time_is_not_begun() -> None:
    assert run("no_such_module", timeout_s=0) == "no time was left"


def test_last_words_are_what_was_said_about_the_fault() -> None:
    printed = "one\n\x1b[1mtwo\x1b[0m\nwritten: a.md\n\nthree\nfour\n"
    assert last_words(printed) == "two · three · four"


@pytest.mark.parametrize("quick", [False, True])
def test_parts_are_about_as_long_as_the_whole_and_have_names_of_their_own(quick: bool) -> None:
    chosen = parts(quick)
    assert len({part.result for part in chosen}) == len(chosen)
    # The whole is limited anyway; a part's own limit keeps it from taking the others' time.
    assert max(part.limit_s for part in chosen) <= (QUICK_LIMIT_S if quick else LIMIT_S) / 2
