"""``relayd key``: keys for clients."""

from __future__ import annotations

import secrets
import string
from typing import Final

import click

from relayd.config.kinds import name_mistake
from relayd.config.secret import KeyDigest

KEY_PREFIX: Final = "rk_"
"""By which people, secret scanners and relayd's own redaction know a key."""
KEY_RANDOM_CHARS: Final = 40
"""238 bits. All of ``[A-Za-z0-9]``, so that a browser can send the key as a subprotocol."""

_ALPHABET: Final = string.ascii_letters + string.digits


@click.group
def command() -> None:
    """Make keys for clients."""


@command.command
@click.argument("name")
def new(name: str) -> None:
    """Make a client's key called NAME.

    The key is printed once and stored nowhere. The configuration gets its SHA-256 only.
    """
    if mistake := name_mistake(name):
        raise click.BadParameter(mistake, param_hint="NAME")
    secret = make_key()
    click.echo(f"Give this to the client; it is not shown again:\n\n{secret}\n")
    click.echo(f"Add this to relayd.toml:\n\n{snippet(name, secret)}", nl=False)


def make_key() -> str:
    """A new key, out of the system's randomness."""
    return KEY_PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(KEY_RANDOM_CHARS))


def snippet(name: str, secret: str) -> str:
    """The ``[[keys]]`` table that lets the holder of ``secret`` in, without the secret."""
    return f'[[keys]]\nname = "{name}"\nsecret = "{KeyDigest.of(secret).reference()}"\n'
