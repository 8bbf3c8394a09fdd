"""What rank 0 knows of the adapters of another rank: each goes there once, and may leave when rank 0 has let it go."""

from __future__ import annotations

import gc

import torch

from imagegen.engine.adapters.adapter_table import adapter_table
from imagegen.engine.ranks.messages import RankTable
from imagegen.engine.ranks.sent_adapters import SentAdapters
from tests.unit.engine.adapters.toys import adapter

CPU = torch.device("cpu")


def test_an_adapter_goes_there_once() -> None:
    sent, one, other = SentAdapters(), adapter(1), adapter(2)
    table = adapter_table([(2, ()), (2, ((one, 0.5),)), (1, ((one, 1.0), (other, -1.0)))], 5)
    missing = list(sent.missing(table, CPU))
    assert [found for found, _, _ in missing] == [one, other]
    digest, layers = missing[0][1].unpack(missing[0][2])
    assert digest == one.digest
    assert torch.equal(layers["linear"][0], one.layers["linear"].down)
    numbers = [sent.sent(found) for found, _, _ in missing]
    assert list(sent.missing(table, CPU)) == []
    assert sent.message(table) == RankTable(
        5, ((2, 4, ((numbers[0], 0.5),)), (4, 5, ((numbers[0], 1.0), (numbers[1], -1.0)))), whole=False
    )


def test_one_that_was_not_sent_after_all_is_still_missing() -> None:
    """Packing the rest of a forward may fail for want of memory; the rank must not be taken to have it."""
    sent, table = SentAdapters(), adapter_table([(1, ((adapter(1), 1.0),))], 1)
    assert len(list(sent.missing(table, CPU))) == 1
    assert len(list(sent.missing(table, CPU))) == 1


def test_what_rank_0_has_let_go_is_said_once() -> None:
    sent, one = SentAdapters(), adapter(1)
    number = sent.sent(one)
    assert sent.forgotten() == ()
    del one
    gc.collect()
    assert sent.forgotten() == (number,)
    assert sent.forgotten() == ()


def test_without_adapters_there_is_nothing_to_say() -> None:
    sent = SentAdapters()
    assert list(sent.missing(None, CPU)) == []
    assert sent.message(None) is None
