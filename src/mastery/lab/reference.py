"""Independent tools that measure an arm of ours inside the same blocks, so that our own figures can be doubted."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from mastery.components.component import Here, Missing

Level = str | int | float | bool


class ReferenceTool(Protocol):
    """A program such as fio or pgbench, wrapped so that it measures what an arm measures."""

    @property
    def name(self) -> str: ...

    def find(self) -> Here | Missing:
        """Whether the tool is on this machine, and its version."""

    def serves(self, levels: Mapping[str, Level]) -> bool:
        """Whether the tool can do exactly what the arm with these levels does; where not, it must not stand beside it."""

    def measure(self, levels: Mapping[str, Level], addresses: Mapping[str, Any], *, seconds: float) -> float:
        """One measurement of the arm with these levels, in the unit of the metric; raises `DomainError` when it fails."""


@dataclass(frozen=True, slots=True)
class Reference:
    """`arm` names the levels that differ from the declared baseline; `within` is the tolerated factor, both ways."""

    id: str
    tool: ReferenceTool
    metric: str
    arm: Mapping[str, Level] = field(default_factory=dict)
    within: float = 1.3
