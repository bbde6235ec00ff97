"""What operators run is linted here: the image, the compose file, the systemd units, the broker's policies."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from router.settings import load_settings
from tests.support.shutdown import LONGEST_SECONDS, LONGEST_WITH_WORKERS

ROOT = Path(__file__).parents[2]
SYSTEMD = ROOT / "config" / "systemd"
UNITS = (SYSTEMD / "webhook-router.service", SYSTEMD / "webhook-router@.service")

units = pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)


def dockerfile() -> list[tuple[str, str]]:
    """The Dockerfile's instructions and their arguments, continuation lines joined."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(word, " ".join(rest.split())) for word, _, rest in (line.partition(" ") for line in lines)]


def last_stage() -> dict[str, str]:
    """The instructions that make the shipped image; of several of a kind, the last one."""
    instructions = dockerfile()
    start = max(index for index, (word, _) in enumerate(instructions) if word == "FROM")
    return dict(instructions[start:])


COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    loaded: dict[str, Any] = COMPOSE["services"]
    return loaded


def unit_settings(unit: Path) -> dict[str, list[str]]:
    settings: dict[str, list[str]] = {}
    for line in unit.read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            settings.setdefault(name, []).append(value)
    return settings


# ------------------------------------------------------------------------------------------- image


def test_the_image_installs_from_the_hash_lock_only() -> None:
    installs = [arguments for word, arguments in dockerfile() if word == "RUN" and "pip install" in arguments]
    assert len(installs) == 3
    assert all("--require-hashes" in arguments or "--no-index --no-deps" in arguments for arguments in installs)


def test_the_container_is_not_root_and_receives_the_signals() -> None:
    image = last_stage()
    assert image["USER"] == "10001:10001"
    assert image["STOPSIGNAL"] == "SIGTERM"
    assert json.loads(image["ENTRYPOINT"]) == ["webhook-router"]  # exec form: no shell between
    assert json.loads(image["CMD"]) == ["serve"]


def test_the_container_is_reachable_unbuffered_and_checked() -> None:
    image = last_stage()
    assert "ROUTER_API__HOST=0.0.0.0" in image["ENV"]
    assert "PYTHONUNBUFFERED=1" in image["ENV"]
    assert json.loads(image["HEALTHCHECK"].partition("CMD ")[2]) == ["webhook-router", "healthcheck"]


def test_the_image_can_have_each_lock_that_the_router_runs_on() -> None:
    assert ("ARG", "LOCK=base.txt") in dockerfile()
    assert any("--require-hashes -r requirements/${LOCK}" in arguments for _, arguments in dockerfile())
    assert {"base.txt", "otel.txt"} <= {file.name for file in (ROOT / "requirements").iterdir()}


def test_the_shipped_stage_has_what_was_installed_and_no_tools_to_build() -> None:
    instructions = dockerfile()
    start = max(index for index, (word, _) in enumerate(instructions) if word == "FROM")
    stage = instructions[start:]
    assert not any(word in {"RUN", "ADD"} for word, _ in stage)
    assert [arguments for word, arguments in stage if word == "COPY"] == [
        "--from=build /opt/webhook-router /opt/webhook-router"
    ]
    assert {arguments.partition(" ")[0] for word, arguments in instructions if word == "FROM"} == {"${BASE}"}
    (base,) = (arguments for word, arguments in instructions if word == "ARG" and arguments.startswith("BASE="))
    assert re.fullmatch(r"BASE=python:3\.11-slim-\w+", base)


def test_the_container_writes_into_a_directory_that_a_tmpfs_covers(services: dict[str, Any]) -> None:
    data_dir = re.search(r"ROUTER_DATA_DIR=(\S+)", last_stage()["ENV"])
    assert data_dir is not None
    assert any(Path(data_dir[1]).is_relative_to(path) for path in services["router"]["tmpfs"])
    assert "PYTHONDONTWRITEBYTECODE=1" in last_stage()["ENV"]
    assert "volumes" not in services["router"]


def test_the_image_names_its_version() -> None:
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None
    assert ("ARG", f"VERSION={version[1]}") in dockerfile()
    assert f"image: webhook-router:{version[1]}" in (ROOT / "docker-compose.yml").read_text()


