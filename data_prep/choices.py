"""What options of ``python -m data_prep`` offer, apart from the code that needs torch."""

#: Several faces in a picture: a clip each, or none; of a photo the widest, where it stands out.
SPLIT, SINGLE, WIDEST = "split", "single", "widest"
#: Photos of one folder are one person's, or each is somebody else's, or faces are compared.
FOLDER, EACH, EMBEDDING = "folder", "each", "embedding"
#: Faces whose embeddings lie within this distance of each other, on average, are one person's.
SAME_PERSON = 0.5
#: What comparing faces leaves in the output folder: who is whom, and what the faces look like.
PEOPLE_LIST, PEOPLE_FACES = "people.csv", "people.npz"
#: Which people's photos are meant.
ALL, TRAIN, VAL, TEST = "all", "train", "val", "test"
PHOTO_SPLITS = (ALL, TRAIN, VAL, TEST)
#: What lies outside of a picture.
EDGE, BLACK, REJECT = "edge", "black", "reject"
#: What tells a voice: a rule of level, band and spectrum, or silero-vad's network.
RULE, SILERO = "rule", "silero"
#: Who works.
ENGINES = ("local", "ray")
#: Bytes of video in a unit, unless told otherwise: 1 to 10 minutes, whose shard at 512² is 0.1 to 1 GB.
UNIT_BYTES = 64 << 20
#: Longer videos are parted into segments of at most so many seconds, unless told otherwise.
SEGMENT_S = 60.0
#: What a report is written to.
REPORT, PAGE = "report.json", "report.html"
#: What can be made of a person, by the command's options.
PERSON_KINDS = {
    "stills": "independent pictures (default)",
    "sittings": "pictures of one sitting: other pose, expression and lens, but the same light, background and camera",
    "clips": "consecutive frames at 25 fps, silent",
    "talk": "consecutive frames at 25 fps of people who talk, with their sound",
}
#: Where each split's people begin, and how many it has. person_id names the index, so no id is in two splits.
SPLIT_START = {"train": 0, "val": 1_000_000, "test": 2_000_000}
MAX_PEOPLE = 1_000_000
#: What is skin on a scan: mediapipe's oval, or everything.
FACE, MESH = "face", "mesh"
#: Views of a scan: degrees to the right, and millimetres from the camera.
RING_YAWS_DEG = tuple(range(-40, 41, 10))
CAMERA_DISTANCE_MM = 800.0
#: Layouts of face models.
MODEL_KINDS = ("flame", "bfm", "ict")
