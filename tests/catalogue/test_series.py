"""The articles are those of the series, word for word: the tables below were typed from it, not taken from the articles."""

import itertools
import re
from pathlib import Path

import pytest

from mastery.catalogue import series
from mastery.catalogue.catalogue import Article, Catalogue, load_catalogue
from mastery.catalogue.front_matter import FrontMatter, Reading, Role, Seen, Status, identifier_of, parse
from mastery.errors import UsageError

# The third column is the trade-off; the audience in Part 7, the focus in system design.
ARTICLES = """
Part 1: OS & Systems Foundation
01 | Process vs Thread | Isolation vs Efficiency | 10
02 | Memory Management | Virtual vs Physical, Swap vs OOM | 10
03 | File I/O & Durability | Performance vs Durability (fsync) | 10
04 | CPU Scheduling & Context Switches | Throughput vs Latency | 10
Part 2: Networking
05 | TCP Deep Dive | Reliability vs Latency | 12
06 | HTTP Evolution (1.1→2→3) | Simplicity vs Performance | 11
07 | Load Balancing (L4 vs L7) | Speed vs Features | 11
Part 3: Storage & Databases
08 | Database Indexes Deep Dive | Read Speed vs Write Speed | 11
09 | ACID Transactions Explained | Consistency vs Performance | 10
10 | Isolation Levels & Anomalies | Safety vs Concurrency | 10
11 | SQL vs NoSQL Decision Guide | Flexibility vs Scale | 10
Part 4: Distributed Systems
12 | CAP Theorem Demystified | Consistency vs Availability | 10
13 | Sharding Strategies | Query Flexibility vs Scale | 11
14 | Replication Patterns | Consistency vs Latency | 10
15 | Consensus & Raft | Availability vs Strong Consistency | 12
16 | Time, Clocks & Ordering | Simplicity vs Accuracy | 10
Part 5: Production Engineering
17 | Reliability Patterns | Availability vs Complexity | 11
18 | Caching Strategies | Performance vs Consistency | 10
19 | Observability (Metrics, Logs, Traces) | Coverage vs Overhead | 11
20 | Security Fundamentals | Security vs Convenience | 10
Part 6: Cloud-Native & Modern Patterns
21 | Containers & Docker | Isolation vs Overhead | 10
22 | Kubernetes Essentials | Abstraction vs Complexity | 12
23 | Message Queues (Kafka vs RabbitMQ) | Throughput vs Latency | 10
24 | Event-Driven Architecture | Decoupling vs Complexity | 11
Part 7: Engineering Leadership
25 | Architecture Decision Records | Senior+ | 12
26 | Technical Debt Strategy | Manager/Principal | 11
27 | Build vs Buy Decisions | Principal/Director | 10
System Design Mastery Series
SD-01 | System Design Framework | 5-step approach for any problem | 13
SD-02 | Design: URL Shortener | Simple, scalable system | 10
SD-03 | Design: Distributed Cache | High-performance caching | 11
SD-04 | Design: Real-Time Chat | WebSockets, ordering, fan-out | 12
"""

FILES = """
01 | 01-process-vs-thread.md | process-vs-thread-the-foundation-every-backend-engineer
02 | 02-memory-management.md | memory-management-demystified-virtual-memory-page-faults-performance
03 | 03-file-io-durability.md | file-io-durability-why-fsync-is-your-best-friend-and-worst-enemy
04 | 04-cpu-scheduling.md | cpu-scheduling-context-switches-throughput-vs-latency
05 | 05-tcp-deep-dive.md | tcp-deep-dive-reliability-vs-latency
06 | 06-http-evolution.md | http-evolution-1-1-2-3-simplicity-vs-performance
07 | 07-load-balancing.md | load-balancing-l4-vs-l7-speed-vs-features
08 | 08-database-indexes.md | database-indexes-deep-dive-read-speed-vs-write-speed
09 | 09-acid-transactions.md | acid-transactions-explained-consistency-vs-performance
10 | 10-isolation-levels.md | isolation-levels-anomalies-safety-vs-concurrency
11 | 11-sql-vs-nosql.md | sql-vs-nosql-decision-guide-flexibility-vs-scale
12 | 12-cap-theorem.md | cap-theorem-demystified-consistency-vs-availability
13 | 13-sharding-strategies.md | sharding-strategies-query-flexibility-vs-scale
14 | 14-replication-patterns.md | replication-patterns-consistency-vs-latency
15 | 15-consensus-raft.md | consensus-raft-availability-vs-strong-consistency
16 | 16-time-clocks-ordering.md | time-clocks-ordering-simplicity-vs-accuracy
17 | 17-reliability-patterns.md | reliability-patterns-availability-vs-complexity
18 | 18-caching-strategies.md | caching-strategies-performance-vs-consistency
19 | 19-observability.md | observability-metrics-logs-traces-coverage-vs-overhead
20 | 20-security-fundamentals.md | security-fundamentals-security-vs-convenience
21 | 21-containers-docker.md | containers-docker-isolation-vs-overhead
22 | 22-kubernetes-essentials.md | kubernetes-essentials-abstraction-vs-complexity
23 | 23-message-queues.md | message-queues-kafka-vs-rabbitmq-throughput-vs-latency
24 | 24-event-driven-architecture.md | event-driven-architecture-decoupling-vs-complexity
25 | 25-architecture-decision-records.md | architecture-decision-records-making-decisions-legible
26 | 26-technical-debt-strategy.md | technical-debt-strategy-intentional-debt-not-accidental
27 | 27-build-vs-buy.md | build-vs-buy-decisions-control-vs-speed
SD-01 | ../system-design/01-system-design-framework.md | system-design-framework-5-step-approach-any-problem
SD-02 | ../system-design/02-design-url-shortener.md | design-url-shortener-simple-scalable-system
SD-03 | ../system-design/03-design-distributed-cache.md | design-distributed-cache-high-performance-caching
SD-04 | ../system-design/04-design-chat-system.md | design-real-time-chat-websockets-ordering-fan-out
"""

