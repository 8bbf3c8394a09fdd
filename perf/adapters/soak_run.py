"""A soak with adapters: clients that ask, an administrator who loads and unloads, and what everybody got."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from imagegen.api.errors import ImageGenError, InvalidArgument
from imagegen.engine import Engine, GenerationResult
from imagegen.engine.cancellation import CancelToken
from imagegen.engine.options import parse_options
from perf.adapters.soak_asks import Ask, Offer, Pixels, Wanted, fault
from perf.adapters.soak_files import SoakFiles

_LATEST_S = 60.0  # for a response
_AFTER_S = 0.05  # in which a second response would come
_CANCEL_AGAIN_S = 0.002
_LONGEST_PAUSE_S = 0.2  # between two commands of the administrator
_MOST_FAULTS = 100


class Offers:
    """Which adapters are on offer, as far as the administrator who changes them knows. Safe from any thread.

    Args:
        files: those that stay are always on offer, those that move are not in the beginning.
    """

    def __init__(self, files: SoakFiles) -> None:
        self._staying = files.staying
        self._moving = dict.fromkeys(files.moving, (0, False, False))  # changes, whether it is on, whether it changes
        self._lock = threading.Lock()

    def snapshot(self, names: Sequence[str]) -> Mapping[str, tuple[int, bool, bool]]:
        """Of these names, to be compared with a later one."""
        with self._lock:
            return {name: self._moving.get(name, (0, name in self._staying, False)) for name in names}

    def is_on(self, name: str) -> bool:
        """Whether one that moves is on offer."""
        return self._moving[name][1]

    @contextmanager
    def changing(self, name: str) -> Iterator[None]:
        """Around a command that has it come or go."""
        with self._lock:
            count, on, _ = self._moving[name]
            self._moving[name] = (count + 1, on, True)
        yield
        with self._lock:
            self._moving[name] = (count + 1, not on, False)


def offer(before: Mapping[str, tuple[int, bool, bool]], after: Mapping[str, tuple[int, bool, bool]]) -> Offer:
    """What two snapshots say of the time between them."""
    steady = [name for name in before if before[name] == after[name] and not before[name][2]]
    if any(not before[name][1] for name in steady):
        return Offer.NOT_ALL
    return Offer.ALL if len(steady) == len(before) else Offer.CHANGED


@dataclass
class Tally:
    """What clients got.

    Attributes:
        outcomes: how many of each kind: images by whether they were compared, errors by their class.
        faults: requests with another outcome than the right one, the first hundred.
        wrong: how many there were.
        changed: requests during which an adapter came or went.
        commands: of the administrator.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    wrong: int = 0
    changed: int = 0
    commands: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def note(self, found: str, what: object) -> None:
        """Take a fault, if `found` is one."""
        if found:
            with self._lock:
                self.wrong += 1
                if len(self.faults) < _MOST_FAULTS:
                    self.faults.append(f"{found}: {what}")

    def count(self, name: str, *, changed: bool) -> None:
        """Take one more outcome."""
        with self._lock:
            self.outcomes[name] += 1
            self.changed += changed


