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
