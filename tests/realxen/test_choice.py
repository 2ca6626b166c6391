"""The choice of package versions, on small lists as archives have had them."""

import pytest

from tests.realxen.choice import IncompleteError, Package, choose_kernel, choose_xen

_OLD, _NEW, _NEXT = "6.1.176-1", "6.1.192-2", "6.1.192-3"


def kernel(abi: str, version: str, *, without: str = "") -> list[Package]:
    """Returns the packages of one kernel, but for those whose names begin with `without`."""
    names = (
        f"linux-image-6.1.0-{abi}-amd64",
        f"linux-headers-6.1.0-{abi}-amd64",
        f"linux-headers-6.1.0-{abi}-common",
        "linux-source-6.1",
        "linux-kbuild-6.1",
    )
    return [Package(name, version) for name in names if not without or not name.startswith(without)]


def test_all_equal() -> None:
    chosen = choose_kernel([*kernel("50", _OLD), *kernel("56", _NEW)])
    assert {package.version for package in chosen} == {_NEW}
    assert chosen.release == "6.1.0-56-amd64"
    assert str(chosen) == f"linux-image-6.1.0-56-amd64 {_NEW}"


def test_kbuild_ahead() -> None:
    listed = [*kernel("50", _OLD), *kernel("56", _NEW, without="linux-kbuild"), Package("linux-kbuild-6.1", _NEXT)]
    chosen = choose_kernel(listed)
    assert (chosen.image.version, chosen.kbuild.version) == (_NEW, _NEXT)
    assert str(chosen) == f"linux-image-6.1.0-56-amd64 {_NEW}, with linux-kbuild-6.1 {_NEXT}"


def test_kbuild_of_the_same_version_is_preferred_to_a_newer_one() -> None:
    assert choose_kernel([*kernel("56", _NEW), Package("linux-kbuild-6.1", _NEXT)]).kbuild.version == _NEW


def test_kbuild_of_another_series_is_no_kbuild() -> None:
    listed = [*kernel("56", _NEW, without="linux-kbuild"), Package("linux-kbuild-6.12", "6.12.9-1")]
    with pytest.raises(IncompleteError, match=rf"{_NEW} lacks linux-kbuild-6\.1$"):
        choose_kernel(listed)


@pytest.mark.parametrize("missing", ["linux-source", "linux-headers-6.1.0-56-amd64", "linux-headers-6.1.0-56-common"])
def test_release_instead_of_what_is_not_complete(missing: str) -> None:
    chosen = choose_kernel([*kernel("56", _NEW, without=missing), *kernel("50", _OLD)])
    assert chosen.image == Package("linux-image-6.1.0-50-amd64", _OLD)


def test_headers_of_another_abi_are_not_these() -> None:
    image = Package("linux-image-6.1.0-57-amd64", _NEXT)
    headers = kernel("56", _NEXT, without="linux-image")
    assert choose_kernel([image, *headers, *kernel("50", _OLD)]).image.version == _OLD


def test_image_whose_headers_are_of_another_revision() -> None:
    listed = [*kernel("56", _NEXT, without="linux-headers"), *kernel("56", _NEW, without="linux-image")]
    with pytest.raises(IncompleteError, match=rf"{_NEXT} lacks linux-headers-6\.1\.0-56-amd64 {_NEXT}, linux-headers"):
        choose_kernel(listed)


def test_nothing_complete() -> None:
    listed = [*kernel("56", _NEW, without="linux-source"), *kernel("50", _OLD, without="linux-headers")]
    with pytest.raises(IncompleteError) as raised:
        choose_kernel(listed)
    assert str(raised.value) == (
        "no kernel is complete in the package archive: "
        f"linux-image-6.1.0-56-amd64 {_NEW} lacks linux-source-6.1 {_NEW}; "
        f"linux-image-6.1.0-50-amd64 {_OLD} lacks linux-headers-6.1.0-50-amd64 {_OLD}, "
        f"linux-headers-6.1.0-50-common {_OLD}"
    )


def test_nothing_listed() -> None:
    with pytest.raises(IncompleteError, match="no kernel is complete in the package archive: none is listed"):
        choose_kernel([])
    with pytest.raises(IncompleteError, match="no hypervisor is complete in the package archive: none is listed"):
        choose_xen([])


def test_versions_are_compared_as_debian_does() -> None:
    listed = [*kernel("9", "6.1.99-1"), *kernel("10", "6.1.100-1"), *kernel("11", "6.1.100-1~deb12u1")]
    assert choose_kernel(listed).image == Package("linux-image-6.1.0-10-amd64", "6.1.100-1")


def test_backports_and_flavours_are_passed_over() -> None:
    backport = [Package(name.replace("6.1", "6.12"), "6.12.9-1~bpo12+1") for name, _ in kernel("1", _NEW)]
    flavour = [Package(name.replace("-amd64", "-rt-amd64"), _NEXT) for name, _ in kernel("56", _NEXT)]
    assert choose_kernel([*backport, *flavour, *kernel("56", _NEW)]).image.version == _NEW


def test_xen_of_which_both_are_there() -> None:
    security, release = "4.17.7+13-g2445b30a44-0+deb12u1", "4.17.5+72-g01140da4e8-1"
    listed = [Package("xen-hypervisor-4.17-amd64", version) for version in (release, security)]
    both = [*listed, Package("xen-utils-4.17", security), Package("xen-utils-4.17", release)]
    assert choose_xen(both).utils.version == security
    assert choose_xen([*listed, Package("xen-utils-4.17", release)]).hypervisor.version == release
    with pytest.raises(IncompleteError, match=r"lacks xen-utils-4\.17 4\.17\.7"):
        choose_xen([*listed, Package("xen-utils-4.17", "4.17.6-1")])
