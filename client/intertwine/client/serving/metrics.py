"""What Prometheus may know of the serving agent: counts and times, no label that a request can choose."""

from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.process_collector import ProcessCollector

from intertwine.client.serving.proof_times import ProofTimes

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Metrics:
    """The agent's figures, in a registry of their own."""

    def __init__(self, ledger: Path) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._proofs = ProofTimes(ledger, self._registry)
        self.requests = Counter(
            "intertwine_agent_requests",
            "Requests that were answered.",
            ("endpoint", "status"),
            registry=self._registry,
        )
        self.seconds = Histogram(
            "intertwine_agent_request_seconds",
            "Time from a request's first byte to its answer's last.",
            ("endpoint",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.in_progress = Gauge(
            "intertwine_agent_requests_in_progress",
            "Requests that are being answered.",
            registry=self._registry,
        )
        self.checks = Counter(
            "intertwine_agent_model_checks",
            "Looks for a newer model, by what came of them: unchanged, swapped, unreachable, refused.",
            ("task", "result"),
            registry=self._registry,
        )
        self.position = Gauge(
            "intertwine_agent_model_log_position",
            "Position in the coordinator's log of the model in use.",
            ("task",),
            registry=self._registry,
        )
        self.published = Gauge(
            "intertwine_agent_model_published_timestamp_seconds",
            "When the model in use was published.",
            ("task",),
            registry=self._registry,
        )

    def text(self) -> bytes:
        """All of them in Prometheus' text format."""
        self._proofs.update()
        return generate_latest(self._registry)
