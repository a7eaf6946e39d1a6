"""A shorter run of `benchmarks/soak.py`, without its target for memory, which needs a quiet machine."""

import subprocess
import sys
from pathlib import Path

SOAK = Path(__file__).parents[2] / "benchmarks" / "soak.py"


def test_each_of_20000_requests_at_full_speed_is_answered_as_it_should_be() -> None:
    command = [sys.executable, str(SOAK), "--first", "5000", "--further", "15000", "--target", "100"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("20,000 requests")
    assert "10,000 answered with 200" in done.stdout
    assert "10,000 answered with 401" in done.stdout
    assert "instead of" not in done.stdout


def test_each_of_20000_requests_that_wait_is_answered_as_it_should_be() -> None:
    soak = SOAK.with_name("soak_waiting.py")
    command = [sys.executable, str(soak), "--first", "5000", "--further", "15000", "--target", "100"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("20,000 requests")
    assert "instead of" not in done.stdout
    assert "every request was finished: True; log lines: 0" in done.stdout


def test_each_of_8000_requests_with_2000_tokens_is_answered_as_it_should_be() -> None:
    soak = SOAK.with_name("soak_jwt.py")
    size = ["--requests", "8000", "--tokens", "2000", "--cache", "200", "--target", "100"]
    done = subprocess.run([sys.executable, str(soak), *size], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("2,000 different tokens, 200 of which are remembered\n8,000 requests")
    assert "6,400 answered with 200" in done.stdout
    assert "1,600 answered with 401" in done.stdout
    assert "instead of" not in done.stdout
