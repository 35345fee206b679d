"""The plots of a run as Vega-Lite: dots with intervals, percentile curves, the frontier; plain dictionaries."""

from collections.abc import Sequence
from typing import Any

from mastery.lab.document import MetricRecord, RunDocument
from mastery.lab.histogram import Histogram
from mastery.report import labels, sentences
from mastery.report.axis import Axis, Scale, axis_for
from mastery.report.dots import Dots
from mastery.report.numbers import axis_step
from mastery.report.plain_text import printable

SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"
# Okabe and Ito's, the five that stay apart on white for every kind of colour vision; further arms are grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")
GREY, INK = "#9a9a9a", "#222222"
_QUANTILES = (0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999)

_VEGA_SCALES = {Scale.LOG: "log", Scale.SYMLOG: "symlog", Scale.LINEAR: "linear"}

Spec = dict[str, Any]


def dots_spec(dots: Dots) -> Spec:
    """A row for each arm: estimate with interval, trials faint behind, the baseline as a rule, the noise as a band."""
    factor, symbol = axis_step(dots.rows[0].value, dots.axis.unit)
    rows = [_dot_values(row.label, row.value, row.low, row.high, factor) for row in dots.rows if not row.modelled]
    modelled = [_dot_values(row.label, row.value, row.low, row.high, factor) for row in dots.rows if row.modelled]
    trials = [{"arm": row.label, "value": each / factor} for row in dots.rows for each in row.trials]
    guesses = [{"arm": row.label, "value": each / factor} for row in dots.rows for each in row.predicted]
    scale: Spec = {"type": _VEGA_SCALES[dots.axis.scale], "domain": [dots.axis.low / factor, dots.axis.high / factor]}
    unit = f" in {symbol}" if symbol else ""
    title = dots.axis_title.replace(dots.metric, f"{dots.metric}{unit}", 1)
    arm: Spec = {"field": "arm", "type": "nominal", "sort": [row.label for row in dots.rows], "title": None}
    ticks = {"values": [tick.value / factor for tick in dots.axis.ticks()]}
    value: Spec = {"field": "value", "type": "quantitative", "scale": scale, "title": title, "axis": ticks}
    span = {"y": arm, "x": {**value, "field": "low"}, "x2": {"field": "high"}}
    layers: list[Spec] = []
    if dots.floor:
        band = [{"low": dots.floor[0] / factor, "high": dots.floor[1] / factor}]
        layers.append(_layer(band, {"type": "rect", "color": GREY, "opacity": 0.25}, {"x": span["x"], "x2": span["x2"]}))
    if dots.baseline is not None:
        home = [{"value": dots.baseline / factor}]
        layers.append(_layer(home, {"type": "rule", "color": GREY, "strokeDash": [3, 3]}, {"x": value}))
    layers += [
        _layer(trials, {"type": "point", "filled": True, "color": INK, "opacity": 0.2, "size": 22}, {"y": arm, "x": value}),
        _layer([row for row in rows if "low" in row], {"type": "rule", "color": COLOURS[0], "strokeWidth": 2.5}, span),
        _layer(rows, {"type": "point", "filled": True, "color": COLOURS[0], "opacity": 1, "size": 70}, {"y": arm, "x": value}),
    ]
    if modelled:
        hollow = {"type": "point", "shape": "diamond", "color": COLOURS[0], "opacity": 1, "size": 90, "strokeWidth": 2}
        layers.append(_layer(modelled, hollow, {"y": arm, "x": value}))
    if guesses:
        mark = {"type": "point", "color": COLOURS[4], "opacity": 1, "size": 130, "strokeWidth": 2}
        layers.append(_layer(guesses, mark, {"y": arm, "x": value}))
    return _whole(dots.title, dots.subtitle, layers, height={"step": 30})


def percentile_spec(document: RunDocument) -> Spec | None:
    """Latency against the percentile on a scale of 1/(1 - p), one line for each arm; None without histograms."""
    values: list[Spec] = []
    names: list[str] = []
    for arm in document.arms:
        sparse = document.histograms.get(str(arm.index))
        if sparse is None:
            continue
        names.append(labels.short(document, arm))
        values += _curve(names[-1], Histogram.from_sparse(sparse))
    if not values:
        return None
    axis = axis_for([each["seconds"] for each in values], "s")
    factor, symbol = axis_step(max(axis.low, values[0]["seconds"]), "s")
    values = [{**each, "latency": each["seconds"] / factor} for each in values]
    # The axis counts how many operations there are for one slower one, and is labelled with the percentile that this means.
    ticks = [2, 10, 100, 1000, 10_000]
    label = "".join(f"datum.value == {tick} ? 'p{100 - 100 / tick:g}' : " for tick in ticks) + "''"
    x: Spec = {"field": "rarity", "type": "quantitative", "scale": {"type": "log"}, "title": "percentile, log scale of 1/(1-p)"}
    x["axis"] = {"values": ticks, "labelExpr": label}
    scale = {"type": _VEGA_SCALES[axis.scale], "domain": [axis.low / factor, axis.high / factor]}
    y: Spec = {"field": "latency", "type": "quantitative", "scale": scale, "title": f"latency in {symbol}, {scale['type']} scale"}
    y["axis"] = {"values": [tick.value / factor for tick in axis.ticks()]}
    encoding: Spec = {"x": x, "y": y, "color": {**_colour(names), "legend": None}, "detail": {"field": "arm"}}
    ends = [each for name in names for each in [value for value in values if value["arm"] == name][-1:]]
    text = {"type": "text", "align": "left", "dx": 6}
    layers = [
        _layer(values, {"type": "line", "interpolate": "monotone"}, encoding),
        _layer(_apart(ends, axis, factor), text, {**encoding, "y": {**y, "field": "label"}, "text": {"field": "arm"}}),
    ]
    return _whole(sentences.headline(document), sentences.provenance(document), layers, height=300)


