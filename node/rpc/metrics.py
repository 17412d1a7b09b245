"""Prometheus metrics of one node, read from it when they are asked for."""

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from node.api import NodeApi


class Metrics:
    """The page of `/metrics`."""

    def __init__(self, node: NodeApi) -> None:
        self._registry = CollectorRegistry()
        self._collector = _NodeCollector(node)
        self._registry.register(self._collector)
        self._requests = Counter(
            "datacar_rpc_requests", "JSON-RPC requests answered", ["method", "outcome"], registry=self._registry
        )

    def serve(self, node: NodeApi) -> None:
        """Read another node from now on; requests are counted on."""
        self._collector.node = node

    def observe(self, method: str, outcome: str) -> None:
        """Count a request: its method and `ok` or the reason of its error. Both come from closed lists."""
        self._requests.labels(method, outcome).inc()

    def page(self) -> bytes:
        """Return the text exposition of all metrics."""
        return generate_latest(self._registry)


class _NodeCollector(Collector):
    """Turns a node's answers into metric families."""

    def __init__(self, node: NodeApi) -> None:
        self.node = node

    def collect(self) -> Iterable[Metric]:
        """Yield the families as they stand now."""
        node, status = self.node, self.node.status()
        yield GaugeMetricFamily("datacar_height", "Height of the last committed block", node.tip.height)
        yield GaugeMetricFamily("datacar_view", "View the protocol is in", node.consensus_status().view)
        yield GaugeMetricFamily("datacar_block_time_seconds", "Timestamp of the last block", node.tip.timestamp_ms / 1_000)
        yield GaugeMetricFamily("datacar_ready", "1 when /readyz answers 200", int(node.readiness().ready))
        yield GaugeMetricFamily("datacar_members", "Members that vote", node.committee.size)
        yield GaugeMetricFamily("datacar_peers", "Members connected", sum(peer.connected for peer in node.peers()))
        yield GaugeMetricFamily(
            "datacar_mempool_transactions", "Transactions pending", _number(status, "mempool", "transactions")
        )
        yield GaugeMetricFamily("datacar_mempool_bytes", "Bytes of pending transactions", _number(status, "mempool", "bytes"))
        committed = _number(status, "committed", "transactions")
        yield CounterMetricFamily("datacar_transactions", "Transactions committed since the start", committed)


def _number(status: Mapping[str, object], group: str, name: str) -> int:
    """Return a number of the node's status, 0 where it has none."""
    found = status.get(group)
    value = found.get(name) if isinstance(found, dict) else None
    return value if isinstance(value, int) else 0
