"""The whole of the settings, and how they are put together: flags over environment over credentials over file over
defaults. Reads the environment that it is given, its credentials and one TOML file, once; everything else receives the
frozen result.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from pydantic import BaseModel, PrivateAttr, ValidationError
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from router.settings.explain import explain
from router.settings.layers import (
    ENV_CONFIG,
    Layer,
    credentials_layer,
    environment_layer,
    file_layer,
    flag_layer,
    origin_in,
)
from router.settings.problems import SettingsError, shown
from router.settings.publishers import DEFAULT_SOURCES, Sources
from router.settings.schema import KeyPath, dotted
from router.settings.sections import (
    AmqpSettings,
    ApiSettings,
    ConsoleSettings,
    DataDir,
    DeliverySettings,
    EgressSettings,
    LimitsSettings,
    LogSettings,
    MongoSettings,
    NumbersSettings,
    ReplaySettings,
    RetentionSettings,
    SecretsSettings,
    SigningSettings,
    TracingSettings,
)

DEFAULT_CONFIG: Final = Path("config/router.toml")
"""Read if it is there, from the working directory, when no file is named."""


@dataclass(frozen=True, slots=True)
class _Layers:
    """Where the values came from. Not part of what settings are equal by: a default and the same value
    in a file are the same settings."""

    layers: tuple[Layer, ...] = field(default=(), compare=False)


class Settings(BaseSettings):
    """Every setting of the program. `Settings()` is the defaults: only `load_settings` reads anything."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True
    )

    amqp: AmqpSettings = AmqpSettings()
    """The broker."""
    mongo: MongoSettings = MongoSettings()
    """The store."""
    data_dir: DataDir = Path(".run")
    """Folder for what the program keeps on disk, such as the data of the embedded store."""
    api: ApiSettings = ApiSettings()
    """The HTTP API and the console."""
    console: ConsoleSettings = ConsoleSettings()
    """The pages for people."""
    egress: EgressSettings = EgressSettings()
    """Which addresses webhooks may be sent to."""
    replay: ReplaySettings = ReplaySettings()
    """How fast what failed is sent again."""
    signing: SigningSettings = SigningSettings()
    """How requests are signed."""
    delivery: DeliverySettings = DeliverySettings()
    """Attempts and retries."""
    limits: LimitsSettings = LimitsSettings()
    """What a message may be."""
    numbers: NumbersSettings = NumbersSettings()
    """How phone numbers are read."""
    retention: RetentionSettings = RetentionSettings()
    """How long things are kept."""
    secrets: SecretsSettings = SecretsSettings()
    """How the secrets of webhooks are stored."""
    log: LogSettings = LogSettings()
    """What is written to stderr."""
    tracing: TracingSettings = TracingSettings()
    """What goes to an OpenTelemetry collector."""
    sources: Sources = DEFAULT_SOURCES
    """Which exchanges are consumed, and how their messages are read."""

    _layers: _Layers = PrivateAttr(default_factory=_Layers)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only arguments: the library's own readers stop at the first error and know no origins."""
        return (init_settings,)


_NONE_WORDS: Final = {"log.format": "auto"}
"""What "no value" is called where it is not called `none`."""


class Setting(NamedTuple):
    """One setting, for people: dotted key, value with secrets masked, where the value was written."""

    key: str
    value: str
    origin: str


def load_settings(
    *,
    config: Path | None = None,
    overrides: Mapping[str, object] | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Settings:
    """Read and check the configuration.

    `config` is the file named by a flag; without one it is `ROUTER_CONFIG`, else config/router.toml if that
    exists. `overrides` are flags by dotted key (`{"api.port": 0}`; None is a flag that was not given).
    Raises SettingsError with everything that is wrong, in all places at once.
    """
    layers = (
        flag_layer(overrides or {}, Settings),
        environment_layer(environ, Settings),
        credentials_layer(environ, Settings),
        _find_file(config, environ),
    )
    problems = [problem for layer in layers for problem in layer.problems]
    sources = tuple(InitSettingsSource(Settings, layer.data) for layer in layers)
    try:
        settings = Settings(_build_sources=(sources, {}))
    except ValidationError as error:
        problems += explain(error, layers, Settings)
        # Without the cause: a traceback would print passwords.
        raise SettingsError(problems) from None
    if problems:
        raise SettingsError(problems)
    settings._layers = _Layers(layers)
    return settings


def differences(one: Settings, other: Settings) -> list[str]:
    """The keys whose values differ, secrets included."""
    values, others = (dict(_leaves(settings, ())) for settings in (one, other))
    paths = sorted(values.keys() | others.keys(), key=dotted)
    return [dotted(path) for path in paths if path not in values or path not in others or values[path] != others[path]]


def file_text(settings: Settings) -> str:
    """The file that the settings were read from, as it was then; empty where there was none."""
    return "".join(layer.text for layer in settings._layers.layers)


def _find_file(config: Path | None, environ: Mapping[str, str]) -> Layer:
    if config is not None:
        return file_layer(config, named_by="flag --config")
    if environ.get(ENV_CONFIG):
        return file_layer(Path(environ[ENV_CONFIG]), named_by=f"environment {ENV_CONFIG}")
    return file_layer(DEFAULT_CONFIG, named_by=None)


def describe(settings: Settings) -> list[Setting]:
    """Every setting in the order of the models, for `check-config`: nothing in it is secret."""
    layers = settings._layers.layers
    return [
        Setting(key, _NONE_WORDS.get(key, "none") if value is None else shown(value), origin)
        for path, value in _leaves(settings, ())
        for key, origin in [(dotted(path), origin_in(layers, path, or_item=False))]
    ]


def _leaves(node: object, path: KeyPath) -> Iterator[tuple[KeyPath, object]]:
    if isinstance(node, BaseModel):
        for name in type(node).model_fields:
            yield from _leaves(getattr(node, name), (*path, name))
    elif isinstance(node, tuple) and node and isinstance(node[0], BaseModel):
        for index, item in enumerate(node):
            yield from _leaves(item, (*path, index))
    else:
        yield path, node
