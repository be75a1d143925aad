"""What a reader's comment must be. Plain text: nothing in it is ever markup."""

from typing import Final

import regex
from pydantic import BaseModel, ConfigDict, field_validator

from services.ingest.domain import text
from shared.events import COMMENT_MAX_GRAPHEMES

NAME_MAX_GRAPHEMES: Final = 60
_GRAPHEME: Final = regex.compile(r"\X")


class PostedComment(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str
    text: str

    @field_validator("name")
    @classmethod
    def fit_name(cls, value: str) -> str:
        return _fit(value, NAME_MAX_GRAPHEMES)

    @field_validator("text")
    @classmethod
    def fit_text(cls, value: str) -> str:
        return _fit(value, COMMENT_MAX_GRAPHEMES)


def graphemes(text: str) -> int:
    """Characters as a reader counts them: a flag or a family is one."""
    return sum(1 for _ in _GRAPHEME.finditer(text))


def _fit(value: str, most: int) -> str:
    cleaned = text.paragraphs(value)
    # Before counting: no reader's 300 graphemes take this many code points.
    if len(cleaned) > 40 * most or (count := graphemes(cleaned)) > most:
        raise ValueError(f"is too long; send 1 to {most} characters")
    if count == 0:
        raise ValueError(f"is empty; send 1 to {most} characters")
    return cleaned
