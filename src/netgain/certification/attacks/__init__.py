"""Attacks: the other side of a certificate, one a file. `attack.survivors` projects and re-checks what they find."""
