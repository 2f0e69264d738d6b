"""Secrets: what holds them shows nothing, and a reference finds what it names."""

from __future__ import annotations

import hashlib
from pathlib import Path

import attrs
import pytest

from relayd.config.files import Surroundings
from relayd.config.mistakes import Unavailable, Wrong
from relayd.config.secret import (
    SECRET_FILE_MAX_BYTES,
    KeyDigest,
    Secret,
    digest,
    parse_digest,
    resolve,
)

CANARY = "canary-secret-value"


def around(directory: Path, **environ: str) -> Surroundings:
    return Surroundings(environ=environ, directory=directory)


@attrs.frozen
class Holder:
    secret: Secret


def test_a_secret_shows_itself_to_nothing_but_reveal() -> None:
    secret = Secret(CANARY)

    shown = f"{secret} {secret!r} {secret!s} {[secret]} {attrs.asdict(Holder(secret))}"

    assert CANARY not in shown
    assert repr(secret) == str(secret) == "Secret(**)"
    assert secret.reveal() == CANARY


def test_secrets_are_equal_by_their_text() -> None:
    assert Secret("a") == Secret("a")
    assert hash(Secret("a")) == hash(Secret("a"))
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"


def test_a_digest_shows_nothing_and_is_written_as_the_file_takes_it() -> None:
    key = KeyDigest.of(CANARY)
    hexadecimal = hashlib.sha256(CANARY.encode()).hexdigest()

    assert key.reference() == f"sha256:{hexadecimal}"
    assert parse_digest(key.reference()) == parse_digest(key.reference().upper()[7:]) == key
    assert hexadecimal not in f"{key} {key!r}"


@pytest.mark.parametrize("presented", ["\udc80", "", "ключ"])
def test_any_text_has_a_digest(presented: str) -> None:
    assert digest(presented) == digest(presented.encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize("reference", ["sha256:", "sha256:" + "0" * 63, "sha256:" + "g" * 64])
def test_a_malformed_digest_is_refused(reference: str) -> None:
    with pytest.raises(Wrong, match="64 hexadecimal digits"):
        parse_digest(reference)


def test_a_reference_to_the_environment_is_its_value(tmp_path: Path) -> None:
    assert resolve("ENV:A_1", around(tmp_path, A_1=CANARY)) == CANARY


def test_other_text_stands_for_itself(tmp_path: Path) -> None:
    for text in ["plain", "a:b", "sha256:00", "xENV:A", ""]:
        assert resolve(text, around(tmp_path, A=CANARY)) == text


@pytest.mark.parametrize("content", [f"{CANARY}\n", f"{CANARY}\r\n", CANARY])
def test_a_reference_to_a_file_is_its_content_without_the_line_break(
    tmp_path: Path, content: str
) -> None:
    (tmp_path / "key").write_text(content, newline="")

    assert resolve("FILE:key", around(tmp_path)) == CANARY
    assert resolve(f"FILE:{tmp_path}/key", around(Path("/nonexistent"))) == CANARY


def test_credentials_of_systemd_come_before_the_directory(tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (tmp_path / "key").write_text("beside the configuration")
    (credentials / "key").write_text("a credential")

    passed = around(tmp_path, CREDENTIALS_DIRECTORY=str(credentials))

    assert resolve("FILE:key", passed) == "a credential"
    assert resolve("FILE:key", around(tmp_path)) == "beside the configuration"


@pytest.mark.parametrize("reference", ["ENV:UNSET", "ENV:EMPTY", "FILE:missing", "FILE:blank"])
def test_what_is_not_there_is_unavailable(tmp_path: Path, reference: str) -> None:
    (tmp_path / "blank").write_text(" \n")

    with pytest.raises(Unavailable):
        resolve(reference, around(tmp_path, EMPTY=""))


@pytest.mark.parametrize("reference", ["ENV:", "ENV:a b", "ENV:1", "FILE:", "Env:A", "SHA256:0"])
def test_a_malformed_reference_is_wrong_whatever_is_there(tmp_path: Path, reference: str) -> None:
    with pytest.raises(Wrong) as caught:
        resolve(reference, around(tmp_path, A=CANARY))

    assert not isinstance(caught.value, Unavailable)


def test_a_secret_file_holds_ascii(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"\xc3\xa9" * 8)

    with pytest.raises(Wrong, match="more than ASCII"):
        resolve("FILE:key", around(tmp_path))


def test_a_secret_file_is_not_read_beyond_its_bound(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"a" * (SECRET_FILE_MAX_BYTES + 1))

    with pytest.raises(Unavailable, match="longer than"):
        resolve("FILE:key", around(tmp_path))


@pytest.mark.parametrize(
    ("reference", "shown"),
    [
        ("ENV:RELAYD_DEV_KEY", "RELAYD_DEV_KEY"),
        ("ENV:sk_live_aaaaaaaa", "[redacted]"),
        ("FILE:keys/relayd-dev-key", "keys/relayd-dev-key"),
        ("FILE:sk-live-aaaaaaaa", "[redacted]"),
    ],
)
def test_a_reference_is_repeated_unless_it_may_be_a_secret_itself(
    tmp_path: Path, reference: str, shown: str
) -> None:
    with pytest.raises(Unavailable) as caught:
        resolve(reference, around(tmp_path))

    assert shown in str(caught.value)
    assert "aaaaaaaa" not in str(caught.value)
