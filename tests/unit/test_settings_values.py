"""The settings with a grammar of their own: the URLs, the token and the allowed networks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from router.adapters.http.proxy import ProxyAddress
from router.bootstrap import convert
from router.settings import Problem, Settings, SettingsError, describe, load_settings


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory without a config file."""
    monkeypatch.chdir(tmp_path)


def load(key: str, value: object) -> Settings:
    return load_settings(overrides={key: value}, environ={})


def problem_of(key: str, value: object) -> Problem:
    with pytest.raises(SettingsError) as caught:
        load(key, value)
    (problem,) = caught.value.problems
    return problem


# -------------------------------------------------------------------------------------------- secrets


@pytest.mark.parametrize(
    "url",
    [
        "amqp://127.0.0.1", "amqps://u:p@rabbit.example.com:5671/vhost", "AMQP://h/", "amqp://u:p%2Fw@h/%2F",
        " amqp://h/\n", "amqp://[::1]:5672/",
    ],
)  # fmt: skip
def test_amqp_url_is_taken(url: str) -> None:
    assert load("amqp.url", url).amqp.url.get_secret_value() == url.strip()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://u:hunter2@h/", "must begin with amqp"),
        ("127.0.0.1:5672", "must begin with amqp"),
        ("amqp://", "names no host"),
        ("amqp://u:hunter2@/", "names no host"),
        ("amqp://u:hunter2/x@h/", "written %2F"),
        ("amqp://u:hunter2@h:port/", "written %2F"),
        ("amqp://u:hunter2@[::1/", "written %2F"),
        ("amqp://u:hunter2 @h/", "blanks"),
        (5672, "must be text"),
    ],
)
def test_amqp_url_is_refused_without_its_password(url: object, message: str) -> None:
    problem = problem_of("amqp.url", url)
    assert message in problem.message
    assert "hunter2" not in repr(problem)


@pytest.mark.parametrize(
    "url",
    ["embedded", "mongodb://a,b:27018/?replicaSet=rs0", "mongodb+srv://u:p@cluster.example.com/db", "mongodb://[::1]"],
)
def test_mongo_url_is_taken(url: str) -> None:
    assert load("mongo.url", url).mongo.url.get_secret_value() == url


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgres://u:hunter2@h/", "must begin with mongodb"),
        ("Embedded", "must begin with mongodb"),
        ("mongodb://", "names no host"),
        ("mongodb://u:hunter2@/db", "names no host"),
        ("mongodb://a,,b", "names no host"),
        ("mongodb://u:hunter2@h h", "blanks"),
    ],
)
def test_mongo_url_is_refused_without_its_password(url: str, message: str) -> None:
    problem = problem_of("mongo.url", url)
    assert message in problem.message
    assert "hunter2" not in repr(problem)


PROXY = ProxyAddress(scheme="http", host="proxy.example", port=80)


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("none", None),
        ("http://proxy.example", PROXY),
        (" http://PROXY.example/\n", PROXY),
        ("https://proxy.example", replace(PROXY, scheme="https", port=443)),
        ("http://10.0.0.9:3128", replace(PROXY, host="10.0.0.9", port=3128)),
        ("http://[fd00::9]:3128", replace(PROXY, host="fd00::9", port=3128)),
        (
            "http://us%40er:pass%3Aw%2Ford@proxy.example:80",
            replace(PROXY, authorization="Basic dXNAZXI6cGFzczp3L29yZA=="),
        ),
        ("http://user@proxy.example", replace(PROXY, authorization="Basic dXNlcjo=")),
    ],
)
def test_proxy_url_is_taken(url: str, proxy: ProxyAddress | None) -> None:
    assert convert.egress_proxy(load("egress.proxy_url", url)) == proxy


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("socks5://u:hunter2@h:1080", "must begin with http"),
        ("proxy.example:3128", "must begin with http"),
        ("http://", "names no host"),
        ("http://u:hunter2@/", "names no host"),
        ("http://u:hunter2@[fe80::1%25eth0]:3128", "names no host"),
        ("http://u:hunter2@été:3128", "in ASCII"),
        ("http://u:hunter2@h:0", "1 to 65535"),
        ("http://u:hunter2@h:3128/path", "without a path"),
        ("http://u:hunter2@h:3128?a=b", "without a path"),
        ("http://u:hunter2/x@h:3128", "written %2F"),
        ("http://u:hunter2@h:port", "written %2F"),
        ("http://u:hunter2@[::1", "written %2F"),
        ("http://u:hunter2 @h", "blanks"),
        (3128, "must be text"),
    ],
)
def test_proxy_url_is_refused_without_its_password(url: object, message: str) -> None:
    problem = problem_of("egress.proxy_url", url)
    assert message in problem.message
    assert "hunter2" not in repr(problem)


