"""Settings: defaults < nemorouter.toml < NEMOROUTER_* < arguments, checked once at the start.

A leaf. It must never show a secret in a repr, and never accept a setting it does not know.
"""

import difflib
import ipaddress
import os
import re
import tomllib
from collections.abc import Container, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, get_type_hints
from urllib.parse import urlsplit

import msgspec

from nemorouter.errors import ConfigurationError

STORE_NAME: Final = "nemorouter.db"
"""Name of the store in the data directory, unless ``database_url`` names another."""
PEPPER_NAME: Final = "pepper"
"""Name of the file of the peppers in the data directory; how the names of other secrets begin."""
_PREFIX: Final = "NEMOROUTER_"
_IGNORED: Final = frozenset({"NEMOROUTER_API_KEY"})  # belongs to clients, as OPENAI_API_KEY does
_SECRETS: Final = ("database_url", "redis_url")  # may also come from a file: <name>_file
_PATHS: Final = ("data_dir", "pepper_file", "audit_key_file", "config")
_WORDS: Final = {
    "true": True,
    "1": True,
    "yes": True,
    "on": True,
    "false": False,
    "0": False,
    "no": False,
    "off": False,
}
_PUBLIC_URL: Final = re.compile(r"https?://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")
_RANGES: Final = {
    "port": (1, 65_535),
    "workers": (1, 1024),
    "capacity": (16, 1 << 30),
    "org_capacity": (0, 1 << 30),
    "journal_slots": (16, 1 << 16),
    "lease_ttl": (0.5, 60),
    "lease_tick": (0.01, 1),
    "lease_share": (0.001, 0.5),
    "offline_share": (0, 0.5),
    "log_retention_days": (1, 36_500),
    "shutdown_timeout": (1, 3_600),
    "max_body_bytes": (1024, 1 << 30),
    "body_timeout": (1, 3_600),
    "body_min_rate": (1, 1 << 30),
    "body_memory": (1 << 20, 1 << 40),
    "max_header_bytes": (1024, 1 << 20),
    "upstream_connect_timeout": (0.001, 86_400),
    "upstream_first_byte_timeout": (0.001, 86_400),
    "upstream_total_timeout": (0.001, 86_400),
}


_ALIASES: Final = {"safe_share": "offline_share"}
"""Other names by which a setting may be given, with the setting's own name."""


class UpstreamSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Describe a provider.

    Requests whose model matches one of ``models`` (a name, or a prefix and ``*``) go to
    ``base_url``.
    """

    name: str
    base_url: str
    api_key_env: str | None = None  # name of the environment variable that holds the provider's key
    models: tuple[str, ...] = ("*",)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what the operator decides. Times are in seconds, sizes in bytes.

    Paths are absolute after construction.
    """

    config: Path | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    data_dir: Path = Path("nemo-data")
    database_url: str = ""  # filled: sqlite:///<data_dir>/nemorouter.db
    redis_url: str | None = None
    lease_ttl: float = 2.0  # with Redis: how long a host may spend what it was granted of a limit
    lease_tick: float = 0.1  # how often a host settles with the others, unless requests wait
    lease_share: float = 0.05  # of a burst that hosts may hold without need
    offline_share: float = (
        0.0  # of RPM and TPM that a host serves while it cannot reach Redis; 0: it stops
    )
    pepper_file: Path | None = None  # None: <data_dir>/pepper; see pepper_path
    audit_key_file: Path | None = None  # None: <data_dir>/pepper.audit
    capacity: int = 1_000_000  # keys, teams, users and orgs together
    org_capacity: int = 0  # of it for one org; 0: half, or all where there is one org
    durability: Literal["process", "commit"] = "process"
    journal_slots: int = 16_384
    log_retention_days: int = 90
    shutdown_timeout: float = 30.0  # that requests in flight have from SIGTERM on
    max_body_bytes: int = 20 * 1024 * 1024
    max_header_bytes: int = 16 * 1024
    body_timeout: float = 20.0  # until a request's body is there,
    body_min_rate: int = 16 * 1024  # and one second more for each so many bytes of it
    body_memory: int = 512 * 1024 * 1024  # that unfinished bodies of model calls take, a worker
    upstream_connect_timeout: float = 10.0
    upstream_first_byte_timeout: float = 60.0
    upstream_total_timeout: float = 600.0
    public_url: str | None = (
        None  # where browsers reach this server, such as https://llm.example.com
    )
    trusted_proxies: tuple[str, ...] = ()  # CIDR blocks whose X-Forwarded-For is believed
    ietf_rate_limit_headers: bool = False
    webhook_private_addresses: bool = (
        False  # may budget alerts be posted to private and loopback addresses?
    )
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    upstreams: tuple[UpstreamSettings, ...] = ()  # none: the built-in echo upstream

    def __post_init__(self) -> None:
        for name in _PATHS:
            path = getattr(self, name)
            if path is not None:
                msgspec.structs.force_setattr(self, name, Path(path).expanduser().absolute())
        if not self.database_url:
            msgspec.structs.force_setattr(
                self, "database_url", f"sqlite:///{self.data_dir}/{STORE_NAME}"
            )
        _check(self)

    @property
    def pepper_path(self) -> Path:
        """Return the path of the file that holds the peppers."""
        return self.pepper_file or self.data_dir / PEPPER_NAME

    @classmethod
    def load(cls, config: Path | None = None, **overrides: Any) -> "Settings":
        """Read file, environment and ``overrides`` (None = not given).

        ConfigurationError: a setting cannot be used; the message names it.
        """
        named = config or os.environ.get(_PREFIX + "CONFIG") or None
        path = Path(named) if named else Path("nemorouter.toml")
        values: dict[str, Any] = {}
        if named or path.is_file():
            values |= _from_file(path.expanduser().absolute())
            values["config"] = path
        values |= _from_environment(os.environ)
        known = _known()
        for given, value in overrides.items():
            name = _main_name(given, given, overrides)
            if name not in known:
                raise ConfigurationError(_unknown(name, name, known))
            if value is not None:
                values[name] = _convert(name, name, value)
        return cls(**values)

    def to_env(self) -> dict[str, str]:
        """Return the NEMOROUTER_* variables from which a worker's ``load`` makes these settings."""
        env: dict[str, str] = {}
        for name, value in msgspec.structs.asdict(self).items():
            if value is None:
                continue
            if name == "upstreams":
                text = msgspec.json.encode(value).decode()
            elif isinstance(value, tuple):
                text = ",".join(value)
            else:
                text = str(value).lower() if isinstance(value, bool) else str(value)
            env[_PREFIX + name.upper()] = text
        return env

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        fields = msgspec.structs.asdict(self).items()
        return [
            (name, redact_url(value) if name in _SECRETS and value else value)
            for name, value in fields
        ]


def redact_url(url: str) -> str:
    """Remove the password from a URL, for logs."""
    url = re.sub(r"(://[^/@:]*):[^/]*@", r"\1:***@", url)
    return re.sub(r"(?i)([?&](?:[a-z_]*password|sslkey)=)[^&]*", r"\1***", url)


@cache
def _known() -> Mapping[str, Any]:
    return MappingProxyType(get_type_hints(Settings))


