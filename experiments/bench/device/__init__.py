"""What is looked at on a GPU, once there is one: each part a function from a device to findings."""
