"""Values that break a field's rule, as JSON texts, so that there can be what no JSON library would write."""

from __future__ import annotations

import json
import random

from imagegen.api import limits

CHEAP = {"prompt": '"x"', "size": '"64x64"', "num_inference_steps": "1"}
"""What makes a request valid, and costs little where chance leaves it so."""

_NO_NUMBERS = ('"1"', '""', "{}", "NaN", "Infinity", "-Infinity", "1e999", "1_0", "0x10", "01", "+1", ".5", "1.")
_NO_INTEGERS = (*_NO_NUMBERS, "0.5", "1.5", "true", '"١"', "1" + "0" * 400)
_NO_FLOATS = ('"5"', "{}", "NaN", "Infinity", "-Infinity", "1e999", "1e39", "-1e39", '"nan"')
_NO_CHOICES = ('""', '"no such value"', '"\\u0000"', '" auto"', "5", "{}", "[]", '"auto\\n"', '"..\\/..\\/etc"')
_NO_FLAGS = ("true", '"true"', '"yes"', "{}", "[true,true]", '["true"]')  # true, without an image that it would be for
_NO_SIZES = (
    *('"0x0"', '"-64x64"', '"64x-64"', '"64"', '"64x"', '"x64"', '"64x64x64"', '"65x64"', '"64x63"', '"1e2x64"'),
    *(
        '"100000x64"',
        '"64x100000"',
        '"99999999999x64"',
        '"４x４"',
        '"0x40x64"',
        '"64x64.0"',
        '"\\u0000"',
        "64",
        "[64,64]",
    ),
)

WRONG: dict[str, tuple[str, ...]] = {
    "prompt": (
        '""',
        "5",
        "{}",
        "[]",
        "true",
        '"\\ud800"',
        '"\\udfff\\ud800"',
        json.dumps("x" * 32_001),
        '"\xff"',
        "'x'",
    ),
    "negative_prompt": ("5", "{}", '"\\ud83d"', json.dumps("y" * 40_000)),
    "reference_image": (  # the bundled checkpoint takes none, and the rest is no image either
        *('""', '"!"', "5", "{}", '"AAAA"', '["a","b"]', '"file:\\/\\/\\/etc\\/passwd"', '"http:\\/\\/127.0.0.1:1\\/"'),
        *(json.dumps(["x"] * 17), '"\\ud800"', '[["a"]]'),
    ),
    "control_image": (
        '""',
        '"!"',
        "5",
        "{}",
        '"AAAA"',
        json.dumps(["x"] * 5),
        '"http:\\/\\/127.0.0.1:1\\/"',
        '[["a"]]',
    ),
    "control_type": ('"canny"', '""', "5", "{}", '["canny","depth"]', json.dumps("c" * 65), '"\\ud800"', '["canny",5]'),
    "control_scale": (*_NO_FLOATS, "1", "[1,2]", "-0.1", "2.001"),  # without an image that it would be for
    "control_end": (*_NO_FLOATS, "1", "[0.5,0.5]", "0", "1.001"),
    "control_preprocess": _NO_FLAGS,
    "return_control": _NO_FLAGS,
    "n": (*_NO_INTEGERS, "0", "-1", "11", "2147483647", "-2147483648"),
    "size": _NO_SIZES,
    "num_inference_steps": (*_NO_INTEGERS, "0", "-1", "1001", "2147483647"),
    "guidance_scale": (*_NO_FLOATS, "-1", "-0.001", "1e6", "3.4e38"),
    "strength": (*_NO_FLOATS, "0", "1.001", "-1", "0.5"),  # the last is wrong without an image
    "scheduler": _NO_CHOICES,
    "step_cache": _NO_CHOICES,
    "lora": (
        *('""', "5", "{}", '["no such adapter"]', '"..\\/outline"', '"\\/etc\\/passwd"', '"outline.safetensors"'),
        *('"https://127.0.0.1/a.safetensors"', '"outline\\u0000"', '["outline","outline"]', '["outline",5]'),
        *(json.dumps(["outline", "dusk", "a", "b", "c"]), json.dumps("l" * 257), '"\\ud800"'),
    ),
    "lora_scale": (*_NO_FLOATS, "1", "[1,2]", "-4.5", "4.001"),  # without an adapter that it would be for
    "timeout_ms": (*_NO_INTEGERS, "0", "-1", str(limits.MAX_TIMEOUT_MS + 1)),
    "seed": ("-1", "1.5", '"1"', "{}", "[]", "[-1]", "[1,2]", '["a"]', "18446744073709551616", "-9223372036854775809"),
    "output_format": (*_NO_CHOICES, '"gif"', '"svg"', '"exe"'),
    "output_compression": (*_NO_INTEGERS, "-1", "101"),
    "response_format": (*_NO_CHOICES, '"fax"', '"url"'),  # the last has no store to go to
    "user": ('""', "5", "{}", json.dumps("u" * 257)),
}
"""By public tensor: each is refused, by every way that carries it as JSON, on a server without a result store."""

