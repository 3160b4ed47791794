"""The bench without servers: its arithmetic, its bars, its report, and how it reads a response."""

import json
from pathlib import Path

import pytest

from loadtests.bench.bars import Bar, Verdict, judge
from loadtests.bench.figures import FIGURES, latency_figures, medians, percentile, times_better
from loadtests.bench.load.http import RefusedError, post, response_length
from loadtests.bench.report import number, render, significant, wanted
from loadtests.bench.results import CaseInfo, Conditions, PeerInfo, Results, Run


def results(*runs: Run, unavailable: str = "", quick: bool = False) -> Results:
    machine = {"cpu": "a processor", "cores": 2, "fsync_ms": 0.2}
    return Results(
        Conditions("2025-01-15T12:00:00+00:00", "python -m loadtests.bench", 5.0, 3, quick, machine),
        [
            PeerInfo("counters", "this service", "1"),
            PeerInfo("workerd", "the runtime", "2"),
            PeerInfo("redis-always", "the usual", "3", unavailable),
        ],
        [CaseInfo("http_hot", "many ask", "ops_per_cpu_s"), CaseInfo("idle", "nobody asks", "idle_percent")],
        list(runs),
    )


def hot(peer: str, ops_per_cpu_s: float, repeat: int = 0, exact: bool = True) -> Run:
    figures = {"ops_per_cpu_s": ops_per_cpu_s, "p50_ms": 1.0}
    return Run(repeat, peer, "http_hot", figures, exact, "" if exact else "acknowledged 2, counted 1")


# Figures


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 1), (0.2, 1), (0.5, 3), (0.51, 3), (0.61, 4), (0.99, 5), (1.0, 5)]
)
def test_a_percentile_is_a_value_that_somebody_saw(share: float, expected: int) -> None:
    assert percentile([1, 2, 3, 4, 5], share) == expected


def test_the_percentile_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="no samples"):
        percentile([], 0.5)


def test_latencies_are_sorted_and_told_in_milliseconds() -> None:
    assert latency_figures([0.003, 0.001, 0.002]) == {"p50_ms": 2.0, "p95_ms": 3.0, "p99_ms": 3.0}


def test_a_median_is_taken_of_the_repeats_that_have_the_figure() -> None:
    assert medians([{"a": 1, "b": 10}, {"a": 5}, {"a": 2}]) == {"a": 2, "b": 10}
    assert medians([]) == {}


def test_better_means_more_operations_and_less_latency() -> None:
    assert times_better(FIGURES["ops_per_s"], 200, 100) == 2
    assert times_better(FIGURES["p99_ms"], 200, 100) == 0.5
    assert times_better(FIGURES["processes"], 2, 1) is None
    assert times_better(FIGURES["idle_percent"], 0, 1) is None


# Bars


def test_a_bar_is_measured_against_the_best_of_its_peers() -> None:
    bar = Bar("http_hot", "ops_per_cpu_s", 2, ("workerd", "redis-always"))
    runs = [hot("counters", 1000), hot("workerd", 400), hot("redis-always", 600)]
    verdict = judge(bar, results(*runs))
    assert (verdict.peer, verdict.theirs, verdict.passed) == ("redis-always", 600, False)
    assert verdict.ratio == pytest.approx(1000 / 600)
    assert judge(bar, results(*runs[:2])).passed is True  # Of those that were measured.


def test_for_latency_the_best_peer_is_the_fastest() -> None:
    bar = Bar("http_hot", "p50_ms", 0.5, ("workerd", "redis-always"))
    latencies = {"counters": 1.0, "workerd": 9.0, "redis-always": 2.0}
    runs = [Run(0, peer, "http_hot", {"p50_ms": p50}) for peer, p50 in latencies.items()]
    verdict = judge(bar, results(*runs))
    assert (verdict.peer, verdict.passed) == ("redis-always", True)


def test_a_bar_without_peers_is_the_figure_itself() -> None:
    bar = Bar("idle", "idle_percent", 3)
    assert judge(bar, results(Run(0, "counters", "idle", {"idle_percent": 3.0}))).passed is True
    assert judge(bar, results(Run(0, "counters", "idle", {"idle_percent": 3.1}))).passed is False


def test_without_one_side_there_is_no_verdict() -> None:
    bar = Bar("http_hot", "ops_per_cpu_s", 2, ("workerd",))
    assert judge(bar, results(hot("counters", 1000))).passed is None
    assert judge(bar, results(hot("workerd", 1000))).passed is None


