"""Models: OpenAI-compatible servers over HTTP, and llama.cpp in this process."""
