"""Settings as JSON; what the service answers is tested beside it, in tests/cli/ctl/test_ctl.py."""

import json
from pathlib import Path

from usbbtd.config import Config, parse
from usbbtd.control.answers import readable


def test_every_setting_can_be_told() -> None:
    config = parse('[adapter]\naddress = "C0:12:34:56:78:9A"\n[state]\ndirectory = "/x"', "x.toml")
    told = json.loads(json.dumps(readable(config.model_dump())))
    assert told["adapter"]["address"] == "C0:12:34:56:78:9A"
    assert told["state"]["directory"] == str(Path("/x"))
    assert set(told) == set(Config.model_fields)
