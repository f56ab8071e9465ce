"""Finding and Report: what checks say, in sentences that name what to do."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from glmhmm_pyro.displays import display, framed, listed

if TYPE_CHECKING:
    import pandas as pd

# From the least to the worst.
NOTE, WARNING, UNUSABLE = SEVERITIES = ("note", "warning", "unusable")

# Why checks of covariates are left out where nothing is known of them.
UNTOLD = "a model of your own does not tell its covariates"

# p value below which each of the checks that have one warns of a fit.
RATE = 0.005


@dataclass(frozen=True)
class Finding:
    """One thing that a check found.

    Attributes:
        code: of what kind it is, such as ``"twin-states"``.
        severity: ``"note"``, worth knowing; ``"warning"``, to be mended or explained
            before a result is believed; ``"unusable"``, a part of the result means
            nothing.
        sentence: what was found, and what to do.
        p_value: how often chance alone would look as bad, where that is how it was
            found; corrected for all that its check looks at.
    """

    code: str
    severity: str
    sentence: str
    p_value: float | None = None


@dataclass(frozen=True, repr=False)
class Report:
    """What checks found; a sequence of findings, the worst first.

    Attributes:
        subject: what was looked at.
        findings: all of them.
        made: names of the checks that were made.
        left_out: why others could not be, by name.

    Example:
        >>> report = Report.of("a fit", [Finding("far", "note", "It is far: go near.")])
        >>> report
        Checks of a fit: 1 note; 0 checks made
          note far: It is far: go near.
        >>> report.codes, report.warns
        (('far',), False)
    """

    subject: str
    findings: tuple[Finding, ...]
    made: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        subject: str,
        findings: Iterable[Finding],
        made: Iterable[str] = (),
        left_out: Mapping[str, str] | None = None,
    ) -> "Report":
        """The report of findings in any order; those of one sentence count once."""
        by_severity = sorted(findings, key=lambda f: -SEVERITIES.index(f.severity))
        once = {finding.sentence: finding for finding in reversed(by_severity)}
        kept = tuple(f for f in by_severity if once[f.sentence] is f)
        return cls(subject, kept, tuple(made), dict(left_out or {}))

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __len__(self) -> int:
        return len(self.findings)

    @property
    def codes(self) -> tuple[str, ...]:
        """Codes of the findings, each once."""
        return tuple(dict.fromkeys(finding.code for finding in self.findings))

    @property
    def warns(self) -> bool:
        """Whether a finding is more than a note."""
        return any(finding.severity != NOTE for finding in self.findings)

    @property
    def table(self) -> "pd.DataFrame":
        """One row a finding: columns severity, sentence, p_value; index code."""
        import pandas as pd

        columns = ["code", "severity", "sentence", "p_value"]
        rows = [[getattr(f, name) for name in columns] for f in self.findings]
        found = pd.DataFrame(rows, columns=columns).set_index("code")
        return found.astype({"p_value": float})

    def __repr__(self) -> str:
        lines = [f"  {f.severity} {f.code}: {f.sentence}" for f in self.findings]
        lines += [f"  not made: {what}, for {why}" for what, why in self._not_made]
        return "\n".join([f"Checks of {self._summary}", *lines])

    def _repr_html_(self) -> str:
        parts = {
            "Findings": framed(self.table) if self.findings else "",
            "Checks made": listed([", ".join(self.made)]) if self.made else "",
            "Checks left out": listed([f"{n}: {why}" for n, why in self._not_made]),
        }
        shown = [f"{f.severity} {f.code}: {f.sentence}" for f in self.findings[:3]]
        return display(f"Checks of {self._summary}", "\n".join(shown), parts)

    @property
    def _not_made(self) -> list[tuple[str, str]]:
        return list(self.left_out.items())

    @property
    def _summary(self) -> str:
        counts = [sum(f.severity == s for f in self.findings) for s in SEVERITIES]
        named = [
            f"{number} {severity}{'s' * (number > 1 and severity != UNUSABLE)}"
            for number, severity in zip(counts, SEVERITIES)
            if number
        ]
        found = ", ".join(reversed(named)) or "nothing found"
        number = len(self.made)
        return f"{self.subject}: {found}; {number} check{'s' * (number != 1)} made"
