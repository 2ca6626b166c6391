"""The header on its own, as a stranger's C compiler sees it, with Xen's headers and without."""

import re
import subprocess
from pathlib import Path

import pytest

from tests import ROOT
from usbbtd.abi.build import constants, without_comments

INCLUDE = ROOT / "usbbtd" / "abi" / "include"
HEADER = INCLUDE / "l2capif.h"
WARNINGS = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wpedantic", "-Werror"]


def compile_header(language: str, standard: str, source: str, *options: str) -> tuple[int, str]:
    """Returns the exit status and what the compiler says."""
    command = ["cc", f"-std={standard}", *options, "-fsyntax-only", "-x", language, "-I", str(INCLUDE), "-"]
    done = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


@pytest.mark.parametrize("standard", ["c11", "c17", "gnu11"])
def test_the_header_compiles_alone_and_without_a_warning(standard: str) -> None:
    # Xen's public headers leave the integer types to who includes them, and so does this one.
    source = "#include <stdint.h>\n#include <l2capif.h>\n#include <l2capif.h>\nint main(void) { return 0; }\n"
    assert compile_header("c", standard, source, "-Wall", "-Wextra", "-Werror") == (0, "")


@pytest.mark.parametrize("standard", ["c11", "c17", "gnu11"])
def test_it_compiles_without_any_header_of_xen(standard: str) -> None:
    source = "#define L2CAPIF_WITHOUT_XEN\n#include <l2capif.h>\n#include <l2capif.h>\nint main(void) { return 0; }\n"
    assert compile_header("c", standard, source, *WARNINGS) == (0, "")
    included = subprocess.run(
        ["cc", "-DL2CAPIF_WITHOUT_XEN", "-M", "-x", "c", str(HEADER)], capture_output=True, text=True, check=True
    )
    assert "xen/" not in included.stdout


def layout(directory: Path, *options: str) -> str:
    """Compiles and runs a program that prints the size and the offset of all that the header declares."""
    text = without_comments(HEADER)
    structures = re.findall(r"^struct (l2capif_\w+) \{(.*?)^\};", text, re.DOTALL | re.MULTILINE)
    lines = [f'printf("{name} %zu\\n", sizeof(struct {name}));' for name, _ in structures]
    for name, body in structures:
        fields = re.findall(r"^    (?:struct )?\w+ (\w+)(?:\[.*\])?;", body, re.MULTILINE)
        lines += [f'printf("{name}.{field} %zu\\n", offsetof(struct {name}, {field}));' for field in fields]
    numbers = [each for each, value in constants(text, "l2capif_").items() if "(type" not in each and value]
    lines += [f'printf("{each} %lld\\n", (long long)({each}));' for each in numbers]
    source = directory / "layout.c"
    source.write_text(
        "#include <stddef.h>\n#include <stdint.h>\n#include <stdio.h>\n#include <l2capif.h>\n"
        f"int main(void) {{ {' '.join(lines)} return 0; }}\n"
    )
    program = directory / "layout"
    subprocess.run(["cc", "-std=c11", *options, f"-I{INCLUDE}", "-o", program, source], check=True)
    return subprocess.run([program], capture_output=True, text=True, check=True).stdout


def test_both_forms_have_the_same_layout(tmp_path: Path) -> None:
    with_xen, without_xen = layout(tmp_path), layout(tmp_path, "-DL2CAPIF_WITHOUT_XEN")
    assert "l2capif_connect.mtu 18\n" in with_xen
    assert with_xen == without_xen


def test_the_page_of_the_command_ring_is_that_of_ring_h() -> None:
    checks = "".join(
        f"_Static_assert(offsetof(struct l2capif_ring_page, {field}) == offsetof(struct l2capif_sring, {field}), "
        f'"{field}");\n'
        for field in ("req_prod", "req_event", "rsp_prod", "rsp_event", "ring", "ring[1]")
    )
    slots = '_Static_assert(__CONST_RING_SIZE(l2capif, 4096) == L2CAPIF_RING_SLOTS, "slots");\n'
    source = f"#include <stddef.h>\n#include <stdint.h>\n#include <l2capif.h>\n{checks}{slots}"
    assert compile_header("c", "gnu11", source, "-Wall", "-Werror") == (0, "")
