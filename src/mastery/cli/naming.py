"""What the name behind `run` stands for, said before it is run: one experiment of several, or none that exists yet."""

from mastery.catalogue.catalogue import Article, Catalogue
from mastery.catalogue.planned import announcing, planned_in
from mastery.cli.terminal import Terminal
from mastery.errors import UsageError
from mastery.report.plain_text import printable


def check_name(name: str, catalogue: Catalogue, terminal: Terminal) -> None:
    """Says which of an article's experiments is run; raises `UsageError` for one that is announced only."""
    if any(listing.id == name for listing in catalogue.experiments()):
        return
    article = catalogue.find_article(name)
    if article is None:
        author = announcing(name, catalogue)
        if author is not None:
            raise UsageError(
                f"The experiment {name} is planned for article {author.front.number} and cannot be run yet.",
                remedy=_runnable(author, catalogue),
            )
        return
    if not article.experiments:
        planned = ", ".join(planned_in(article))
        raise UsageError(
            f"Article {article.front.number} has no experiment yet{f'; planned: {planned}' if planned else ''}.",
            remedy=_runnable(article, catalogue),
        )
    if len(article.experiments) > 1:
        chosen = catalogue.experiment(name).id
        others = [listing.id for listing in article.experiments if listing.id != chosen]
        terminal.note(printable(f"Article {article.front.number} stands for {chosen}. Its others: {', '.join(others)}."))


def _runnable(article: Article, catalogue: Catalogue) -> str:
    """What can be run instead: the article's own experiments where it has some, else all."""
    ids = [listing.id for listing in article.experiments or catalogue.experiments()]
    return f"These can be run: {', '.join(ids)}." if ids else "Give the path of an experiment of your own (./name.py)."
