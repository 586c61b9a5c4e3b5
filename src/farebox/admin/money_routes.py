"""The rows of money: cards, top-ups, what providers tell, and what moves otherwise."""

from collections.abc import Awaitable, Callable
from typing import Any

from pydantic import BaseModel

from farebox.admin import cards, closing, moves, numbers, payments, receipts, topup_steps, topups
from farebox.admin.models import Nothing
from farebox.admin.routing import ACCOUNT, NUMBER, Answer, Route, asked_write, get, write

CARDS = f"{ACCOUNT}/cards"
TOPUP = f"{NUMBER}/topups/{{topup_id}}"

MOVES: tuple[tuple[str, str, Callable[[Any], Awaitable[Answer]], type[BaseModel]], ...] = (
    ("refunds", "Give unused funds back", moves.refund, moves.RefundPost),
    ("transfers", "Move funds to another number of the account", moves.transfer, moves.TransferPost),
    ("adjustments", "Correct a balance by hand, with a reason", moves.adjust, moves.AdjustmentPost),
)

MONEY_ROUTES: tuple[Route, ...] = (
    get(
        CARDS, "List an account's saved cards", cards.index, query=Nothing, answers={200: cards.Cards}, problems=(404,)
    ),
    write(
        "PUT",
        f"{CARDS}/{{method}}",
        "Save the card that top-ups and auto-renewal charge",
        cards.put,
        body=cards.CardPut,
        answers={200: cards.Card},
        problems=(404,),
    ),
    write(
        "POST",
        f"{CARDS}/{{method}}/link",
        "Make a page of the provider's where the payer enters the card",
        cards.link,
        body=Nothing,
        answers={201: cards.CardLink},
        problems=(404,),
    ),
    write(
        "DELETE",
        f"{CARDS}/{{method}}",
        "Forget a card",
        cards.drop,
        body=Nothing,
        answers={204: None},
        problems=(404,),
    ),
    get(
        f"{NUMBER}/topups",
        "List the top-ups of a number",
        topups.index,
        query=topups.TopupsQuery,
        answers={200: topups.Topups},
        problems=(404,),
    ),
    asked_write(
        "POST",
        f"{NUMBER}/topups",
        "Top up a number, or preview it; a repeated reference is the same top-up",
        topups.post,
        body=topups.TopupPost,
        query=topups.TopupPostQuery,
        answers={200: topups.CreditedTopup, 201: topups.CreditedTopup},
        problems=(404, 409),
    ),
    get(TOPUP, "Show a top-up", topup_steps.show, query=Nothing, answers={200: topups.CreditedTopup}, problems=(404,)),
    *(
        write(
            "POST",
            f"{TOPUP}/{deed}",
            summary,
            handler,
            body=Nothing,
            answers={200: topups.CreditedTopup},
            problems=(404, 409),
        )
        for deed, summary, handler in (
            ("confirm", "Credit a top-up whose money has arrived", topup_steps.confirm),
            ("cancel", "Give up a top-up that is not paid yet", topup_steps.cancel),
            ("look", "Ask the provider how a top-up stands", topup_steps.look),
        )
    ),
    write(
        "POST",
        f"{NUMBER}/close",
        "Close a number, and give its funds back or keep them",
        closing.close,
        body=closing.ClosePost,
        answers={200: closing.Closed},
        problems=(404, 409),
    ),
    write(
        "POST",
        f"{NUMBER}/open",
        "Open a closed number again",
        closing.reopen,
        body=Nothing,
        answers={200: numbers.Number},
        problems=(404,),
    ),
    get(
        f"{TOPUP}/receipt",
        "Show a top-up's receipt",
        receipts.show,
        query=Nothing,
        answers={200: receipts.Receipt},
        problems=(404, 409),
    ),
    get(
        f"{TOPUP}/receipt.html",
        "Show a top-up's receipt to print",
        receipts.page,
        query=Nothing,
        answers={200: None},
        problems=(404, 409),
        media_type=receipts.HTML,
    ),
    write(
        "POST",
        "/v1/payments/{method}",
        "Hear a payment provider's signed event",
        payments.hear,
        body=Nothing,
        answers={200: payments.Heard},
        problems=(400, 404, 413, 422, 500, 503),
    ),
    *(
        write(
            "POST",
            f"{NUMBER}/{kind}",
            summary,
            handler,
            body=body,
            answers={200: moves.Movement, 201: moves.Movement},
            problems=(404, 409),
        )
        for kind, summary, handler, body in MOVES
    ),
)
