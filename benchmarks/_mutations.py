"""Changes of a YAML text in values, types, structure and raw bytes."""

from __future__ import annotations

# ruff: noqa: ARG001 every change has the same parameters
import random
from collections.abc import Callable
from typing import Any

import yaml

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

_TOKENS = (
    b"&a",
    b"*a",
    b"<<: ",
    b"!!int ",
    b"!!set ",
    b"!!python/object:os.system ",
    b"[" * 50,
    b"{",
    b"}",
    b"]",
    b"- ",
    b": ",
    b"? ",
    b"|\n",
    b">-\n",
    b"%YAML 9.9\n",
    b"---\n",
    b"...\n",
    b"\t",
    b"\0",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"\xe2\x80\xae",
    b"\x1b[2J",
    b"'",
    b'"',
    b'"\\ud800"',
    b"#",
    b"~",
    b"0x_",
    b"0b",
    b"1_000",
    b"1:30:00",
    b".inf",
    b".nan",
    b"1e400",
    b"2001-99-99",
    b"yes",
    b"9" * 40,
    b"9" * 5000,
    b"\n\n",
    b"\r",
    b"\xc2\x85",
)

_VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    1,
    2,
    3,
    -1,
    7,
    64,
    255,
    1000,
    10**6,
    2**31,
    2**62,
    2**63,
    10**30,
    0.0,
    -0.0,
    0.5,
    1e-300,
    5e-324,
    1e-6,
    1e6,
    1e18,
    1e308,
    float("inf"),
    float("nan"),
    "",
    " ",
    "x",
    "auto",
    "none",
    "z",
    "tczyx",
    "yx",
    "zyx",
    "/",
    "..",
    ".",
    "input.zarr",
    "psf.npy",
    "o.zarr/x",
    "/proc/self/mem",
    "/dev/full",
    "~nobody-of-this-name/x",
    "a\nb",
    "a\0b",
    "a" * 300,
    "a/" * 3000,
    "[red]x[/red]",
    "$(touch x)",
    "2001-99-99",
    "s3://a/b",
    [],
    [0, 1],
    [1, 0],
    [0, 2**62],
    [[]],
    {},
    {"z": 1},
    {"y": 0, "x": 0},
    {"y": 1e-9, "x": 1e9},
    {"y": 2**40, "x": 2**40},
    {"kind": "gaussian", "fwhm_px": {"y": 1e5, "x": 1e5}},
    {"kind": "file", "path": "input.zarr"},
)


def mutate(text: bytes, chance: random.Random) -> bytes:
    """Return a text with one to four changes."""
    for _ in range(chance.choice((1, 1, 1, 1, 2, 3))):
        text = chance.choice((_in_document, _in_document, _in_document, _in_lines, _in_bytes))(text, chance)
    return text


