"""The disk of a domain that is an ordinary Debian, with systemd and dpkg: see init-domu for how it is booted.

Built without root: packages are unpacked, and entered into dpkg's database as installed, but their scripts do not run.
"""

import hashlib
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

from bundle import compile_modules
from tests.realxen import debian
from tests.realxen.base import CACHE, HERE, cached

DISK_MB = 1024
#: Debian's essential packages and what a small server has, then what ours depend on.
_PACKAGES = (
    "base-files", "base-passwd", "bash", "coreutils", "dash", "debianutils", "diffutils", "dpkg", "findutils", "grep",
    "gzip", "hostname", "init-system-helpers", "libc-bin", "ncurses-base", "perl-base", "sed", "sysvinit-utils", "tar",
    "usr-is-merged", "util-linux",
    "apt", "kmod", "systemd-sysv", "udev",
    "libusb-1.0-0", "libxenevtchn1", "libxengnttab1", "libxenstore4", "procps", "python3", "python3-cryptography",
    "xenstore-utils",
)  # fmt: skip
#: Of no use here, and each costs an emulated machine seconds.
_MASKED = (
    "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "systemd-tmpfiles-clean.timer",
    "dev-hugepages.mount", "dev-mqueue.mount", "sys-kernel-config.mount", "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount", "modprobe@.service", "kmod-static-nodes.service", "systemd-random-seed.service",
    "systemd-sysusers.service", "systemd-update-utmp.service", "systemd-update-utmp-runlevel.service",
    "systemd-user-sessions.service", "systemd-logind.service", "systemd-timesyncd.service", "getty.target",
)  # fmt: skip
_FILES = {
    "etc/fstab": "/dev/xvda / ext4 defaults 0 1\n",
    "etc/hostname": "debian\n",
    "etc/machine-id": f"{1:032x}\n",  # without one systemd goes through all presets, as at a first boot
    "etc/dpkg/dpkg.cfg.d/bed": "force-unsafe-io\n",
    "var/lib/dpkg/info/format": "1\n",  # files of a package that several architectures may have are named with its own
    "etc/systemd/system/bed-agent.service": """\
[Unit]
DefaultDependencies=no

[Service]
ExecStart=/usr/bin/python3 -ISu /bed/agent.py /dev/hvc0
""",
}
_DPKG = ("info", "triggers", "updates")
_SOURCES = ("disk.py", "choice.py", "debian.py")


def disk() -> Path:
    """The file with an ext4 file system; built if it is not in the cache."""
    content = b"".join((HERE / name).read_bytes() for name in _SOURCES)
    return cached("disk", hashlib.sha256(content).hexdigest()[:16], _build) / "ext4"


def _build(directory: Path) -> None:
    archive = debian.Archive(CACHE / "packages")
    packages = archive.agreeing(lambda: archive.download_with_dependencies(_PACKAGES))
    tree = directory.parent / "disk"
    debian.new_tree(tree, ("dev", "proc", "sys", "run", "bed", *(f"var/lib/dpkg/{name}" for name in _DPKG)))
    stanzas = []
    for name in packages:
        debian.unpack(archive.directory / name, tree)
        stanzas.append(_enter(archive.directory / name, tree / "var/lib/dpkg/info"))
    (tree / "var/lib/dpkg/status").write_text("\n".join(stanzas))
    _write_triggers(tree / "var/lib/dpkg")
    for name in ("passwd", "group"):
        shutil.copy(tree / f"usr/share/base-passwd/{name}.master", tree / "etc" / name)
    for path, text in _FILES.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(text)
    subprocess.run(["systemd-sysusers", f"--root={tree}"], check=True, capture_output=True)
    for name in ("shadow", "gshadow"):
        (tree / "etc" / name).chmod(0o600)  # so that who is not root can copy them
    for unit in _MASKED:
        (tree / "etc/systemd/system" / unit).symlink_to("/dev/null")
    (tree / "etc/systemd/system/default.target").symlink_to("/usr/lib/systemd/system/multi-user.target")
    wants = tree / "etc/systemd/system/sysinit.target.wants"
    wants.mkdir(parents=True)
    (wants / "bed-agent.service").symlink_to("../bed-agent.service")
    compile_modules(tree / "usr/lib/python3.11")
    image = directory / "ext4"
    subprocess.run(["truncate", f"--size={DISK_MB}M", image], check=True)
    subprocess.run(["fakeroot", "/sbin/mkfs.ext4", "-q", "-F", "-O", "^has_journal", "-d", tree, image], check=True)


def _enter(package: Path, info: Path) -> str:
    """dpkg's files about an installed package; its paragraph for the list of them is returned."""
    scratch = info.parent / "control"
    subprocess.run(["dpkg-deb", "--control", package, scratch], check=True)
    control = (scratch / "control").read_text()
    fields = dict(line.split(": ", 1) for line in control.splitlines() if ": " in line and line[0] != " ")
    name = fields["Package"]
    if fields.get("Multi-Arch") == "same":
        name += f":{fields['Architecture']}"
    for file in scratch.iterdir():
        if file.name != "control":
            shutil.copy(file, info / f"{name}.{file.name}")
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE) as unpacking:
        assert unpacking.stdout
        with tarfile.open(fileobj=unpacking.stdout, mode="r|") as members:
            paths = [f"/{member.name.removeprefix('.').strip('/')}" for member in members]
    (info / f"{name}.list").write_text("\n".join(paths).replace("/\n", "/.\n", 1) + "\n")
    shutil.rmtree(scratch)
    return control.replace("\n", "\nStatus: install ok installed\n", 1)


def _write_triggers(dpkg: Path) -> None:
    """Which package wants to hear when files are installed where, and that nothing waits to be told.

    Without the second file dpkg would tell them all once, as after an upgrade from a version that knew no triggers.
    """
    interests = []
    for file in sorted((dpkg / "info").glob("*.triggers")):
        for line in file.read_text().splitlines():
            if match := re.fullmatch(r"interest(-noawait)? (/.*)", line):
                package = file.stem.partition(":")[0]
                interests.append(f"{match[2]} {package}{'/noawait' if match[1] else ''}\n")
    (dpkg / "triggers/File").write_text("".join(interests))
    (dpkg / "triggers/Unincorp").touch()
