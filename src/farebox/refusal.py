"""What an application is told when the balance, a spend limit or the number's pace does not allow its message."""

import math

from farebox import metrics
from farebox.core.money import format_micros
from farebox.core.reply import CODE_PAYMENT, CODE_RATE, OUT_OF_FUNDS, Dialect, Reply, error_reply
from farebox.decisions import decided
from farebox.directory import Number
from farebox.funds import Refused
from farebox.gate import Gate


def refusal(gate: Gate, dialect: Dialect, number: Number, category: str, refused: Refused) -> Reply:
    """Answer a send that was refused: the same shape for funds and limits, each with its own sentence."""
    if refused.wait_ms:
        return _too_fast(dialect, number, category, refused)
    reached = refused.reached
    decided(
        "limited" if reached else "refused",
        message_class="paid",
        category=category,
        number_id=number.number_id,
        available_micros=refused.available_micros,
        why=f"limit {reached.limit.name}" if reached else None,
    )
    if reached is None:
        metrics.REFUSALS.labels(metrics.account_label(number.account_id)).inc()
    reply = error_reply(
        dialect,
        status=gate.settings.out_of_funds_status,
        code=CODE_PAYMENT,
        sentence=reached.sentence(number.currency) if reached else OUT_OF_FUNDS,
    )
    limited = (("X-Farebox-Limit", reached.limit.name),) if reached else ()
    return reply.with_headers(
        ("X-Farebox-Class", "paid"), ("X-Farebox-Available", format_micros(refused.available_micros)), *limited
    )


def _too_fast(dialect: Dialect, number: Number, category: str, refused: Refused) -> Reply:
    """Answer as WhatsApp does when a number's throughput is reached; it was spared the message."""
    decided("paced", message_class="none", category=category, number_id=number.number_id)
    sentence = (
        f"This number may send {number.throughput} messages a second, and more than a second's worth of them are "
        "waiting; wait a moment and try again. Nothing was charged."
    )
    reply = error_reply(dialect, status=429, code=CODE_RATE, sentence=sentence)
    return reply.with_headers(("Retry-After", str(math.ceil(refused.wait_ms / 1000))))
