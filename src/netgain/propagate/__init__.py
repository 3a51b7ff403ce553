"""What is known at each node: values with error bounds."""
