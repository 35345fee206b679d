"""Finding experiments and articles by the words of a question, a setting or a symptom."""

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass

from mastery.catalogue.catalogue import Article, Catalogue
from mastery.catalogue.declared import Listing

_MOST_LINES = 5
# A longer text is a document of its own, not a sentence to show.
_LONGEST = 400


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
    sentences = [front.summary, *article.body().splitlines()]
    sources = [_text_of(each) for each in _one_per_file(article.experiments)]
    sentences += [sentence for source in sources for sentence in _sentences_in(source)]
    everything = _folded("\n".join([titles, *sentences, *sources]))
    if not wanted or not all(word in everything for word in wanted):
        return None
    named = tuple(each for each in article.experiments if _speaks(f"{each.id} {each.question}", wanted))
    mentioned = tuple(each for each in article.experiments if _speaks(_text_of(each), wanted))
    matching = dict.fromkeys(" ".join(line.split()) for line in sentences if _speaks(line, wanted))
    score = sum(10 * (word in titles) + min(everything.count(word), 9) for word in wanted)
    return Hit(article, score, named or mentioned or article.experiments, tuple(matching)[:_MOST_LINES])


def _sentences_in(source: str) -> list[str]:
    """What an experiment says in words: the meaning of its factors, its claims and their reasons, what it cites."""
    texts = [node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return [text for text in texts if " " in text.strip() and len(text) < _LONGEST]


def _speaks(text: str, wanted: Sequence[str]) -> bool:
    folded = _folded(text)
    return any(word in folded for word in wanted)


def _text_of(listing: Listing) -> str:
    return listing.file.read_text(encoding="utf-8", errors="replace")


def _one_per_file(listings: Sequence[Listing]) -> list[Listing]:
    return list({listing.file: listing for listing in listings}.values())


def _folded(text: str) -> str:
    return re.sub(r"[\s_\-]+", " ", text.lower()).strip()
