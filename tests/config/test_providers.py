"""Which dialect goes to which kind of upstream."""

from __future__ import annotations

from relayd.config.providers import Dialect, Provider


def test_every_provider_speaks_a_dialect_and_every_dialect_has_a_simulator() -> None:
    simulated = {provider.dialect for provider in Provider if provider.is_simulated}

    assert {provider.dialect for provider in Provider} == simulated == set(Dialect)


def test_a_simulator_is_named_after_its_dialect() -> None:
    for provider in Provider:
        if provider.is_simulated:
            assert provider == f"sim:{provider.dialect}"


def test_passthrough_goes_to_websocket_services() -> None:
    assert Provider.WEBSOCKET.dialect is Dialect.PASSTHROUGH
    assert Provider.OPENAI.dialect is Provider.COMPATIBLE.dialect is Dialect.REALTIME
