"""iFlytek Spark as a provider behind the chat dialect: one signed WebSocket for each request."""

from __future__ import annotations

from typing import Final

import msgspec

from relayd.dialect.behind import Fault, Handshake, Skew
from relayd.dialect.chat_errors import shown
from relayd.dialect.chat_faults import auth_failed, handshake_fault
from relayd.dialect.chat_values import ChatRequest
from relayd.dialect.spark_account import SparkAccount, hidden_texts, key_of, model_at, table_of
from relayd.dialect.spark_frames import SparkExchange
from relayd.dialect.spark_request import prepared, refusal
from relayd.dialect.spark_signing import SKEW_MAX_S, clock_skew_s, signed_target

_FORBIDDEN: Final = 403
_DATE_WORDS: Final = "x-date"
"""In "a valid date or x-date header is required", which no other refusal says."""


class _WireRefusal(msgspec.Struct):
    message: str


_decode_refusal: Final = msgspec.json.Decoder(_WireRefusal).decode


class Spark:
    """See :class:`relayd.dialect.behind.Provider`."""

    def takes(self, request: ChatRequest, account: SparkAccount) -> Fault | None:
        """See :class:`relayd.dialect.behind.Provider`."""
        return refusal(request, account)

    def target(self, account: SparkAccount, model: str, wall: float) -> Handshake:
        """A signed URL, good for five minutes. There is no Authorization header.

        The account's table says which model is meant, whatever ``model`` is.
        """
        spark, url = model_at(account), account.base_url
        host, path = (spark.host, "") if url is None else (url.authority, url.path)
        secret = table_of(account).api_secret.reveal()
        return Handshake(
            signed_target(key_of(account), secret, host, f"{path}{spark.endpoint}", wall),
            authority=host,
        )

    def begin(
        self, request: ChatRequest, account: SparkAccount, model: str, *, attempt: int = 0
    ) -> SparkExchange:
        """See :class:`relayd.dialect.behind.Provider`."""
        return SparkExchange(prepared(request, account, attempt=attempt), hidden_texts(account))

    def classify_handshake(
        self, status: int, body: bytes, date: str | None, wall: float
    ) -> Fault | Skew:
        """What an answer other than a 101 means.

        The gateway in front of Spark answers with ``{"message": …}`` and no code: 401 for a key or
        a signature it does not accept, 403 for a date that is off by more than five minutes and
        for an address that is not on the application's list.
        """
        said = _said(body)
        if status == _FORBIDDEN and _DATE_WORDS in said:
            offset_s = clock_skew_s(date, wall)
            fault = auth_failed(shown(f"handshake answered with {status}: {said}"))
            if offset_s is not None and abs(offset_s) > SKEW_MAX_S / 2:
                return Skew(offset_s, fault)
            return fault  # the date is right: the same would be said again
        return handshake_fault(status, said)


SPARK: Final = Spark()


def _said(body: bytes) -> str:
    try:
        return str(_decode_refusal(body).message)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return body.decode(errors="replace")
