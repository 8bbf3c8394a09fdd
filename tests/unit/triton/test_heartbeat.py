"""Whoever asks learns how long ago an engine of this server last showed that it lives."""

from __future__ import annotations

import os
import struct
import subprocess
import time
from pathlib import Path

import pytest

from imagegen.triton.heartbeat import Heartbeat, all_serve, is_asleep, quiet_s


def test_where_no_engine_is_nothing_is_known(tmp_path: Path) -> None:
    assert quiet_s(tmp_path) is None


def test_a_beat_is_recent_and_grows_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = time.monotonic()
    monkeypatch.setattr("imagegen.triton.heartbeat.time.monotonic", lambda: now_s)
    heartbeat = Heartbeat(tmp_path)
    assert quiet_s(tmp_path) == 0
    now_s += 7
    assert quiet_s(tmp_path) == 7
    heartbeat.beat()
    assert quiet_s(tmp_path) == 0
    heartbeat.close()
    assert quiet_s(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_of_several_engines_the_quietest_counts_and_none_of_a_dead_process(tmp_path: Path) -> None:
    heartbeat = Heartbeat(tmp_path)
    ended = subprocess.Popen(["true"])
    ended.wait()
    for pid, quiet in ((os.getppid(), 50), (ended.pid, 900)):
        (tmp_path / f"{pid}.alive").write_bytes(struct.pack("<d?", time.monotonic() - quiet, False))
    (tmp_path / "1.alive").write_bytes(b"")  # just being made
    found = quiet_s(tmp_path)
    assert found is not None
    assert 50 <= found < 900
    heartbeat.close()


def test_an_engine_that_is_lost_has_been_quiet_for_ever_until_it_beats_again(folder: Path) -> None:
    heartbeat = Heartbeat(folder)
    heartbeat.lost()
    lost_s = quiet_s(folder)
    assert lost_s is not None
    assert lost_s > 0.9 * time.monotonic()
    heartbeat.beat()
    again_s = quiet_s(folder)
    assert again_s is not None
    assert again_s < lost_s / 2
    heartbeat.close()


def test_it_says_whether_an_engine_was_put_to_sleep_which_lives_on(folder: Path) -> None:
    assert not is_asleep(folder)
    heartbeat = Heartbeat(folder)
    (folder / f"{os.getppid()}.alive").write_bytes(struct.pack("<d?", time.monotonic(), False))
    assert not is_asleep(folder)
    heartbeat.set_asleep(True)
    heartbeat.beat()
    assert is_asleep(folder)
    quiet = quiet_s(folder)
    assert quiet is not None
    assert quiet < 10
    heartbeat.set_asleep(False)
    assert not is_asleep(folder)
    heartbeat.close()


def test_all_serve_while_none_is_lost_or_was_put_to_sleep(folder: Path) -> None:
    assert all_serve(folder), "there may be no diffusion model"
    heartbeat = Heartbeat(folder)
    assert all_serve(folder)
    heartbeat.lost()
    assert not all_serve(folder)
    heartbeat.beat()
    heartbeat.set_asleep(True)
    assert not all_serve(folder)
    heartbeat.set_asleep(False)
    assert all_serve(folder)
    heartbeat.close()
