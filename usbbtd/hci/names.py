"""Names of what a controller tells about itself (Bluetooth Assigned Numbers, 2.1 and 7.1)."""

__all__ = ["company_name", "controller_name", "version_name"]

#: Core specifications by the number of their HCI and LMP versions.
_VERSIONS = (
    "1.0b", "1.1", "1.2", "2.0", "2.1", "3.0", "4.0", "4.1", "4.2", "5.0", "5.1", "5.2", "5.3", "5.4", "6.0",
)  # fmt: skip

#: The makers of usual controllers, by company identifier, as people call them.
_COMPANIES = {
    0x0000: "Ericsson",
    0x0002: "Intel",
    0x0009: "Infineon",
    0x000A: "Qualcomm (CSR)",
    0x000D: "Texas Instruments",
    0x000F: "Broadcom",
    0x0013: "Atmel",
    0x001D: "Qualcomm",
    0x0025: "NXP",
    0x0030: "STMicroelectronics",
    0x0039: "ISSC",
    0x003F: "Bluetooth SIG",
    0x0045: "Qualcomm (Atheros)",
    0x0046: "MediaTek",
    0x0048: "Marvell",
    0x0059: "Nordic Semiconductor",
    0x005D: "Realtek",
    0x00CD: "Microchip",
    0x00E0: "Google",
    0x0131: "Cypress",
    0x01EC: "Spreadtrum",
    0x0211: "Telink",
    0x02B0: "Bestechnic",
    0x02E5: "Espressif",
    0x02FF: "Silicon Labs",
    0x03E0: "Actions",
    0x05D6: "Jieli",
    0x05F1: "Zephyr",  # the identifier of the Linux Foundation, which its controller uses
    0x07E8: "Packetcraft",
    0x08E7: "Barrot",
}


def version_name(version: int) -> str:
    """Returns the core specification of an HCI version, such as ``"5.1"``; ``"HCI 99"`` for one that is not known."""
    return _VERSIONS[version] if version < len(_VERSIONS) else f"HCI {version}"


def company_name(identifier: int) -> str:
    """Returns who made a controller; ``"company 0x1234"`` for one who is not known here."""
    return _COMPANIES.get(identifier, f"company 0x{identifier:04x}")


def controller_name(company: int | None, version: int | None, chip: str | None = None) -> str:
    """Returns what people call a controller, such as ``"Realtek, Bluetooth 5.1"``. None: it does not tell.

    ``chip``: what is known of it besides, instead of its maker.
    """
    if company is None or version is None:
        return chip or "unknown"
    return f"{chip or company_name(company)}, Bluetooth {version_name(version)}"
