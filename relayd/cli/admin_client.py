"""Asking a running relayd: where its admin listener is, and one request after the other.

Blocking, on purpose: a verb asks, prints and ends.
"""

from __future__ import annotations

import errno
import functools
import http.client
import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, ParamSpec, TypeVar
from urllib.parse import quote, urlencode

import attrs
import click
import msgspec

from relayd.config.address import TcpAddress, UnixAddress, parse_address
from relayd.config.files import Surroundings
from relayd.config.load import CONFIG_MAX_BYTES, ConfigError, Mistake, find_config, settings_of
from relayd.config.parse import parse_toml
from relayd.config.secret import Secret
from relayd.service.admin.shapes import ErrorAnswer, MistakeView

TIMEOUT_S: Final = 30.0
"""For each step of a request. Enabling an account dials it first, for up to ten seconds."""

ANSWER_MAX_BYTES: Final = 64 * 1024 * 1024

RUN_FOLDER: Final = "/run/relayd"
"""Where systemd puts the socket; it tells the service alone (``$RUNTIME_DIRECTORY``)."""

_ADMIN_SETTINGS: Final = ("server", "server.admin", "server.admin_token")
_ANY_HOST: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}
_START: Final = "is relayd running? Its `server.started` line names the address; see --admin"

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class Unavailable(click.ClickException):
    """No relayd answered, or it cannot do this now."""

    exit_code = os.EX_UNAVAILABLE


class Mistaken(click.ClickException):
    """The configuration is not the running relayd's."""

    exit_code = os.EX_CONFIG


