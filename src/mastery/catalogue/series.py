"""What belongs to no single article: the parts of the series, the reading paths by role, the table of trade-offs."""

from collections.abc import Iterable
from dataclasses import dataclass

from mastery.catalogue.catalogue import Article
from mastery.catalogue.front_matter import QuickReference, Role


@dataclass(frozen=True, slots=True)
class SeriesPart:
    """A group of articles; which ones stands in their own front matter, by the part's title."""

    title: str
    # What the part is about, in one sentence.
    about: str
    # How the sentence of its outcome begins: "After Part 1, you'll understand".
    after: str
    # What a reader then understands or knows, clause by clause: each has its question and its experiment.
    outcomes: tuple[str, ...]
    # What to have read before; empty where nothing is needed.
    before: str = ""

    def outcome(self) -> str:
        """The whole sentence: "After Part 1, you'll understand: ..., ..., and ..."."""
        return f"{self.after}: {', '.join(self.outcomes[:-1])}, and {self.outcomes[-1]}."


@dataclass(frozen=True, slots=True)
class Step:
    """One article of a stage, and where the series says so what it is read for."""

    number: str
    read_for: str = ""


@dataclass(frozen=True, slots=True)
class Stage:
    """What is read together in a path: in these weeks, or with this priority where a path knows no weeks."""

    title: str
    steps: tuple[Step, ...]
    # The first and the last week.
    weeks: tuple[int, int] | None = None
    priority: int | None = None
    emphasis: str = ""
    practice: str = ""

    def when(self) -> str:
        """`Week 1`, `Week 1-2` or `Priority 1`."""
        if self.weeks is None:
            return f"Priority {self.priority}"
        first, last = self.weeks
        return f"Week {first}" if first == last else f"Week {first}-{last}"


@dataclass(frozen=True, slots=True)
class ReadingPath:
    """An ordered way through the articles for one role. How much of each is read stands in the article's `roles`."""

    role: Role
    title: str
    # The years at work for which it is meant; empty for managers.
    years: str
    focus: str
    stages: tuple[Stage, ...]

    def numbers(self) -> tuple[str, ...]:
        return tuple(step.number for stage in self.stages for step in stage.steps)


def _steps(*numbers: str) -> tuple[Step, ...]:
    return tuple(Step(number) for number in numbers)


PARTS = (
    SeriesPart(
        title="Part 1: OS & Systems Foundation",
        about="Understanding the operating system layer that everything runs on.",
        after="After Part 1, you'll understand",
        outcomes=(
            "Why processes are isolated",
            "how memory really works (not what you think)",
            "what fsync actually does",
            "why context switches can kill your performance",
        ),
    ),
    SeriesPart(
        title="Part 2: Networking",
        about="How data moves between machines—the foundation of distributed systems.",
        after="After Part 2, you'll understand",
        outcomes=(
            "TCP states and how to debug connection issues",
            "why HTTP/3 uses UDP (it's not what you think)",
            "when to use L4 vs L7 load balancers",
        ),
    ),
    SeriesPart(
        title="Part 3: Storage & Databases",
        about="How data is stored, indexed, and queried efficiently.",
        after="After Part 3, you'll understand",
        outcomes=(
            "Why indexes slow writes (and when that's okay)",
            "what SERIALIZABLE actually means (hint: it's not what most people think)",
            "when to choose NoSQL (it's rarer than you think)",
        ),
    ),
    SeriesPart(
        title="Part 4: Distributed Systems",
        about="Scaling beyond a single machine—where things get interesting.",
        after="After Part 4, you'll understand",
        outcomes=(
            "What CAP really means (most people get it wrong)",
            "how to choose shard keys (this decision will haunt you)",
            "leader election",
            "why distributed time is harder than it should be",
        ),
    ),
    SeriesPart(
        title="Part 5: Production Engineering",
        about="Running systems reliably in production.",
        after="After Part 5, you'll understand",
        outcomes=(
            "Circuit breakers (and when they backfire)",
            "cache invalidation (the two hard things in CS)",
            "the RED/USE methods",
            "OAuth2 flows (without the confusion)",
        ),
    ),
    SeriesPart(
        title="Part 6: Cloud-Native & Modern Patterns",
        about="Building for the cloud era.",
        after="After Part 6, you'll understand",
        outcomes=(
            "Container best practices (and anti-patterns)",
            "K8s core concepts (without the marketing)",
            "when to use Kafka vs RabbitMQ (they're not interchangeable)",
            "event-driven architecture (when it helps, when it hurts)",
        ),
    ),
    SeriesPart(
        title="Part 7: Engineering Leadership",
        about="Skills for senior engineers, managers, and principal engineers.",
        after="After Part 7, you'll know",
        outcomes=(
            "How to document decisions (so future you thanks past you)",
            "manage tech debt strategically (not reactively)",
            "make build vs buy choices (without regret)",
        ),
    ),
    SeriesPart(
        title="System Design Mastery Series",
        about="Applying everything you've learned to real design problems.",
        after="After the System Design series, you'll have",
        outcomes=(
            "A repeatable framework for any system design problem",
            "practice with common patterns",
            "the confidence to design systems that scale",
        ),
        before="Complete Parts 1-4 before diving into system design.",
    ),
)

