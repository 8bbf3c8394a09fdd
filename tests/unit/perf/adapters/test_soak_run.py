"""What was on offer during a request is known by two snapshots, and faults are counted and kept, not too many."""

from __future__ import annotations

from pathlib import Path

from perf.adapters.soak_asks import Offer
from perf.adapters.soak_files import SoakFiles
from perf.adapters.soak_run import Offers, Tally, offer


def offers() -> Offers:
    return Offers(SoakFiles(Path(), {"s": Path()}, {"m": Path()}, {"bad": Path()}, 1))


def test_what_stays_and_what_is_faulty_do_not_change() -> None:
    offered = offers()
    for names, found in ((["s"], Offer.ALL), ([], Offer.ALL), (["s", "bad"], Offer.NOT_ALL), (["x"], Offer.NOT_ALL)):
        assert offer(offered.snapshot(names), offered.snapshot(names)) is found


def test_what_comes_or_goes_in_between_may_be_either() -> None:
    offered = offers()
    assert not offered.is_on("m")
    before = offered.snapshot(["s", "m"])
    assert offer(before, before) is Offer.NOT_ALL
    with offered.changing("m"):
        during = offered.snapshot(["s", "m"])
        assert offer(before, during) is Offer.CHANGED
        assert offer(during, during) is Offer.CHANGED
    after = offered.snapshot(["s", "m"])
    assert offered.is_on("m")
    assert offer(before, after) is offer(during, after) is Offer.CHANGED
    assert offer(after, after) is Offer.ALL
    with offered.changing("m"):
        pass
    assert offer(before, offered.snapshot(["s", "m"])) is Offer.CHANGED  # off both times, on in between


def test_one_that_never_was_decides_whatever_the_other_does() -> None:
    offered = offers()
    before = offered.snapshot(["m", "bad"])
    with offered.changing("m"):
        pass
    assert offer(before, offered.snapshot(["m", "bad"])) is Offer.NOT_ALL


def test_the_first_hundred_faults_are_kept() -> None:
    tally = Tally()
    tally.note("", "nothing wrong")
    for number in range(150):
        tally.note("wrong", number)
    assert tally.wrong == 150
    assert len(tally.faults) == 100
    assert tally.faults[0] == "wrong: 0"
