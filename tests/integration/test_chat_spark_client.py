"""iFlytek's own client of Spark works against the simulated one, without relayd between."""

from __future__ import annotations

from typing import Final

import pytest
import trio

from relayd.sim.server import serve
from relayd.sim.spark.upstream import SIMULATED, SparkUpstream
from tests.integration.client_environments import ClientEnvironment
from tests.integration.conftest import CLIENTS, run_client

pytestmark = pytest.mark.slow

SPARK: Final = ClientEnvironment("spark")


async def test_the_vendors_client_holds_a_conversation(nursery: trio.Nursery) -> None:
    python = await trio.to_thread.run_sync(SPARK.python)
    server = await nursery.start(serve, SparkUpstream())
    url = f"ws://{server.address}/v3.5/chat"
    who = (SIMULATED.app_id, SIMULATED.api_key, SIMULATED.api_secret)

    (told,) = await run_client([python, CLIENTS / "spark_ai.py", url, "generalv3.5", *who])

    answer = "Answer 2. You said: two"
    assert told["text"] == answer
    assert told["usage"]["total_tokens"] > told["usage"]["completion_tokens"] == 5
    assert "".join(told["pieces"]).startswith(answer)
    assert told["call"] == {"name": "shell", "arguments": '{"command":"echo hello"}'}
    assert told["audited"][0] == 10013
    assert "HMAC signature does not match" in str(told["unknown"])
    found = server.upstream.statistics()
    assert (found.total.completed, found.total.errors, found.refused) == (3, 1, 1)
    assert server.crashes == 0
