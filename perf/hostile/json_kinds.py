"""Bodies that are to be JSON: OpenAI's generations, and Triton's /generate and /generate_stream."""

from __future__ import annotations

import random

from perf.hostile import values
from perf.hostile.bytes_mutation import mutated
from perf.hostile.case import Expected, HttpCase, Way
from perf.hostile.http_bytes import CANCEL, GENERATIONS, STREAM, UNARY, post

_BROKEN = (
    *(b"", b"{", b"}", b"[]", b"null", b"5", b'"x"', b"{}", b"[{}]", b"\x00", b"\xff\xfe", b"nul", b"{'prompt':'x'}"),
    *(
        b'{"prompt":"x"',
        b'{"prompt":"x",}',
        b'{"prompt" "x"}',
        b'{"prompt":"x"}}',
        b'{"prompt":"x"}x',
        b'{"prompt":"\\x"}',
    ),
    *(
        b'{"prompt":"x\n"}',
        b'{"prompt":"\\u12"}',
        b'{"prompt":"\xed\xa0\x80"}',
        b'{"prompt":"\xc0\xaf"}',
        b'{prompt:"x"}',
    ),
    *(b'/*c*/{"prompt":"x"}', b'{"prompt":"x","prompt":"y"}', b'{"n":1,"prompt":"x","n":2}', b"x" * 100_000),
    *('{"prompt":"x"}'.encode("utf-16"), '{"prompt":"x"}'.encode("utf-32"), b'{"":"x"}', b'{"prompt":"x","":1}'),
)


_DEEPEST_FOR_TRITON = 5000  # see `statuses.LEFT_OUT`


def openai_field(dice: random.Random) -> HttpCase:
    """One field of OpenAI's generations is wrong."""
    fields = values.wrong_field(dice, values.WRONG_FOR_OPENAI)
    return _openai(values.json_text(fields), Expected.REFUSED)


def openai_unlikely(dice: random.Random) -> HttpCase:
    """Values at their edges, sometimes as a stream."""
    fields = values.unlikely_fields(dice) | ({"stream": "true"} if dice.random() < 0.3 else {})
    return _openai(values.json_text(fields), Expected.EITHER)


def openai_body(dice: random.Random) -> HttpCase:
    """What is no object of fields, or too deep, too long, or of the wrong type."""
    if dice.random() < 0.25:
        content_type = dice.choice(("text/plain", "", "application/xml", "application/json; charset=utf-16", "*/*"))
        return HttpCase(Way.OPENAI, Expected.REFUSED, pieces=(post(GENERATIONS, _valid(), content_type),))
    return _openai(_broken(dice, 50_000), Expected.REFUSED)


def openai_mutated(dice: random.Random) -> HttpCase:
    """A valid body, damaged by chance."""
    body = values.json_text(values.CHEAP | {"n": "1", "seed": "5", "output_format": '"png"', "user": '"u"'})
    return _openai(mutated(dice, body), Expected.EITHER)


def generate_field(dice: random.Random) -> HttpCase:
    """One tensor of /generate or /generate_stream is wrong."""
    fields = values.wrong_field(dice, values.WRONG | {"no_such_input": ("1", "null", '"x"', "{}", "1.5")})
    return _generate(dice, values.json_text({"response_format": '"b64_json"'} | fields), Expected.REFUSED)


def generate_unlikely(dice: random.Random) -> HttpCase:
    """Tensors at their edges."""
    fields = values.unlikely_fields(dice) | {"response_format": '"b64_json"'}
    return _generate(dice, values.json_text(fields), Expected.EITHER)


def generate_body(dice: random.Random) -> HttpCase:
    """What is no object of tensors."""
    return _generate(dice, _broken(dice, _DEEPEST_FOR_TRITON), Expected.REFUSED)


def generate_mutated(dice: random.Random) -> HttpCase:
    """A valid body, damaged by chance."""
    fields = values.CHEAP | {"n": "1", "seed": "5", "response_format": '"b64_json"'}
    return _generate(dice, mutated(dice, values.json_text(fields)), Expected.EITHER)


