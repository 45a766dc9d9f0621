"""Credentials are taken out of URIs, wherever these stand."""

from __future__ import annotations

import pytest

from recsys.credentials import holds_credentials, redacted, without_credentials

SECRETS = [
    "s3://AKIA:SECRET@bucket/x",
    "s3://AKIA:SEC/RET@bucket/x",
    "s3://AKIA:SEC%2FRET@bucket/x",
    "s3://AKIA:SEC RET@bucket/x",
    "s3://AKIA:SE@CRET@bucket/x",
    "s3://AKIA:SE'C\"RET@bucket/x",
    "s3://AKIA:SEC?RET@bucket/x",
    "s3://AKIA:8265/SECRET@bucket/x",
    "s3://:SECRET@bucket/x",
    "s3://SECRET@bucket/x",
    "s3:/AKIA:SEC/RET@bucket/x",
    "s3://bucket/x?secret_key=SECRET&region=eu-west-1",
    "s3://AKIA:SECRET@bucket/x?sig=SEC%20RET",
]


@pytest.mark.parametrize("uri", SECRETS)
def test_a_uri_keeps_no_credentials(uri) -> None:
    scheme = uri[: uri.rindex("/", 0, 6) + 1]

    assert without_credentials(uri) == f"{scheme}bucket/x"
    assert holds_credentials(uri)


@pytest.mark.parametrize("uri", SECRETS)
def test_a_message_that_quotes_a_uri_keeps_no_credentials(uri) -> None:
    message = redacted(f"Cannot parse URI: '{uri}' due to a syntax error\nhttp://u:PW@host is down")

    scheme = uri[: uri.rindex("/", 0, 6) + 1]
    assert message == (
        f"Cannot parse URI: '{scheme}bucket/x' due to a syntax error\nhttp://host is down"
    )


def test_two_uris_of_one_line_keep_their_places() -> None:
    message = redacted("s3://K:SEC/RET@a/x: cannot be copied to s3://K:SEC RET@b/y, nor to /c@d")

    assert "SEC" not in message
    assert message.startswith("s3://a/x: cannot be copied to s3://")


@pytest.mark.parametrize(
    "plain",
    [
        "s3://bucket/x@v2/y",
        "http://127.0.0.1:8265",
        "file:///a/b:c@d",
        "/results/a?b",
        "package.module:factory",
        "HashedId(3)@0.5",
    ],
)
def test_what_has_no_credentials_stays_as_it_is(plain) -> None:
    assert (without_credentials(plain), redacted(plain)) == (plain, plain)
    assert not holds_credentials(plain)


def test_settings_of_a_uri_are_no_credentials_but_are_not_shown() -> None:
    uri = "s3://bucket/x?region=eu-west-1"

    assert without_credentials(uri) == "s3://bucket/x"
    assert not holds_credentials(uri)


def test_a_document_is_redacted_as_a_whole() -> None:
    document = {"model": {"options": {"vectors": ["s3://K:S@bucket/v", 1, None, True]}}}

    assert redacted(document) == {
        "model": {"options": {"vectors": ["s3://bucket/v", 1, None, True]}}
    }


@pytest.mark.parametrize("piece", ["a.", "s3:/x:y", "s3://x:y", "s3://x?a=b "])
def test_a_long_line_takes_linear_time(piece) -> None:
    assert redacted("s3://K:S@b " + piece * 20_000).startswith("s3://")