JUNIOR = ReadingPath(
    role=Role.JUNIOR,
    title="Junior Engineer",
    years="0-2 years",
    focus="Foundations first. Don't skip the basics.",
    stages=(
        Stage("OS Foundation", _steps("01", "02", "03", "04"), weeks=(1, 2), emphasis="CRITICAL"),
        Stage("Networking", _steps("05", "06", "07"), weeks=(3, 4)),
        Stage("Database Fundamentals", _steps("08", "09", "10"), weeks=(5, 6)),
        Stage("Production Patterns", _steps("17", "18", "19"), weeks=(7, 8)),
    ),
)
MID = ReadingPath(
    role=Role.MID,
    title="Mid-Level Engineer",
    years="2-5 years",
    focus="Distributed systems and system design. This is where you level up.",
    stages=(
        Stage("Foundation Review", _steps("01", "02", "03", "04", "05", "06", "07"), weeks=(1, 1), emphasis="skim if familiar"),
        Stage("Distributed Systems", _steps("12", "13", "14", "15", "16"), weeks=(2, 3), emphasis="MUST DO"),
        Stage("System Design Practice", _steps("SD-01", "SD-02", "SD-03", "SD-04"), weeks=(4, 4)),
        Stage("Production & Cloud", _steps("17", "18", "19", "20", "21", "22", "23", "24"), weeks=(5, 5)),
    ),
)
SENIOR = ReadingPath(
    role=Role.SENIOR,
    title="Senior Engineer",
    years="5+ years",
    focus="Depth, leadership, and system design mastery. You know the basics—now master the trade-offs.",
    stages=(
        Stage(
            "Distributed Systems Mastery",
            _steps("12", "13", "14", "15", "16"),
            weeks=(1, 1),
            practice="Focus on trade-off analysis",
        ),
        Stage(
            "System Design Excellence",
            _steps("SD-01", "SD-02", "SD-03", "SD-04"),
            weeks=(2, 2),
            practice="Practice explaining out loud",
        ),
        Stage("Leadership Skills", _steps("25", "26", "27"), weeks=(3, 3)),
    ),
)
MANAGER = ReadingPath(
    role=Role.MANAGER,
    title="Engineering Manager",
    years="",
    focus=(
        "Leadership articles + enough technical depth to guide teams. "
        "You don't need to code, but you need to understand the decisions."
    ),
    stages=(
        Stage("Leadership Track", _steps("25", "26", "27"), priority=1),
        Stage(
            "Key Technical Concepts",
            (Step("12", "for data decisions"), Step("17", "for SRE work"), Step("SD-01", "for reviews")),
            priority=2,
        ),
    ),
)
PATHS = (JUNIOR, MID, SENIOR, MANAGER)


def quick_reference(articles: Iterable[Article]) -> tuple[tuple[Article, QuickReference], ...]:
    """The table of trade-offs in the order of the articles; an article without a row (as 25, 26 and the designs) is left out."""
    return tuple((article, article.front.quick_reference) for article in articles if article.front.quick_reference)
