"""xl's grammar. What xl says of these texts was found by reading libxlu_cfg_y.y and libxlu_cfg_l.l."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usbbtd.toolstack.xlconfig import Value, XlConfigError, parse

GUEST = """\
# A guest as people write it.
name = "work"
type="pv"; memory = 256 ; vcpus=0x2
extra = 'console=hvc0 "quoted"'
extra += " ro"
vif = [ ]
disk = [ 'phy:/dev/vg/work,xvda,w',   # the first

         "file:/iso,xvdb,r",
       ]
vl2cap = [
    "backend=sys-bt"
    , "backend=sys-bt2,devid=3"
]
usbctrl=["type=qusb,version=2,ports=4"]
usbctrl += [ 'type=qusb' ]
device_model_args_pv.1 = [ "a", [ "b", 1 ], [] ]
memory = 512"""


def test_a_file() -> None:
    assert parse(GUEST, "work.cfg") == {
        "name": "work",
        "type": "pv",
        "memory": "512",
        "vcpus": "0x2",
        "extra": 'console=hvc0 "quoted" ro',
        "vif": [],
        "disk": ["phy:/dev/vg/work,xvda,w", "file:/iso,xvdb,r"],
        "vl2cap": ["backend=sys-bt", "backend=sys-bt2,devid=3"],
        "usbctrl": ["type=qusb,version=2,ports=4", "type=qusb"],
        "device_model_args_pv.1": ["a", ["b", "1"], []],
    }


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing", ";;", " \t\n# a\n;"])
def test_nothing(text: str) -> None:
    assert parse(text, "f") == {}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r"""a = 'it\'s'""", "it's"),
        (r'''a = "\\ \" \' \n\t\a\b\f\r\v"''', "\\ \" ' \n\t\a\b\f\r\v"),
        (r'a = "\x41\101"', "AA"),
        ('a = "#;[=]"', "#;[=]"),
        ("a = 'ü'", "ü"),
        ("a += 'new'", "new"),
        ("a=12ab", "12ab"),
    ],
)
def test_strings(text: str, value: str) -> None:
    assert parse(text, "f") == {"a": value}


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("a = 1\nb = yes", 2, "a value is a string in quotation marks, a number, or a list in brackets, not 'yes'"),
        ("a = \n1", 1, "a value is .*, not the end of the line"),
        ("a = ", 1, "a value is .*, not the end of the file"),
        ("a 1", 1, "'=' or '\\+=' should follow a, not '1'"),
        ("a = 1 b = 2", 1, "a new line or ';' should follow, not 'b'"),
        ("\n\n= 1", 3, "a setting begins with its name, in small letters, not '='"),
        ("Name = 1", 1, "'N' cannot be here"),
        ("a = 'b\nc = 2", 1, "a string that does not end on its line cannot be here"),
        ('a = "b\\', 1, "a string that does not end on its line cannot be here"),
        ('a = ["b"\n"c"]', 2, "',' or ']' should follow in a list, not 'c'"),
        ("a = [ , ]", 1, "a value is .*, not ','"),
        ("a = [ 1,, ]", 1, "a value is .*, not ','"),
        ("a = [ 1,\n\n", 3, "a value is .*, not the end of the file"),
        ("a = [ 1\n# no end", 2, "',' or ']' should follow in a list, not the end of the file"),
        ("a = [1]\na += '2'", 2, "a: a list and a string cannot be added"),
        ("a = '\\q'", 1, r"there is no \\q in a string"),
        ("a = [[\n'b']\n]\na = 1 +", 4, "'\\+' cannot be here"),
        ("a = -1", 1, "'-' cannot be here"),
        ("a = 1\r\n", 1, r"'\\r' cannot be here"),
        ("a = " + "[" * 100_000, 1, "lists are nested too deeply, not '\\['"),
    ],
)
def test_mistakes_are_told_with_their_line(text: str, line: int, said: str) -> None:
    with pytest.raises(XlConfigError, match=rf"^work\.cfg:{line}: {said}$"):
        parse(text, "work.cfg")


@given(st.text("ab=+;,[]'\"\\x1 \n#"))
def test_any_text_is_settings_or_an_error(text: str) -> None:
    try:
        settings = parse(text, "f")
    except XlConfigError as error:
        line = int(str(error).split(":")[1])
        assert 1 <= line <= text.count("\n") + 1
    else:
        assert all(name[0] in "abx" for name in settings)


names = st.from_regex("[a-z][._0-9a-z]*", fullmatch=True)
values: st.SearchStrategy[Value] = st.recursive(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n")),
    lambda inner: st.lists(inner),
    max_leaves=10,
)
blanks = st.text(" \t", max_size=2)
gaps = st.text(" \t\n", max_size=3)


def depth(value: Value) -> int:
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


@given(st.dictionaries(names, values.filter(lambda value: depth(value) <= 16)), st.data())
def test_what_is_written_is_read(settings: dict[str, Value], data: st.DataObject) -> None:
    def write(value: Value) -> str:
        if isinstance(value, str):
            quote = data.draw(st.sampled_from("'\""))
            return quote + value.replace("\\", r"\\").replace(quote, f"\\{quote}") + quote
        items = [f"{write(item)}{data.draw(gaps)}" for item in value]
        comma = f",{data.draw(gaps)}"
        end = data.draw(st.sampled_from([comma, ""])) if items else ""
        return f"[{data.draw(gaps)}{comma.join(items)}{end}]"

    lines = [f"{name}{data.draw(blanks)}={data.draw(blanks)}{write(value)}" for name, value in settings.items()]
    separator = data.draw(st.sampled_from(["\n", ";", " # why\n", ";;\n\n"]))
    assert parse(separator.join(lines), "f") == settings
