"""What the health checks of a process have said so far, as `/metrics/slis` of every Kubernetes component tells it."""

from __future__ import annotations


class Healthchecks:
    """Results of named checks (`etcd`) of a type (`readyz`): the last, and how often each."""

    def __init__(self) -> None:
        self._results: dict[tuple[str, str], tuple[bool, int, int]] = {}  # the last; how often it passed, failed

    def count(self, name: str, type_: str, passed: bool) -> None:
        """A check was made."""
        _, good, bad = self._results.get((name, type_), (passed, 0, 0))
        self._results[name, type_] = (passed, good + passed, bad + (not passed))

    def render(self) -> str:
        """The text exposition format, version 0.0.4. Empty when nobody asked about health yet."""
        if not self._results:
            return ""
        found = sorted(self._results.items())
        lines = [
            "# HELP kubernetes_healthcheck [STABLE] This metric records the result of a single healthcheck.",
            "# TYPE kubernetes_healthcheck gauge",
            *(f'kubernetes_healthcheck{{name="{name}",type="{kind}"}} {it[0]:d}' for (name, kind), it in found),
            "# HELP kubernetes_healthchecks_total [STABLE] This metric records the results of all healthcheck.",
            "# TYPE kubernetes_healthchecks_total counter",
        ]
        for (name, kind), (_, good, bad) in found:
            for status, count in (("error", bad), ("success", good)):
                if count:
                    labels = f'name="{name}",status="{status}",type="{kind}"'
                    lines.append(f"kubernetes_healthchecks_total{{{labels}}} {count}")
        return "\n".join(lines) + "\n"
