"""What is opened together is closed together, and all of it where one cannot be opened."""

import os

import pytest

from tests.support.domain import NewDomain
from usbbtd.errors import LocalProtocolError
from usbbtd.xen.error import XenError
from usbbtd.xen.xen import Xen


async def use_and_close() -> list[str]:
    said = []
    async with Xen.open() as xen:
        store, evtchn, grants = xen
        domid = await store.domid()
        page, channel = grants.share(domid, 1), evtchn.bind_unbound(domid, lambda: None)
        channel.close()
        page.close()
    with pytest.raises(LocalProtocolError) as error:
        await store.domid()
    said.append(str(error.value))
    for work in (lambda: grants.share(domid, 1), lambda: evtchn.bind_unbound(domid, lambda: None)):
        with pytest.raises(LocalProtocolError) as error:
            work()
        said.append(str(error.value))
    return said


def test_all_are_closed(new_domain: NewDomain) -> None:
    said = new_domain().run(use_and_close)
    assert said == ["the store is closed", "the grants are closed", "the event channels are closed"]


async def open_without_event_channels() -> tuple[str, list[str]]:
    before = os.listdir("/proc/self/fd")
    os.environ["XENSIM_DIR"] = "/nowhere"
    with pytest.raises(XenError) as error:
        async with Xen.open():
            raise AssertionError
    return str(error.value), [name for name in os.listdir("/proc/self/fd") if name not in before]


def test_nothing_stays_open_where_one_is_missing(new_domain: NewDomain) -> None:
    text, left = new_domain().run(open_without_event_channels)
    assert "/dev/xen/evtchn" in text
    assert left == []
