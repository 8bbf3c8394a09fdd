"""Buffers between two real processes over gloo, one of which dies."""

from __future__ import annotations

import multiprocessing
import os
from multiprocessing.connection import Connection
from pathlib import Path

import torch
import torch.distributed as dist

from imagegen.engine.ranks.process_group import GroupLostError, ProcessGroup


def rank(number: int, store: Path, said: Connection) -> None:
    group = ProcessGroup(store, number, 2, torch.device("cpu"), 20.0)
    if number:
        buffer = group.receive(5, 0)
        group.start_sending(buffer * 2, 0).wait()
        os._exit(0)  # as a rank that is killed
    group.start_sending(torch.arange(5, dtype=torch.uint8), 1).wait()
    said.send(group.receive(5, 1).tolist())
    for lost in (lambda: group.receive(5, 1), lambda: group.start_sending(torch.zeros(5, dtype=torch.uint8), 1).wait()):
        try:
            lost()
            said.send("nothing happened")
        except GroupLostError as error:
            said.send(str(error).partition(":")[0])
    os._exit(0)


def test_buffers_go_both_ways_and_the_end_of_a_rank_is_noticed_at_once(folder: Path) -> None:
    assert not dist.is_initialized()
    forked = multiprocessing.get_context("fork")
    here, there = forked.Pipe()
    processes = [forked.Process(target=rank, args=(number, folder / "store", there)) for number in (0, 1)]
    for process in processes:
        process.start()
    try:
        assert here.poll(60)
        assert here.recv() == [0, 2, 4, 6, 8]
        assert here.poll(15)
        assert here.recv() == "a buffer did not come"
        assert here.poll(15)
        assert here.recv() == "a buffer could not be sent"
    finally:
        for process in processes:
            process.kill()
            process.join()
