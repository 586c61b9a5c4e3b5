"""Settings: `config/farebox.toml` < environment `FAREBOX_*` < command line. A secret may also come from a `*_FILE`.

Each field's description is what README and `config/farebox.toml` say about it; a test compares the three.
"""

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from farebox.assets import asset

PREFIX = "FAREBOX_"


class SettingsError(ValueError):
    """Settings are wrong; each mistake names one and says what it should be."""

    def __init__(self, *mistakes: str) -> None:
        more = len(mistakes) - 1
        super().__init__(mistakes[0] + (f" ({more} more; farebox check lists them all)" if more else ""))
        self.mistakes = mistakes


class Settings(BaseSettings):
    """Every setting, its default and one sentence about it."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True)

    database_url: str | None = Field(
        None, description="PostgreSQL of the ledger; empty: farebox runs its own in the data folder."
    )
    redis_url: str | None = Field(
        None, description="Redis 7.2 or Valkey 8 of the wallets; empty: farebox runs its own in the data folder."
    )
    data_dir: Path = Field(Path(".farebox"), description="Folder of the embedded stores.")
    tariffs_dir: Path | None = Field(None, description="Folder of the tariffs; empty: those that come with farebox.")
    upstream_url: str = Field("https://graph.facebook.com", description="Where calls are forwarded to.")
    media_url: str | None = Field(
        None, description="Where media are downloaded from; empty: Meta's CDN for Meta, else the upstream itself."
    )
    public_url: str | None = Field(
        None, description="How clients reach the gateway port; links in answers lead there. Empty: the request's Host."
    )
    host: str = Field("127.0.0.1", description="Address that both ports listen on; 0.0.0.0 for every interface.")
    gateway_port: int = Field(8080, ge=0, le=65535, description="Port of the gateway; 0 takes a free one.")
    admin_port: int = Field(8081, ge=0, le=65535, description="Port of the admin API; 0 takes a free one.")
    admin_token: SecretStr | None = Field(
        None, description="Bearer token of the admin API; serve does not start without."
    )
    app_secret: SecretStr | None = Field(
        None, description="Meta app secret that signs webhooks, for numbers without one of their own."
    )
    verify_token: SecretStr | None = Field(None, description="Token of the webhook verification handshake.")
    bad_signature: Literal["refuse", "relay"] = Field(
        "refuse", description="What becomes of a webhook with a bad signature: 401, or relayed without touching money."
    )
    workers: int = Field(1, ge=1, le=64, description="Processes that share the ports.")
    unknown_sends: Literal["refuse", "pass"] = Field(
        "refuse", description="What becomes of a POST that looks like a send and is none that is known."
    )
    out_of_funds_status: int = Field(402, ge=400, le=499, description="HTTP status of an out-of-funds answer.")
    max_send_bytes: int = Field(
        1_048_576, ge=1_024, description="Largest body of a send; Meta's own messages stay far below 100 KB."
    )
    max_webhook_bytes: int = Field(
        8_388_608, ge=1_024, description="Largest webhook; Meta documents 3 MB, the rest is head room."
    )
    upstream_timeout_s: float = Field(60, gt=0, description="How long a send waits for the upstream's answer.")
    relay_timeout_s: float = Field(20, gt=0, description="How long a webhook waits for the application's answer.")
    wallet_timeout_s: float = Field(0.5, gt=0, description="How long a send waits for Redis before it answers 503.")
    ledger_timeout_s: float = Field(3, gt=0, description="How long a send waits for PostgreSQL before it answers 503.")
    late_webhook_grace_s: int = Field(
        3_600, ge=0, description="How long a hold outlives its message's time to live, for webhooks that come late."
    )
    sweep_interval_s: float = Field(30, gt=0, description="Pause between two passes of the sweep.")
    template_sync_interval_s: float = Field(900, gt=0, description="Pause between two reads of the template lists.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Least serious log line written."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  the library names all five
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: command line, environment, file."""
        file = os.environ.get(f"{PREFIX}CONFIG") or asset("config/farebox.toml")
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, toml_file=file)


SECRETS = ("admin_token", "app_secret", "verify_token", "database_url", "redis_url")


def load_settings(**command_line: Any) -> Settings:
    """Read the settings; raises SettingsError with one sentence."""
    config = os.environ.get(f"{PREFIX}CONFIG")
    if config and not Path(config).is_file():
        raise SettingsError(f"{PREFIX}CONFIG names {config}, which is not a file")
    given = {name: value for name, value in command_line.items() if value is not None}
    try:
        return Settings(**(_secret_files() | given))
    except ValidationError as error:
        raise SettingsError(
            *(f"{_source(str(each['loc'][0]), config, given)}: {each['msg']}" for each in error.errors())
        ) from error
    except ValueError as error:  # of the TOML file
        raise SettingsError(f"{config or 'config/farebox.toml'}: {error}") from error


def _source(name: str, config: str | None, given: dict[str, Any]) -> str:
    """Return where a setting that is wrong was set: its variable, and the file and line where that is what sets it."""
    variable = f"{PREFIX}{name}".upper()
    if name in given or variable in {known.upper() for known in os.environ}:
        return variable
    file = Path(config or asset("config/farebox.toml"))
    lines = enumerate(file.read_text().splitlines(), 1)
    line = next((number for number, text in lines if text.partition("=")[0].strip() == name), None)
    return variable if line is None else f"{file}:{line}: {variable}"


def _secret_files() -> dict[str, Any]:
    """Read `FAREBOX_X_FILE` for every secret that the environment does not give itself."""
    values: dict[str, Any] = {}
    for name in SECRETS:
        variable = f"{PREFIX}{name}_file".upper()
        file = os.environ.get(variable)
        if not file:
            continue
        if f"{PREFIX}{name}".upper() in os.environ:
            raise SettingsError(f"{variable} and {variable.removesuffix('_FILE')} are both set; keep one")
        try:
            values[name] = Path(file).read_text().strip()
        except OSError as error:
            raise SettingsError(f"{variable}: {file}: {error.strerror}") from error
    return values
