import tomllib
from pathlib import Path

import pytest

from farebox.assets import asset
from farebox.config import Settings, SettingsError, load_settings


def test_the_file_names_every_setting_with_its_default_and_its_sentence() -> None:
    text = asset("config/farebox.toml").read_text()
    for name, field in Settings.model_fields.items():
        default = "" if field.default is None else field.default
        bare = isinstance(field.default, int | float)
        default = str(default).lower() if isinstance(default, bool) else default
        line = f"# {name} = {default}" if bare else f'# {name} = "{default}"'
        assert f"# {field.description}\n{line}\n" in text
    named = [line.split()[1] for line in text.splitlines() if " = " in line]
    assert named == list(Settings.model_fields)
    assert tomllib.loads(text) == {}


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "farebox.toml"
    file.write_text('gateway_port = 1\nadmin_port = 1\nworkers = 3\nhost = "0.0.0.0"\n')
    monkeypatch.setenv("FAREBOX_CONFIG", str(file))
    monkeypatch.setenv("FAREBOX_ADMIN_PORT", "2")
    monkeypatch.setenv("FAREBOX_GATEWAY_PORT", "2")
    settings = load_settings(gateway_port=3, workers=None)
    assert (settings.gateway_port, settings.admin_port, settings.workers, settings.host) == (3, 2, 3, "0.0.0.0")


def test_a_secret_may_come_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "token"
    file.write_text("from-a-file\n")
    monkeypatch.setenv("FAREBOX_ADMIN_TOKEN_FILE", str(file))
    token = load_settings().admin_token
    assert token is not None
    assert token.get_secret_value() == "from-a-file"
    assert "from-a-file" not in repr(load_settings())


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAREBOX_DATABASE_URL", "")
    assert load_settings().database_url is None


MISTAKES = [
    ({"FAREBOX_GATEWAY_PORT": "x"}, "FAREBOX_GATEWAY_PORT"),
    ({"FAREBOX_GATEWAY_PORT": "70000"}, "FAREBOX_GATEWAY_PORT"),
    ({"FAREBOX_WORKERS": "0"}, "FAREBOX_WORKERS"),
    ({"FAREBOX_BAD_SIGNATURE": "maybe"}, "FAREBOX_BAD_SIGNATURE"),
    ({"FAREBOX_CONFIG": "/nowhere.toml"}, "FAREBOX_CONFIG"),
    ({"FAREBOX_APP_SECRET_FILE": "/nowhere"}, "FAREBOX_APP_SECRET_FILE"),
    ({"FAREBOX_APP_SECRET_FILE": "/etc/hostname", "FAREBOX_APP_SECRET": "x"}, "keep one"),
    ({"FAREBOX_REDIS_URL": "http://:secret@host"}, "FAREBOX_REDIS_URL: a Redis URL starts with one of redis://"),
    ({"FAREBOX_DATABASE_URL": "mysql://:secret@host"}, "FAREBOX_DATABASE_URL: it should be postgresql://"),
]


@pytest.mark.parametrize(("environment", "said"), MISTAKES)
def test_a_mistake_is_named(environment: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=said) as mistake:
        load_settings()
    assert "secret@" not in str(mistake.value)


def test_a_misspelt_setting_in_the_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "farebox.toml"
    file.write_text("gatway_port = 1\n")
    monkeypatch.setenv("FAREBOX_CONFIG", str(file))
    with pytest.raises(SettingsError, match="GATWAY_PORT"):
        load_settings()
    file.write_text("gateway_port = ")
    with pytest.raises(SettingsError, match=r"farebox\.toml"):
        load_settings()
