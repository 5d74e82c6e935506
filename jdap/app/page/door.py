"""gradio, told to keep to this machine. The one file that imports it."""

from __future__ import annotations

import os

# Before its import: nothing is counted, and no newer version is asked for.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
try:
    import gradio as gr
except ImportError as error:
    raise ImportError('the page is shown by gradio: pip install "jdap[app]"', name="gradio") from error

__all__ = ["gr"]
