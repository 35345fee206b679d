"""The catalogue: articles found by their folders, their experiments by name; nothing is registered and nothing imported."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

from mastery.catalogue import front_matter
from mastery.catalogue.declared import Complaint, Listing, experiments_in
from mastery.catalogue.front_matter import FrontMatter
from mastery.errors import MasteryError, UnknownName, UsageError

OUR_ARTICLES = Path(__file__).parent.parent / "articles"
# A company's own distribution names its folders of articles under this group: `ours = "our_articles"`.
ENTRY_POINT_GROUP = "mastery.articles"


@dataclass(frozen=True, slots=True)
class Article:
    """One article: its folder, its front matter, and the experiments that its modules declare."""

    folder: Path
    front: FrontMatter
    experiments: tuple[Listing, ...]
    # Empty for ours; else the name under which somebody else's articles were found.
    origin: str = ""

    @property
    def identifier(self) -> str:
        return self.folder.name

    def names(self) -> tuple[str, ...]:
        """Every name under which a reader may ask for the article; all mean the same one."""
        front = self.front
        stem = front.file.rsplit("/", 1)[-1]
        return (front.id, self.identifier, front.slug, front.number, stem, stem.removesuffix(".md"), *front.aliases)

    def body(self) -> str:
        """The text below the front matter."""
        parts = front_matter.split((self.folder / "article.md").read_text(encoding="utf-8"))
        return parts[1] if parts else ""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All articles in the order of the series, and what was wrong with those that could not be taken."""

    articles: tuple[Article, ...]
    complaints: tuple[Complaint, ...] = ()

    def experiments(self) -> tuple[Listing, ...]:
        return tuple(listing for article in self.articles for listing in article.experiments)

    def article(self, name: str) -> Article:
        """The article of this number, id, folder, file or slug; raises `UnknownName` with the nearest names."""
        found = self.find_article(name)
        if found is None:
            known = [each for article in self.articles for each in article.names()]
            raise UnknownName("article", name, known, remedy="See `mastery list`.")
        return found

    def find_article(self, name: str) -> Article | None:
        wanted = _folded(name)
        return next((each for each in self.articles if wanted in map(_folded, each.names())), None)

    def experiment(self, name: str) -> Listing:
        """The experiment of this id, or the one that stands for the article of this name.

        An article stands for its headline experiment, else for its only one; with several and no headline the refusal
        names them.
        """
        for listing in self.experiments():
            if listing.id == name:
                return listing
        article = self.find_article(name)
        if article is None:
            known = [listing.id for listing in self.experiments()]
            known += [each for article in self.articles for each in article.names()]
            raise UnknownName(
                "experiment", name, known, remedy="See `mastery list`, or give the path of your own file (./name.py)."
            )
        return _spokesman(article)


def _spokesman(article: Article) -> Listing:
    row = article.front.quick_reference
    headline = row.headline.experiment if row and row.headline else None
    for listing in article.experiments:
        if listing.id == headline or len(article.experiments) == 1:
            return listing
    if not article.experiments:
        raise UsageError(f"Article {article.front.number} has no experiment yet.", remedy="See `mastery list`.")
    ids = ", ".join(listing.id for listing in article.experiments)
    raise UsageError(f"Article {article.front.number} has several experiments: {ids}.", remedy="Name one of them.")


def load_catalogue(*roots: Path, third_parties: bool = True) -> Catalogue:
    """Reads the articles below our own folder (or the given ones) and below those that other distributions name."""
    articles: list[Article] = []
    complaints: list[Complaint] = []
    places = [(root, "") for root in roots or (OUR_ARTICLES,)]
    if third_parties and not roots:
        places += list(_named_by_others(complaints))
    for root, origin in places:
        for folder in _article_folders(root, complaints):
            try:
                articles.append(_read_article(folder, origin, complaints))
            except MasteryError as error:
                complaints.append(Complaint(folder / "article.md", 1, error.message, error.remedy))
            except (OSError, UnicodeDecodeError) as error:
                complaints.append(Complaint(folder / "article.md", 1, f"It cannot be read: {error}.", "Mend or remove it."))
    complaints += _clashes(articles)
    return Catalogue(tuple(sorted(articles, key=_place)), tuple(complaints))


def _article_folders(root: Path, complaints: list[Complaint]) -> list[Path]:
    try:
        return sorted(folder for folder in root.iterdir() if (folder / "article.md").is_file())
    except OSError as error:
        complaints.append(Complaint(root, 0, f"This folder of articles cannot be read: {error.strerror}.", "Check its path."))
        return []


def _read_article(folder: Path, origin: str, complaints: list[Complaint]) -> Article:
    path = folder / "article.md"
    front = front_matter.parse(path.read_text(encoding="utf-8"), path=path)
    listings: list[Listing] = []
    for file in sorted(folder.glob("*.py")):
        try:
            listings += experiments_in(file, article=folder.name)
        except SyntaxError as error:
            complaints.append(Complaint(file, error.lineno or 1, f"{error.msg}.", "Mend this line."))
        except (OSError, ValueError) as error:
            complaints.append(Complaint(file, 1, f"It cannot be read: {error}.", "Mend or remove it."))
    return Article(folder, front, tuple(listings), origin)


def _named_by_others(complaints: list[Complaint]) -> Iterator[tuple[Path, str]]:
    for entry in metadata.entry_points(group=ENTRY_POINT_GROUP):
        # The package is located, not imported: looking up a dotted name would import the parents, so the rest is a path.
        package, *below = entry.module.split(".")
        try:
            spec = util.find_spec(package)
        except (ImportError, ValueError):
            spec = None
        folders = list(spec.submodule_search_locations or []) if spec else []
        if not folders:
            text = f"The entry point {entry.name!r} names {entry.module!r}, which is no installed package."
            complaints.append(Complaint(Path(entry.module), 0, text, "Update or remove the distribution that declares it."))
        yield from ((Path(folder, *below), entry.name) for folder in folders)


def _clashes(articles: Iterable[Article]) -> Iterator[Complaint]:
    """Ids are unique: the first to use one keeps it."""
    seen: dict[str, Path] = {}
    for article in articles:
        for listing in article.experiments:
            if listing.id in seen:
                text = f"The experiment {listing.id!r} is declared in {seen[listing.id]} already."
                yield Complaint(listing.file, listing.line, text, "Give it another id.")
            seen.setdefault(listing.id, listing.file)


def _place(article: Article) -> tuple[str, str, tuple[int, str]]:
    """Ours first; within an origin the articles by number, then the system designs (`SD-01`)."""
    letters, digits = re.match(r"([A-Za-z]*)-?(\d*)", article.front.number).groups()  # type: ignore[union-attr]
    return article.origin, letters, (int(digits or 0), article.front.number)


def _folded(name: str) -> str:
    """`3`, `03` and `SD-2`, `sd02` are the same names."""
    lowered = name.strip().lower().replace("-", "").replace("_", "")
    match = re.fullmatch(r"([a-z]{0,2})0*(\d{1,3})", lowered)
    return f"{match.group(1)}{match.group(2)}" if match else lowered
