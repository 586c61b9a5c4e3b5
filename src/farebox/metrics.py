"""The metrics: every name, its labels and what it counts. No phone numbers, no tokens, few values a label.

With several workers, prometheus-client keeps each process's figures in files of one folder and adds them up.
"""

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

REGISTRY = CollectorRegistry()
_LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

SENDS = Counter(
    "farebox_sends_total",
    "Sends by class (free, paid), category and outcome (accepted, rejected, unknown, refused, unavailable, invalid).",
    ("class", "category", "outcome"),
    registry=REGISTRY,
)
REFUSALS = Counter(
    "farebox_refusals_total", "Sends refused for lack of funds, by account.", ("account",), registry=REGISTRY
)
SPEND = Counter(
    "farebox_spend_total", "Fares charged, in units of the currency.", ("currency", "category"), registry=REGISTRY
)
BALANCE = Gauge(
    "farebox_balance",
    "Balance (available and held) by account, in units of the currency.",
    ("account", "currency"),
    registry=REGISTRY,
    multiprocess_mode="mostrecent",
)
SEND_SECONDS = Histogram(
    "farebox_send_seconds",
    "Time from a send's arrival to its answer, upstream included.",
    buckets=_LATENCY_BUCKETS,
    registry=REGISTRY,
)
UPSTREAM_SECONDS = Histogram(
    "farebox_upstream_seconds", "Time the upstream took to answer a send.", buckets=_LATENCY_BUCKETS, registry=REGISTRY
)
RELAYS = Counter(
    "farebox_relays_total",
    "Webhooks relayed to applications, by outcome (answered, failed, no_app).",
    ("outcome",),
    registry=REGISTRY,
)
STATUSES = Counter(
    "farebox_statuses_total",
    "Status webhooks by what they did (settled, released, noted, nothing, unmatched, postponed).",
    ("outcome",),
    registry=REGISTRY,
)
BOOKKEEPING_FAILURES = Counter(
    "farebox_bookkeeping_failures_total", "Webhooks whose bookkeeping failed; they were relayed.", registry=REGISTRY
)
BAD_SIGNATURES = Counter("farebox_bad_signatures_total", "Webhooks with a bad signature.", registry=REGISTRY)
DRIFT = Counter(
    "farebox_drift_total", "Deliveries that WhatsApp priced otherwise than we did.", ("category",), registry=REGISTRY
)
LATE_CHARGES = Counter(
    "farebox_late_charges_total", "Deliveries charged after their hold had ended otherwise.", registry=REGISTRY
)
UNKNOWN_TEMPLATES = Counter(
    "farebox_unknown_templates_total", "Sends of a template that the registry does not know.", registry=REGISTRY
)
DEARER_TEMPLATES = Counter(
    "farebox_template_dearer_total",
    "Changes of a template's category, announced or done, that make it dearer.",
    ("account",),
    registry=REGISTRY,
)
UNPRICED = Counter(
    "farebox_unpriced_sends_total",
    "Paid sends that no card has a rate for, calls among them; raise an alert.",
    ("category",),
    registry=REGISTRY,
)
REBUILDS = Counter("farebox_wallet_rebuilds_total", "Wallets rebuilt from the ledger.", registry=REGISTRY)
UNACCOUNTED = Counter(
    "farebox_unaccounted_sends_total", "Free sends passed while a store was away, without a hold.", registry=REGISTRY
)


def exposition() -> bytes:
    """Return the figures of all workers in Prometheus' text format."""
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)
    return generate_latest(REGISTRY)
