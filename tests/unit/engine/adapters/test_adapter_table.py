"""Which rows of a forward get which updates."""

from __future__ import annotations

from imagegen.engine.adapters.adapter_table import AdapterTable, adapter_table
from tests.unit.engine.adapters.toys import adapter

ONE, OTHER = adapter(1), adapter(2)
FIRST, SECOND = ((ONE, 1.0),), ((ONE, 0.5), (OTHER, -1.0))


def test_without_updates_there_is_no_table() -> None:
    assert adapter_table([(2, ()), (2, ())], 8) is None


def test_neighbours_of_equal_updates_are_one_span_and_padding_is_none() -> None:
    table = adapter_table([(2, ()), (2, FIRST), (1, FIRST), (2, SECOND)], 8)
    assert table == AdapterTable(8, ((2, 5, FIRST), (5, 7, SECOND)), whole=False)
    assert list(table.adapters()) == [ONE, OTHER]


def test_other_scales_are_other_updates() -> None:
    table = adapter_table([(2, FIRST), (2, ((ONE, 0.9),))], 4)
    assert table is not None
    assert [span[:2] for span in table.spans] == [(0, 2), (2, 4)]


def test_calls_that_are_kept_separate_have_spans_of_their_own() -> None:
    table = adapter_table([(2, FIRST), (2, FIRST)], 4, separate=True)
    assert table == AdapterTable(4, ((0, 2, FIRST), (2, 4, FIRST)), whole=False)


def test_equal_updates_for_all_are_whole_whatever_the_padding() -> None:
    for calls, total in (([(2, FIRST)], 2), ([(2, FIRST), (2, FIRST)], 8)):
        table = adapter_table(calls, total)
        assert table is not None
        assert table.whole
    padded = adapter_table([(2, FIRST)], 4, separate=True)
    assert padded is not None
    assert not padded.whole


def test_a_part_has_its_rows_counted_from_its_own_first() -> None:
    table = adapter_table([(2, ()), (3, FIRST), (3, SECOND)], 8)
    assert table is not None
    assert table.part(0, 2) is None
    assert table.part(2, 4) == AdapterTable(2, ((0, 2, FIRST),), whole=True)
    assert table.part(4, 8) == AdapterTable(4, ((0, 1, FIRST), (1, 4, SECOND)), whole=False)
