"""The deployment's settings: environment variables with the prefix TRAINYARD_ become one frozen object."""

import ipaddress
import re
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

Absolute = Annotated[Path, AfterValidator(lambda path: path.expanduser().absolute())]


class Settings(BaseSettings):
    """Every setting with its default; `Settings()` reads the environment, keyword arguments win over it."""

    model_config = SettingsConfigDict(env_prefix="TRAINYARD_", frozen=True, env_ignore_empty=True, extra="ignore")

    home: Absolute = Field(Path("var"), validate_default=True, description="everything the embedded default writes")
    host: str = Field("127.0.0.1", description="address the API listens on")
    port: int = Field(8000, ge=0, le=65535, description="port the API listens on; 0 takes a free one")
    database_url: str = Field("", description="SQLAlchemy URL; SQLite under HOME when unset")
    broker_url: str = Field("", description="Redis URL for Celery; an embedded broker when unset")
    artifacts_url: str = Field("", description="fsspec URL for models and checkpoints; a folder under HOME when unset")
    datasets_dir: Absolute | None = Field(None, description="folder with data sets, looked into first; HOME/datasets")
    offline: bool = Field(False, description="never try to download")
    workers: int = Field(1, ge=0, le=64, description="training slots of `trainyard up`")
    worker_queues: str = Field(
        "train,train.cpu",
        description="queues that `trainyard up` has its workers take jobs from; add train.gpu on a GPU",
    )
    worker_threads: int = Field(
        0, ge=0, description="threads of a worker's matrix products; 0 shares the processors among TRAINYARD_WORKERS"
    )
    worker_memory_mb: int = Field(
        3000, ge=0, description="a worker that ever took more memory begins anew after its job; 0 for never"
    )
    api_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field((), description="keys, separated by commas")
    insecure: bool = Field(False, description="allow an address beyond loopback without keys")
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field((), description="further Host names to answer to")
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="other origins whose pages a browser lets ask, such as https://lab.example, separated by commas"
    )
    max_body_mb: float = Field(32, gt=0, description="largest request body in MB")
    default_model: str = Field("", description="the model that /predict asks; else mnist, else digits")
    model_cache_mb: float = Field(512, gt=0, description="memory for models kept ready to predict, in MB")
    lease_seconds: float = Field(15, gt=0, description="a running job without a heartbeat for so long lost its worker")
    ring_seconds: float = Field(
        5, gt=0, description="a queued job that an idle worker ignores for so long is rung again"
    )
    max_job_seconds: float = Field(0, ge=0, description="no job trains for longer, whatever its spec says; 0 for ever")
    max_running: int = Field(0, ge=0, description="how many jobs of one owner may run at once; 0 for any number")
    max_queued: int = Field(20_000, ge=0, description="how many jobs of one owner may wait; 0 for any number")
    max_parameters: int = Field(50_000_000, ge=1, description="the most parameters that a network may have")
    min_free_mb: float = Field(500, ge=0, description="new jobs are refused while the disk has less room, in MB")
    rate_limit: str = Field(
        "",
        description="requests of one owner, or address, to one API process, such as 600/minute; off for any number; "
        "6000/minute where there are keys and off without when unset",
    )
    idempotency_hours: float = Field(
        24, gt=0, le=8760, description="so long a request with an Idempotency-Key is answered as the first time"
    )
    retention_days: float = Field(
        0, ge=0, le=36500, description="failed and cancelled jobs are deleted so long after their end; 0 for never"
    )
    housekeeping_seconds: float = Field(3600, gt=0, description="between looks for files that nobody needs any more")
    log_level: str = Field("INFO", description="DEBUG, INFO, WARNING or ERROR")
    log_format: Literal["text", "json"] = Field("text", description="text, or json: an object a line")
    access_log: bool = Field(False, description="log each request; at log level DEBUG that is done anyway")

    @field_validator("api_keys", "allowed_hosts", "cors_origins", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if re.fullmatch(r"https?://[a-z0-9.\-_\[\]:]+", origin) is None:
                raise ValueError(
                    "an origin is written as a browser sends it: scheme, name in small letters and port, nothing behind"
                )
        return value

    @cached_property
    def database(self) -> str:
        """The database URL in use."""
        return self.database_url or f"sqlite:///{self.home / 'trainyard.db'}"

    @cached_property
    def artifacts(self) -> str:
        """The artifacts URL in use."""
        return self.artifacts_url or f"file://{self.home / 'artifacts'}"

    @cached_property
    def datasets(self) -> Path:
        """The folder that is searched first for data sets."""
        return self.datasets_dir or self.home / "datasets"

    @property
    def max_body_bytes(self) -> int:
        """The largest request body, in bytes."""
        return int(self.max_body_mb * 1_000_000)

    @property
    def loopback(self) -> bool:
        """Whether the API listens on an address that only this machine reaches."""
        return is_loopback(self.host)


@lru_cache
def is_loopback(host: str) -> bool:
    """Whether `host`, a name or an address, means this machine only."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
