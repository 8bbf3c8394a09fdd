"""What rank 0 and the other ranks say to each other beside the tensors. All are of one release and trust each other."""

from __future__ import annotations

import pickle
from typing import Any, TypeAlias

import msgspec

from imagegen.engine.worker.messages import Frames, LoadFailed

SETTLED_WITHIN_S = 10.0
"""When some ranks' forwards have failed and others still wait for them after this time, the engine ends."""


class LoadRank(msgspec.Struct, frozen=True, tag=True):
    """To a rank, first: load the denoisers of the checkpoint.

    Attributes:
        settings: an `EngineSettings` as JSON.
        folder: where a relative model path starts, as the file system has it.
        device: of this rank, as torch names it.
        rank: from 1.
        ranks: how many there are, with rank 0.
        store: path of the file by which they find each other.
    """

    settings: str
    folder: bytes
    device: str
    rank: int
    ranks: int
    store: bytes


class RankLoaded(msgspec.Struct, frozen=True, tag=True):
    """From a rank: its denoisers are on its device.

    Attributes:
        denoisers: their names.
    """

    denoisers: tuple[str, ...]


class Join(msgspec.Struct, frozen=True, tag=True):
    """To a rank: all have loaded; find the others."""


class Joined(msgspec.Struct, frozen=True, tag=True):
    """From a rank: it is ready for forwards."""


class TakeAdapter(msgspec.Struct, frozen=True, tag=True):
    """To a rank: keep an adapter; its buffer comes from rank 0 over the process group.

    Attributes:
        number: by which forwards name it.
        described: the buffer's layout: its digest, and `{layer: (down, up)}`.
    """

    number: int
    described: bytes


class RankTable(msgspec.Struct, frozen=True):
    """Which rows of a forward get what from adapters, as `AdapterTable`; adapters by number."""

    rows: int
    spans: tuple[tuple[int, int, tuple[tuple[int, float], ...]], ...]
    whole: bool


class Run(msgspec.Struct, frozen=True, tag=True):
    """To a rank: run a forward; its buffer comes from rank 0 over the process group.

    Attributes:
        module: name of the denoiser.
        layout: number of the buffer's layout.
        described: the layout itself, where this rank has not seen it.
        table: what adapters add to its rows.
        forgotten: numbers of adapters that nobody needs any longer.
    """

    module: str
    layout: int
    described: bytes | None
    table: RankTable | None = None
    forgotten: tuple[int, ...] = ()


class Settled(msgspec.Struct, frozen=True, tag=True):
    """To a rank whose forward failed: so did those of the others, and there is nothing to wait for."""


class Done(msgspec.Struct, frozen=True, tag=True):
    """From a rank: the forward is done.

    Attributes:
        layout: of the buffer that goes to rank 0; None where nobody wants the output.
    """

    layout: bytes | None


class RunFailed(msgspec.Struct, frozen=True, tag=True):
    """From a rank: the forward failed.

    Attributes:
        error: the exception, pickled.
    """

    error: bytes


ToRank: TypeAlias = LoadRank | Join | TakeAdapter | Run | Settled
FromRank: TypeAlias = RankLoaded | LoadFailed | Joined | Done | RunFailed

_encode = msgspec.msgpack.Encoder().encode
_to_rank: msgspec.msgpack.Decoder[ToRank] = msgspec.msgpack.Decoder(ToRank)
_from_rank: msgspec.msgpack.Decoder[FromRank] = msgspec.msgpack.Decoder(FromRank)


def rank_frames(message: ToRank | FromRank) -> Frames:
    """A message on the wire."""
    return [_encode(message)]


def message_to_rank(header: Any) -> ToRank:
    """The message of a header that a rank got."""
    return _to_rank.decode(header)


def message_from_rank(header: Any) -> FromRank:
    """The message of a header that rank 0 got."""
    return _from_rank.decode(header)


def error_bytes(error: Exception) -> bytes:
    """An exception for `error_from`; one that cannot be pickled goes as its text."""
    try:
        data = pickle.dumps(error)
        pickle.loads(data)
    except Exception:
        return pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))
    return data


def error_from(data: bytes) -> Exception:
    """The exception that a process of ours wrote."""
    error = pickle.loads(data)
    assert isinstance(error, Exception)
    return error
