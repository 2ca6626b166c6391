"""Writes counters and gauges as text: OpenMetrics 1.0 (https://openmetrics.io), or Prometheus' own form 0.0.4.

In Prometheus' form, a counter's TYPE names it with _total, and there is no EOF at the end. node_exporter's textfile
collector reads that form only.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from usbbtd.cli.ctl.output import Row

_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


class Metric(NamedTuple):
    """A family of samples."""

    name: str
    kind: str
    help: str


def _family(of: str, kind: str, helps: Mapping[str, str]) -> dict[tuple[str, str], Metric]:
    return {(of, name): Metric(f"usbbtd_{of}_{name}", kind, text) for name, text in helps.items()}


#: The end of a sample's name, behind the name of its family.
_SUFFIXES = {"counter": "_total", "info": "_info"}

BUILD_INFO = Metric("usbbtd_build", "info", "Which usbbtd runs.")

#: By whose a value is, as ``stats`` tells, and its name there.
METRICS: dict[tuple[str, str], Metric] = {
    ("process", "cpu_s"): Metric("usbbtd_process_cpu_seconds", "counter", "Processor time of the service."),
    ("process", "uptime_s"): Metric("usbbtd_process_uptime_seconds", "gauge", "Since the service was started."),
    **_family("process", "gauge", {"memory_bytes": "Resident memory of the service."}),
    **_family("adapter", "gauge", {
        "up": "Whether there is a dongle whose controller is up.",
        "links": "ACL links.",
        "channels": "Open channels of guests.",
        "listeners": "PSMs that guests have taken.",
        "advertisements": "Advertisements of guests.",
        "l2cap_links": "Links that L2CAP serves.",
        "l2cap_channels": "L2CAP channels in any state.",
        "security_bonds": "Bonds.",
        "security_links": "Links whose security is kept.",
        "security_lockouts": "Peers that may not pair for a while, as pairings with them have failed.",
        "security_prompts": "Questions about pairings that wait for an answer.",
        "security_wishes": "Levels of security that are wanted of links and not reached yet.",
    }),
    **_family("adapter", "counter", {
        "dongle_transfers_failed": "Transfers from the dongle that failed: what they had is lost.",
        "dongle_transfers_ignored": "Transfers from the dongle that came before its controller was up.",
        "hci_resets": "Resets of a controller that was silent or reported an error.",
        "hci_resets_unasked": "Resets of which a controller told while it started, more than were asked for.",
        "hci_events_ignored": "HCI events that nobody acts on.",
        "hci_events_malformed": "HCI events that cannot be read, and do no harm.",
        "hci_advertisements_dropped": "Advertising reports that came faster than they were taken.",
        "hci_reports_malformed": "Advertising reports that cannot be read.",
        "hci_reports_anonymous": "Advertising reports without an address.",
        "hci_reports_incomplete": "Advertisements of which a part did not come.",
        "hci_advertising_turns": "How often an advertisement left the air to another.",
        "hci_advertising_sets_lost": "Advertising sets for which the controller has no room after all.",
        "scan_contents_forgotten": "Contents of advertisers that a scan may report again, as there are too many.",
        "hci_commands_sent": "HCI commands.",
        "hci_commands_dropped": "HCI commands beyond those that may wait.",
        "hci_answers_stray": "Answers to no command.",
        "hci_links_opened": "ACL links that came up.",
        "hci_links_closed": "ACL links that ended.",
        "hci_links_refused": "BR/EDR peers whose link was refused.",
        "hci_links_abandoned": "Links that the controller did not end when it was told to.",
        "hci_links_unasked": "Links that the controller made by itself, and that were ended.",
        "hci_link_events_stray": "Events of links that there are not.",
        "hci_inquiry_results_malformed": "Results of inquiries that cannot be read.",
        "hci_inquiry_events_stray": "Ends of no inquiry.",
        "hci_names_stray": "Names of devices that nobody had asked for.",
        "hci_security_requests_refused": "Requests for keys or consent that nobody was asked about.",
        "hci_security_events_stray": "Events of security about no link, twice, or out of turn.",
        "hci_security_answers_late": "Answers to requests for keys or consent that had ended.",
        "hci_acl_fragments_sent": "ACL fragments to the controller.",
        "hci_acl_pdus_received": "Whole L2CAP PDUs from the controller.",
        "hci_acl_sent_undelivered": "ACL fragments that waited when their link ended.",
        "hci_acl_unknown_handle": "ACL packets of no link.",
        "hci_acl_malformed": "ACL packets with a wrong length or flags.",
        "hci_acl_short_start": "First fragments without the PDU's length.",
        "hci_acl_stray_continuation": "Continuations of nothing.",
        "hci_acl_overrun": "Fragments with more than their PDU has.",
        "hci_acl_incomplete": "PDUs that were not finished.",
        "hci_acl_completed_clamped": "Completed packets beyond those that were sent.",
        "hci_acl_links_stalled": "Links ended because the controller kept their ACL fragments.",
        "l2cap_channels_failed": "Channels ended because the peer broke a rule, or a limit was reached.",
        "l2cap_pdus_malformed": "L2CAP PDUs with a wrong length.",
        "l2cap_pdus_without_link": "L2CAP PDUs of no link.",
        "l2cap_pdus_without_channel": "L2CAP PDUs of no channel.",
        "l2cap_pdus_on_fixed_channels": "L2CAP PDUs on fixed channels that nobody serves.",
        "security_answers_ignored": "Answers about pairings that came too late, twice, or made no sense.",
        "security_bonds_made": "Bonds that pairings made.",
        "security_bonds_refused": "Pairings whose keys were not kept.",
        "security_events_unexpected": "Events of the controller about security that mean nothing now.",
        "security_identities_not_believed": "Peers with an address that stays that claimed to have another identity.",
        "security_keys_ignored": "Link keys that the controller told out of turn.",
        "security_keys_missing": "Peers that did not have the key of their bond.",
        "security_links_downgraded": "Links ended because their encryption was weaker than their key.",
        "security_links_refused": "Links ended because there was one with their peer, or too many.",
        "security_lockouts_forgotten": "Peers whose failed pairings were forgotten for others.",
        "security_pairings_failed": "Pairings that failed.",
        "security_pairings_locked_out": "Pairings refused because others with their peer had failed.",
        "security_pairings_refused": "Pairings that we refused.",
        "security_requests_refused": "Requests of the controller for keys that were refused.",
        "security_smp_paired": "Pairings on LE that ended well.",
        "security_smp_failed": "Pairings on LE that failed here.",
        "security_smp_failed_by_the_peer": "Pairings on LE that the peer ended.",
        "security_smp_refused": "Pairings on LE that were refused.",
        "security_smp_timed_out": "Pairings on LE that were not gone on with.",
        "security_smp_after_the_timeout": "Security manager PDUs after that, which mean nothing.",
        "security_smp_malformed": "Security manager PDUs of a wrong length.",
        "security_smp_reserved_codes": "Security manager PDUs of a kind that there is not.",
        "security_smp_unexpected": "Security manager PDUs out of turn.",
        "security_smp_keypresses": "Keypresses on LE that the peer told of.",
        "security_smp_security_requests_ignored": "Security requests that came during a pairing.",
        "security_smp_signing_keys_dropped": "Signing keys of peers, which are not used.",
        "security_smp_identities_dropped": "Identities of peers that cannot be.",
        "l2cap_security_pdus_dropped": "PDUs of the security manager that were dropped, because too many waited.",
        "l2cap_signalling_dropped": "Signalling beyond what may wait.",
        "l2cap_signalling_ignored": "Signalling that means nothing here.",
        "l2cap_sdus_received": "SDUs from peers.",
        "l2cap_pdus_sent": "L2CAP PDUs to peers.",
    }),
    **_family("guest", "gauge", {
        "channels": "Channels of the guest in any state.",
        "echoes": "L2CAP echoes that the guest waits for.",
        "listeners": "Its listeners.",
        "scans": "Its scans.",
        "advertisements": "Its advertisements.",
        "agents": "Its agents.",
        "pairings": "Pairings that it waits for.",
        "in_flight": "Its requests that wait for an answer.",
    }),
    **_family("guest", "counter", {
        "requests": "Requests of the guest.",
        "responses": "Responses to it.",
        "errors": "Responses with an error.",
        "offers": "Peers that came to its listeners.",
        "offers_refused": "Peers that were sent away because its backlog was full.",
        "access_granted": "Requests, and peers that came, that policy allowed.",
        "access_denied": "Those that policy or one of its limits did not allow.",
        "access_revoked": "Those that a changed policy ended.",
        "prompts": "Questions to its agents.",
        "prompts_refused": "Questions that were refused because it did not read, or had no agent.",
        "answers_ignored": "Answers of its agents that came too late, twice, or made no sense.",
        "sdus_to_guest": "SDUs to the guest.",
        "bytes_to_guest": "Their bytes, as far as they are in its rings.",
        "sdus_from_guest": "SDUs from the guest.",
        "bytes_from_guest": "Their bytes.",
    }),
}  # fmt: skip


def lines(stats: Iterable[Row], version: str, *, prometheus: bool = False) -> Iterator[str]:
    """Yields the lines of the text. ``stats``: the answers to the command "stats". ``version``: that of the service.

    A value whose name is not in METRICS becomes a gauge without a description.
    """
    samples: dict[Metric, list[str]] = {BUILD_INFO: [f'{BUILD_INFO.name}_info{{version="{_escaped(version)}"}} 1']}
    for answer in stats:
        labels = _labels(answer)
        for name, value in answer["values"].items():
            metric = METRICS.get((answer["of"], name)) or Metric(f"usbbtd_{answer['of']}_{name}", "gauge", name)
            suffix = _SUFFIXES.get(metric.kind, "")
            samples.setdefault(metric, []).append(f"{metric.name}{suffix}{labels} {value}")
    for metric, of_family in samples.items():
        name, kind = metric.name, metric.kind
        if prometheus:
            name, kind = f"{name}{_SUFFIXES.get(kind, '')}", "gauge" if kind == "info" else kind
        yield f"# TYPE {name} {kind}"
        yield f"# HELP {name} {_escaped(metric.help)}"
        yield from of_family
    if not prometheus:
        yield "# EOF"


def _escaped(text: str) -> str:
    return text.translate(_ESCAPES)


def _labels(answer: Row) -> str:
    if answer["of"] != "guest":
        return ""
    pairs = {"domid": answer["domid"], "devid": answer["devid"], "guest": answer["name"] or ""}
    return "{" + ",".join(f'{name}="{str(value).translate(_ESCAPES)}"' for name, value in pairs.items()) + "}"
