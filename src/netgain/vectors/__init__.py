"""Vector functions: softmax, normalization, max-pooling, sorting; one family a file."""
