"""The operator's command: what became of a night's jobs, and what to do about those that went wrong.

It needs AWS credentials and the stage's name, and no Pulumi: what the stage consists of is asked of the deployed
function.
"""