def test_what_the_image_copies_is_let_through_to_the_builder() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for word, arguments in dockerfile():
        if word == "COPY" and not arguments.startswith("--from"):
            for source in arguments.split()[:-1]:
                assert f"!{source}" in ignored


# ----------------------------------------------------------------------------------------- compose


def test_the_router_is_confined(services: dict[str, Any]) -> None:
    router = services["router"]
    assert router["read_only"] is True
    assert router["tmpfs"] == ["/tmp"]
    assert router["cap_drop"] == ["ALL"]
    assert router["pids_limit"] == 256
    # No secret, and no door to private networks.
    assert router["environment"].keys() == {"ROUTER_LOG__FORMAT"}


def test_the_secrets_of_the_router_are_files_that_are_settings(services: dict[str, Any], tmp_path: Path) -> None:
    directory = re.search(r"CREDENTIALS_DIRECTORY=(\S+)", last_stage()["ENV"])
    assert directory is not None
    assert directory[1] == "/run/secrets"  # where Docker puts them
    for secret in services["router"]["secrets"]:
        source = COMPOSE["secrets"][secret["source"]]["file"]
        assert source.startswith("${WEBHOOK_ROUTER_SECRETS:-./config/compose/secrets}/")
        shutil.copy(ROOT / "config" / "compose" / "secrets" / Path(source).name, tmp_path / secret["target"])
    settings = load_settings(config=ROOT / "config" / "router.toml", environ={"CREDENTIALS_DIRECTORY": str(tmp_path)})

    broker, store = (urlsplit(url.get_secret_value()) for url in (settings.amqp.url, settings.mongo.url))
    assert broker.hostname in services
    assert broker.username == services["rabbitmq"]["environment"]["RABBITMQ_DEFAULT_USER"]
    assert services["rabbitmq"]["environment"]["RABBITMQ_DEFAULT_PASS"] == f"${{RABBITMQ_PASSWORD:-{broker.password}}}"
    assert store.hostname in services
    command = services[store.hostname]["command"]
    assert store.query == f"replicaSet={command[command.index('--replSet') + 1]}"
    assert settings.api.admin_token is None  # nothing to forget


def test_the_store_is_reached_by_the_router_alone(services: dict[str, Any]) -> None:
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    assert services["mongo"]["networks"] == ["inside"]
    assert "ports" not in services["mongo"]
    assert set(services["router"]["networks"]) == {"inside", "outside"}


def test_every_service_is_bounded_and_restarted(services: dict[str, Any]) -> None:
    for service in services.values():
        assert "memory" in service["deploy"]["resources"]["limits"]
        assert service["ulimits"]["nofile"] == 65536
        assert service["logging"]["options"].keys() == {"max-size", "max-file"}
        assert service["restart"] == "on-failure"
        assert int(service["stop_grace_period"].removesuffix("s")) > max(LONGEST_SECONDS, LONGEST_WITH_WORKERS)


def test_no_service_may_gain_privileges_or_be_reached_from_outside(services: dict[str, Any]) -> None:
    for service in services.values():
        assert "no-new-privileges:true" in service["security_opt"]
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_the_router_waits_for_servers_that_answer(services: dict[str, Any]) -> None:
    awaited = services["router"]["depends_on"]
    assert awaited == {name: {"condition": "service_healthy"} for name in ("rabbitmq", "mongo")}
    assert all("healthcheck" in services[name] for name in awaited)


def test_mongo_is_a_replica_set_without_zlib(services: dict[str, Any]) -> None:
    command = services["mongo"]["command"]
    assert "--replSet" in command
    assert "zlib" not in " ".join(command)
    assert "rs.initiate" in services["mongo"]["healthcheck"]["test"][-1]


# ----------------------------------------------------------------------------------------- systemd


