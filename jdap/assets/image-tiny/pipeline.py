"""For diffusers: where the class is."""

from jdap.pipelines.portrait import PortraitPipeline  # noqa: F401
