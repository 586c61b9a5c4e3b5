"""A real PostgreSQL on loopback with a password, and with TLS where its programs have it."""

import os
import shutil
import subprocess
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from farebox.embedded.binaries import postgres_program
from farebox.embedded.folders import make_store_folder
from farebox.embedded.privileges import StoreUser, choose_user, setpriv_options
from stores.servers import HOST, free_ports, start
from stores.tls import Certificates

PASSWORD = "of the/ledger"  # with what a URL must quote
FAST = ("--fsync=off", "--synchronous_commit=off", "--full_page_writes=off")


@dataclass(frozen=True)
class Programs:
    """Where a PostgreSQL's programs are."""

    folder: Path

    @property
    def tls(self) -> bool:
        """Whether they can speak TLS."""
        text = subprocess.run([self.folder / "pg_config", "--configure"], capture_output=True, text=True, check=False)
        return "openssl" in text.stdout


def wheels_programs() -> Programs:
    """The ones that farebox brings."""
    return Programs(postgres_program("postgres").parent)


def systems_programs() -> Programs | None:
    """The newest that this machine has besides, if they can speak TLS and are new enough for farebox."""
    found = [Programs(folder) for folder in Path("/usr/lib/postgresql").glob("1[5-9]/bin")]
    return max((each for each in found if each.tls), key=lambda each: each.folder, default=None)


async def start_postgres(
    stack: AsyncExitStack, folder: Path, programs: Programs, certificates: Certificates | None
) -> int:
    """Start a database `farebox` of a role `farebox`, which needs its password; return the port."""
    data, (port,) = folder / "data", free_ports(1)
    user = _make(folder)
    privileges = setpriv_options(user, programs=[programs.folder / "postgres"], data_dir=folder)
    options = ["--username=farebox", f"--pwfile={folder / 'password'}", "--auth=scram-sha-256", "--no-sync"]
    initdb = await start(
        stack,
        "initdb",
        [programs.folder / "initdb", "-D", data, *options, "--encoding=UTF8", "--locale=C"],
        folder / "initdb.log",
        privileges,
    )
    await initdb.finish(60)
    settings = [f"--listen_addresses={HOST}", f"--port={port}", f"--unix_socket_directories={folder / 'sockets'}"]
    if certificates is not None:
        settings += ["--ssl=on", *_install(certificates, data, user.uid, user.gid)]
        (data / "pg_hba.conf").write_text("hostssl all all all scram-sha-256\n")
    server = await start(
        stack,
        "PostgreSQL",
        [programs.folder / "postgres", "-D", data, *FAST, *settings],
        folder / "log",
        privileges,
    )

    async def answers() -> bool:
        try:
            connection = await asyncpg.connect(
                host=HOST, port=port, user="farebox", password=PASSWORD, database="postgres"
            )
        except (OSError, asyncpg.CannotConnectNowError):
            return False
        await connection.execute("CREATE DATABASE farebox")
        await connection.close()
        return True

    await server.wait_until(answers)
    return port


def _make(folder: Path) -> StoreUser:
    """Make the folders and the file with the password; return the user whose they are."""
    folder.mkdir()
    folder.chmod(0o711)
    user = choose_user(folder, database=folder / "data")
    for each in (folder / "data", folder / "sockets"):
        make_store_folder(each, user)
    password = folder / "password"
    password.write_text(PASSWORD)
    os.chown(password, user.uid, user.gid)
    return user


def _install(certificates: Certificates, data: Path, uid: int, gid: int) -> list[str]:
    """Copy certificate and key to where the server may read them, and nobody else."""
    copies = {"ssl_cert_file": certificates.file, "ssl_key_file": certificates.key_file}
    for source in copies.values():
        copy = data / source.name
        shutil.copyfile(source, copy)
        copy.chmod(0o600)
        os.chown(copy, uid, gid)
    return [f"--{name}={source.name}" for name, source in copies.items()]
