"""What an operator may set: a mistake is refused by name before anything starts."""

import importlib
from itertools import permutations
from pathlib import Path

import pytest

from shared import settings
from shared.settings import PREFIX, Settings, nearly_known
from tests.stack import ROOT


class Example(Settings):
    partitions: int = 1
    """P."""


def kinds() -> list[type[Settings]]:
    """Of every service that there is."""
    modules = [
        importlib.import_module(f"services.{path.parent.name}.settings")
        for path in sorted(ROOT.glob("services/*/settings.py"))
    ]
    return [
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Settings) and value is not Settings
    ]


def refusal(capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stopped:
        settings.read(Example)
    assert stopped.value.code == 2
    return capsys.readouterr().err


def test_what_is_set_is_read_and_the_rest_has_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEWSRAIL_PARTITIONS", "4")
    monkeypatch.setenv("NEWSRAIL_DATA", "/var/lib/newsrail")
    monkeypatch.setenv("NEWSRAIL_PUBLIC_READ", "0")
    monkeypatch.setenv("NEWSRAIL_CORS_ORIGINS", "https://a.example, https://b.example")
    read = settings.read(Example)
    assert read.partitions == 4
    assert read.data == Path("/var/lib/newsrail")
    assert not read.public_read
    assert read.cors_origins == ("https://a.example", "https://b.example")
    assert read.host == "127.0.0.1"


def test_a_secret_is_a_file_and_the_environment_goes_before_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "newsrail_redis_url").write_text("redis://user:secret@redis:6379/0\n")
    monkeypatch.setattr(settings, "SECRETS", tmp_path)
    monkeypatch.delenv("NEWSRAIL_REDIS_URL", raising=False)
    read = settings.read(Example)
    assert read.redis_url.get_secret_value() == "redis://user:secret@redis:6379/0"
    monkeypatch.setenv("NEWSRAIL_REDIS_URL", "redis://elsewhere:6379")
    assert settings.read(Example).redis_url.get_secret_value() == "redis://elsewhere:6379"


@pytest.mark.parametrize("name", ["NEWSRAIL_PARTITION", "NEWSRAIL_REDISURL", "NEWSRAIL_PUBLC_READ"])
def test_a_nearly_right_name_is_refused_with_the_right_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.setenv(name, "1")
    complaint = refusal(capsys)
    assert f"{name} is not a setting; did you mean NEWSRAIL_" in complaint


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NEWSRAIL_PARTITIONS", "many"),
        ("NEWSRAIL_PORT", "http"),
        ("NEWSRAIL_PORT", "70000"),
        ("NEWSRAIL_PUBLIC_READ", "perhaps"),
        ("NEWSRAIL_LOG_LEVEL", "LOUD"),
        ("NEWSRAIL_REDIS_URL", "localhost:6379"),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    assert f"{name}: " in refusal(capsys)


def test_all_that_is_wrong_is_told_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NEWSRAIL_PORT", "http")
    monkeypatch.setenv("NEWSRAIL_PARTITION", "1")
    assert len(refusal(capsys).splitlines()) == 2


def test_a_password_is_not_in_what_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NEWSRAIL_REDIS_URL", "redsi://user:secret@redis:6379")
    assert "secret" not in refusal(capsys)
    monkeypatch.setenv("NEWSRAIL_REDIS_URL", "redis://user:secret@redis:6379")
    assert "secret" not in repr(settings.read(Example))


def test_names_of_other_programs_are_none_of_our_business(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEWSRAIL_TEST_REDIS", "/usr/bin/redis-server")
    monkeypatch.setenv("PARTITION", "1")
    assert settings.read(Example)


@pytest.mark.parametrize(("one", "other"), list(permutations(kinds(), 2)))
def test_the_settings_of_one_service_do_not_stop_another(
    one: type[Settings], other: type[Settings]
) -> None:
    """All may be set in one place, for all services."""
    for field in one.model_fields:
        assert nearly_known(PREFIX + field.upper(), other) is None


@pytest.mark.parametrize("kind", kinds())
def test_every_setting_says_what_it_is(kind: type[Settings]) -> None:
    assert [name for name, field in kind.model_fields.items() if not field.description] == []
