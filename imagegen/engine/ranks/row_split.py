"""Parts a merged forward by rows, and puts its output together again."""

from __future__ import annotations

from typing import Any

import torch

from imagegen.engine.merge_rules import MergeRule


def even_spans(rows: int, parts: int) -> list[slice]:
    """Spans of rows, as even as can be, the longer ones first; empty ones where there are fewer rows than parts."""
    least, longer = divmod(rows, parts)
    spans, start = [], 0
    for part in range(parts):
        stop = start + least + (part < longer)
        spans.append(slice(start, stop))
        start = stop
    return spans


def some_rows(rule: MergeRule, value: Any, span: slice) -> Any:
    """What a merged argument has for a span of rows.

    Args:
        rule: by which it was merged.
        value: as `imagegen.engine.merge_rules.merge` made it.
        span: of rows.
    """
    kind = rule[0]
    if kind == "same":
        return value
    if kind == "dict":
        return {key: some_rows(part, value[key], span) for key, part in rule[1]}
    if kind == "list":
        return rule[1](some_rows(part, value[i], span) for i, part in enumerate(rule[2]))
    return value[span]  # rows, samples, repeat


def joined(outputs: list[Any], *, samples: bool) -> Any:
    """One output of several forwards' outputs, in order of their rows.

    Args:
        outputs: one or more, of one form.
        samples: a list in them has an entry a row.

    Raises:
        ValueError: they hold something that cannot be joined by rows.
    """
    first = outputs[0]
    if len(outputs) == 1 or first is None:
        return first
    if isinstance(first, torch.Tensor):
        return torch.cat(outputs)
    if isinstance(first, dict):
        parts = {key: joined([output[key] for output in outputs], samples=samples) for key in first}
        return parts if type(first) is dict else type(first)(**parts)
    if isinstance(first, list) and samples:
        return [sample for output in outputs for sample in output]
    if isinstance(first, (list, tuple)):
        return type(first)(joined(list(parts), samples=samples) for parts in zip(*outputs, strict=True))
    raise ValueError(f"the module's output holds a {type(first).__name__}; it cannot be joined by rows")
