"""Ranks that need no other process: forwards in parts, packed and unpacked in between."""

from __future__ import annotations

from typing import Any

from imagegen.engine.adapters.adapter_table import AdapterTable
from imagegen.engine.adapters.row_updates import applied
from imagegen.engine.merge_rules import MergeRule
from imagegen.engine.packing import pack
from imagegen.engine.ranks.row_split import even_spans, joined, some_rows


class Parts:
    """Three ranks, one after the other, in this process, with the modules of the first."""

    count = 3

    def check_size(self, size: tuple[int, int], granularity_px: int, *, has_references: bool = False) -> None:
        """Any will do."""

    def run(
        self,
        module: Any,
        args: Any,
        kwargs: dict[str, Any],
        rules: dict[str, MergeRule] | None,
        rows: int,
        table: AdapterTable | None,
    ) -> Any:
        if rules is None:
            with applied(module, table):
                return module(*args, **kwargs)
        outputs = []
        device = next(module.parameters()).device
        for span in even_spans(rows, self.count):
            if span.stop > span.start:
                part = {name: some_rows(rules[name], value, span) for name, value in kwargs.items()}
                layout, buffer = pack(part, device)
                with applied(module, None if table is None else table.part(span.start, span.stop)):
                    outputs.append(module(**layout.unpack(buffer)))
        return joined(outputs, samples=any(rule[0] == "samples" for rule in rules.values()))
