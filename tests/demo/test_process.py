"""Processes of the demo, played by a small module."""

from pathlib import Path

import pytest

from tests.demo.lines import Message
from tests.demo.process import DemoError, Process

PLAYER = """
import json, sys
for line in sys.stdin:
    command = json.loads(line)
    match command["do"]:
        case "answer":
            print(json.dumps({"progress": 1}))
            print(json.dumps({"got": command}), flush=True)
        case "log":
            print(command["text"], file=sys.stderr, flush=True)
        case "fail":
            sys.exit("the reason")
"""


async def player(folder: Path) -> Process:
    (folder / "player.py").write_text(PLAYER)
    return await Process.start("player", folder / "player.log", "player", environment={"PYTHONPATH": str(folder)})


async def test_commands_reports_and_progress(tmp_path: Path) -> None:
    process = await player(tmp_path)
    progress: list[Message] = []
    process.on_progress = progress.append
    assert await process.ask(do="answer") == {"got": {"do": "answer"}}
    assert progress == [{"progress": 1}]
    assert await process.finish() == 0


async def test_the_log_is_waited_for_and_kept(tmp_path: Path) -> None:
    process = await player(tmp_path)
    await process.tell(do="log", text="guest connected domid=3")
    assert await process.wait_logged("guest connected", "domid=3") == "guest connected domid=3"
    await process.finish()
    assert (tmp_path / "player.log").read_text() == "guest connected domid=3\n"
    with pytest.raises(DemoError, match="never logged 'guest gone'"):
        await process.wait_logged("guest gone")


async def test_an_end_that_nobody_asked_for_is_told_with_the_last_words(tmp_path: Path) -> None:
    process = await player(tmp_path)
    with pytest.raises(DemoError, match=r"(?s)player ended with status 1.*player\.log.*the reason"):
        await process.ask(do="fail")


async def test_killed_and_stopped(tmp_path: Path) -> None:
    process = await player(tmp_path)
    await process.kill()
    await process.kill()
    assert "status -9" in await process.wait_end()
    process = await player(tmp_path)
    assert await process.stop() == -15
