"""The only place that wires things: driver, mempool, storage, RPC."""
