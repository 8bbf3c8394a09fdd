"""Multipart forms of OpenAI's edits and variations: broken ones, and right ones with wrong fields."""

from __future__ import annotations

import random

from perf.hostile.bytes_mutation import mutated
from perf.hostile.case import Expected, HttpCase, Way
from perf.hostile.http_bytes import BOUNDARY, EDITS, FORM_TYPE, VARIATIONS, Part, file_part, form, post, text_part
from perf.workload import scene_png

_WRONG_TEXTS = {
    "n": ("0", "11", "two", "1.5", "-1", "1e1", "0x1", "nan", "١", "9" * 5000, "true"),
    "size": ("0x0", "65x64", "big", "64x", "999999999999x1", "\0"),
    "guidance_scale": ("nan", "inf", "-1", "1e999", "five"),
    "strength": ("0", "1.1", "nan", "-inf", "x"),
    "seed": ("-1", "1.5", "x", "1" + "0" * 30),
    "num_inference_steps": ("0", "-1", "x", "1001", "1e400"),
    "output_format": ("gif", "\0", "../png"),
    "output_compression": ("101", "-1", "x"),
    "response_format": ("url", "bytes", "x"),
    "background": ("transparent", "x"),
    "stream": ("maybe", "2"),
    "lora": ("{", '"', '{"name":"a","path":"/etc/passwd"}', "no such adapter"),
    "nvext": ("{", "[]", '{"no_such":1}', '{"seed":1,"seed":2}'),
    "nvext[no_such]": ("1",),
    "nvext[seed][x]": ("1",),
    "no_such_field": ("", "x"),
    "prompt": ("x" * 32_001, "y" * 400_000),
    "user": ("u" * 257,),
    "model": ("dall-e-2", "\0"),
}


def fields(dice: random.Random) -> HttpCase:
    """A well-formed form with one wrong field, or fields that come twice or not at all."""
    parts = _cheap()
    match dice.randrange(6):
        case 0:
            parts = [part for part in parts if 'name="image"' not in part[0]]
        case 1:
            parts += [dice.choice(parts)]
        case 2:
            parts += [file_part("image[]", scene_png())] * dice.choice((1, 17))
        case 3:
            parts += [file_part("mask", dice.choice((b"no image", b"\x89PNG\r\n\x1a\n", b"GIF89a")))]
        case _:
            name = dice.choice(sorted(_WRONG_TEXTS))
            parts = [part for part in parts if f'name="{name}"' not in part[0]]
            parts.append(text_part(name, dice.choice(_WRONG_TEXTS[name])))
    return _case(form(parts), Expected.REFUSED, path=EDITS)


def structure(dice: random.Random) -> HttpCase:
    """Boundaries that are cut, missing, absurd or of another form; parts without a name; thousands of parts."""
    body, content_type = form(_cheap()), FORM_TYPE
    match dice.randrange(12):
        case 0:
            body = body[: -dice.randint(3, len(body))]
        case 1:
            content_type = dice.choice(
                ("multipart/form-data", "multipart/form-data; boundary=", "multipart/mixed; boundary=a")
            )
        case 2:
            content_type = f"multipart/form-data; boundary={dice.choice(('other', 'b' * 300, '--', BOUNDARY[:-1]))}"
        case 3:
            body = form([("", "", b"x"), *_cheap()])
        case 4:
            body = form([(dice.choice(('; name=""', "; name", '; filename="a"', "; name*=x")), "", b"x"), *_cheap()])
        case 5:
            body = form([text_part(f"f{number}", "x") for number in range(dice.choice((65, 1000, 5000)))])
        case 6:
            body = form([('; name="prompt"', f"{'X' * dice.choice((10_000, 200_000))}: a\r\n", b"x")])
        case 7:
            body = form([('; name="prompt"', "".join(f"X-{number}: a\r\n" for number in range(3000)), b"x")])
        case 8:
            body = form(
                [('; name="prompt"', dice.choice(("no colon\r\n", ": a\r\n", "A\0B: c\r\n", "\r\n\r\n")), b"x")]
            )
        case 9:
            body = form(
                [
                    (
                        f'; name="{dice.choice(("p" * 100_000, "image[9999999]", "nvext[[[", "a;b", "image[][]"))}"',
                        "",
                        b"x",
                    )
                ]
            )
        case 10:
            body = dice.choice((b"", b"--", f"--{BOUNDARY}--\r\n".encode(), f"--{BOUNDARY}".encode(), b"\r\n" * 50_000))
        case _:
            content_type = dice.choice(
                ("application/x-www-form-urlencoded", "text/plain", "multipart/related; boundary=a")
            )
    return _case(body, Expected.REFUSED, content_type, dice.choice((EDITS, VARIATIONS)))


def headers(dice: random.Random) -> HttpCase:
    """Part headers that clients write in odd ways, some of which are right."""
    image = scene_png()
    odd: tuple[Part, ...] = (
        ("; name=image; filename=a.png", "Content-Type: image/png\r\n", image),
        ('; NAME="image"; FileName="a.png"', "", image),
        ("; name=\"image\"; filename*=UTF-8''%e2%82%ac.png", "", image),
        ('; name="image"; filename="..\\..\\a.png"', "Content-Type: text/html\r\n", image),
        ('; name="image"; filename="a\\"b.png"', "Content-Transfer-Encoding: base64\r\n", image),
        ('; name="image"; filename="\udcff.png"', "Content-Type: image/png; charset=\udcff\r\n", image),
        ('; name="image"; name="prompt"', "", image),
    )
    rest = [part for part in _cheap() if 'name="image"' not in part[0]]
    return _case(form([dice.choice(odd), *rest]), Expected.EITHER, path=EDITS)


def damaged(dice: random.Random) -> HttpCase:
    """A right form, damaged by chance."""
    parts = _cheap()
    return _case(mutated(dice, form(parts), 6), Expected.EITHER, path=dice.choice((EDITS, VARIATIONS)))


def _cheap() -> list[Part]:
    texts = {"prompt": "x", "size": "64x64", "num_inference_steps": "2"}
    return [*(text_part(name, text) for name, text in texts.items()), file_part("image", scene_png())]


def _case(body: bytes, expected: Expected, content_type: str = FORM_TYPE, path: str = EDITS) -> HttpCase:
    return HttpCase(Way.OPENAI, expected, pieces=(post(path, body, content_type),))
