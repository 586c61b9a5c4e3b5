"""Which store a URL names, and in which words a wrong one is refused."""

from pathlib import Path

import pytest

from farebox.redis_url import Kind, RedisUrl, RedisUrlError, parse_redis_url

TLS = {"ssl": True, "ssl_cert_reqs": "required", "ssl_check_hostname": True}

RIGHT = {
    "redis://localhost": RedisUrl(Kind.SINGLE, (("localhost", 6379),)),
    "redis://farebox:p%40ss%2F@10.0.0.1:7000/3": RedisUrl(
        Kind.SINGLE, (("10.0.0.1", 7000),), options={"username": "farebox", "password": "p@ss/", "db": 3}
    ),
    "redis://:a:b@[::1]:7000": RedisUrl(Kind.SINGLE, (("::1", 7000),), options={"password": "a:b"}),
    "rediss://host/": RedisUrl(Kind.SINGLE, (("host", 6379),), options=TLS),
    "rediss://host?ssl_check_hostname=false": RedisUrl(
        Kind.SINGLE, (("host", 6379),), options={**TLS, "ssl_check_hostname": False}
    ),
    "unix:///run/a%20b/valkey.sock?db=2": RedisUrl(Kind.UNIX, socket="/run/a b/valkey.sock", options={"db": 2}),
    "redis+cluster://:x@a:1,b,[::1]:3/": RedisUrl(
        Kind.CLUSTER, (("a", 1), ("b", 6379), ("::1", 3)), options={"password": "x"}
    ),
    "redis+sentinel://u:x@a,b:2/my%20master/1?sentinel_password=y%26": RedisUrl(
        Kind.SENTINEL,
        (("a", 26379), ("b", 2)),
        master_name="my master",
        options={"username": "u", "password": "x", "db": 1},
        sentinel_options={"password": "y&"},
    ),
    "rediss+sentinel://a/m": RedisUrl(
        Kind.SENTINEL, (("a", 26379),), master_name="m", options=TLS, sentinel_options=TLS
    ),
}

WRONG = {
    "localhost:6379": "starts with one of redis://",
    "http://:secret@host": "starts with one of redis://",
    "redis://": "names a host",
    "redis://:secret@": "names a host",
    "redis://host:port": "is host or host:port",
    "redis://host:70000": "is host or host:port",
    "redis://host:1:2": "is host or host:port",
    "redis+cluster://a:1,,b:2": "is host or host:port",
    "redis://a,b": r"several hosts are a cluster \(redis\+cluster://\) or sentinels",
    "redis://host/first": "is a number",
    "redis+cluster://host/1": "a cluster has database 0 only",
    "redis+sentinel://:secret@host": "names the master",
    "unix://": "names the socket's path",
    "redis://host?ssl_ca_certs=/etc/hostname": "needs TLS: begin the URL with rediss",
    "rediss://host?ssl_ca_certs=/nowhere.pem": "ssl_ca_certs names /nowhere.pem, which is not a file",
    "rediss://host?ssl_check_hostname=no": "is true or false",
    "rediss://host?ssl_cert_reqs=none": "has no parameter ssl_cert_reqs: it may have db, ssl_ca_certs",
    "redis://host?sentinel_password=secret": "is for sentinels",
}


@pytest.mark.parametrize("url", RIGHT)
def test_what_a_url_says(url: str) -> None:
    assert parse_redis_url(url) == RIGHT[url]


def test_files_of_tls_are_passed_on(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    url = parse_redis_url(f"rediss+cluster://host?ssl_ca_certs={tmp_path}/ca.pem")
    assert url.options == {**TLS, "ssl_ca_certs": f"{tmp_path}/ca.pem"}


@pytest.mark.parametrize("url", WRONG)
def test_a_wrong_url_is_refused_in_a_sentence_without_the_password(url: str) -> None:
    with pytest.raises(RedisUrlError, match=WRONG[url]) as refusal:
        parse_redis_url(url)
    assert "secret" not in str(refusal.value)


def test_a_password_is_not_shown() -> None:
    assert "x" not in repr(parse_redis_url("redis://:x@a"))
