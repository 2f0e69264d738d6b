"""The event hub of ``relayd demo``: one follower, one publisher, and a follower that comes back."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

import attrs
import httpx
import msgspec

from relayd.cli.demo_client import Client, DemoError
from relayd.config.providers import Dialect

TOPIC: Final = "workflow:demo"
PATH: Final = f"/api/v1/ws?topics={TOPIC}"

_WHO: Final = Dialect.HUB.value


class _Message(msgspec.Struct):
    """What of the hub's messages is looked at."""

    type: str | None = None
    event: str | None = None
    id: str | None = None
    recovered: bool | None = None


@attrs.frozen
class Follower:
    """Follows a topic through the relay.

    Attributes:
        client: Who it is.
    """

    client: Client

    async def follow(self) -> None:
        """Hear an event as it is published, leave, and come back for the one that was missed.

        Raises:
            DemoError: The hub does not tell what was published.
        """
        tell = self.client.narrator.tell
        async with self.client.connected(PATH) as socket:
            await self._expect(await socket.get_message(), type="welcome")
            await self._publish("step.done")
            heard = await self._expect(await socket.get_message(), event="step.done")
        tell(_WHO, f"followed {TOPIC}; heard step.done as it was published")
        await self._publish("step.missed")
        async with self.client.connected(f"{PATH}&since={heard.id}") as socket:
            await self._expect(await socket.get_message(), type="welcome", recovered=True)
            await self._expect(await socket.get_message(), event="step.missed")
        tell(_WHO, "left, came back with its place, and heard step.missed, published meanwhile")

    async def _publish(self, event: str) -> None:
        base_url = f"http://{self.client.address}"
        async with httpx.AsyncClient(base_url=base_url, trust_env=False) as http:
            response = await http.post(
                "/api/v1/publish",
                json={"topic": TOPIC, "event": event, "data": {"step": 1}},
                headers={"Authorization": f"Bearer {self.client.key}"},
            )
        if response.status_code != HTTPStatus.OK:
            raise DemoError(f"the hub answered with {response.status_code}: {response.text}")

    async def _expect(self, message: str | bytes, **wanted: object) -> _Message:
        said = msgspec.json.decode(message, type=_Message)
        if any(getattr(said, name) != value for name, value in wanted.items()):
            raise DemoError(f"the hub said something else: {message!r}")
        return said
