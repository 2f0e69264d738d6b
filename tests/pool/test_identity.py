"""What makes sockets interchangeable."""

from __future__ import annotations

import attrs
import pytest

from relayd.config.providers import Provider
from relayd.config.proxy import Proxy, ProxyKind
from relayd.config.secret import Secret
from relayd.config.snapshot import Account
from relayd.config.url import parse_base_url
from relayd.pool.identity import Identity, SlotRef, credential_of

ACCOUNT = Account(
    name="a",
    provider=Provider.OPENAI,
    base_url=parse_base_url("https://one.example/v1"),
    api_key=Secret("canary-key"),
    headers={"a": "b", "c": "d"},
    proxy=Proxy(
        kind=ProxyKind.HTTP,
        host="proxy.example",
        port=3128,
        is_literal=False,
        username=Secret("canary-user"),
        password=Secret("canary-password"),
    ),
    tls_ca="/etc/ca.pem",
)
PROXY = ACCOUNT.proxy
assert PROXY is not None


@pytest.mark.parametrize(
    "changed",
    [
        attrs.evolve(ACCOUNT, provider=Provider.COMPATIBLE),
        attrs.evolve(ACCOUNT, base_url=parse_base_url("https://two.example/v1")),
        attrs.evolve(ACCOUNT, base_url=parse_base_url("https://one.example/v2")),
        attrs.evolve(ACCOUNT, base_url=None),
        attrs.evolve(ACCOUNT, api_key=Secret("other")),
        attrs.evolve(ACCOUNT, api_key=None),
        attrs.evolve(ACCOUNT, headers={"a": "b"}),
        attrs.evolve(ACCOUNT, headers={"a": "bc", "": "d"}),
        attrs.evolve(ACCOUNT, tls_ca=None),
        attrs.evolve(ACCOUNT, allow_private=True),
        attrs.evolve(ACCOUNT, proxy=None),
        attrs.evolve(ACCOUNT, proxy=attrs.evolve(PROXY, host="other.example")),
        attrs.evolve(ACCOUNT, proxy=attrs.evolve(PROXY, password=Secret("other"))),
        attrs.evolve(ACCOUNT, proxy=attrs.evolve(PROXY, username=None, password=None)),
    ],
)
def test_whatever_a_socket_is_opened_with_is_part_of_the_credential(changed: Account) -> None:
    assert credential_of(changed) != credential_of(ACCOUNT)


def test_what_has_nothing_to_do_with_opening_is_not() -> None:
    same = attrs.evolve(
        ACCOUNT, weight=1, priority=2, models=("x",), headers={"c": "d", "a": "b"}, name="b"
    )

    assert credential_of(same) == credential_of(ACCOUNT)


def test_texts_do_not_run_together() -> None:
    one = attrs.evolve(ACCOUNT, headers={"a": "1", "b": "2"})
    other = attrs.evolve(ACCOUNT, headers={"a": "1b", "": "2"})

    assert credential_of(one) != credential_of(other)


def test_no_secret_is_shown() -> None:
    credential = credential_of(ACCOUNT)
    identity = Identity(tenant="t", account="a", credential=credential)

    assert "canary" not in credential
    assert credential not in repr(identity)


def test_identities_are_compared_by_all_of_it() -> None:
    first = Identity(tenant="t", account="a", credential="c", headers=(("session-id", "1"),))

    assert first == attrs.evolve(first)
    assert hash(first) == hash(attrs.evolve(first))
    for change in (
        {"tenant": "u"},
        {"account": "b"},
        {"credential": "d"},
        {"headers": ()},
        {"session": "s"},
    ):
        assert attrs.evolve(first, **change) != first


def test_a_reference_is_to_one_socket() -> None:
    assert SlotRef(1, 2) != SlotRef(1, 3)
