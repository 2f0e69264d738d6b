"""The bytes of answers of a Spark-like upstream, made once: text frames, all of one size.

A frame has the members that the vendor's page shows, and some ten tokens of Chinese text behind
twenty digits, which are a frame's number or the time at which it is sent: so who reads what a relay
makes of it knows which frame it was.
"""

from __future__ import annotations

import json
from typing import Final

from bench import frames

DIGITS: Final = frames.STAMP_DIGITS
WORDS: Final = "上议院只能将财政法案推迟。"
USAGE: Final = {
    "question_tokens": 4,
    "prompt_tokens": 5,
    "completion_tokens": 9,
    "total_tokens": 14,
}

_SID: Final = "cht000cb087@dx18793cd421fb894542"
_CONTENT: Final = b'"content":"'
_FIRST, _BETWEEN, _LAST = 0, 1, 2  # choices.status


def piece(number: int, *, status: int = _BETWEEN, usage: bool = False) -> bytes:
    """The payload of one frame, ``number`` as the digits at the beginning of its text."""
    said = {"content": f"{number:0{DIGITS}d}{WORDS}", "role": "assistant", "index": 0}
    told: dict[str, object] = {"choices": {"status": status, "seq": 0, "text": [said]}}
    if usage:
        told["usage"] = {"text": USAGE}
    header = {"code": 0, "message": "Success", "sid": _SID, "status": status}
    frame = {"header": header, "payload": told}
    return json.dumps(frame, separators=(",", ":"), ensure_ascii=False).encode()


def first_frame() -> bytes:
    """The frame that an answer begins with."""
    return frames.text_frame(piece(0, status=_FIRST))


def piece_batch(count: int) -> bytes:
    """``count`` different frames from the middle of an answer, one after the other."""
    return b"".join(frames.text_frame(piece(number)) for number in range(count))


def stamped_piece() -> tuple[bytearray, slice]:
    """A frame from the middle of an answer, and where in it the digits belong."""
    frame = bytearray(frames.text_frame(piece(0)))
    start = frame.index(_CONTENT) + len(_CONTENT)
    return frame, slice(start, start + DIGITS)


def whole_answer() -> bytes:
    """An answer of three frames, the last one with usage."""
    last = frames.text_frame(piece(2, status=_LAST, usage=True))
    return first_frame() + frames.text_frame(piece(1)) + last


PIECE_FRAME_BYTES: Final = len(first_frame())
"""Of every frame but a last one."""
