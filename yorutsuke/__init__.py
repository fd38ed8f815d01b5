"""The operator's command. It shows the jobs of a deployed stage and repairs those that went wrong.

It needs AWS credentials and the name of the stage, but neither Pulumi nor the repository. It reads the stage's settings
from the deployed function.
"""
