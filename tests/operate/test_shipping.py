"""What is shipped: a wheel that carries all it needs, and files for Docker, Kubernetes and systemd that fit it."""

import re
import sys
from pathlib import Path
from typing import Any

import asyncpg
import kubernetes_validate
import pytest
import yaml

from farebox.config import PREFIX, SECRETS, Settings
from farebox.embedded import EmbeddedStores
from operate.tools import run

ROOT = Path(__file__).parent.parent.parent
KNOWN = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields} | {"FAREBOX_CONFIG"}
KNOWN |= {f"{PREFIX}{name.upper()}_FILE" for name in SECRETS}
FILES = ("Dockerfile", "compose.yaml", "config/systemd/farebox.service", "config/kubernetes/farebox.yaml")


@pytest.mark.parametrize("name", FILES)
def test_every_setting_that_is_named_exists(name: str) -> None:
    named = set(re.findall(r"FAREBOX_[A-Z_]+", (ROOT / name).read_text()))
    assert named
    assert named <= KNOWN, named - KNOWN


def test_the_image_is_not_root_and_keeps_its_spool() -> None:
    text = (ROOT / "Dockerfile").read_text()
    last = text[text.rindex("\nFROM ") :]
    assert re.search(r"^USER (?!root|0\b)\w+$", last, re.MULTILINE)
    assert "\nVOLUME /data\n" in last
    assert "FAREBOX_DATA_DIR=/data" in last
    assert "HEALTHCHECK" in last
    copied = re.findall(r"^COPY (?!--)(.+) \S+$", text, re.MULTILINE)
    assert all((ROOT / name).exists() for names in copied for name in names.split())


async def test_the_dockerfile_is_as_it_should_be() -> None:
    linter = Path(sys.executable).with_name("hadolint")
    if not linter.exists():
        pytest.skip("hadolint has no build for this machine")
    assert await run(str(linter), str(ROOT / "Dockerfile")) == (0, "")


def test_compose_is_wired_up() -> None:
    compose: Any = yaml.safe_load((ROOT / "compose.yaml").read_text())
    services = compose["services"]
    assert {"farebox", "postgres", "valkey", "prometheus", "grafana"} <= set(services)
    for name, service in services.items():
        for other in service.get("depends_on", {}):
            assert other in services
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert (ROOT / source).exists() if source.startswith(".") else source in compose["volumes"], (name, source)
        for secret in service.get("secrets", []):
            assert secret in compose["secrets"]
    scraped = yaml.safe_load((ROOT / "config/prometheus/prometheus.yml").read_text())
    assert scraped["scrape_configs"][0]["static_configs"][0]["targets"] == ["farebox:8081"]
    (source,) = yaml.safe_load((ROOT / "config/grafana/provisioning/datasources/prometheus.yml").read_text())[
        "datasources"
    ]
    assert source["url"] == "http://prometheus:9090"


def test_the_kubernetes_example_is_of_its_schema() -> None:
    documents = list(yaml.safe_load_all((ROOT / "config/kubernetes/farebox.yaml").read_text()))
    assert {document["kind"] for document in documents} >= {"Job", "Service", "StatefulSet"}
    for document in documents:
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


async def test_the_wheel_carries_all_it_needs(tmp_path: Path, stores: EmbeddedStores, database_url: str) -> None:
    """Built, unpacked elsewhere, and run from there; `make wheel` does the same in an environment that is empty."""
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    build = ("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path), str(ROOT))
    assert await run(*pip, *build) == (0, "")
    (wheel,) = tmp_path.glob("farebox-*.whl")  # noqa: ASYNC240
    code, output = await run(*pip, "install", "--no-deps", "--target", str(tmp_path / "site"), str(wheel))
    assert code == 0, output
    assert (tmp_path / "site/farebox/sql/0001_ledger.sql").is_file()
    program = (
        "import os, sys; os.chdir('/'); sys.path.insert(0, sys.argv.pop(1)); import farebox; "
        "print(farebox.__file__); from farebox.__main__ import main; main()"
    )
    command = (sys.executable, "-c", program, str(tmp_path / "site"))
    code, output = await run(*command, "check")
    assert code == 0, output
    assert output.startswith(f"{tmp_path}/site/farebox/")
    assert "tariff pmp-2026-10" in output
    connection = await asyncpg.connect(database_url)
    await connection.execute("CREATE DATABASE of_the_wheel")
    empty = re.sub(r"/test_\d+\?", "/of_the_wheel?", database_url)
    named = {"FAREBOX_DATABASE_URL": empty, "FAREBOX_REDIS_URL": stores.redis_url}
    code, output = await run("/usr/bin/env", *(f"{name}={value}" for name, value in named.items()), *command, "migrate")
    await connection.execute("DROP DATABASE of_the_wheel WITH (FORCE)")
    await connection.close()
    assert code == 0, output
    assert "applied 0001_ledger" in output
