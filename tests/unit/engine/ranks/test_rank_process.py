"""A real rank in a process of its own that finds no checkpoint: it says why, and ends."""

from __future__ import annotations

import os
from pathlib import Path

from imagegen.engine import EngineSettings
from imagegen.engine.ranks.messages import LoadRank
from imagegen.engine.ranks.rank_process import RankProcess
from imagegen.engine.worker.messages import LoadFailed


def test_a_rank_says_why_it_cannot_load_and_one_that_is_killed_has_ended(folder: Path) -> None:
    failing, killed = RankProcess(folder / "x.1", 1), RankProcess(folder / "x.2", 2)
    assert killed.receive(0.01) is None
    killed.kill()
    assert killed.wait() == -9
    settings = EngineSettings(model="no/such/checkpoint").model_dump_json(include=set(EngineSettings.model_fields))
    failing.send(LoadRank(settings, os.fsencode(folder), "cpu", 1, 2, os.fsencode(folder / "store")))
    failed = failing.receive(60)
    assert isinstance(failed, LoadFailed)
    assert failed.kind == "ValueError"
    assert "no/such/checkpoint is neither a folder" in failed.problem
    assert failing.wait() == 0
    failing.close()
    killed.close()
    assert not list(folder.iterdir())
