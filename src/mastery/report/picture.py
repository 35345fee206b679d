"""A plot of a run as a file: SVG of our own, else Vega-Lite drawn by the extra `plots`."""

import json
from collections.abc import Callable
from typing import Any

from mastery.errors import DomainError, NeedsExtra, UsageError
from mastery.lab.document import RunDocument
from mastery.report import plot_vega
from mastery.report.dots import dots_of
from mastery.report.plot_svg import svg

KINDS = ("dots", "percentiles", "frontier")
SUFFIXES = (".svg", ".png", ".json")


def picture(document: RunDocument, kind: str, suffix: str, *, metric: str | None = None) -> bytes:
    """The bytes of the file; raises `UsageError` for a suffix that we cannot write, `DomainError` for a plot without data.

    Dots as SVG need no extra; everything else but the Vega-Lite itself raises `NeedsExtra` without it.
    """
    if suffix not in SUFFIXES:
        raise UsageError(
            f"A plot cannot be written as {suffix or 'a file without an ending'}.", remedy=f"Use {', '.join(SUFFIXES)}."
        )
    if kind == "dots" and suffix == ".svg":
        dots = dots_of(document, metric)
        if dots is not None:
            return svg(dots, standalone=True).encode()
    spec = _spec(document, kind, metric)
    if spec is None:
        raise DomainError(f"Run {document.id} holds no data for the plot {kind!r}.", remedy=f"Choose another: {', '.join(KINDS)}.")
    if suffix == ".json":
        return (json.dumps(spec, indent=2) + "\n").encode()
    return _converter(suffix)(spec)


def _spec(document: RunDocument, kind: str, metric: str | None) -> dict[str, Any] | None:
    if kind == "percentiles":
        return plot_vega.percentile_spec(document)
    if kind == "frontier":
        return plot_vega.frontier_spec(document)
    dots = dots_of(document, metric)
    return plot_vega.dots_spec(dots) if dots else None


def _converter(suffix: str) -> Callable[[dict[str, Any]], bytes]:
    try:
        import vl_convert
    except ImportError as error:
        raise NeedsExtra("plots", why=f"A plot as {suffix}") from error
    if suffix == ".svg":
        return lambda spec: vl_convert.vegalite_to_svg(spec).encode()
    return lambda spec: vl_convert.vegalite_to_png(spec, scale=2)
