from usbbtd.radio.identities import MAX_ADDRESSES, MAX_IDENTITIES, HeardIdentities, is_resolvable

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


def test_only_two_upper_bits_of_a_random_address_say_that_it_is_resolvable() -> None:
    addresses = [bytes((0, 0, 0, 0, 0, upper)) for upper in (0x3F, 0x40, 0x7F, 0x80, 0xBF, 0xC0)]
    assert [is_resolvable(address, 2) for address in addresses] == [False, True, True, False, False, False]
    assert not any(is_resolvable(address, kind) for address in addresses for kind in (0, 1))


def test_an_address_is_resolved_once() -> None:
    bonds = Bonds({rpa(1): PEER, rpa(2): PEER, rpa(3): OTHER})
    identities = HeardIdentities(bonds.resolve)
    assert identities.last_address(*PEER) is None
    for _ in range(3):
        found = [identities.identify(rpa(number), 2) for number in range(5)]
        assert found == [(rpa(0), 2), PEER, PEER, OTHER, (rpa(4), 2)]
    assert bonds.asked == 5
    assert (identities.last_address(*PEER), identities.last_address(*OTHER)) == (rpa(2), rpa(3))
    assert identities.identify(b"public", 1) == (b"public", 1)
    assert bonds.asked == 5
    bonds.made.clear()
    identities.forget()
    assert identities.identify(rpa(1), 2) == (rpa(1), 2)
    assert identities.last_address(*PEER) is None


def test_addresses_without_end() -> None:
    bonds = Bonds({rpa(number): (number.to_bytes(6, "little"), 1) for number in range(MAX_IDENTITIES + 1)})
    identities = HeardIdentities(bonds.resolve)
    for number in range(MAX_ADDRESSES + 1):
        identities.identify(rpa(number), 2)
    assert identities.last_address(bytes(6), 1) is None
    assert identities.last_address((1).to_bytes(6, "little"), 1) == rpa(1)
    identities.identify(rpa(1), 2)
    assert bonds.asked == MAX_ADDRESSES + 1
    identities.identify(rpa(0), 2)
    assert bonds.asked == MAX_ADDRESSES + 2
