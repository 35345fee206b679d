"""Arms are named by what tells them apart, in as few words as do so."""

import msgspec
from sample_run import sample_run

from mastery.lab.document import ArmRecord, FactorRecord, RunDocument
from mastery.report.labels import heading, named, short

NAMES = ("sync", "call", "layout", "record")
LEVELS = [("every", "fsync", "append", 1), ("never", "fsync", "append", 1), ("every", "o_dsync", "append", 1)]
MORE = [("every", "fsync", "overwrite", 1), ("group", "fsync", "append", 8)]


def crowded() -> RunDocument:
    arms = [
        ArmRecord(index=index, levels=dict(zip(NAMES, levels, strict=True)), label="", baseline=index == 0)
        for index, levels in enumerate([*LEVELS, *MORE])
    ]
    factors = [FactorRecord(name=name, levels=[], baseline="") for name in NAMES]
    return msgspec.structs.replace(sample_run(), arms=arms, factors=factors)


def test_with_few_factors_a_row_holds_the_levels_and_the_heading_their_names() -> None:
    document = sample_run()
    assert heading(document).split() == [name for name in heading(document).split() if name in {f.name for f in document.factors}]
    assert "=" not in short(document, document.arms[0])


def test_with_many_factors_a_row_says_what_differs_from_the_baseline() -> None:
    document = crowded()
    rows = [short(document, arm) for arm in document.arms]
    assert rows == ["every fsync append 1", "sync=never", "call=o_dsync", "layout=overwrite", "sync=group record=8"]
    assert "*" in heading(document)


def test_in_a_sentence_a_crowded_arm_is_named_by_what_differs_and_the_baseline_as_such() -> None:
    document = crowded()
    assert [named(document, index) for index in (0, 1, 4)] == ["the baseline", "sync=never", "sync=group record=8"]
    assert named(sample_run(), 0) == "sync=every"
