"""``relayd``: the installed command."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Final

import attrs
import click

from relayd import __version__

EXIT_INTERRUPTED: Final = 130
"""128 and the number of SIGINT, as shells have it."""


@attrs.frozen
class Verb:
    """A command that is not imported before it is called.

    Attributes:
        module: Where it is; the module's ``command`` is the click command.
        summary: Its line in ``relayd --help``.
    """

    module: str
    summary: str


VERBS: Final = {
    "serve": Verb("relayd.cli.serve", "Run the relay."),
    "demo": Verb("relayd.cli.demo", "Play one conversation of each dialect through a relay."),
    "check": Verb("relayd.cli.check", "Validate the configuration and report every mistake."),
    "key": Verb("relayd.cli.key", "Make keys for clients."),
    "usage": Verb("relayd.cli.usage", "Show what was used and what it cost."),
    "sessions": Verb("relayd.cli.sessions", "Show the running sessions."),
    "accounts": Verb("relayd.cli.accounts", "Show the accounts; enable or disable one."),
    "pools": Verb("relayd.cli.pools", "Show the sockets that are kept to upstreams."),
    "devices": Verb("relayd.cli.devices", "Show the devices that are here; call their tools."),
    "kill": Verb("relayd.cli.kill", "End a session."),
    "drain": Verb("relayd.cli.drain", "Let a running relayd come to its end."),
    "reload": Verb("relayd.cli.reload", "Have the configuration read again."),
    "doctor": Verb("relayd.cli.doctor", "Try each account, and say what helps."),
    "sim": Verb("relayd.cli.sim", "Run one simulated upstream."),
}


class VerbGroup(click.Group):
    """A group whose verbs cost nothing until one is called: no start pays for another's imports."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs, in the order that they are of use."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one verb; ``None`` for a name that is none, which click answers with hints."""
        verb = VERBS.get(cmd_name)
        if verb is None:
            return None
        command = importlib.import_module(verb.module).command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs from the table, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, verb.summary) for name, verb in VERBS.items()])


@click.group(cls=VerbGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="relayd")
def cli() -> None:
    """A relay between AI clients and the WebSocket services they talk to."""


def main() -> None:
    """Run the command line and exit.

    Exit codes: 0; 64 for wrong usage; 69 where an upstream or a port is unavailable; 78 for a
    mistaken configuration. A verb chooses one with ``Context.exit``.
    """
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command; its exit code. Messages about wrong usage go to standard error."""
    try:
        result = cli.main(arguments, prog_name="relayd", standalone_mode=False)
    except click.UsageError as exc:
        exc.show()
        return os.EX_USAGE
    except click.ClickException as exc:
        exc.show()
        return exc.exit_code
    except click.Abort:
        return EXIT_INTERRUPTED
    # Outside click's standalone mode, the code given to Context.exit is what is returned.
    return result if isinstance(result, int) else os.EX_OK
