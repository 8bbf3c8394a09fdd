"""Rank 0's view of the other ranks: started, told of each forward, and the end of this process when one is lost.

Whoever waits for a forward waits on ZeroMQ, never in a collective, which would time out. Tensors go over the process
group: NCCL between GPUs, gloo on the host.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from imagegen.api.errors import InvalidArgument
from imagegen.engine.adapters.adapter_table import AdapterTable, ComponentAdapter
from imagegen.engine.adapters.row_updates import applied
from imagegen.engine.merge_rules import MergeRule
from imagegen.engine.packing import Layout, pack
from imagegen.engine.ranks.context import check_context, check_tokens, enable_context
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
    error_from,
)
from imagegen.engine.ranks.outcome import outcome_of, raise_first
from imagegen.engine.ranks.process_group import GroupLostError, ProcessGroup, Sending
from imagegen.engine.ranks.rank_process import RankProcess
from imagegen.engine.ranks.row_split import even_spans, joined, some_rows
from imagegen.engine.settings import EngineSettings
from imagegen.engine.worker.child import end
from imagegen.engine.worker.device_faults import end_after_fatal_fault
from imagegen.engine.worker.messages import FATAL_DEVICE_FAULT, RANK_LOST, LoadFailed
from imagegen.pipelines.denoisers import denoisers_of

_Expected = TypeVar("_Expected", RankLoaded, Joined)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Prepared:
    """What one other rank is to be sent for a forward: its arguments, and the adapters that it has not."""

    rank: RankProcess
    layout: Layout
    buffer: torch.Tensor
    table: AdapterTable | None
    adapters: Sequence[tuple[ComponentAdapter, Layout, torch.Tensor]]


class RankGroup:
    """The ranks from 1 on, each a process with a device. `run` is for the device thread, all else for the main thread.

    The end of a rank ends this process, with all that it had: what is left of a group cannot go on.

    Args:
        settings: of the engine.
        folder: where a relative model path starts.
        devices: of all ranks, two or more.
        base: path for sockets, without suffixes.
    """

    def __init__(self, settings: EngineSettings, folder: Path, devices: Sequence[str], base: Path) -> None:
        self._settings = settings
        self._by_context = settings.parallelism == "context"
        self._devices = [torch.device(device) for device in devices]
        self._names: dict[int, str] = {}
        self._closing = False
        self._store = base.with_name(base.name + ".store")
        shared = settings.model_dump_json(include=set(EngineSettings.model_fields))
        self._others = []
        for rank, device in list(enumerate(devices))[1:]:
            other = RankProcess(base.with_name(f"{base.name}.{rank}"), rank)
            self._others.append(other)
            threading.Thread(target=self._watch, args=(other,), name=f"rank-{rank}", daemon=True).start()
            other.send(
                LoadRank(shared, os.fsencode(folder), device, rank, len(devices), os.fsencode(self._store)),
            )

    @property
    def count(self) -> int:
        """How many ranks there are, with this one."""
        return len(self._devices)

    def join(self, pipeline: Any) -> None:
        """Wait until all ranks have loaded, and form the process group.

        Args:
            pipeline: this rank's, loaded.

        Raises:
            ValueError: the model cannot be shared like this.
            Exception: what a rank could not load, by its own words.
        """
        denoisers = denoisers_of(pipeline)
        if self._by_context:
            check_context(denoisers, self.count)
        for loaded in self._expect(RankLoaded):  # several ControlNets in one come not from a folder of their own
            denoisers = {name: module for name, module in denoisers.items() if name in loaded.denoisers}
        self._names = {id(module): name for name, module in denoisers.items()}
        for other in self._others:
            other.send(Join())
        timeout_s = self._settings.hang_timeout_s
        self._group = ProcessGroup(self._store, 0, self.count, self._devices[0], timeout_s)
        if self._by_context:
            for module in denoisers.values():
                enable_context(module, 0, self.count, self._devices[0])
        self._expect(Joined)
        self._store.unlink(missing_ok=True)
        _log.info("%d devices share each forward by %s", self.count, self._settings.parallelism)

    def check_size(self, size: tuple[int, int], granularity_px: int, *, has_references: bool = False) -> None:
        """Refuse a request whose tokens cannot be divided.

        Args:
            size: (width, height) in pixels.
            granularity_px: side of a token.
            has_references: whether there are reference images, whose tokens are not known here.

        Raises:
            InvalidArgument: it is such a request.
        """
        if self._by_context:
            if has_references:
                raise InvalidArgument("reference_image", "not with parallelism context; rows takes references")
            check_tokens(size, granularity_px, self.count)

    def run(
        self,
        module: Any,
        args: Any,
        kwargs: dict[str, Any],
        rules: dict[str, MergeRule] | None,
        rows: int,
        table: AdapterTable | None,
    ) -> Any:
        """Run a forward on all ranks.

        Args:
            module: the denoiser.
            args, kwargs: its arguments, on this rank's device.
            rules: by which `kwargs` were merged; None for a call that runs as it was made.
            rows: of the forward.
            table: what adapters add to them.

        Returns:
            the module's output.

        Raises:
            Exception: what the module raised, on whichever rank.
        """
        try:
            if id(module) in self._names and self._by_context:
                return self._run_context(module, args, kwargs, table)
            if id(module) in self._names and rules is not None and rows > 1:
                return self._run_rows(module, kwargs, rules, rows, table)
        except GroupLostError as error:  # no halving of a batch would help
            end_after_fatal_fault(error)
            _log.critical("%s; the engine ends", error)
            end(RANK_LOST)
        with applied(module, table):
            return module(*args, **kwargs)

    def close(self) -> None:
        """End the other ranks; this process ends as well."""
        self._closing = True
        for other in self._others:
            other.close()

    def _run_rows(
        self, module: Any, kwargs: dict[str, Any], rules: dict[str, MergeRule], rows: int, table: AdapterTable | None
    ) -> Any:
        spans = [span for span in even_spans(rows, self.count) if span.stop > span.start]
        parts = [{name: some_rows(rules[name], value, span) for name, value in kwargs.items()} for span in spans]
        tables = [None if table is None else table.part(span.start, span.stop) for span in spans]
        # All of them before the first is sent: what fails for want of memory must leave no rank with half a call.
        prepared = [
            self._prepared(other, ((), part), its_table)
            for other, part, its_table in zip(self._others, parts[1:], tables[1:], strict=False)
        ]
        outcomes: list[Any] = []
        with _all_replies_read():
            # Whoever compiles first writes what the others read.
            in_turn = self._settings.compile == "torch"
            if in_turn:
                outcomes.append(outcome_of(module, (), parts[0], tables[0]))
            sendings = [sending for each in prepared for sending in self._start(each, module)]
            if not in_turn:
                outcomes.append(outcome_of(module, (), parts[0], tables[0]))
            for sending in sendings:
                sending.wait()
            outcomes += [self._received(each.rank) for each in prepared]
        raise_first(outcomes)
        return joined(outcomes, samples=any(rule[0] == "samples" for rule in rules.values()))

    def _run_context(self, module: Any, args: Any, kwargs: dict[str, Any], table: AdapterTable | None) -> Any:
        packed = pack((args, kwargs), self._devices[0])
        prepared = [self._with_adapters(other, packed, table) for other in self._others]
        with _all_replies_read():
            for sending in [sending for each in prepared for sending in self._start(each, module)]:
                sending.wait()
            outcomes = [outcome_of(module, args, kwargs, table, self._devices[0])]
            # Those whose own forward has failed need not be waited for long: they fail as well, or wait for this one.
            within_s = SETTLED_WITHIN_S if isinstance(outcomes[0], Exception) else None
            outcomes += [self._received(other, within_s) for other in self._others]
            failed = [isinstance(outcome, Exception) for outcome in outcomes]
            if any(failed) and not all(failed):
                raise GroupLostError("a forward failed on some ranks alone, and left the others in the middle of it")
            if all(failed):
                for other in self._others:
                    other.send(Settled())
        raise_first(outcomes)
        return outcomes[0]

    def _prepared(self, other: RankProcess, arguments: Any, table: AdapterTable | None) -> _Prepared:
        return self._with_adapters(other, pack(arguments, self._devices[0]), table)

    def _with_adapters(
        self, other: RankProcess, packed: tuple[Layout, torch.Tensor], table: AdapterTable | None
    ) -> _Prepared:
        return _Prepared(other, *packed, table, list(other.adapters.missing(table, self._devices[0])))

    def _start(self, prepared: _Prepared, module: Any) -> list[Sending]:
        """Tell a rank of a forward, and send its arguments and the adapters that it has not."""
        other, sendings = prepared.rank, []
        for adapter, layout, buffer in prepared.adapters:
            other.send(TakeAdapter(other.adapters.sent(adapter), layout.to_bytes()))
            sendings.append(self._group.start_sending(buffer, other.rank))
        number, described = other.layouts.number(prepared.layout)
        table = other.adapters.message(prepared.table)
        other.send(Run(self._names[id(module)], number, described, table, other.adapters.forgotten()))
        return [*sendings, self._group.start_sending(prepared.buffer, other.rank)]

    def _received(self, other: RankProcess, within_s: float | None = None) -> Any:
        """What a rank's forward gave: its output, None where it stays there, or an exception."""
        reply = other.receive(within_s)
        if reply is None:
            raise GroupLostError(f"the forward of rank {other.rank} did not end when that of rank 0 had failed")
        if isinstance(reply, RunFailed):
            return error_from(reply.error)
        assert isinstance(reply, Done)
        if reply.layout is None:
            return None
        layout = Layout.from_bytes(reply.layout)
        return layout.unpack(self._group.receive(layout.size, other.rank))

    def _expect(self, kind: type[_Expected]) -> list[_Expected]:
        messages = []
        for other in self._others:
            message = other.receive(None)
            if isinstance(message, LoadFailed):
                raise message.error(f"rank {other.rank}: ")
            assert isinstance(message, kind)
            messages.append(message)
        return messages

    def _watch(self, other: RankProcess) -> None:
        status = other.wait()
        if not self._closing and status != 0:  # with 0 it has said why it could not load
            _log.critical("rank %d has ended with status %d, and the engine with it", other.rank, status)
            end(FATAL_DEVICE_FAULT if status == FATAL_DEVICE_FAULT else RANK_LOST)


@contextmanager
def _all_replies_read() -> Iterator[None]:
    """Around the replies of ranks that were told of a forward: the next one would take those that are not read."""
    try:
        yield
    except GroupLostError:
        raise
    except Exception as error:
        raise GroupLostError(f"the replies of the ranks were not read: {error}") from error
