import signal
import threading

import pytest
from onnxbench.runners.sweep.interrupt import interruptible


def test_nobody_asks_by_himself():
    with interruptible() as stop:
        assert stop.requested is False


def test_the_first_interrupt_only_asks():
    with interruptible() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.requested is True


def test_the_second_interrupt_stops():
    with pytest.raises(KeyboardInterrupt), interruptible():  # noqa: PT012
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)


def test_what_was_done_about_interrupts_before_is_done_again():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="x"), interruptible():
        raise ValueError("x")
    assert signal.getsignal(signal.SIGINT) is before


def test_off_the_main_thread_nothing_is_changed():
    seen = []

    def work():
        before = signal.getsignal(signal.SIGINT)
        with interruptible() as stop:
            seen.append((stop.requested, signal.getsignal(signal.SIGINT) is before))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, True)]
