"""The invariants that only a watcher from outside can judge: what was answered, relayed, reported, rebuilt and logged.

The list of all, and what calls these: core/invariants.py.
"""

from dataclasses import replace

from farebox.core.books import Found, RunFacts, WalletFacts

RECOVERY_MS = 60_000  # after the last fault everything must have resolved


def webhooks_are_a_set(run: RunFacts) -> Found:
    """7: what is settled depends on the set of webhooks, not on their order or number."""
    for first, second in run.outcomes:
        for hold_id in sorted(first.keys() | second.keys()):
            if first.get(hold_id) != second.get(hold_id):
                yield hold_id, f"the same webhooks led to {first.get(hold_id)} and to {second.get(hold_id)}"


def refusal_changes_nothing(run: RunFacts) -> Found:
    """9: a refusal changes nothing."""
    for before, after in run.refusals:
        if before != after:
            yield "", f"a refusal turned {before} into {after}"


def inbound_unchanged(run: RunFacts) -> Found:
    """11: inbound is relayed byte for byte."""
    for sent, got in run.relayed:
        if sent != got:
            yield "", f"a webhook of {len(sent)} bytes reached the application as {len(got)} other bytes"


def sentence_exact(run: RunFacts) -> Found:
    """12: the sentence stands in every out-of-funds answer, character for character."""
    for texts in run.refusal_texts:
        for text in texts or ("",):
            if text != run.sentence:
                yield "", f'an out-of-funds answer says "{text}"'


def rebuilt_as_before(run: RunFacts) -> Found:
    """13: a rebuilt wallet is the wallet before the loss, in a later epoch."""
    for number_id, before, after in run.rebuilt:
        if after.epoch <= before.epoch:
            yield number_id, f"the rebuilt wallet has epoch {after.epoch}, the lost one {before.epoch}"
        if _without_zeros(before) != _without_zeros(replace(after, epoch=before.epoch)):
            yield number_id, f"the wallet was {before}, it was rebuilt as {after}"


def alerts_once(run: RunFacts) -> Found:
    """15: one alert for each crossing of a level."""
    for alert in run.alerts:
        if alert.alerts != alert.crossings:
            yield alert.number_id, f"{alert.crossings} crossings, {alert.alerts} alerts"


def reports_are_the_ledger(run: RunFacts) -> Found:
    """16: reports say what the ledger says."""
    for report in run.reports:
        if report.reported != report.ledger:
            yield report.name, f"the report says {report.reported}, the ledger {report.ledger}"


def all_resolved(run: RunFacts) -> Found:
    """17: after the faults everything resolves in time."""
    if run.recovery_ms is not None and run.recovery_ms > RECOVERY_MS:
        yield "", f"it took {run.recovery_ms} ms after the last fault until everything was resolved"
    for open_ in run.unresolved:
        yield open_, "it was not resolved"


def no_secrets(run: RunFacts) -> Found:
    """18: no token, text or full phone number in logs and metrics. What is found is not said again here."""
    for line_number, line in enumerate(run.log_lines, 1):
        if any(secret and secret in line for secret in run.secrets):
            yield f"line {line_number}", "it contains a token, a message's text or a full phone number"


def _without_zeros(wallet: WalletFacts) -> WalletFacts:
    """A pool of which nothing is used may be written or not; it is the same wallet."""
    return replace(
        wallet,
        pools=wallet.pools and {name: used for name, used in wallet.pools.items() if used},
        users={user: dict(fields) for user, fields in wallet.users.items() if fields},
    )
