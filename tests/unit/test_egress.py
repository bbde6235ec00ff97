"""Where a delivery may connect to: addresses, operators' rules, and URLs as written."""

from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.domain.egress import (
    MAX_URL_LENGTH,
    AllowRule,
    EgressPolicy,
    EgressRule,
    check_url,
    is_local_name,
    is_public,
    normal_url,
    parse_allow_rule,
    port_of,
)

NOT_PUBLIC = [
    # this host, private networks, carriers
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "127.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.0.1",
    # metadata services
    "100.100.100.200",
    "168.63.129.16",
    "169.254.169.254",
    "169.254.170.2",
    "192.0.0.192",
    # special purposes, documentation, benchmarks
    "192.0.0.8",
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    # multicast, reserved, broadcast
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    # IPv6: this host, link-local, site-local, unique local, multicast
    "::",
    "::1",
    "fe80::1",
    "fec0::1",
    "fc00::1",
    "fd00:ec2::254",
    "fd20:ce::254",
    "ff02::1",
    # an IPv4 address inside an IPv6 one
    "::ffff:127.0.0.1",
    "::ffff:7f00:1",
    "0:0:0:0:0:ffff:7f00:1",
    "::ffff:8.8.8.8",
    "::127.0.0.1",
    "::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::a00:1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    # discard, documentation, SRv6, unassigned
    "100::1",
    "2001:db8::1",
    "2001:10::1",
    "3fff::1",
    "5f00::1",
    "4000::1",
]
NOT_AN_ADDRESS = [
    "",
    "localhost",
    "crm.example",
    "2130706433",
    "017700000001",
    "0177.0.0.1",
    "127.1",
    "0",
    "127.0.0.1.",
    "127.0.0.1/32",
    " 127.0.0.1",
    "0x7f000001",
    "0x7f.1",
    "①②⑦.⓪.⓪.①",
    "127。0。0。1",
    "١٢٧.٠.٠.١",
    "[::1]",
    "v1.x",
]
BOUND_TO_AN_INTERFACE = ["fe80::1%lo", "fe80::1%25lo", "::1%lo", "2606:4700:4700::1111%eth0"]
PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "100.63.255.255",
    "100.128.0.0",
    "172.15.255.255",
    "223.255.255.255",
    "2606:4700:4700::1111",
    "2a00:1450:4007:80c::200e",
]


@pytest.mark.parametrize("address", NOT_PUBLIC + NOT_AN_ADDRESS + BOUND_TO_AN_INTERFACE)
def test_forbidden_address_is_refused_by_default(address: str) -> None:
    assert not is_public(address)
    assert EgressPolicy().refusal(address, 443) is not None


@pytest.mark.parametrize("address", PUBLIC)
def test_public_address_is_permitted(address: str) -> None:
    assert is_public(address)
    assert EgressPolicy().refusal(address, 443) is None


@pytest.mark.parametrize("address", NOT_AN_ADDRESS + BOUND_TO_AN_INTERFACE)
def test_no_rule_admits_what_is_no_plain_address(address: str) -> None:
    everything = EgressPolicy(allow=(parse_allow_rule("0.0.0.0/0"), parse_allow_rule("::/0")))

    assert everything.refusal(address, 443) is not None


@settings(deadline=None)
@given(st.text(max_size=50))
def test_any_text_is_judged(address: str) -> None:
    EgressPolicy(allow=(parse_allow_rule("10.0.0.0/8"),)).refusal(address, 443)


