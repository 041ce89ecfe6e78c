"""A small page on this machine alone that shows the queue and takes answers; needs the extra `web`."""
