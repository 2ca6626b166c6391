"""The table of events. It is imported only when it is needed: its texts would slow down the start of a service."""

from functools import cache
from typing import Literal, NamedTuple

Level = Literal["info", "warning", "error", "any"]


class LogEvent(NamedTuple):
    """One kind of event.

    ``phrase``: the message that is logged, word for word. ``message_id``: the journal's MESSAGE_ID, which never
    changes. ``facts``: the names of its facts; only some such events have those in brackets. ``explanation`` and
    ``remedy`` say what it means and what to do, and may name facts as ``{domid}``. ``limited``: whether it is dropped
    when it comes too often, as guests, peers or another domain's USB backend can cause it as often as they like.
    """

    phrase: str
    level: Level
    message_id: str
    facts: str
    explanation: str
    remedy: str
    limited: bool = False


NOTHING = "Nothing: this is for the record."

_DAEMON: tuple[LogEvent, ...] = (
    # The service
    LogEvent(
        "usbbtd starts", "info", "243ee64c08c1446c81a8c6311a7374d2", "domid",
        "The service has opened xenstore, event channels and grants, and looks for devices. It runs in domain "
        "{domid}.",
        NOTHING,
    ),
    LogEvent(
        "usbbtd stops", "info", "86ad00d1b7d6439587235790da495ee6", "guests",
        "The service was asked to end. It closes the devices of {guests} guests, disconnects peers, and gives the "
        "dongle back.",
        "Nothing, if that was wanted. Guests find their devices again when the service is back.",
    ),
    LogEvent(
        "usbbtd stopped", "info", "5a8d7f6e810b416181ec47271faab17e", "",
        "All devices are closed.",
        NOTHING,
    ),
    LogEvent(
        "device passed over", "warning", "93f600a0225a4e289860fdfd7eec7dc7", "path reason",
        "A device, or a directory of devices, cannot be looked at yet: {reason}. The service looks again when anything "
        "changes there, and says no more of it before there is another reason.",
        "If it stays so, attach the device again with usbbt-toolstack: it sets the permissions of {path}.",
        limited=True,
    ),
    LogEvent(
        "device given up", "error", "8f5056309e5943cba487ef23f9af71ca", "path reason",
        "The service cannot serve {path}: {reason}. It tries again after longer and longer pauses, and at once when "
        "the toolstack makes the device anew; the same reason is told once.",
        "Where a quota of xenstored is used up, raise it in dom0: docs/troubleshooting.md. For a USB controller, see "
        "that this kernel's driver does not have it: blacklist xen-hcd. For a guest's device, detach and attach it. "
        "With a traceback it is a bug: report it with the whole entry, journalctl -o verbose.",
        limited=True,
    ),
    LogEvent(
        "directory of a dead guest removed", "info", "41f9d5bdfd0442c690959b8ba6cd4323", "domid path (backend)",
        "Guest {domid} has ended, and {path} was left over, because libxl does not remove what it does not know.",
        NOTHING,
        limited=True,
    ),
    LogEvent(
        "events suppressed", "warning", "dd3b6bde175e48d39db1e3b0b9bb1c0a", "suppressed count (domid)",
        '"{suppressed}" was caused so often that {count} events were not logged. Each guest has a limit of its own.',
        "Look at the last of these events, and at what the guest or the peer is doing. Detach a guest that goes on.",
    ),
    LogEvent(
        "events lost", "warning", "35be1d851d4243e9b2c6207fc20547a2", "count",
        "The journal did not take {count} events of this service: they are nowhere.",
        "See that the journal's disk has room, and that systemd-journald runs.",
    ),
    LogEvent(
        "library message", "any", "930a68ba209c4059a4db827ed7573129", "library text",
        "The library {library} says: {text}.",
        "Nothing, unless there is a traceback: report that with the whole entry, journalctl -o verbose.",
    ),
    LogEvent(
        "state is in memory only", "warning", "e699e080809c4880b35ec32a7e26e2fc", "record reason",
        "What should be kept as {record} cannot be: {reason}. It is another one after the next start.",
        "See that /var/lib/usbbtd is there, the service's own, and has room.",
    ),
    LogEvent(
        "state file set aside", "error", "d0a49818439d421db5365643e516cd21", "file reason",
        "A file of /var/lib/usbbtd cannot be read: {reason}. It is {file} now, and a new one was made.",
        "Look at it, and remove it. If it had the adapter's address, peers know the adapter by another one now.",
    ),
    # Bonds
    LogEvent(
        "bond file set aside", "error", "81d32a6dad494d7ab97031de6325748e", "file reason",
        "A bond's file cannot be used: {reason}. It is {file} now, and the bond is lost: its device has to be paired "
        "again.",
        "Remove the file: there may be keys in it. Then pair the device again.",
    ),
    LogEvent(
        "bond file passed over", "error", "8a21fbb5dd104ff994d9b7ed034e4d83", "reason",
        "A file where bonds are cannot be read: {reason}. It is left as it is; the bond that it may have is not known.",
        "Look at it, and remove it, or give it the mode 0600 and to the user of the service. Then start that anew.",
    ),
    LogEvent(
        "bonds left out", "error", "8650cb65204a465087f8e520342bd6f6", "directory count",
        "There are more bonds in {directory} than may be: {count} of them are not known.",
        "usbbtctl forget takes away those that nobody needs.",
    ),
    LogEvent(
        "bond not kept", "error", "76c1d1e9741c4e048fd68245b82e249d", "addr reason",
        "The bond with {addr} could not be written: {reason}. It is good until the service ends.",
        "See that there is room on the disk, and that the directory is the service's own. Then pair the device again.",
    ),
    LogEvent(
        "bond not removed", "error", "b98f6b5a8d4446f3b376778ba6837dc0", "addr reason",
        "The bond with {addr} is forgotten, but its file could not be removed: {reason}. After a restart it is back.",
        "Remove the file in the service's directory by hand.",
    ),
    LogEvent(
        "bonds are in memory only", "error", "62162dc510e94921b895e8bc8d19b3a5", "reason",
        "The directory of bonds cannot be used: {reason}. No bond is known, and new ones are forgotten at a restart.",
        "See that it belongs to the user of the service, with mode 0700, and that no other usbbtd runs.",
    ),
    # The control socket
    LogEvent(
        "no control socket", "warning", "5d522a9d3d4e47de8ba63f4bbbb01460", "socket reason",
        "usbbtctl cannot ask this service: {socket}: {reason}.",
        "See that the directory is there and the service's own, and start it anew.",
    ),
    LogEvent(
        "control socket for root alone", "info", "c00284be3dcc42fcae2bbf17c4f0ea38", "reason",
        "Only root can use usbbtctl: {reason}.",
        "Make the group, and start the service anew, if others should.",
    ),
    LogEvent(
        "control refused", "warning", "f948636f12cb441c9ce43b72990d7fa3", "uid pid reason",
        "Process {pid} of user {uid} was not let in at the control socket: {reason}.",
        "If that user should use usbbtctl, put it into the group.",
        limited=True,
    ),
    LogEvent(
        "control act", "info", "c3262ee34ebc44ce979890ee18964f57",
        "act uid pid (addr) (guest) (handles) (on) (least)",
        "Process {pid} of user {uid} has the service do this: {act}.",
        "See that this was wanted: only root can ask for it.",
    ),
    LogEvent(
        "control client failed", "error", "150c7eb4defa48879c4611c554b2c95e", "reason",
        "usbbtd failed when it answered a client of the control socket: {reason}. Only that client is dropped.",
        "It is a bug: report it with the whole entry, journalctl -o verbose.",
    ),
    LogEvent(
        "control client dropped", "info", "c0e1c52a552c4d55bcfe4976ead42b1a", "uid pid reason",
        "The connection to process {pid} of user {uid} was closed: {reason}.",
        NOTHING,
        limited=True,
    ),
    LogEvent(
        "capture started", "info", "91b2f4f1f8ce4a58accc9184514d23bf", "uid pid link payload",
        "Process {pid} of user {uid} records what goes over link {link}; with the payload: {payload}.",
        "See that this was wanted: a capture has what guests and peers say to each other.",
    ),
    LogEvent(
        "capture ended", "info", "5be44b3dcb6742a192fc96e81e04336f", "uid pid dropped",
        "The capture of process {pid} of user {uid} is over; {dropped} records did not fit.",
        NOTHING,
    ),
    # Guests
    LogEvent(
        "policy loaded", "info", "17f37daccffe40f4bd46e7ca43235a4d", "directory rules",
        "{rules} rules of {directory} say from now on what guests may do.",
        NOTHING,
    ),
    LogEvent(
        "policy refused", "error", "1f5b03d25b7744b79d6e465798a83243", "reason",
        "A file of policy has a mistake: {reason}. The policy stays as it was.",
        "Mend the file; usbbtctl policy check says whether it is right. Then systemctl reload usbbtd.",
    ),
    LogEvent(
        "no guest may do anything", "warning", "a77a1166a38f4eb3880968132e4b4782", "reason",
        "What no rule allows is denied, and {reason}.",
        "Write rules: docs/policy.md. Then systemctl reload usbbtd.",
    ),
    LogEvent(
        "name of guest passed over", "warning", "ef20bd792c8446789a285405b3537af9", "domid devid reason",
        "The toolstack gave guest {domid} a name that cannot be one: {reason}. Rules that name it do not match.",
        "Attach the device again with usbbt-toolstack.",
    ),
    LogEvent(
        "tags of guest passed over", "warning", "0def99ef043f42a299690a86b0126d52", "domid devid reason",
        "The toolstack gave guest {domid} tags that cannot be any: {reason}. The guest has none.",
        "Correct tags= in the guest's configuration, and attach the device again.",
    ),
    LogEvent(
        "access granted", "info", "f4758f8e589b42888c32c0befcb339cd",
        "domid devid action rule reason (addr) (psm) (cid)",
        "Guest {domid} may do that: {action}, by the rule at {rule}.",
        NOTHING,
        limited=True,
    ),
    LogEvent(
        "access denied", "warning", "9ffc248157b348708082ad43d0aaf625",
        "domid devid action rule reason (addr) (psm) (cid)",
        "Guest {domid} may not do that: {action}. What decided is {rule}: {reason}.",
        "Nothing, if that is right. Otherwise add a rule before that one: docs/policy.md; usbbtctl policy explain "
        "shows what it does.",
        limited=True,
    ),
    LogEvent(
        "access revoked", "warning", "a99c69afe2414104ab007a506c42a80f",
        "domid devid action rule reason (addr) (psm) (cid)",
        "Guest {domid} had that, and the new policy does not allow it: {action}. It was ended. What decided is {rule}: "
        "{reason}.",
        "Nothing, if that is right. Otherwise correct the rules, and systemctl reload usbbtd.",
    ),
    LogEvent(
        "guest attached", "info", "0ecce2cf7c7548e8bc37677da1aa3cb3", "domid devid path tags",
        "Device {devid} of guest {domid} is offered to it from now on.",
        'Nothing. "guest connected" follows when a program in the guest opens the device.',
    ),
    LogEvent(
        "guest connected", "info", "12ff9e4b84db4ff6b412c860f2142c14", "domid devid",
        "A program in guest {domid} has opened device {devid}.",
        NOTHING,
        limited=True,
    ),
    LogEvent(
        "guest disconnected", "info", "6f2a371324ba437e8ea7f845247c6533", "domid devid reason (statistics)",
        "The connection of guest {domid} to device {devid} has ended: {reason}. All its channels have ended with it.",
        "Nothing, if the guest closed it. Otherwise its driver broke the rules of docs/l2capif.md: it must be mended"
        " there.",
        limited=True,
    ),
    LogEvent(
        "guest detached", "info", "9ab9616937a0414e82a181a2cfaa682d", "domid devid path",
        "Device {devid} of guest {domid} was taken away, or the guest has ended.",
        "Nothing, if that was wanted; usbbt-toolstack attach gives a guest a device again.",
    ),
    LogEvent(
        "channel open", "info", "361c2e1edf17419294dd9991f8410cbf", "domid devid object addr psm cid",
        "Guest {domid} has a channel to PSM {psm} of {addr}.",
        NOTHING,
        limited=True,
    ),
    LogEvent(
        "channel closed", "info", "2056e7f5d8d14c76829ba54b171c7e41",
        "domid devid object addr psm reason duration_s sdus_to_guest bytes_to_guest sdus_from_guest bytes_from_guest",
        "The channel of guest {domid} to PSM {psm} of {addr} has ended after {duration_s} s: {reason}.",
        "Nothing, if that was wanted. Otherwise see the other events of the same object and peer.",
        limited=True,
    ),
    LogEvent(
        "channel not opened", "info", "196c5083b5f54c95875da9ffa5109731",
        "domid devid object action addr (psm) (cid) reason",
        "Guest {domid} asked for a channel to {addr} and did not get it: {reason}.",
        "If the guest should have it, see that the peer is switched on, in reach and connectable, that its PSM is "
        "right, and that the adapter is up.",
        limited=True,
    ),
    LogEvent(
        "object ended", "info", "ea8b473136544d4f80221dac44bb0401", "domid devid object reason",
        "A channel or a scan of guest {domid} has ended by itself: {reason}.",
        "Nothing, if the peer hung up. Lost links point to distance or to radio noise. A guest that did not read is "
        "slower than its peer: guests.unread_bytes is the limit.",
        limited=True,
    ),
    LogEvent(
        "channel broken by the guest", "warning", "ed3572e2dd074da8939c837389be1393", "domid devid object reason",
        "Guest {domid} broke the rules of a channel's ring: {reason}. The channel is closed, nothing else.",
        "The guest's driver has a bug, or is hostile. Detach the guest if it goes on.",
        limited=True,
    ),
    LogEvent(
        "guest failed", "error", "ab7dde80d8b140dd8ea3d0fde394946f", "domid devid reason",
        "usbbtd failed when it served guest {domid}: {reason}. The guest's device is closed, and it may connect anew.",
        "With a traceback it is a bug: report it with the whole entry, journalctl -o verbose. Otherwise Xen refused "
        "something: see that the guest goes on.",
    ),
    LogEvent(
        "ring broken by the guest", "warning", "9118336a35bd4ecd87e1f38775c80e82", "domid devid object reason",
        "When a channel ended, guest {domid} could not be told, because it broke its ring: {reason}.",
        "The guest's driver has a bug, or is hostile. Detach the guest if it goes on.",
        limited=True,
    ),
    # The adapter
    LogEvent(
        "dongle found", "info", "6aecf2221c804ea6a447ca45d849eb3a", "dongle",
        "A Bluetooth dongle is there, {dongle}, and its controller is being started.",
        'Nothing. "adapter up" follows, or "adapter down" with the reason.',
    ),
    LogEvent(
        "dongle left alone", "info", "19f95ac9be814765a50761e4816faa8c", "dongle reason",
        "{dongle} is a Bluetooth dongle, but not the one that adapter.select names.",
        "If it should be driven, change adapter.select in usbbtd.toml.",
        limited=True,
    ),
    LogEvent(
        "dongle ignored", "warning", "08cb8f283c1a4c41a80710864cb19602", "dongle reason",
        "The adapter drives another dongle already, so that {dongle} is not used.",
        "Take one of them away, or name one by adapter.select in usbbtd.toml.",
        limited=True,
    ),
    LogEvent(
        "dongle closed", "info", "51ca664c55cd42bebce50076c33dd1bb", "dongle reason",
        "{dongle} is not driven any more: {reason}.",
        "Nothing, if it was unplugged. Otherwise it is tried again, after longer and longer pauses.",
        limited=True,
    ),
    LogEvent(
        "radio failed", "error", "eef1e7a80e944ee796648a1f07d03d61", "dongle reason",
        "usbbtd failed when it drove {dongle}: {reason}. The dongle is closed, and opened anew.",
        "It is a bug: report it with the whole entry, journalctl -o verbose.",
    ),
    LogEvent(
        "firmware loaded", "info", "24cee05b75394b9fa0e36f2af4a3fe0e", "dongle controller file version",
        "The controller of {dongle}, {controller}, was given its firmware: {file}.",
        NOTHING,
    ),
    LogEvent(
        "firmware missing", "warning", "7639d8de4b9b4f36b801e04fbfbc7b90", "dongle controller file package reason",
        "The controller of {dongle}, {controller}, was not given {file}: {reason}. One of Realtek's works without, "
        "though not well; one of Intel's does not.",
        "Install {package}, of Debian's section non-free-firmware, in the driver domain: docs/dongles.md. The dongle "
        "gets it when it is plugged in anew, or attached anew.",
        limited=True,
    ),
    LogEvent(
        "adapter up", "info", "bef59b525a6f4007834bd97b395a0256", "addr controller bredr le",
        "The controller {addr} is up: {controller}. Guests can use it.",
        NOTHING,
    ),
    LogEvent(
        "adapter down", "any", "3de06cba6c584bb8abfbe71209afa7c7", "reason",
        "There is no controller any more: {reason}. All channels have ended. Guests keep their devices and their "
        "listeners.",
        "Nothing, if the service stops, or the dongle was unplugged. Otherwise plug it in anew, or attach it anew, "
        "if dom0 does not do so by vusb: xl usbdev-attach. If that does not help, it is broken, or needs firmware: "
        "docs/dongles.md.",
    ),
    LogEvent(
        "adapter was reset", "warning", "0245affa37d64344ad2dce2e7fc711cc", "",
        "The controller did not answer a command in adapter.command_timeout_s, and was reset. All links were lost.",
        "If it happens often, the dongle is broken or too slow: try another, or a longer adapter.command_timeout_s.",
    ),
    LogEvent(
        "transport missing", "warning", "c423d2f73a144d2c903631b5b9ed5cb4", "missing reason",
        "The controller has {missing}, but it cannot be used: {reason}.",
        "Guests have the other transport. Plug the dongle in anew, or attach it anew. If that does not help, take "
        "another.",
    ),
    LogEvent(
        "command given up", "warning", "0e2478c65d38410aae6a3dffa333ab3e", "command missing",
        "The controller has not answered {command}, twice, and was reset each time. It is not told again, so that "
        "there is no {missing} any more.",
        "Guests that ask for it are refused. Plug the dongle in anew, or attach it anew. If that does not help, take "
        "another.",
    ),
    LogEvent(
        "page scan refused by the controller", "warning", "01280867830e4379b0ad8bbd44638f29", "status",
        "The controller does not listen for BR/EDR devices: HCI status {status}. None can connect to a guest.",
        "Some controllers cannot listen while they connect. Plug the dongle in anew if it stays so.",
        limited=True,
    ),
    LogEvent(
        "inquiry refused by the controller", "warning", "c3913a9518894ec19900bba3adc791c7", "status",
        "The controller does not look for BR/EDR devices: HCI status {status}. Guests that did were told.",
        "Some controllers cannot do it while they connect. The guest may try again.",
        limited=True,
    ),
    LogEvent(
        "scan refused by the controller", "warning", "04d7063a9b0747deb6a708ce82cab3e2", "status",
        "The controller cannot scan now: HCI status {status}. Guests that scanned were told.",
        "Some controllers cannot scan while they connect or advertise. The guest may try again.",
        limited=True,
    ),
    LogEvent(
        "advertising refused by the controller", "warning", "33cc6153f88945f4a42b21003cfb0c8e", "status",
        "The controller cannot advertise now: HCI status {status}.",
        "Some controllers cannot advertise while they are connected. The guest may try again.",
        limited=True,
    ),
    LogEvent(
        "link up", "info", "18c2645f59634e309d5b2129aae76bad", "addr handle role",
        "There is a link to {addr}.",
        NOTHING,
        limited=True,
    ),
    LogEvent(
        "link down", "info", "39b30bb02531478d8e9433c83d5f72c7", "addr handle reason",
        "The link to {addr} has ended with HCI reason {reason}.",
        "0x13 is the peer and 0x16 this side, in order; 0x08 is a peer out of reach, 0x3e one that did not answer.",
        limited=True,
    ),
    LogEvent(
        "control request failed", "warning", "e54c80a56d2046a491bb03c916ad47f8", "dongle status",
        "{dongle} did not take a command: {status}. It is reset if the command stays unanswered.",
        "If it happens often, the dongle or the USB backend is broken.",
        limited=True,
    ),
    # Security of links
    LogEvent(
        "pairing asked", "info", "6b33bf92a6434775aae589d25ffa29ed", "addr accepted",
        "{addr} asks to pair with us. Whether a user's agent may pair with it: {accepted}.",
        "Nothing, if that is right. Otherwise see who has an agent, and the rules with the action agent: "
        "docs/policy.md.",
        limited=True,
    ),
    LogEvent(
        "pairing done", "info", "6967c5f7ef844800a0b0b86f1fab75bc", "addr security",
        "{addr} has paired, and its link has the level {security}.",
        NOTHING,
        limited=True,
    ),
    LogEvent(
        "pairing failed", "warning", "ff4a89da2f974f5397527f958c14962b", "addr reason",
        "A pairing has not reached what was asked for: {reason}.",
        "Try again, and compare numbers with care. After each failure the peer has to wait twice as long.",
        limited=True,
    ),
    LogEvent(
        "agent asked", "info", "a2804f82f8d3460aaa4992c17d036550", "addr prompt",
        "The agent of this guest is asked about pairing with {addr}: {prompt}.",
        NOTHING,
        limited=True,
    ),
    LogEvent(
        "agent answered", "info", "86b1ab3c8aaa4b9db95007c459b3a4d9", "addr prompt accept",
        "The agent of this guest has answered about {addr}. Whether it agreed: {accept}.",
        NOTHING,
        limited=True,
    ),
    LogEvent(
        "prompt withdrawn", "info", "0001c563b69142ccb453bba25f32dc98", "addr prompt why",
        "The agent of this guest need not answer about {addr} any more.",
        "why unknown: nothing, the pairing went on. Otherwise it failed: see the next \"pairing failed\".",
        limited=True,
    ),
    LogEvent(
        "peer not paired", "info", "e9a37b15a6eb46508da2488b03b625a3", "object addr reason",
        "The guest asked to pair with {addr}, and has not: {reason}.",
        "Nothing, if the guest goes on. The guest is told the kind of the reason.",
        limited=True,
    ),
    LogEvent(
        "bond made", "info", "fd185bd79f3e415286f2ae8560c9edf2",
        "addr authenticated secure_connections key_size guest",
        "There are keys for {addr} now, which are kept, and are those of guest {guest}. Authenticated: {authenticated};"
        " of Secure Connections: {secure_connections}.",
        NOTHING,
        limited=True,
    ),
    LogEvent(
        "bond replaced", "warning", "3d840618ba7d429da22acefa59f1836b",
        "addr authenticated secure_connections key_size guest former_guests",
        "{addr} has paired anew, with keys that are no weaker than those of its bond, and the bond has them now. "
        "It was that of guests {former_guests}, and is that of guest {guest}. "
        "Authenticated: {authenticated}; of Secure Connections: {secure_connections}.",
        "Nothing, if it was reset or paired anew on purpose. Otherwise forget it, and pair where nobody listens.",
        limited=True,
    ),
    LogEvent(
        "bond refused", "warning", "bf02b0f4767f43bfa4cc49180c0d62e5", "addr reason",
        "{addr} has paired, and its keys were not kept: {reason}.",
        "If it was reset on purpose, forget its bond with usbbtctl forget, and pair again.",
        limited=True,
    ),
    LogEvent(
        "bond forgotten", "info", "79cf4ccb90a54b029f68b5a0a70ed2fc", "addr",
        "The keys of {addr} are forgotten, and its link was ended.",
        "Remove this adapter in its own list, too, before it pairs again.",
    ),
    LogEvent(
        "bond passed over", "warning", "6081c1b2524041f088b4a600d6dd2303", "addr reason",
        "A bond that was kept for {addr} cannot be used: {reason}.",
        "Forget it, and pair again.",
    ),
    LogEvent(
        "link encrypted", "info", "e91ed94b8fc54bb29b242c3f0972df8f", "addr handle security key_size bonded",
        "The link to {addr} is encrypted, with a key of {key_size} octets, and has the level {security}. By the "
        "key of a bond: {bonded}.",
        NOTHING,
        limited=True,
    ),
    LogEvent(
        "link security fell", "warning", "f08ac4281fa24ad2a7426086f0fa35f4", "addr handle security",
        "The link to {addr} has only the level {security} any more. Channels that need more were ended.",
        "If it happens often, that device or the dongle is broken, or somebody interferes.",
        limited=True,
    ),
    LogEvent(
        "peer identified", "info", "19b7967e49934ee288ad9ab81f67ee26", "addr private handle",
        "{private} is a private address of {addr}, with which there is a bond. It proves that with the first "
        "encryption.",
        NOTHING,
        limited=True,
    ),
    # A virtual USB controller
    LogEvent(
        "usb controller connected", "info", "38dbf3843fb445bd923cb88c09da671d", "devid path backend",
        "The USB backend {backend} serves our virtual USB controller {devid}.",
        "If no dongle follows, usbbt-toolstack dongles in dom0 says whether vusb names one: docs/attach.md.",
        limited=True,
    ),
    LogEvent(
        "usb controller disconnected", "info", "74007d7d9668418086b8468b25c461ec", "devid path reason (statistics)",
        "The virtual USB controller {devid} has gone, and its dongle with it.",
        "Nothing, if it was taken away. Otherwise look whether the USB backend runs: QEMU in dom0, or the domain "
        "that has it.",
        limited=True,
    ),
    LogEvent(
        "usb controller cannot be offered", "error", "4bcec100642e4555af7fd45f026e08b9", "devid path reason",
        "The virtual USB controller {devid} cannot be set up: {reason}.",
        "See that /dev/xen/gntalloc and /dev/xen/evtchn are there and may be opened: modprobe xen-gntalloc "
        "xen-evtchn.",
        limited=True,
    ),
    LogEvent(
        "usb controller failed", "error", "13e7ba987ab5453bb30750e01124f59a", "devid path reason",
        "The virtual USB controller {devid} is closed, and connected again after a pause: {reason}.",
        "The USB backend is broken, or hostile. If it goes on, look into its log, and take the controller away.",
        limited=True,
    ),
    LogEvent(
        "usb ports are to be emptied", "info", "f53c7381cd4c4663be4681525626e815", "devid path reason",
        "Before the virtual USB controller {devid} is connected again, dom0 takes its devices off and puts them back, "
        "because QEMU's USB backend does not survive otherwise: {reason}.",
        NOTHING,
    ),
    LogEvent(
        "usb ports stay occupied", "warning", "4f0ea1e4184649e98e6c30a240452cf1", "devid path reason",
        "dom0 did not take the devices off the virtual USB controller {devid}: {reason}.",
        "Run usbbt-toolstack watch in dom0. If QEMU's USB backend has ended, the driver domain must be started anew.",
    ),
    LogEvent(
        "usb device attached", "info", "8be246ef406c4d27ac4d14811d4229dc", "devid path port speed",
        "A device is plugged into port {port} of the virtual USB controller {devid}.",
        NOTHING,
        limited=True,
    ),
    LogEvent(
        "usb device detached", "info", "bcc76c89351b492dbb33d877a92bf460", "devid path port",
        "The device in port {port} of the virtual USB controller {devid} was unplugged.",
        NOTHING,
        limited=True,
    ),
    LogEvent(
        "usb device ignored", "info", "875fcbe63f2e4596ad57078443143b90", "devid path device reason usb_class",
        "{device} is not a Bluetooth dongle.",
        "If it is one all the same, its class is not E0/01/01: usbbtd cannot drive it.",
        limited=True,
    ),
    LogEvent(
        "usb device does not work", "error", "37f02a49590044baab6df79d2ea3d349", "devid path port reason",
        "The device in port {port} of the virtual USB controller {devid} does not answer as USB devices do: "
        "{reason}.",
        "It is tried again, after longer and longer pauses. Plug it in anew, or try another port.",
        limited=True,
    ),
    LogEvent(
        "dongle has no room", "error", "f8e4bde060884136b05854aec9d07a66", "devid path device reason",
        "{device} cannot be served: a virtual USB controller has room for a few dongles only.",
        "Attach it to another virtual USB controller.",
        limited=True,
    ),
    # A USB controller of the domain's own
    LogEvent(
        "dongle attached", "info", "a87efe23c420421d98ec51d06023b89a", "dongle",
        "A Bluetooth dongle was plugged in: {dongle}.",
        NOTHING,
        limited=True,
    ),
    LogEvent(
        "dongle detached", "info", "c0a07b0e3fc247bb88233586263882fd", "dongle",
        "{dongle} was unplugged.",
        NOTHING,
        limited=True,
    ),
    LogEvent(
        "dongle cannot be had", "error", "6c6ef4810b754c96abd5a077c21719c9", "dongle reason",
        "{dongle} cannot be opened or taken from its driver: {reason}.",
        "See that nothing else uses it, such as bluetoothd, and that the service may open its node in /dev/bus/usb: "
        "docs/libusb.md. It is tried again, after longer and longer pauses.",
        limited=True,
    ),
    LogEvent(
        "kernel driver detached", "info", "f1bfee1c3f8f415ba0a32983f2d47951", "dongle interfaces",
        "{dongle} was taken from the kernel's driver.",
        NOTHING,
        limited=True,
    ),
    LogEvent(
        "kernel driver attached", "info", "6f662be288e945ddb750c4996f622245", "dongle interfaces",
        "{dongle} was given back to the kernel's driver.",
        NOTHING,
        limited=True,
    ),
    # A usbif backend: in the simulation and in tests
    LogEvent(
        "usb frontend connected", "info", "ffc7418fc0ef467fad796359c5222798", "frontend",
        "{frontend} uses our virtual USB controller.",
        NOTHING,
        limited=True,
    ),
    LogEvent(
        "usb frontend disconnected", "info", "28fa4971132348fb9847fe695dcf53bb", "reason (statistics)",
        "A frontend does not use our virtual USB controller any more: {reason}.",
        NOTHING,
        limited=True,
    ),
    LogEvent(
        "usb frontend cannot be connected", "error", "18ad9f7a8edb45618f51478bf9361e63", "reason",
        "What the frontend offers cannot be used: {reason}.",
        "Its driver must be mended.",
        limited=True,
    ),
    LogEvent(
        "usb frontend failed", "error", "ac6841c081ec41e0b5b87b59eadf60e3", "reason",
        "The frontend broke the rules, and is disconnected: {reason}.",
        "Its driver must be mended.",
        limited=True,
    ),
)  # fmt: skip

