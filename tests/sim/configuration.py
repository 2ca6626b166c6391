"""The files of a service for demo, benchmarks and tests, which say that guests may do what they try."""

from pathlib import Path

ALLOW_ALL = """\
[[rule]]
guest = "any"
action = "any"
verdict = "allow"
"""


def write_configuration(directory: Path, configuration: str, policy: str = ALLOW_ALL) -> Path:
    """Writes both files, the policy's in a directory of its own: the configuration, for ``--config``."""
    rules = directory / "policy.d"
    rules.mkdir(exist_ok=True)
    (rules / "guests.toml").write_text(policy, encoding="utf-8")
    path = directory / "usbbtd.toml"
    path.write_text(f'{configuration}\n[policy]\ndirectory = "{rules}"\n', encoding="utf-8")
    return path