QUICK_REFERENCE = """
01 | Process vs Thread | Isolation vs Efficiency
02 | Virtual Memory | Flexibility vs Page Fault Cost
03 | fsync() | Durability vs Performance
04 | Context Switches | Throughput vs Latency
05 | TCP | Reliability vs Latency
06 | HTTP versions | Simplicity vs Performance
07 | L4 vs L7 LB | Speed vs Features
08 | Indexes | Read Speed vs Write Speed
09 | ACID | Consistency vs Performance
10 | Isolation Levels | Safety vs Concurrency
11 | SQL vs NoSQL | Flexibility vs Scale
12 | CAP | Consistency vs Availability
13 | Sharding | Query Flexibility vs Scale
14 | Replication | Consistency vs Latency
15 | Consensus | Availability vs Strong Consistency
16 | Time/Clocks | Simplicity vs Accuracy
17 | Circuit Breaker | Availability vs Complexity
18 | Caching | Performance vs Consistency
19 | Observability | Coverage vs Overhead
20 | Security | Security vs Convenience
21 | Containers | Isolation vs Overhead
22 | Kubernetes | Abstraction vs Complexity
23 | Kafka vs RabbitMQ | Throughput vs Latency
24 | Event-Driven | Decoupling vs Complexity
27 | Build vs Buy | Control vs Speed
"""

OUTCOMES = """
After Part 1, you'll understand: Why processes are isolated, how memory really works (not what you think), what fsync \
actually does, and why context switches can kill your performance.
After Part 2, you'll understand: TCP states and how to debug connection issues, why HTTP/3 uses UDP (it's not what you think), \
and when to use L4 vs L7 load balancers.
After Part 3, you'll understand: Why indexes slow writes (and when that's okay), what SERIALIZABLE actually means (hint: it's not \
what most people think), and when to choose NoSQL (it's rarer than you think).
After Part 4, you'll understand: What CAP really means (most people get it wrong), how to choose shard keys (this decision will \
haunt you), leader election, and why distributed time is harder than it should be.
After Part 5, you'll understand: Circuit breakers (and when they backfire), cache invalidation (the two hard things in CS), \
the RED/USE methods, and OAuth2 flows (without the confusion).
After Part 6, you'll understand: Container best practices (and anti-patterns), K8s core concepts (without the marketing), when \
to use Kafka vs RabbitMQ (they're not interchangeable), and event-driven architecture (when it helps, when it hurts).
After Part 7, you'll know: How to document decisions (so future you thanks past you), manage tech debt strategically \
(not reactively), and make build vs buy choices (without regret).
After the System Design series, you'll have: A repeatable framework for any system design problem, practice with common patterns, \
and the confidence to design systems that scale.
"""