_TOOLSTACK: tuple[LogEvent, ...] = (
    LogEvent(
        "usbbt-toolstack watches", "info", "5e44adfb14b84a849ec5ab774f1773cc", "",
        "The service of dom0 attaches devices as configuration files of domains say.",
        NOTHING,
    ),
    LogEvent(
        "passed over", "warning", "18e0b37212bb4c2c88a3d18f67582dd0", "reason",
        "A configuration file, a guest, or a USB device is left out: {reason}.",
        "Mend the file: it is read again on SIGHUP, and whenever a domain starts or ends. What xenstore refuses is "
        "tried again after a pause. The same reason is told once.",
        limited=True,
    ),
    LogEvent(
        "device attached", "info", "39281c961d2742b0bf929e5c1f71d3f1", "domid name devid backend",
        "Guest {name} has device {devid}, whose driver domain is {backend}.",
        NOTHING,
        limited=True,
    ),
    LogEvent(
        "device waits for its driver domain", "info", "1b1e5728ac4b4cd0bdf36e38bc159c60", "domid name devid backend",
        "Device {devid} of guest {name} is attached when a domain {backend} starts.",
        "Start the driver domain, or mend backend= in the guest's configuration file.",
    ),
    LogEvent(
        "device removed: its driver domain is gone", "info", "8a49f8062da941f5a57f6e67f8a45bce",
        "domid name devid backend",
        "The driver domain {backend} has ended. Device {devid} of guest {name} is attached again when it is back.",
        "Nothing, if that was wanted. Otherwise start the driver domain.",
        limited=True,
    ),
    LogEvent(
        "dongle plugged into port", "info", "e1f074bc97c64e7a92ba2112d04df700",
        "domid name devid port place",
        "The USB device at {place} of dom0 is on port {port} of the virtual USB controller {devid} of {name}, as vusb "
        "in its configuration file says.",
        NOTHING,
        limited=True,
    ),
    LogEvent(
        "dongle gone from port", "info", "a613059945fe49aa983169b95ad9b35b",
        "domid name devid port place",
        "The USB device that was at {place} of dom0 is gone, or was plugged in anew: port {port} of the virtual USB "
        "controller {devid} of {name} is free.",
        "Nothing, if that was wanted: it is plugged into a port again when it is back.",
        limited=True,
    ),
    LogEvent(
        "usb ports emptied", "info", "9eb2f31ef41e436bbad478945d9cdfdd", "domid devid",
        "The driver domain {domid} asked for it: the devices of its virtual USB controller {devid} are unplugged for a "
        "moment, because the last process that used them was killed.",
        NOTHING,
        limited=True,
    ),
    LogEvent(
        "usb ports filled again", "info", "32f65bfc482c439aab505704fd326072", "domid devid",
        "The devices of the virtual USB controller {devid} of the driver domain {domid} are plugged in again.",
        NOTHING,
        limited=True,
    ),
    LogEvent(
        "usb controller given up", "error", "c43fa39e3dd445cfac1893221c4b4f63", "domid devid reason",
        "The virtual USB controller {devid} of domain {domid} is not followed for a while: {reason}.",
        "Nothing, if it passes: it is tried again after a pause, and the same reason told once. If "
        "usbbtd crashes meanwhile, its dongle has to be attached anew: xl usbdev-detach, xl usbdev-attach.",
        limited=True,
    ),
)  # fmt: skip

#: All events, by the command that logs them, in the order of its life.
EVENTS = {"usbbtd": _DAEMON, "usbbt-toolstack": _TOOLSTACK}


@cache
def by_phrase() -> dict[str, LogEvent]:
    """Returns all events by their phrases."""
    return {event.phrase: event for events in EVENTS.values() for event in events}
