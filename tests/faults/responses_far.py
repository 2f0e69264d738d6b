"""Simulated Responses upstreams with random faults, as a program: ``python -m``.

Prints the list of their base URLs; when its standard input ends, one JSON object for each of them,
with its turns one by one. Usage: responses_far.py SEED COUNT TURNS_MAX
"""

from __future__ import annotations

import json
import sys

import attrs
import trio

from relayd.sim.responses.scenario import Scenario
from relayd.sim.responses.tally import TurnRecord
from relayd.sim.responses.upstream import ResponsesUpstream
from relayd.sim.server import SimServer, serve


def record_of(turn: TurnRecord) -> dict[str, object]:
    """A turn as its upstream has played it."""
    return {
        "response_id": turn.response_id,
        "scenario": turn.scenario.value,
        "ending": turn.ending.value,
        "code": turn.code,
        "told": None if turn.told is None else attrs.asdict(turn.told),
    }


def account_of(server: SimServer[ResponsesUpstream]) -> dict[str, object]:
    """All that an upstream has done."""
    statistics = server.upstream.statistics()
    return {
        "turns_total": statistics.total.turns,
        "turns": [record_of(turn) for turn in statistics.turns],
        "connections": server.connections,
        "connections_total": server.connections_total,
        "crashes": server.crashes,
    }


async def main(seed: int, count: int, turns_max: int) -> None:
    async with trio.open_nursery() as nursery:
        servers: list[SimServer[ResponsesUpstream]] = []
        for number in range(count):
            upstream = ResponsesUpstream(
                Scenario.RANDOM_FAULTS, seed=seed + number, turns_remembered=turns_max
            )
            servers.append(await nursery.start(serve, upstream))
        print(json.dumps([server.base_url for server in servers]), flush=True)
        async with trio.lowlevel.FdStream(sys.stdin.fileno()) as stdin:
            while await stdin.receive_some():
                pass
        for server in servers:
            print(json.dumps(account_of(server)), flush=True)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
