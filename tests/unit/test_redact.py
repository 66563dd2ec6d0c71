"""Credentials are masked in all usual places, and ordinary words are unchanged."""

from __future__ import annotations

import time

import pytest

from ssi_pipeline.redact import redact, redact_all, secrets_in

SECRET = "s3cr3tValue0123456789"
"""Recognised by nothing but its surroundings, except where a test says so."""

LEAKY = [
    f"https://ada:{SECRET}@example.org/data.zarr",
    f"/home/ada/https:/ada:{SECRET}@example.org/data.zarr",
    f"s3://key:{SECRET}@bucket/x",
    f"tcp://ada:{SECRET}@10.0.0.1:8786",
    f"bad address 'ada:{SECRET}@127.0.0.1:9'; maybe brackets?",
    f"https://b.s3.amazonaws.com/x?X-Amz-Signature={SECRET}&X-Amz-Expires=60",
    f"https://example.org/x?token={SECRET}",
    f"https://example.org/x?sv=2020&sig={SECRET}",
    f"https://hooks.slack.com/services/T0/B0/{SECRET}",
    f"https://discord.com/api/webhooks/1/{SECRET}",
    f"https://api.telegram.org/bot12:{SECRET}/sendMessage",
    f"https://example.org/api/webhook/{SECRET}",
    f"https://example.org/u/{SECRET}",
    f"TOKEN={SECRET} curl example.org",
    f"export GITLAB_API_TOKEN='{SECRET}'",
    f'MY_PASSWORD="{SECRET}" x',
    f"AWS_SECRET_ACCESS_KEY={SECRET}",
    f"notify --token {SECRET} --title done",
    f"notify --api-key={SECRET}",
    f"notify --password '{SECRET}'",
    f"curl -u ada:{SECRET} example.org",
    f"curl --user ada:{SECRET} example.org",
    f'curl -H "Authorization: Bearer {SECRET}" example.org',
    f"curl -H 'Authorization: Basic {SECRET}' example.org",
    f"curl -H 'X-Api-Key: {SECRET}' example.org",
    f"Authorization: {SECRET}",
    f'{{"access_token": "{SECRET}", "n": 3}}',
    f'{{\\"access_token\\": \\"{SECRET}\\"}}',
    f"{{'password': '{SECRET}'}}",
    f"password: {SECRET}",
    f"the header Bearer {SECRET} was refused",
    f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}\n-----END RSA PRIVATE KEY-----",
    "push with ghp_" + SECRET,
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIx" + SECRET + ".abc",
]

HARMLESS = [
    "solve/17 failed: CorruptDataError: level 0, t 0, c 1, [3:4, 0:64] of /data/in.zarr: bad checksum (at /a/b.py:12)",
    "input /data/user@lab/in.zarr not found; check input.path (relative paths start at the configuration's folder)",
    "12 of 12 tiles done (12 in this call)",
    "KeyError: 'heldout_after'",
    "lost the connection to the dask scheduler at tcp://10.0.0.1:8786; run again to resume",
    "see https://example.org/docs/stable/notes.html for what to do",
    "basic structure, tokens of a text, a signature scheme, secretly",
    "run 0123456789abcdef, versions numpy 2.1, torch 2.13",
]


@pytest.mark.parametrize("text", LEAKY)
def test_a_credential_is_masked(text: str) -> None:
    assert SECRET not in redact(text)
    assert "***" in redact(text)


@pytest.mark.parametrize("text", LEAKY)
def test_masking_twice_changes_nothing_more(text: str) -> None:
    assert redact(redact(text)) == redact(text)


@pytest.mark.parametrize("text", HARMLESS)
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert redact(text) == text


def test_what_surrounds_a_secret_stays_readable() -> None:
    assert redact(LEAKY[0]) == "https://***@example.org/data.zarr"
    assert redact(f"notify --token {SECRET} --title done") == "notify --token *** --title done"
    assert redact(f"TOKEN={SECRET} curl example.org") == "TOKEN=*** curl example.org"


def test_a_secret_known_from_elsewhere_is_masked_where_it_stands_alone() -> None:
    known = secrets_in(f"TOKEN={SECRET} notify; curl https://hooks.slack.com/services/T0/B0/xyz")
    assert redact(f"not found: {SECRET}, services/T0/B0/xyz", known) == "not found: ***, ***"


@pytest.mark.parametrize("value", ["my pass word", "abc&defghij", "a, b)", "short", 'quo"ted'])
def test_a_value_under_a_key_that_names_a_secret_is_masked_whole(value: str) -> None:
    assert redact_all({"db": {"password": value}, "seed": value}) == {"db": {"password": "***"}, "seed": value}


def test_documents_are_redacted_in_depth() -> None:
    document = {"address": f"tcp://a:{SECRET}@h:1", "token": SECRET, "script": [f"export PWD={SECRET}"], "workers": 3}
    found = redact_all(document)
    assert SECRET not in str(found)
    assert found["workers"] == 3
    assert found["address"] == "tcp://***@h:1"


@pytest.mark.parametrize("unit", ["a", "token", "a:/", "-", "https://a/", "=", "a-1", "bearer "])
def test_long_texts_take_no_long_time(unit: str) -> None:
    """Texts of errors can be anything; a pattern that goes back and forth over them would take minutes."""
    started = time.process_time()
    redact(unit * (20_000 // len(unit)))
    assert time.process_time() - started < 5
