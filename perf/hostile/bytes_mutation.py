"""Damage to bytes, by chance."""

from __future__ import annotations

import random


def mutated(dice: random.Random, data: bytes, most_changes: int = 4) -> bytes:
    """`data` with up to `most_changes` changes: bits flipped, bytes set, removed, doubled, moved, the end cut off."""
    changed = bytearray(data)
    for _ in range(dice.randint(1, most_changes)):
        if not changed:
            break
        at = dice.randrange(len(changed))
        until = min(len(changed), at + dice.randint(1, 16))
        match dice.randrange(6):
            case 0:
                changed[at] ^= 1 << dice.randrange(8)
            case 1:
                changed[at] = dice.choice((0, 0xFF, 0x7F, 0x80, 0x22, 0x5C, 0x0A, dice.randrange(256)))
            case 2:
                del changed[at:until]
            case 3:
                changed[at:at] = changed[at:until] * dice.randint(1, 5)
            case 4:
                moved = changed[at:until]
                del changed[at:until]
                to = dice.randrange(len(changed) + 1)
                changed[to:to] = moved
            case _:
                del changed[at:]
    return bytes(changed)
