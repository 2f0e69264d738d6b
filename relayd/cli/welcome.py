"""What ``relayd serve`` shows a person who started it by hand: where it listens, what to try."""

from __future__ import annotations

from relayd.config.keys import Role
from relayd.config.providers import Dialect
from relayd.config.snapshot import Account, Snapshot
from relayd.service.app import Running

_SCRIPT = """\
  Python, with the openai package:
    import asyncio, openai
    async def main():
        client = openai.AsyncOpenAI(base_url="{http}/v1", api_key="{key}")
        async with client.realtime.connect(model="{model}") as connection:
            await connection.response.create()
            async for event in connection:
                print(event.type)
                if event.type == "response.done":
                    break
    asyncio.run(main())
"""


_POST = """\
  curl -N {http}/v1/responses -H 'Authorization: Bearer {key}' \\
    -d '{{"model": "{model}", "input": "Hello", "stream": true}}'
"""


def what_to_try(snapshot: Snapshot, running: Running) -> str:
    """A few lines to copy. A key is shown only if it is the one of the configuration for trying."""
    where = next((each for each in running.addresses if not each.startswith("unix:")), None)
    lines = [f"\nrelayd listens on {', '.join(running.addresses)}; Ctrl-C drains, twice stops."]
    if where is None:
        return lines[0]
    scheme = "https" if snapshot.settings.server.tls else "http"
    http = f"{scheme}://{where}"
    key = "relayd-dev-key" if snapshot.key_for("relayd-dev-key") else "YOUR-KEY"
    accounts = [account for account in snapshot.accounts if account.enabled]
    realtime = next((a for a in accounts if a.speaks(Dialect.REALTIME)), None)
    responses = next((a for a in accounts if a.speaks(Dialect.RESPONSES)), None)
    if realtime is not None or responses is not None:
        lines.append("Try:")
    if responses is not None:
        lines.append(_POST.format(http=http, key=key, model=_model(responses, "gpt-5")))
    if realtime is not None:
        model = _model(realtime)
        lines.append(_curl(http, key, f"/v1/realtime?model={model}"))
        lines.append(_SCRIPT.format(http=http, key=key, model=model))
    told = snapshot.settings.xiaozhi.public_url
    if told is not None and any(account.speaks(Dialect.XIAOZHI) for account in accounts):
        lines.append(f"  xiaozhi devices: their OTA address is {told}/xiaozhi/ota/")
    if running.admin.startswith("unix:"):
        socket = running.admin.removeprefix("unix:")
        lines.append(f"  Health: curl --unix-socket {socket} http://localhost/readyz")
    shown = snapshot.key_for("relayd-dev-key")
    if shown is not None and shown.role is Role.OPERATOR:
        lines.append(f"  Dashboard: {http}/dashboard, with the key {key}")
    lines.append("  What it cost: relayd usage --config FILE")
    return "\n".join(lines)


def _curl(http: str, key: str, path: str) -> str:
    """A WebSocket handshake by hand: curl shows the 101 and the first frame, then gives up."""
    headers = (
        f"Authorization: Bearer {key}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: cmVsYXlkLXNhbXBsZS1rZQ==",
    )
    flags = " \\\n      ".join(f"-H '{header}'" for header in headers)
    return f"  curl -iN --http1.1 --max-time 1 {flags} \\\n      '{http}{path}'\n"


def _model(account: Account, otherwise: str = "gpt-realtime") -> str:
    named = next(iter(account.model_map), None) or next(iter(account.models), "*")
    return named.replace("*", "") or otherwise
