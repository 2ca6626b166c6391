from pathlib import Path

import pytest

from usbbtd.abi.build import declarations, everything, find_header


@pytest.fixture
def header(tmp_path: Path) -> Path:
    path = tmp_path / "thing.h"
    path.write_text(
        """
        /* struct thing_not { in a comment }; */
#include <stdint.h>
#define THING_SIZE           6     /* octets */
#define THING_MANY           (THING_SIZE * 2)
#define THING_LATER(x) \\
    (x)
#define OTHER_SIZE           1
struct thing_one {
    uint8_t address[6];     /* it */
    uint8_t name[THING_SIZE];
    uint32_t many[THING_MANY];
};
struct other_one {
    int no;
};
"""
    )
    return path


def test_the_declarations_of_a_prefix(header: Path) -> None:
    lines = [line.strip() for line in declarations(header, "thing_").splitlines() if line.strip()]
    assert lines == [
        "struct thing_one {",
        "uint8_t address[6];",
        "uint8_t name[6];",
        "uint32_t many[...];",
        "};",
        "#define THING_SIZE ...",
        "#define THING_MANY ...",
    ]


def test_everything_of_a_header(header: Path) -> None:
    text = everything(header, "other_")
    assert "struct thing_one {" in text
    assert "struct other_one {" in text
    assert text.endswith("#define OTHER_SIZE ...\n")
    assert "include" not in text
    assert "comment" not in text


def test_a_header_that_is_not_there() -> None:
    with pytest.raises(FileNotFoundError, match="install libxen-dev"):
        find_header("xen/io/nosuchif.h")
    assert find_header("xen/io/usbif.h").name == "usbif.h"
