"""What an examination found: a line for each check, what is wrong or worth knowing, and the command that mends it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

FAILED, FOUND = 1, 3
_SHOWN = 10
"""Findings of one kind that are printed; `--json` has all of them."""


@dataclass(frozen=True, slots=True)
class Symptom:
    """One thing that is wrong, or worth knowing.

    Attributes:
        check: What was examined: connection, versions, rights, clock, journal, keys, sandbox, families, events or
            registry.
        kind: What kind of thing it is, such as pickle.
        where: What it is about.
        problem: What is wrong with it.
        remedy: What mends it, with the command.
        is_finding: Whether something is wrong; otherwise it is only worth knowing.
    """

    check: str
    kind: str
    where: str
    problem: str
    remedy: str
    is_finding: bool = True


@dataclass(slots=True)
class Diagnosis:
    """Collects what the checks say.

    Attributes:
        said: What each check that was made saw, in the order they were made.
        symptoms: What is wrong, and what is worth knowing.
        unreachable: The checks that failed because registry or journal could not be read at all.
    """

    said: dict[str, str] = field(default_factory=dict)
    symptoms: list[Symptom] = field(default_factory=list)
    unreachable: list[str] = field(default_factory=list)

    def fail(self, check: str, why: str) -> None:
        """Note that something could not be reached."""
        self.said[check] = why
        self.unreachable.append(check)

    def find(self, check: str, kind: str, where: str, problem: str, remedy: str) -> None:
        """Note something that is wrong."""
        self.symptoms.append(Symptom(check, kind, where, problem, remedy))

    def remark(self, check: str, kind: str, where: str, problem: str, remedy: str) -> None:
        """Note something that is worth knowing."""
        self.symptoms.append(Symptom(check, kind, where, problem, remedy, is_finding=False))

    @property
    def findings(self) -> list[Symptom]:
        """What is wrong."""
        return [symptom for symptom in self.symptoms if symptom.is_finding]

    @property
    def exit_code(self) -> int:
        """0 when nothing is wrong."""
        return FAILED if self.unreachable else FOUND if self.findings else 0

    @property
    def summary(self) -> str:
        """In one line, what is wrong."""
        if not self.exit_code:
            return "nothing is wrong"
        if self.unreachable:
            return "; ".join(f"{check}: {self.said[check]}" for check in self.unreachable)
        kinds = Counter(symptom.kind for symptom in self.findings)
        named = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())
        return f"{len(self.findings):,} findings ({named}), each with what mends it"

    def lines(self) -> Iterator[str]:
        """All of it for people: each check, and below it what was found."""
        width = max(map(len, self.said), default=0)
        for check, text in self.said.items():
            symptoms = [symptom for symptom in self.symptoms if symptom.check == check]
            bad = check in self.unreachable or any(symptom.is_finding for symptom in symptoms)
            yield f"{'❌' if bad else '⚠️' if symptoms else '✅'} {check:<{width}}  {text}"
            kinds: Counter[tuple[str, bool]] = Counter()
            for symptom in sorted(symptoms, key=lambda symptom: not symptom.is_finding):
                kinds[symptom.kind, symptom.is_finding] += 1
                if kinds[symptom.kind, symptom.is_finding] <= _SHOWN:
                    yield f"   {'❌' if symptom.is_finding else '⚠️'} {symptom.where}: {symptom.problem}"
                    yield f"      → {symptom.remedy}"
            for (kind, _), count in kinds.items():
                if count > _SHOWN:
                    yield f"   … and {count - _SHOWN} more of kind {kind}; --json has all of them"

    def as_json(self) -> dict[str, Any]:
        """The same as plain data."""
        told: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
        for document in map(asdict, self.symptoms):
            told[document.pop("is_finding")].append(document)
        return {
            "exit_code": self.exit_code,
            "message": self.summary,
            "checks": dict(self.said),
            "unreachable": list(self.unreachable),
            "findings": told[True],
            "remarks": told[False],
        }
