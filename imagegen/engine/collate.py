"""Merges denoiser calls of several images into one forward and splits the output again.

Each argument gets a merge rule: how to merge it, with all that must be equal for it. The module and the rules are the
call's batch key, so calls of equal batch key merge by construction.
An argument of an unknown kind gives the call a batch key of its own: it runs alone, exactly as it was made.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol

import torch

from imagegen.engine.adapters.adapter_table import AdapterTable, Updates, adapter_table, content_of
from imagegen.engine.adapters.row_updates import applied, mixes_rows, rows_not_first
from imagegen.engine.adapters.span_hooks import RowsNotFirstError
from imagegen.engine.compiled.compiled_forward import compiled_forward
from imagegen.engine.family_rules import PREPARE, SAMPLE_LENGTH_MULTIPLE, SCALE_DIMENSIONS
from imagegen.engine.merge_rules import (
    PER_ROW,
    RESIDUALS,
    CannotMergeError,
    MergeRule,
    merge,
    per_row,
    rule_of,
    scale_a_row,
)
from imagegen.engine.signature import first_tensor, rows_of, signature_of
from imagegen.engine.transfer import to_device


@dataclass(eq=False)
class DenoiserCall:
    """One denoiser call of one image.

    Attributes:
        module: the real module.
        args, given: the positional and keyword arguments as the pipeline gave them.
        kwargs: all arguments by name, in mergeable form; empty when the call runs alone.
        rules: how to merge each argument, by name; None when the call runs alone.
        batch_key: calls of equal batch key may share a forward.
        rows: length of the batch dimension, 1 or more.
        pixels: rows times pixels per row.
        device: where the module computes; arguments may lie on the host.
        around: entered for a forward that runs alone: cache contexts and the like.
        updates: what adapters add to the module, for all rows of the call.
        forward_rows: rows of the forward that the call took part in, without padding; 0 before it.
    """

    module: Any
    args: tuple[Any, ...]
    given: dict[str, Any]
    rows: int
    pixels: int
    device: torch.device
    kwargs: dict[str, Any] = field(default_factory=dict)
    rules: tuple[tuple[str, MergeRule], ...] | None = None
    batch_key: Hashable = field(default_factory=object)
    around: Callable[[], AbstractContextManager[Any]] = nullcontext
    updates: Updates = ()
    forward_rows: int = 0


def describe(
    module: Any,
    args: Sequence[Any],
    kwargs: dict[str, Any],
    pixels_per_row: int,
    around: Callable[[], AbstractContextManager[Any]] | None = None,
    updates: Updates = (),
) -> DenoiserCall:
    """Find out with what a call may share a forward.

    Args:
        module: the denoiser, a torch module; compiled ones too.
        args, kwargs: as for `module(*args, **kwargs)`.
        pixels_per_row: pixels of the image.
        around: makes the call run alone, inside this context.
        updates: what adapters add to the module. Calls of different updates share a forward wherever the module's
            layers tell rows apart.
    """
    signature = signature_of(module)
    bound = signature.bound(args, kwargs)
    main = signature.main_argument(bound)
    rows = rows_of(main)
    pixels = rows * pixels_per_row
    call = DenoiserCall(
        module,
        tuple(args),
        kwargs,
        rows,
        pixels,
        first_tensor(main).device,
        around=around or nullcontext,
        updates=updates,
    )
    if around is not None or main is None or len(args) > len(signature.names):
        return call
    rules = []
    family = signature.family
    try:
        if family in PREPARE:
            bound = PREPARE[family](bound)
        # Some pipelines say that there is nothing where others say nothing.
        bound = {
            name: value for name, value in bound.items() if not (_is_nothing(value) and name in signature.optional)
        }
        for name, value in bound.items():
            if name in PER_ROW and value is not None:
                bound[name] = value = per_row(value, rows)
            elif name == "conditioning_scale" and family in SCALE_DIMENSIONS:
                bound[name] = value = scale_a_row(value, rows, SCALE_DIMENSIONS[family], first_tensor(main).dtype)
            elif name in RESIDUALS and type(value) is tuple:
                bound[name] = value = list(value)  # one control network hands over a tuple, several a list
            rules.append((name, rule_of(name, value, rows, SAMPLE_LENGTH_MULTIPLE.get((family, name), 1))))
    except CannotMergeError:
        return call
    call.kwargs = bound
    call.rules = tuple(sorted(rules))  # names are unique: no two rules are ever compared
    apart = not updates or _tells_rows_apart(call)
    call.batch_key = (id(module), call.rules, () if apart else content_of(updates))
    return call


class Ranks(Protocol):
    """Several devices that share each forward."""

    def run(
        self,
        module: Any,
        args: Any,
        kwargs: dict[str, Any],
        rules: dict[str, MergeRule] | None,
        rows: int,
        table: AdapterTable | None,
    ) -> Any:
        """The output of `module(*args, **kwargs)`, a forward of so many rows, merged by `rules` if by any.

        Its rows get the updates of `table`.
        """


def forward(calls: Sequence[DenoiserCall], row_buckets: Sequence[int] = (), ranks: Ranks | None = None) -> list[Any]:
    """Run calls of one batch key in one forward.

    A single call runs with its arguments untouched, unless there are row buckets, several devices to share it, or
    packages of compiled code.

    Args:
        calls: one or more, of equal batch key.
        row_buckets: ascending row counts. The merged rows are padded to the next one by repeating the last row,
            so that only these row counts ever occur: a row's bits then do not depend on its neighbours, and a
            compiled module meets few shapes. More rows than the last bucket run unpadded.
        ranks: the devices that share the forward; None for the one that the module is on.

    Returns:
        each call's own output, in order; tensors are views of the shared output.

    Raises:
        ValueError: the module's output cannot be split by rows.
        RowsNotFirstError: calls of different updates, in a module whose layers cannot tell rows apart; calls that are
            described afterwards share forwards with those of the same updates alone.
        Exception: whatever the module raises.
    """
    rows = sum(call.rows for call in calls)
    for call in calls:
        call.forward_rows = rows if call.rules is not None else call.rows
    first = calls[0]
    needs_merged = row_buckets or ranks is not None or compiled_forward(first.module) is not None
    if first.rules is None or (len(calls) == 1 and not needs_merged):
        return [_run_alone(call, ranks) for call in calls]
    places = _grouped(calls)
    calls = [calls[place] for place in places]
    total = next((bucket for bucket in row_buckets if bucket >= rows), rows)
    merged = {name: merge(part, [call.kwargs[name] for call in calls], total) for name, part in first.rules}
    merged = to_device(merged, first.device)
    table = _table(calls, total, separate=bool(row_buckets))
    try:
        output = _run_merged(first, merged, total, table, ranks)
    except RowsNotFirstError:
        rows_not_first(first.module)
        if any(call.updates != first.updates for call in calls):
            raise  # the executor halves them until they are alike
        output = _run_merged(first, merged, total, _table(calls, total), ranks)
    counts = [call.rows for call in calls]
    samples = any(part[0] == "samples" for _, part in first.rules)
    shares = dict(zip(places, _split(output, counts, total, samples), strict=True))
    return [shares[place] for place in range(len(shares))]


def _run_merged(
    first: DenoiserCall, merged: dict[str, Any], total: int, table: AdapterTable | None, ranks: Ranks | None
) -> Any:
    """The module's output for merged arguments of `total` rows."""
    assert first.rules is not None
    if ranks is not None:
        return ranks.run(first.module, (), merged, dict(first.rules), total, table)
    compiled = compiled_forward(first.module)
    if compiled is not None:
        return compiled(dict(first.rules), merged, total, table)
    with applied(first.module, table):
        return first.module(**merged)


