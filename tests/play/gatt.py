"""Shows what an LE device serves by GATT: gatt at the prompt, a program in the guest with Bumble's client."""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from functools import partial

from bumble.att import ATT_Error
from bumble.gatt import Characteristic
from bumble.gatt_client import CharacteristicProxy

from tests.demo.gatt import open_client
from usbbtd.cli.arguments import seconds
from usbbtd.cli.program import program
from usbbtd.config import LogSettings
from usbbtd.guest import AdapterError, open_adapter
from usbbtd.log.setup import configure as configure_log

_NOTIFY = Characteristic.Properties.NOTIFY
_READ = Characteristic.Properties.READ


async def show(address: str, limit_s: float) -> None:
    """Prints all values, and then those that the device tells by itself. Raises AdapterError."""
    async with open_adapter() as adapter, open_client(adapter, address, "encrypted") as client:
        for service in await client.discover_services():
            _print(f"service {service.uuid}")
            for characteristic in await service.discover_characteristics():
                _print(f"  {characteristic.uuid}  {await _value(characteristic)}")
                if characteristic.properties & _NOTIFY:
                    await characteristic.subscribe(partial(_tell, str(characteristic.uuid)))
        await asyncio.sleep(limit_s)


async def _value(characteristic: CharacteristicProxy) -> str:
    if not characteristic.properties & _READ:
        return "not to be read"
    try:
        return bytes(await characteristic.read_value()).hex(" ")
    except ATT_Error as error:
        return f"refused: {error}"


def _tell(uuid: str, value: bytes) -> None:
    _print(f"notified of {uuid}  {bytes(value).hex(' ')}")


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


@program("gatt")
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="gatt", description=__doc__)
    parser.add_argument("address", metavar="ADDRESS", help="a random one, of LE")
    parser.add_argument(
        "--seconds", type=seconds, default=3.0, metavar="N", help="how long to be notified (default: 3)"
    )
    arguments = parser.parse_args(argv)
    configure_log(LogSettings(level="error", target="stderr"))
    try:
        asyncio.run(show(arguments.address, arguments.seconds))
    except (AdapterError, ValueError) as error:
        sys.stderr.write(f"gatt: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
