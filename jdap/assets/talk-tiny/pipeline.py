"""For diffusers: where the class is."""

from jdap.pipelines.talking import TalkingPipeline  # noqa: F401
