"""Linear maps: dense, convolution, diagonal, selection, separable, chain; one a file."""
