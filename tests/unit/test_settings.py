"""Settings: who wins, what is refused and how it is said, what workers get, what is never shown."""

import os
from pathlib import Path
from typing import Any

import pytest

from nemorouter.errors import ConfigurationError
from nemorouter.settings import Settings, UpstreamSettings, redact_url


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("NEMOROUTER_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_defaults_are_absolute_and_complete(tmp_path: Path) -> None:
    settings = Settings.load()
    assert settings.data_dir == tmp_path / "nemo-data"
    assert settings.database_url == f"sqlite:///{tmp_path}/nemo-data/nemorouter.db"
    assert settings.pepper_path == tmp_path / "nemo-data" / "pepper"
    assert (settings.host, settings.port, settings.workers) == ("127.0.0.1", 8000, 1)


def test_file_then_environment_then_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nemorouter.toml").write_text("port = 1001\nworkers = 2\ncapacity = 500\n")
    assert Settings.load().port == 1001
    monkeypatch.setenv("NEMOROUTER_PORT", "1002")
    monkeypatch.setenv("NEMOROUTER_WORKERS", "3")
    settings = Settings.load(port=1003, host=None)
    assert (settings.port, settings.workers, settings.capacity) == (1003, 3, 500)


def test_a_path_in_the_file_is_relative_to_the_file(tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    config = folder / "nemo.toml"
    config.write_text('data_dir = "data"\n')
    assert Settings.load(config).data_dir == folder / "data"


def test_the_configuration_file_may_be_named_by_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other.toml").write_text("port = 1234\n")
    monkeypatch.setenv("NEMOROUTER_CONFIG", "other.toml")
    settings = Settings.load()
    assert settings.port == 1234
    assert settings.config == tmp_path / "other.toml"


def test_secrets_may_come_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "redis").write_text("redis://:word@host/0\n")
    monkeypatch.setenv("NEMOROUTER_REDIS_URL_FILE", str(tmp_path / "redis"))
    assert Settings.load().redis_url == "redis://:word@host/0"
    monkeypatch.setenv("NEMOROUTER_REDIS_URL", "redis://other")
    with pytest.raises(
        ConfigurationError, match=r"Both NEMOROUTER_REDIS_URL and NEMOROUTER_REDIS_URL_FILE"
    ):
        Settings.load()


@pytest.mark.parametrize("source", ["file", "environment", "argument"])
def test_a_setting_may_be_given_by_its_alias(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def load(**values: Any) -> Settings:
        if source == "argument":
            return Settings.load(**values)
        if source == "environment":
            for name, value in values.items():
                monkeypatch.setenv(f"NEMOROUTER_{name.upper()}", str(value))
        else:
            lines = [f"{name} = {value}" for name, value in values.items()]
            (tmp_path / "nemorouter.toml").write_text("\n".join(lines))
        return Settings.load()

    assert load(safe_share=0.25).offline_share == 0.25
    with pytest.raises(ConfigurationError, match="another name of offline_share"):
        load(safe_share=0.25, offline_share=0.25)


def test_the_clients_key_is_never_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEMOROUTER_API_KEY", "sk-nemo-AAAAAAAAAAAAAAAAAAAA")
    assert "AAAA" not in repr(Settings.load())


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        (
            "NEMOROUTER_PROT",
            "1",
            r"Unknown setting NEMOROUTER_PROT\. Did you mean NEMOROUTER_PORT\?",
        ),
        (
            "NEMOROUTER_Port",
            "1",
            r"Unknown setting NEMOROUTER_Port\. Did you mean NEMOROUTER_PORT\?",
        ),
        ("NEMOROUTER_PORT_FILE", "x", r"Unknown setting NEMOROUTER_PORT_FILE"),
        ("NEMOROUTER_PORT", "abc", r"NEMOROUTER_PORT: expected int"),
        ("NEMOROUTER_PORT", "70000", r"port must be between 1 and 65535"),
        ("NEMOROUTER_WORKERS", "0", r"workers must be between"),
        ("NEMOROUTER_DURABILITY", "maybe", r"NEMOROUTER_DURABILITY"),
        ("NEMOROUTER_IETF_RATE_LIMIT_HEADERS", "ja", r"expected true or false"),
        ("NEMOROUTER_TRUSTED_PROXIES", "10.0.0.1/8", r"trusted_proxies: '10\.0\.0\.1/8'"),
        ("NEMOROUTER_UPSTREAM_TOTAL_TIMEOUT", "0", r"upstream_total_timeout must be between"),
        ("NEMOROUTER_UPSTREAM_TOTAL_TIMEOUT", "nan", r"upstream_total_timeout"),
        ("NEMOROUTER_DATABASE_URL", "mysql://root:hidden@x", r"database_url must start with"),
        ("NEMOROUTER_REDIS_URL", "http://hidden", r"redis_url must start with"),
        ("NEMOROUTER_REDIS_URL_FILE", "/nowhere/at/all", r"NEMOROUTER_REDIS_URL_FILE: the file"),
        ("NEMOROUTER_CONFIG", "/nowhere.toml", r"/nowhere\.toml does not exist"),
    ],
)
def test_a_bad_variable_is_named(
    variable: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError, match=message) as caught:
        Settings.load()
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prot = 1", r"Unknown setting prot in .*nemorouter\.toml\. Did you mean port\?"),
        ('port = "8000"', r"port in .*: expected int, got str"),
        ("port = ", r"is not valid TOML"),
        ("config = 'x'", r"Unknown setting config"),
        ("[[upstreams]]\nname = 'a'", r"missing required field base_url"),
        ("[[upstreams]]\nname = 'a'\nbase_url = 'ftp://x'", r"base_url must be http"),
        ("[[upstreams]]\nname = 'a'\nbase_url = 'http://u:p@x'", r"without credentials"),
        ("[[upstreams]]\nname = 'a b'\nbase_url = 'http://x'", r"a name has"),
        (
            "[[upstreams]]\nname = 'a'\nbase_url = 'http://x'\nmodels = ['a*b']",
            r"one \* at the end",
        ),
        ("[[upstreams]]\nname = 'a'\nbase_url = 'http://x'\nmodel = ['a']", r"model"),
        (
            "[[upstreams]]\nname='a'\nbase_url='http://x'\n[[upstreams]]\nname='a'\n"
            "base_url='http://y'",
            r"used twice",
        ),
    ],
)
def test_a_bad_file_is_explained(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "nemorouter.toml").write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        Settings.load()


