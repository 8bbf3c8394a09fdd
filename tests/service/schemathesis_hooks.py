"""What schemathesis cannot know of our API, for the run of test_openai_schema.py."""

from __future__ import annotations

import re
from typing import Any

import schemathesis

from perf.workload import scene_png

_SIZE = re.compile(r"[1-9][0-9]*x[1-9][0-9]*")
_PNG = scene_png()


@schemathesis.hook
def filter_body(context: Any, body: Any) -> bool:
    """A form leaves out null and empty lists, and an empty text is as good: another request arrives than was meant."""
    is_form = isinstance(body, dict) and any(name in body for name in ("image", "image[]"))
    return not is_form or not any(value in (None, [], "") for value in body.values())


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    """Real images in the place of bytes and addresses made up, and less work for the same answer.

    What is allowed becomes something else that is allowed; what is not stays as it is.
    """
    if not isinstance(body, dict):
        return body
    body = dict(body)
    for name in ("image", "mask"):
        if isinstance(body.get(name), bytes):
            body[name] = _PNG
    nvext = body.get("nvext")
    if isinstance(nvext, dict):
        nvext = body["nvext"] = dict(nvext)
        _do_less(nvext)
    if not (isinstance(nvext, dict) and "num_inference_steps" in nvext):
        body.setdefault("num_inference_steps", 1)
    _do_less(body)
    return body


def _do_less(fields: dict[str, Any]) -> None:
    steps = fields.get("num_inference_steps", 1)
    if steps is None or (isinstance(steps, (int, float)) and 1 < steps <= 100 and steps == int(steps)):
        fields["num_inference_steps"] = 1
    size = fields.get("size")
    if isinstance(size, str) and _SIZE.fullmatch(size) and all(int(side) % 8 == 0 for side in size.split("x")):
        fields["size"] = "64x64"
