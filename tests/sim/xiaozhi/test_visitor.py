"""Who comes, by headers and by query."""

from __future__ import annotations

from relayd.sim.xiaozhi.scenario import Scenario
from relayd.sim.xiaozhi.visitor import visitor_of


def test_a_device_names_itself_in_headers() -> None:
    headers = {
        "device-id": "aa:bb",
        "client-id": "c",
        "authorization": "Bearer t.1",
        "protocol-version": "3",
        "x-forwarded-for": "192.0.2.1",
    }
    visitor = visitor_of("/xiaozhi/v1/", headers)

    assert (visitor.device_id, visitor.client_id, visitor.token) == ("aa:bb", "c", "t.1")
    assert (visitor.version, visitor.path) == (3, "/xiaozhi/v1/")
    assert visitor.forwarded_for == "192.0.2.1"
    assert not visitor.is_gateway
    assert "t.1" not in repr(visitor)


def test_a_browser_names_itself_in_the_query_and_headers_win() -> None:
    target = "/xiaozhi/v1/?device-id=web&client-id=tab&authorization=Bearer%20t.2"

    assert visitor_of(target, {}).token == "t.2"
    assert visitor_of(target, {"device-id": "head"}).device_id == "head"


def test_the_gateway_is_known_by_the_end_of_its_target() -> None:
    assert visitor_of("/xiaozhi/v1/?from=mqtt_gateway", {}).is_gateway
    assert not visitor_of("/xiaozhi/v1/?from=mqtt_gateway&x=1", {}).is_gateway


def test_a_version_that_is_none_is_none() -> None:
    assert visitor_of("/", {"protocol-version": "4"}).version is None
    assert visitor_of("/", {}).version is None


def test_a_client_id_names_what_is_played() -> None:
    named = visitor_of("/", {"client-id": "sim-no_mcp"})

    assert named.scenario(Scenario.NORMAL) is Scenario.NO_MCP
    assert visitor_of("/", {"client-id": "no_mcp"}).scenario(Scenario.SILENT) is Scenario.SILENT
    assert visitor_of("/", {"client-id": "sim-what"}).scenario(Scenario.SILENT) is Scenario.SILENT
