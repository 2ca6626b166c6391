from usbbtd.link.retry import MAX_RETRY_S, RETRY_S, Retry


def test_pauses_double_up_to_the_longest() -> None:
    retry = Retry()
    pauses = [retry.next_pause_s(0) for _ in range(10)]
    assert pauses[:3] == [RETRY_S, 2 * RETRY_S, 4 * RETRY_S]
    assert pauses[-2:] == [MAX_RETRY_S] * 2


def test_what_lasted_for_long_begins_anew() -> None:
    retry = Retry()
    assert [retry.next_pause_s(lasted_s) for lasted_s in (0, 0, MAX_RETRY_S + 1, 0)] == [1, 2, 1, 2]


def test_shorter_pauses() -> None:
    retry = Retry(0.5, 1.5)
    assert [retry.next_pause_s(lasted_s) for lasted_s in (0, 0, 0, 0, 2, 0)] == [0.5, 1, 1.5, 1.5, 0.5, 1]
