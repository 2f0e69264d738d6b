"""What a configuration refers to outside itself: environment, credential files, certificates.

It is all looked at while the configuration is read, so that a missing file is a mistake with a
path and not a surprise at the first connection.
"""

from __future__ import annotations

import os
import ssl
import stat
from collections.abc import Mapping
from pathlib import Path

import attrs

from relayd.config.mistakes import Unavailable, path_shown


@attrs.frozen(kw_only=True)
class Surroundings:
    """The environment and the directory that a configuration is read in.

    Attributes:
        environ: The process's environment. Hidden from ``repr``: it holds secrets.
        directory: Where the configuration file is; relative paths in it start there.
    """

    environ: Mapping[str, str] = attrs.field(repr=False)
    directory: Path

    def beside(self, name: str) -> Path:
        """A file named in the configuration: relative to it, unless absolute."""
        return self.directory / name

    def credential(self, name: str) -> Path:
        """A file named by ``FILE:``: relative to systemd's credentials, where it passes any."""
        credentials = self.environ.get("CREDENTIALS_DIRECTORY")
        return (Path(credentials) if credentials else self.directory) / name

    def read(self, path: Path, *, max_bytes: int, shown: str | None = None) -> bytes:
        """The content of a small file, which messages call ``shown``, else by its path.

        Raises :class:`Unavailable` where there is none.
        """
        shown = shown or path_shown(str(path))
        try:
            content = _read_regular(path, max_bytes + 1)
        except (OSError, ValueError) as exc:  # ValueError: a NUL in the path
            raise Unavailable.because(f"cannot read {shown}: {_cause(exc)}") from None
        if len(content) > max_bytes:
            raise Unavailable.because(f"{shown} is longer than {max_bytes} bytes")
        return content


def authority_mistake(path: str) -> str | None:
    """What keeps a PEM file from being trusted as certificate authorities, if anything does."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cafile=path)
    except (ssl.SSLError, OSError) as exc:
        return f"expected certificates in PEM form: {_cause(exc)}"
    return None


def certificate_mistake(certificate: str, private_key: str) -> str | None:
    """What keeps a certificate and its key from being served, if anything does."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # OpenSSL would ask for a passphrase on the terminal; an empty one makes it fail instead.
        context.load_cert_chain(certificate, private_key, password=lambda: "")
    except (ssl.SSLError, OSError, ValueError) as exc:
        return f"cannot serve this certificate with its private key: {_cause(exc)}"
    return None


def _read_regular(path: Path, limit_bytes: int) -> bytes:
    # Opened without waiting, so that a pipe nobody writes to cannot stop the start.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(0, "not a regular file")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(limit_bytes)
    finally:
        os.close(descriptor)


def _cause(exc: OSError | ValueError) -> str:
    """The error in a few words, without the path and OpenSSL's source lines."""
    if isinstance(exc, ssl.SSLError):
        return (exc.reason or "not in PEM form").replace("_", " ").lower()
    if isinstance(exc, OSError):
        return exc.strerror or "not readable"
    return "not a valid path or passphrase"
