"""The metrics of devices: rows of the table in :mod:`relayd.observe.metrics`."""

from __future__ import annotations

from typing import Final

from relayd.observe import metrics_labels as label
from relayd.observe import metrics_specs as make

# fmt: off
HELLO_SECONDS: Final = make.histogram(
    make.ADMISSION_S, "device_hello_seconds", "From a device's hello to the server's answer.",
    "Tens of milliseconds; devices give up after 10 s.",
    "Above 2 s: servers miss hellos, or are full; see `upstream.failed` in the log.",
    label.ACCOUNT)
STT_SECONDS: Final = make.histogram(
    make.OUTPUT_S, "device_stt_seconds", "From the end of an utterance to its text.",
    "Up to a second; the first audio of the answer is in `relayd_ttft_seconds`.",
    "The server's speech recognition is slow: look at its host.",
    label.ACCOUNT)
CALL_SECONDS: Final = make.histogram(
    make.OUTPUT_S, "device_call_seconds",
    "From a call of a device's tool, by its server in a turn or by an operator, to the answer.",
    "Tenths of a second; an operator's call is given up after 10 s.",
    "Devices have a bad network, or their tools are slow: `calls_ms` in `turn.ended`.",
    label.ACCOUNT)
AUDIO_SECONDS_TOTAL: Final = make.counter(
    "device_audio_seconds_total", "Seconds of audio in turns of devices.",
    "What your users say, and hear.",
    "`relayd usage --by account` has the same, with what it costs.",
    label.ACCOUNT, label.IN_OUT)
SERVERS_LOST_TOTAL: Final = make.counter(
    "device_servers_lost_total", "Servers that were lost while their device stayed.",
    "None but at restarts of servers.",
    "The account's server breaks down, or a proxy cuts silent sockets.",
    label.ACCOUNT, label.DEVICE_LOSS)
PACKETS_DROPPED_TOTAL: Final = make.counter(
    "device_packets_dropped_total", "Packets of audio whose size was not what they said.",
    "None.",
    "A broken device or server: `xiaozhi.ended` in the log says whose.",
    label.ACCOUNT, label.IN_OUT)
# fmt: on