@units
def test_a_unit_notifies_and_stays_down_when_it_cannot_heal(unit: Path) -> None:
    settings = unit_settings(unit)
    assert settings["Type"] == ["notify"]
    assert settings["WatchdogSec"] == ["30"]
    assert settings["RestartPreventExitStatus"] == ["64 78"]
    assert settings["KillMode"] == ["mixed"]
    assert settings["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
    assert int(settings["TimeoutStopSec"][0]) > max(LONGEST_SECONDS, LONGEST_WITH_WORKERS)


@units
def test_a_unit_hands_the_secrets_over(unit: Path) -> None:
    """As files `webhook-router_<setting>`: systemd names those of a directory after the credential."""
    assert unit_settings(unit)["LoadCredential"] == ["webhook-router:/etc/webhook-router/credentials"]
    assert not re.search(r"(?i)^Environment=.*(url|token|password)", unit.read_text(), re.MULTILINE)


def test_the_template_differs_from_the_unit_in_names_alone() -> None:
    single, template = (
        [line for line in unit.read_text().splitlines() if line and not line.startswith("#")] for unit in UNITS
    )
    plain = [
        line.replace(" (%i)", "").replace("/webhook-router/%i.toml", "/webhook-router/router.toml").replace("/%i", "")
        for line in template
    ]
    assert plain == single
    assert sum("%i" in line for line in template) == 4


@units
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="a tool of systemd's, for checking only")
def test_systemd_understands_and_approves_a_unit(unit: Path, tmp_path: Path) -> None:
    # The program is not installed where the unit looks for it, and systemd insists on one.
    copy = tmp_path / unit.name.replace("@", "@a")
    copy.write_text(unit.read_text().replace("/opt/webhook-router/current/bin/webhook-router", "/bin/true"))

    said = ""
    for check in (["verify"], ["security", "--offline=true", "--no-pager"]):
        result = subprocess.run(["systemd-analyze", *check, copy], capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout + result.stderr
        assert not re.search(r"unknown|ignoring", result.stderr, re.IGNORECASE), result.stderr
        said += result.stdout
    exposure = re.search(r"Overall exposure level .*: ([0-9.]+)", said)
    assert exposure is not None, said
    assert float(exposure[1]) < 2.0, said


@pytest.mark.skipif(
    shutil.which("systemd-sysusers") is None or os.geteuid() != 0, reason="tools of systemd's, which root alone can use"
)
def test_user_and_folders_are_made_as_the_unit_needs_them(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    for tool, arguments, name in (
        ("systemd-sysusers", [], "webhook-router.sysusers"),
        ("systemd-tmpfiles", ["--create"], "webhook-router.tmpfiles"),
    ):
        result = subprocess.run(
            [tool, f"--root={tmp_path}", *arguments, SYSTEMD / name], capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stderr
        assert "ignoring" not in result.stderr.lower(), result.stderr
    (user,) = unit_settings(UNITS[0])["User"]
    assert f"{user}:x:" in (tmp_path / "etc" / "passwd").read_text()
    credentials = tmp_path / unit_settings(UNITS[0])["LoadCredential"][0].partition(":/")[2]
    assert credentials.stat().st_mode & 0o777 == 0o700
    assert credentials.parent.stat().st_mode & 0o777 == 0o750


# ---------------------------------------------------------------------------------------- policies


def test_the_policy_suits_old_and_new_brokers() -> None:
    (policy,) = json.loads((ROOT / "config" / "rabbitmq" / "policies.json").read_text())["policies"]
    assert policy["apply-to"] == "queues"  # 3.10 does not know quorum_queues
    assert policy["definition"]["delivery-limit"] > 0  # 3.10 takes -1 for "at the first return"
    assert policy["definition"]["dead-letter-strategy"] == "at-least-once"
    assert policy["definition"]["overflow"] == "reject-publish"  # without it, silently at most once
    assert policy["definition"]["dead-letter-exchange"]


# --------------------------------------------------------------------------------------------- lock


@pytest.mark.parametrize(
    "name",
    ["base.txt", "bridge.txt", "build.txt", "dev.txt", "docs.txt", "fuzz.txt", "otel.txt", "sbom.txt"],
)
def test_the_lock_has_hashes_and_no_hosts(name: str) -> None:
    lock = (ROOT / "requirements" / name).read_text()
    assert not re.search(r"https?:|file:|--(extra-)?index-url|--find-links", lock)
    pins = re.findall(r"^[a-z0-9-]+==.*$", lock, re.MULTILINE)
    assert pins
    assert all(pin.endswith("\\") for pin in pins)  # a hash follows
