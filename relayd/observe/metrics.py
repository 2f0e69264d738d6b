"""Every metric that relayd exposes: its name, its labels, its buckets, what to make of it.

The table is the one place where a metric is named. The values are kept and rendered by what is
made from it, ``docs/metrics.md`` is generated from it, and the alert rules and the dashboard in
``etc`` are tested against it.

Names follow Prometheus: base units, ``_total`` for what only grows, and a state as a label whose
series is 1 or 0, as HAProxy has it. OpenMetrics knows a counter without its ``_total``, so no
gauge may have that name. A label says what the configuration or an enum of relayd's own says.
"""

from __future__ import annotations

import enum

from relayd.observe import metrics_devices as device
from relayd.observe import metrics_labels as label
from relayd.observe import metrics_specs as make
from relayd.observe.metrics_labels import Spec


class Metric(enum.Enum):
    """All metrics, in the order in which they are shown."""

    __hash__ = object.__hash__  # in C; that of an Enum is not, and there is a look-up for each call

    # A line for the name, then what it means, what is normal, what to do, and its labels.
    # fmt: off
    SESSIONS_OPEN = make.gauge(
        "sessions_open", "Sessions that are open.",
        "Follows your users' day.",
        "A sudden fall: see which reason grows in `relayd_sessions_total`.",
        label.DIALECT, label.SESSIONS_ACCOUNT)
    SESSIONS_MAX = make.gauge(
        "sessions_max", "Sessions that this process takes at once.",
        "Well above `relayd_sessions_open`.",
        "Raise `limits.sessions_max`, or the descriptor limit where that is 0; or add a host.")
    SESSIONS_TOTAL = make.counter(
        "sessions_total", "Sessions that have ended.",
        "Nearly all with fault `none`, or `client_gone`.",
        "Fault `upstream`: look at the account. Fault `relay`: at overload and at the log.",
        label.DIALECT, label.SESSIONS_ACCOUNT, label.ENDING, label.FAULT)
    SESSION_DURATION_SECONDS = make.histogram(
        make.SESSION_S, "session_duration_seconds", "How long sessions lasted, from the 101 on.",
        "What your clients do.",
        "Many short ones: clients reconnect in a loop; see the reasons of their endings.",
        label.DIALECT)
    ADMISSION_SECONDS = make.histogram(
        make.ADMISSION_S, "admission_seconds",
        "From the accepted connection to the 101, for sessions that came about.",
        "The upstream's handshake and first frame, and a few milliseconds; in the responses"
        " dialect, which dials when a turn comes, the latter alone.",
        "Compare `relayd_connect_seconds`: what is not in there was spent on failing over.",
        label.DIALECT)
    CONNECT_SECONDS = make.histogram(
        make.ADMISSION_S, "connect_seconds",
        "Dialling an upstream, its handshake included, for a session or for a socket of the pool.",
        "A few round trips.",
        "See the way to the upstream: name servers, proxy, TLS. `relayd doctor` tells them apart.",
        label.ACCOUNT)
    FIRST_FRAME_SECONDS = make.histogram(
        make.ADMISSION_S, "first_frame_seconds", "From the upstream's 101 to its first message.",
        "Below half a second.",
        "The upstream is slow: lower its `weight`, or put another `priority` first.",
        label.ACCOUNT)
    CONNECTIONS_REFUSED_TOTAL = make.counter(
        "connections_refused_total", "Connections that ended before a 101 was written.",
        "A few 401 and 404 from strangers.",
        "Status 5xx: relayd or its accounts cannot serve. 401 in masses: a client lost its key, or"
        " somebody guesses. `connection.refused` has each address.",
        label.STATUS_SENT, label.REFUSAL, label.DIALECT)
    HTTP_REQUESTS_TOTAL = make.counter(
        "http_requests_total", "HTTP requests that have ended; upgrades are not among them.",
        "Outcome `complete` and status 200; 401 for each health check without a key.",
        "Status 401 and 403 in masses: a client lost its key, or somebody guesses. Status 5xx:"
        " relayd cannot serve. `request.ended` has each address and reason.",
        label.LISTENER, label.ROUTE, label.STATUS_ANSWERED, label.REQUEST_OUTCOME)
    HTTP_REQUEST_DURATION_SECONDS = make.histogram(
        make.REQUEST_S, "http_request_duration_seconds",
        "From a request's head to the last byte of its response.",
        "A few milliseconds where relayd answers by itself.",
        "All routes at once: look at `relayd_loop_delay_seconds`. `/metrics` alone: there are many"
        " sessions and series; scrape less often.",
        label.LISTENER, label.ROUTE)
    TURNS_TOTAL = make.counter(
        "turns_total", "Responses that are over.",
        "`completed`, and `cancelled` where users interrupt.",
        "`failed` is the upstream's word; any other reason cut the response short. `upstream_…`"
        " and `read_timeout`: look at the account; `gateway_busy`: at `relayd_pool_waiting`, then"
        " at `relayd_held_bytes`.",
        label.DIALECT, label.ACCOUNT, label.MODEL, label.TURN_REASON)
    TURN_DURATION_SECONDS = make.histogram(
        make.TURN_S, "turn_duration_seconds", "From the create to the end of its response.",
        "Seconds.",
        "Look at `relayd_ttft_seconds` first: what is slow there is slow here.",
        label.DIALECT, label.MODEL)
    TTFT_SECONDS = make.histogram(
        make.OUTPUT_S, "ttft_seconds", "Time to first token: from the create to the first output.",
        "Below a second for voice.",
        "Compare accounts of one model; if one is slow, lower its `weight`. If all are, look at"
        " `relayd_loop_delay_seconds`.",
        label.ACCOUNT, label.MODEL)
    TOKENS_TOTAL = make.counter(
        "tokens_total", "Tokens in the rows of the ledger.",
        "Follows the turns.",
        "`relayd usage --by key` says who uses them.",
        label.ACCOUNT, label.MODEL, label.IN_OUT, label.TOKEN_KIND)
    COST_USD_TOTAL = make.counter(
        "cost_usd_total", "US dollars in the rows of the ledger, as far as there is a price.",
        "Follows the tokens.",
        "`relayd usage --by key` says who spends them; `budget_usd` bounds each key.",
        label.ACCOUNT, label.MODEL)
    USAGE_UNPRICED_TOTAL = make.counter(
        "usage_unpriced_total", "Rows of the ledger whose cost is unknown.",
        "0.",
        "`model.unpriced` in the log names the models: give them a price.")
    MESSAGES_TOTAL = make.counter(
        "messages_total", "Messages relayed.",
        "Follows the sessions.",
        "No message while sessions are open: an upstream or a network stands still.",
        label.DIALECT, label.SESSIONS_ACCOUNT, label.UP_DOWN)
    BYTES_TOTAL = make.counter(
        "bytes_total", "Payload bytes of the messages relayed.",
        "Follows the messages.",
        "Compare with the bandwidth of your line.",
        label.DIALECT, label.SESSIONS_ACCOUNT, label.UP_DOWN)
    ACCOUNT_FAILURES_TOTAL = make.counter(
        "account_failures_total",
        "Failed attempts at an account, and errors in sessions that are about the account.",
        "0, or single ones.",
        "`upstream.failed` has the upstream's own words; `relayd doctor` tries each account.",
        label.ACCOUNT, label.FAILURE)
    ACCOUNT_UP = make.gauge(
        "account_up",
        "Whether an account that is switched on would be tried by the next session, were it not"
        " full.",
        "1.",
        "`relayd_account_state` says why not.",
        label.ACCOUNT)
    ACCOUNT_STATE = make.gauge(
        "account_state", "1 for the state that the account is in, 0 for all others.",
        "`ready`, or `off` where the configuration says so.",
        "`disabled`: mend its key or its bill, then `relayd accounts enable`. `cooled`: it ran"
        " into a rate limit. `open`: it cannot be reached; it is tried again with the next"
        " session.",
        label.ACCOUNT, label.STATE)
    ACCOUNT_IN_FLIGHT = make.gauge(
        "account_in_flight",
        "Sessions at the account, those being connected among them, and turns of the responses"
        " dialect.",
        "Below `relayd_account_sessions_max`.",
        "Raise the account's `sessions_max` as far as its contract goes, or add an account.",
        label.ACCOUNT)
    ACCOUNT_SESSIONS_MAX = make.gauge(
        "account_sessions_max",
        "Sessions and such turns that the account takes at once; 0 for any number.",
        "As configured.",
        "Nothing.",
        label.ACCOUNT)
    POOL_SOCKETS = make.gauge(
        "pool_sockets", "Sockets that the pool of the responses dialect has to an account.",
        "`active` follows the turns; up to `pool.idle_max` are `idle`.",
        "`active` near `relayd_pool_slots_max`: turns begin to wait. Many in `login` or `tested`:"
        " the upstream is slow to answer, see `relayd_connect_seconds`.",
        label.ACCOUNT, label.POOL_STATE)
    POOL_SLOTS_MAX = make.gauge(
        "pool_slots_max", "Sockets that the pool may have to an account.",
        "As configured.",
        "`pool.slots_max`.",
        label.ACCOUNT)
    POOL_WAITING = make.gauge(
        "pool_waiting", "Turns that wait for a socket, because all there may be are in use.",
        "0, or single ones.",
        "Raise `pool.slots_max` as far as the account's contract goes, or add an account.",
        label.ACCOUNT)
    POOL_WAIT_MAX_SECONDS = make.gauge(
        "pool_wait_max_seconds", "How long the first of those turns has waited.",
        "0.",
        "At `pool.acquire_s` its client gets 503.",
        label.ACCOUNT)
    POOL_WAIT_SECONDS = make.histogram(
        make.WAIT_S, "pool_wait_seconds",
        "How long turns waited for a socket, of those that had to: until they had one, or gave up"
        " at `pool.acquire_s`.",
        "Few, and short.",
        "As for `relayd_pool_waiting`. Compare the number with that of the leases.",
        label.ACCOUNT)
    POOL_LEASES_TOTAL = make.counter(
        "pool_leases_total", "Leases: a session gets the use of a socket, for one or more turns.",
        "Nearly all on a reused socket.",
        "Few reused: see what closes sockets in `relayd_pool_events_total`.",
        label.ACCOUNT, label.REUSED)
    POOL_EVENTS_TOTAL = make.counter(
        "pool_events_total", "What happened to sockets of the pool, and leases that it refused.",
        "`slot.opened` and `slot.rotated` in equal numbers; `slot.broken` with `client_gone` where"
        " clients leave in the middle of a response.",
        "By reason: [operating.md](operating.md#the-pool) says what each asks for.",
        label.ACCOUNT, label.POOL_EVENT, label.POOL_REASON)
    READY_SOCKETS = make.gauge(
        "ready_sockets", "Sockets that are opened ahead for the chat dialect.",
        "`pool.prewarm` for each account and path that was used in the last two minutes.",
        "None `ready` under load: see `relayd_ready_socket_events_total`.",
        label.ACCOUNT, label.READY_STATE)
    READY_SOCKET_EVENTS_TOTAL = make.counter(
        "ready_socket_events_total", "What happened to those, and to requests that wanted one.",
        "Nearly all requests `taken` where `pool.prewarm` is as many as come at once.",
        "`missed`: raise `pool.prewarm`. `aged`: lower it. `failed`: see the account. `lost`: its"
        " upstream closes silent sockets before 45 s.",
        label.ACCOUNT, label.READY_EVENT)
    HUB_SUBSCRIBERS = make.gauge(
        "hub_subscribers", "Clients of the event hub that follow something.",
        "Your dashboards and programs.",
        "A sudden fall: they come back by themselves; see the reasons in `relayd_sessions_total`.")
    HUB_STREAMS = make.gauge(
        "hub_streams", "Those of them that follow by SSE.",
        "Browsers' pages.",
        "As for `relayd_hub_subscribers`.")
    HUB_SUBSCRIPTIONS = make.gauge(
        "hub_subscriptions", "Topics and prefixes that clients of the event hub follow.",
        "A few for each of them, and up to 128.",
        "Let clients follow a prefix in place of many topics.")
    HUB_QUEUE_BYTES = make.gauge(
        "hub_queue_bytes", "Bytes of events that wait for clients of the event hub.",
        "Near 0.",
        "Clients read too slowly: see `overflowed` and `dropped` in `relayd_hub_events_total`.")
    HUB_FANOUT_SECONDS = make.histogram(
        make.PAUSE_S, "hub_fanout_seconds",
        "From an event's publishing to its sending, the longest in every 2 ms of sending.",
        "Milliseconds.",
        "Rising with `relayd_loop_delay_seconds`: too many clients or events for one process. By"
        " itself: slow clients, as for `relayd_hub_queue_bytes`.")
    HUB_TOPICS = make.gauge(
        "hub_topics", "Topics of the event hub that are known.",
        "Those that were published to or followed lately.",
        "At 65,536 a tenant that has many forgets its silent ones: publish to fewer names.")
    HUB_HISTORY_BYTES = make.gauge(
        "hub_history_bytes", "Bytes of events that are kept for who missed them.",
        "Below `hub.history_max_bytes`.",
        "At it, silent topics forget first: raise it.")
    HUB_EVENTS_TOTAL = make.counter(
        "hub_events_total", "What happened to events of the hub, and to who followed them.",
        "`delivered` grows as `published` times those who follow.",
        "`dropped`, `overflowed`: clients read too slowly. `lost`: raise `hub.history_s`.",
        label.HUB_EVENT)
    DEVICE_HELLO_SECONDS = device.HELLO_SECONDS
    DEVICE_STT_SECONDS = device.STT_SECONDS
    DEVICE_CALL_SECONDS = device.CALL_SECONDS
    DEVICE_AUDIO_SECONDS_TOTAL = device.AUDIO_SECONDS_TOTAL
    DEVICE_SERVERS_LOST_TOTAL = device.SERVERS_LOST_TOTAL
    DEVICE_PACKETS_DROPPED_TOTAL = device.PACKETS_DROPPED_TOTAL
    LIMITS_REFUSED_TOTAL = make.counter(
        "limits_refused_total", "Sessions and turns that a limit of their key stood against.",
        "Whatever you sell.",
        "`relayd usage --by key` and the `key` of `connection.refused` say whose limit it was.",
        label.LIMIT)
    LEDGER_ROWS_WRITTEN_TOTAL = make.counter(
        "ledger_rows_written_total", "Rows that the ledger's database has taken.",
        "Follows the turns.",
        "If it stands still, see `relayd_ledger_failing`.")
    LEDGER_ROWS_LOST_TOTAL = make.counter(
        "ledger_rows_lost_total", "Rows that will never be in the ledger.",
        "0.",
        "What they cost is billed to nobody. `ledger.lost` says why; `turn.ended` has the figures.")
    LEDGER_PENDING_ROWS = make.gauge(
        "ledger_pending_rows", "Rows that wait to be written.",
        "0, or a few.",
        "The disk is slower than the turns, or does not answer.")
    LEDGER_FAILING = make.gauge(
        "ledger_failing", "Whether the last commit failed.",
        "0.",
        "See `ledger.failed` for the disk's words. New turns are refused meanwhile, unless"
        " `ledger.on_failure` is `spill`.")
    HELD_BYTES = make.gauge(
        "held_bytes", "Bytes held back, queued or pending, of all sessions together.",
        "A small part of `relayd_held_bytes_max`.",
        "Peers do not read as fast as others write. From 15/16 on new connections are refused.")
    HELD_BYTES_MAX = make.gauge(
        "held_bytes_max", "The bound of `relayd_held_bytes`.",
        "As configured.",
        "`limits.hold_max_bytes`.")
    LOG_LINES_LOST_TOTAL = make.counter(
        "log_lines_lost_total", "Log lines that standard output did not take.",
        "0.",
        "What reads the log is too slow, or its disk is full.")
    LOOP_DELAY_SECONDS = make.histogram(
        make.PAUSE_S, "loop_delay_seconds", "How late the event loop is, asked ten times a second.",
        "Below 10 ms nearly always.",
        "The process has more work than one core does: spread the load over more hosts.")
    LOOP_PAUSE_MAX_SECONDS = make.gauge(
        "loop_pause_max_seconds", "The longest delay of the event loop in the last minute.",
        "Below 25 ms.",
        "Single long ones: a reload, a garbage collection, or a host that gives no CPU.")
    GC_PAUSE_SECONDS = make.histogram(
        make.PAUSE_S, "gc_pause_seconds", "How long the garbage collector stopped everything.",
        "Rare, and below 10 ms.",
        "If these are the long pauses of the loop, the process has too many sessions.")
    BUGS_CAUGHT_TOTAL = make.counter(
        "bugs_caught_total",
        "Bugs in relayd that cost one session, one request or one subscriber its life.",
        "0.",
        "Please report the traceback of `session.crashed` or `request.crashed`.")
    DRAINING = make.gauge(
        "draining", "Whether relayd ends as soon as its sessions do.",
        "0, and 1 for up to `server.drain_s` before it stops.",
        "If it stays 1, the process does not end: see what holds it.")
    CONFIG_RELOADS_TOTAL = make.counter(
        "config_reloads_total", "Reloads of the configuration.",
        "One for each that you asked for.",
        "`config.refused` names every mistake of a refused file.",
        label.OUTCOME)
    CONFIG_LAST_RELOAD_SUCCESSFUL = make.gauge(
        "config_last_reload_successful", "Whether the last file that was read is in force.",
        "1.",
        "`relayd check` shows the mistakes; a restart would fail on them.")
    CONFIG_LAST_RELOAD_TIMESTAMP_SECONDS = make.gauge(
        "config_last_reload_timestamp_seconds",
        "When the configuration in force was put in force, in seconds since the epoch.",
        "Your last change.",
        "Older than your last change: the reload was refused, or forgotten.")
    PROCESS_CPU_SECONDS_TOTAL = make.counter(
        "process_cpu_seconds_total", "CPU time used, user and system.",
        "A rate well below 1: relayd relays on one core.",
        "Near 1, delays grow: spread the load over more hosts.")
    PROCESS_RESIDENT_MEMORY_BYTES = make.gauge(
        "process_resident_memory_bytes", "Memory in use.",
        "Some 60 MB and 16 to 36 KB for each session.",
        "Growing while the sessions do not: please report it.")
    PROCESS_OPEN_FDS = make.gauge(
        "process_open_fds", "Descriptors that are open.",
        "Two for each session, and a few dozen.",
        "Growing while the sessions do not: please report it.")
    PROCESS_MAX_FDS = make.gauge(
        "process_max_fds", "Descriptors that may be open.",
        "At least 256 more than two for each session of `relayd_sessions_max`.",
        "`LimitNOFILE` in the unit.")
    PROCESS_START_TIME_SECONDS = make.gauge(
        "process_start_time_seconds", "When relayd started, in seconds since the epoch.",
        "Your last restart.",
        "Changes by itself: relayd crashes or is killed; see the journal.")
    BUILD_INFO = make.gauge(
        "build_info", "Always 1; the label says what runs.",
        "The version that you installed.",
        "Nothing.",
        label.VERSION)
    # fmt: on

    @property
    def spec(self) -> Spec:
        """The row of the table."""
        return self.value
