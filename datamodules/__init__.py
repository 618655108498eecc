"""What is learned from: face data sets, drawn stand-ins for them, and the batches made of both."""

import os

# Whenever it is imported, albumentations would ask a server on the internet for its newest version.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
