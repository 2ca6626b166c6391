from usbbtd.retry import MAX_RETRY_S, RETRY_S, Retry, Trouble


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


def test_a_trouble_is_told_once_until_it_is_another_or_was_over_for_long() -> None:
    trouble = Trouble()
    refused, same, other = OSError("refused"), OSError("refused"), OSError("gone")
    assert [trouble.is_news(error) for error in (refused, same, other, refused)] == [True, False, True, True]
    trouble.next_pause_s(1)
    assert not trouble.is_news(refused)
    trouble.next_pause_s(MAX_RETRY_S + 1)
    assert trouble.is_news(refused)
