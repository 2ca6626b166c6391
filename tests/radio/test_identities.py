from usbbtd.radio.identities import MAX_ADDRESSES, MAX_IDENTITIES, HeardIdentities

PEER, OTHER = (b"peer\0\xc0", 2), (b"other\0", 1)


def rpa(number: int) -> bytes:
    return number.to_bytes(5, "little") + b"\x7f"


class Bonds:
    """Resolves what ``made`` has, and counts how often it is asked."""

    def __init__(self, made: dict[bytes, tuple[bytes, int]]) -> None:
        self.made = made
        self.asked = 0

    def resolve(self, address: bytes) -> tuple[bytes, int] | None:
        self.asked += 1
        return self.made.get(address)


def test_an_address_is_resolved_once() -> None:
    bonds = Bonds({rpa(1): PEER, rpa(2): PEER, rpa(3): OTHER})
    identities = HeardIdentities(bonds.resolve)
    assert identities.locate(*PEER) == PEER
    for _ in range(3):
        found = [identities.identify(rpa(number), 2) for number in range(5)]
        assert found == [(rpa(0), 2), PEER, PEER, OTHER, (rpa(4), 2)]
    assert bonds.asked == 5
    assert (identities.locate(*PEER), identities.locate(*OTHER)) == ((rpa(2), 2), (rpa(3), 2))
    assert identities.identify(*OTHER) == OTHER
    assert identities.locate(*OTHER) == OTHER
    assert identities.identify(b"public", 1) == (b"public", 1)
    assert bonds.asked == 5
    bonds.made.clear()
    identities.forget()
    assert identities.identify(rpa(1), 2) == (rpa(1), 2)
    assert identities.locate(*PEER) == PEER


def test_addresses_without_end() -> None:
    bonds = Bonds({rpa(number): (number.to_bytes(6, "little"), 1) for number in range(MAX_IDENTITIES + 1)})
    identities = HeardIdentities(bonds.resolve)
    for number in range(MAX_ADDRESSES + 1):
        identities.identify(rpa(number), 2)
    assert identities.locate(bytes(6), 1) == (bytes(6), 1)
    assert identities.locate((1).to_bytes(6, "little"), 1) == (rpa(1), 2)
    identities.identify(rpa(1), 2)
    assert bonds.asked == MAX_ADDRESSES + 1
    identities.identify(rpa(0), 2)
    assert bonds.asked == MAX_ADDRESSES + 2
