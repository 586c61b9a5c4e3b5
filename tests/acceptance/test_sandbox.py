"""The sandbox as a stranger meets it: start, paste what it prints, stop, start again."""

import asyncio
import json
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from acceptance.process import curl, farebox, processes_of, run, sandbox
from farebox.core.reply import OUT_OF_FUNDS


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="farebox sandbox ") as name:  # with a space, as people's folders have
        Path(name).chmod(0o711)
        yield Path(name) / "data"


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


async def test_what_it_prints_can_be_pasted(folder: Path, session: aiohttp.ClientSession) -> None:
    async with sandbox(folder) as box:
        send, balance, topup, write_in = box.curls()
        answers = [await curl(session, send) for _ in range(9)]
        assert [status for status, _ in answers] == [200] * 8 + [402]
        assert answers[-1][1]["error"]["message"] == OUT_OF_FUNDS
        status, _ = await curl(session, write_in)
        assert status == 200
        await box.read_until("inbound   text from a user ending in 5678")
        await box.read_until("status    delivered")
        status, number = await curl(session, balance)
        assert (status, number["balance"]["available"]) == (200, "-0.092")
        assert (await curl(session, topup))[0] == 201
        assert (await curl(session, send))[0] == 200
        code, output = await run(sys.executable, "-m", "farebox", "reconcile", "--data-dir", str(folder))
        assert (code, output.splitlines()[-1]) == (0, "1 numbers compared, 0 differ")
        assert await box.end(signal.SIGINT) == 0
    assert processes_of(folder) == []


async def test_state_survives_a_restart_and_fresh_starts_over(folder: Path, session: aiohttp.ClientSession) -> None:
    async with sandbox(folder) as box:
        send, balance, *_ = box.curls()
        assert (await curl(session, send))[0] == 200
        assert await box.end(signal.SIGTERM) == 0
    async with sandbox(folder) as box:
        again, balance, *_ = box.curls()
        key = next(word for word in send if word.startswith("Authorization"))
        assert key in again, "the key of the first run still works"
        assert (await curl(session, balance))[1]["balance"]["available"] == "0.8635"
        assert await box.end(signal.SIGINT) == 0
    async with sandbox(folder, "--fresh") as box:
        send, balance, *_ = box.curls()
        assert key not in send
        assert (await curl(session, balance))[1]["balance"]["available"] == "1.00"


async def test_a_killed_sandbox_leaves_no_store_behind_and_starts_again(folder: Path) -> None:
    async with sandbox(folder) as box:
        assert processes_of(folder) != []
        await box.end(signal.SIGKILL)
    # The next start waits for the stores of the killed one; when it is up, only its own are left.
    async with sandbox(folder) as box:
        await box.end(signal.SIGTERM)
    assert processes_of(folder) == []


async def test_a_second_sandbox_on_the_same_data_says_so(folder: Path) -> None:
    async with sandbox(folder), farebox("sandbox", "--port", "0", "--data-dir", str(folder)) as second:
        assert await second.end(0) == 1
        assert second.process.stdout is not None
        output = (await second.process.stdout.read()).decode()
        assert str(folder) in output
        assert "Traceback" not in output


