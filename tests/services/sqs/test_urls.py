"""Queue URLs: every form that scripts use is read, and what is written is read back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.services.sqs.urls import Place, parse, write

ACCOUNT = "000000000000"


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("orders", Place(None, None, "orders")),
        ("orders.fifo", Place(None, None, "orders.fifo")),
        ("queue", Place(None, None, "queue")),
        ("/000000000000/orders", Place(ACCOUNT, None, "orders")),
        ("000000000000/orders", Place(ACCOUNT, None, "orders")),
        ("/queue/orders", Place(None, None, "orders")),
        ("http://localhost:4566/000000000000/orders", Place(ACCOUNT, None, "orders")),
        ("http://localhost:4566/000000000000/orders/", Place(ACCOUNT, None, "orders")),
        ("https://anything.example/123456789012/orders.fifo", Place("123456789012", None, "orders.fifo")),
        ("http://localhost:9324/queue/orders", Place(None, None, "orders")),
        ("http://localhost:4566/queue/eu-west-1/000000000000/orders", Place(ACCOUNT, "eu-west-1", "orders")),
        ("http://localhost:4566/queue/000000000000/orders", Place(ACCOUNT, None, "orders")),
        ("https://sqs.eu-west-1.amazonaws.com/123456789012/q", Place("123456789012", "eu-west-1", "q")),
        ("https://sqs-fips.us-gov-west-1.amazonaws.com/123456789012/q", Place("123456789012", "us-gov-west-1", "q")),
        ("https://vpce-1.sqs.eu-west-1.vpce.amazonaws.com/123456789012/q", Place("123456789012", "eu-west-1", "q")),
        ("http://sqs.eu-west-1.localhost.localstack.cloud:4566/000000000000/q", Place(ACCOUNT, "eu-west-1", "q")),
        ("https://eu-west-1.queue.amazonaws.com/123456789012/q", Place("123456789012", "eu-west-1", "q")),
        ("https://queue.amazonaws.com/123456789012/q", Place("123456789012", "us-east-1", "q")),
        ("http://queue.localhost.localstack.cloud:4566/000000000000/q", Place(ACCOUNT, "us-east-1", "q")),
        ("HTTP://SQS.EU-WEST-1.AMAZONAWS.COM/123456789012/Q", Place("123456789012", "eu-west-1", "Q")),
    ],
)
def test_every_form_of_a_queue_url_is_read(url: str, place: Place) -> None:
    assert parse(url) == place


@pytest.mark.parametrize("host", ["sqs.localhost.localstack.cloud:4566", "sqs.my-network:4566", "queue.internal"])
def test_a_host_name_that_holds_no_region_leaves_the_region_to_the_caller(host: str) -> None:
    assert parse(f"http://{host}/000000000000/q") == Place(ACCOUNT, None, "q")


@pytest.mark.parametrize("url", ["", "/", "http://localhost:4566", "http://localhost:4566/", "a/b", "/a/b/c/d/e"])
def test_what_names_no_queue_is_no_place(url: str) -> None:
    assert parse(url) is None


@pytest.mark.parametrize(
    ("strategy", "url"),
    [
        ("dynamic", "http://localhost:4566/000000000000/q"),
        ("off", "http://localhost:4566/000000000000/q"),
        ("path", "http://localhost:4566/queue/eu-west-1/000000000000/q"),
        ("standard", "http://sqs.eu-west-1.localhost.localstack.cloud:4566/000000000000/q"),
        ("domain", "http://eu-west-1.queue.localhost.localstack.cloud:4566/000000000000/q"),
    ],
)
def test_each_strategy_writes_its_own_form(strategy: str, url: str) -> None:
    assert write(strategy, "http://localhost:4566", "", "eu-west-1", ACCOUNT, "q") == url


def test_the_domain_strategy_leaves_out_the_first_region() -> None:
    url = write("domain", "http://localhost:4566", "", "us-east-1", ACCOUNT, "q")
    assert url == "http://queue.localhost.localstack.cloud:4566/000000000000/q"


@pytest.mark.parametrize(
    ("hostname", "url"),
    [
        ("sqs.test", "http://sqs.test:4566/000000000000/q"),
        ("sqs.test:80", "http://sqs.test:80/000000000000/q"),
    ],
)
def test_a_public_host_name_stands_for_the_callers(hostname: str, url: str) -> None:
    assert write("dynamic", "http://127.0.0.1:4566", hostname, "us-east-1", ACCOUNT, "q") == url


@pytest.mark.parametrize("endpoint", ["http://[::1]", "http://[::1]:4566", "https://localhost"])
def test_the_scheme_and_an_address_in_brackets_are_mirrored(endpoint: str) -> None:
    assert write("dynamic", endpoint, "", "us-east-1", ACCOUNT, "q") == f"{endpoint}/000000000000/q"
    assert parse(write("standard", endpoint, "", "us-east-1", ACCOUNT, "q")) == Place(ACCOUNT, "us-east-1", "q")


@given(
    strategy=st.sampled_from(["dynamic", "off", "path", "standard", "domain"]),
    region=st.sampled_from(["us-east-1", "eu-central-2", "us-gov-west-1", "cn-north-1", "ap-southeast-5"]),
    account=st.from_regex(r"[0-9]{12}", fullmatch=True),
    name=st.from_regex(r"[A-Za-z0-9_-]{1,75}(\.fifo)?", fullmatch=True),
    hostname=st.sampled_from(["", "queues.example", "queues.example:80"]),
)
def test_what_is_written_is_read_back(strategy: str, region: str, account: str, name: str, hostname: str) -> None:
    place = parse(write(strategy, "http://localhost:4566", hostname, region, account, name))
    assert place is not None
    assert (place.account, place.name) == (account, name)
    assert place.region == (None if strategy in ("dynamic", "off") else region)


@given(st.text("queue0/:.-[]é", max_size=40))
def test_any_text_is_a_place_or_none(text: str) -> None:
    place = parse(text)
    assert place is None or place.name
