"""The model card of a weights folder: YAML metadata that the hub reads, and a page for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from jdap import __version__

#: Where nobody has said which licence weights have.
UNSAID = "other"
TAGS = ["jdap", "portrait", "depth"]


def model_card(
    pipeline: Any,
    *,
    license: str = UNSAID,
    figures: Mapping[str, float] | None = None,
    steps: int | None = None,
    name: str = "weights",
) -> str:
    """``README.md`` of a pipeline's weights.

    Args:
        pipeline: a :class:`jdap.pipelines.base.JointPipeline`.
        license: as the hub names it (``apache-2.0``); ``other`` where it is not said.
        figures: measured on held-out people, by name; they go into the metadata and a table.
        steps: of training.
        name: of the model.
    """
    figures = figures or {}
    task, kind = pipeline.pipeline_tag, type(pipeline).__name__
    results = [EvalResult(task, "jdap", "held-out people of the run", key, value) for key, value in figures.items()]
    data = ModelCardData(
        license=license,
        library_name="diffusers",
        pipeline_tag=task,
        tags=TAGS,
        model_name=name if results else None,
        eval_results=results or None,
    )
    rows = "".join(f"| {key} | {value:.4g} |\n" for key, value in figures.items())
    measured = f"\n## Figures\n\nOn held-out people of the training run.\n\n| | |\n|---|---|\n{rows}" if figures else ""
    trained = "" if steps is None else f"{steps:,} training steps; `training.json` holds all settings."
    return f"""---
{data.to_yaml().strip()}
---

# {name}

Weights of JDAP {__version__}: `{kind}`, preset `{pipeline.preset}`, pictures of {pipeline.size_px} pixels square.
{trained}

```python
from jdap import {kind}

pipeline = {kind}.from_pretrained("FOLDER_OR_OWNER/NAME")
```

Sub-folders are plain models where diffusers has one (`unet`, `reference`); `codec` is of the class that
`model_index.json` names.
{measured}"""
