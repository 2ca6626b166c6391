"""Escapes, and what is not known; that the whole can be parsed is seen beside the service, in test_ctl.py."""

from usbbtd.cli.ctl.openmetrics import lines


def test_labels_are_escaped_and_families_are_together() -> None:
    stats = [
        {"of": "guest", "domid": domid, "devid": 0, "name": name, "values": {"requests": domid, "channels": 1}}
        for domid, name in ((3, 'a"b\\c\nd'), (4, None))
    ]
    assert list(lines(stats)) == [
        "# TYPE usbbtd_guest_requests counter",
        "# HELP usbbtd_guest_requests Requests of the guest.",
        'usbbtd_guest_requests_total{domid="3",devid="0",guest="a\\"b\\\\c\\nd"} 3',
        'usbbtd_guest_requests_total{domid="4",devid="0",guest=""} 4',
        "# TYPE usbbtd_guest_channels gauge",
        "# HELP usbbtd_guest_channels Channels of the guest in any state.",
        'usbbtd_guest_channels{domid="3",devid="0",guest="a\\"b\\\\c\\nd"} 1',
        'usbbtd_guest_channels{domid="4",devid="0",guest=""} 1',
        "# EOF",
    ]


def test_a_counter_of_another_version_is_a_gauge() -> None:
    made = list(lines([{"of": "adapter", "values": {"warp": 9}}]))
    assert made == [
        "# TYPE usbbtd_adapter_warp gauge",
        "# HELP usbbtd_adapter_warp warp",
        "usbbtd_adapter_warp 9",
        "# EOF",
    ]
