"""What is measured: relayd, another relay or none at all, started for a run and ended after it."""

from __future__ import annotations

import contextlib
import enum
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from bench.failures import RunFailed
from bench.handshake import Dialect
from bench.processes import pinned

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    Address = tuple[str, int]

START_S: Final = 15.0
STOP_S: Final = 5.0
_POLL_S: Final = 0.01
_LOG_TAIL_BYTES: Final = 2000

_PUBLISHES: Final = 'role = "publisher"\n'
_COMPATIBLE: Final = 'provider = "compatible"\n'
_SPARK: Final = """\
provider = "spark"
spark = { app_id = "bench", api_secret = "bench-upstream-secret", api_version = "v3.5" }
timeouts = { first_frame_s = 60.0, idle_s = 600.0, total_s = 3600.0 }
"""


_PROGRAMS: Final = {Dialect.CHAT: "bare_chat.py", Dialect.HUB: "hub_bare.py"}


class RelayKind(enum.StrEnum):
    """What stands between the clients and the upstream."""

    RELAYD = "relayd"
    COLD = "cold"  # relayd that opens no socket ahead of need
    HAPROXY = "haproxy"
    BARE = "bare"  # what does the least: bare.py, bare_chat.py, hub_bare.py
    DIRECT = "direct"  # nothing: the generator against itself


@attrs.frozen(kw_only=True)
class Wiring:
    """What a relay is told.

    Attributes:
        directory: For its configuration, log and socket; it is removed after the run.
        upstream: Where the simulated upstream listens.
        trusted: The authority of the upstream's certificate, where the row has TLS.
        secret: The clients' key.
        cpus: Where the relay may run.
        relayd: The installed command.
        dialect: What the row's sessions speak.
        ready: Sockets that relayd opens ahead of need.
        others: Upstreams beside the first.
    """

    directory: Path
    upstream: Address
    trusted: Path | None
    secret: str = attrs.field(repr=False)
    cpus: frozenset[int]
    relayd: Path
    dialect: Dialect = Dialect.REALTIME
    ready: int = 0
    others: tuple[Address, ...] = ()


@attrs.frozen
class Running:
    """A relay at work.

    Attributes:
        address: Where the clients connect.
        pid: Its process; ``None`` where there is none.
    """

    address: Address
    pid: int | None


def default_relayd() -> Path:
    """The ``relayd`` command beside the interpreter that runs this."""
    return Path(sys.executable).with_name("relayd")


def haproxy_command() -> str | None:
    """The ``haproxy`` on PATH, where Debian puts it outside of a user's PATH too."""
    return shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin")


def log_of(wiring: Wiring) -> Path:
    """Where relayd writes its log; there is none where another relay runs."""
    return wiring.directory / "relayd.log"


def start(kind: RelayKind, wiring: Wiring, listener: socket.socket) -> _Starting:
    """The relay of that kind, as a context manager; leaving it ends the process.

    Args:
        kind: Which one.
        wiring: What it is told.
        listener: A listening socket for a relay that can be handed one.

    Raises:
        RunFailed: On entering: it did not start within ``START_S`` seconds.
    """
    match kind:
        case RelayKind.RELAYD:
            return _relayd(wiring)
        case RelayKind.COLD:
            return _relayd(attrs.evolve(wiring, ready=0))
        case RelayKind.HAPROXY:
            return _haproxy(wiring, listener)
        case RelayKind.BARE:
            return _bare(wiring, listener)
        case RelayKind.DIRECT:
            return contextlib.nullcontext(Running(wiring.upstream, None))


def relayd_config(wiring: Wiring) -> str:
    """relayd's file: one key, one account, everything else as it is by default.

    But for the keepalive, since the ready-made clients answer no pings and some never speak, and
    for the pool, which keeps as many sockets as there are sessions; and a stream of the chat
    dialect may last as long as its row.
    """
    if wiring.dialect is Dialect.XIAOZHI:
        return _devices_config(wiring)
    scheme = "https" if wiring.trusted else "http"
    host, port = wiring.upstream
    is_chat = wiring.dialect is Dialect.CHAT
    trust = f"tls_ca = {_quoted(str(wiring.trusted))}\n" if wiring.trusted else ""
    return f"""\
[server]
listen = ["127.0.0.1:0"]
admin = {_quoted(f"unix:{wiring.directory}/admin.sock")}
drain_s = 1.0

[limits]
keepalive_s = 600.0
keepalive_timeout_s = 1200.0
first_message_s = 600.0

[pool]
idle_max = 128
prewarm = {wiring.ready}

[[keys]]
name = "bench"
secret = {_quoted(wiring.secret)}
{_PUBLISHES if wiring.dialect is Dialect.HUB else ""}
[[accounts]]
name = "bench-upstream"
base_url = {_quoted(f"{scheme}://{host}:{port}{'' if is_chat else '/v1'}")}
api_key = "bench-upstream-key"
models = ["*"]
sessions_max = 0
{_SPARK if is_chat else _COMPATIBLE}{trust}"""


