"""The names of nodes stand once; and what paths are made of them."""

import ast
from pathlib import Path

from usbbtd import nodes
from usbbtd.l2capif import nodes as vl2cap_nodes
from usbbtd.l2capif.nodes import VL2CAP
from usbbtd.usb import nodes as usbif_nodes
from usbbtd.usb.nodes import VUSB

MODULES = (nodes, vl2cap_nodes, usbif_nodes)
PACKAGE = Path(nodes.__file__).parent
OTHERS = sorted({*PACKAGE.rglob("*.py")} - {Path(module.__file__ or "") for module in MODULES})

NAMES = {value for module in MODULES for name, value in vars(module).items() if name.isupper() and type(value) is str}
PATHS = {nodes.DOMAINS, *VL2CAP, *VUSB}


def is_node(text: str) -> bool:
    """Returns whether a text can be nothing but a node, or the end of a path. Words such as "state" may be others."""
    name = text.removeprefix("/")
    return text.rstrip("/") in PATHS or (name in NAMES and (name != text or "-" in name))


def test_no_other_module_spells_a_node() -> None:
    found = [
        f"{path.relative_to(PACKAGE)}:{constant.lineno}: {constant.value}"
        for path in OTHERS
        for constant in ast.walk(ast.parse(path.read_text()))
        if isinstance(constant, ast.Constant) and isinstance(constant.value, str) and is_node(constant.value)
    ]
    assert found == []


def test_paths() -> None:
    assert nodes.home(3) == "/local/domain/3"
    assert VL2CAP.frontend_path(0) == "device/vl2cap/0"
    assert VL2CAP.backend_path(7, 1) == "backend/vl2cap/7/1"
    assert (VUSB.frontend_path(0), VUSB.backend_path(7, 1)) == ("device/vusb/0", "backend/qusb/7/1")
    assert nodes.error_path(VL2CAP.backend_path(7, 1)) == "error/backend/vl2cap/7/1/error"
