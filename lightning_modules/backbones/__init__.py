"""Networks that images go through first: timm's, HRNet, and pretrained features to compare images by."""
