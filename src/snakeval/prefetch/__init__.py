"""What nodes without internet need, brought beside the run folders: images, datasets.

`archives` which files there are and what is in them; `images` makes them; `datasets` fills the
shared Hugging Face cache. A start looks at `archives` alone.
"""
