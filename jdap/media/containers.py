"""Opening a media file with FFmpeg: this file and nothing else, and the sound track that a player would take."""

from __future__ import annotations

import ctypes
import errno
from pathlib import Path
from typing import Any

import av

#: Files that list other files begin like this, whatever they are called (concat, HLS, DASH) …
_LIST_HEADS = (b"ffconcat", b"#EXTM3U", b"<MPD")
#: … and so FFmpeg calls what it takes for one.
_LISTS = {"concat", "concatf", "dash", "hls", "imf", "sdp", "webm_dash_manifest"}
#: No picture is decoded that has more pixels: 8K film has 35 million.
MAX_PIXELS = 36_000_000
#: A list's first words are within so many bytes: a declaration may come before them.
_HEAD = 1024


def open_container(path: Path) -> av.container.InputContainer:
    """PyAV's container of a local file. Raises ``av.error.FFmpegError`` or OSError.

    A file is all that is opened: no address of a network, no other file that a list names. Pictures of over
    :data:`MAX_PIXELS` are not looked at to find out what is in it. A header that lies about how much there is in the
    file is the file's fault, not the machine's.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD).lstrip(b"\xef\xbb\xbf \t\r\n")
    if head.startswith(_LIST_HEADS) or (head.startswith(b"<?xml") and b"<MPD" in head):
        raise _list_error(path)
    # A playlist must not make us fetch something; a file's name must not be taken for a protocol; tags in an old
    # encoding are nobody's error here.
    options = {"protocol_whitelist": "file", "max_pixels": str(MAX_PIXELS)}
    try:
        container = av.open(f"file:{path}", options=options, metadata_errors="ignore")
    except av.error.MemoryError:  # FFmpeg makes no table of gigabytes; whoever looks for a lack of memory finds none
        raise OSError(errno.EINVAL, "its header asks for more memory than any has", str(path)) from None
    if not _LISTS.isdisjoint(container.format.name.split(",")):
        container.close()
        raise _list_error(path)
    return container


def sound_track(container: av.container.InputContainer) -> av.AudioStream | None:
    """The sound track that players take: the first that is marked as default, or else the first; None without one.

    Tracks that describe the picture or comment on it come last. Raises OSError where no track has a decoder.
    """
    if not container.streams.audio:
        return None
    known = [stream for stream in container.streams.audio if stream.codec_context is not None]
    if not known:
        raise OSError(errno.EINVAL, "its sound is coded in a way that is not known here")
    return min(known, key=_rank)


def channel_names(track: av.AudioStream) -> tuple[str, ...] | None:
    """The names of a track's channels where it has an order of its own, as QuickTime's may; None where it has not.

    To be called once, before anything of the track is decoded. PyAV (18.1) frees an order of a file's own twice, with
    the frame and with its ``AudioLayout``, which ends the process. So such an order is read once, by an object that is
    never freed, and the decoder is told of as many channels without an order.
    """
    context: Any = track.codec_context
    layout = context.layout
    if not own_order(layout):
        return None
    names = tuple(channel.name for channel in layout.channels)
    context.layout = f"{layout.nb_channels}C"
    return names


def own_order(layout: av.AudioLayout) -> bool:
    """Whether a layout is an order of a file's own; if so it is never freed (see :func:`channel_names`)."""
    if " channels (" not in layout.name and not layout.name.startswith("ambisonic"):
        return False
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(layout))
    return True


def _rank(track: av.AudioStream) -> tuple[bool, bool, int]:
    flags = track.disposition
    kind = type(flags)
    aside = kind.visual_impaired | kind.hearing_impaired | kind.comment | kind.descriptions | kind.karaoke
    return bool(flags & aside), not flags & kind.default, track.index


def _list_error(path: Path) -> OSError:
    return OSError(errno.EINVAL, "a list of other files, which is not followed", str(path))
