"""Settings: `config/farebox.toml` < environment `FAREBOX_*` < command line. A secret may also come from a `*_FILE`.

Each field's description is what README and `config/farebox.toml` say about it; a test compares the three.
"""

import os
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from farebox.assets import asset
from farebox.core.markup import parse_percent
from farebox.core.money import parse_micros
from farebox.core.tax_id import NEEDED
from farebox.redis_url import parse_redis_url
from farebox.vault import Vault

PREFIX = "FAREBOX_"


def _amount(text: str) -> str:
    """Check an amount that is no secret and has no currency of its own."""
    if parse_micros(text) < 0:
        raise ValueError("must be 0.00 or more")
    return text


def _percent(text: str) -> str:
    """Check a percentage."""
    parse_percent(text)
    return text


Allowance = Annotated[str, AfterValidator(_amount)]
Percentage = Annotated[str, AfterValidator(_percent)]


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
        None,
        description="Redis 7.2 or Valkey 8 of the wallets: one, a cluster, or sentinels'; empty: farebox runs its own.",
    )
    data_dir: Path = Field(Path(".farebox"), description="Folder of the embedded stores and of the spool.")
    tariffs_dir: Path | None = Field(None, description="Folder of the tariffs; empty: those that come with farebox.")
    upstream_url: str = Field("https://graph.facebook.com", description="Where calls are forwarded to.")
    media_url: str | None = Field(
        None, description="Where media are downloaded from; empty: Meta's CDN for Meta, else the upstream itself."
    )
    public_url: str | None = Field(
        None, description="How clients reach the gateway port; links in answers lead there. Empty: the request's Host."
    )
    host: str = Field("127.0.0.1", description="Address that both ports listen on; 0.0.0.0 for every interface.")
    tls_certificate: Path | None = Field(
        None, description="Certificate (chain) of both ports, PEM; with tls_key they speak TLS."
    )
    tls_key: Path | None = Field(None, description="Private key of tls_certificate, PEM.")
    gateway_port: int = Field(8080, ge=0, le=65535, description="Port of the gateway; 0 takes a free one.")
    admin_port: int = Field(8081, ge=0, le=65535, description="Port of the admin API; 0 takes a free one.")
    admin_token: SecretStr | None = Field(
        None, description="Bearer token of the admin API; serve does not start without."
    )
    app_secret: SecretStr | None = Field(
        None, description="Meta app secret that signs webhooks, for numbers without one of their own."
    )
    verify_token: SecretStr | None = Field(None, description="Token of the webhook verification handshake.")
    encryption_keys: SecretStr | None = Field(
        None, description="Keys that seal the numbers' secrets in the database, comma-separated; the first one seals."
    )
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
    client_timeout_s: float = Field(60, gt=0, description="How long a client may take to send a message or a webhook.")
    private_app_urls: Literal["allow", "refuse"] = Field(
        "allow", description="Whether webhooks are relayed to loopback and private addresses too, names among them."
    )
    relay_timeout_s: float = Field(20, gt=0, description="How long a webhook waits for the application's answer.")
    # With what else a send costs, one that meets a dead Redis is answered within 50 ms.
    wallet_timeout_s: float = Field(0.045, gt=0, description="How long a send waits for Redis before it answers 503.")
    ledger_timeout_s: float = Field(3, gt=0, description="How long a send waits for PostgreSQL before it answers 503.")
    on_outage: Literal["refuse", "allow_up_to"] = Field(
        "refuse",
        description="What becomes of paid sends while a store is away: 503, or they pass up to outage_allowance.",
    )
    outage_allowance: Allowance = Field(
        "10.00",
        description="What may pass in an outage, for each number in its currency; the workers share it evenly.",
    )
    spool_max_bytes: int = Field(
        67_108_864,
        ge=65_536,
        description="Largest spool of one worker: 64 MiB are some 150,000 statuses, ten minutes of a busy number.",
    )
    late_webhook_grace_s: int = Field(
        3_600, ge=0, description="How long a hold outlives its message's time to live, for webhooks that come late."
    )
    card_fee_percent: Percentage = Field(
        "4", description="Transaction fee of a card, in percent of the amount; the payer pays it on top."
    )
    card_fee_fixed: Allowance = Field(
        "0.00", description="Fixed part of a card's transaction fee, in the number's currency; the sum is rounded up."
    )
    topup_min: Allowance = Field("1.00", description="Smallest top-up by card, in the number's currency.")
    topup_max: Allowance = Field("10000.00", description="Largest top-up by card, in the number's currency.")
    stripe_api_key: SecretStr | None = Field(None, description="Secret key of Stripe; empty: no cards are charged.")
    stripe_webhook_secret: SecretStr | None = Field(
        None, description="Secret that signs Stripe's events to /v1/payments/stripe on the admin port."
    )
    stripe_url: str = Field("https://api.stripe.com", description="Where Stripe's API is.")
    stripe_return_url: str | None = Field(
        None,
        description="Where Stripe and banks send payers back to, as a browser reaches it; empty: the admin port.",
    )
    receipt_issuer: str = Field(
        "", description="Lines of whoever sells, on receipts, with | between them: name, address, Tax ID."
    )
    sandbox_payments: bool = Field(
        default=False, description="Whether payments in play money are taken: for trying out only."
    )
    tax_id_countries: str = Field(
        " ".join(NEEDED),
        description="Countries whose accounts must have a Tax ID before money is added; - for none.",
    )
    vies_url: str | None = Field(
        None,
        description="EU service that is asked whether a Tax ID is valid, "
        "https://ec.europa.eu/taxation_customs/vies/rest-api; empty: only its check digits are looked at.",
    )
    sweep_interval_s: float = Field(20, gt=0, description="Pause between two passes of the sweep.")
    template_sync_interval_s: float = Field(900, gt=0, description="Pause between two reads of the template lists.")
    metrics_per_number: bool = Field(
        default=False, description="Whether /metrics shows the money of each number; at most 1,000 numbers."
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="How log lines are written: text for people, json for a collector."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Least serious log line written."
    )

    @field_validator("database_url")
    @classmethod
    def _names_a_database(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("postgresql://", "postgres://")):
            raise ValueError("it should be postgresql://user:password@host:5432/database")
        return url

    @field_validator("encryption_keys")
    @classmethod
    def _are_keys(cls, keys: SecretStr | None) -> SecretStr | None:
        if keys is not None:
            try:
                Vault(keys.get_secret_value())
            except ValueError:
                raise ValueError("each must be 32 random bytes in base64: openssl rand -base64 32 | tr +/ -_") from None
        return keys

    @model_validator(mode="after")
    def _has_both(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("set both FAREBOX_TLS_CERTIFICATE and FAREBOX_TLS_KEY, or neither")
        return self

    @field_validator("redis_url")
    @classmethod
    def _names_a_store(cls, url: str | None) -> str | None:
        if url is not None:
            parse_redis_url(url)
        return url

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


SECRETS = (
    "admin_token",
    "app_secret",
    "verify_token",
    "encryption_keys",
    "database_url",
    "redis_url",
    "stripe_api_key",
    "stripe_webhook_secret",
)


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
            *(
                f"{_place(each['loc'], config, given)}{each['msg'].removeprefix('Value error, ')}"
                for each in error.errors()
            )
        ) from error
    except ValueError as error:  # of the TOML file
        raise SettingsError(f"{config or 'config/farebox.toml'}: {error}") from error


def _place(location: tuple[int | str, ...], config: str | None, given: dict[str, Any]) -> str:
    """Return where a mistake is; nothing where several settings together are wrong: the sentence names them."""
    return f"{_source(str(location[0]), config, given)}: " if location else ""


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
