"""Norms of convolutions: canonical form, symbol, branch and bound over frequencies, circulant embedding."""

from netgain.norms.convolution.norm import conv_norm

__all__ = ["conv_norm"]