# Per stage: when, title, emphasis, articles, practice.
PATHS = """
junior | Junior Engineer | 0-2 years | Foundations first. Don't skip the basics.
Week 1-2 | OS Foundation | CRITICAL | 01 02 03 04 |
Week 3-4 | Networking | | 05 06 07 |
Week 5-6 | Database Fundamentals | | 08 09 10 |
Week 7-8 | Production Patterns | | 17 18 19 |
mid | Mid-Level Engineer | 2-5 years | Distributed systems and system design. This is where you level up.
Week 1 | Foundation Review | skim if familiar | 01 02 03 04 05 06 07 |
Week 2-3 | Distributed Systems | MUST DO | 12 13 14 15 16 |
Week 4 | System Design Practice | | SD-01 SD-02 SD-03 SD-04 |
Week 5 | Production & Cloud | | 17 18 19 20 21 22 23 24 |
senior | Senior Engineer | 5+ years | Depth, leadership, and system design mastery. You know the basics—now master the trade-offs.
Week 1 | Distributed Systems Mastery | | 12 13 14 15 16 | Focus on trade-off analysis
Week 2 | System Design Excellence | | SD-01 SD-02 SD-03 SD-04 | Practice explaining out loud
Week 3 | Leadership Skills | | 25 26 27 |
manager | Engineering Manager | | Leadership articles + enough technical depth to guide teams. \
You don't need to code, but you need to understand the decisions.
Priority 1 | Leadership Track | | 25 26 27 |
Priority 2 | Key Technical Concepts | | 12 17 SD-01 |
"""

# The ids under which every article's experiments were planned: written or not, none may get lost.
EXPERIMENTS = """
01 | spawn-cost worker-throughput crash-isolation ipc-round-trip connection-model pool-size
02 | page-fault-cost overcommit memory-limit fork-spike working-set
03 | fsync-cost crash-loss rename-dance
04 | oversubscription cpu-quota priority
05 | nagle-delayed-ack loss-throughput ordered-or-fresh accept-queue connection-cost states
06 | page-load handshake header-cost
07 | l4-vs-l7 algorithm backend-failure new-backend
08 | index-count index-kind btree-vs-lsm key-order create-index
09 | commit-durability atomicity constraint-vs-check commit-unknown
10 | anomaly-matrix isolation-cost deadlock
11 | access-patterns new-question single-node-ceiling schema-change
12 | partition pacelc
13 | rebalance hot-key shard-key cross-shard
14 | ack-level leaderless failover
15 | leader-loss commit-cost slow-disk-leader raft-simulated
16 | offset-bound skew-loss lease
17 | retry-storm circuit-breaker hedging load-shedding bulkhead
18 | eviction stampede write-policy
19 | coverage overhead cardinality detection
20 | password-hash login-capacity lockout tls-cost session-vs-token oauth-flows injection
21 | start-cost runtime-overhead isolation image-size cpu-count stop-time
22 | rollout requests-limits autoscale-lag reconcile
23 | throughput-latency delivery backlog
24 | dual-write idempotency saga event-sourcing decoupling
25 | decision-decay why-is-it-so
26 | hotspot-prediction
27 | forecast-robustness range-calibration
SD-01 | estimate-accuracy
SD-02 | redirect-status redirect-capacity id-scheme cache-tiers
SD-03 | near-cache invalidation-staleness node-loss hot-key-copies
SD-04 | fan-out ordering-under-failure reconnect-storm slow-consumer
"""

IN_NO_PATH = {"11"}


def rows(table: str) -> list[tuple[str, ...]]:
    """The lines of a table of bars as tuples."""
    return [tuple(cell.strip() for cell in line.split("|")) for line in table.strip().splitlines()]


def articles_with_their_part() -> list[tuple[str, ...]]:
    part, found = "", []
    for row in rows(ARTICLES):
        if len(row) == 1:
            part = row[0]
        else:
            found.append((part, *row))
    return found


def third_column(front: FrontMatter) -> dict[str, str]:
    given = {"tradeoff": front.tradeoff, "audience": front.audience, "focus": front.focus}
    return {name: value for name, value in given.items() if value is not None}


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load_catalogue(third_parties=False)


@pytest.fixture(scope="module")
def by_number(catalogue: Catalogue) -> dict[str, Article]:
    return {article.front.number: article for article in catalogue.articles}


def test_the_thirty_one_articles_are_there_in_the_order_of_the_series(catalogue: Catalogue) -> None:
    assert catalogue.complaints == ()
    assert len(catalogue.articles) == 31
    assert [each.front.number for each in catalogue.articles] == [row[1] for row in articles_with_their_part()]


@pytest.mark.parametrize("row", articles_with_their_part(), ids=lambda row: row[1])
def test_an_article_is_as_the_table_of_its_part_has_it(by_number: dict[str, Article], row: tuple[str, ...]) -> None:
    part, number, title, third, minutes = row
    column = {"Part 7: Engineering Leadership": "audience", "System Design Mastery Series": "focus"}.get(part, "tradeoff")
    front = by_number[number].front
    assert (front.part, front.title, front.minutes) == (part, title, int(minutes))
    assert third_column(front) == {column: third}


