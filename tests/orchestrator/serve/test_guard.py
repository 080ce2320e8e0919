"""`orchestrator.serve.guard`: reading only, known host names, and the token."""

import re

import pytest

from orchestrator.serve.guard import access_of, is_known_host, is_loopback
from orchestrator.store.paths import Results

from .conftest import Serve

TOKEN = "a-token-of-some-length"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "FOO"])
def test_all_methods_but_two_are_refused(serve: Serve, store: Results, method: str) -> None:
    client = serve(store)
    for path in ("/", "/runs", "/files/runs/x/record.json"):
        answer = client.get(path, method)
        assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


def test_head_says_what_get_says_without_a_body(serve: Serve, store: Results) -> None:
    client = serve(store)
    got, head = client.get("/"), client.get("/", "HEAD")
    assert (got.status, head.status, head.body) == (200, 200, b"")
    assert head.headers["content-length"] == str(len(got.body))


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil", "",
             "192.168.1.7", "[::2]", "localhost:80:80", "a b", "127.0.0.1@evil"],
)  # fmt: skip
def test_other_host_names_are_refused(serve: Serve, store: Results, host: str) -> None:
    answer = serve(store).get("/", Host=host)
    assert answer.status == 421
    assert b"two" not in answer.body


@pytest.mark.parametrize("host", ["localhost", "LocalHost:9000", "127.0.0.1:1", "[::1]:8765"])
def test_loopback_names_are_known_on_any_port_as_through_a_tunnel(host: str) -> None:
    assert is_known_host(host, access_of("127.0.0.1", 8765, ""))


def test_who_listens_everywhere_knows_addresses_and_named_hosts_only() -> None:
    access = access_of("0.0.0.0", 8765, TOKEN, ["Lab-Box.example"])
    for host in ("192.168.1.7:8765", "[fe80::1]", "lab-box.example", "localhost"):
        assert is_known_host(host, access)
    assert not is_known_host("evil.example", access)
    assert is_loopback("127.0.0.5") and is_loopback("::1") and not is_loopback("0.0.0.0")


def test_without_the_token_nothing_is_shown(serve: Serve, store: Results) -> None:
    client = serve(store, token=TOKEN)
    for path in ("/", "/style.css", "/nowhere", "/?token=wrong", "/?token=", "/files/x",
                 f"/?token={TOKEN}x", "/?token=%ff%00"):  # fmt: skip
        answer = client.get(path)
        assert (answer.status, b"two" in answer.body) == (403, False), path
    assert client.get("/", Cookie=f"sweeps_{client.port}={TOKEN}").status == 403
    assert client.get("/", Authorization="Bearer wrong").status == 403


def test_the_token_is_swapped_for_a_cookie_and_leaves_the_address(
    serve: Serve, store: Results
) -> None:
    client = serve(store, token=TOKEN)
    answer = client.get(f"/runs?sort=per&token={TOKEN}&page=2")
    assert (answer.status, answer.headers["location"]) == (303, "/runs?sort=per&page=2")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "samesite=lax" in cookie.lower() and TOKEN not in cookie
    pair = cookie.partition(";")[0]
    assert client.get("/runs", Cookie=pair).status == 200
    assert client.get("/runs", Cookie=f"other=1; {pair}").status == 200
    assert client.get("/runs", Cookie=pair[:-1]).status == 403
    assert client.get("/runs", Authorization=f"Bearer {TOKEN}").status == 200


def test_the_swap_never_leads_to_another_site(serve: Serve, store: Results) -> None:
    client = serve(store, token=TOKEN)
    for path in ("//evil.example/", "/\\evil.example", "/%2F%2Fevil.example", "/%0d%0aX:1"):
        answer = client.get(f"{path}?token={TOKEN}")
        assert re.match(r"/(?![/\\])", answer.headers["location"])
        assert "x" not in answer.headers


def test_every_answer_has_the_headers_that_keep_it_inert(serve: Serve, reported: Results) -> None:
    client = serve(reported)
    for path in ("/", "/nowhere", "/style.css", "/files/ablations/two/report.html", "/runs"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
        assert "unsafe-inline" not in policy or policy.startswith("sandbox")
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["referrer-policy"] == "no-referrer"
        assert "server" not in headers or "uvicorn" in headers["server"]
