import signal
import subprocess
import sys
from pathlib import Path

from tests.sim.world import World


def test_from_the_command_line(libraries: Path, tmp_path: Path) -> None:
    (tmp_path / "xenstored.7").touch()  # left by an earlier run
    command = [sys.executable, "-m", "tests.sim", str(tmp_path), "--domains", "0,5"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as daemon:
        assert daemon.stdout
        assert daemon.stdout.readline() == f"{tmp_path}\n"
        world = World(tmp_path)
        assert sorted(world.statistics()) == [0, 5]
        assert world.read("/local/domain/5/name") == "Domain-5"
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(10) == 0
    assert list(tmp_path.iterdir()) == []
