"""What a service says of itself to Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ortist.serve.manager import Manager
from ortist.serve.views import FINAL, State


def registry_of(manager: Manager) -> CollectorRegistry:
    """Return the metrics of one manager: there may be others in a process."""
    registry = CollectorRegistry()
    registry.register(_Jobs(manager))
    return registry


class _Jobs(Collector):
    """Asks the manager, when it is asked."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics."""
        manager = self._manager
        counts, states = manager.counts, manager.state_counts()
        jobs = GaugeMetricFamily("ortist_jobs", "Jobs that there are.", labels=["state"])
        for state in get_args(State):
            jobs.add_metric([state], states[state])
        yield jobs
        ended = CounterMetricFamily("ortist_jobs_ended", "Jobs that ended.", labels=["state"])
        for state in sorted(FINAL):
            ended.add_metric([state], counts[state])
        yield ended
        yield CounterMetricFamily("ortist_jobs_taken", "Jobs taken in.", counts["taken"])
        yield CounterMetricFamily("ortist_steps", "Evaluations done.", counts["steps"])
        memory = GaugeMetricFamily(
            "ortist_memory_bytes", "Memory that jobs may take, and take.", labels=["what"]
        )
        memory.add_metric(["limit"], manager.memory)
        memory.add_metric(["taken"], manager.taken_bytes)
        yield memory
