"""What changes photos: geometry and look of drawings, and strong views; labels move with the pixels."""
