"""The emulator's clock: it moves when it is told to, and whatever is due on the way runs at its own moment."""

from proxy_wasm.emulator import Clock

SECOND = 1_000_000_000


def test_what_is_due_runs_in_order_at_its_own_moment() -> None:
    clock = Clock(start=100)
    begin = clock.monotonic_nanoseconds
    ran: list[tuple[str, int]] = []

    def run(name: str) -> None:
        ran.append((name, clock.monotonic_nanoseconds - begin))

    def run_first() -> None:
        run("first")
        clock.call_later(SECOND // 2, lambda: run("nested"))

    clock.call_later(2 * SECOND, lambda: run("second"))
    clock.call_later(SECOND, run_first)
    clock.call_later(3 * SECOND, lambda: run("never")).cancel()
    clock.advance(4)
    assert ran == [("first", SECOND), ("nested", SECOND * 3 // 2), ("second", 2 * SECOND)]
    assert clock.time_nanoseconds == 104 * SECOND


def test_the_next_moment_is_known_and_can_be_gone_to() -> None:
    clock = Clock()
    begin = clock.monotonic_nanoseconds
    ran: list[str] = []
    assert clock.next_due() is None
    clock.call_later(SECOND, lambda: ran.append("cancelled")).cancel()
    clock.call_later(2 * SECOND, lambda: ran.append("due"))
    assert clock.next_due() == begin + 2 * SECOND
    assert not clock.advance_to_next(begin + 2 * SECOND - 1)
    assert clock.monotonic_nanoseconds == begin
    assert clock.advance_to_next(begin + 2 * SECOND)
    assert ran == ["due"]
    assert clock.monotonic_nanoseconds == begin + 2 * SECOND
    assert not clock.advance_to_next(begin + 9 * SECOND)
