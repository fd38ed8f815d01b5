"""The checks of `doctor`: each module examines one part of a running stage.

`pulumi preview --refresh --expect-no-changes` compares the deployed configuration with the program.
"""