def _unknown(shown: str, name: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(
        name, [*known, *(f"{secret}_file" for secret in _SECRETS)], n=1
    )
    hint = ""
    if close:
        meant = _PREFIX + close[0].upper() if shown.startswith(_PREFIX) else close[0]
        hint = f" Did you mean {meant}?"
    return f"Unknown setting {shown}.{hint}"


def _main_name(given: str, shown: str, present: Container[str]) -> str:
    """Return the name of the setting that ``given`` means.

    ConfigurationError: ``given`` is an alias, and the setting's own name is ``present`` too.
    """
    name = _ALIASES.get(given, given)
    if name != given and name in present:
        raise ConfigurationError(f"{shown} is another name of {name}; set only one of them.")
    return name


def _from_file(path: Path) -> dict[str, Any]:
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ConfigurationError(f"The configuration file {path} does not exist.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"The configuration file {path} cannot be read: {error}."
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(
            f"The configuration file {path} is not valid TOML: {error}."
        ) from error
    known = {name: hint for name, hint in _known().items() if name != "config"}
    values: dict[str, Any] = {}
    for given, value in table.items():
        shown = f"{given} in {path}"
        name = _main_name(given, shown, table)
        secret = name.removesuffix("_file")
        if name not in known and secret != name and secret in _SECRETS:
            values[secret] = _read_secret(shown, path.parent / str(value))
        elif name not in known:
            raise ConfigurationError(_unknown(shown, name, known))
        else:
            values[name] = _convert(shown, name, value)
            if (
                name in _PATHS
            ):  # relative to the file, so that any working directory finds the same data
                values[name] = path.parent / values[name].expanduser()
    return values


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    known = _known()
    present = {variable.removeprefix(_PREFIX).lower() for variable in environ}
    values: dict[str, Any] = {}
    for variable, text in environ.items():
        if (
            not variable.startswith(_PREFIX)
            or variable in _IGNORED
            or variable == _PREFIX + "CONFIG"
        ):
            continue
        given = variable.removeprefix(_PREFIX).lower()
        name = _main_name(given, variable, present)
        secret = name.removesuffix("_file")
        if name not in known and secret != name and secret in _SECRETS:
            if _PREFIX + secret.upper() in environ:
                raise ConfigurationError(
                    f"Both {_PREFIX}{secret.upper()} and {variable} are set; keep one."
                )
            values[secret] = _read_secret(variable, Path(text))
        elif name not in known or variable != variable.upper():
            raise ConfigurationError(_unknown(variable, name, known))
        else:
            values[name] = _convert(variable, name, text, from_text=True)
    return values


def _read_secret(shown: str, path: Path) -> str:
    try:
        return path.expanduser().read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{shown}: the file {path} cannot be read.") from error


def _convert(shown: str, name: str, value: Any, *, from_text: bool = False) -> Any:  # noqa: ANN401 - JSON edge
    """``value`` as the field's type. The message never repeats the value: it may be a secret."""
    hint = _known()[name]
    try:
        if name in _PATHS:
            return Path(msgspec.convert(value, str) if not isinstance(value, Path) else value)
        if from_text and name == "upstreams":
            return msgspec.json.decode(value, type=hint)
        if from_text and hint == tuple[str, ...]:
            return tuple(part.strip() for part in value.split(",") if part.strip())
        if from_text and hint is bool:
            return _WORDS[value.strip().lower()]
        return msgspec.convert(value, hint, strict=not from_text)
    except KeyError:
        raise ConfigurationError(f"{shown}: expected true or false.") from None
    except msgspec.MsgspecError as error:
        raise ConfigurationError(
            f"{shown}: {str(error)[:1].lower()}{str(error)[1:].replace('`', '')}."
        ) from None


def _check(settings: Settings) -> None:
    for name, (low, high) in _RANGES.items():
        if not low <= getattr(settings, name) <= high:
            raise ConfigurationError(f"{name} must be between {low} and {high}.")
    if not settings.host:
        raise ConfigurationError("host must not be empty.")
    for block in settings.trusted_proxies:
        try:
            ipaddress.ip_network(block)
        except ValueError as error:
            raise ConfigurationError(
                f"trusted_proxies: {block!r} is not a CIDR block: {error}."
            ) from None
    _check_urls(settings)
    _check_upstreams(settings.upstreams)


def _check_urls(settings: Settings) -> None:
    if settings.public_url is not None and not _PUBLIC_URL.fullmatch(settings.public_url):
        raise ConfigurationError("public_url must be http(s)://host[:port], without a path.")
    if not settings.database_url.startswith(("sqlite:///", "postgresql://")):
        raise ConfigurationError("database_url must start with sqlite:/// or postgresql://.")
    if settings.redis_url is not None and not re.match(
        r"(redis|rediss|unix)[+a-z]*://.", settings.redis_url
    ):
        raise ConfigurationError("redis_url must start with redis:// or rediss://.")


def _check_upstreams(upstreams: tuple[UpstreamSettings, ...]) -> None:
    names: set[str] = set()
    for upstream in upstreams:
        where = f"upstreams: {upstream.name!r}"
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", upstream.name):
            raise ConfigurationError(
                f"{where}: a name has 1 to 63 letters, digits, dots, dashes or underscores."
            )
        if upstream.name in names:
            raise ConfigurationError(f"{where}: the name is used twice.")
        names.add(upstream.name)
        url = urlsplit(upstream.base_url)
        if (
            url.scheme not in ("http", "https")
            or not url.hostname
            or url.username
            or url.query
            or url.fragment
        ):
            raise ConfigurationError(
                f"{where}: base_url must be http(s)://host[:port][/path], without credentials."
            )
        for pattern in upstream.models:
            if not pattern or "*" in pattern[:-1]:
                raise ConfigurationError(
                    f"{where}: models are names, or a prefix and one * at the end."
                )
