import asyncio

import pytest

from tests.support.domain import Domain
from usbbtd.guest import LimitReached, Report, open_adapter

EXAMPLE = bytes.fromhex("020106 03030f18 06095468696e67".replace(" ", ""))


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (EXAMPLE, "Thing"),
        (b"\x03\x08ab", "ab"),
        (b"\x03\x08ab\x04\x09abc", "abc"),
        (b"\x02\x09\xff", "\ufffd"),
        (b"", None),
    ],
)
def test_the_name_of_a_report(data: bytes, name: str | None) -> None:
    assert Report("C0:FF:EE:00:00:01", "random", -40, 0, data).name == name


async def scanning() -> list[object]:
    async with open_adapter() as adapter:
        seen: list[object] = []
        async for report in adapter.scan():
            seen.append([*report[:4], report.data.hex(), report.connectable])
            if len(seen) == 3:
                break
        async for report in adapter.scan(
            active=False, duplicates=True
        ):  # the first has ended: one at a time is allowed
            seen.append(report.name)
            break
        async with adapter.scan() as scan, adapter.scan() as other:
            await anext(scan)
            await anext(other)
            with pytest.raises(LimitReached):
                await anext(adapter.scan())
        await anext(adapter.scan())
        return seen


def test_scanning(guest: Domain) -> None:
    assert guest.run(scanning) == [
        ["F0:F1:F2:00:00:11", "random", -50, 0, "02010605096563686f", True],
        ["F0:F1:F2:00:00:11", "random", None, 4, "", False],
        ["01:00:00:EE:FF:C0", "public", -90, 3, "05086162", False],
        "echo",
    ]


async def silence() -> int:
    async with open_adapter() as adapter:
        heard = 0
        try:
            async with asyncio.timeout(None) as limit, adapter.scan() as scan:
                async for _ in scan:
                    heard += 1
                    if heard == 4:  # all there are
                        limit.reschedule(asyncio.get_running_loop().time())
        except TimeoutError:
            await anext(adapter.scan())
        return heard


def test_a_scan_with_a_time_limit(guest: Domain) -> None:
    assert guest.run(silence) == 4
