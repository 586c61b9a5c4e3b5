"""What an application is told when the balance or a spend limit does not allow its message."""

from farebox import metrics
from farebox.core.money import format_micros
from farebox.core.reply import CODE_PAYMENT, OUT_OF_FUNDS, Dialect, Reply, error_reply
from farebox.decisions import decided
from farebox.directory import Number
from farebox.funds import Refused
from farebox.gate import Gate


def refusal(gate: Gate, dialect: Dialect, number: Number, category: str, refused: Refused) -> Reply:
    """Answer a send that was refused: the same shape for both reasons, each with its own sentence."""
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
