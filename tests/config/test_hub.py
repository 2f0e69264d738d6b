from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from relayd.config.files import Surroundings
from relayd.config.hub import PublicKeyFile, TokenSecret
from relayd.config.mistakes import Wrong

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey


def around(directory: Path, **environ: str) -> Surroundings:
    return Surroundings(environ=environ, directory=directory)


def pem(key: PublicKey) -> bytes:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def test_a_secret_of_tokens_is_resolved(tmp_path: Path) -> None:
    secret = TokenSecret().read("ENV:HUB", around(tmp_path, HUB="s" * 32))

    assert secret.reveal() == "s" * 32


@pytest.mark.parametrize("length", [1, 16, 31])
def test_a_secret_shorter_than_the_hash_is_refused_without_being_told(
    length: int, tmp_path: Path
) -> None:
    with pytest.raises(Wrong) as caught:
        TokenSecret().read("ENV:HUB", around(tmp_path, HUB="Q" * length))

    assert "32 bytes" in str(caught.value.mistakes)
    assert "QQ" not in str(caught.value.mistakes)


def test_a_public_key_is_read(tmp_path: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    (tmp_path / "hub.pem").write_bytes(pem(key))

    assert PublicKeyFile().read("hub.pem", around(tmp_path)).encode() == pem(key)


@pytest.mark.parametrize(
    "make",
    [
        lambda: rsa.generate_private_key(public_exponent=65537, key_size=1024).public_key(),
        lambda: ec.generate_private_key(ec.SECP256R1()).public_key(),
        lambda: ed25519.Ed25519PrivateKey.generate().public_key(),
    ],
    ids=["short", "elliptic", "edwards"],
)
def test_another_key_is_refused(make: Callable[[], PublicKey], tmp_path: Path) -> None:
    (tmp_path / "hub.pem").write_bytes(pem(make()))

    with pytest.raises(Wrong, match="2048 bits"):
        PublicKeyFile().read("hub.pem", around(tmp_path))


@pytest.mark.parametrize("content", [b"", b"secret", b"-----BEGIN PUBLIC KEY-----\n", b"\xff\xfe"])
def test_what_is_no_key_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "hub.pem").write_bytes(content)

    with pytest.raises(Wrong, match="in PEM form"):
        PublicKeyFile().read("hub.pem", around(tmp_path))


@pytest.mark.parametrize("value", [None, 1, "", ["hub.pem"]])
def test_another_type_is_refused(value: object, tmp_path: Path) -> None:
    with pytest.raises(Wrong):
        PublicKeyFile().read(value, around(tmp_path))
