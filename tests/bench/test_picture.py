"""The picture of the rows."""

from xml.etree import ElementTree as ET

from tests.bench import picture
from tests.bench.runner import BenchRow, Goal

SVG = "{http://www.w3.org/2000/svg}"
GOOD = BenchRow("fast <&> small", "µs", [10.0] * 5, "Bumble & others", [100.0] * 5, Goal(0.2))
BAD = BenchRow("much too slow", "µs", [90.0] * 5, "Bumble & others", [100.0] * 5, Goal(0.2))
WILD = BenchRow("wild", "s", [0.1, 0.2, 0.3, 0.4, 0.5], target=Goal(0.25))
LARGE = BenchRow("throughput", "bytes/s", [2e6] * 5, "peer", [1e6] * 5, Goal(1, at_least=True))
MISSING = BenchRow("missing", "µs", (), "peer", target=Goal(0.2), missing="no peer")
NO_GOAL = BenchRow("no goal", "s", [1.0])


def drawn(*rows: BenchRow) -> ET.Element:
    return ET.fromstring(picture.draw({"A group": rows, "Nothing to see": [NO_GOAL]}, ["a <caption>"]))


def bars(svg: ET.Element) -> list[tuple[str, float]]:
    """Class and width of each."""
    return [(each.get("class", ""), float(each.get("width", ""))) for each in svg.iter(f"{SVG}rect")][1:]


def test_it_is_well_formed_and_says_everything() -> None:
    svg = drawn(GOOD, BAD, WILD, MISSING)
    texts = [each.text for each in svg.iter(f"{SVG}text")]
    assert {"A group", "fast <&> small", "much too slow", "wild", "a <caption>"} <= set(texts)
    assert "0.10 of Bumble & others (≤ 0.2) ✓" in texts
    assert "0.30 s (≤ 0.25 s) ?" in texts
    assert "not run" in texts
    assert not {"no goal", "Nothing to see"} & set(texts)


def test_a_bar_is_the_part_of_the_goal_that_is_used() -> None:
    to_the_goal = picture._x(1) - picture.LEFT
    assert bars(drawn(GOOD, LARGE, WILD)) == [
        ("met", to_the_goal / 2),
        ("met", to_the_goal / 2),
        ("noisy", to_the_goal * 1.2),
    ]


def test_what_is_far_beyond_the_goal_ends_with_the_axis() -> None:
    assert bars(drawn(BAD)) == [("missed", picture.RIGHT - picture.LEFT)]


def test_all_is_inside_and_has_colours_for_dark_pages() -> None:
    svg = drawn(*[GOOD] * 50)
    height = float(svg.get("height", ""))
    assert all(float(each.get("y", "0")) < height for each in svg.iter(f"{SVG}text"))
    (style,) = svg.iter(f"{SVG}style")
    assert style.text
    light, dark = style.text.split("prefers-color-scheme: dark")
    for name in (".back", ".met", ".missed", ".noisy", ".goal", ".range", ".faint"):
        assert name in light
        assert name in dark
