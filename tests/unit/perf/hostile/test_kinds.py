"""The same seed gives the same requests; every kind comes; each can be made again by its name."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from perf.hostile.case import Case, End, Expected, GrpcCase, HttpCase, Way
from perf.hostile.kinds import Surroundings, kinds, numbered, sequence
from perf.hostile.run import Settings, chosen
from perf.hostile.socket_kinds import stalled

KINDS = kinds(Surroundings("http://127.0.0.1:9", "http://127.0.0.1:10", body_timeout_s=2.0))
EACH = 20


def cases(kind: str) -> list[Case]:
    return [numbered(KINDS, kind, index, seed=3).case for index in range(EACH)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_the_same_for_the_same_seed_and_varies(kind: str) -> None:
    made = cases(kind)
    assert made == cases(kind)
    others = [numbered(KINDS, kind, index, seed=4).case for index in range(EACH)]
    assert len(set(map(repr, [*made, *others]))) > 1
    assert all(len(case.sent) < 4_000_000 for case in made)


@pytest.mark.parametrize("kind", KINDS)
def test_a_case_is_owed_what_its_client_can_see(kind: str) -> None:
    for case in cases(kind):
        assert (case.expected is Expected.SERVED) == (case.request is not None)
        assert (case.expected is Expected.NOTHING) == (case.end in (End.RESET, End.CANCEL))
        assert isinstance(case, GrpcCase) == (case.way in (Way.GRPC, Way.FETCH))
        if isinstance(case, HttpCase):
            assert case.pieces


def test_every_way_and_expectation_comes() -> None:
    all_cases = [case for kind in KINDS for case in cases(kind)]
    assert {case.way for case in all_cases} == set(Way)
    assert {case.expected for case in all_cases} == set(Expected)
    assert {case.end for case in all_cases} == set(End)


def test_all_kinds_come_first_and_then_by_weight() -> None:
    order = list(sequence(KINDS, 5000, seed=1))
    assert order == list(sequence(KINDS, 5000, seed=1))
    assert {kind for kind, _ in order[: len(KINDS)]} == set(KINDS)
    counts = Counter(kind for kind, _ in order)
    assert counts["tensors/wrong"] > 4 * counts["image/too-large"]
    assert sorted(index for kind, index in order if kind == "tensors/names") == list(range(counts["tensors/names"]))


def test_a_twentieth_is_valid() -> None:
    valid = sum(kind.startswith("valid/") for kind, _ in sequence(KINDS, 5000, seed=1))
    assert 0.03 < valid / 5000 < 0.06


def test_one_case_or_the_kinds_that_begin_so_are_chosen() -> None:
    assert chosen(KINDS, Settings(only="tensors/wrong:17")) == [("tensors/wrong", 17)]
    some = chosen(KINDS, Settings(requests=50, only="client-leaves"))
    assert len(some) == 50
    assert {kind for kind, _ in some} == {kind for kind in KINDS if kind.startswith("client-leaves")}
    for unknown in ("no such kind", "tensors:1"):
        with pytest.raises(KeyError, match="there is no kind"):
            chosen(KINDS, Settings(only=unknown))


def test_a_stalled_body_is_owed_a_response_where_the_time_for_it_is_known() -> None:
    assert stalled(random.Random(1), 2.0).expected is Expected.REFUSED
    assert stalled(random.Random(1), None).expected is Expected.NOTHING
