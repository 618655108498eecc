"""What is learned from: face data sets, drawn stand-ins for them, and the batches made of both."""
