"""What a run says of itself: outliers are marked and kept, and counted only where there is something to stand out from."""

from test_run_loop import FakeMachine, document_in, events_of, plan_of

from mastery.lab.plan import Task
from mastery.lab.remarks import outliers


def test_a_value_far_from_the_others_stands_out_and_equal_ones_do_not() -> None:
    assert outliers([1.0, 1.1, 0.9, 1.05, 0.95, 1.02, 9.0]) == [9.0]
    assert outliers([1.0] * 9 + [2.0]) == []
    assert outliers([1.0, 50.0]) == []


def test_an_outlier_is_told_of_and_kept() -> None:
    class Hiccup(FakeMachine):
        def start(self, task: Task):  # type: ignore[no-untyped-def]
            record, histogram = super().start(task)
            if (task.block, task.slot.arm) == (3, 2):
                record.metrics["seconds_each"] *= 40
            return record, histogram

    document = document_in(events_of(plan_of(), Hiccup(noise=0.02)))
    (told,) = [advice for advice in document.advice if advice.code == "outliers"]
    assert "kept" in told.text
    same = document.estimate(2, "seconds_each")
    assert same is not None and same.trials == document.rule.blocks