def _devices_config(wiring: Wiring) -> str:
    """relayd's file for devices: an account for each server, and no keepalive."""
    accounts = "".join(
        f"""
[[accounts]]
name = "bench-{number}"
provider = "xiaozhi"
base_url = "http://{host}:{port}/xiaozhi/v1/"
api_key = "bench-upstream-key"
models = ["*"]
sessions_max = 0
"""
        for number, (host, port) in enumerate((wiring.upstream, *wiring.others))
    )
    return f"""\
[server]
listen = ["127.0.0.1:0"]
admin = {_quoted(f"unix:{wiring.directory}/admin.sock")}
drain_s = 1.0

[dialects.xiaozhi]
keepalive_s = 600.0
pong_s = 1200.0

[[keys]]
name = "bench"
secret = {_quoted(wiring.secret)}
{accounts}"""


def haproxy_config(wiring: Wiring, listening_fd: int) -> str:
    """HAProxy's file: HTTP mode on one thread, a tunnel after the 101, no log.

    It checks neither the client's key nor the upstream's certificate: both are to its advantage.
    """
    host, port = wiring.upstream
    tls = " ssl verify none alpn http/1.1 ssl-min-ver TLSv1.3 no-ssl-reuse" * bool(wiring.trusted)
    return f"""\
global
    nbthread 1
    maxconn 9000

defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout tunnel 1h

frontend bench
    bind fd@{listening_fd}
    default_backend upstream

backend upstream
    server upstream {host}:{port}{tls}
"""


def _quoted(text: str) -> str:
    return json.dumps(text)  # a JSON string without surrogates is a TOML string


_Starting = contextlib.AbstractContextManager[Running]


@contextlib.contextmanager
def _relayd(wiring: Wiring) -> Iterator[Running]:
    config = wiring.directory / "relayd.toml"
    config.write_text(relayd_config(wiring))
    log = log_of(wiring)
    command = [str(wiring.relayd), "serve", "--config", str(config)]
    with _child(command, wiring, log) as child:
        yield Running(_started_address(child, log), child.pid)


@contextlib.contextmanager
def _haproxy(wiring: Wiring, listener: socket.socket) -> Iterator[Running]:
    haproxy = haproxy_command()
    if haproxy is None:
        raise RunFailed("there is no haproxy on PATH")
    config = wiring.directory / "haproxy.cfg"
    config.write_text(haproxy_config(wiring, listener.fileno()))
    log = wiring.directory / "haproxy.log"
    command = [haproxy, "-db", "-f", str(config)]
    with _child(command, wiring, log, keep_fd=listener.fileno()) as child:
        host, port = listener.getsockname()
        yield Running((host, port), child.pid)


@contextlib.contextmanager
def _bare(wiring: Wiring, listener: socket.socket) -> Iterator[Running]:
    # -P: the modules beside the program are not to be found under their bare names.
    program = _PROGRAMS.get(wiring.dialect, "bare.py")
    command = [sys.executable, "-P", str(Path(__file__).with_name(program))]
    command += [str(listener.fileno())]
    if wiring.dialect is not Dialect.HUB:
        command += map(str, wiring.upstream)
    log = wiring.directory / "bare.log"
    with _child(command, wiring, log, keep_fd=listener.fileno()) as child:
        host, port = listener.getsockname()
        yield Running((host, port), child.pid)


@contextlib.contextmanager
def _child(
    command: list[str], wiring: Wiring, log: Path, *, keep_fd: int | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A pinned child that writes to a file, reaped whatever happens; a failure shows its log."""
    with contextlib.ExitStack() as stack:
        output = stack.enter_context(log.open("wb"))
        stack.enter_context(pinned(wiring.cpus))
        try:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=wiring.directory,
                pass_fds=() if keep_fd is None else (keep_fd,),
                start_new_session=True,  # an interrupt from the keyboard is the bench's alone
            )
        except OSError as error:
            raise RunFailed(f"{command[0]} does not start: {error.strerror}") from error
    try:
        yield child
    except RunFailed as failure:
        raise RunFailed(f"{failure}{_last_words(child, log)}") from failure
    finally:
        child.terminate()
        try:
            child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _last_words(child: subprocess.Popen[bytes], log: Path) -> str:
    ended = "" if child.poll() is None else f"\nthe relay ended with status {child.returncode}"
    tail = log.read_bytes()[-_LOG_TAIL_BYTES:].decode("utf-8", "replace").strip()
    return f"{ended}\nthe relay's last words:\n{tail}" if tail else ended


def _started_address(child: subprocess.Popen[bytes], log: Path) -> Address:
    """Wait for the log line that carries the bound addresses; the first of them."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and child.poll() is None:
        listen = started_listen(log.read_text(errors="replace"))
        if listen:
            host, _, port = listen[0].rpartition(":")
            return host, int(port)
        time.sleep(_POLL_S)
    raise RunFailed("relayd did not start")


def started_listen(log: str) -> list[str] | None:
    """The addresses of ``server.started`` in a log of JSON lines, if it is there and whole."""
    for line in log.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # still being written, or another program's words
        if isinstance(entry, dict) and entry.get("event") == "server.started":
            return [str(address) for address in entry["listen"]]
    return None
