"""The exposition of the frontend's metrics."""

from __future__ import annotations

import re

from imagegen.openai.metrics import FrontendMetrics


def test_every_family_has_a_sentence_of_help() -> None:
    text = FrontendMetrics().text().decode()
    helps = dict(re.findall(r"^# HELP (imagegen_frontend_\w+) (.*)$", text, re.MULTILINE))
    assert {"imagegen_frontend_requests_total", "imagegen_frontend_ready"} <= set(helps)
    assert all(meaning.endswith(".") for meaning in helps.values())


def test_two_frontends_count_for_themselves() -> None:
    one, other = FrontendMetrics(), FrontendMetrics()
    one.partial_images.inc()
    assert b"imagegen_frontend_partial_images_total 1.0" in one.text()
    assert b"imagegen_frontend_partial_images_total 0.0" in other.text()