WRONG_FOR_OPENAI: dict[str, tuple[str, ...]] = {
    **{name: (*values, *(("[1]", "true") if name != "seed" else ())) for name, values in WRONG.items()},
    "n": (*WRONG["n"], "4294967297", "[1]", "[[1]]"),
    "lora": (
        *WRONG["lora"],
        *("true", "[5]", "[[]]", '{"scale":1}', '{"name":5}', '{"name":"outline","path":"\\/etc\\/passwd"}'),
        *('{"name":"outline","scale":"1"}', '{"name":"outline","scale":NaN}', '{"name":"outline","scale":1e999}'),
        *('{"name":"outline","scale":4.001}', '["outline",{"name":"outline","scale":0.5}]'),
    ),
    "user": WRONG["user"][1:],  # an empty one counts as absent there
    "quality": _NO_CHOICES,
    "background": (*_NO_CHOICES, '"transparent"'),
    "moderation": _NO_CHOICES,
    "style": _NO_CHOICES,
    "stream": ('"true"', "1", "5", "{}"),
    "partial_images": (*_NO_INTEGERS, "-1", "4", "1000000000"),
    "model": ('"dall-e-3"', '""', "5", '"..\\/..\\/etc\\/passwd"', '"\\u0000"'),
    "nvext": ("5", "[]", '"x"', '{"no_such":1}', '{"seed":-1}', '{"annotations":["magic"]}', '{"annotations":[5]}'),
    "response_format": (*WRONG["response_format"], '"bytes"'),
    "no_such_field": ("1", "null", '"x"', "{}"),
    "__class__": ('"x"',),
}
"""By field of OpenAI's routes, which take some types more strictly, and have fields of their own."""

UNLIKELY: dict[str, tuple[str, ...]] = {
    "prompt": (
        '"\\u0000"',
        '"\\u202e\\ufeff\\uffff"',
        json.dumps("\U0001f525" * 3000, ensure_ascii=False),
        '"%s%n{0}"',
    ),
    "n": ("2", "10", "1.0", "1e0", "4294967297", "-4294967295", "null"),
    "size": ('"auto"', '"64X64"', '"064x64"', '" 64x64"', '"8x8"', '"8x128"', "null"),
    "num_inference_steps": ("4294967297", "2", "null"),
    "guidance_scale": ("0", "-0.0", "1e-45", "30", "null"),
    "seed": ("0", "9223372036854775807", "4294967296", "[9223372036854775807]", "null"),
    "output_format": ('"jpg"', '"JPEG"', '"webp"', "null"),
    "output_compression": ("0", "100", "null"),
    "lora": ('"outline"', '["dusk","outline"]', '{"name":"outline","scale":-4}', "null", "[]"),
    "user": ('""', '"..\\/..\\/x"', '"a\\u0000b"', '"\\u202e"', "null"),
    "timeout_ms": ("3600000", "null"),
    "control_preprocess": ("false", "null"),
    "return_control": ("false", "null", "0"),
}
"""Values at an edge, which one way may accept and another refuse: both is right, an error inside the server is not."""


def wrong_field(dice: random.Random, wrong: dict[str, tuple[str, ...]]) -> dict[str, str]:
    """The fields of a request of which exactly one is wrong, as JSON texts by name."""
    name = dice.choice(sorted(wrong))
    return CHEAP | {name: dice.choice(wrong[name])}


def unlikely_fields(dice: random.Random) -> dict[str, str]:
    """The fields of a request with some values at their edges."""
    names = dice.sample(sorted(UNLIKELY), dice.randint(1, 4))
    return CHEAP | {name: dice.choice(UNLIKELY[name]) for name in names}


def json_text(fields: dict[str, str]) -> bytes:
    """An object of values that are JSON texts already; the text "\xff" becomes a byte that is no UTF-8."""
    text = "{" + ",".join(f'"{name}":{value}' for name, value in fields.items()) + "}"
    return text.replace('"\xff"', '"\udcff"').encode("utf-8", "surrogateescape")
