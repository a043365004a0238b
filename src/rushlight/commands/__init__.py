"""What the command ``rushlight`` does beyond running a program: one module per command, loaded when it is asked for."""
