"""Answers, events, the log, settings, the page's policy, the files' keys and the OpenAPI document."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import re
from pathlib import Path
from typing import Any

import orjson
import pytest

from imagegen.openai import __main__ as command_line
from imagegen.openai import sse
from imagegen.openai.app import Frontend
from imagegen.openai.errors import NotFound
from imagegen.openai.fields import Call
from imagegen.openai.files import Files
from imagegen.openai.log import JsonLines
from imagegen.openai.page import page_response
from imagegen.openai.responses import completed_event, images_response, partial_image_event, progress_event
from imagegen.openai.settings import Settings
from imagegen.openai.triton_call import Completed, Preview, Progress

DONE = Completed([b"QUJD", b"REVG"], [2**63 - 1, 7], {"size": "32x16", "output_format": "webp"})
CALL = Call("image_edit", {"response_format": "b64_json", "size": "32x16", "image": [b"a"]}, quality="low")


def plain(value: Any) -> Any:
    return json.loads(orjson.dumps(value))


def test_the_whole_answer() -> None:
    answer = plain(images_response(CALL, DONE, 3))
    assert answer["data"] == [{"b64_json": "QUJD", "seed": 2**63 - 1}, {"b64_json": "REVG", "seed": 7}]
    assert (answer["size"], answer["quality"], answer["output_format"]) == ("32x16", "low", "webp")
    assert answer["usage"]["output_tokens"] == 4
    assert answer["usage"]["input_tokens"] == 3 + 2
    assert "usage" not in images_response(CALL, DONE, None)


def test_addresses_are_escaped_as_they_need() -> None:
    call = Call("image_generation", {"response_format": "url"})
    done = Completed([b'https://x/"a"?b&c'], [1], DONE.metadata)
    assert plain(images_response(call, done, None))["data"] == [{"url": 'https://x/"a"?b&c', "seed": 1}]


def test_events() -> None:
    name, data = completed_event(CALL, DONE, None)
    assert (name, plain(data)["type"], plain(data)["b64_json"]) == ("image_edit.completed", name, "QUJD")
    name, data = partial_image_event(CALL, Preview(b"QUJD", 1))
    assert (name, plain(data)["partial_image_index"], plain(data)["b64_json"]) == (
        "image_edit.partial_image",
        1,
        "QUJD",
    )
    assert progress_event(CALL, Progress(2, 4))[1] == {"type": "image_edit.progress", "step": 2, "total_steps": 4}
    assert sse.event("a.b", {"x": "1\n2"}) == b'event: a.b\ndata: {"x":"1\\n2"}\n\n'


def test_a_log_line_is_one_line_of_json() -> None:
    record = logging.LogRecord("x", logging.INFO, "", 0, "two\nlines \ud800", (), None)
    record.__dict__["path"] = "/\ud800"
    line = JsonLines().format(record)
    assert "\n" not in line
    assert json.loads(line) | {"time": ""} == {
        "time": "",
        "level": "info",
        "logger": "x",
        "message": "two\nlines ?",
        "path": "/?",
    }


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_body_bytes": 0},
        {"body_timeout_s": 0.0},
        {"probe_interval_s": float("nan")},
        {"max_concurrent_per_key": -1},
        {"quality_steps": {"auto": 3}},
        {"quality_steps": {"low": 0}},
    ],
)
def test_wrong_settings_are_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Settings(**wrong)


def test_every_setting_is_an_option_with_a_meaning() -> None:
    options = {option for action in command_line._parser()._actions for option in action.option_strings}
    meanings = command_line.meanings()
    for field in dataclasses.fields(Settings):
        assert "--" + field.name.replace("_", "-") in options
        assert len(meanings[field.name]) > 10


def test_a_wrong_setting_ends_the_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["--keys-file", str(tmp_path / "none")]) == 1
    assert "none" in capsys.readouterr().err


def test_the_policy_lets_only_the_pages_own_script_run() -> None:
    response = page_response()
    policy = response.headers["content-security-policy"]
    html = bytes(response.body).decode()
    assert re.search(r"script-src 'sha256-[^']+';", policy)
    assert not re.search(r'\son\w+="|\sstyle="', html)  # neither would run
    assert html.count("<script") == html.count("<style") == 1


NAME = "0123456789abcdef0123456789abcdef.png"


@pytest.mark.parametrize(
    "key",
    [
        f"users/a/generations/../{NAME}",
        f"users/../generations/b/{NAME}",
        f"users/.a/generations/b/{NAME}",
        f"users/a..b/generations/b/{NAME}",
        f"users/a/generations/b/{NAME}\n",
        f"/users/a/generations/b/{NAME}",
        f"users/a/generations/b/.{NAME}.part",
        f"users/ä/generations/b/{NAME}",
        "secret.png",
        "",
    ],
)
def test_other_keys_are_no_files(tmp_path: Path, key: str) -> None:
    for folder in (tmp_path, None):
        with pytest.raises(NotFound):
            asyncio.run(Files(folder).response(key))


def test_a_key_of_the_store_is_a_file(tmp_path: Path) -> None:
    key = f"users/a.b-c/generations/r_1/{NAME}"
    (tmp_path / key).parent.mkdir(parents=True)
    (tmp_path / key).write_bytes(b"png")
    response = asyncio.run(Files(tmp_path).response(key))
    assert response.headers["content-type"] == "image/png"
    with pytest.raises(NotFound):
        asyncio.run(Files(None).response(key))


def test_the_document_names_every_status_and_has_no_loose_ends() -> None:
    document = json.loads(Frontend(Settings())._document)
    statuses = set(document["paths"]["/v1/images/generations"]["post"]["responses"])
    assert statuses == {"200", "400", "401", "404", "408", "413", "415", "429", "499", "500", "503"}
    names = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(document)))
    assert names <= set(document["components"]["schemas"])
