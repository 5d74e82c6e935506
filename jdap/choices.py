"""What options offer: words that several places know and default numbers, apart from the code that needs torch."""

#: How what is given is held while the rest is sampled.
CLEAN, REPAINT = "clean", "repaint"
METHODS = (CLEAN, REPAINT)
#: Strength of the reference, and how far guided predictions are brought back: chosen on validation people.
GUIDANCE, RESCALE = 2.0, 0.7
#: What stands for the motion frames of the first window: nothing, or the reference.
NULL, FROM_REFERENCE = "null", "reference"
WINDOW_STARTS = (NULL, FROM_REFERENCE)
#: Frames that neighbouring windows share.
OVERLAP = 2
#: The mean depth of the training pictures, which may lie in a weights folder beside the components.
MEAN_DEPTH_FILE = "mean_depth.safetensors"
#: The readers of mouths that ship, of preset tiny's codec.
READERS = "shipped:mouth/mouth.safetensors"
#: How depth is written.
VIDEO, PNG, NO_DEPTH_FILE = "video", "png", "none"
DEPTH_FORMATS = (VIDEO, PNG, NO_DEPTH_FILE)
#: x264's constant rate factor: visually lossless is about 18.
CRF = 18
#: What is done with several faces.
LARGEST, EVERY_FACE, REFUSE = "largest", "all", "refuse"
SEVERAL = (LARGEST, EVERY_FACE, REFUSE)
#: How a changed head is drawn: from the photo's own texture, or by the model.
BY_WARP, BY_MODEL = "warp", "model"
RENDERERS = (BY_WARP, BY_MODEL)
