"""One cell of the anomaly matrix: every order (or a seeded sample) of one case at one isolation level, judged one by one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from mastery.components.postgres_session import PostgresAddress
from mastery.lab.anomalies import CASES, Case, case_of
from mastery.lab.claim import Claim, least, worst
from mastery.lab.explore import Stage, explore_order
from mastery.lab.history.transactions import Finding, Judgement, find_anomalies
from mastery.lab.history.transcript import Ended, Transcript
from mastery.lab.interleaving import Orders, choose_orders
from mastery.workloads.sessions import Level, PostgresStage

Judge = Callable[[Transcript], Finding]

NAMES = tuple(case.anomaly.value for case in CASES)


@dataclass(frozen=True, slots=True)
class Cell:
    """What the orders of one cell showed: `anomalies` counts those that exhibit the case's own anomaly."""

    tried: int
    total: int
    anomalies: int
    unknown: int
    aborted: int
    example: str = ""
    others: Mapping[str, int] | None = None

    def metrics(self) -> dict[str, float]:
        """What the cell counted. Where none of its orders showed the anomaly and some could not be judged, nothing is known."""
        counted = {"unknown": float(self.unknown), "aborted": float(self.aborted), "tried": float(self.tried)}
        return counted if self.unknown and not self.anomalies else {"anomalies": float(self.anomalies), **counted}


def try_orders(case: Case, orders: Orders, connect: Callable[[], Stage], *, judge: Judge = find_anomalies) -> Cell:
    """Plays every chosen order on fresh rows and counts what its history proves; an unknown one is never counted as clean."""
    anomalies = unknown = aborted = 0
    example = ""
    others: dict[str, int] = {}
    for order in orders.chosen:
        transcript = explore_order(case, order, connect)
        finding = judge(transcript)
        unknown += finding.judgement is Judgement.UNKNOWN
        aborted += any(transcript.ended(session) is Ended.ABORTED for session in range(len(case.sessions)))
        if case.anomaly in finding.anomalies:
            anomalies += 1
            example = example or f"{case.says(order)} | {finding.proof_of(case.anomaly)}"
        for other in finding.anomalies - {case.anomaly}:
            others[other.value] = others.get(other.value, 0) + 1
    return Cell(len(orders.chosen), orders.total, anomalies, unknown, aborted, example, others)


def try_on_postgres(name: str, level: str, address: PostgresAddress, *, at_most: int) -> Callable[[Random], Cell]:
    """The cell of a case and a level on a real server, to be tried when called; the randomness chooses a sample of the orders."""

    def measure(rng: Random) -> Cell:
        case = case_of(name)
        orders = choose_orders(case.lengths, at_most=at_most, seed=rng.randrange(2**32))
        with PostgresStage(address.conninfo, Level(level), schema=address.schema) as stage:
            return try_orders(case, orders, lambda: stage)

    return measure


def level_in_effect(address: PostgresAddress, level: str) -> str:
    """What the server says inside a transaction that was begun at the level."""
    with address.connect(autocommit=True) as connection:
        connection.execute(f"begin isolation level {Level(level)}")
        row = connection.execute("show transaction_isolation").fetchone()
        connection.execute("rollback")
    return str(row[0]) if row else ""


def truth_table(allowed: Mapping[str, Sequence[str]], *, source: str) -> list[Claim]:
    """A claim for each of the thirty cells: seen in at least one order, or in none."""
    claims = []
    for level, names in allowed.items():
        for name in NAMES:
            at = {"case": name, "level": level}
            seen = name in names
            comparison = least("anomalies", at=at) >= 1 if seen else worst("anomalies", at=at) <= 0
            text = f"{level.capitalize()} {'lets ' + name + ' through' if seen else 'prevents ' + name}."
            claims.append(Claim(f"{level.replace(' ', '-')}-{name.lower()}", comparison, text=text, because=source))
    return claims
