"""Signals of a service that come before it can do anything about them, or while it ends."""

import subprocess
import sys

import pytest

SERVICE = """
import asyncio, os, signal, sys, threading
from usbbtd.signals import handled, hold_sighup

def send(number):
    os.kill(os.getpid(), number)

async def serve(do):
    stop, reload = asyncio.Event(), asyncio.Event()
    with handled(stop.set, reload.set):
        do()
        await stop.wait()
    print("stopped", "reloaded" if reload.is_set() else "")
"""
STORM = """
def storm():
    while True:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            send(number)

asyncio.run(serve(threading.Thread(target=storm, daemon=True).start))
"""
HELD = """
hold_sighup()
send(signal.SIGHUP)
asyncio.run(serve(lambda: send(signal.SIGINT)))
"""
TO_A_THREAD = """
import time

def interrupt():
    while main_is_awake():
        time.sleep(0.001)
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

def main_is_awake():
    with open(f"/proc/self/task/{os.getpid()}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0] != "S"

asyncio.run(serve(threading.Thread(target=interrupt).start))
"""
AT_THE_END = """
import atexit
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    atexit.register(send, number)
asyncio.run(serve(lambda: send(signal.SIGTERM)))
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    send(number)
"""


@pytest.mark.parametrize(
    ("code", "said"),
    [
        pytest.param(HELD, "stopped reloaded", id="held"),
        pytest.param(STORM, "stopped", id="storm"),
        pytest.param(TO_A_THREAD, "stopped", id="to a thread"),
        pytest.param(AT_THE_END, "stopped", id="at the end"),
    ],
)
def test_a_service_ends_in_order_whenever_signals_come(code: str, said: str) -> None:
    command = [sys.executable, "-c", SERVICE + code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(said)
