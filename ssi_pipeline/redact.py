"""Mask credentials in text before it is printed or stored.

Detection is by pattern (URLs with a password or a query, names like ``token``, known key formats): a safety net in
addition to not passing secrets on, without a guarantee. Masking too much does no harm.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

MASK = "***"

_ANY_VALUE = "value"

_WORD = r"token|secret|passw(?:or)?d|passwd|passphrase|pwd|credentials?|signature|api[_-]?key|access[_-]?key|webhook"
_STEM = rf"[\w-]{{0,40}}?(?:{_WORD}|private[_-]?key|authorization|cookie)[\w-]{{0,40}}"
_VALUE = r"""(?:\\?"(?P<secret>[^"\\]+)|'(?P<single>[^']+)|(?P<bare>[^\s"'&;,)]+))"""

_PATTERNS = tuple(
    re.compile(pattern, re.IGNORECASE | re.DOTALL)
    for pattern in (
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?P<secret>.*?)(?:-----END|\Z)",
        # pathlib turns the two slashes of a URL into one
        r"[a-z][a-z0-9+.-]{1,20}:/{1,2}(?P<secret>[^\s/\"'?#]*)@",
        r"(?<![\w.:/-])[\w.+-]{1,60}:(?P<secret>[^\s/@\"']{3,})@[\w.\[-]",
        r"[a-z][a-z0-9+.-]{1,20}:/{1,2}[^\s\"'?#]*\?(?P<secret>[^\s\"'#<>]+)",
        # webhooks: the URL itself is the credential
        r"https?:/{1,2}[^\s/\"']*(?:hook|slack|discord|telegram)[^\s/\"']*/(?P<secret>[^\s\"'<>]+)",
        r"https?:/{1,2}[^\s/\"']+/(?P<secret>[^\s\"'<>]*(?:hook|/services/|/bot\d)[^\s\"'<>]*)",
        # a long path component of letters and digits is likely a token
        r"https?:/{1,2}[^\s/\"']+/(?:[^\s/\"'<>]+/)*?(?P<secret>(?=[\w-]*\d)(?=[\w-]*[a-z])[\w-]{20,})",
        r"authorization\\?[\"']?\s*[:=]\s*[\"']?(?:bearer|basic|token|digest)\s+(?P<secret>[^\s\"']+)",
        r"\bbearer\s+(?P<secret>[\w.~+/=-]{6,})",
        rf"(?<![\w-]){_STEM}\\?[\"']?\s*[:=]\s*(?!\s*(?:bearer|basic|token|digest)\s){_VALUE}",
        rf"(?<!\S)--?{_STEM}\s+{_VALUE}",
        r"(?<!\S)(?:-u|--user)[\s=]+[\"']?[^\s:\"']+:(?P<secret>[^\s\"']+)",
        r"(?P<secret>\bgh[pousr]_\w{20,}|\bgithub_pat_\w{20,}|\bglpat-[\w-]{16,}|\bhf_\w{20,}|\bsk-[\w-]{20,})",
        r"(?P<secret>\bxox[a-z]-[\w-]{10,}|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*)",
    )
)

_SHORTEST = 6
"""Shorter values are not masked elsewhere: they may be ordinary words."""


def redact(text: str, known: Iterable[str] = ()) -> str:
    """Return the text with likely credentials and all values of ``known`` replaced by ``***``."""
    for value in sorted(known, key=len, reverse=True):
        text = text.replace(value, MASK)
    for pattern in _PATTERNS:
        text = pattern.sub(_masked, text)
    return text


def secrets_in(text: str) -> list[str]:
    """Return the values that ``redact`` masks, so that they can be masked without their context too."""
    found = (_span(match) for pattern in _PATTERNS for match in pattern.finditer(text))
    return [text[a:b] for a, b in found if b - a >= _SHORTEST]


def redact_all(document: Any) -> Any:
    """Return a JSON document with every value redacted; text under a key that names a secret is masked whole."""
    if isinstance(document, dict):
        return {key: _redact_entry(str(key), value) for key, value in document.items()}
    if isinstance(document, list | tuple):
        return [redact_all(item) for item in document]
    return redact(document) if isinstance(document, str) else document


def masked_arguments(words: Sequence[str]) -> list[str]:
    """Return the arguments of a command with likely credentials masked, each argument by itself.

    Masked whole: what follows ``=`` where the key names a secret, and every setting of ``on_end``, which is a command
    of the user.
    """
    return [_masked_argument(word) for word in words]


def _masked_argument(word: str) -> str:
    key, sign, _ = word.partition("=")
    return f"{key}={MASK}" if sign and ("on_end" in key or _names_secret(key)) else redact(word)


def _redact_entry(key: str, value: Any) -> Any:
    return MASK if isinstance(value, str) and value and _names_secret(key) else redact_all(value)


def _names_secret(key: str) -> bool:
    """Return whether a value under this key is masked, whatever it is: a pattern alone ends at the first space."""
    return redact(f"{key}={_ANY_VALUE}") == f"{key}={MASK}"


def _span(match: re.Match[str]) -> tuple[int, int]:
    name = next(name for name in ("secret", "single", "bare") if match.groupdict().get(name) is not None)
    return match.span(name)


def _masked(match: re.Match[str]) -> str:
    start, stop = (place - match.start() for place in _span(match))
    whole = match.group()
    return whole[:start] + MASK + whole[stop:]