class Refused(Exception):
    """relayd answered with an error.

    Attributes:
        status: The HTTP status.
        code: The code word.
        mistakes: Those of a configuration, where that is why.
    """

    def __init__(
        self, status: int, code: str, message: str, mistakes: tuple[MistakeView, ...] = ()
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.mistakes = mistakes


@attrs.frozen
class AdminClient:
    """Requests to one admin listener, each on a connection of its own.

    Attributes:
        address: Of a unix socket the path is the file's.
        token: Sent over TCP alone.
    """

    address: TcpAddress | UnixAddress
    token: Secret | None = attrs.field(default=None, repr=False)

    def get(self, path: str, shape: type[T], query: Mapping[str, str] | None = None) -> T:
        """``GET path``, with the answer as ``shape``. Raises as :meth:`post`."""
        return self._ask("GET", f"{path}?{urlencode(query)}" if query else path, shape)

    def post(self, path: str, shape: type[T]) -> T:
        """``POST path``, with the answer as ``shape``.

        Raises:
            Refused: It was answered with an error.
            Unavailable: It was not answered.
            Mistaken: The admin token is not the one that it wants.
        """
        return self._ask("POST", path, shape)

    def _ask(self, method: str, target: str, shape: type[T]) -> T:
        status, body = self._request(method, target)
        try:
            if status < http.client.BAD_REQUEST:
                return msgspec.json.decode(body, type=shape)
            answer = msgspec.json.decode(body, type=ErrorAnswer)
        except msgspec.MsgspecError:
            message = f"{self.address} did not answer as relayd {method} {target.partition('?')[0]}"
            raise Unavailable(f"{message}; is it another version, or another service?") from None
        error, mistakes = answer.error, answer.mistakes
        if status in {http.client.UNAUTHORIZED, http.client.FORBIDDEN}:
            raise Mistaken(
                f"{self.address}: {error.message} Name the configuration that relayd was started"
                " with: --config FILE"
            )
        known = () if isinstance(mistakes, msgspec.UnsetType) else mistakes
        raise Refused(status, error.code, error.message, known)

    def _request(self, method: str, target: str) -> tuple[int, bytes]:
        connection = _Connection(self.address)
        headers = {"Host": f"localhost:{getattr(self.address, 'port', 0)}", "Connection": "close"}
        if self.token is not None and isinstance(self.address, TcpAddress):
            headers["Authorization"] = f"Bearer {self.token.reveal()}"
        try:
            connection.request(method, target, headers=headers)
            response = connection.getresponse()
            body = response.read(ANSWER_MAX_BYTES + 1)
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(self._trouble(error)) from None
        finally:
            connection.close()
        if len(body) > ANSWER_MAX_BYTES:
            raise Unavailable(f"{self.address} answered with more than {ANSWER_MAX_BYTES} bytes")
        return response.status, body

    def _trouble(self, error: OSError | http.client.HTTPException) -> str:
        """Why there is no answer, and what helps."""
        match error:
            case PermissionError():
                remedy = "run this as relayd's user, or as a member of the socket's group"
                return f"{self.address}: permission denied; {remedy}"
            case FileNotFoundError() | ConnectionRefusedError():
                return f"nobody listens on {self.address}; {_START}"
            case TimeoutError():
                return f"{self.address} did not answer within {TIMEOUT_S:g} s"
            case socket.gaierror():
                return f"{self.address}: the name could not be resolved"
            case OSError(errno=code) if code and code != errno.ECONNRESET:
                return f"{self.address}: {os.strerror(code).lower()}"
            case _:
                return f"{self.address} closed the connection instead of answering"


class _Connection(http.client.HTTPConnection):
    """HTTP over TCP or a unix socket."""

    def __init__(self, address: TcpAddress | UnixAddress) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._address = address

    def connect(self) -> None:
        """Connect, as :class:`http.client.HTTPConnection` wants it done."""
        match self._address:
            case UnixAddress(path):
                self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                self.sock.settimeout(TIMEOUT_S)
                self.sock.connect(path)
            case TcpAddress(host, port):
                where = _ANY_HOST.get(host, host), port
                self.sock = socket.create_connection(where, timeout=TIMEOUT_S)


def path_of(*parts: str) -> str:
    """A path of the API, with names as they were given."""
    return "/admin/v1/" + "/".join(quote(part, safe="") for part in parts)


# -- where it is


def client_for(config: Path | None, admin: str | None) -> AdminClient:
    """The client of the relayd that ``config`` configures, or that listens on ``admin``.

    Raises:
        ConfigError: There is no configuration, or what it says of the listener is mistaken.
        click.BadParameter: ``admin`` is no address.
        Unavailable: The address cannot be told from the configuration.
    """
    if admin is not None:
        try:
            address = parse_address(admin)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--admin") from None
        token = None
        if isinstance(address, TcpAddress):
            _, token, _ = _listener(config)
        return AdminClient(address, token)
    address, token, path = _listener(config)
    if isinstance(address, UnixAddress):
        return AdminClient(_found(address, path.parent), None)
    if address.port == 0:
        raise Unavailable(f"{path}: server.admin takes a free port; name it with --admin")
    return AdminClient(address, token)


def _listener(config: Path | None) -> tuple[TcpAddress | UnixAddress, Secret | None, Path]:
    """Where the configuration has the admin listener, its token, and the file itself.

    Only that is read: secrets of accounts may be for the service's eyes alone.
    """
    path = find_config(config, environ=os.environ)
    try:
        with path.open("rb") as file:
            content = file.read(CONFIG_MAX_BYTES)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        cause = error.strerror if isinstance(error, OSError) else None
        mistake = Mistake("", f"cannot read the file: {cause or 'not a valid path'}")
        raise ConfigError(str(path), [mistake]) from None
    document = parse_toml(content)
    if isinstance(document, str):
        raise ConfigError(str(path), [Mistake("", document)])
    around = Surroundings(environ=os.environ, directory=path.absolute().parent)
    settings, mistakes = settings_of({"server": document.get("server", {})}, around)
    address = parse_address(settings.server.admin)
    needed = _ADMIN_SETTINGS if isinstance(address, TcpAddress) else _ADMIN_SETTINGS[:2]
    if wrong := [mistake for mistake in mistakes if mistake.path in needed]:
        raise ConfigError(str(path), wrong)
    return address, settings.server.admin_token, path


def _found(address: UnixAddress, beside: Path) -> UnixAddress:
    """The socket's file: a relative path starts where the service runs, which is not here."""
    folders = (os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0], RUN_FOLDER, str(beside))
    places = list(dict.fromkeys(Path(folder, address.path).absolute() for folder in folders))
    for place in places:
        if place.is_socket():
            return UnixAddress(str(place))
    if len(places) == 1:
        return UnixAddress(str(places[0]))
    raise Unavailable(f"no admin socket at {' or '.join(map(str, places))}; {_START}")


# -- what the verbs share


def admin_options(command: Callable[P, R]) -> Callable[P, R]:
    """``--config`` and ``--admin``."""
    for option in (
        click.option(
            "--admin",
            metavar="ADDRESS",
            help="The admin listener: unix:/path or host:port. Default: as configured.",
        ),
        click.option(
            "--config",
            type=click.Path(path_type=Path),
            help="The file. Default: $RELAYD_CONFIG, /etc/relayd/relayd.toml, etc/relayd.toml.",
        ),
    ):
        command = option(command)
    return command


json_option = click.option("--json", "as_json", is_flag=True, help="One object a line.")


def telling(verb: Callable[P, None]) -> Callable[P, None]:
    """Turn what goes wrong into words on standard error and an exit code."""

    @functools.wraps(verb)
    def told(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            verb(*args, **kwargs)
        except ConfigError as error:
            for line in error.lines():
                click.echo(line, err=True)
            click.get_current_context().exit(os.EX_CONFIG)
        except Refused as refused:
            raise Unavailable(refused.message) from None

    return told
