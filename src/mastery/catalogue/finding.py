"""Finding experiments and articles by the words of a question, a setting or a symptom."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mastery.catalogue.catalogue import Article, Catalogue
from mastery.catalogue.declared import Listing


@dataclass(frozen=True, slots=True)
class Hit:
    """An article that the words point to: how well, the experiments that match, and the lines that do."""

    article: Article
    score: int
    experiments: tuple[Listing, ...]
    lines: tuple[str, ...]


def find(words: Sequence[str], catalogue: Catalogue) -> tuple[Hit, ...]:
    """The articles in which every word occurs, best first: a title or id counts more than a line of the text.

    Words match without regard to case and to `_`, `-` and spaces, so that a setting can be typed as it is read.
    """
    wanted = [_folded(word) for word in words if _folded(word)]
    hits = (_hit(wanted, article) for article in catalogue.articles)
    return tuple(sorted((hit for hit in hits if hit), key=lambda hit: -hit.score))


def _hit(wanted: list[str], article: Article) -> Hit | None:
    front = article.front
    titles = _folded(" ".join([front.title, front.tradeoff or "", front.slug, *(each.id for each in article.experiments)]))
    source = "\n".join(each.file.read_text(encoding="utf-8", errors="replace") for each in _one_per_file(article.experiments))
    lines = [line.strip() for line in [front.summary, *article.body().splitlines()]]
    everything = _folded("\n".join([titles, *lines, source]))
    if not wanted or not all(word in everything for word in wanted):
        return None
    experiments = tuple(
        each for each in article.experiments if any(word in _folded(f"{each.id} {each.question}") for word in wanted)
    )
    matching = tuple(line for line in lines if any(word in _folded(line) for word in wanted))
    score = sum(10 * (word in titles) + min(everything.count(word), 9) for word in wanted)
    return Hit(article, score, experiments or article.experiments, matching[:3])


def _one_per_file(listings: Sequence[Listing]) -> list[Listing]:
    return list({listing.file: listing for listing in listings}.values())


def _folded(text: str) -> str:
    return re.sub(r"[\s_\-]+", " ", text.lower()).strip()
