"""The presets' YAML files."""

from pathlib import Path

CONFIGS = Path(__file__).parent
