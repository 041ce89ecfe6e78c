"""Transformers and recurrent models in this process, through Hugging Face's library."""
