"""The page and the Markdown of a run: self-contained, escaped, with the data inside."""

import base64
import re
from html.parser import HTMLParser

import msgspec
from sample_run import sample_run

from mastery.lab.document import RunDocument, decode
from mastery.report.markdown import markdown
from mastery.report.page import page, trials_as_csv

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(1)>'


def hostile_run() -> RunDocument:
    document = sample_run()
    arms = [msgspec.structs.replace(arm, levels={**arm.levels, "sync": HOSTILE + str(arm.index)}) for arm in document.arms]
    return sample_run(
        arms=arms,
        question=HOSTILE,
        experiment=HOSTILE,
        id=HOSTILE,
        machine={"machine_class": HOSTILE},
        claims=[msgspec.structs.replace(each, text=HOSTILE, because=HOSTILE, why=HOSTILE) for each in document.claims],
        cited=[msgspec.structs.replace(each, text=HOSTILE, url="javascript:alert(1)") for each in document.cited],
        advice=[msgspec.structs.replace(each, text=HOSTILE) for each in document.advice],
        references=[msgspec.structs.replace(each, tool=HOSTILE) for each in document.references],
    )


class Seen(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[tuple[str, str]] = set()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {(name, value or "") for name, value in attributes}


def seen(text: str) -> Seen:
    parser = Seen()
    parser.feed(text)
    return parser


def test_the_page_asks_nobody_for_anything() -> None:
    links = {value for name, value in seen(page(sample_run())).attributes if name in {"src", "href", "action", "srcset", "data"}}
    assert links
    assert all(link.startswith("data:") for link in links)
    assert "@import" not in page(sample_run())
    assert "url(" not in page(sample_run())


def test_hostile_names_stay_text() -> None:
    found = seen(page(hostile_run()))
    assert not {"script", "img"} & found.tags
    assert not [name for name, _ in found.attributes if name.startswith("on")]
    assert not [value for _, value in found.attributes if value.startswith("javascript:")]
    assert "default-src 'none'" in page(hostile_run())


def test_the_page_carries_the_run_itself_and_its_hash_can_be_checked() -> None:
    document = sample_run()
    encoded = re.search(r'href="data:application/json;base64,([^"]+)"', page(document))
    assert encoded
    assert decode(base64.b64decode(encoded.group(1))) == document


def test_the_page_shows_every_arm_claim_and_doubt() -> None:
    text = page(sample_run())
    for words in ("never", "81,896 records", "not run", "fio 3.33 agrees", "Noise floor", "141 times lower"):
        assert words in text


def test_trials_as_csv_hold_a_line_for_each_trial_and_no_formula() -> None:
    document = sample_run()
    lines = trials_as_csv(document).splitlines()
    assert len(lines) == len(document.trials) + 1
    arms = [msgspec.structs.replace(arm, levels={**arm.levels, "sync": "=HYPERLINK(1)"}) for arm in document.arms]
    assert ",'=HYPERLINK(1)," in trials_as_csv(sample_run(arms=arms))


def test_markdown_keeps_its_table_whole_under_hostile_names() -> None:
    document = sample_run()
    arms = [msgspec.structs.replace(arm, levels={**arm.levels, "sync": f"a|b`<i>{arm.index}\n"}) for arm in document.arms]
    rows = [line for line in markdown(sample_run(arms=arms)).splitlines() if line.startswith("| ")]
    assert len(rows) == len(document.arms) + 2
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {8}
    assert "<i>" not in re.sub(r"\\<", "", markdown(sample_run(arms=arms)))
