"""Each way in which a reply can be wrong is found; what is documented is not."""

from __future__ import annotations

import dataclasses
import io
import json

import pytest
import tritonclient.grpc.service_pb2 as pb
from PIL import Image

from imagegen_client.error_codes import ERROR_CODES
from perf.hostile.case import NO_HTTP, Case, Expected, GrpcCase, HttpCase, Reply, Response, Way
from perf.hostile.statuses import OWN_RESPONSES, REFUSALS
from perf.hostile.tensor_bytes import texts
from perf.hostile.verdict import problems, status_name
from perf.result_check import ResultCheck
from perf.workload import TEXT_TO_IMAGE, Request

REQUEST = Request(TEXT_TO_IMAGE, (64, 64), 4, 1, 7, "x")
OURS = json.dumps({"error": {"message": "n: 0 is outside 1..10", "type": "x", "param": "n", "code": "y"}}).encode()


def http(way: Way, expected: Expected = Expected.REFUSED, sent: bytes = b"", requests: int = 1) -> HttpCase:
    request = REQUEST if expected is Expected.SERVED else None
    return HttpCase(way, expected, request=request, pieces=(sent,), requests=requests)


def grpc(expected: Expected = Expected.REFUSED) -> GrpcCase:
    request = REQUEST if expected is Expected.SERVED else None
    return GrpcCase(Way.GRPC, expected, request=request, messages=(b"",))


def found(case: Case, *responses: Response) -> str:
    return "; ".join(problems(case, Reply(responses), ResultCheck()))


def image(colours: tuple[int, int] = (10, 200), side: int = 64) -> bytes:
    picture = Image.new("RGB", (side, side), (colours[0],) * 3)
    picture.paste((colours[1],) * 3, (0, 0, side // 2, side))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def served(images: bytes, seed: int = 7) -> Response:
    response = pb.ModelInferResponse()
    for name, content in (("generated_image", texts([images])[2]), ("used_seed", seed.to_bytes(8, "little"))):
        response.outputs.add(name=name)
        response.raw_output_contents.append(content)
    return Response("OK", response.SerializeToString())


def test_the_documented_statuses_come_from_the_servers_own_tables() -> None:
    assert REFUSALS[Way.HTTP] == {400}
    assert REFUSALS[Way.GRPC] == {"INVALID_ARGUMENT"}
    assert {400, 401, 404, 405, 408, 413, 415} <= REFUSALS[Way.OPENAI]
    assert not REFUSALS[Way.OPENAI] & {200, 429, 499, 500, 503}
    assert all(row.reason or row.meaning for row in OWN_RESPONSES)
    coded = f"{ERROR_CODES['internal_error'].code}: the request failed".encode()
    for row in OWN_RESPONSES:
        assert not row.matches(row.way, Response(row.status, coded)), "an error of ours is none of Triton's own"


def test_documented_refusals_are_right() -> None:
    assert found(http(Way.OPENAI), Response(400, OURS)) == ""
    assert found(http(Way.HTTP), Response(400, b'{"error":"in ensemble, invalid_argument: n: 0"}')) == ""
    assert found(grpc(), Response("INVALID_ARGUMENT", b"invalid_argument: n: 0")) == ""
    assert found(grpc(), Response("", b"image_rejected: image[0]: invalid_image: damaged")) == ""


def test_tritons_own_refusals_are_known_by_their_words_alone() -> None:
    parse = b'{"error":"failed to parse the request JSON buffer: Invalid value. at 0"}'
    assert found(http(Way.HTTP), Response(500, parse)) == ""
    assert "500 (Triton's own)" in status_name(http(Way.HTTP), Reply((Response(500, parse),)))
    assert "status 500" in found(http(Way.HTTP), Response(500, b'{"error":"internal_error: the request failed"}'))
    assert "status 500" in found(http(Way.OPENAI), Response(500, parse))
    assert "status INTERNAL" in found(grpc(), Response("INTERNAL", b"internal_error: the request failed"))
    assert found(grpc(), Response("", b"[request id: 5] unexpected shape for input 'n'")) == ""
    assert "status" in found(grpc(), Response("", b"internal_error: the request failed"))


@pytest.mark.parametrize("status", [429, 499, 500, 502, 503, NO_HTTP])
def test_other_statuses_are_not(status: int) -> None:
    assert f"status {status}" in found(http(Way.OPENAI), Response(status, OURS))
    assert f"status {status}" in found(http(Way.HTTP), Response(status, b"{}"))


def test_a_refusal_has_openais_shape_and_nothing_internal() -> None:
    assert "error object" in found(http(Way.OPENAI), Response(400, b'{"detail":"x"}'))
    plain = Response(400, b"Invalid HTTP request received.")
    assert "error object" in found(http(Way.OPENAI), plain)
    assert found(http(Way.OPENAI, Expected.CLOSED), plain) == ""
    for words in (b"Traceback (most", b"/tmp/x", b"ValueError: no", b"<_io.BytesIO object at 0x7fd264>", b"in triton"):
        response = Response(400, OURS.replace(b"n: 0", words))
        assert "internal" in found(http(Way.OPENAI), response)
        assert "internal" not in found(http(Way.OPENAI, sent=b"its own " + words), response)


def test_what_had_to_be_refused_and_is_not_is_wrong() -> None:
    for expected in (Expected.REFUSED, Expected.CLOSED):
        assert "accepted" in found(http(Way.OPENAI, expected), Response(200, b'{"data":[]}'))
    assert found(http(Way.HTTP, Expected.ACCEPTED), Response(200, b'{"cancelled":false}')) == ""
    assert "2 responses to 3" in found(http(Way.OPENAI, requests=3), *[Response(400, OURS)] * 2)


def test_silence_is_right_only_for_what_is_no_http() -> None:
    assert "without a response" in found(http(Way.HTTP))
    assert found(http(Way.HTTP, Expected.CLOSED)) == ""
    assert list(problems(http(Way.HTTP), Reply(hung=True), ResultCheck())) == ["hung"]
    assert list(problems(http(Way.HTTP), Reply(lost=True), ResultCheck())) == ["no connection to the server"]
    assert list(problems(http(Way.HTTP, Expected.NOTHING), Reply(hung=True), ResultCheck())) == []


def test_a_valid_request_gets_its_image() -> None:
    case = grpc(Expected.SERVED)
    assert found(case, served(image())) == ""
    assert "wrong seed" in found(case, served(image(), seed=8))
    assert "wrong size" in found(case, served(image(side=32)))
    assert "one colour" in found(case, served(image((9, 9))))
    assert "without a right image" in found(case, served(b"no image"))
    assert "valid request was refused" in found(case, Response("INVALID_ARGUMENT", b"invalid_argument: n: 0"))
    check = ResultCheck()
    assert list(problems(case, Reply((served(image()),)), check)) == []
    assert "another image" in next(problems(case, Reply((served(image((10, 90))),)), check))


def test_chance_may_leave_a_request_valid_but_then_there_are_images() -> None:
    case = dataclasses.replace(grpc(Expected.EITHER))
    assert found(case, served(image())) == ""
    assert found(case, Response("INVALID_ARGUMENT", b"x")) == ""
    assert "without a right image" in found(case, Response("OK", b""))
    stream = Response(200, b'event: error\ndata: {"error":{"message":"x"}}\n\n', "text/event-stream")
    assert "without a right image" in found(http(Way.OPENAI, Expected.EITHER), stream)
