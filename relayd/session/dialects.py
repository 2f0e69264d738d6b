"""What a grant means in its dialect: which upstream it wants, and what reads its messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

from relayd.config.pricebook import PriceBook
from relayd.config.providers import Dialect, Provider
from relayd.config.snapshot import Account, Key
from relayd.core.refusals import Refusal, RefusalCode
from relayd.dialect import passthrough, realtime, responses
from relayd.dialect.base import Conversation
from relayd.dialect.meter import Listener, Meter
from relayd.dialect.realtime_client import ModelRule
from relayd.protocol.upgrade import echo_subprotocol
from relayd.routing.roster import Roster
from relayd.routing.scheduler import Demand
from relayd.session.admission import Grant
from relayd.session.connecting import Wish


def wish_of(grant: Grant, roster: Roster, prices: PriceBook) -> Wish | Refusal:
    """Which upstream ``grant`` asks for; a refusal where no rule can say.

    A key with a budget goes only where what it asks for has a price.
    """
    match grant.dialect:
        case Dialect.RESPONSES | Dialect.CHAT | Dialect.HUB | Dialect.XIAOZHI:
            raise AssertionError("turns of this dialect find their own upstreams")
        case Dialect.REALTIME:
            account = _account_of_call(roster) if grant.call_id is not None else None
            if isinstance(account, Refusal):
                return account
            among = priced_among(grant.key, realtime.NAME, grant.model, roster, prices)
            if isinstance(among, Refusal):
                return among
            return Wish(
                demand=Demand(realtime.NAME, model=grant.model, account=account, among=among),
                target=lambda account: _realtime_target(grant, account),
                headers=grant.forward_headers,
                hears_first=True,
            )
        case Dialect.PASSTHROUGH:
            assert grant.account_name is not None, "admission has named the account"
            model = passthrough_model(grant.account_name)
            if grant.key.budget_nano and prices.find(model) is None:
                return _not_priced(f"The account's price would be that of the model {model}.")
            return Wish(
                demand=Demand(passthrough.NAME, account=grant.account_name),
                target=lambda account: passthrough.upstream_target(
                    _path(account), grant.tail, grant.upstream_query
                ),
                subprotocols=grant.subprotocols,
                hears_first=False,
                path_is_clients=True,
            )
        case _:
            assert_never(grant.dialect)


def priced_model(grant: Grant, account: Account) -> str | None:
    """Under which name ``account`` is paid for this session; ``None`` where it has yet to say."""
    match grant.dialect:
        case Dialect.REALTIME:
            return None if grant.model is None else account.upstream_model(grant.model)
        case Dialect.PASSTHROUGH:
            return passthrough_model(account.name)
        case Dialect.RESPONSES | Dialect.CHAT | Dialect.HUB | Dialect.XIAOZHI:
            return None  # each turn has its own
        case _:
            assert_never(grant.dialect)


def passthrough_model(account_name: str) -> str:
    """The name under which a passthrough account has its price: its path, without the slash."""
    return f"relay/{account_name}"


def priced_among(
    key: Key, dialect: str, model: str | None, roster: Roster, prices: PriceBook
) -> frozenset[str] | Refusal | None:
    """The accounts whose price for the model is known, where that matters."""
    if not key.budget_nano or model is None:
        return None
    serving = [standing.account for standing in roster.serving(dialect, model)]
    priced = {each.name for each in serving if prices.find(each.upstream_model(model))}
    if serving and not priced:
        return _not_priced("A price for it can be added to the file that ledger.prices names.")
    return frozenset(priced) if serving else None


def _not_priced(remedy: str) -> Refusal:
    message = f"This key has a budget, and what it asks for has no price. {remedy}"
    return Refusal(RefusalCode.MODEL_NOT_PRICED, message, "model")


def _account_of_call(roster: Roster) -> str | Refusal:
    """Who made a call: the only OpenAI account, or the only one there is at all."""
    serving = [standing.account for standing in roster.serving(realtime.NAME, None)]
    own = [account for account in serving if account.provider is Provider.OPENAI] or serving
    if len(own) == 1:
        return own[0].name
    message = "call_id names a call, but not which of several accounts made it."
    return Refusal(RefusalCode.INVALID_PARAMETER, message, "call_id")


def answer_subprotocol(grant: Grant, chosen: str | None) -> str | None:
    """What the 101 names: in passthrough the upstream's choice, else relayd's own."""
    if grant.dialect is Dialect.PASSTHROUGH:
        return chosen
    return echo_subprotocol(grant.subprotocols)


def conversation_of(
    grant: Grant,
    account: Account,
    meter: Meter,
    listener: Listener,
    priced: Callable[[str], bool] = lambda model: True,
) -> Conversation:
    """What reads the messages of a session that was granted so, at the chosen account.

    Args:
        priced: Whether a model, by the account's name for it, may be used for money.
    """
    match grant.dialect:
        case Dialect.REALTIME:
            rule = ModelRule(
                permits=grant.key.permits_model,
                transcription=grant.intent == "transcription",
                upstream_name=account.upstream_model,
                priced=priced,
            )
            return realtime.RealtimeConversation(meter, listener, rule)
        case Dialect.PASSTHROUGH:
            return passthrough.Bytes()
        case Dialect.RESPONSES | Dialect.CHAT | Dialect.HUB | Dialect.XIAOZHI:
            raise AssertionError("turns of this dialect read their own messages")
        case _:
            assert_never(grant.dialect)


def message_max_bytes(grant: Grant, configured: int) -> int:
    """The longest message of either side: the dialect's own cap below the configured one."""
    match grant.dialect:
        case Dialect.REALTIME:
            return min(configured, realtime.MESSAGE_MAX_BYTES)
        case Dialect.RESPONSES:
            return min(configured, responses.MESSAGE_MAX_BYTES)
        case _:
            return configured


def _realtime_target(grant: Grant, account: Account) -> str:
    model = None if grant.model is None else account.upstream_model(grant.model)
    return realtime.upstream_target(
        _path(account), model=model, call_id=grant.call_id, intent=grant.intent
    )


def _path(account: Account) -> str:
    return account.base_url.path if account.base_url is not None else ""
