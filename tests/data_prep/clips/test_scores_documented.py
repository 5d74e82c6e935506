"""docs/data.md tells every score and its default threshold."""

import re
from pathlib import Path

from data_prep.clips.measures import SKIN_POINTS
from data_prep.clips.quality import SCORES, THRESHOLDS

DOCS = (Path(__file__).parents[3] / "docs" / "data.md").read_text(encoding="utf-8")
TABLE = DOCS[DOCS.index("### Scores") : DOCS.index("**Duplicates.**")]
ROWS = [line.split("|") for line in TABLE.splitlines() if line.startswith("| `")]


def test_every_score_and_its_default_are_told() -> None:
    told = {name: row for row in ROWS for name in re.findall(r"`(\w+)`", row[1])}
    assert {score.name for score in SCORES} <= set(told)
    for score in SCORES:
        default = told[score.name][5]
        bounds = [f"{b:g}" for b in THRESHOLDS.get(score.name, ()) if abs(b) < float("inf")]
        if bounds:
            assert re.findall(r"[\d.]+", default)[: len(bounds)] == bounds, score.name
        elif "fit_error" not in score.name:
            assert default.strip() == "–", score.name
    assert f"of {len(SKIN_POINTS)} points" in DOCS
