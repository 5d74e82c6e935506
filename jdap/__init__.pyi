from jdap.data.modules import ClipDataModule as ClipDataModule
from jdap.data.modules import ImageDataModule as ImageDataModule
from jdap.pipelines.pictures import DepthEstimate as DepthEstimate
from jdap.pipelines.pictures import Portrait as Portrait
from jdap.pipelines.portrait import PortraitPipeline as PortraitPipeline
from jdap.pipelines.relight import RelightPipeline as RelightPipeline
from jdap.pipelines.talking import TalkingPipeline as TalkingPipeline
from jdap.pose.pipeline import PosePipeline as PosePipeline
from jdap.stages.codec import CodecStage as CodecStage
from jdap.stages.image import ImageStage as ImageStage
from jdap.stages.onestep import OneStepStage as OneStepStage
from jdap.stages.temporal import TemporalStage as TemporalStage

__version__: str
