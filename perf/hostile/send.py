"""Sending a case and taking what comes back, within a deadline."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from dataclasses import dataclass

import grpc
import grpc.aio
import tritonclient.grpc.service_pb2 as pb

from perf.hostile.case import NO_HTTP, Case, End, GrpcCase, HttpCase, Reply, Response, Way
from perf.hostile.http_response import NotHttp, parse_responses

_SERVICE = "/inference.GRPCInferenceService"
_READ_BYTES = 1 << 18


@dataclass(frozen=True)
class Addresses:
    """Where the server is, as `host:port` each; `fetch` is empty where there is no server that fetches."""

    openai: str
    http: str
    grpc: str
    fetch: str = ""

    def of(self, way: Way) -> tuple[str, int]:
        """Host and port of a way over plain connections."""
        host, _, port = (self.openai if way is Way.OPENAI else self.http).rpartition(":")
        return host, int(port)


class Sender:
    """Sends cases; to be entered as an asynchronous context.

    Args:
        addresses: of the server.
        deadline_s: after which a request that is owed a response counts as hung.
    """

    def __init__(self, addresses: Addresses, deadline_s: float) -> None:
        self._addresses = addresses
        self._deadline_s = deadline_s

    async def __aenter__(self) -> Sender:
        unlimited = [(f"grpc.max_{way}_message_length", -1) for way in ("receive", "send")]
        self._channels = {
            way: grpc.aio.insecure_channel(address, unlimited)
            for way, address in ((Way.GRPC, self._addresses.grpc), (Way.FETCH, self._addresses.fetch))
            if address
        }
        return self

    async def __aexit__(self, *_: object) -> None:
        for channel in self._channels.values():
            await channel.close()

    async def send(self, case: Case) -> Reply:
        """What came back."""
        try:
            async with asyncio.timeout(self._deadline_s):
                if isinstance(case, GrpcCase):
                    return await self._call(case)
                assert isinstance(case, HttpCase)
                return await self._exchange(case)
        except TimeoutError:
            return Reply(hung=True)

    async def _exchange(self, case: HttpCase) -> Reply:
        try:
            reader, writer = await asyncio.open_connection(*self._addresses.of(case.way))
        except OSError:
            return Reply(lost=True)
        try:
            reading = asyncio.create_task(_read(reader, case))  # a server may respond before all is sent, and close
            try:
                await _write(writer, case)
                if case.end is End.RESET:
                    await asyncio.sleep(case.leave_after_s)
                    _reset_on_close(writer)
                    return Reply()
                return Reply(await reading)
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
        finally:
            writer.transport.abort()

    async def _call(self, case: GrpcCase) -> Reply:
        method = f"{_SERVICE}/{case.method or ('ModelStreamInfer' if case.stream else 'ModelInfer')}"
        channel = self._channels[case.way]
        kind = channel.stream_stream if case.stream else channel.unary_unary
        try:
            call = kind(method)() if case.stream else kind(method)(case.messages[0])
            if case.end is not End.CANCEL:
                return Reply(await (_stream(call, case) if case.stream else _unary(call)))
            if case.stream:
                await call.write(case.messages[0])
            await asyncio.sleep(case.leave_after_s)
            call.cancel()
            return Reply()
        except grpc.aio.AioRpcError as error:
            code, text = error.code(), error.details() or ""
            if code is grpc.StatusCode.UNAVAILABLE and "connect" in text.lower():
                return Reply(lost=True)
            return Reply((Response(code.name, text.encode()),))


async def _write(writer: asyncio.StreamWriter, case: HttpCase) -> None:
    with contextlib.suppress(OSError):  # the response says why
        for number, piece in enumerate(case.pieces):
            if number and case.pause_s:
                await asyncio.sleep(case.pause_s)
            writer.write(piece)
            await writer.drain()
        if case.end is End.HALF_CLOSE:
            writer.write_eof()


async def _read(reader: asyncio.StreamReader, case: HttpCase) -> tuple[Response, ...]:
    data, closed = b"", False
    while not closed:
        try:
            more = await reader.read(_READ_BYTES)
        except ConnectionError:
            more = b""
        closed, data = not more, data + more
        try:
            responses = parse_responses(data, closed=closed, head_only=case.head_only)
        except NotHttp as error:
            return (Response(NO_HTTP, error.rest),)
        if len(responses) >= case.requests and not case.head_only:  # behind which nothing may come
            return tuple(responses)
    return tuple(responses)


def _reset_on_close(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def _unary(call: grpc.aio.UnaryUnaryCall[bytes, bytes]) -> tuple[Response, ...]:
    return (Response("OK", await call),)


async def _stream(call: grpc.aio.StreamStreamCall[bytes, bytes], case: GrpcCase) -> tuple[Response, ...]:
    for data in case.messages:
        await call.write(data)
    await call.done_writing()
    responses = []
    async for data in call:
        event = pb.ModelStreamInferResponse.FromString(data)
        if event.error_message:
            responses.append(Response("", event.error_message.encode("utf-8", "replace")))
        else:
            responses.append(Response("OK", event.infer_response.SerializeToString()))
    return tuple(responses)
