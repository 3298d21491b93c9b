"""What an operator sees of a server: its probes and its metrics."""

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.support.servers import wait_until


def readyz(server):
    """(status, the answer) of /readyz."""
    answer = httpx.get(f"{server.url}/readyz", timeout=5)
    return answer.status_code, answer.json()


def wait_until_ready(server):
    """A server is ready a moment after its first request, which wakes it up."""
    wait_until(lambda: readyz(server)[1]["status"] == "ready")


class Metrics:
    """A scrape: metrics["rollcall_resets_total", "epoch"] is a sample's value; the
    labels' values follow the name."""

    def __init__(self, server):
        text = httpx.get(f"{server.url}/metrics").raise_for_status().text
        self.families = list(text_string_to_metric_families(text))
        self._values = {
            (sample.name, *sample.labels.values()): sample.value
            for family in self.families
            for sample in family.samples
        }

    def __getitem__(self, name):
        return self._values[name if isinstance(name, tuple) else (name,)]

    def risen(self, before, name):
        """By how much a number has risen since another scrape."""
        return self[name] - before[name]

    def most(self, before, name):
        """The bound of the highest bucket of a histogram in which something fell since
        another scrape; 0 where nothing did."""
        bounds = sorted(
            (float(key[1]), key) for key in self._values if key[0] == f"{name}_bucket"
        )
        below, most = 0, 0.0
        for bound, key in bounds:
            count = self.risen(before, key)
            if count > below:
                most = bound
            below = count
        return most
