"""The domains of the host as xenstore names them."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from usbbtd.identifiers import parse_domid, parse_u32
from usbbtd.nodes import DOMAINS, NAME, home
from usbbtd.toolstack.errors import NoDomain
from usbbtd.xen.transaction import Transaction


class Domain(NamedTuple):
    """A domain of the host."""

    domid: int
    name: str

    @property
    def home(self) -> str:
        return home(self.domid)

    def __str__(self) -> str:
        return f"{self.name} (domain {self.domid})"


def name_of(transaction: Transaction, domid: int) -> str | None:
    """Returns the name of a domain; None if there is no such domain, or if it has no name yet."""
    return transaction.read(f"{home(domid)}/{NAME}")


def domids(names: Iterable[str] | None) -> list[int]:
    """Returns those of a directory's children that are numbers of domains. ``names``: None without a directory."""
    return [domid for name in names or () if (domid := parse_domid(name)) is not None]


def devids(names: Iterable[str] | None) -> list[int]:
    """Returns those of a directory's children that are numbers of devices. ``names``: None without a directory."""
    return [devid for name in names or () if (devid := parse_u32(name)) is not None]


def read_names(transaction: Transaction) -> dict[int, str | None]:
    """Returns the name of each domain by domid; None if it has none yet, such as during a migration."""
    return {domid: name_of(transaction, domid) for domid in sorted(domids(transaction.list(DOMAINS)))}


def read_domains(transaction: Transaction) -> dict[int, str]:
    """Returns the name of each domain that has one, by domid."""
    return {domid: name for domid, name in read_names(transaction).items() if name is not None}


def match_domain(domains: Mapping[int, str], wanted: str) -> Domain:
    """Returns the domain that an administrator means: digits are a domid, as for xl, any other text is a name.

    Raises NoDomain if there is no such domain, or more than one.
    """
    if wanted.isdecimal():
        found = [domid for domid in domains if str(domid) == wanted]
    else:
        found = [domid for domid, name in domains.items() if name == wanted]
    if not found:
        raise NoDomain(f"there is no domain {wanted!r}")
    if len(found) > 1:
        raise NoDomain(f"the domains {', '.join(map(str, found))} are all called {wanted!r}: name one by its number")
    return Domain(found[0], domains[found[0]])
