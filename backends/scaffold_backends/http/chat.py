"""The names these had before."""

from scaffold_backends.http.presets import http as connect_url
from scaffold_backends.http.presets import openai as connect

__all__ = ["connect", "connect_url"]
