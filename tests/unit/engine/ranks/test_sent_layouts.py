"""Both processes know the same layouts by the same numbers, however many there were."""

from __future__ import annotations

import random

import torch

from imagegen.engine.packing import Layout, pack
from imagegen.engine.ranks import sent_layouts
from imagegen.engine.ranks.sent_layouts import SentLayouts


def test_each_is_sent_once_while_it_is_kept() -> None:
    layouts = [pack((torch.ones(2), number), torch.device("cpu"))[0] for number in range(40)]
    sent, known = SentLayouts(), dict[int, Layout]()
    original, sent_layouts._KEPT = sent_layouts._KEPT, 16
    try:
        random.seed(1)
        described_count = 0
        for _ in range(500):
            layout = random.choice(layouts[: random.choice((8, 40))])
            number, described = sent.number(layout)
            if described is not None:
                described_count += 1
                known[number] = Layout.from_bytes(described)
            assert known[number].to_bytes() == layout.to_bytes()
        assert len(known) == 16
        assert described_count < 500
        assert sent.number(layout) == (number, None)
    finally:
        sent_layouts._KEPT = original
