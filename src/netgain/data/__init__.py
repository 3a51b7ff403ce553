"""The data contract: loaders, checksums, known data sets."""
