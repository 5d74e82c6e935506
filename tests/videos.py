"""Videos for tests: real ones cut short, and drawn ones of any kind that a container can hold."""

from __future__ import annotations

from pathlib import Path

import av


def trim(source: Path, target: Path, seconds: float) -> Path:
    """The first seconds of a file, pictures and sound, not coded again; returns ``target``."""
    with av.open(str(source)) as inside, av.open(str(target), "w") as outside:
        streams = {s.index: outside.add_stream_from_template(s) for s in inside.streams if s.type in ("video", "audio")}
        for packet in inside.demux(*[inside.streams[i] for i in streams]):
            if packet.dts is not None and float(packet.pts * packet.time_base) < seconds:
                packet.stream = streams[packet.stream_index]
                outside.mux(packet)
    return target
