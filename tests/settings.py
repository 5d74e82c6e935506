"""Stages of settings by their own names, without the groups in which they lie."""

import dataclasses
import inspect

import lightning as L


def make_stage(stage: type[L.LightningModule], *args, **settings) -> L.LightningModule:
    """``make_stage(ImageStage, decay=1.0)`` is ``ImageStage(optimizer=OptimizerSettings(decay=1.0))``.

    What a stage does not have is left to it to refuse.
    """
    groups = {}
    for name, parameter in inspect.signature(stage).parameters.items():
        if dataclasses.is_dataclass(parameter.default):
            own = {field.name for field in dataclasses.fields(parameter.default)} & set(settings)
            groups[name] = dataclasses.replace(parameter.default, **{key: settings.pop(key) for key in own})
    return stage(*args, **settings, **groups)