def _in_document(text: bytes, chance: random.Random) -> bytes:
    """Change a value, a type or the structure, where the text is still YAML."""
    try:
        document: Any = yaml.load(text, Loader=_LOADER)
        places = list(_places(document))
        if not places:
            return text
        container, key = chance.choice(places)
        chance.choice(_CHANGES)(container, key, places, chance)
        plain = chance.random() < 0.5
        return yaml.dump(document, Dumper=_DUMPER, allow_unicode=plain, sort_keys=False).encode(
            "utf-8", "surrogatepass"
        )
    except Exception:  # a text that was broken before, or that yaml cannot write: so it stays
        return text


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Return every container with every key or index in it; a container that is there several times, once."""
    found: list[tuple[Any, Any]] = []
    seen: set[int] = set()
    stack = [value]
    while stack:
        value = stack.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, inner in items:
            found.append((value, key))
            stack.append(inner)
    return found


Change = Callable[[Any, Any, list[tuple[Any, Any]], random.Random], None]


def _replace(container: Any, key: Any, places: list[tuple[Any, Any]], chance: random.Random) -> None:
    container[key] = chance.choice(_VALUES)


def _scale(container: Any, key: Any, places: list[tuple[Any, Any]], chance: random.Random) -> None:
    numbers = [(c, k) for c, k in places if isinstance(c[k], int | float) and not isinstance(c[k], bool)]
    if numbers:
        container, key = chance.choice(numbers)
        container[key] = container[key] * chance.choice((-1, 0, 2, 10, 1000, 10**9, 0.1, 1e-9, 1e300, 1.5))


def _swap(container: Any, key: Any, places: list[tuple[Any, Any]], chance: random.Random) -> None:
    other, name = chance.choice(places)
    container[key], other[name] = other[name], container[key]


def _wrap(container: Any, key: Any, places: list[tuple[Any, Any]], chance: random.Random) -> None:
    inner = container[key]
    text = str(inner) if not isinstance(inner, dict | list) else "[]"  # of a bomb it would be larger than any memory
    container[key] = chance.choice(([inner], [inner] * 3, {"z": inner, "y": inner}, {str(key): inner}, text))


def _drop(container: Any, key: Any, places: list[tuple[Any, Any]], chance: random.Random) -> None:
    del container[key]


def _rename(container: Any, key: Any, places: list[tuple[Any, Any]], chance: random.Random) -> None:
    if isinstance(container, dict):
        name = chance.choice((f"{key}s", str(key)[:-1], str(key).upper(), 1, True, None, "\0", "a" * 9999, "z"))
        container[name] = container.pop(key)


def _move(container: Any, key: Any, places: list[tuple[Any, Any]], chance: random.Random) -> None:
    other, _ = chance.choice(places)
    if isinstance(other, dict):
        other[key] = container[key]


def _nest(container: Any, key: Any, places: list[tuple[Any, Any]], chance: random.Random) -> None:
    for _ in range(chance.choice((3, 40))):
        container[key] = [container[key]]


def _many(container: Any, key: Any, places: list[tuple[Any, Any]], chance: random.Random) -> None:
    container[key] = [container[key]] * chance.choice((10, 1000, 12_000))


def _bomb(container: Any, key: Any, places: list[tuple[Any, Any]], chance: random.Random) -> None:
    value: Any = container[key]
    for _ in range(chance.choice((3, 30))):
        value = [value] * 4  # yaml writes them as aliases where they are lists
    container[key] = value


_CHANGES: tuple[Change, ...] = (
    _replace,
    _replace,
    _replace,
    _scale,
    _scale,
    _swap,
    _wrap,
    _drop,
    _rename,
    _move,
    _nest,
    _many,
    _bomb,
)


def _in_lines(text: bytes, chance: random.Random) -> bytes:
    """Repeat, drop, move or indent a line, or take the comment sign away."""
    lines = text.splitlines(keepends=True)
    if not lines:
        return text
    at = chance.randrange(len(lines))
    line = lines[at]
    how = chance.randrange(5)
    if how == 0:
        lines.insert(chance.randrange(len(lines)), line)
    elif how == 1:
        del lines[at]
    elif how == 2:
        lines[at] = b" " * chance.randint(1, 5) + line
    elif how == 3:
        lines[at] = line.replace(b"# ", b"", 1)
    else:
        chance.shuffle(lines)
    return b"".join(lines)


def _in_bytes(text: bytes, chance: random.Random) -> bytes:
    """Flip, insert, drop or cut bytes."""
    raw = bytearray(text)
    for _ in range(chance.choice((1, 1, 3, 20))):
        at = chance.randint(0, len(raw))
        how = chance.randrange(4)
        if how == 0 and at < len(raw):
            raw[at] ^= 1 << chance.randrange(8)
        elif how == 1:
            raw[at:at] = chance.choice(_TOKENS)
        elif how == 2:
            del raw[at : at + chance.randint(1, 20)]
        elif chance.random() < 0.1:
            del raw[at:]
    return bytes(raw)
