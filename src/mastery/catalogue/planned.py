"""The experiments that an article announces and that cannot be run yet: the items of its text that begin with an id."""

import re

from mastery.catalogue.catalogue import Article, Catalogue

_ITEM = re.compile(r"^- `([a-z0-9]+(?:-[a-z0-9]+)*)`", re.MULTILINE)


def planned_in(article: Article) -> tuple[str, ...]:
    """The ids that the article announces, without those that exist."""
    existing = {listing.id for listing in article.experiments}
    return tuple(each for each in dict.fromkeys(_ITEM.findall(article.body())) if each not in existing)


def announcing(name: str, catalogue: Catalogue) -> Article | None:
    """The article that announces an experiment of this id; None where nobody does or where it exists."""
    if any(listing.id == name for listing in catalogue.experiments()):
        return None
    return next((article for article in catalogue.articles if name in planned_in(article)), None)
