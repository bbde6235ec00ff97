"""The configuration: every setting, read from flags, environment, credentials and a TOML file into frozen values.
This file names what the composition root may use; the work is done in `loading.py`.
"""

from router.settings.json_schema import config_schema
from router.settings.layers import KEYS_CREDENTIAL
from router.settings.loading import DEFAULT_CONFIG, Setting, Settings, describe, differences, file_text, load_settings
from router.settings.problems import Problem, SettingsError, render_problems
from router.settings.publishers import SourceFields, SourceSettings, TimeFormat
from router.settings.sections import (
    AmqpSettings,
    ApiSettings,
    DeliverySettings,
    EgressSettings,
    LimitsSettings,
    LogSettings,
    MongoSettings,
    NumbersSettings,
    RetentionSettings,
    ScheduleSettings,
    SecretsSettings,
    TracingSettings,
)
from router.settings.trouble import Trouble, trouble_of
from router.settings.values import EMBEDDED

__all__ = [
    "DEFAULT_CONFIG",
    "EMBEDDED",
    "KEYS_CREDENTIAL",
    "AmqpSettings",
    "ApiSettings",
    "DeliverySettings",
    "EgressSettings",
    "LimitsSettings",
    "LogSettings",
    "MongoSettings",
    "NumbersSettings",
    "Problem",
    "RetentionSettings",
    "ScheduleSettings",
    "SecretsSettings",
    "Setting",
    "Settings",
    "SettingsError",
    "SourceFields",
    "SourceSettings",
    "TimeFormat",
    "TracingSettings",
    "Trouble",
    "config_schema",
    "describe",
    "differences",
    "file_text",
    "load_settings",
    "render_problems",
    "trouble_of",
]
