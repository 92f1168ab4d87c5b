"""What wrk says."""

import pytest

from benchmarks.wrk import parse

OUTPUT = """Running 2s test @ http://127.0.0.1:8081/process
  1 threads and 100 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency    11.51ms    6.62ms  95.34ms   96.05%
  18016 requests in 2.00s, 8.13MB read
Requests/sec:   9001.23
measured: {"requests": 18016, "duration_us": 2001500, "not_2xx": 16, "broken": 2, "p50_us": 10400, "p99_us": 45210}
"""


def test_what_was_measured_is_read() -> None:
    load = parse(OUTPUT)
    assert (load.answered, load.accepted, load.refused, load.broken) == (18016, 18000, 16, 2)
    assert (load.p50_ms, load.p99_ms) == (10.4, 45.21)
    assert load.per_s == pytest.approx(18000 / 2.0015)


def test_output_without_figures_is_told() -> None:
    with pytest.raises(ValueError, match="wrk has measured nothing: unable to connect"):
        parse("unable to connect to 127.0.0.1:1 Connection refused\n")
