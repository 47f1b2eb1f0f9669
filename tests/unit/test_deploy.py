"""Test compose file, manifests and balancer against the program.

They parse, name settings that are there, and agree.
"""

import ipaddress
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from nemorouter.settings import Settings

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "compose.yaml"
MANIFESTS = sorted((ROOT / "deploy" / "kubernetes").glob("*.yaml"))
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")


def compose() -> dict[str, Any]:
    """Read the compose file, with a password put in."""
    text = re.sub(r"\$\{POSTGRES_PASSWORD:\?[^}]*\}", "secret", COMPOSE.read_text("utf-8"))
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def manifests() -> dict[tuple[str, str], Any]:
    """Every object of Kubernetes, by kind and name."""
    objects = [thing for path in MANIFESTS for thing in yaml.safe_load_all(path.read_text("utf-8"))]
    found = {(thing["kind"], thing["metadata"]["name"]): thing for thing in objects}
    assert len(found) == len(objects), "two objects bear one name"
    return found


def load(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    """Load the settings that a container would have."""
    monkeypatch.chdir(tmp_path)
    for name, value in environment.items():
        if name.startswith("NEMOROUTER_"):
            monkeypatch.setenv(name, value)
    return Settings.load()


def test_the_gateways_of_the_compose_file_act_as_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = compose()
    gateways = {
        name: service for name, service in made["services"].items() if name.startswith("gateway-")
    }
    assert len(gateways) == 2
    baked = dict(re.findall(r"(NEMOROUTER_\w+)=(\S+)", DOCKERFILE))
    settings = [
        load(baked | service["environment"], monkeypatch, tmp_path) for service in gateways.values()
    ]
    assert settings[0] == settings[1]
    assert settings[0].database_url == "postgresql://nemo:secret@postgres:5432/nemo"
    assert settings[0].redis_url is not None
    homes = [volume for service in gateways.values() for volume in service["volumes"]]
    assert len({home for home in homes if home.endswith(f":{settings[0].data_dir}")}) == 2, (
        "each has its own"
    )
    assert homes.count("secrets:/secrets") == 2
    assert (
        str(settings[0].pepper_path.parent)
        == str(Path(settings[0].audit_key_file or "").parent)
        == "/secrets"
    )
    assert "/secrets" in DOCKERFILE, "its volume would belong to root"


def test_what_the_compose_file_names_is_there() -> None:
    made = compose()
    for service in made["services"].values():
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert source in made["volumes"] or (ROOT / source).is_file(), volume
        assert set(service.get("depends_on", ())) <= set(made["services"])
        assert "image" in service
    hosts = {"postgres", "redis"}
    assert hosts <= set(made["services"])


def test_the_balancer_asks_who_is_ready() -> None:
    text = (ROOT / "deploy" / "haproxy.cfg").read_text("utf-8")
    assert "option httpchk GET /readyz" in text
    servers = re.findall(r"^\s+server (\S+) (\S+):(\d+)$", text, re.M)
    assert [(name, host) for name, host, _ in servers] == [
        (name, name) for name in compose()["services"] if "gateway" in name
    ]
    assert {port for *_, port in servers} == set(re.findall(r"NEMOROUTER_PORT=(\d+)", DOCKERFILE))
    published = compose()["services"]["balancer"]["ports"][0]
    assert published.partition(":")[2] in re.findall(r"bind :(\d+)", text)


def test_the_manifests_hold_together(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = manifests()
    gateway = found["StatefulSet", "nemorouter"]
    pod = gateway["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    given = {
        volume["name"]
        for volume in (
            *pod["volumes"],
            *(claim["metadata"] for claim in gateway["spec"]["volumeClaimTemplates"]),
        )
    }
    assert mounted == given
    for probe, path in (("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
        assert container[probe]["httpGet"]["path"] == path
    assert ("Service", gateway["spec"]["serviceName"]) in found
    environment = found["ConfigMap", container["envFrom"][0]["configMapRef"]["name"]]["data"]
    assert str(container["ports"][0]["containerPort"]) == environment["NEMOROUTER_PORT"]
    for name, url in (
        ("DATABASE", "postgresql://nemo@postgres/nemo"),
        ("REDIS", "redis://redis:6379/0"),
    ):
        file = tmp_path / name
        file.write_text(url)
        assert environment[f"NEMOROUTER_{name}_URL_FILE"].startswith("/secrets/")
        environment[f"NEMOROUTER_{name}_URL_FILE"] = str(file)
    settings = load(environment, monkeypatch, tmp_path)
    assert settings.redis_url == "redis://redis:6379/0"
    assert any(str(settings.data_dir) == mount["mountPath"] for mount in container["volumeMounts"])
    assert pod["securityContext"]["runAsUser"] == int(re.findall(r"--uid (\d+)", DOCKERFILE)[0])


def test_every_selector_finds_pods() -> None:
    found = manifests()
    labels = [
        thing["spec"]["template"]["metadata"]["labels"]
        for (kind, _), thing in found.items()
        if kind in ("StatefulSet", "Deployment")
    ]
    for (kind, name), thing in found.items():
        if kind == "Service":
            assert thing["spec"]["selector"] in labels, name
        elif kind in ("StatefulSet", "Deployment", "PodDisruptionBudget"):
            assert thing["spec"]["selector"]["matchLabels"] in labels, name


@pytest.mark.parametrize(
    "path", sorted((ROOT / "requirements").glob("*.txt")), ids=lambda p: p.name
)
def test_a_lock_file_takes_only_files_that_it_knows(path: Path) -> None:
    """Row P26 of the attacks: a package index could have given out other files."""
    logical = path.read_text("utf-8").replace("\\\n", " ").splitlines()
    lines = [line for line in logical if line.strip() and not line.startswith("#")]
    assert lines
    for line in lines:
        name, *hashes = line.split()
        assert re.fullmatch(r"[a-z0-9-]+==[a-z0-9.]+", name), line
        assert hashes, name
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", one) for one in hashes), name


def test_the_image_installs_only_files_that_the_lock_files_know() -> None:
    installs = re.findall(r"pip install [^&\n]+", DOCKERFILE.replace("\\\n", " "))
    assert len(installs) == 3
    for line in installs:
        assert "--require-hashes -r" in line or line.split()[-1] == "/wheels/*.whl", line


def test_the_gateways_believe_the_balancer_alone() -> None:
    """Row P13 of the attacks: a subnet of everybody's was trusted, and clients' headers kept."""
    made = compose()
    address = made["services"]["balancer"]["networks"]["default"]["ipv4_address"]
    (pool,) = made["networks"]["default"]["ipam"]["config"]
    subnet = ipaddress.ip_network(pool["subnet"])
    assert ipaddress.ip_address(address) in subnet
    assert ipaddress.ip_address(address) not in ipaddress.ip_network(pool["ip_range"]), (
        "another container could get it"
    )
    for name, service in made["services"].items():
        if name.startswith("gateway-"):
            assert service["environment"]["NEMOROUTER_TRUSTED_PROXIES"] == f"{address}/32"
        elif name != "balancer":
            assert "networks" not in service


def test_balancers_drop_what_clients_say_of_their_address() -> None:
    haproxy = (ROOT / "deploy" / "haproxy.cfg").read_text("utf-8")
    frontend = haproxy[haproxy.index("frontend ") : haproxy.index("backend ")]
    rules = re.findall(r"http-request (\S+) X-Forwarded-For", frontend)
    assert rules == ["del-header", "set-header"]
    assert "option forwardfor" not in haproxy
    assert "option http-buffer-request" in haproxy
    nginx = (ROOT / "deploy" / "nginx.conf").read_text("utf-8")
    assert re.findall(r"X-Forwarded-For (\S+);", nginx) == ["$remote_addr"]
