"""The header on its own, as a stranger's C compiler sees it."""

import subprocess

import pytest

from tests import ROOT

INCLUDE = ROOT / "usbbtd" / "abi" / "include"


@pytest.mark.parametrize("standard", ["c11", "c17", "gnu11"])
def test_the_header_compiles_alone_and_without_a_warning(standard: str) -> None:
    command = [
        "cc",
        f"-std={standard}",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-fsyntax-only",
        "-x",
        "c",
        "-I",
        str(INCLUDE),
        "-",
    ]
    # Xen's public headers leave the integer types to who includes them, and so does this one.
    source = "#include <stdint.h>\n#include <l2capif.h>\n#include <l2capif.h>\nint main(void) { return 0; }\n"
    compiled = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
    assert (compiled.returncode, compiled.stderr) == (0, "")
