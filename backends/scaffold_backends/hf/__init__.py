"""Transformers and recurrent models through Hugging Face's library, in this process."""