@pytest.mark.parametrize("row", rows(FILES), ids=lambda row: row[0])
def test_file_and_slug_are_those_of_the_files_reference_and_folder_and_id_follow(
    catalogue: Catalogue, row: tuple[str, ...]
) -> None:
    number, file, slug = row
    article = catalogue.article(slug)
    assert (article.front.number, article.front.file, article.front.slug) == row
    assert article.identifier == identifier_of(file)
    assert article.front.id == (number.lower().replace("-", "") if number.startswith("SD") else f"a{number}")


def test_the_quick_reference_has_its_twenty_five_rows_in_order(catalogue: Catalogue) -> None:
    table = series.quick_reference(catalogue.articles)
    assert [(article.front.number, row.row, " vs ".join(row.sides)) for article, row in table] == rows(QUICK_REFERENCE)
    assert len(table) == 25


def test_a_row_leads_with_an_experiment_that_its_article_has_or_says_why_there_is_no_ratio(catalogue: Catalogue) -> None:
    for article, row in series.quick_reference(catalogue.articles):
        if row.headline is not None:
            assert row.headline.experiment in {each.id for each in article.experiments}, article.identifier
        else:
            assert row.no_honest_ratio and row.no_honest_ratio.endswith("."), article.identifier


def test_the_parts_come_in_order_with_the_sentence_of_what_their_reader_will_understand() -> None:
    assert [part.title for part in series.PARTS] == [row[0] for row in rows(ARTICLES) if len(row) == 1]
    assert [part.outcome() for part in series.PARTS] == OUTCOMES.strip().splitlines()
    assert [bool(part.before) for part in series.PARTS] == [False] * 7 + [True]


def test_the_parts_are_exactly_those_that_the_articles_name_in_the_same_order(catalogue: Catalogue) -> None:
    assert list(dict.fromkeys(each.front.part for each in catalogue.articles)) == [part.title for part in series.PARTS]


def test_the_four_reading_paths_have_their_weeks_and_priorities() -> None:
    lines = []
    for path in series.PATHS:
        lines.append((path.role.value, path.title, path.years, path.focus))
        for stage in path.stages:
            numbers = " ".join(step.number for step in stage.steps)
            lines.append((stage.when(), stage.title, stage.emphasis, numbers, stage.practice))
    assert lines == rows(PATHS)


def test_a_manager_is_told_what_each_technical_article_is_read_for() -> None:
    reasons = {
        step.number: step.read_for for path in series.PATHS for stage in path.stages for step in stage.steps if step.read_for
    }
    assert reasons == {"12": "for data decisions", "17": "for SRE work", "SD-01": "for reviews"}


def test_the_roles_of_an_article_are_the_paths_that_lead_through_it(by_number: dict[str, Article]) -> None:
    in_paths = {number: {path.role for path in series.PATHS if number in path.numbers()} for number in by_number}
    assert {number: set(article.front.roles) for number, article in by_number.items()} == in_paths
    assert {number for number, roles in in_paths.items() if not roles} == IN_NO_PATH


def test_how_much_is_read_is_core_but_for_what_a_path_skims_or_takes_one_thing_of(by_number: dict[str, Article]) -> None:
    less = {
        (number, role, reading)
        for number, article in by_number.items()
        for role, reading in article.front.roles.items()
        if reading is not Reading.CORE
    }
    skimmed = {(number, Role.MID, Reading.SKIM) for number in ("01", "02", "03", "04", "05", "06", "07")}
    assert less == skimmed | {(number, Role.MANAGER, Reading.ONE_THING) for number in ("12", "17", "SD-01")}


def test_a_path_never_asks_for_an_article_before_one_that_it_requires(by_number: dict[str, Article]) -> None:
    numbers = {article.front.id: number for number, article in by_number.items()}
    for path in series.PATHS:
        for place, number in enumerate(path.numbers()):
            required = {numbers[id_] for id_ in all_required(by_number, number)}
            assert not required & set(path.numbers()[place:]), f"{path.title}: {number}"


def all_required(by_number: dict[str, Article], number: str) -> set[str]:
    """The ids of what the article requires and of what that requires in turn."""
    front_by_id = {article.front.id: article.front for article in by_number.values()}
    found: set[str] = set()
    waiting = list(by_number[number].front.requires)
    while waiting:
        if (id_ := waiting.pop()) not in found:
            found.add(id_)
            waiting += front_by_id[id_].requires
    return found