def _table(calls: Sequence[DenoiserCall], total: int, *, separate: bool = False) -> AdapterTable | None:
    separate = separate and _tells_rows_apart(calls[0])
    return adapter_table([(call.rows, call.updates) for call in calls], total, separate=separate)


def _tells_rows_apart(call: DenoiserCall) -> bool:
    """Whether rows with different updates can share a forward with this call."""
    return mixes_rows(call.module) and _rows_are_alike(call)


def _rows_are_alike(call: DenoiserCall) -> bool:
    """Whether all rows have as many tokens: else a layer on the tokens of all rows cannot tell the rows apart."""
    return not any(rule[0] == "samples" and len(rule[1]) > 1 for _, rule in call.rules or ())


def _grouped(calls: Sequence[DenoiserCall]) -> list[int]:
    """The order of calls in which those of equal updates are neighbours, those without any first."""
    order: dict[Updates, int] = {(): 0}
    for call in calls:
        order.setdefault(call.updates, len(order))
    return sorted(range(len(calls)), key=lambda place: order[calls[place].updates])


def _run_alone(call: DenoiserCall, ranks: Ranks | None) -> Any:
    args, given = to_device(call.args, call.device), to_device(call.given, call.device)
    table = adapter_table([(call.rows, call.updates)], call.rows)
    if ranks is None or call.around is not nullcontext:  # what is entered here is entered nowhere else
        with call.around(), applied(call.module, table):
            return call.module(*args, **given)
    return ranks.run(call.module, args, given, None, call.rows, table)


def _is_nothing(value: Any) -> bool:
    return value is None or (type(value) is dict and not value)


def _split(output: Any, counts: Sequence[int], total: int, samples: bool) -> list[Any]:
    """The shares, of so many rows each, in an output of `total` rows. What follows them is padding.

    `samples`: the module works on lists of per-row tensors.
    """
    if isinstance(output, torch.Tensor):
        if output.ndim == 0 or output.shape[0] != total:
            raise ValueError(f"the module's output has shape {list(output.shape)}; {total} rows were expected")
        return list(output[: sum(counts)].split_with_sizes(counts))
    if isinstance(output, dict):
        parts = {key: _split(value, counts, total, samples) for key, value in output.items()}
        shares = [{key: part[i] for key, part in parts.items()} for i in range(len(counts))]
        return shares if type(output) is dict else [type(output)(**share) for share in shares]
    if isinstance(output, list) and samples and len(output) == total:
        rows = iter(output)
        return [list(islice(rows, count)) for count in counts]
    if isinstance(output, (list, tuple)):
        elements = [_split(value, counts, total, samples) for value in output]
        return [type(output)(part[i] for part in elements) for i in range(len(counts))]
    if output is None:
        return [None] * len(counts)
    raise ValueError(f"the module's output holds a {type(output).__name__}; it cannot be split by rows")
