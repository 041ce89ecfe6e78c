"""A small local web page that shows the queue and takes answers; needs the extra `web`."""