# --- the operator's rules --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "address", "port", "is_permitted"),
    [
        ("10.0.0.0/8", "10.1.2.3", 443, True),
        ("10.0.0.0/8", "10.1.2.3", 8080, True),
        ("10.0.0.0/8", "11.0.0.1", 443, True),  # public anyway
        ("10.0.0.0/8", "192.168.0.1", 443, False),
        ("10.0.0.0/8:8080", "10.1.2.3", 8080, True),
        ("10.0.0.0/8:8080", "10.1.2.3", 443, False),
        ("10.1.2.3", "10.1.2.3", 443, True),
        ("10.1.2.3", "10.1.2.4", 443, False),
        ("fd00::/8", "fd00::1", 443, True),
        ("[fd00::/8]:8080", "fd00::1", 8080, True),
        ("[fd00::/8]:8080", "fd00::1", 443, False),
        ("127.0.0.0/8", "::ffff:127.0.0.1", 443, False),
        ("::ffff:127.0.0.0/104", "::ffff:127.0.0.1", 443, True),  # who writes this means it
        ("0.0.0.0/0", "::1", 443, False),
        ("::/0", "127.0.0.1", 443, False),
    ],
)
def test_rule_admits_its_network_and_port(rule: str, address: str, port: int, is_permitted: bool) -> None:
    policy = EgressPolicy(allow=(parse_allow_rule(rule),))

    assert (policy.refusal(address, port) is None) is is_permitted


@pytest.mark.parametrize(
    ("rules", "address", "port", "is_permitted"),
    [
        ([], "8.8.8.8", 443, True),
        ([], "8.8.8.8", 25, False),
        (["8.8.8.0/24"], "8.8.8.8", 25, False),
        (["8.8.8.0/24:25"], "8.8.8.8", 25, True),
        (["8.8.8.0/24:25"], "1.1.1.1", 25, False),
        (["10.0.0.0/8", "10.0.0.0/8:25"], "10.0.0.1", 25, True),
        (["10.0.0.0/8"], "10.0.0.1", 25, False),
    ],
)
def test_denied_port_is_open_only_to_a_rule_that_names_it(
    rules: list[str], address: str, port: int, is_permitted: bool
) -> None:
    policy = EgressPolicy(allow=tuple(parse_allow_rule(rule) for rule in rules), deny_ports=frozenset({25}))

    assert (policy.refusal(address, port) is None) is is_permitted


@pytest.mark.parametrize(
    ("address", "port", "rule"),
    [
        ("crm.example", 443, EgressRule.NOT_AN_ADDRESS),
        ("fe80::1%eth0", 443, EgressRule.INTERFACE),
        ("8.8.8.8", 25, EgressRule.PORT),
        ("127.0.0.1", 25, EgressRule.PORT),  # the port first: egress.allow alone would not do
        ("127.0.0.1", 443, EgressRule.NOT_PUBLIC),
    ],
)
def test_a_refusal_names_its_rule_and_no_address(address: str, port: int, rule: EgressRule) -> None:
    refusal = EgressPolicy(deny_ports=frozenset({25})).refusal(address, port)

    assert refusal is not None
    assert refusal.rule is rule
    assert address not in str(refusal)


def test_a_scheme_that_is_refused_names_its_rule() -> None:
    refusal = EgressPolicy().scheme_refusal("http")

    assert refusal is not None
    assert refusal.rule is EgressRule.NOT_HTTPS


@pytest.mark.parametrize(
    ("scheme", "require_https", "is_permitted"),
    [("https", True, True), ("http", True, False), ("https", False, True), ("http", False, True)],
)
def test_plain_http_needs_consent(scheme: str, require_https: bool, is_permitted: bool) -> None:
    assert (EgressPolicy(require_https=require_https).scheme_refusal(scheme) is None) is is_permitted


@pytest.mark.parametrize(
    ("text", "network", "port"),
    [
        ("10.0.0.0/8", "10.0.0.0/8", None),
        ("10.0.0.1", "10.0.0.1/32", None),
        ("10.0.0.0/8:8080", "10.0.0.0/8", 8080),
        ("10.0.0.1:1", "10.0.0.1/32", 1),
        ("10.0.0.1:65535", "10.0.0.1/32", 65_535),
        ("fd00::/8", "fd00::/8", None),
        ("::1", "::1/128", None),
        ("[::1]:443", "::1/128", 443),
        ("[fd00::/8]:443", "fd00::/8", 443),
        ("[fd00::/8]", "fd00::/8", None),
    ],
)
def test_rule_is_parsed(text: str, network: str, port: int | None) -> None:
    rule = parse_allow_rule(text)

    assert (str(rule.network), rule.port) == (network, port)
    assert rule == AllowRule(rule.network, port)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "localhost",
        "10.0.0.1/8",  # host bits: was it the host or the network that was meant?
        "10.0.0.0/33",
        "10.0.0.0/8:",
        "10.0.0.0/8:0",
        "10.0.0.0/8:65536",
        "10.0.0.0/8:http",
        "10.0.0.0/8:-1",
        "10.0.0.0/8:²",
        ":443",
        "fd00::1/8",
        "fd00::/8:443",
        "[::1]443",
        "[::1]:",
        "[::1",
        "[]:443",
    ],
)
def test_wrong_rule_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  any text: some are the library's own
        parse_allow_rule(text)