def cancel(dice: random.Random) -> HttpCase:
    """Ids that the cancel model cannot take, and some of which nobody knows."""
    wrong = ("{}", '{"request_id":""}', '{"request_id":5}', '{"request_id":["a","b"]}', '{"request_id":"a","n":1}')
    unknown = (
        '{"request_id":"\\u0000"}',
        '{"request_id":"..\\/x"}',
        f'{{"request_id":"{"a" * 1024}"}}',
        '{"request_id":"*"}',
    )
    body, expected = dice.choice(
        [(text, Expected.REFUSED) for text in wrong] + [(t, Expected.ACCEPTED) for t in unknown]
    )
    return HttpCase(Way.HTTP, expected, pieces=(post(f"{CANCEL}/generate", body.encode()),))


def triton_route(dice: random.Random) -> HttpCase:
    """Models, versions and routes that there are not, and those that need a key."""
    paths = (
        *("/v2/models/no_such_model/generate", f"{UNARY}/versions/7/generate", f"{UNARY}/versions/abc/infer"),
        *(
            "/v2/models//generate",
            "/v2/models/%2e%2e/generate",
            "/v2/../v2/models",
            f"{UNARY}/versions/{10**20}/generate",
        ),
        *("/v2/repository/index", "/v2/repository/models/diffusion/unload", "/v2/logging", "/v2/trace/setting"),
        *("/v2/systemsharedmemory/region/x/register", "/v2/cudasharedmemory/region/x/register", f"{STREAM}/infer"),
        *(
            f"{STREAM}/generate",
            f"/v2/models/{'m' * 2000}/generate",
            f"{UNARY}/load",
            f"{UNARY}/generate/x",
            "/v2/health",
        ),
    )
    path = dice.choice(paths)
    tensors = b'{"inputs":[{"name":"prompt","datatype":"BYTES","shape":[1],"data":["x"]}]}'
    body = tensors if path.endswith("/infer") else _valid()
    return HttpCase(Way.HTTP, Expected.REFUSED, pieces=(post(path, body),))


def openai_route(dice: random.Random) -> HttpCase:
    """Routes, methods, models and files that there are not."""
    paths = (
        *(
            "/v1/images",
            "/v1/images/generations/x",
            "/v1/chat/completions",
            "/v1/models/no-such",
            "/v2/models",
            "/docs",
        ),
        *(
            "/v1/images/files/../../etc/passwd",
            "/v1/images/files/..%2f..%2fetc%2fpasswd",
            "/v1/images/files/a/b/c/d/e.png",
        ),
        *(
            "/v1/images/files/%00",
            "/v1/models/%2e%2e",
            "/.env",
            f"/v1/models/{'m' * 5000}",
            "/metrics/x",
            "/health",
        ),
    )
    method = dice.choice(("GET", "DELETE", "PUT", "PATCH"))
    if dice.random() < 0.3:
        request = _head_of(dice.choice(("GET", "DELETE", "PUT", "PATCH")), GENERATIONS)
    else:
        request = _head_of(method, dice.choice(paths))
    return HttpCase(Way.OPENAI, Expected.REFUSED, pieces=(request,))


def _head_of(method: str, path: str) -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: server\r\nContent-Length: 0\r\n\r\n".encode()


def _broken(dice: random.Random, deepest: int) -> bytes:
    """A body that no way takes; up to `deepest` brackets in each other."""
    depth = dice.choice((10, 100, 1000, deepest))
    wide = ",".join(f'"f{number}":1' for number in range(dice.choice((65, 5000))))
    opened, closed = "[" * depth, "]" * depth
    odd = (
        '{"a":' * depth + "1" + "}" * depth,
        opened + closed,
        f'{{"prompt":{opened}{closed}}}',
        f'{{"prompt":"x",{wide}}}',
    )
    return dice.choice((*_BROKEN, *_BROKEN, *(text.encode() for text in odd)))


def _valid() -> bytes:
    return values.json_text(values.CHEAP)


def _openai(body: bytes, expected: Expected) -> HttpCase:
    return HttpCase(Way.OPENAI, expected, pieces=(post(GENERATIONS, body),))


def _generate(dice: random.Random, body: bytes, expected: Expected) -> HttpCase:
    path = dice.choice(
        (f"{UNARY}/generate", f"{UNARY}/generate", f"{UNARY}/generate_stream", f"{STREAM}/generate_stream")
    )
    return HttpCase(Way.HTTP, expected, pieces=(post(path, body),))
