"""Settings: flags, then environment, then file, then default; and what cannot be used says which setting it is."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from actors.core.policy import Policy
from actors.source import Source
from gateway import cli
from gateway.config import ConfigError, Settings, read

# They have tests of their own.
FILE_OR_ENVIRONMENT = {"policies", "sources", "reset_secret", "reset_secret_file", "counter_key"}

Write = Callable[[str], None]


@pytest.fixture(autouse=True)
def _nothing_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in list(os.environ):
        if variable.startswith("COUNTERS_"):
            monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def toml(tmp_path: Path) -> Write:
    def write(text: str) -> None:
        (tmp_path / "counters.toml").write_text(text)

    return write


def refused(*arguments: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        read(*arguments)
    return str(caught.value)


class TestPrecedence:
    def test_without_anything_there_are_defaults(self) -> None:
        assert read({}) == Settings()

    def test_each_source_covers_the_one_below_it(self, toml: Write, monkeypatch: pytest.MonkeyPatch) -> None:
        toml("port = 1001\nhosts = 2\ngateways = 2\nhost = 'from.file'")
        assert read({}) == Settings(port=1001, hosts=2, gateways=2, host="from.file")
        monkeypatch.setenv("COUNTERS_PORT", "1002")
        monkeypatch.setenv("COUNTERS_HOSTS", "3")
        assert read({}) == Settings(port=1002, hosts=3, gateways=2, host="from.file")
        assert read({"port": "1003"}) == Settings(port=1003, hosts=3, gateways=2, host="from.file")

    def test_a_flag_that_was_not_given_covers_nothing(self, toml: Write) -> None:
        toml("port = 1001")
        assert read({"port": None, "host": None}).port == 1001

    @pytest.mark.parametrize(
        "name", [field.name for field in dataclasses.fields(Settings) if field.name not in FILE_OR_ENVIRONMENT]
    )
    def test_every_setting_can_come_from_everywhere(
        self, name: str, toml: Write, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        numbers = {"port": "81", "gateways": "2", "hosts": "3", "max_resident": "4", "dashboard": "true"}
        numbers["dedicated_from"] = "5"
        texts = {"dedicated": "all", "hibernate_after": "2m", "reset_after": "3m", "redis_url": "redis://x"}
        text = {**numbers, **texts}.get(name, "x")
        values: dict[str, Any] = {"port": 81, "gateways": 2, "hosts": 3, "dashboard": True}
        values["allowed_origins"] = ("x",)
        values |= {"max_resident": 4, "dedicated_from": 5, "hibernate_after": 120.0}
        given: dict[str, Any] = {name: values.get(name, text)}
        expected = dataclasses.replace(Settings(), **given)
        assert read({name: text}) == expected
        toml(f"{name.replace('_', '-')} = {text if name in numbers else repr(text)}")
        assert read({}) == expected
        toml("")
        monkeypatch.setenv(f"COUNTERS_{name.upper()}", text)
        assert read({}) == expected

    def test_a_file_may_spell_names_in_both_ways(self, toml: Write) -> None:
        toml("data_dir = 'a'")
        assert read({}).data_dir == "a"
        toml("data-dir = 'b'")
        assert read({}).data_dir == "b"

    def test_the_file_that_is_named_is_the_one_that_is_read(self, toml: Write, tmp_path: Path) -> None:
        toml("port = 1001")
        (tmp_path / "other.toml").write_text("port = 1002")
        assert read({}, str(tmp_path / "other.toml")).port == 1002

    def test_other_variables_are_none_of_ours(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COUNTERS_URL", "http://elsewhere")
        monkeypatch.setenv("PORT", "1")
        assert read({}) == Settings()


class TestValues:
    @pytest.mark.parametrize("port", ["0", "65536", "99999", "-1", "abc", "", " 80", "8.5", "1e3", "80x", True])
    def test_a_bad_port(self, port: Any) -> None:
        assert "--port" in refused({"port": port})

    @pytest.mark.parametrize("name", ["gateways", "hosts"])
    @pytest.mark.parametrize("count", ["0", "65", "-1", "many", "", "1.5"])
    def test_a_bad_number_of_processes(self, name: str, count: str) -> None:
        assert f"--{name}" in refused({name: count})

    @pytest.mark.parametrize("dedicated", ["none", "", "ALL", "-1", "1.5", "1001", "9999999999"])
    def test_a_bad_choice_of_who_gets_a_host(self, dedicated: str) -> None:
        assert "--dedicated" in refused({"dedicated": dedicated})

    def test_the_busiest_counters_or_all_or_none_have_hosts_of_their_own(self) -> None:
        cases = {"0": (False, 0), "8": (False, 8), "all": (True, 0)}
        for text, expected in cases.items():
            settings = read({"dedicated": text})
            assert (settings.dedicate_all, settings.dedicate_most) == expected
        assert Settings().dedicate_most == len(os.sched_getaffinity(0))

    @pytest.mark.parametrize(
        ("text", "seconds"),
        [("10s", 10), ("500ms", 0.5), ("2m", 120), ("1h", 3600), ("7", 7), ("1.5", 1.5), ("0.25s", 0.25)],
    )
    def test_a_duration_has_a_unit_or_is_seconds(self, text: str, seconds: float) -> None:
        assert read({"hibernate_after": text}).hibernate_after == seconds

    def test_a_duration_may_be_a_number_in_a_file(self, toml: Write) -> None:
        for text in ("hibernate-after = 3", "hibernate_after = 3.0"):
            toml(text)
            assert read({}).hibernate_after == 3.0

    @pytest.mark.parametrize("text", ["", "10 s", "s", "-1s", "1d", "1e3", "10S", "0", "0ms", "999999999h", True])
    def test_what_is_no_duration(self, text: Any) -> None:
        assert "--hibernate-after" in refused({"hibernate_after": text})

    @pytest.mark.parametrize("count", ["0", "-1", "many", "99999999", ""])
    def test_a_bad_number_of_resident_counters(self, count: str) -> None:
        assert "--max-resident" in refused({"max_resident": count})

    def test_a_counter_that_is_never_used_is_not_busy(self) -> None:
        assert "--dedicated-from" in refused({"dedicated_from": "0"})

    @pytest.mark.parametrize("text", ["true", "True", "1", "yes", "YES"])
    def test_yes(self, text: str) -> None:
        assert read({"dashboard": text}).dashboard is True

    @pytest.mark.parametrize("text", ["false", "0", "no", "No"])
    def test_no(self, text: str) -> None:
        assert read({"dashboard": text}).dashboard is False

    @pytest.mark.parametrize("text", ["", "maybe", "2", "on "])
    def test_neither_yes_nor_no(self, text: str) -> None:
        assert "--dashboard" in refused({"dashboard": text})

    def test_origins_are_a_list(self, toml: Write) -> None:
        assert read({"allowed_origins": "https://a.test,https://b.test"}).allowed_origins == (
            "https://a.test",
            "https://b.test",
        )
        toml("allowed-origins = ['https://a.test']")
        assert read({}).allowed_origins == ("https://a.test",)

    @pytest.mark.parametrize("text", ["allowed-origins = 5", "allowed-origins = [5]", "allowed-origins = true"])
    def test_what_is_no_list_of_origins(self, toml: Write, text: str) -> None:
        toml(text)
        assert "--allowed-origins" in refused({})

    def test_no_origins_are_none(self) -> None:
        assert read({"allowed_origins": ""}).allowed_origins == ()

    @pytest.mark.parametrize("text", ["host = 5", "database = true", "data-dir = ['a']", "dedicated = 0.5"])
    def test_what_is_no_text(self, toml: Write, text: str) -> None:
        toml(text)
        assert "--" in refused({})

    def test_dedicated_may_be_a_number_in_a_file(self, toml: Write) -> None:
        toml("dedicated = 3")
        assert read({}).dedicated == "3"

    def test_the_database_is_in_the_data_directory_unless_it_is_named(self, tmp_path: Path) -> None:
        assert read({"data_dir": "here"}).database_url == f"sqlite:///{tmp_path / 'here' / 'counters.db'}"
        assert read({"database": "sqlite:///x.db"}).database_url == "sqlite:///x.db"

    def test_they_are_frozen(self) -> None:
        with pytest.raises(dataclasses.FrozenInstanceError):
            read({}).port = 1  # type: ignore[misc]


class TestFiles:
    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        assert "missing.toml" in refused({}, str(tmp_path / "missing.toml"))

    @pytest.mark.parametrize("text", ["port", "port = ", "port = 1\nport = 2", "[", "= 1"])
    def test_a_file_that_is_no_toml(self, toml: Write, text: str) -> None:
        toml(text)
        assert "counters.toml" in refused({})

    def test_a_file_that_is_no_text(self, tmp_path: Path) -> None:
        (tmp_path / "counters.toml").write_bytes(b"port = 1 # \xff\xfe")
        assert "counters.toml" in refused({})

    def test_a_folder(self, tmp_path: Path) -> None:
        assert str(tmp_path) in refused({}, str(tmp_path))

    @pytest.mark.parametrize("text", ["prot = 1", "[server]\nport = 1", "Port = 1"])
    def test_a_setting_that_nobody_knows(self, toml: Write, text: str) -> None:
        toml(text)
        assert text.strip("[").split()[0].split("]")[0] in refused({})


class TestResets:
    def test_sources_are_tables_in_the_file(self, toml: Write) -> None:
        said = 'database = "sqlite:///x.db"\nquery = "select count(*) from y"'
        toml(f'[sources."total:users"]\n{said}\n[sources.b]\n{said}\nschedule = ""\ntimeout = "2m"')
        one, other = read({}).sources
        assert one == ("total:users", Source("sqlite:///x.db", "select count(*) from y", "0 3 * * *", 30.0))
        assert (other[1].schedule, other[1].timeout_s) == ("", 120.0)
        assert "x.db" not in repr(read({}))

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("sources = 3", "sources: write them as tables"),
            ('[sources."a b"]', "sources: 'a b' is not the name of a counter"),
            ("[sources.a]", "sources: a: say a database and a query"),
            ("[sources.a]\nquery = 'SELECT 1'", "sources: a: say a database and a query"),
            ("[sources.a]\nquery = 1", "sources: a: query is not a string"),
            ("[sources.a]\nsql = 'SELECT 1'", "sources: a: there is no 'sql'"),
            ("[sources.a]\ndatabase = 'x'\nquery = 'SELECT 1'", "sources: a: database: not a database URL"),
            ("[sources.a]\ndatabase = 'x://y'\nquery = 'DELETE FROM z'", "sources: a: query: one SELECT"),
            ("[sources.a]\ndatabase = 'x://y'\nquery = 'SELECT 1'\nschedule = 'daily'", "sources: a: schedule: "),
            ("[sources.a]\ndatabase = 'x://y'\nquery = 'SELECT 1'\ntimeout = '1h'", "sources: a: timeout: must lie"),
            ("[sources.a]\ndatabase = 'x://y'\nquery = 'SELECT 1'\ntimeout = 'soon'", "sources: a: timeout: 'soon' is"),
        ],
    )
    def test_impossible_sources(self, text: str, said: str, toml: Write) -> None:
        toml(text)
        assert refused({}).startswith(said)

    def test_policies_are_tables_in_the_file(self, toml: Write) -> None:
        likes = '[policies."likes:*"]\nreset_after = 60\nmaximum = 9'
        toml(f'reset_after = "20m"\n{likes}\n[policies.page]\nmissed = "skip"')
        rules = read({}).rules
        assert rules.of("votes") == Policy(reset_after=1_200)
        assert rules.of("likes:a") == Policy(reset_after=60, maximum=9)
        assert rules.of("page") == Policy(reset_after=1_200, missed="skip")

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("policies = 3", "policies: write them as tables"),
            ("[policies]\na = 3", "policies: write them as tables"),
            ('[policies."a b"]', "policies: no name fits 'a b'"),
            ("[policies.a]\nmaximal = 3", "policies: a: Object contains unknown field `maximal`"),
            ("[policies.a]\nreset_after = 0", "policies: a reset_after must lie between 1 and"),
            ("[policies.a]\nreset_after = 'soon'", "policies: a: 'soon' is not a time"),
            ("[policies.a]\nreset_schedule = '0 0 31 2 *'", "policies: a reset_schedule not a cron expression"),
            ("[policies.a]\nmaximum = 3\nreset_to = 4", "policies: a reset_to must lie between"),
        ],
    )
    def test_policies_that_cannot_be(self, text: str, said: str, toml: Write) -> None:
        toml(text)
        assert refused({}).startswith(said)

    @pytest.mark.parametrize("text", ["0", "-1", "0.1", "10y", "soon", "315360000", "٣m"])
    def test_periods_that_cannot_be(self, text: str) -> None:
        assert refused({"reset_after": text}).startswith("--reset-after: ")

    def test_what_others_call_them(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("REDIS_HOST", "redis.local")
        assert read({}).redis_url == "redis://redis.local:6379/0"
        monkeypatch.setenv("REDIS_PORT", "7000")
        monkeypatch.setenv("REDIS_PASSWORD", "a/b@c")
        assert read({}).redis_url == "redis://:a%2Fb%40c@redis.local:7000/0"
        monkeypatch.setenv("REDIS_URL", "redis://other")
        assert read({}).redis_url == "redis://other"
        monkeypatch.setenv("RESET_SECRET", "s")
        assert read({}).reset_secret == "s"
        (tmp_path / "secret").write_text(" t\n")
        monkeypatch.setenv("RESET_SECRET_FILE", str(tmp_path / "secret"))
        assert read({}).reset_secret == "t"
        monkeypatch.setenv("COUNTER_KEY", "contador_reset")
        assert read({"default_counter": "page"}).counter_key == "contador_reset"
        assert "a%2Fb" not in repr(read({"default_counter": "page"}))

    @pytest.mark.parametrize(
        ("settings", "flag"),
        [
            ({"counter_key": "k"}, "--counter-key"),
            ({"default_counter": "a b"}, "--default-counter"),
            ({"redis_url": "http://x"}, "--redis-url"),
            ({"redis_url": "redis:"}, "--redis-url"),
            ({"redis_url": "redis://x:tcp://10.0.0.1:6379/0"}, "--redis-url"),
            ({"redis_url": "redis://[::1"}, "--redis-url"),
            ({"reset_secret_file": "nowhere"}, "--reset-secret-file"),
            ({"reset_secret_file": "/dev/null"}, "--reset-secret-file"),
        ],
    )
    def test_what_cannot_be_used(self, settings: dict[str, str], flag: str) -> None:
        assert refused(settings).startswith(flag)


class TestTheCommandLine:
    def test_every_setting_has_a_flag(self) -> None:
        arguments = cli._parser().parse_args(["serve"])
        assert {field.name for field in dataclasses.fields(Settings)} - FILE_OR_ENVIRONMENT <= vars(arguments).keys()

    def test_a_bad_setting_is_one_line_and_exit_code_2(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["serve", "--port", "http"]) == 2
        assert capsys.readouterr().err == "counters: --port: 'http' is not a number\n"

    @pytest.mark.parametrize("rest", [[], ["--help"], ["--quick", "--cases", "ws_own", "-x", "plain"]])
    def test_everything_behind_bench_goes_to_the_bench(
        self, rest: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        started: list[tuple[str, list[str]]] = []
        monkeypatch.setattr(os, "execv", lambda path, arguments: started.append((path, arguments)))
        cli._bench(cli._parser().parse_args(["bench", *rest]))
        assert started == [(sys.executable, [sys.executable, "-m", "loadtests.bench", *rest])]
