"""Commands that explain money on the command line. Each module adds itself to the parser."""
