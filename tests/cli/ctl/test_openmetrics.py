"""Escapes, and what is not known; that the whole can be parsed is seen beside the service, in test_ctl.py."""

from usbbtd.cli.ctl.openmetrics import lines


def test_labels_are_escaped_and_families_are_together() -> None:
    stats = [
        {"of": "guest", "domid": domid, "devid": 0, "name": name, "values": {"requests": domid, "channels": 1}}
        for domid, name in ((3, 'a"b\\c\nd'), (4, None))
    ]
    assert list(lines(stats, "1.2")) == [
        "# TYPE usbbtd_build info",
        "# HELP usbbtd_build Which usbbtd runs.",
        'usbbtd_build_info{version="1.2"} 1',
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
    made = list(lines([{"of": "adapter", "values": {"warp": 9}}], "1.2"))
    assert made[3:] == [
        "# TYPE usbbtd_adapter_warp gauge",
        "# HELP usbbtd_adapter_warp warp",
        "usbbtd_adapter_warp 9",
        "# EOF",
    ]


def test_prometheus_names_the_type_of_a_counter_as_its_samples() -> None:
    """Its text form, 0.0.4, which node_exporter reads: it takes a counter whose TYPE has another name for untyped."""
    stats = [{"of": "adapter", "values": {"up": 1, "hci_resets": 2}}]
    assert list(lines(stats, "1.2", prometheus=True)) == [
        "# TYPE usbbtd_build_info gauge",
        "# HELP usbbtd_build_info Which usbbtd runs.",
        'usbbtd_build_info{version="1.2"} 1',
        "# TYPE usbbtd_adapter_up gauge",
        "# HELP usbbtd_adapter_up Whether there is a dongle whose controller is up.",
        "usbbtd_adapter_up 1",
        "# TYPE usbbtd_adapter_hci_resets_total counter",
        "# HELP usbbtd_adapter_hci_resets_total Resets of a controller that was silent or reported an error.",
        "usbbtd_adapter_hci_resets_total 2",
    ]
