"""The queries of the dashboard, the alerts and the autoscalers, and what they ask for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import promql_parser
import yaml

DEPLOY = Path(__file__).resolve().parents[1] / "deploy"


@dataclass(frozen=True)
class Selector:
    """Series that a query asks for.

    Attributes:
        metric: its name.
        equal: labels that are to have a value.
        labels: all labels that it names.
    """

    metric: str
    equal: dict[str, str]
    labels: set[str]


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def queries() -> dict[str, str]:
    """Every query, by where it stands."""
    found = {f"alert {rule['alert']}": rule["expr"] for rule in alerts()}
    dashboard = json.loads((DEPLOY / "grafana" / "dashboards" / "imagegen.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            found[f"panel {panel['title']} {target['refId']}"] = target["expr"].replace("$__rate_interval", "1m")
    adapter = yaml.safe_load((DEPLOY / "kubernetes" / "prometheus-adapter.yaml").read_text())
    for rule in adapter["rules"]["custom"]:
        query = rule["metricsQuery"].replace(",<<.LabelMatchers>>", "").replace("<<.LabelMatchers>>", "")
        found[f"adapter {rule['name']['as']}"] = query.replace("<<.GroupBy>>", "pod")
    predictor = yaml.safe_load((DEPLOY / "kubernetes" / "kserve" / "inference-service.yaml").read_text())["spec"]
    for metric in predictor["predictor"]["autoScaling"]["metrics"]:
        found["KServe's autoscaler"] = metric["external"]["metric"]["query"]
    return found


def selectors(query: str) -> list[Selector]:
    """What a query asks for.

    Raises:
        ValueError: it is no PromQL.
    """
    return [
        Selector(
            node.name or "",
            {m.name: m.value for m in node.matchers.matchers if m.op == promql_parser.MatchOp.Equal},
            {m.name for m in node.matchers.matchers},
        )
        for node in _nodes(promql_parser.parse(query))
    ]


def grouping_labels(query: str) -> set[str]:
    """Labels that are summed by."""
    return {label.strip() for group in re.findall(r"\bby \(([^)]*)\)", query) for label in group.split(",")}


def _nodes(node: promql_parser.Expr) -> Iterator[promql_parser.VectorSelector]:
    if isinstance(node, promql_parser.VectorSelector):
        yield node
    for name in ("vector_selector", "expr", "lhs", "rhs", "param", "args"):
        child = getattr(node, name, None)
        for item in child if isinstance(child, list) else [child]:
            if isinstance(item, promql_parser.Expr):
                yield from _nodes(item)
