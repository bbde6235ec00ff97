"""Checks the lock against requirements/policy.toml: hashes, licences, versions without known holes. Asks no network.

    python -m scripts.check_lock            prints what is wrong; exit code 1 where anything is

Reads requirements/*.txt, pyproject.toml, docker-compose.yml, Dockerfile, and the metadata of what is installed.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata
from itertools import chain
from pathlib import Path
from typing import Final

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from packaging.requirements import Requirement
from packaging.version import Version
from pydantic import BaseModel, ConfigDict, ValidationError

ROOT: Final = Path(__file__).parents[1]
LicenceOf = Callable[[str], str | None]
"""The licence that a package states, as an SPDX expression; None where it is not installed or states none."""

_PIN: Final = re.compile(r"(?P<name>[a-z0-9-]+)(?:\[[a-z0-9,-]+\])?==(?P<version>[^\s;\\]+)")
_IMAGE: Final = re.compile(r"(?m)^\s*(?:image:|FROM|ARG BASE=)\s*(?P<name>[a-z0-9/.-]+):(?P<tag>[0-9][\w.-]*)")
_ANY_IMAGE: Final = re.compile(r"(?m)^\s*(?:image:|FROM|ARG BASE=)\s*(?P<image>[^\s$]+)(?=\s|$)")
_CLASSIFIERS: Final = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
_SHORT: Final = {"BSD": "BSD-3-Clause"}
_OWN_IMAGE: Final = "webhook-router"


class _Table(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Exemption(_Table):
    """Why a package may be used although its metadata does not say so."""

    licence: str
    reason: str


class Floor(_Table):
    """The first version of a package that may be used."""

    package: str
    version: str
    advisories: list[str]
    reason: str


class Image(_Table):
    """The first version of an image that may be used."""

    name: str
    version: str
    advisories: list[str]
    reason: str


class Policy(_Table):
    """requirements/policy.toml."""

    allowed_licences: list[str]
    tools: list[str] = []
    packages: dict[str, Exemption] = {}
    floors: list[Floor] = []
    images: list[Image] = []


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """One package of a lock."""

    lock: str
    name: str
    version: str
    has_hash: bool


def check(root: Path, licence_of: LicenceOf) -> list[str]:
    """What is wrong, one sentence each."""
    try:
        policy = Policy.model_validate(tomllib.loads((root / "requirements" / "policy.toml").read_text("utf-8")))
    except ValidationError as error:
        return [f"policy.toml: {'.'.join(map(str, found['loc']))}: {found['msg']}" for found in error.errors()]
    pins = [pin for lock in sorted((root / "requirements").glob("*.txt")) for pin in read_lock(lock)]
    if not pins:
        return ["requirements/*.txt hold no package"]
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    ranges = [
        Requirement(text) for text in chain(project["dependencies"], *project.get("optional-dependencies", {}).values())
    ]
    files = [root / "docker-compose.yml", root / "Dockerfile"]
    return [
        *(f"{pin.lock}: {pin.name} has no hash" for pin in pins if not pin.has_hash),
        *(f"policy.toml: tools: there is no {lock}" for lock in policy.tools if lock not in {pin.lock for pin in pins}),
        *_licences([pin for pin in pins if pin.lock not in policy.tools], policy, licence_of),
        *_floors(pins, policy.floors, ranges),
        *_images({path.name: path.read_text("utf-8") for path in files}, policy.images),
    ]


def read_lock(path: Path) -> Iterator[Pin]:
    """The packages of a requirements file; what is no package and no hash of one raises ValueError."""
    lines = path.read_text("utf-8").replace("\\\n", " ").splitlines()
    for line in lines:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        pin = _PIN.match(line)
        if pin is None:
            raise ValueError(f"{path.name}: not understood: {line[:60]!r}")
        has_hash = "--hash=sha256:" in line
        yield Pin(lock=path.name, name=pin["name"], version=pin["version"], has_hash=has_hash)


# --- licences --------------------------------------------------------------------------------------


def _licences(pins: Iterable[Pin], policy: Policy, licence_of: LicenceOf) -> Iterator[str]:
    names = sorted({pin.name for pin in pins})
    allowed = set(policy.allowed_licences)
    for name in names:
        stated, exempt = licence_of(name), policy.packages.get(name)
        if exempt is None:
            if stated is None:
                yield f"{name}: its licence is not known here; enter it under [packages.{name}] in policy.toml"
            elif not is_allowed(stated, allowed):
                yield f"{name}: {stated} is not allowed; find another package, or enter the reason in policy.toml"
        elif stated is not None and is_allowed(stated, allowed):
            yield f"{name}: its entry in policy.toml is not needed"
        elif stated is not None and stated != exempt.licence:
            yield f"{name}: policy.toml says {exempt.licence}, the package {stated}"
    yield from (f"{name}: in policy.toml, but in no lock" for name in policy.packages if name not in names)


def is_allowed(expression: str, allowed: set[str]) -> bool:
    """Whether an SPDX expression can be met with allowed licences: every side of AND, one of OR."""
    tokens = re.findall(r"[()]|[^\s()]+", expression)

    def either() -> bool:
        found = both()
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            found = both() or found
        return found

    def both() -> bool:
        found = single()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            found = single() and found
        return found

    def single() -> bool:
        word = tokens.pop(0)
        if word == "(":
            found = either()
            tokens.pop(0)
            return found
        return word in allowed

    return either()


def installed_licence(name: str) -> str | None:
    """What the installed package states: an expression, else its classifiers, else a short text."""
    try:
        stated = metadata(name)
    except PackageNotFoundError:
        return None
    classifiers = (text.rpartition(" :: ")[2] for text in stated.get_all("Classifier") or [] if "OSI Approved" in text)
    known = " AND ".join(sorted({_CLASSIFIERS[text] for text in classifiers if text in _CLASSIFIERS}))
    (text, *_), (written, *_) = (stated.get_all(field) or [""] for field in ("License", "License-Expression"))
    for expression in (written, known, _SHORT.get(text, text)):
        try:
            return str(canonicalize_license_expression(expression))
        except InvalidLicenseExpression:
            continue
    return None


# --- versions --------------------------------------------------------------------------------------


def _floors(pins: Iterable[Pin], floors: Iterable[Floor], ranges: Iterable[Requirement]) -> Iterator[str]:
    versions: dict[str, list[Pin]] = {}
    for pin in pins:
        versions.setdefault(pin.name, []).append(pin)
    for floor in floors:
        why = ", ".join(floor.advisories)
        if floor.package not in versions:
            yield f"{floor.package}: has a floor in policy.toml, but is in no lock"
        for pin in versions.get(floor.package, []):
            if Version(pin.version) < Version(floor.version):
                yield f"{pin.lock}: {pin.name} {pin.version} is below {floor.version} ({why})"
        for wanted in ranges:
            if wanted.name == floor.package and not _keeps_above(wanted, Version(floor.version)):
                yield f"pyproject.toml: {wanted} lets versions below {floor.version} in ({why})"


def _keeps_above(wanted: Requirement, floor: Version) -> bool:
    lowest = [Version(one.version) for one in wanted.specifier if one.operator in {">=", "==", ">", "~="}]
    return any(version >= floor for version in lowest)


def _images(files: Mapping[str, str], images: Iterable[Image]) -> Iterator[str]:
    floors = {image.name: image for image in images}
    seen = set()
    for file, text in files.items():
        pinned = {f"{match['name']}:{match['tag']}": match for match in _IMAGE.finditer(text)}
        for image in _ANY_IMAGE.findall(text):
            match = pinned.get(image)
            name = image.partition(":")[0]
            if name == _OWN_IMAGE:
                continue
            seen.add(name)
            if match is None:
                yield f"{file}: {image} has no version"
            elif name not in floors:
                yield f"{file}: {name} has no entry under [[images]] in policy.toml"
            elif Version(match["tag"].partition("-")[0]) < Version(floors[name].version):
                yield f"{file}: {image} is below {floors[name].version} ({', '.join(floors[name].advisories)})"
    yield from (f"{name}: an image in policy.toml that nothing uses" for name in floors if name not in seen)


def main() -> None:
    problems = check(ROOT, installed_licence)
    for problem in problems:
        print(problem, file=sys.stderr)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