# --- URLs that somebody writes ---------------------------------------------------------------------

ALLOW_INSIDE = ["10.0.0.0/8:8443"]
LOCAL_NAMES = [
    "localhost",
    "LOCALHOST",
    "localhost.",
    "a.localhost",
    "localhost.localdomain",
    "ip6-localhost",
    "ip6-loopback",
    "crm",
    "crm.",
    "metadata.google.internal",
    "crm.internal",
    "crm.shop.svc",
    "crm.shop.svc.cluster.local",
    "printer.local",
    "nas.lan",
    "dc.corp",
    "router.home.arpa",
]
PUBLIC_NAMES = ["crm.example", "crm.example.", "localhost.example", "local.crm.example", "svc.example", "arpa.example"]


@pytest.mark.parametrize("host", LOCAL_NAMES)
def test_name_of_a_private_network_is_refused_to_whoever_writes_it(host: str) -> None:
    refusal = EgressPolicy().target_refusal("https", host, 443)

    assert is_local_name(host)
    assert refusal is not None
    assert refusal.rule is EgressRule.LOCAL_NAME
    assert "egress.allow" in str(refusal)


@pytest.mark.parametrize("host", PUBLIC_NAMES)
def test_name_that_may_be_public_is_permitted(host: str) -> None:
    assert not is_local_name(host)
    assert EgressPolicy().target_refusal("https", host, 443) is None


@pytest.mark.parametrize(
    ("scheme", "host", "port", "allow", "rule"),
    [
        ("https", "crm.example", 443, [], None),
        ("https", "crm.example", 8443, [], None),
        ("http", "crm.example", 80, [], EgressRule.NOT_HTTPS),
        ("http", "127.0.0.1", 25, [], EgressRule.NOT_HTTPS),  # the first that is in the way
        ("https", "crm.example", 6379, [], EgressRule.PORT),
        ("https", "crm.example", 6379, ["10.0.0.0/8"], EgressRule.PORT),
        ("https", "crm.example", 6379, ["10.0.0.0/8:6379"], None),  # it may lead there
        ("https", "8.8.8.8", 6379, ["10.0.0.0/8:6379"], EgressRule.PORT),  # it does not
        ("https", "127.0.0.1", 443, [], EgressRule.NOT_PUBLIC),
        ("https", "::1", 443, [], EgressRule.NOT_PUBLIC),
        ("https", "::ffff:8.8.8.8", 443, [], EgressRule.NOT_PUBLIC),
        ("https", "10.0.0.5", 443, ALLOW_INSIDE, EgressRule.NOT_PUBLIC),
        ("https", "10.0.0.5", 8443, ALLOW_INSIDE, None),
        ("https", "crm.internal", 443, ALLOW_INSIDE, EgressRule.LOCAL_NAME),
        ("https", "crm.internal", 8443, ALLOW_INSIDE, None),
        ("https", "crm", 443, ["10.0.0.0/8"], None),
        ("https", "8.8.8.8", 443, [], None),
        ("https", "2606:4700:4700::1111", 443, [], None),
    ],
)
def test_policy_for_a_url_as_far_as_its_text_tells(
    scheme: str, host: str, port: int, allow: list[str], rule: EgressRule | None
) -> None:
    policy = EgressPolicy(allow=tuple(map(parse_allow_rule, allow)), deny_ports=frozenset({25, 6379}))

    refusal = policy.target_refusal(scheme, host, port)

    assert (refusal and refusal.rule) == rule
    assert refusal is None or host not in str(refusal)


