"""The alerts are valid, say what to do, and are the same for the Prometheus operator."""

from __future__ import annotations

import shutil
import subprocess

import pytest
import yaml

from tests.monitoring_queries import DEPLOY, alerts, grouping_labels, queries, selectors


def test_the_prometheus_rule_has_the_same_groups() -> None:
    rule = yaml.safe_load((DEPLOY / "kubernetes" / "shared" / "prometheus-rule.yaml").read_text())
    assert rule["spec"] == yaml.safe_load((DEPLOY / "prometheus" / "alerts.yaml").read_text())


def test_alerts_have_a_severity_and_a_summary() -> None:
    for rule in alerts():
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert rule["annotations"]["summary"]


@pytest.mark.parametrize("place", queries())
def test_queries_are_promql(place: str) -> None:
    assert all(selector.metric for selector in selectors(queries()[place]))


def test_what_a_query_asks_for_is_found() -> None:
    query = (
        'max by (a, le) (rate(x_bucket{b="1",c=~"2"}[5m])) / on (a) (y > 3) or sum(quantile_over_time(0.5, z[1h:1m]))'
    )
    found = selectors(query)
    assert [selector.metric for selector in found] == ["x_bucket", "y", "z"]
    assert (found[0].equal, found[0].labels) == ({"b": "1"}, {"b", "c"})
    assert grouping_labels(query) == {"a", "le"}


def test_other_text_is_none() -> None:
    with pytest.raises(ValueError, match="unclosed left parenthesis"):
        selectors("sum(rate(x[5m])")


@pytest.mark.skipif(shutil.which("promtool") is None, reason="Debian's package prometheus is not installed")
def test_alerts_fire_when_they_should() -> None:
    tested = ["promtool", "test", "rules", str(DEPLOY / "prometheus" / "alerts_test.yaml")]
    ended = subprocess.run(tested, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stdout + ended.stderr
