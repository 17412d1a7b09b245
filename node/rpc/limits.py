"""The bounds of the RPC server: how much one request, one connection and all of them together may take."""

from typing import Final

MAX_CONCURRENT: Final = 1_024
"""HTTP requests being answered, waiting ones included; over it a client gets 429."""
MAX_SOCKETS: Final = 256
MAX_SOCKET_REQUESTS: Final = 64
"""Requests in flight on one WebSocket; over it the server stops reading from it."""
SOCKET_WAITS: Final = 64
"""Waits for finality open on one WebSocket; one more ends at once with `wait_timeout`."""
BATCH_WAITS: Final = 16
"""The same for one HTTP request, which may be a batch."""
BODY_TIMEOUT_S: Final = 15.0
HEARTBEAT_S: Final = 30.0
RETRY_AFTER_S: Final = 1

MAX_ANSWER_BYTES: Final = 16 * 1024 * 1024
"""The answer to one message; the items of a batch that find no room in it are answered with `too_large`."""
MAX_HELD_BYTES: Final = 128 * 1024 * 1024
"""All answers together, from when they are made until they are sent; over it large ones are refused with `rate_limited`."""
SMALL_BYTES: Final = 16 * 1024
"""What fits whatever else is held: outcomes of what was sent, errors, numbers."""
LARGE_AT_ONCE: Final = 4
"""Requests that make a large answer at once; more would not make it sooner, as they take turns. The others wait for a place."""
SEND_TIMEOUT_S: Final = 60.0
"""A client that has not read its answer by then is cut off."""