class Soak:
    """Sends requests to an engine.

    Args:
        engine: with the files' folder.
        files: that requests may name.
        images: that are known.
        side_px: width and height of images.
        tally: takes what comes of them.
    """

    def __init__(
        self, engine: Engine, files: SoakFiles, images: Mapping[Wanted, Pixels], side_px: int, tally: Tally
    ) -> None:
        self._engine = engine
        self._files = files
        self._images = images
        self._side_px = side_px
        self._offers = Offers(files)
        self._tally = tally

    def run(self, asks: Sequence[Ask], clients: int, seed: int, on_done: Callable[[], None] = lambda: None) -> None:
        """Send all of them, so many at a time, while adapters come and go.

        Args:
            asks: the requests.
            clients: each sends the next one when its last one has ended.
            seed: of the administrator.
            on_done: called after each request.
        """
        done = threading.Event()
        line = iter(enumerate(asks))
        turn = threading.Lock()

        def client() -> None:
            while True:
                with turn:
                    number, ask = next(line, (0, None))
                if ask is None:
                    return
                self._one(f"{seed}-{number}", ask)
                on_done()

        with ThreadPoolExecutor(clients + 1) as pool:
            administrator = pool.submit(self._administrate, random.Random(seed), done)
            running = [pool.submit(client) for _ in range(clients)]
            try:
                for one in running:
                    one.result()
            finally:
                done.set()
            administrator.result()

    def _one(self, name: str, ask: Ask) -> None:
        before = self._offers.snapshot(ask.wanted.loras)
        outcomes = self._outcomes(name, ask)
        offered = offer(before, self._offers.snapshot(ask.wanted.loras))
        got = [one.frames[0] if isinstance(one, GenerationResult) else one for one in outcomes]
        expected = self._images.get(ask.wanted)
        self._tally.note(fault(ask, offered, got, expected), ask)
        kind = type(outcomes[0]).__name__ if outcomes and isinstance(outcomes[0], BaseException) else "image"
        compared = ", compared" if kind == "image" and expected is not None else ""
        self._tally.count(kind + compared, changed=offered is Offer.CHANGED)

    def _outcomes(self, name: str, ask: Ask) -> list[GenerationResult | BaseException]:
        """All that a request gets, by its responses and by what submitting it raises."""
        outcomes: list[GenerationResult | BaseException] = []
        came = threading.Event()

        def respond(result: GenerationResult | None, error: BaseException | None) -> None:
            outcomes.extend(one for one in (result, error) if one is not None)
            came.set()

        options: Any = ask.wanted.options(self._side_px)
        token = CancelToken(frozenset({name}))
        canceller = threading.Thread(target=self._cancel, args=(name, ask.cancel_after_s, came))
        canceller.start()
        try:
            asked, images, previews = parse_options(
                ask.wanted.prompt, options, self._engine.settings, self._engine.granularity_px
            )
            self._engine.submit(self._engine.new_request(asked, images, previews, respond, token=token))
        except BaseException as error:
            outcomes.append(error)
            came.set()
        came.wait(_LATEST_S)
        token.cancel()
        came.set()
        canceller.join()
        if ask.cancel_after_s is not None:
            time.sleep(_AFTER_S)  # a cancel is when two might respond
        return outcomes

    def _cancel(self, name: str, after_s: float | None, came: threading.Event) -> None:
        """Until the engine says that there is such a request."""
        if after_s is not None and not came.wait(after_s):
            while not self._engine.cancel(name) and not came.wait(_CANCEL_AGAIN_S):
                pass

    def _administrate(self, dice: random.Random, done: threading.Event) -> None:
        """Load and unload, and now and then what cannot be."""
        while not done.wait(dice.uniform(0, _LONGEST_PAUSE_S)):
            self._tally.commands += 1
            name = dice.choice(list(self._files.moving))
            if dice.random() < 0.2:
                self._refused(dice)
                continue
            try:
                with self._offers.changing(name):
                    if self._offers.is_on(name):
                        self._engine.unload_lora(name)
                    else:
                        self._engine.load_lora(name, str(self._files.moving[name]))
            except ImageGenError as error:
                self._tally.note(f"the administrator was refused: {error}", name)

    def _refused(self, dice: random.Random) -> None:
        """A command that has to be refused."""
        name, file = dice.choice(list(self._files.faulty.items()))
        commands: list[tuple[Callable[[], None], str]] = [
            (lambda: self._engine.load_lora(f"new-{name}", str(file)), "lora_path"),
            (lambda: self._engine.load_lora("s0", str(file)), "lora_name"),
            (lambda: self._engine.unload_lora("nobody"), "lora_name"),
            (lambda: self._engine.unload_lora("s0"), "lora_name"),
        ]
        command, field_name = dice.choice(commands)
        try:
            command()
        except InvalidArgument as error:
            self._tally.note("" if error.field == field_name else f"refused for another reason: {error}", name)
        else:
            self._tally.note("the administrator was not refused", name)
