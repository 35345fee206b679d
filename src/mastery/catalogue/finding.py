"""Finding experiments and articles by the words of a question, a setting or a symptom."""

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass

from mastery.catalogue.catalogue import Article, Catalogue
from mastery.catalogue.declared import Listing
from mastery.catalogue.front_matter import Setting, Symptom

_MOST_LINES = 5
# A longer text is a document of its own, not a sentence to show.
_LONGEST = 400
# An article that knows the very setting or symptom comes before those that only use its words.
_ANSWER = 30
# An abbreviation like `i.e.` is followed by a small letter, a sentence by none.
_SENTENCE_END = re.compile(r"(?<=[.?!]) (?=[A-Z`])")


@dataclass(frozen=True, slots=True)
class Hit:
    """An article that the words point to: how well, the experiments that match, and the lines that do."""

    article: Article
    score: int
    experiments: tuple[Listing, ...]
    lines: tuple[str, ...]


def find(words: Sequence[str], catalogue: Catalogue) -> tuple[Hit, ...]:
    """The articles in which every word occurs, best first: a setting or symptom, a title or id count more than the text.

    Words match without regard to case and to `_`, `-` and spaces, so that a setting can be typed as it is read.
    """
    wanted = [_folded(word) for word in words if _folded(word)]
    hits = (_hit(wanted, article) for article in catalogue.articles)
    return tuple(sorted((hit for hit in hits if hit), key=lambda hit: -hit.score))


def _hit(wanted: list[str], article: Article) -> Hit | None:
    front = article.front
    titles = _folded(" ".join([front.title, front.tradeoff or "", front.slug, *(each.id for each in article.experiments)]))
    known: tuple[Setting | Symptom, ...] = (*front.settings, *front.symptoms)
    answers = [each for each in known if _speaks_of_all(each.sentences(), wanted)]
    sources = [_text_of(each) for each in _one_per_file(article.experiments)]
    sentences = [front.summary, *_prose(article.body())]
    sentences += [sentence for source in sources for sentence in _sentences_in(source)]
    everything = _folded("\n".join([titles, *(each.sentences() for each in known), article.body(), *sentences, *sources]))
    if not wanted or not all(word in everything for word in wanted):
        return None
    answering = {each.experiment for each in answers}
    told = tuple(each for each in article.experiments if each.id in answering)
    named = tuple(each for each in article.experiments if _speaks(f"{each.id} {each.question}", wanted))
    mentioned = tuple(each for each in article.experiments if _speaks(_text_of(each), wanted))
    # Beside an answer, sentences that share only one of its words would be noise.
    speaks = _speaks_of_all if answers else _speaks
    matching = dict.fromkeys([*(each.sentences() for each in answers), *(each for each in sentences if speaks(each, wanted))])
    score = sum(10 * (word in titles) + min(everything.count(word), 9) for word in wanted) + _ANSWER * bool(answers)
    return Hit(article, score, told or named or mentioned or article.experiments, tuple(matching)[:_MOST_LINES])


def _prose(text: str) -> list[str]:
    """The sentences of an article's text: its paragraphs and list items, unwrapped."""
    paragraphs = [" ".join(each.split()).removeprefix("- ") for each in re.split(r"\n\s*\n|\n(?=- )", text.strip())]
    return [sentence for paragraph in paragraphs for sentence in _SENTENCE_END.split(paragraph) if sentence]


def _sentences_in(source: str) -> list[str]:
    """What an experiment says in words: the meaning of its factors, its claims and their reasons, what it cites."""
    nodes = list(ast.walk(ast.parse(source)))
    # The pieces between the braces of a formatted text are no sentences of their own.
    pieces = {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
    texts = [
        node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in pieces
    ]
    return [each for text in texts for each in _prose(text) if " " in each and len(each) < _LONGEST]


def _speaks_of_all(text: str, wanted: Sequence[str]) -> bool:
    folded = _folded(text)
    return all(word in folded for word in wanted)


def _speaks(text: str, wanted: Sequence[str]) -> bool:
    folded = _folded(text)
    return any(word in folded for word in wanted)


def _text_of(listing: Listing) -> str:
    return listing.file.read_text(encoding="utf-8", errors="replace")


def _one_per_file(listings: Sequence[Listing]) -> list[Listing]:
    return list({listing.file: listing for listing in listings}.values())


def _folded(text: str) -> str:
    return re.sub(r"[\s_\-]+", " ", text.lower()).strip()
