"""A guest of the demo that has a sensor, too: ``python -m tests.demo.sensing_guest DOMID``.

Besides those of tests.demo.guest it has one command:
``{"do": "sense"}`` reads, writes and subscribes to what the sensor has.
"""

from tests.demo import gatt, guest, lines


class SensingGuest(guest.Guest):
    """What this guest has open."""

    async def sense(self) -> lines.Message:
        return await gatt.sense(self.adapter)

    def commands(self) -> dict[str, guest.Command]:
        return super().commands() | {"sense": self.sense}


if __name__ == "__main__":
    guest.main(SensingGuest)
