"""Settings from files, and passwords that come apart from their URLs."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from worker.cli.output import load_settings
from worker.environment.passwords import with_password
from worker.environment.secret_files import MAX_FILE_BYTES
from worker.settings import Settings


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    return tmp_path / "secret"


def told(capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(typer.Exit) as ended:
        load_settings()
    assert ended.value.exit_code == 2
    return capsys.readouterr().err


def test_a_setting_comes_from_the_file_that_is_named(
    secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret.write_text("postgresql://zdk:word@db/zdk\n")
    monkeypatch.setenv("ZDK_DATABASE_URL_FILE", str(secret))

    assert Settings().database_url == "postgresql://zdk:word@db/zdk"


def test_a_number_from_a_file_is_checked_like_any_other(
    secret: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ZDK_POOL_SIZE_FILE", str(secret))
    secret.write_text("3")
    assert Settings().pool_size == 3
    secret.write_text("many")
    assert "ZDK_POOL_SIZE: " in told(capsys)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"\xff\xfe", "is not text in UTF-8"),
        (b"x" * (MAX_FILE_BYTES + 1), "has more than 65,536 bytes"),
    ],
)
def test_a_wrong_file_is_named_with_its_variable(
    content: bytes | None,
    message: str,
    secret: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if content is not None:
        secret.write_bytes(content)
    monkeypatch.setenv("ZDK_BROKER_URL_FILE", str(secret))

    error = told(capsys)

    assert f"ZDK_BROKER_URL_FILE: {secret} {message}" in error
    assert error.count("\n") == 1


def test_a_folder_is_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ZDK_BROKER_PASSWORD_FILE", str(tmp_path))

    assert "ZDK_BROKER_PASSWORD_FILE: " in told(capsys)


def test_a_value_and_a_file_contradict_each_other(
    secret: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    secret.write_text("redis://b")
    monkeypatch.setenv("ZDK_BROKER_URL", "redis://a")
    monkeypatch.setenv("ZDK_BROKER_URL_FILE", str(secret))

    assert "ZDK_BROKER_URL_FILE: the variable without _FILE is set too" in told(capsys)


def test_an_empty_variable_names_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZDK_BROKER_URL_FILE", "")

    assert Settings().broker_url == "redis://localhost:6379/0"


def test_passwords_join_their_urls(secret: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret.write_text("a b:c@d/e%\n")
    monkeypatch.setenv("ZDK_BROKER_URL", "redis://redis:6379/0")
    monkeypatch.setenv("ZDK_BROKER_PASSWORD_FILE", str(secret))
    monkeypatch.setenv("ZDK_DATABASE_URL", "postgresql+psycopg2://zdk@postgres/zdk")
    monkeypatch.setenv("ZDK_DATABASE_PASSWORD", "word")

    settings = Settings()

    assert settings.broker_url == "redis://:a%20b%3Ac%40d%2Fe%25@redis:6379/0"
    assert settings.results == settings.broker_url
    assert settings.database.url == "postgresql+psycopg2://zdk:word@postgres/zdk"
    assert "word" not in repr(settings.database_password)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("redis://:old@redis/0", "has a password already"),
        ("redis://user:@redis/0", "has a password already"),
        ("amqp://a;amqp://b", "must have one host"),
        ("redis:///0", "must have one host"),
    ],
)
def test_a_password_without_a_place_is_refused(
    url: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ZDK_BROKER_URL", url)
    monkeypatch.setenv("ZDK_BROKER_PASSWORD", "hunter2")
    monkeypatch.setenv("ZDK_RESULT_URL", "redis://results/0")

    error = told(capsys)

    assert f"ZDK_BROKER_URL and ZDK_BROKER_PASSWORD: the URL {message}" in error
    assert "hunter2" not in error
    assert "old" not in error


def test_a_wrong_setting_shows_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZDK_DATABASE_URL", "sqlite:///zdk.db")
    monkeypatch.setenv("ZDK_DATABASE_PASSWORD", "hunter2")
    with pytest.raises(ValidationError) as raised:
        Settings()

    assert "hunter2" not in str(raised.value)


@given(password=st.text(min_size=1), user=st.sampled_from(["", "zdk"]))
def test_any_password_comes_out_as_it_went_in(password: str, user: str) -> None:
    url = f"redis://{user}@redis:6379/0" if user else "redis://redis:6379/0"

    parts = urlsplit(with_password(url, password))

    assert unquote(parts.password or "") == password
    assert (parts.username or "", parts.hostname, parts.port) == (user, "redis", 6379)
