from usbbtd.radio.heard import MAX_HEARD, HeardContents


def test_a_content_is_new_once() -> None:
    heard = HeardContents()
    contents: list[tuple[str | int | bytes, ...]] = [
        (b"abcdef", 1, 0, b"data"),
        (b"bcdefg", 1, 0, b"data"),
        (b"abcdef", 2, 0, b"data"),
        (b"abcdef", 1, 4, b"data"),
        (b"abcdef", 1, 0, b"other"),
    ]
    assert [heard.is_new(*content) for content in contents] == [True] * 5
    assert [heard.is_new(*content) for content in contents] == [False] * 5


def test_of_too_many_contents_the_oldest_is_forgotten() -> None:
    heard = HeardContents()
    assert all(heard.is_new(b"abcdef", number) for number in range(MAX_HEARD + 1))
    assert heard.forgotten == 1
    assert not heard.is_new(b"abcdef", 1)
    assert heard.is_new(b"abcdef", 0)
