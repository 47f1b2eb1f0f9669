"""Test the documents: they name every setting, command, error and header, and examples run."""

import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from nemorouter._core import CALLS
from nemorouter.control.api import ROUTES
from nemorouter.control.api.call import Route
from nemorouter.errors import CATALOGUE
from nemorouter.settings import Settings
from tests.support.documents import BLOCKS, DOCUMENTS, README, REFERENCE, ROOT


@pytest.mark.parametrize("name", msgspec.structs.asdict(Settings()))
def test_every_setting_is_told(name: str) -> None:
    assert f"| `{name}` | `NEMOROUTER_{name.upper()}` |" in REFERENCE


def test_no_setting_is_made_up() -> None:
    told = set(re.findall(r"NEMOROUTER_([A-Z_]+)", README + REFERENCE)) - {
        "API_KEY",
        "DATABASE_URL_FILE",
        "REDIS_URL_FILE",
    }
    assert told <= {name.upper() for name in msgspec.structs.asdict(Settings())}


@pytest.mark.parametrize(
    "row", sorted({(p.status, p.type, p.code) for p in CATALOGUE.values()}), ids=str
)
def test_every_error_is_told(row: tuple[int, str, str]) -> None:
    status, kind, code = row
    assert f"| {status} | `{kind}` | `{code}` |" in REFERENCE


@pytest.mark.parametrize(
    "path", [*(f"/v1{path}" for path, _ in CALLS), "/v1/models", "/healthz", "/readyz", "/metrics"]
)
def test_every_path_is_told(path: str) -> None:
    assert f"`{path}`" in REFERENCE


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_every_call_of_the_api_is_told(route: Route) -> None:
    assert f"| `{route.method} {route.path}` | " in REFERENCE


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text("utf-8")):
        assert (document.parent / target).exists(), target


def test_the_changelog_knows_the_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    crates = tomllib.loads((ROOT / "Cargo.toml").read_text("utf-8"))["workspace"]["package"][
        "version"
    ]
    assert version == crates
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_the_readme_s_settings_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (table,) = [block.text for block in BLOCKS if block.language == "toml"]
    (tmp_path / "nemorouter.toml").write_text(table, "utf-8")
    monkeypatch.chdir(tmp_path)
    assert [upstream.name for upstream in Settings.load().upstreams] == ["openai"]
