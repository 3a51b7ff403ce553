"""The command line: one file a command, no mathematics. Modules import torch only inside the commands that need it."""
