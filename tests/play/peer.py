"""A remote device, with Bumble's stack, that connects to what a guest listens on: peer-connect at the prompt."""

import argparse
import asyncio
import sys
from collections.abc import Sequence

from bumble.core import BaseBumbleError
from bumble.l2cap import L2capError

from tests.demo import plan
from tests.demo.peers import CallingPeer, open_channel, power_on
from usbbtd.bluetooth import BREDR, LE, check_psm, result_name
from usbbtd.cli.arguments import number
from usbbtd.cli.program import program
from usbbtd.config import LogSettings
from usbbtd.log.setup import configure as configure_log

TIME_LIMIT_S = 10
_USAGE = 2


async def converse(socket: str, transport: plan.Transport, psm: int, text: str) -> None:
    """Sends one SDU, and prints the one that comes back."""
    async with asyncio.timeout(TIME_LIMIT_S):
        link = await CallingPeer(await power_on(socket, plan.CALLER)).connect(transport)
        try:
            channel = await open_channel(link, transport, psm)
            await channel.send(text.encode())
            sys.stdout.write((await channel.recv()).decode(errors="replace") + "\n")
            await channel.close()
        finally:
            await link.disconnect()


@program("peer-connect")
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="peer-connect", description=__doc__)
    parser.add_argument("socket", help=argparse.SUPPRESS)
    parser.add_argument("--le", action="store_true", help="PSM is an SPSM, of an adapter that advertises")
    parser.add_argument("psm", type=number, metavar="PSM", help="which a guest listens on; 0x1005, for example")
    parser.add_argument("text", help="what to send, as one SDU")
    arguments = parser.parse_args(argv)
    configure_log(LogSettings(level="error", target="stderr"))
    transport: plan.Transport = "le" if arguments.le else "bredr"
    try:
        check_psm(LE if arguments.le else BREDR, arguments.psm)
        asyncio.run(converse(arguments.socket, transport, arguments.psm, arguments.text))
    except TimeoutError:
        return _fail(f"nothing came back within {TIME_LIMIT_S} s: does a guest listen?")
    except ValueError as error:
        return _fail(str(error), _USAGE)
    except L2capError as error:
        named = error.error_code and result_name(LE if arguments.le else BREDR, error.error_code)
        return _fail(f"the adapter refused: {named or error.error_name}")
    except (BaseBumbleError, OSError) as error:
        return _fail(str(error) or repr(error))
    return 0


def _fail(reason: str, status: int = 1) -> int:
    sys.stderr.write(f"peer-connect: {reason}\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
