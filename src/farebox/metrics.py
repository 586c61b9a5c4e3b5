"""The metrics: every name, its labels and what it counts. No phone numbers, no tokens, few values a label.

Where they are kept stands in `cells.py`. What the stores know anyway is not counted but read when somebody asks
(`AT_SCRAPE`): such figures never go stale.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily

from farebox import cells
from farebox.core.money import MICROS_PER_UNIT

cells.keep_in_cells()
REGISTRY = CollectorRegistry()
MAX_ACCOUNTS = 200  # values of the label `account`; the accounts beyond share the value "other"
MAX_NUMBERS = 1_000  # numbers with series of their own, where these are switched on
OTHER = "other"
_LAG_BUCKETS = (0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800, 7200, 86_400)  # Meta tries again for days
_BATCH_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
_LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

SENDS = Counter(
    "farebox_sends_total",
    "Sends by class (free, paid), category and outcome (accepted, rejected, unknown, refused, limited, paced, "
    "unavailable, invalid).",
    ("class", "category", "outcome"),
    registry=REGISTRY,
)
REFUSALS = Counter(
    "farebox_refusals_total", "Sends refused for lack of funds, by account.", ("account",), registry=REGISTRY
)
SPEND = Counter(
    "farebox_spend_total",
    "Fares charged, in units of the currency.",
    ("currency", "category", "market"),
    registry=REGISTRY,
)
FARES = Counter(
    "farebox_fares_total",
    "Fares set aside for sends, in units of the currency.",
    ("currency", "category", "market"),
    registry=REGISTRY,
)
POOL_UNITS = Counter("farebox_pool_units_total", "Free units taken from pools by sends.", ("pool",), registry=REGISTRY)
SEND_SECONDS = Histogram(
    "farebox_send_seconds",
    "Time from a send's arrival to its answer, upstream included.",
    buckets=_LATENCY_BUCKETS,
    registry=REGISTRY,
)
UPSTREAM_SECONDS = Histogram(
    "farebox_upstream_seconds",
    "Time the upstream took to answer, by route (messages, marketing_messages, calls, other).",
    ("route",),
    buckets=_LATENCY_BUCKETS,
    registry=REGISTRY,
)
WEBHOOK_LAG = Histogram(
    "farebox_webhook_lag_seconds",
    "Time from what a status webhook reports to its arrival in the books.",
    buckets=_LAG_BUCKETS,
    registry=REGISTRY,
)
QUEUE_DEPTH = Gauge(
    "farebox_queue_depth",
    "What waits for a store, by queue (take, record, accept), in all workers.",
    ("queue",),
    registry=REGISTRY,
    multiprocess_mode="livesum",
)
BATCH_SIZE = Histogram(
    "farebox_batch_size",
    "Sends that share one round trip to a store, by queue (take, record, accept).",
    ("queue",),
    buckets=_BATCH_BUCKETS,
    registry=REGISTRY,
)
LOOP_LATE = Histogram(
    "farebox_loop_late_seconds", "How late the event loop is at a timer.", buckets=_LATENCY_BUCKETS, registry=REGISTRY
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
    "farebox_bookkeeping_failures_total",
    "Webhooks whose bookkeeping failed as a whole; they were relayed.",
    registry=REGISTRY,
)
QUARANTINED = Counter(
    "farebox_quarantined_total",
    "Pieces of webhooks that the books could not take, by kind and outcome (kept, or dropped: the quarantine is full).",
    ("kind", "outcome"),
    registry=REGISTRY,
)
SPOOLED = Counter(
    "farebox_spooled_total",
    "Pieces of news written to the local disk because a store was away or slow.",
    registry=REGISTRY,
)
SPOOL_FULL = Counter(
    "farebox_spool_full_total",
    "Webhooks that neither the stores nor the spool could take; WhatsApp was asked to deliver them again.",
    registry=REGISTRY,
)
SPOOL_TORN = Counter(
    "farebox_spool_torn_total", "Lines of the spool that a crash had torn; passed over.", registry=REGISTRY
)
SPOOL_BYTES = Gauge(
    "farebox_spool_bytes",
    "What waits in the spools of all workers, in bytes.",
    registry=REGISTRY,
    multiprocess_mode="livesum",
)
OUTAGE_SENDS = Counter(
    "farebox_outage_sends_total",
    "Paid sends that passed while a store was away, to be accounted afterwards.",
    registry=REGISTRY,
)
UNKNOWN_WAMIDS = Counter(
    "farebox_unknown_wamids_total",
    "Deliveries of messages that no send here knows, by what became of them (charged, free, quarantined).",
    ("outcome",),
    registry=REGISTRY,
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
UNKNOWN_MARKETS = Counter(
    "farebox_unknown_markets_total",
    'Sends priced as "Other" because no market names the recipient\'s country (none: it is not known either).',
    ("country",),
    registry=REGISTRY,
)
UNKNOWN_PRICING = Counter(
    "farebox_unknown_pricing_total",
    "Deliveries with a pricing category or type that farebox does not know, or has no rate for.",
    registry=REGISTRY,
)
SHADOW_REFUSALS = Counter(
    "farebox_shadow_refusals_total",
    "Sends of numbers in shadow mode that enforcement would have refused, by account.",
    ("account",),
    registry=REGISTRY,
)
TARIFF_ERRORS = Gauge(
    "farebox_tariff_errors",
    "Mistakes in the tariff files as they are now; above 0 the tariffs loaded before stay in force.",
    registry=REGISTRY,
    multiprocess_mode="mostrecent",
)
UNPRICED = Counter(
    "farebox_unpriced_sends_total",
    "Paid sends that no card has a rate for, calls among them; raise an alert.",
    ("category",),
    registry=REGISTRY,
)
REBUILDS = Counter("farebox_wallet_rebuilds_total", "Wallets rebuilt from the ledger.", registry=REGISTRY)
LEDGER_DRIFT = Gauge(
    "farebox_ledger_drift",
    "Numbers whose books differ by the last daily comparison (charges, topups, movements, balance, usage, wallet).",
    ("kind",),
    registry=REGISTRY,
    multiprocess_mode="mostrecent",
)
OLDEST_HOLD = Gauge(
    "farebox_oldest_hold_seconds",
    "Age of the open hold that will expire first; holds live up to 30 days.",
    registry=REGISTRY,
    multiprocess_mode="mostrecent",
)
OVERDUE = Gauge(
    "farebox_overdue_hold_seconds",
    "How long the oldest open hold is past its time to live; above a few passes of the sweep it is stuck.",
    registry=REGISTRY,
    multiprocess_mode="mostrecent",
)
SWEEP_FAILURES = Counter(
    "farebox_sweep_failures_total",
    "What the sweep could not do and passed over, by part (expire, unmatched, compare, forget).",
    ("part",),
    registry=REGISTRY,
)
UNACCOUNTED = Counter(
    "farebox_unaccounted_sends_total", "Free sends passed while a store was away, without a hold.", registry=REGISTRY
)

RENEWALS = Counter(
    "farebox_renewals_total",
    "Automatic payments by outcome (begun, succeeded, declined), and looks that could not begin one (cap, stopped, "
    "impossible).",
    ("outcome",),
    registry=REGISTRY,
)
ALERTS = Counter("farebox_alerts_total", "Alerts raised, by kind.", ("kind",), registry=REGISTRY)
ALERTS_TOLD = Counter(
    "farebox_alerts_told_total",
    "Tries to tell an alert, by channel (webhook, apprise) and outcome (sent, failed, dead).",
    ("channel", "outcome"),
    registry=REGISTRY,
)
REPEATED = Counter(
    "farebox_idempotency_total",
    "Requests whose Idempotency-Key was in use, by what they were told (replayed, recovered, in_progress, conflict).",
    ("outcome",),
    registry=REGISTRY,
)


@dataclass(frozen=True, slots=True)
class Read:
    """A figure that is read when somebody asks."""

    name: str
    documentation: str
    labels: tuple[str, ...]

    def family(self, samples: Iterable[tuple[Sequence[str], int | float]]) -> GaugeMetricFamily:
        """Return the figure with these samples: values of the labels, value."""
        family = GaugeMetricFamily(self.name, self.documentation, labels=self.labels)
        for values, value in samples:
            family.add_metric(values, value)
        return family


BALANCE = Read(
    "farebox_balance", "Balance (available and held) by account, in units of the currency.", ("account", "currency")
)
STORE_UP = Read("farebox_store_up", "Whether a store answers (wallet, ledger): 1, or 0.", ("store",))
_OF_NUMBER = ("number", "account", "currency")
AVAILABLE = Read("farebox_available", "Available by number, with FAREBOX_METRICS_PER_NUMBER.", _OF_NUMBER)
HELD = Read("farebox_held", "Held by number, with FAREBOX_METRICS_PER_NUMBER.", _OF_NUMBER)
PENDING = Read("farebox_pending", "Top-ups not confirmed yet by number, with FAREBOX_METRICS_PER_NUMBER.", _OF_NUMBER)
AT_SCRAPE = (BALANCE, STORE_UP, AVAILABLE, HELD, PENDING)

_spend, _fares, _pool_units = cells.children(SPEND), cells.children(FARES), cells.children(POOL_UNITS)
_accounts: set[str] = set()


def account_label(account_id: str) -> str:
    """Return what stands for an account in a label: its id for the first ones of this process, "other" after them."""
    if account_id not in _accounts:
        if len(_accounts) >= MAX_ACCOUNTS:
            return OTHER
        _accounts.add(account_id)
    return account_id


def count_spend(currency: str, category: str, market: str, billed_micros: int) -> None:
    """Count a charge in the metrics, which are floats; the money itself never is."""
    _spend(currency, category, market).inc(billed_micros / MICROS_PER_UNIT)


def count_fare(currency: str, category: str, market: str, fare_micros: int, pool: str | None) -> None:
    """Count what was set aside for a message: its fare, or a free unit of a pool ("service:2026-11")."""
    if fare_micros:
        _fares(currency, category, market).inc(fare_micros / MICROS_PER_UNIT)
    if pool is not None:
        _pool_units(pool.partition(":")[0]).inc()


class Queue:
    """Counts the batches of a queue."""

    def __init__(self, name: str) -> None:
        self._depth = QUEUE_DEPTH.labels(name)
        self._sizes = BATCH_SIZE.labels(name)

    def __call__(self, size: int, waiting: int) -> None:
        """Note a batch that leaves, and how many wait for the next."""
        self._depth.set(waiting)
        self._sizes.observe(size)


def exposition(families: Sequence[GaugeMetricFamily] = ()) -> bytes:
    """Return the figures of all workers in Prometheus' text format, with `families` that were just read."""
    return cells.exposition(REGISTRY, families)
