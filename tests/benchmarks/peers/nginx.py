"""The peer in C: nginx, Lua and Valkey, as a skilled engineer would build it in an afternoon.

Two atomic scripts a message, one that reserves and one that records. No ledger, no keys, no classification; what the
append-only file had not written yet is lost with the machine. Debian: apt-get install libnginx-mod-http-lua
lua-nginx-redis lua-cjson.
"""

import asyncio
import os
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from redis.asyncio import Redis

from benchmarks.processes import POLL_S, START_S, Running, start

MODULES = Path("/usr/lib/nginx/modules")
NEEDED = (
    MODULES / "ndk_http_module.so",
    MODULES / "ngx_http_lua_module.so",
    Path("/usr/share/lua/5.1/nginx/redis.lua"),
)
MISSING = "nginx with Lua is not here: apt-get install libnginx-mod-http-lua lua-nginx-redis lua-cjson"
HANDLER = Path(__file__).with_name("nginx.lua")
FUNDS_MICROS = 10**15

RESERVE = """
if tonumber(redis.call('GET', KEYS[1])) <= 0 then return 0 end
redis.call('DECRBY', KEYS[1], ARGV[2])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
redis.call('XADD', KEYS[3], '*', 'hold', ARGV[1], 'fare', ARGV[2], 'to', ARGV[3])
return 1
"""
RECORD = """
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
redis.call('XADD', KEYS[3], '*', 'hold', ARGV[1], 'wamid', ARGV[2])
return 1
"""
CONFIGURATION = """
{user}
load_module {modules}/ndk_http_module.so;
load_module {modules}/ngx_http_lua_module.so;
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx-errors.log;
events {{ worker_connections 2048; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_buffer_size 128k;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream whatsapp {{ server {upstream}; keepalive 512; keepalive_requests 1000000000; }}
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        set $store "unix:{store}";
        set $reserve {reserve};
        set $record {record};
        location / {{ content_by_lua_file {handler}; }}
        location /forward/ {{
            internal;
            rewrite ^/forward(/.*)$ $1 break;
            proxy_pass http://whatsapp;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
    }}
}}
"""


def is_installed() -> bool:
    """Tell whether this machine has what the peer needs."""
    return shutil.which("nginx") is not None and all(file.is_file() for file in NEEDED)


@asynccontextmanager
async def start_nginx(folder: Path, *, upstream_url: str, redis_url: str) -> AsyncIterator[Running]:
    """Start the peer on a Valkey that the gateway uses too, while the gateway is idle."""
    own = folder / "nginx"
    own.mkdir()
    async with Redis.from_url(redis_url, decode_responses=True) as client:
        await client.set("{peer}available", FUNDS_MICROS)
        reserve, record = [await client.script_load(text) for text in (RESERVE, RECORD)]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    configuration = own / "nginx.conf"
    configuration.write_text(
        CONFIGURATION.format(
            user="user root;" if os.geteuid() == 0 else "",  # to reach the store's socket
            modules=MODULES,
            folder=own,
            upstream=upstream_url.removeprefix("http://"),
            port=port,
            store=redis_url.removeprefix("unix://").partition("?")[0],
            reserve=reserve,
            record=record,
            handler=HANDLER,
        )
    )
    command = [
        "/bin/sh",
        "-c",
        f'echo serves http://127.0.0.1:{port}; exec nginx -p "$1" -c "$2"',
        "sh",
        own,
        configuration,
    ]
    async with start("nginx", command, folder, ready=r"serves (\S+)") as running:
        async with asyncio.timeout(START_S):
            while not await _listens(port):  # noqa: ASYNC110  it says nothing once it does
                await asyncio.sleep(POLL_S)
        yield running


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
