"""What options of the benchmarks offer, apart from the code that needs torch."""

from pathlib import Path

#: The methods of :data:`benchmarks.depth.method.DEPTH_METHODS`, in their order.
METHOD_NAMES = ("jdap", "jdap_head", "mean", "posed_mean_head", "flat")
#: These, and those of :data:`benchmarks.depth.method.PHOTO_METHODS`.
PHOTO_METHOD_NAMES = (*METHOD_NAMES, "expressive_head", "mediapipe_z", "fit")
#: Those that `benchmarks steadiness` asks, and others that it can.
STEADY_DEFAULT = ("jdap", "jdap_head", "mean", "posed_mean_head", "mediapipe_z", "fit")
STEADY_METHOD_NAMES = (*STEADY_DEFAULT, "expressive_head")
#: The alignments of :data:`jdap.metrics.alignment.ALIGNMENTS`.
ALIGNMENT_NAMES = ("scale_shift", "disparity", "l1", "scale", "none")
#: A scan in the folder of development assets.
DEFAULT_SCAN = Path("scans") / "james"
#: The builders of :data:`jdap.models.image.build.BUILDERS`.
PRESETS = ("tiny", "small", "sd15")
FIT_PARTS = ("clips", "scan", "drawn", "lens", "trust", "ablation")
#: The questions of `benchmarks modes`, as :mod:`benchmarks.modes.measure` names them.
QUESTION_NAMES = ("image-to-depth", "depth-to-image", "joint", "inpaint both", "inpaint rgb", "inpaint depth")
SPEED_PARTS = ("training", "sampling", "precision", "throughput")
PEER_PARTS = ("depth", "clip", "reading", "preparation")
#: Of the codecs that are compared: a quarter of Stable Diffusion's, as TARGET_WIDTHS are about a fifth.
PEER_CODEC_WIDTHS = (32, 64, 128, 128)
SPEED_DTYPES = ("float32", "bfloat16")
#: Which seconds are measured → their name in results.
CLOCKS = {"wall": "wall_s", "processor": "processor_s"}
#: Channels of the UNets that the accepted costs of the reference were set for.
TARGET_WIDTHS = (64, 128, 256, 256)
#: How a photo that is moved turns its head: by chance, not at all, or as the true head.
SWAY, STILL_HEAD, TRUE_TURNS = "sway", "still", "true"
MOVED_TURNS = (SWAY, STILL_HEAD, TRUE_TURNS)
#: By what mouths hear, in `benchmarks hearing`.
EARS = ("mel", "moonshine")
#: Which frame of a clip is the reference.
FIRST, MIDDLE = "first", "middle"
