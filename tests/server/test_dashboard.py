"""The example dashboard and alerts ask for nothing that a server does not show."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations"
DASHBOARD = json.loads((OPERATIONS / "grafana-dashboard.json").read_text())
ALERTS = re.findall(r"^ +expr: (.+)$", (OPERATIONS / "prometheus-alerts.yml").read_text(), re.MULTILINE)

_METRIC = re.compile(r"\b((?:trunkline|process|python)_[a-z_]+)\b(\{[^}]*\})?")
_BY = re.compile(r"\bby \(([^)]*)\)")
_OF_PROMETHEUS = {"instance", "job", "le"}


def queries() -> list[str]:
    asked = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]
    asked += [each["definition"] for each in DASHBOARD["templating"]["list"] if each["type"] == "query"]
    assert len(asked) > 30 and len(ALERTS) > 10
    return asked + [each for each in ALERTS if not each.startswith("up{")]


def shown(server: Any) -> dict[str, set[str]]:
    """The labels of each sample's name, when everything has happened once."""
    url = server.client().create_queue(QueueName="q")["QueueUrl"]
    server.client().send_message(QueueUrl=url, MessageBody="x")
    server.http("GET", "/nonsense")
    server.http("POST", "/", b"{}", {"Content-Length": "99999999999"})
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(server.http("GET", "/metrics")[1]):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def test_what_is_asked_for_is_shown(start: Any, tmp_path: Path) -> None:
    server = start("--data", str(tmp_path), "--tls-self-signed")
    server.trusted = str(tmp_path / "trunkline.crt")
    samples = shown(server)
    for query in queries():
        named = _METRIC.findall(query)
        assert named, query
        labels: set[str] = set(_OF_PROMETHEUS)
        for name, selector in named:
            assert name in samples, f"{name} is in no scrape"
            labels |= samples[name]
            asked = set(re.findall(r"(\w+)(?:=~|!=|=)", selector))
            assert asked <= samples[name] | _OF_PROMETHEUS, f"{name} has not all labels of {selector}"
        for grouped in _BY.findall(query):
            assert {each.strip() for each in grouped.split(",")} <= labels, query


def test_panels_have_places_and_ids_of_their_own() -> None:
    panels: list[dict[str, Any]] = DASHBOARD["panels"]
    assert len({each["id"] for each in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24 and not cells & taken, panel["title"]
        taken |= cells
