from usbbtd.hci.events import Advertisement
from usbbtd.radio.heard import MAX_HEARD, HeardAdvertisements

FIRST = Advertisement(b"abcdef", 1, 0, -40, b"data")


def test_a_content_of_an_advertiser_is_new_once() -> None:
    heard = HeardAdvertisements()
    others = [
        FIRST,
        FIRST._replace(address=b"bcdefg"),
        FIRST._replace(address_type=2),
        FIRST._replace(event_type=4),
        FIRST._replace(data=b"other"),
    ]
    assert [heard.is_new(advertisement) for advertisement in others] == [True] * 5
    assert [heard.is_new(advertisement._replace(rssi=-41)) for advertisement in others] == [False] * 5


def test_of_too_many_contents_the_oldest_is_forgotten() -> None:
    heard = HeardAdvertisements()
    contents = [FIRST._replace(data=number.to_bytes(2, "little")) for number in range(MAX_HEARD + 1)]
    assert all(heard.is_new(content) for content in contents)
    assert heard.forgotten == 1
    assert not heard.is_new(contents[1])
    assert heard.is_new(contents[0])
