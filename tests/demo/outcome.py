"""What the streams of the demo add up to."""

from collections.abc import Iterable
from statistics import quantiles
from typing import Any

from tests.demo import plan
from tests.demo.display import Display, bytes_text, time_text
from tests.demo.traffic import Counts

#: What a radio carries at best, in bytes a second: 3-DH5 packets; LE 2M with 251-octet PDUs.
RADIO_LIMITS: dict[plan.Transport, float] = {"bredr": 0.26e6, "le": 0.17e6}
NAMES: dict[plan.Transport, str] = {"bredr": "BR/EDR", "le": "LE"}


class DemoOutcome:
    """Both ends' counts of each stream. ``seconds``: the traffic's, on which the throughput is based."""

    def __init__(self) -> None:
        self.rtt_us: dict[plan.Transport, list[float]] = {}
        self.seconds = 0.0
        self._counts: dict[tuple[int, str], Counts] = {}

    def add(self, reports: Iterable[dict[str, Any]]) -> None:
        """Counts as a process has reported them. The streams of the guest that is killed have no end: left out."""
        for report in reports:
            counts = Counts(**report)
            if plan.guest_of(counts.stream) != plan.KILLED:
                self._counts[counts.stream, counts.end] = counts

    def problems(self, expected_streams: set[int]) -> list[str]:
        """What is not as it has to be, a line each."""
        found = []
        for stream in sorted(expected_streams):
            name = f"guest {plan.guest_of(stream)}, {NAMES[plan.transport_of(stream)]}, stream {stream}"
            ends = [self._counts.get((stream, end)) for end in ("sender", "echo")]
            if None in ends:
                found.append(f"{name}: an end has reported nothing")
        found += [
            f"stream {counts.stream}: {counts.corrupted} SDUs are not what the {counts.end} end expected"
            for counts in self._counts.values()
            if counts.corrupted
        ]
        for stream, sent, received in self._directions():
            if sent.sent != received.received:
                found.append(f"stream {stream}: {sent.sent} sent by the {sent.end} end, {received.received} received")
        return found

    def figures(self, transports: Iterable[plan.Transport] = plan.TRANSPORTS) -> dict[str, int | float]:
        """The sums over these transports, by the names of demo.json."""
        wanted = set(transports)
        directions = [each for each in self._directions() if plan.transport_of(each[0]) in wanted]
        sent = sum(sender.sent for _, sender, _ in directions)
        received = sum(receiver.received for _, _, receiver in directions)
        octets = sum(receiver.bytes for _, _, receiver in directions)
        octets_of_traffic = sum(receiver.bytes for stream, _, receiver in directions if not plan.is_ping(stream))
        rtt_us = sorted(rtt for transport in wanted for rtt in self.rtt_us[transport])
        percentiles = quantiles(rtt_us, n=100, method="inclusive")
        return {
            "sdus_sent": sent,
            "sdus_received": received,
            "sdus_lost": sent - received,
            "sdus_corrupted": sum(receiver.corrupted for _, _, receiver in directions),
            "bytes": octets,
            "rtt_us_p50": round(percentiles[49]),
            "rtt_us_p99": round(percentiles[98]),
            "throughput_bytes_per_s": round(octets_of_traffic / self.seconds),
        }

    def show(self, display: Display, channels: dict[plan.Transport, int]) -> None:
        """The table: a row a transport, and their sum."""
        rows = [
            self._row(NAMES[transport], channels[transport], [transport], bytes_text(RADIO_LIMITS[transport]) + "/s")
            for transport in plan.TRANSPORTS
        ]
        rows.append(self._row("together", sum(channels.values()), plan.TRANSPORTS, ""))
        header = (
            "",
            "channels",
            "SDUs",
            "bytes",
            "lost",
            "corrupted",
            "round trip",
            "p99",
            "throughput",
            "radio's limit",
        )
        display.table(header, rows)

    def _row(self, name: str, channels: int, transports: Iterable[plan.Transport], limit: str) -> list[str]:
        figures = self.figures(transports)
        return [
            name,
            str(channels),
            f"{figures['sdus_sent']:,}",
            bytes_text(figures["bytes"]),
            f"{figures['sdus_lost']:,}",
            f"{figures['sdus_corrupted']:,}",
            time_text(figures["rtt_us_p50"]),
            time_text(figures["rtt_us_p99"]),
            bytes_text(figures["throughput_bytes_per_s"]) + "/s",
            limit,
        ]

    def _directions(self) -> list[tuple[int, Counts, Counts]]:
        """(stream, the end that sent, the end that received) for both directions of streams known from both ends."""
        pairs = []
        for (stream, end), counts in self._counts.items():
            if (other := self._counts.get((stream, "echo" if end == "sender" else "sender"))) is not None:
                pairs.append((stream, counts, other))
        return pairs