# Report


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.2634, "0.263"),
        (3, "3"),
        (3.14159, "3.14"),
        (51.24, "51.2"),
        (999.6, "1,000"),
        (12345, "12,300"),
    ],
)
def test_three_digits_are_significant(value: float, text: str) -> None:
    assert significant(value) == text


def test_numbers_carry_their_unit_and_bytes_are_scaled() -> None:
    assert number(FIGURES["ops_per_s"], 12345) == "12,300 op/s"
    assert number(FIGURES["bytes_per_socket"], 900) == "900 B"
    assert number(FIGURES["bytes_per_socket"], 7500) == "7.32 KiB"
    assert number(FIGURES["processes"], 11) == "11"
    assert number(FIGURES["p50_ms"], None) == "–"


def test_bars_are_told_in_words() -> None:
    def words(*bar: object) -> str:
        return wanted(Verdict(Bar(*bar), None, None, "", None))  # type: ignore[arg-type]

    assert words("http_hot", "ops_per_cpu_s", 2.5, ("workerd",)) == "≥ 2.5 × workerd"
    assert words("fanout_paced", "p99_ms", 0.5, ("workerd", "redis-always")) == "≤ 0.5 × the best peer"
    assert words("idle_sockets", "bytes_per_socket", 8192) == "≤ 8 KiB"


def test_the_report_has_medians_ratios_and_verdicts() -> None:
    runs = [hot("counters", 900, 0), hot("counters", 1000, 1), hot("counters", 1100, 2), hot("workerd", 200)]
    text = render(results(*runs, Run(0, "counters", "idle", {"idle_percent": 2.0})), ["latency.svg"])
    assert "| http_hot | operations per server CPU second | 1,000 op/CPU s | 200 op/CPU s (workerd) " in text
    assert "| 5 | ≥ 4 × workerd | pass |" in text
    assert "|  | counters | workerd | redis-always | counters : workerd | counters : redis-always |" in text
    assert "| operations per server CPU second | 1,000 op/CPU s | 200 op/CPU s | – | 5 | – |" in text
    assert "| *spread of operations per server CPU second* | 20 % | – | – |  |  |" in text
    assert "![latency](latency.svg)" in text
    assert "Every run was exact" in text


def test_the_report_hides_no_doubt() -> None:
    runs = [
        hot("counters", 1000, exact=False),
        Run(1, "workerd", "http_hot", error="ConnectionError: gone"),
        Run(0, "workerd", "idle", {"idle_percent": 1.0, "generator_busy_percent": 97.0}),
    ]
    text = render(results(*runs, unavailable="not installed", quick=True))
    assert "* http_hot on counters, repeat 0: not exact: acknowledged 2, counted 1" in text
    assert "* http_hot on workerd, repeat 1: ConnectionError: gone" in text
    assert "* idle on workerd: the generator was 97 % busy" in text
    assert "* redis-always was not measured: not installed" in text
    assert "its verdicts do not count" in text
    assert "Every run was exact" not in text


def test_results_survive_the_file(tmp_path: Path) -> None:
    before = results(hot("counters", 900), hot("counters", 1100, 1), Run(0, "workerd", "idle", error="gone"))
    path = tmp_path / "results.json"
    before.save(path)
    assert Results.load(path) == before
    assert json.loads(path.read_text())["medians"]["http_hot"]["counters"]["ops_per_cpu_s"] == 1000


# Responses

RESPONSE = b'HTTP/1.1 200 OK\r\ndate: now\r\nContent-Length: 11\r\n\r\n{"value":1}'


def test_a_response_ends_where_its_head_says() -> None:
    assert response_length(RESPONSE) == len(RESPONSE)
    assert response_length(RESPONSE[:-4]) == len(RESPONSE)  # Known before all of it has arrived.
    assert response_length(RESPONSE[:30]) == -1


def test_what_is_not_an_answer_is_refused() -> None:
    with pytest.raises(RefusedError, match="503 Service Unavailable"):
        response_length(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n")
    with pytest.raises(RefusedError, match="no content-length"):
        response_length(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")


def test_a_call_is_one_block_of_bytes() -> None:
    assert post("counter.increment", {"name": "votes"}) == (
        b"POST /rpc/counter.increment HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        b'Content-Length: 16\r\n\r\n{"name":"votes"}'
    )
