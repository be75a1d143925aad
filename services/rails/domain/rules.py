"""The rails there are, and how each makes its list of the candidates."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from services.rails.domain import latest, popular
from services.rails.domain.candidates import Candidate

Rule = Callable[[Sequence[str], Sequence[Candidate]], list[Candidate]]
"""From the ids of the list as it is and the candidates, the best first."""

RULES: Final[Mapping[str, Rule]] = {"latest": latest.cut, "popular": popular.steady}
