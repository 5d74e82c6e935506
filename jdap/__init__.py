"""JDAP: joint learning of depth and appearance for portrait image animation (arXiv 2501.08649).

The front door: pipelines that answer, stages that train, data modules that feed them. Each is imported when it is first
asked for, so that ``import jdap`` costs nothing.
"""

from importlib import import_module

__version__ = "0.1.0"

_WHERE = {
    "ClipDataModule": "data.modules",
    "CodecStage": "stages.codec",
    "DepthEstimate": "pipelines.pictures",
    "ImageDataModule": "data.modules",
    "ImageStage": "stages.image",
    "OneStepStage": "stages.onestep",
    "Portrait": "pipelines.pictures",
    "PortraitPipeline": "pipelines.portrait",
    "PosePipeline": "pose.pipeline",
    "RelightPipeline": "pipelines.relight",
    "TalkingPipeline": "pipelines.talking",
    "TemporalStage": "stages.temporal",
}
__all__ = ["__version__", *_WHERE]


def __getattr__(name: str) -> object:
    if name not in _WHERE:
        raise AttributeError(f"module 'jdap' has no attribute {name!r}; it has {', '.join(_WHERE)}")
    found = getattr(import_module(f"jdap.{_WHERE[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted([*globals(), *_WHERE])