def test_an_unknown_argument_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="Did you mean port"):
        Settings.load(prot=1)


def test_workers_load_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nemorouter.toml").write_text(
        'port = 1001\n[[upstreams]]\nname = "a"\nbase_url = "https://x/v1"\napi_key_env = "K"\n'
        'models = ["gpt-*"]\n'
    )
    upstream = UpstreamSettings(
        name="a", base_url="https://x/v1", api_key_env="K", models=("gpt-*",)
    )
    changed: dict[str, Any] = {
        "trusted_proxies": ["10.0.0.0/8", "::1/128"],
        "ietf_rate_limit_headers": True,
        "upstream_connect_timeout": 1.5,
        "redis_url": "redis://:word@host/0",
        "pepper_file": Path("p"),
    }
    settings = Settings.load(**changed)
    assert settings.upstreams == (upstream,)
    env = settings.to_env()
    assert env["NEMOROUTER_CONFIG"] == str(tmp_path / "nemorouter.toml")
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir("/")
    assert Settings.load() == settings


def test_repr_shows_no_password() -> None:
    settings = Settings(
        redis_url="redis://user:hunter2@host:1/0", database_url="sqlite:////x?password=hunter3"
    )
    assert "hunter" not in repr(settings)
    assert "redis://user:***@host:1/0" in repr(settings)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:a@b@host/0", "redis://:***@host/0"),
        (
            "postgresql://u:p%40w@h/db?sslpassword=x&y=1",
            "postgresql://u:***@h/db?sslpassword=***&y=1",
        ),
        ("sqlite:////data/nemo.db", "sqlite:////data/nemo.db"),
    ],
)
def test_redact_url(url: str, shown: str) -> None:
    assert redact_url(url) == shown