async def test_a_port_that_is_taken_is_named(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        async with farebox("sandbox", "--port", str(port), "--data-dir", str(folder)) as box:
            assert await box.end(0) == 1
            assert box.process.stdout is not None
            output = (await box.process.stdout.read()).decode()
            assert f"port {port} (gateway) can not be used" in output
            assert output.count("\n") == 1


async def test_a_thousand_sends_over_two_workers_with_funds_for_137(
    folder: Path, session: aiohttp.ClientSession
) -> None:
    async with sandbox(folder, "--workers", "2", "--quiet") as box:
        send, balance, topup, _ = box.curls()
        topup[-1] = '{"amount":"17.7005","method":"manual"}'  # with the 1.00 that is there: 137 times 0.1365
        assert (await curl(session, topup))[0] == 201
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as crowd:
            answers = await asyncio.gather(*(curl(crowd, list(send)) for _ in range(1000)))
        refused = [content for status, content in answers if status == 402]
        assert sum(status == 200 for status, _ in answers) == 137
        assert len(refused) == 863
        assert {content["error"]["message"] for content in refused} == {OUT_OF_FUNDS}
        async with session.get(f"{box.url('simulated WhatsApp')}/simulator/sent") as sent:
            assert len((await sent.json())["data"]) == 137
        assert (await curl(session, balance))[1]["balance"]["available"] == "0.00"
        async with session.get(f"{box.url('admin')}/metrics") as metrics:
            lines = (await metrics.text()).splitlines()
        sends = {line.split("{")[1].split("}")[0]: float(line.split()[-1]) for line in lines if "sends_total{" in line}
        assert sum(count for labels, count in sends.items() if 'outcome="accepted"' in labels) == 137
        assert sum(count for labels, count in sends.items() if 'outcome="refused"' in labels) == 863
        # Both workers took part, and neither let one through that the other had spent.
        code, output = await run(sys.executable, "-m", "farebox", "reconcile", "--data-dir", str(folder))
        assert code == 0, output


def test_help_teaches() -> None:
    code, output = asyncio.run(run(sys.executable, "-m", "farebox", "--help"))
    assert code == 0
    for command in ("sandbox", "serve", "migrate", "check", "reconcile"):
        assert command in output
    assert asyncio.run(run(sys.executable, "-m", "farebox", "sandbocks"))[0] == 2


def test_check_prints_the_tariffs() -> None:
    code, output = asyncio.run(run(sys.executable, "-m", "farebox", "check"))
    assert (code, output.splitlines()[-1]) == (0, "settings and tariffs are fine")
    assert output.count("tariff pmp-2026-10: ") == 1


async def test_quote_and_explain_beside_a_running_sandbox(folder: Path, session: aiohttp.ClientSession) -> None:
    async with sandbox(folder) as box:
        send, *_ = box.curls()
        status, answer = await curl(session, send)
        assert status == 200
        wamid = answer["messages"][0]["id"]
        farebox_ = (sys.executable, "-m", "farebox")
        where = ("--data-dir", str(folder))
        code, output = await run(*farebox_, "explain", wamid, *where)
        assert code == 0
        assert "counts as paid: a marketing template costs the market's marketing rate" in output
        number = ("106540352242922", "--to", "4915112345678")
        code, output = await run(*farebox_, "quote", *number, "--template", "summer_sale", "--output", "json", *where)
        assert code == 0
        assert (json.loads(output)["fare"], json.loads(output)["would_be"]) == ("0.1365", "accepted")
        code, output = await run(*farebox_, "quote", *number, "--text", "--pool-used", "1000", *where)
        assert (code, "0.055 USD, paid" in output) == (0, True)
        for wrong in (("quote", "1", "--to", "1", "--text"), ("quote", *number), ("explain", "nothing")):
            code, output = await run(*farebox_, *wrong, *where)
            assert (code, output.count("Traceback")) == (2, 0), output


async def test_the_test_clock_moves_the_simulated_whatsapp_too(folder: Path, session: aiohttp.ClientSession) -> None:
    async with sandbox(folder, "--quiet") as box:
        _, balance, *_ = box.curls()
        token = next(word for word in balance if word.startswith("Authorization")).partition(": ")[2]
        headers = {"Authorization": token}
        body = {"advance_s": 40 * 86_400}
        async with session.put(f"{box.url('admin')}/v1/clock", json=body, headers=headers) as answer:
            moved = await answer.json()
        async with session.get(f"{box.url('simulated WhatsApp')}/simulator/clock") as answer:
            simulated = await answer.json()
        assert answer.status == 200
        assert moved["offset_s"] == simulated["offset_s"] == 40 * 86_400
