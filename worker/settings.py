"""The worker's settings: the only place that reads the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings.sources import EnvSettingsSource

from api_client.contract.limits import GIB, MAX_MESSAGE_AGE_DAYS
from worker.database import DatabaseOptions
from worker.environment.passwords import with_password
from worker.environment.secret_files import FileSettingsSource
from worker.environment.server_urls import check_broker_url, check_result_url, is_redis
from worker.logs.format import LogFormat

_BROKER = "redis://localhost:6379/0"
#: Seconds; in milliseconds, and twice, PostgreSQL takes them still.
_LONGEST = 1_000_000.0


class Settings(BaseSettings):
    """Settings by environment variable ``ZDK_<NAME>``; an empty one counts as not set.

    Each can be in a file instead, which ``ZDK_<NAME>_FILE`` names; see
    `worker.environment.secret_files`.

    Attributes:
        broker_url: the Celery broker.
        broker_password: its password, where ``broker_url`` has none.
        result_url: the Redis that holds results and staged bytes; the broker if not set.
        database_url: PostgreSQL or SQLite; see `worker.database`.
        database_password: its password, where ``database_url`` has none.
        artifacts_url: the blob store; see `worker.artifacts.blobs`.
        migrate_on_start: whether a worker brings the schema up to date before it starts.
        pool_size: database connections that each process keeps open. One is all that a process
            which does one task at a time ever uses; a pool of threads can use one for each.
        pool_overflow: further connections under load, closed afterwards. The two together are
            what a process can have at most; docs/scaling.md computes the budget.
        pool_timeout: seconds to wait for a free connection.
        pool_pre_ping: whether to test a connection before each use, which takes a round trip.
            Without it, a transaction that meets a lost connection is run again on another.
        statement_timeout: seconds until PostgreSQL cancels a statement.
        lock_timeout: seconds to wait for a lock.
        connect_timeout: seconds to wait for a connection.
        patience: seconds for which a task tries again after passing trouble, before it hands
            the message back to the queue.
        max_tries: a message that has so often ended the process which applied it, or failed
            unexpectedly, is given up and kept as a dead letter.
        give_up_after: a message that was so often handed back after passing trouble is given up
            likewise; never, if not set.
        ledger_days: days for which applied messages are remembered. Longer than any client sends
            a message again.
        dead_letters, dead_letter_bytes: what is kept for each app; the oldest go first.
        time_limit: seconds after which a hanging task's process is killed.
        shutdown_grace: seconds a worker gets to finish what it has begun.
        result_expires: seconds until a result that nobody has read is dropped.
        prefetch: messages that a worker takes in advance, per process.
        http_host, http_port: where each worker answers /live, /ready and /metrics; nowhere, if no
            port is set. What it does is counted only then.
        stalled_after: seconds without a turn of its loop after which a worker is not live. The
            loop may wait up to 30 s for a silent broker.
        log_tasks: whether Celery logs each task when it comes and when it ends. For the second line
            it looks through the whole reply, which takes longer than a small task.
        require_safe_broker: whether a worker refuses to start on a Redis that can lose or evict
            what it is given, or that cannot be asked; see `worker.safety`.
        log_format: ``console``, for people, or ``json``, one document a line.
        tracing: whether to send spans to an OpenTelemetry collector; see `worker.tracing.export`.
        task_events: whether Celery publishes an event when each task comes, begins and ends, for
            monitors such as Flower. They go through the broker.
    """

    model_config = SettingsConfigDict(
        env_prefix="ZDK_",
        env_ignore_empty=True,
        extra="ignore",
        # An error would show all values, passwords too.
        hide_input_in_errors=True,
        allow_inf_nan=False,
    )

    broker_url: str = _BROKER
    broker_password: SecretStr | None = None
    result_url: str | None = Field(default=None, validate_default=True)
    database_url: str = Field(default_factory=lambda: f"sqlite:///{Path('zdk.db').absolute()}")
    database_password: SecretStr | None = None
    artifacts_url: str = Field(default_factory=lambda: Path("zdk-artifacts").absolute().as_uri())
    migrate_on_start: bool = False
    pool_size: int = Field(default=1, ge=1)
    pool_overflow: int = Field(default=0, ge=0)
    pool_timeout: float = Field(default=30.0, gt=0)
    pool_pre_ping: bool = False
    statement_timeout: float = Field(default=30.0, gt=0, le=_LONGEST)
    lock_timeout: float = Field(default=10.0, gt=0, le=_LONGEST)
    connect_timeout: float = Field(default=5.0, gt=0, le=_LONGEST)
    patience: float = Field(default=20.0, ge=0)
    max_tries: int = Field(default=5, ge=1)
    give_up_after: int | None = Field(default=None, ge=1)
    ledger_days: int = Field(default=30, gt=MAX_MESSAGE_AGE_DAYS)
    dead_letters: int = Field(default=1000, ge=1)
    dead_letter_bytes: int = Field(default=GIB, ge=1)
    time_limit: int = Field(default=300, gt=0)
    shutdown_grace: float = Field(default=30.0, gt=0, le=_LONGEST)
    result_expires: int = Field(default=3600, gt=0)
    prefetch: int = Field(default=2, ge=1)
    http_host: str = "127.0.0.1"
    http_port: int | None = Field(default=None, ge=1, le=65535)
    stalled_after: float = Field(default=45.0, gt=1)
    log_tasks: bool = False
    require_safe_broker: bool = False
    log_format: LogFormat = "console"
    tracing: bool = False
    task_events: bool = False

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Where settings come from: the caller, the environment, files that it names."""
        assert isinstance(env_settings, EnvSettingsSource)
        return init_settings, env_settings, FileSettingsSource(settings_cls, env_settings)

    @model_validator(mode="after")
    def _put_passwords_in(self) -> Self:
        if self.broker_password is not None:
            self.broker_url = _joined("broker", self.broker_url, self.broker_password)
        if self.database_password is not None:
            self.database_url = _joined("database", self.database_url, self.database_password)
        return self

    @field_validator("broker_url")
    @classmethod
    def _broker_is_known(cls, url: str) -> str:
        check_broker_url(url)
        return url

    @field_validator("result_url")
    @classmethod
    def _results_are_in_redis(cls, url: str | None, info: ValidationInfo) -> str | None:
        if url is not None:
            check_result_url(url)
        elif not is_redis(info.data.get("broker_url", _BROKER)):
            raise ValueError("give the Redis for results; ZDK_BROKER_URL is none")
        return url

    @property
    def results(self) -> str:
        """The URL of the result backend."""
        return self.result_url or self.broker_url

    @property
    def database(self) -> DatabaseOptions:
        """How to reach the database."""
        return DatabaseOptions(
            url=self.database_url,
            pool_size=self.pool_size,
            pool_overflow=self.pool_overflow,
            pool_timeout=self.pool_timeout,
            pool_pre_ping=self.pool_pre_ping,
            statement_timeout=self.statement_timeout,
            lock_timeout=self.lock_timeout,
            connect_timeout=self.connect_timeout,
        )


def _joined(what: str, url: str, password: SecretStr) -> str:
    try:
        return with_password(url, password.get_secret_value())
    except ValueError as error:
        names = f"ZDK_{what.upper()}_URL and ZDK_{what.upper()}_PASSWORD"
        message = {"message": f"{names}: {error}"}
        raise PydanticCustomError("password", "{message}", message) from None
