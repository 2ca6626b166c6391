"""Names what a device is, from its class of device (BR/EDR) or its appearance (LE). Assigned Numbers, 2.8 and 2.6."""

from __future__ import annotations

from typing import Final

_MAJOR: Final = {
    1: "computer", 2: "phone", 3: "access point", 4: "audio or video", 5: "input device", 6: "printer or camera",
    7: "wearable", 8: "toy", 9: "health device",
}  # fmt: skip
_AUDIO, _INPUT, _WEARABLE = 4, 5, 7
#: By (major class, minor class), where that says more.
_MINOR: Final = {
    (1, 3): "laptop", (2, 3): "smartphone",
    (_AUDIO, 1): "headset", (_AUDIO, 2): "hands-free device", (_AUDIO, 4): "microphone", (_AUDIO, 5): "loudspeaker",
    (_AUDIO, 6): "headphones", (_AUDIO, 7): "portable audio", (_AUDIO, 8): "car audio", (_AUDIO, 15): "display",
    (_INPUT, 1): "joystick", (_INPUT, 2): "gamepad", (_INPUT, 3): "remote control",
    (_WEARABLE, 1): "watch",
}  # fmt: skip
_KEYBOARDS: Final = ("", "keyboard", "mouse", "keyboard and mouse")  # by the two uppermost bits of the minor class

_CATEGORIES: Final = {
    0x001: "phone", 0x002: "computer", 0x003: "watch", 0x004: "clock", 0x005: "display", 0x006: "remote control",
    0x007: "glasses", 0x008: "tag", 0x009: "keyring", 0x00A: "media player", 0x00B: "barcode scanner",
    0x00C: "thermometer", 0x00D: "heart rate sensor", 0x00E: "blood pressure monitor", 0x00F: "input device",
    0x010: "glucose meter", 0x011: "running sensor", 0x012: "cycling sensor", 0x013: "control device",
    0x014: "network device", 0x015: "sensor", 0x016: "light", 0x017: "fan", 0x018: "HVAC", 0x019: "air conditioning",
    0x01A: "humidifier", 0x01B: "heating", 0x01C: "access control", 0x01D: "motorized device", 0x01E: "power device",
    0x01F: "light source", 0x020: "window covering", 0x021: "audio sink", 0x022: "audio source", 0x023: "vehicle",
    0x024: "appliance", 0x025: "headset", 0x026: "aircraft", 0x027: "audio or video", 0x028: "display",
    0x029: "hearing aid", 0x02A: "game", 0x02B: "sign", 0x031: "pulse oximeter", 0x032: "weight scale",
    0x033: "mobility device", 0x034: "glucose monitor", 0x035: "insulin pump", 0x036: "medication device",
    0x051: "outdoor sports device",
}  # fmt: skip
#: By whole appearances, where that says more.
_APPEARANCES: Final = {
    0x03C1: "keyboard", 0x03C2: "mouse", 0x03C3: "joystick", 0x03C4: "gamepad", 0x03C8: "barcode scanner",
    0x0708: "door lock",
}  # fmt: skip


def kind_of(class_of_device: int | None, appearance: int | None) -> str | None:
    """Returns a few words for what a device is; None where neither number says it."""
    if appearance:
        return _APPEARANCES.get(appearance, _CATEGORIES.get(appearance >> 6))
    if class_of_device is None:
        return None
    major, minor = class_of_device >> 8 & 0x1F, class_of_device >> 2 & 0x3F
    if major == _INPUT and minor >> 4:
        return _KEYBOARDS[minor >> 4]
    return _MINOR.get((major, minor), _MAJOR.get(major))