@pytest.mark.parametrize("address", NOT_PUBLIC + BOUND_TO_AN_INTERFACE)
def test_address_in_a_url_is_judged_as_when_it_is_dialled(address: str) -> None:
    assert EgressPolicy().target_refusal("https", address, 443) == EgressPolicy().refusal(address, 443)


@settings(deadline=None)
@given(st.text(max_size=50))
def test_any_host_is_judged(host: str) -> None:
    EgressPolicy().target_refusal("https", host, 443)


# --- URLs as text ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("https://crm.example", "crm.example", 443),
        ("http://crm.example/", "crm.example", 80),
        ("https://crm.example:8443/a/b?c=d#e", "crm.example", 8443),
        ("https://crm.example:/", "crm.example", 443),
        ("HTTPS://CRM.EXAMPLE/", "crm.example", 443),
        ("https://crm.example./", "crm.example.", 443),
        ("https://xn--caf-dma.example/", "xn--caf-dma.example", 443),
        ("https://1.crm.example/", "1.crm.example", 443),
        ("https://0xcafe.example/", "0xcafe.example", 443),
        ("https://r3---sn.crm.example/", "r3---sn.crm.example", 443),
        ("https://my_crm.example/?q=%00%2F+;&x={call_id}|[0]@'\"", "my_crm.example", 443),
        ("https://crm.example/@user", "crm.example", 443),
        ("https://8.8.8.8/", "8.8.8.8", 443),
        ("https://[2606:4700:4700::1111]:8443/", "2606:4700:4700::1111", 8443),
        # where these lead is judged when they are dialled
        ("https://127.0.0.1/", "127.0.0.1", 443),
        ("https://[::ffff:127.0.0.1]/", "::ffff:127.0.0.1", 443),
        ("https://[::127.0.0.1]/", "::127.0.0.1", 443),
        ("https://localhost/", "localhost", 443),
        ("https://crm/" + "x" * (MAX_URL_LENGTH - 12), "crm", 443),
    ],
)
def test_url_is_accepted(url: str, host: str, port: int) -> None:
    parts = check_url(url)

    assert (parts.hostname, port_of(parts)) == (host, port)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "crm.example",
        "//crm.example/",
        "https:",
        "https://",
        "https:///path",
        "https:crm.example",
        "https://?x",
        "https://#@crm.example/",
        "https://:443/",
        "https://crm/" + "x" * (MAX_URL_LENGTH - 11),
        # schemes
        "ftp://crm.example/",
        "file:///etc/passwd",
        "gopher://crm.example/",
        "ws://crm.example/",
        "tcp://crm.example/",
        "http+unix://%2Fvar%2Frun%2Fdocker.sock/",
        "javascript:alert(1)",
        "http+unix:///var/run/docker.sock",
        "//ok.example:443/",
        "://ok.example/",
        # what parsers read differently
        "https://ok.example@127.0.0.1/",
        "https://user:password@crm.example/",
        "https://@crm.example/",
        "http://1.1.1.1 &@2.2.2.2# @3.3.3.3/",
        "https://ok.example\\@127.0.0.1/",
        "https://ok.example\\.evil.example/",
        "https://ok.example/\r\nX: y",
        "https://ok.example\t.evil.example/",
        "https://ok.example/\x00",
        "https://ok.example/\x7f",
        "https://ok.example/\x85",
        "https://ok.example/\u200b",
        "https://ok.example/a b",
        "https://ok.example/?a\\b",
        "\thttps://ok.example/",
        "https://ok.example /",
        " https://ok.example/",
        # hosts
        "https://%31%32%37.0.0.1/",
        "https://ok%2eexample/",
        "https://[fe80::1%25lo]/",
        "https://[fe80::1%lo]/",
        "https://[::1%25]/",
        "https://①②⑦.⓪.⓪.①/",
        "https://127。0。0。1/",
        "https://١٢٧.٠.٠.١/",
        "https://ⓛocalhost/",
        "https://café.example/",
        "https://[v1.x]/",
        "https://[::1]evil.example/",
        "https://ok.example[::1]/",
        "https://[::1/",
        "https://::1/",
        "https://a,b/",
        "https://a*b/",
        "https://a..example/",
        "https://.example/",
        "https://./",
        "https://crm.example../",
        "https://" + "a" * 64 + ".example/",
        "https://" + "a." * 127 + "example/",
        "https://[]/",
        "https://[:::]/",
        "https://[127.0.0.1]/",
        "https://[::1]./",
        "https://[[::1]]/",
        "https://crm.example]/",
        # numbers that inet_aton() takes for addresses
        "https://2130706433/",
        "https://017700000001/",
        "https://0177.0.0.1/",
        "https://127.1/",
        "https://127.0.1/",
        "https://0/",
        "https://0x7f000001/",
        "https://0x7f.1/",
        "https://0X7F.0.0.0x1/",
        "https://0x/",
        "https://127.0.0.01/",
        "https://127.0.0.1./",
        "https://127.0.0.256/",
        "https://1.2.3.4.5/",
        "https://crm.example.1/",
        "https://10.0.0.0x1/",
        # ports
        "https://crm.example:0/",
        "https://crm.example:65536/",
        "https://crm.example:-1/",
        "https://crm.example:+80/",
        "https://crm.example:http/",
        "https://crm.example:80:80/",
        "https://crm.example:000443/",
        "https://crm.example:00/",
        "https://[::1]:65536/",
    ],
)
def test_url_is_refused_without_being_quoted(url: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011  the text is compared below
        check_url(url)

    assert not url or url.strip("/ ") not in str(refused.value)


@settings(deadline=None)
@given(st.text(max_size=60) | st.text(max_size=60).map("https://".__add__))
def test_no_text_makes_checking_fail(url: str) -> None:
    try:
        parts = check_url(url)
    except ValueError:
        return
    assert parts == urlsplit(url)
    assert parts.hostname
    assert parts.port is None or 0 < parts.port < 65_536


# --- the one form that we write --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("https://crm.example", "https://crm.example/"),
        ("HTTPS://CRM.Example/Hook", "https://crm.example/Hook"),
        ("https://crm.example:443/", "https://crm.example/"),
        ("http://crm.example:80", "http://crm.example/"),
        ("http://crm.example:443/", "http://crm.example:443/"),
        ("https://crm.example:/", "https://crm.example/"),
        ("https://crm.example:08443/", "https://crm.example:8443/"),
        ("https://crm.example./", "https://crm.example/"),
        ("https://crm.example?a=1", "https://crm.example/?a=1"),
        ("https://crm.example/a?b=%2f+{c}#top", "https://crm.example/a?b=%2f+{c}"),
        ("https://crm.example//a/../b", "https://crm.example//a/../b"),
        ("https://127.0.0.1/", "https://127.0.0.1/"),
        ("https://[2606:4700:4700:0:0:0:0:1111]:443/", "https://[2606:4700:4700::1111]/"),
        ("https://[::FFFF:127.0.0.1]:8443", "https://[::ffff:7f00:1]:8443/"),
        ("http://127.0.0.1#@ok.example/", "http://127.0.0.1/"),
    ],
)
def test_normal_form(url: str, normal: str) -> None:
    assert normal_url(check_url(url)) == normal


HOSTS = st.sampled_from(["CRM.example", "crm.example.", "8.8.8.8", "[2606:4700::1111]", "[::ffff:1.2.3.4]", "a_b"])
PORTS = st.sampled_from(["", ":", ":443", ":80", ":0443", ":8443"])
TAILS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="\\"), max_size=40)


@settings(deadline=None)
@given(scheme=st.sampled_from(["https", "HTTP"]), host=HOSTS, port=PORTS, tail=TAILS)
def test_normal_form_is_a_url_that_leads_to_the_same_place_and_stays_as_it_is(
    scheme: str, host: str, port: str, tail: str
) -> None:
    before = check_url(f"{scheme}://{host}{port}/{tail}")
    after = check_url(normal_url(before))

    assert normal_url(after) == normal_url(before)
    assert (after.scheme, port_of(after), after.path, after.query) == (
        before.scheme,
        port_of(before),
        before.path,
        before.query,
    )