def frontier_spec(document: RunDocument) -> Spec | None:
    """Each arm by two metrics with crossed intervals; those that another arm beats on both are grey. None without two metrics."""
    pair = _pair(document)
    if pair is None:
        return None
    across, up = pair
    edge = set(document.frontier.arms) if document.frontier else set()
    points: list[Spec] = []
    for arm in document.arms:
        x, y = _position(document, across, arm.index), _position(document, up, arm.index)
        if x is not None and y is not None:
            named = {"arm": labels.short(document, arm), "beaten": arm.index not in edge}
            points.append({**named, "x": x[0], "x1": x[1], "x2": x[2], "y": y[0], "y1": y[1], "y2": y[2]})
    if not points:
        return None
    points.sort(key=lambda point: float(point["x"]))
    colour = {"condition": {"test": "datum.beaten", "value": GREY}, "value": COLOURS[0]}
    x_axis, y_axis = _axis("x", across, points), _axis("y", up, points)
    layers = [
        _layer(points, {"type": "rule"}, {"x": {**x_axis, "field": "x1"}, "x2": {"field": "x2"}, "y": y_axis, "color": colour}),
        _layer(points, {"type": "rule"}, {"y": {**y_axis, "field": "y1"}, "y2": {"field": "y2"}, "x": x_axis, "color": colour}),
        _layer(points, {"type": "point", "filled": True, "size": 70, "opacity": 1}, {"x": x_axis, "y": y_axis, "color": colour}),
    ]
    # Neighbours carry their labels at two heights in turn.
    words = {"x": x_axis, "y": y_axis, "text": {"field": "arm"}, "color": colour}
    layers += [
        _layer(points[turn::2], {"type": "text", "align": "left", "dx": 6, "dy": dy}, words) for turn, dy in ((0, -10), (1, -24))
    ]
    best = ", ".join(str(point["arm"]) for point in points if not point["beaten"])
    title = f"Not beaten on {printable(across.name)} and {printable(up.name)}: {best}"
    return _whole(title, sentences.provenance(document), layers, height=320)


def _dot_values(label: str, value: float, low: float | None, high: float | None, factor: float) -> Spec:
    span = {"low": low / factor, "high": high / factor} if low is not None and high is not None else {}
    return {"arm": label, "value": value / factor, **span}


def _curve(name: str, histogram: Histogram) -> list[Spec]:
    """Only percentiles with at least four samples beyond them: the last ones would be a single operation's luck."""
    shown = [quantile for quantile in _QUANTILES if histogram.count * (1 - quantile) >= 4]
    return [{"arm": name, "rarity": 1 / (1 - each), "seconds": histogram.percentile_ns(each) * 1e-9} for each in shown]


def _apart(ends: list[Spec], axis: Axis, factor: float) -> list[Spec]:
    """The ends of the curves with a place for each label, pushed upwards where two would lie on one another."""
    placed: list[Spec] = []
    free_from = 0.0
    for end in sorted(ends, key=lambda each: float(each["seconds"])):
        at = max(axis.place(end["seconds"]), free_from)
        free_from = at + 0.055
        placed.append({**end, "label": axis.value(at) / factor})
    return placed


def _pair(document: RunDocument) -> tuple[MetricRecord, MetricRecord] | None:
    known = {metric.name for metric in document.metrics}
    named = [name for name in (document.frontier.metrics if document.frontier else []) if name in known]
    if len(named) < 2:
        return None
    return document.metric(named[0]), document.metric(named[1])


def _position(document: RunDocument, metric: MetricRecord, arm: int) -> tuple[float, float, float] | None:
    if metric.role == "guardrail":
        record = document.guardrail(arm, metric.name)
        return None if record is None else (record.maximum, record.minimum, record.maximum)
    estimate = document.estimate(arm, metric.name)
    if estimate is None or estimate.withheld:
        return None
    low = estimate.value if estimate.low is None else estimate.low
    return estimate.value, low, estimate.value if estimate.high is None else estimate.high


def _axis(field: str, metric: MetricRecord, points: list[Spec]) -> Spec:
    values = [point[field + end] for point in points for end in ("", "1", "2")]
    axis = axis_for(values, metric.unit)
    shown: Spec = {"values": [tick.value for tick in axis.ticks()]}
    shown["labelExpr"] = "".join(f"datum.value == {tick.value!r} ? '{tick.label}' : " for tick in axis.ticks()) + "''"
    title = f"{printable(metric.name)}, {axis.scale}, {metric.better} is better"
    scale = {"type": _VEGA_SCALES[axis.scale], "domain": [axis.low, axis.high]}
    return {"field": field, "type": "quantitative", "scale": scale, "title": title, "axis": shown}


def _colour(names: Sequence[str]) -> Spec:
    colours = [*COLOURS, *[GREY] * len(names)][: len(names)]
    return {"field": "arm", "type": "nominal", "scale": {"domain": list(names), "range": colours}}


def _layer(values: list[Spec], mark: Spec, encoding: Spec) -> Spec:
    return {"data": {"values": values}, "mark": {**mark, "tooltip": False}, "encoding": encoding}


def _whole(title: str, subtitle: str, layers: list[Spec], *, height: int | Spec) -> Spec:
    return {
        "$schema": SCHEMA,
        "title": {"text": title, "subtitle": subtitle, "anchor": "start", "fontSize": 15, "subtitleFontSize": 11, "offset": 12},
        "width": 520,
        "height": height,
        "padding": 12,
        "layer": layers,
        "config": {
            "view": {"stroke": None},
            "font": "sans-serif",
            "axis": {"gridColor": "#e4e4e4", "domain": False, "ticks": False},
        },
    }