def test_what_the_articles_require_exists_and_has_no_cycle(by_number: dict[str, Article]) -> None:
    ids = {article.front.id for article in by_number.values()}
    for number, article in by_number.items():
        assert set(article.front.requires) <= ids, number
        assert article.front.id not in all_required(by_number, number), number


def test_no_requirement_is_named_that_another_one_implies(by_number: dict[str, Article]) -> None:
    numbers = {article.front.id: number for number, article in by_number.items()}
    for number, article in by_number.items():
        for one, other in itertools.permutations(article.front.requires, 2):
            assert one not in all_required(by_number, numbers[other]), f"{number} requires {one} through {other} already"


def test_no_two_articles_answer_to_one_name_and_no_name_hides_an_experiment(catalogue: Catalogue) -> None:
    owners = {experiment.id: "an experiment" for experiment in catalogue.experiments()}
    for article in catalogue.articles:
        for name in article.names():
            assert owners.setdefault(name.lower(), article.identifier) == article.identifier, name


@pytest.mark.parametrize("row", rows(EXPERIMENTS), ids=lambda row: row[0])
def test_every_planned_experiment_is_written_or_announced_and_none_as_what_it_is_not(
    by_number: dict[str, Article], row: tuple[str, ...]
) -> None:
    number, planned = row[0], row[1].split()
    article = by_number[number]
    written = {each.id for each in article.experiments}
    announced = set(re.findall(r"^- `([a-z0-9-]+)` ", article.body(), re.MULTILINE))
    offered = set(re.findall(r"`mastery run ([a-z0-9-]+)`", article.body()))
    assert set(planned) <= written | announced, "an experiment got lost"
    assert not announced & written, "announced as planned, but it can be run: offer it by `mastery run`"
    assert announced <= set(planned), "announced, but nobody planned it"
    assert offered <= written, "offered, but there is no such experiment"


def test_a_planned_id_is_planned_for_one_article_only() -> None:
    ids = [id_ for row in rows(EXPERIMENTS) for id_ in row[1].split()]
    assert len(ids) == len(set(ids))


def test_an_unwritten_article_is_short_and_says_whether_anything_of_it_can_be_run(catalogue: Catalogue) -> None:
    for article in catalogue.articles:
        body = article.body().strip()
        if article.front.status is not Status.WIP:
            continue
        assert body.startswith("This article is being written."), article.identifier
        runs_nothing = bool(re.search(r"(None of its experiments can|Its experiment cannot) be run yet", body))
        assert runs_nothing == (not article.experiments), article.identifier
        if runs_nothing:
            assert len(body.splitlines()) <= 25, f"{article.identifier} pretends to be an article"


def test_every_article_cites_sources_by_a_link_and_at_least_one_read_by_us(catalogue: Catalogue) -> None:
    # The best source of article 20 was read in part only, and is marked as a report until it has been read.
    without_primary = {"20"}
    for article in catalogue.articles:
        sources = article.front.sources
        assert len(sources) >= 3, article.identifier
        assert len({each.url for each in sources}) == len(sources), article.identifier
        assert all(re.fullmatch(r"https?://\S+\.\S+", each.url) and each.title and each.publisher for each in sources)
        assert all(re.fullmatch(r"(\d{4}(-\d{2}){0,2})?", each.date) for each in sources), article.identifier
        has_primary = any(each.seen is Seen.PRIMARY for each in sources)
        assert has_primary == (article.front.number not in without_primary), article.identifier


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("roles: {principal: core}", r"\$\.roles"),
        ("roles: {junior: whole}", r"\$\.roles"),
        ("quick_reference: {row: r, sides: [a, b]}", "no_honest_ratio"),
        ("quick_reference: {row: r, sides: [a], no_honest_ratio: because}", r"\$\.quick_reference\.sides"),
        (
            "quick_reference: {row: r, sides: [a, b], no_honest_ratio: because, "
            "headline: {experiment: e, metric: m, arm: {x: 1}, over: {x: 2}}}",
            "no_honest_ratio",
        ),
    ],
)
def test_an_unknown_role_and_a_row_with_neither_or_both_are_refused(tmp_path: Path, change: str, named: str) -> None:
    fields = [
        "id: a01",
        'number: "01"',
        "file: 01-x.md",
        "slug: x",
        "title: X",
        "part: P",
        "summary: S",
        "minutes: 1",
        "status: wip",
    ]
    text = "\n".join(["---", *fields, change, "---", ""])
    with pytest.raises(UsageError, match=named):
        parse(text, path=tmp_path / "article.md")
