"""Which requests of browsers are let in, and how their pages may read the answers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from trunkline.gateway import Gateway
from trunkline.http.browsers import Browsers
from trunkline.kernel.ids import RandomIds
from trunkline.wire.message import HttpRequest, HttpResponse

HERE = "127.0.0.1:4566"


class Kept:
    """An exchange that keeps its answer."""

    def __init__(self) -> None:
        self.responses: list[HttpResponse] = []
        self.gone: list[Callable[[], None]] = []

    def respond(self, response: HttpResponse) -> None:
        self.responses.append(response)

    def when_gone(self, action: Callable[[], None]) -> None:
        self.gone.append(action)


def asked(browsers: Browsers, method: str = "GET", scheme: str = "http", **headers: str) -> HttpResponse | None:
    """The answer that the rule gives itself; None if the request is let in."""
    sent = {"host": HERE, **{name.replace("_", "-"): value for name, value in headers.items()}}
    kept = Kept()
    let_in = browsers.admit(HttpRequest(method, "/", "", sent, b"", scheme=scheme), kept)
    assert (let_in is None) is bool(kept.responses)
    return kept.responses[0] if kept.responses else None


def refusal(browsers: Browsers, **headers: str) -> str:
    answer = asked(browsers, **headers)
    assert answer is not None and answer.status == 403
    assert ("Content-Type", "text/plain; charset=utf-8") in answer.headers
    assert not any(name.startswith("Access-Control") for name, _ in answer.headers)
    return answer.body.decode()


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"sec_fetch_site": "none"},
        {"sec_fetch_site": "same-origin"},
        {"origin": f"http://{HERE}"},
        {"origin": f"http://{HERE}", "sec_fetch_site": "same-origin"},
        {"origin": f"HTTP://{HERE}"},
        {"origin": f"https://{HERE}", "sec_fetch_site": "same-origin"},  # behind a proxy that ends TLS
    ],
)
def test_a_servers_own_pages_and_the_address_bar_are_let_in(headers: dict[str, str]) -> None:
    assert asked(Browsers(), **headers) is None


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "http://127.0.0.1"},
        {"origin": "http://127.0.0.1:3000"},
        {"origin": f"https://{HERE}"},
        {"origin": f"http://{HERE}", "sec_fetch_site": "cross-site"},
        {"origin": f"http://{HERE}", "sec_fetch_site": "same-site"},
        {"origin": "http://evil.example", "sec_fetch_site": "same-origin"},
        {"origin": "http://evil.example", "sec_fetch_site": "none"},
    ],
)
def test_pages_of_other_origins_are_refused_and_told_how_to_be_allowed(headers: dict[str, str]) -> None:
    text = refusal(Browsers(), **headers)
    assert "other origins" in text and "--allow-origin" in text and "TRUNKLINE_ALLOW_ORIGIN" in text


@pytest.mark.parametrize("site", ["cross-site", "same-site", "", "nonsense"])
def test_what_another_site_asks_for_without_an_origin_is_refused(site: str) -> None:
    assert "another site" in refusal(Browsers(allowed=["http://page.example"]), sec_fetch_site=site)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.0.0.1:4566", "192.168.1.7:1", "[::1]", "[::1]:4566", "localhost", "LOCALHOST:4566",
        "localhost.", "a.localhost:1", "trunkline", "trunkline:4566", "nas.local", "sqs.svc.cluster.local:4566",
        "host.docker.internal:4566", "x.test", "box.home.arpa", "localhost.localstack.cloud:4566",
        "sqs.us-east-1.localhost.localstack.cloud:4566",
        "Queues.Example.org", "queues.example.org:8443",
    ],
)  # fmt: skip
def test_a_browser_may_call_addresses_local_names_and_the_servers_own(host: str) -> None:
    assert asked(Browsers(names=["queues.example.org:80", "0.0.0.0"]), host=host) is None


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "evil.example:4566", "localhost.evil.example", "localhost.example.", "evillocalhost.com",
        "127.0.0.1.nip.io:4566", "queues.example.org.evil.example", "xlocalhost.localstack.cloud", "a.b:x", "",
    ],
)  # fmt: skip
def test_a_name_of_the_world_may_have_been_led_here(host: str) -> None:
    browsers = Browsers(names=["queues.example.org"])
    for headers in ({}, {"origin": f"http://{host}"}, {"sec_fetch_site": "same-origin"}):
        assert "DNS rebinding" in refusal(browsers, host=host, **headers)


def test_what_is_remembered_of_hosts_is_bounded() -> None:
    browsers = Browsers()
    for number in range(3_000):
        assert asked(browsers, host=f"h{number}") is None
    assert "DNS rebinding" in refusal(browsers, host="a." * 5_000 + "example")
    assert 0 < len(browsers._judged) <= 1_024 and max(map(len, browsers._judged)) <= 255


def test_an_allowed_origin_gets_its_preflight_answered() -> None:
    browsers = Browsers(allowed=["https://page.example", "http://localhost:3000"])
    for origin in ("https://page.example", "http://localhost:3000"):
        answer = asked(
            browsers,
            "OPTIONS",
            origin=origin,
            sec_fetch_site="cross-site",
            access_control_request_method="POST",
            access_control_request_headers="authorization,x-amz-target",
            access_control_request_private_network="true",
        )
        assert answer is not None and (answer.status, answer.body) == (200, b"")
        headers = dict(answer.headers)
        assert headers["Access-Control-Allow-Origin"] == origin and headers["Vary"] == "Origin"
        assert "POST" in headers["Access-Control-Allow-Methods"]
        assert headers["Access-Control-Allow-Headers"] == "authorization,x-amz-target"
        assert headers["Access-Control-Allow-Private-Network"] == "true"
        assert "Access-Control-Allow-Credentials" not in headers
    preflight = {"method": "OPTIONS", "access_control_request_method": "POST"}
    for origin in ("https://page.example:444", "http://page.example", "https://x.page.example", "null"):
        answer = asked(browsers, origin=origin, **preflight)
        assert answer is not None and answer.status == 403


def test_a_page_of_an_allowed_origin_may_read_its_answers() -> None:
    kept = Kept()
    browsers = Browsers(allowed=["https://page.example"])
    request = HttpRequest("POST", "/", "", {"host": HERE, "origin": "https://page.example"}, b"")
    exchange = browsers.admit(request, kept)
    assert exchange is not None
    exchange.when_gone(lambda: None)
    exchange.respond(HttpResponse(400, (("x-amzn-RequestId", "1"),), b"{}"))
    [answer] = kept.responses
    headers = dict(answer.headers)
    assert (answer.status, answer.body, headers["x-amzn-RequestId"]) == (400, b"{}", "1")
    assert headers["Access-Control-Allow-Origin"] == "https://page.example"
    assert "x-amzn-requestid" in headers["Access-Control-Expose-Headers"]
    assert len(kept.gone) == 1


def test_a_star_allows_every_origin_but_no_name_of_the_world() -> None:
    browsers = Browsers(allowed=["*"])
    for headers in ({"origin": "http://evil.example"}, {"origin": "null"}, {"sec_fetch_site": "cross-site"}):
        assert asked(browsers, **headers) is None
    assert "DNS rebinding" in refusal(browsers, host="evil.example", origin="http://evil.example")


@pytest.mark.parametrize(
    ("headers", "judged"),
    [
        ({"accept-language": "de"}, True),
        ({"origin": "http://evil.example"}, True),
        ({"sec-fetch-site": "none"}, True),
        ({"user-agent": "aws-sdk-go-v2/1.0", "accept": "*/*"}, False),
        ({}, False),
    ],
)
def test_sdks_are_not_judged_and_every_request_of_a_browser_is(headers: dict[str, str], judged: bool) -> None:
    gateway = Gateway(
        {"sqs": {"ListQueues": lambda parameters, call: call.answer({})}, "sts": {}},
        RandomIds(),
        browsers=Browsers().admit,
    )
    target = {"x-amz-target": "AmazonSQS.ListQueues"}
    for method, more, query in (("POST", target, ""), ("GET", {}, "Action=ListQueues")):
        kept = Kept()
        gateway.handle(HttpRequest(method, "/", query, {"host": "sqs.example.org", **more, **headers}, b""), kept)
        assert kept.responses[0].status == (403 if judged else 200)
