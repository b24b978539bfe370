"""The results of samples: medians over the rounds, and ratios."""

from collections.abc import Sequence
from statistics import median

from tests.bench.race import Sample


class Results:
    """The results."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.samples = samples

    @property
    def contestants(self) -> list[str]:
        """The names of all contestants, in order of their first sample in the first round."""
        return list(dict.fromkeys(sample.contestant for sample in self.samples))

    @property
    def workloads(self) -> list[str]:
        """The ids of all measured workloads."""
        return list(dict.fromkeys(sample.workload for sample in self.samples if sample.figures))

    def _by_round(self, contestant: str, workload: str, figure: str) -> dict[int, float]:
        return {
            sample.round: sample.figures[figure]
            for sample in self.samples
            if (sample.contestant, sample.workload) == (contestant, workload)
            and figure in sample.figures
        }

    def median(self, contestant: str, workload: str, figure: str) -> float | None:
        """Return the median over the rounds; None if the figure was not measured."""
        values = self._by_round(contestant, workload, figure)
        return median(values.values()) if values else None

    def ratio(self, one: str, other: str, workload: str, figure: str) -> float | None:
        """Return the ratio of a figure of two contestants, as the median over the rounds.

        Samples of the same round are compared, so that the load of the machine cancels out.
        """
        ours, theirs = (self._by_round(name, workload, figure) for name in (one, other))
        return _ratio(ours, theirs)

    def ratio_between(
        self, contestant: str, workload: str, other: str, figure: str
    ) -> float | None:
        """Return the ratio of a figure of two workloads of one contestant."""
        ours, theirs = (self._by_round(contestant, name, figure) for name in (workload, other))
        return _ratio(ours, theirs)


def _ratio(ours: dict[int, float], theirs: dict[int, float]) -> float | None:
    ratios = [ours[number] / theirs[number] for number in ours if theirs.get(number)]
    return median(ratios) if ratios else None
