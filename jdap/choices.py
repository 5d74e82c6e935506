"""What options offer: words that several places know and default numbers, apart from the code that needs torch."""

#: How what is given is held while the rest is sampled.
CLEAN, REPAINT = "clean", "repaint"
METHODS = (CLEAN, REPAINT)
#: Strength of the reference, and how far guided predictions are brought back: chosen on validation people.
GUIDANCE, RESCALE = 2.0, 0.7
#: Share of the steps of a new portrait that go to its depth, on which the picture is then drawn: chosen so, too.
DEPTH_FIRST = 0.3
#: What stands for the motion frames of the first window: nothing, or the reference.
NULL, FROM_REFERENCE = "null", "reference"
WINDOW_STARTS = (NULL, FROM_REFERENCE)
#: Frames that neighbouring windows share.
OVERLAP = 2
#: The mean depth of the training pictures, which may lie in a weights folder beside the components.
MEAN_DEPTH_FILE = "mean_depth.safetensors"
#: The readers of mouths that ship, of preset tiny's codec.
READERS = "shipped:mouth/mouth.safetensors"
#: Number formats that networks may have, the first unless something else is asked for.
DTYPES = ("float32", "bfloat16", "float16")
#: How depth is written.
VIDEO, PNG, NO_DEPTH_FILE = "video", "png", "none"
DEPTH_FORMATS = (VIDEO, PNG, NO_DEPTH_FILE)
#: x264's constant rate factor: visually lossless is about 18.
CRF = 18
#: What is done with several faces.
LARGEST, EVERY_FACE, REFUSE = "largest", "all", "refuse"
SEVERAL = (LARGEST, EVERY_FACE, REFUSE)
#: What depth of a photo starts from: a head fitted to its face, or the picture alone.
FIT_HEAD, NO_HEAD = "fit", "none"
HEAD_STARTS = (FIT_HEAD, NO_HEAD)
#: Whose face a drawn portrait has: the reference's own texture, moved onto the head; what the model draws, to which the
#: moved reference is shown; or what it draws of the reference as it is.
REFERENCE_FACE, SHOWN_FACE, MODEL_FACE = "reference", "shown", "model"
WHOSE_FACE = (REFERENCE_FACE, SHOWN_FACE, MODEL_FACE)
#: How a changed head is drawn: from the photo's own texture, or by the model.
BY_WARP, BY_MODEL = "warp", "model"
RENDERERS = (BY_WARP, BY_MODEL)
#: Weights that ship: of pictures, of clips, and what hears how a face speaks.
IMAGE_WEIGHTS, TALK_WEIGHTS, SPEAKING = "shipped:image-tiny", "shipped:talk-tiny", "shipped:speaking"
#: What a parser of heads tells apart, in the order of its maps: skin with eyes and mouth; hair with beards.
BACKGROUND, SKIN, HAIR, GLASSES, HAT, CLOTH = "background", "skin", "hair", "glasses", "hat", "cloth"
PARSED = (BACKGROUND, SKIN, HAIR, GLASSES, HAT, CLOTH)
#: The parts of a head that can be named: what landmarks bound, and what a parser tells apart.
EYES, MOUTH = "eyes", "mouth"
HEAD_PARTS = (EYES, MOUTH, *PARSED)
#: Which parser: none, or the one that ships; else a file of your own.
NO_PARSER, SHIPPED_PARSER = "none", "shipped"
