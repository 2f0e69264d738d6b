"""The order in which a device prefers servers."""

from __future__ import annotations

from collections import Counter

import attrs

from relayd.config.pricebook import PriceBook
from relayd.config.providers import Provider
from relayd.config.snapshot import Account, Key
from relayd.config.url import parse_base_url
from relayd.config.xiaozhi import DeviceServerSettings
from relayd.dialect.xiaozhi_build import UNKNOWN, Build
from relayd.routing.roster import Roster, Seat
from relayd.session.xiaozhi.routing import preference, take_seat

DEVICES = [f"aa:bb:cc:00:{number >> 8:02x}:{number & 255:02x}" for number in range(2000)]
KEY = Key(name="dev", tenant="t", digest=bytes(32))


def account(name: str, **more: object) -> Account:
    base = Account(
        name=name, provider=Provider.XIAOZHI, base_url=parse_base_url("ws://127.0.0.1:1")
    )
    return attrs.evolve(base, **more)  # type: ignore[arg-type]  # passed on as given


def seat(
    roster: Roster,
    device_id: str = DEVICES[0],
    tried: tuple[str, ...] = (),
    last: tuple[str, ...] = (),
    key: Key = KEY,
    build: Build = UNKNOWN,
) -> Seat | None:
    return take_seat(
        roster, device_id, key, PriceBook(), build=build, now=0.0, tried=tried, last=last
    )


def firsts(accounts: list[Account]) -> dict[str, str]:
    return {device: preference(device, accounts)[0].name for device in DEVICES}


def test_a_device_has_one_order_whatever_the_accounts_stand_in() -> None:
    accounts = [account("one"), account("two"), account("three")]

    assert firsts(accounts) == firsts(accounts[::-1])


def test_weights_say_how_many_devices_each_gets() -> None:
    counts = Counter(firsts([account("one", weight=300), account("two", weight=100)]).values())

    assert 0.70 < counts["one"] / len(DEVICES) < 0.80


def test_an_account_that_goes_moves_its_own_devices_alone() -> None:
    accounts = [account("one"), account("two"), account("three")]
    before, after = firsts(accounts), firsts(accounts[:2])

    assert {device for device in DEVICES if before[device] != after[device]} == {
        device for device in DEVICES if before[device] == "three"
    }


def test_a_higher_priority_goes_first() -> None:
    accounts = [account("one", priority=1), account("two", priority=0, weight=1)]

    assert set(firsts(accounts).values()) == {"two"}


def test_a_full_server_leaves_its_devices_to_the_next() -> None:
    accounts = [account("one", sessions_max=1), account("two", priority=1)]
    roster = Roster.of(accounts)

    taken = [seat(roster), seat(roster)]

    assert [each.account.name for each in taken if each] == ["one", "two"]
    assert [each.in_flight for each in roster.statistics()] == [1, 1]


def test_what_was_tried_is_left_out_and_what_was_lost_comes_last() -> None:
    roster = Roster.of([account("one"), account("two", priority=1)])

    found = [seat(roster, last=("one",)), seat(roster, last=("one",), tried=("two",))]

    assert [each.account.name for each in found if each] == ["two", "one"]
    assert seat(roster, tried=("one", "two")) is None


def test_only_servers_of_the_device_are_taken() -> None:
    own = DeviceServerSettings(devices=("bb:*",))
    roster = Roster.of([account("one", xiaozhi=own)])

    assert seat(roster) is None
    assert seat(roster, "bb:00:00:00:00:01") is not None


def test_servers_may_be_for_boards_firmware_and_tenants() -> None:
    roster = Roster.of(
        [
            account("beta", xiaozhi=DeviceServerSettings(firmware=("2.1.*",))),
            account("box", priority=1, xiaozhi=DeviceServerSettings(boards=("esp-box*",))),
            account("guests", priority=2, xiaozhi=DeviceServerSettings(tenants=("guest",))),
            account("all", priority=3),
        ]
    )
    guest = attrs.evolve(KEY, tenant="guest")

    def goes_to(build: Build, key: Key = KEY) -> str:
        found = seat(roster, build=build, key=key)
        assert found is not None
        found.release()
        return found.account.name

    assert goes_to(UNKNOWN) == "all"
    assert goes_to(UNKNOWN, guest) == "guests"
    assert goes_to(Build(("lichuang",), "2.1.4")) == "beta"
    assert goes_to(Build(("esp-box-3", "kitchen"), "2.0.0"), guest) == "box"


def test_a_budget_goes_only_where_there_is_a_price() -> None:
    roster = Roster.of([account("one")])

    assert seat(roster, key=attrs.evolve(KEY, budget_nano=1)) is None