def test_no_password_of_the_proxy_is_in_what_the_log_says_of_the_policy() -> None:
    settings = load_settings(
        environ={},
        overrides={"egress.proxy_url": "http://user:hunter2@[fd00::9]:3128", "egress.allow": ["10.0.0.5:8443"]},
    )

    assert convert.egress_facts(settings) == {
        "allow": ["10.0.0.5/32:8443"],
        "require_https": True,
        "deny_ports": "default",
        "resolvers": "system",
        "proxy": "http://[fd00::9]:3128",
    }
    assert "hunter2" not in repr(settings) + repr(describe(settings)) + repr(convert.egress_proxy(settings))


def test_no_secret_is_in_any_text() -> None:
    settings = load_settings(
        environ={
            "ROUTER_AMQP__URL": "amqp://u:hunter2@h/",
            "ROUTER_MONGO__URL": "mongodb://u:hunter2@h/?tlsCertificateKeyFilePassword=hunter2",
            "ROUTER_API__ADMIN_TOKEN": "hunter2hunter2",
        }
    )
    assert "hunter2" not in repr(settings) + str(settings) + repr(describe(settings)) + str(settings.model_dump())


# -------------------------------------------------------------------------------------------- egress


@pytest.mark.parametrize(
    ("text", "network", "port"),
    [
        ("10.0.0.0/8", "10.0.0.0/8", None),
        ("10.0.0.5", "10.0.0.5/32", None),
        (" 10.0.0.5:8443 ", "10.0.0.5/32", 8443),
        ("10.0.0.0/8:65535", "10.0.0.0/8", 65535),
        ("10.0.0.0/255.0.0.0", "10.0.0.0/8", None),
        ("fd00::/8", "fd00::/8", None),
        ("[fd00::/8]", "fd00::/8", None),
        ("[fd00::1]:1", "fd00::1/128", 1),
        ("0.0.0.0/0", "0.0.0.0/0", None),
    ],
)
def test_allowed_network_is_parsed(text: str, network: str, port: int | None) -> None:
    (allowed,) = load("egress.allow", [text]).egress.allow
    assert (str(allowed.network), allowed.port) == (network, port)
    assert load("egress.allow", [str(allowed)]).egress.allow == (allowed,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("10.0.0.1/8", "the network is 10.0.0.0/8"),
        ("[fd00::1/8]:443", "the network is fd00::/8"),
        ("fd00::/8:8443", "[fd00::/8]:8443"),
        ("crm.example.com", "names are not taken"),
        ("crm.example.com:443", "names are not taken"),
        ("10.0.0.0/33", "no network"),
        ("fe80::1%eth0", "has a zone"),
        ("", "no network"),
        ("10.0.0.5:0", "1 to 65535"),
        ("10.0.0.5:65536", "1 to 65535"),
        ("10.0.0.5:", "1 to 65535"),
        ("[fd00::1]:x", "1 to 65535"),
        (10, "must be text"),
    ],
)
def test_allowed_network_is_refused(text: object, message: str) -> None:
    problem = problem_of("egress.allow", ["10.0.0.0/8", text])
    assert problem.key == "egress.allow[1]"
    assert message in problem.message


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("10.0.0.53", "10.0.0.53"),
        ("10.0.0.53:5353", "10.0.0.53:5353"),
        ("fd00::53", "fd00::53"),
        ("[fd00::53]", "fd00::53"),
        ("[FD00:0::53]:53", "[fd00::53]:53"),
    ],
)
def test_name_server_is_an_address_with_or_without_a_port(text: str, kept: str) -> None:
    assert load("egress.resolvers", [text]).egress.resolvers == (kept,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must be an address"),
        ("dns.example", "must be an address"),
        ("10.0.0", "must be an address"),
        ("10.0.0.53,10.0.0.54", "must be an address"),
        ("10.0.0.53:", "must have a port"),
        ("10.0.0.53:0", "must have a port"),
        ("[fd00::53]:65536", "must have a port"),
        ("[10.0.0.53", "must be an address"),
    ],
)
def test_name_server_is_refused(text: str, message: str) -> None:
    problem = problem_of("egress.resolvers", [text])
    assert problem.key == "egress.resolvers[0]"
    assert message in problem.message
