"""pgbench as a reference tool: the withdrawals of our accounts, driven by PostgreSQL's own client in C."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mastery.components.component import Here, Missing, Site
from mastery.components.postgres_binaries import find_binaries
from mastery.errors import DomainError

Level = str | int | float | bool

_SCRIPT = """\
\\set account random(0, {last})
\\set pair :account / 2
begin isolation level {level};
select sum(balance) as total, sum(balance) filter (where id = :account) as own
  from (select id, balance from accounts where pair = :pair order by id{lock}) both_rows \\gset
update accounts set balance = :own - 1 where id = :account and :total >= 1;
commit;
"""


@dataclass(frozen=True, slots=True)
class PgbenchWithdrawals:
    """Drives the same withdrawal at the same level with as many clients; gives committed transactions a second.

    `prepare` makes the accounts in the trial's schema, exactly as our own trial does.
    """

    prepare: Any
    guard_level: str = "read committed"
    lock: str = ""

    @property
    def name(self) -> str:
        return "pgbench"

    def find(self) -> Here | Missing:
        path = _program()
        if path is None:
            return Missing("pgbench is not installed.", "It comes with the extra postgres, or with apt-get install postgresql.")
        answer = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
        return Here(how=path, version=answer.stdout.strip().rpartition(" ")[2])

    def serves(self, levels: Mapping[str, Level]) -> bool:
        """The one guard that the script keeps; its accounts and clients may be as many as the arm says."""
        return levels["guard"] == (f"{self.guard_level} +{self.lock}" if self.lock else self.guard_level)

    def measure(self, levels: Mapping[str, Level], addresses: Mapping[str, Any], *, seconds: float) -> float:
        pairs, clients = int(levels["pairs"]), int(levels["clients"])
        address = addresses["postgres"]
        self.prepare(address, pairs)
        text = _SCRIPT.format(last=2 * pairs - 1, level=self.guard_level, lock=self.lock)
        with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
            script.write(text)
            script.flush()
            command = [
                *(str(_program()), "--no-vacuum", f"--client={clients}", "--jobs=2", "--max-tries=100"),
                *(f"--time={max(1, round(seconds))}", f"--file={script.name}"),
            ]
            environment = {**os.environ, **connection_variables(address.conninfo)}
            answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)
        found = re.search(r"^tps = ([0-9.]+)", answer.stdout, re.MULTILINE)
        if answer.returncode != 0 or found is None:
            raise DomainError(f"pgbench failed: {answer.stderr.strip()[-300:]}", remedy="Run it by hand to see why.")
        return float(found.group(1))


def _program() -> str | None:
    found = find_binaries(Site("looking", Path(), Path()), minimum=14)
    beside = None if isinstance(found, Missing) else found.folder / "pgbench"
    return str(beside) if beside is not None and beside.exists() else shutil.which("pgbench")


def connection_variables(conninfo: str) -> dict[str, str]:
    """The words of a connection string as libpq's variables: other users read a command's arguments, and not its environment.

    Laid over the user's own variables they lead to the same server as the string itself. Raises `DomainError` for words that
    no variable stands for.
    """
    from psycopg.pq import Conninfo

    given = [option for option in Conninfo.parse(conninfo.encode()) if option.val is not None]
    if homeless := [option.keyword.decode() for option in given if not option.envvar]:
        words = ", ".join(homeless)
        raise DomainError(f"pgbench cannot be told {words} in confidence.", remedy="Leave it out of the target's entry.")
    return {(option.envvar or b"").decode(): (option.val or b"").decode() for option in given}
