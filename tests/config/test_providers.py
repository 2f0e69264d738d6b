"""Which dialects go to which kind of upstream."""

from __future__ import annotations

from relayd.config.providers import SIMULATED, Dialect, Provider


def test_every_dialect_has_a_simulator() -> None:
    simulated = [provider for provider in Provider if provider.is_simulated]

    spoken = {each for provider in simulated for each in provider.dialects}

    assert spoken == set(Dialect) - {Dialect.HUB}, "relayd itself is what the hub speaks of"


def test_a_simulator_is_named_after_what_it_stands_for() -> None:
    for provider in Provider:
        if provider.is_simulated:
            original = provider.removeprefix(SIMULATED)
            assert original in set(Provider) or provider.dialects == (original,)


def test_every_provider_speaks_a_dialect() -> None:
    assert all(provider.dialects for provider in Provider)


def test_passthrough_goes_to_websocket_services_alone() -> None:
    assert Provider.WEBSOCKET.dialects == (Dialect.PASSTHROUGH,)
    assert Dialect.PASSTHROUGH not in Provider.OPENAI.dialects + Provider.COMPATIBLE.dialects


def test_openai_speaks_realtime_and_responses() -> None:
    assert Provider.OPENAI.dialects == (Dialect.REALTIME, Dialect.RESPONSES)
