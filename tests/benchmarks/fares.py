"""What classification and the offer cost for one message: parse, market, category, terms. No store, no network.

make bench-fares
"""

import cProfile
import json
import pstats
import random
import time

from factory import make_number
from farebox.assets import asset
from farebox.core.fare import price
from farebox.core.message import parse_message
from farebox.core.recipient import Recipients, load_plans
from farebox.tariffs import Tariffs

MESSAGES = 20_000
ROUNDS = 5
NOW_MS = 1_795_000_000_000  # 2026-11-18
PREFIXES = ("1650555", "4915112", "5511987", "919812", "447700", "33612", "7701", "1809555", "628123", "234803")


def bodies(dice: random.Random) -> list[bytes]:
    """Make sends as applications do: two templates to one reply, to the whole world, with and without a plus."""
    found = []
    for n in range(MESSAGES):
        to = f"{dice.choice(('', '+'))}{dice.choice(PREFIXES)}{dice.randrange(10**5):05d}"
        message: dict[str, object] = {"messaging_product": "whatsapp", "recipient_type": "individual", "to": to}
        if n % 3:
            parameters = [{"type": "text", "text": f"Order {n}"}]
            template = {"name": "order_update", "language": {"code": "en_US"}}
            message |= {"type": "template", "template": {**template, "components": [{"parameters": parameters}]}}
        else:
            message |= {"type": "text", "text": {"body": "Thank you, we are on our way."}}
        found.append(json.dumps(message).encode())
    return found


def main() -> None:
    """Print the cost of one message, the best and the median round, and where it goes."""
    load_plans()
    tariffs = Tariffs(asset("config/tariffs"))
    number = make_number(zone="America/Sao_Paulo", recipients=Recipients("US"))
    sends = bodies(random.Random(1))

    def classify() -> None:
        for body in sends:
            message = parse_message(body, number.recipients)
            price(message, template_category="utility", tariff=tariffs.at(number, NOW_MS))

    classify()
    rounds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        classify()
        rounds.append((time.perf_counter() - started) / MESSAGES * 1e6)
    print(f"one message: best {min(rounds):.1f} us, median {sorted(rounds)[ROUNDS // 2]:.1f} us ({MESSAGES} messages)")  # noqa: T201
    profile = cProfile.Profile()
    profile.runcall(classify)
    pstats.Stats(profile).sort_stats("tottime").print_stats(12)


if __name__ == "__main__":
    main()
