"""What a configuration refers to outside itself is looked at while it is read."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from relayd.config.files import Surroundings, authority_mistake, certificate_mistake
from relayd.config.mistakes import Unavailable


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """The paths of PEM files: an authority, and two certificates with their keys."""
    directory = tmp_path_factory.mktemp("pem")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(directory / "ca")
    for name in ("one", "two"):
        issued = authority.issue_cert("localhost")
        issued.private_key_pem.write_to_path(directory / f"{name}.key")
        issued.cert_chain_pems[0].write_to_path(directory / f"{name}.crt")
    return lambda name: str(directory / name)


def test_a_certificate_goes_with_its_own_key_only(pem: Callable[[str], str]) -> None:
    assert certificate_mistake(pem("one.crt"), pem("one.key")) is None
    assert "key values mismatch" in str(certificate_mistake(pem("one.crt"), pem("two.key")))


def test_a_certificate_is_no_key(pem: Callable[[str], str]) -> None:
    assert certificate_mistake(pem("one.key"), pem("one.crt")) is not None


def test_authorities_are_certificates(pem: Callable[[str], str]) -> None:
    assert authority_mistake(pem("ca")) is None
    assert "PEM form" in str(authority_mistake(pem("one.key")))
    assert "No such file" in str(authority_mistake(pem("none")))


def test_a_small_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    around = Surroundings(environ={}, directory=tmp_path)

    assert around.read(around.beside("a"), max_bytes=3) == b"abc"
    with pytest.raises(Unavailable, match="longer than 2 bytes"):
        around.read(around.beside("a"), max_bytes=2)


def test_a_pipe_nobody_writes_to_does_not_stop_the_start(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(Unavailable, match="not a regular file"):
        Surroundings(environ={}, directory=tmp_path).read(tmp_path / "pipe", max_bytes=1)


def test_a_refused_file_leaves_no_descriptor_open(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")

    with pytest.raises(Unavailable):
        Surroundings(environ={}, directory=tmp_path).read(tmp_path, max_bytes=1)

    assert os.listdir("/proc/self/fd") == before


def test_a_path_with_a_nul_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="not a valid path"):
        Surroundings(environ={}, directory=tmp_path).read(Path("a\0b"), max_bytes=1)


def test_the_environment_is_not_shown(tmp_path: Path) -> None:
    assert "secret" not in repr(Surroundings(environ={"A": "secret"}, directory=tmp_path))
