"""A rank from 1 on: it holds the denoisers and runs forwards that rank 0 tells it of."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import torch

from imagegen.engine.adapters.adapter import from_pairs
from imagegen.engine.adapters.adapter_table import AdapterTable, ComponentAdapter
from imagegen.engine.adapters.engine_adapters import prepare_compiled
from imagegen.engine.adapters.row_updates import applied
from imagegen.engine.device_clock import wait_for_device
from imagegen.engine.packing import Layout, pack
from imagegen.engine.ranks.context import check_context, enable_context
from imagegen.engine.ranks.messages import (
    SETTLED_WITHIN_S,
    Done,
    Join,
    Joined,
    LoadRank,
    RankLoaded,
    Run,
    RunFailed,
    Settled,
    TakeAdapter,
    error_bytes,
    message_to_rank,
    rank_frames,
)
from imagegen.engine.ranks.process_group import GroupLostError, ProcessGroup
from imagegen.engine.settings import EngineSettings
from imagegen.engine.worker.child import end
from imagegen.engine.worker.connection import Connection
from imagegen.engine.worker.device_faults import end_after_fatal_fault
from imagegen.engine.worker.messages import RANK_LOST, LoadFailed
from imagegen.pipelines.checkpoint import load_denoisers

_log = logging.getLogger(__name__)


class Rank:
    """Does what rank 0 says, until this process is ended, or cannot load.

    Args:
        connection: to rank 0.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._layouts: dict[int, Layout] = {}
        self._adapters: dict[int, ComponentAdapter] = {}

    def run(self) -> None:
        """Load, join the others, and run forwards."""
        load = self._receive()
        assert isinstance(load, LoadRank)
        self._device = torch.device(load.device)
        settings = EngineSettings.model_validate_json(load.settings)
        self._by_context = settings.parallelism == "context"
        try:
            self._load(settings, load)
        except Exception as error:
            _log.exception("rank %d could not load", load.rank)
            self._send(LoadFailed.of(error))
            return
        torch.set_grad_enabled(False)
        while True:
            message = self._receive()
            assert isinstance(message, Run | TakeAdapter)
            try:
                self._forward(message) if isinstance(message, Run) else self._take(message)
            except GroupLostError as error:
                end_after_fatal_fault(error)
                _log.critical("%s; rank %d ends", error, load.rank)
                end(RANK_LOST)

    def _load(self, settings: EngineSettings, load: LoadRank) -> None:
        self._denoisers = load_denoisers(settings, Path(os.fsdecode(load.folder)), self._device)
        prepare_compiled(settings, self._denoisers)
        if self._by_context:
            check_context(self._denoisers, load.ranks)
        self._send(RankLoaded(tuple(self._denoisers)))
        assert isinstance(self._receive(), Join)
        store = Path(os.fsdecode(load.store))
        self._group = ProcessGroup(store, load.rank, load.ranks, self._device, settings.hang_timeout_s)
        if self._by_context:
            for module in self._denoisers.values():
                enable_context(module, load.rank, load.ranks, self._device)
        self._send(Joined())

    def _take(self, message: TakeAdapter) -> None:
        layout = Layout.from_bytes(message.described)
        digest, pairs = layout.unpack(self._group.receive(layout.size, 0))
        self._adapters[message.number] = ComponentAdapter(digest, from_pairs(pairs))

    def _table(self, message: Run) -> AdapterTable | None:
        for number in message.forgotten:
            del self._adapters[number]
        if message.table is None:
            return None
        spans = tuple(
            (start, stop, tuple((self._adapters[number], scale) for number, scale in updates))
            for start, stop, updates in message.table.spans
        )
        return AdapterTable(message.table.rows, spans, message.table.whole)

    def _forward(self, message: Run) -> None:
        if message.described is not None:
            self._layouts[message.layout] = Layout.from_bytes(message.described)
        layout = self._layouts[message.layout]
        buffer = self._group.receive(layout.size, 0)
        failed: bytes | None = None
        try:
            args, kwargs = layout.unpack(buffer)
            module = self._denoisers[message.module]
            with applied(module, self._table(message)):
                output = module(*args, **kwargs)
            if self._by_context:
                wait_for_device(self._device)
            else:
                described, packed = pack(output, self._device)
        except Exception as error:
            end_after_fatal_fault(error)
            failed = error_bytes(error)
        if failed is not None:  # not in the block above: the exception holds the tensors of the forward
            self._send(RunFailed(failed))
            if self._by_context:
                self._wait_for_the_others()
            return
        if self._by_context:
            self._send(Done(None))
            return
        self._send(Done(described.to_bytes()))
        self._group.start_sending(packed, 0).wait()

    def _wait_for_the_others(self) -> None:
        """Go on when the others' forwards have failed as well; else they wait in a collective for this one."""
        if not self._connection.receiving.poll(round(SETTLED_WITHIN_S * 1000)):
            raise GroupLostError("the forward failed on this rank alone")
        assert isinstance(self._receive(), Settled)

    def _receive(self) -> Any:
        return message_to_rank(self._connection.receive()[0])

    def _send(self, message: Any) -> None:
        self._connection.send(rank_frames(message))
